"""The `ncam data` commands: what ships, where it comes from, and how it is verified."""

import io
from pathlib import Path
from typing import Annotated

import typer

from ncamlib import data
from ncamlib.cli.options import DataDir, SkipBroken
from ncamlib.data import noto, sprites
from ncamlib.data.images import characters
from ncamlib.errors import NcamError
from ncamlib.project import write_atomically
from ncamlib.results import pca

app = typer.Typer(help="The emoji sprites that ship with the package.", no_args_is_help=True)


@app.command("info")
def data_info(names: Annotated[str | None, typer.Option(help="List the emoji of this subset.")] = None) -> None:
    """Subsets and their sizes, and the digest of the shipped sprites."""
    if names is not None:
        for i in sprites.members(names):
            row = sprites.manifest()[i]
            typer.echo(f"{characters(row['sequence'])}\t{row['name']}")
        return
    for subset in data.SUBSETS:
        typer.echo(f"{subset:>8}  {len(sprites.members(subset)):5d} images")
    typer.echo(f"sprites {sprites.sprites_digest(sprites.sprites())}")


Font = Annotated[
    Path | None, typer.Option(help="A NotoColorEmoji.ttf (default: the system's, else upstream's v2.042).")
]


@app.command("build")
def data_build(
    font: Font = None,
    out: Annotated[Path, typer.Option(help="Where to write the sprites.")] = Path("noto_emoji.webp"),
) -> None:
    """Rebuild the sprite file from the font."""
    font_file = noto.find_font(font)
    tiles = noto.build_sprites(font_file, [row["sequence"] for row in sprites.manifest()])
    buffer = io.BytesIO()
    typer.echo(f"packing {len(tiles)} sprites from {font_file}", err=True)
    sprites.sprite_sheet(tiles).save(buffer, "WEBP", lossless=True, quality=100, method=6, exact=True)
    write_atomically(out, buffer.getvalue())
    typer.echo(f"wrote {out}, digest {sprites.sprites_digest(tiles)}")


@app.command("verify")
def data_verify(font: Font = None) -> None:
    """Verify by digest that the shipped sprites equal a rebuild from the font."""
    font_file = noto.find_font(font)
    typer.echo(f"drawing {len(sprites.manifest())} sprites from {font_file}", err=True)
    rebuilt = sprites.sprites_digest(noto.build_sprites(font_file, [row["sequence"] for row in sprites.manifest()]))
    if rebuilt != sprites.sprites_digest(sprites.sprites()):
        raise NcamError(f"the shipped sprites differ from those in {font_file}: is it NotoColorEmoji 2.042?")
    typer.echo(f"the shipped sprites equal those in {font_file}: {rebuilt}")


@app.command("pca")
def data_pca(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="An emoji subset, cifar10 or cifar10-test.")],
    data_dir: DataDir = None,
    skip_broken: SkipBroken = False,
    record: Annotated[bool, typer.Option("--record", help="Record it for the tables of the book.")] = False,
) -> None:
    """Residual error of PCA on a set of images: the linear baseline for the models' errors."""
    size, channels = (32, 3) if name.startswith("cifar10") else (64, 4)
    images = data.load(name, size, channels, data_dir, skip_broken)
    typer.echo(f"decomposing {len(images)} images", err=True)
    left = pca.record(images).errors if record else pca.errors(images).tolist()
    for components in (0, 16, 32, 64, 128, 256, 512, 1024):
        if components < len(left):
            typer.echo(f"{components:5d} components: residual MSE {left[components]:.4g}")
