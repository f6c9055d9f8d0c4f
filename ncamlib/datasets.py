"""The images: Noto emoji, CIFAR-10, or any folder of pictures.

Tensors are float32 in [0, 1]: emoji and folders are RGBA with premultiplied colour (N, 4, H, W),
CIFAR-10 is RGB (N, 3, 32, 32). N images, H W pixels. The emoji need no download and no font: the
sprites ship with the package.
"""

import csv
import functools
import hashlib
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ncamlib.errors import NcamError, choice

SUBSETS = ("chars", "emos", "heads", "variety", "full", "heldout")
SPRITE_COLUMNS = 60
SIZES = (16, 32, 64)
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Images:
    """A named set of images and what identifies them."""

    name: str
    pixels: Tensor  # (N, C, H, W)
    names: list[str]
    sequences: list[str] = field(default_factory=list)  # code points, emoji only
    note: str = ""  # where the pictures come from, if that changes how a number reads

    def __len__(self) -> int:
        return len(self.pixels)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over the pixels in 8 bits, their shape and names: the identity that results record."""
        bytes_ = (self.pixels * 255).round().to(torch.uint8).contiguous().numpy().tobytes()
        head = f"{tuple(self.pixels.shape)} {' '.join(self.names)}".encode()
        return hashlib.sha256(head + bytes_).hexdigest()

    def sample(self, count: int, seed: int = 0) -> "Images":
        """A fixed random choice of `count` of the images, in their order; all of them for 0."""
        if not 0 < count < len(self):
            return self
        chosen = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count].sort().values
        rows = chosen.tolist()
        sequences = [self.sequences[i] for i in rows] if self.sequences else []
        return Images(self.name, self.pixels[chosen], [self.names[i] for i in rows], sequences, self.note)

    def index(self, key: str) -> int:
        """Position of an emoji given as itself, its name or its code points; NcamError if absent."""
        if key in self.names:
            return self.names.index(key)
        points = "-".join(f"{ord(c):04x}" for c in key) if not key.isascii() or len(key) == 1 else key.lower()
        for candidate in (points, f"{points}-fe0f", points.replace("-fe0f", "")):
            if candidate in self.sequences:
                return self.sequences.index(candidate)
        raise NcamError(f"'{key}' is not among the {len(self)} images of '{self.name}': {_suggest(key, self.names)}")


def count(name: str) -> int:
    """How many images a data set has, without loading it."""
    if name == "cifar10":
        return 50_000
    return 1 if any(row["name"] == name for row in manifest()) else len(members(name))


def _suggest(key: str, names: list[str]) -> str:
    import difflib

    near = [n for n in names if key.lower() in n.lower()][:8] or difflib.get_close_matches(key, names, 8, 0.4)
    return f"choose for instance {', '.join(near or names[:8])} ('ncam data info --names SUBSET' lists them)"


@functools.cache
def manifest() -> list[dict[str, str]]:
    """One row per sprite, in sprite order: sequence, name, version, group, subset."""
    text = resources.files("ncamlib").joinpath("data/noto_emoji.tsv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def members(subset: str) -> list[int]:
    """Sprite numbers of a subset. `full` is everything but `heldout`."""
    choice("emoji subset", subset, SUBSETS)
    if subset == "full":
        return [i for i, row in enumerate(manifest()) if row["subset"] != "heldout"]
    return [i for i, row in enumerate(manifest()) if row["subset"] == subset]


@functools.cache
def sprites() -> np.ndarray:
    """All shipped sprites, (N, 64, 64, 4) uint8, premultiplied RGBA."""
    with resources.files("ncamlib").joinpath("data/noto_emoji.webp").open("rb") as file:
        sheet = np.asarray(Image.open(file).convert("RGBA"))
    rows = sheet.shape[0] // 64
    tiles = sheet.reshape(rows, 64, SPRITE_COLUMNS, 64, 4).swapaxes(1, 2).reshape(-1, 64, 64, 4)
    return tiles[: len(manifest())]


def sprite_sheet(tiles: np.ndarray) -> Image.Image:
    """The inverse of `sprites`: (N, 64, 64, 4) uint8 -> one picture, 60 to a row."""
    rows = -(-len(tiles) // SPRITE_COLUMNS)
    sheet = np.zeros((rows * SPRITE_COLUMNS, 64, 64, 4), np.uint8)
    sheet[: len(tiles)] = tiles
    sheet = sheet.reshape(rows, SPRITE_COLUMNS, 64, 64, 4).swapaxes(1, 2)
    return Image.fromarray(sheet.reshape(rows * 64, SPRITE_COLUMNS * 64, 4), "RGBA")


def sprites_digest(tiles: np.ndarray) -> str:
    """SHA-256 of the pixels and of the manifest they belong to."""
    rows = "\n".join("\t".join(row.values()) for row in manifest())
    return hashlib.sha256(rows.encode() + tiles.tobytes()).hexdigest()


def emoji(subset: str, size: int = 64) -> Images:
    """A subset of the Noto emoji, (N, 4, size, size); size 64, 32 or 16 (area average)."""
    if size not in SIZES:
        raise NcamError(f"emoji come in sizes {', '.join(map(str, SIZES))}, not {size}")
    rows = members(subset)
    pixels = torch.from_numpy(sprites()[rows]).permute(0, 3, 1, 2).float() / 255
    pixels = F.avg_pool2d(pixels, 64 // size) if size < 64 else pixels.contiguous()
    table = [manifest()[i] for i in rows]
    return Images(subset, pixels, [r["name"] for r in table], [r["sequence"] for r in table])


def single(key: str, size: int = 64) -> Images:
    """One emoji of the whole font, given as itself, its name or its code points: (1, 4, size, size)."""
    table = manifest()
    everything = Images(
        "all emoji", torch.empty(len(table)), [r["name"] for r in table], [r["sequence"] for r in table]
    )
    row = table[everything.index(key)]
    subset = "heldout" if row["subset"] == "heldout" else "full"
    images = emoji(subset, size)
    i = images.names.index(row["name"])
    return Images(row["name"], images.pixels[i : i + 1], [row["name"]], [row["sequence"]])


def load_image(path: Path, size: int, channels: int = 4) -> tuple[Tensor, tuple[int, int]]:
    """One picture as a (channels, size, size) tensor, premultiplied; and the size it had (W, H).

    Other sizes are resized (padded to a square first); raises NcamError for a broken file.
    """
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGBA")
    except FileNotFoundError as error:
        raise NcamError(f"there is no picture {path}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise NcamError(f"{path} is not a picture that can be read ({error}): remove or replace it") from error
    original, side = picture.size, max(picture.size)
    square = Image.new("RGBA", (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    straight = np.asarray(square).astype(np.float32) / 255
    straight[..., :3] *= straight[..., 3:]  # premultiply before resizing: no dark or bright rims
    pixels = torch.from_numpy(straight).permute(2, 0, 1).contiguous()
    if side != size:
        method = Image.Resampling.BOX if side > size else Image.Resampling.BICUBIC
        bands = [Image.fromarray(band.numpy()).resize((size, size), method) for band in pixels]
        pixels = torch.from_numpy(np.stack([np.asarray(band) for band in bands])).clamp(0, 1)
    return (pixels if channels == 4 else over_white(pixels)), original


def over_white(rgba: Tensor) -> Tensor:
    """Premultiplied RGBA (..., 4, H, W) -> RGB over white; RGB passes through."""
    if rgba.shape[-3] == 3:
        return rgba
    return rgba[..., :3, :, :] + (1 - rgba[..., 3:4, :, :])


def folder(
    path: Path, size: int = 64, channels: int = 4, skip_broken: bool = False, say: Callable[[str], None] | None = None
) -> Images:
    """Every PNG, JPEG or WebP under `path` as one set, named by relative path.

    A broken picture is named and refused, or named and skipped if `skip_broken`; pictures of
    another size are resized, and `say` (default: stderr) is told how many.
    """
    say = say or functools.partial(print, file=sys.stderr)
    if not path.is_dir():
        raise NcamError(f"there is no folder {path}: give a folder of PNG or JPEG pictures")
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise NcamError(f"{path} holds no PNG or JPEG pictures")
    pixels, names, resized = [], [], 0
    for file in files:
        try:
            picture, original = load_image(file, size, channels)
        except NcamError as error:
            if not skip_broken:
                raise NcamError(f"{error}, or skip it with --skip-broken") from error
            say(f"skipped: {error}")
            continue
        resized += original != (size, size)
        pixels.append(picture)
        names.append(file.relative_to(path).as_posix())
    if not pixels:
        raise NcamError(f"no picture in {path} could be read")
    if resized:
        say(f"{resized} of {len(pixels)} pictures in {path} were resized to {size}x{size}")
    note = f"from the folder {path.name}"
    return Images(path.name, torch.stack(pixels), names, note=note)


def cifar10(archive: Path | None = None) -> Images:
    """The 50,000 training images of CIFAR-10, (50000, 3, 32, 32), from the official binary archive.

    Downloads it once (checked by MD5) unless `archive` is given. Members are read in place:
    nothing is extracted, nothing unpickled.
    """
    if archive is None:
        import pooch

        try:
            archive = Path(pooch.retrieve(CIFAR10_URL, known_hash=f"md5:{CIFAR10_MD5}"))
        except Exception as error:  # pooch passes on whatever its transport raises
            raise NcamError(
                f"could not download CIFAR-10 ({type(error).__name__}): check the network, or give a folder of "
                "its pictures with --data-dir"
            ) from error
    try:
        with tarfile.open(archive) as tar:
            batches = [tar.extractfile(f"cifar-10-batches-bin/data_batch_{i}.bin").read() for i in range(1, 6)]
    except (tarfile.TarError, KeyError, AttributeError, OSError, EOFError) as error:
        raise NcamError(f"{archive} is not the CIFAR-10 binary archive: remove it and try again") from error
    records = np.frombuffer(b"".join(batches), np.uint8).reshape(-1, 3073)
    names = [f"{CIFAR10_CLASSES[label]}-{i}" for i, label in enumerate(records[:, 0])]
    pixels = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).copy()).float() / 255
    return Images("cifar10", pixels, names)


def load(name: str, size: int, channels: int = 4, data_dir: Path | None = None, skip_broken: bool = False) -> Images:
    """The images of an experiment: an emoji subset, one emoji by name, 'cifar10', or the folder `data_dir`."""
    if data_dir is not None:
        return folder(data_dir, size, channels, skip_broken)
    if name == "cifar10":
        return cifar10()
    if any(row["name"] == name for row in manifest()):
        return single(name, size)
    return emoji(choice("dataset", name, (*SUBSETS, "cifar10")), size)
