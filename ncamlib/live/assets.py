"""What the page needs of a model: decoder, leak factor, genes and thumbnail of every emoji, in one small file.

N images, E genes, L letters, A alphabet.
"""

import base64
import gzip
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from ncamlib import data
from ncamlib.config import to_dict
from ncamlib.data.pictures import over_white, to_picture
from ncamlib.errors import NcamError
from ncamlib.model import checkpoint
from ncamlib.model.manifold import NCAM
from ncamlib.project import write_atomically

MANIFEST = 3  # version of manifest.json; the page knows one
# Large matrices are rounded to steps of this share of a row's standard deviation, which gzip then packs well.
GRAIN = {"predictor.weight": 0.35, "predictor.body": 0.25}
THUMBNAIL, COLUMNS = 32, 32  # side of a thumbnail in pixels, thumbnails in a row of their sheet
WEBP_SIDE = 16383  # the most pixels from edge to edge that the format allows
SMALL = 24  # side of a thumbnail in sheets of more than 500
LEVELS, SAMPLE = 256, 64  # levels that the page knows of a gene's value; images that say how far they reach
DECODER, ENCODER = ("code.from_", "predictor."), ("encoder.",)  # parts of a model's state
STANDARD = {"code": "dna", "decoder": "nca", "channels": 16, "hidden": 128, "letters": 16, "alphabet": 4}
STANDARD |= {"leak": "learned", "predictor": "weights", "image_channels": 4, "slices": True}


def pack_letters(letters: Tensor) -> Tensor:
    """Four letters to a byte, the first in the lowest bits. (N, E, L) -> (N, E * L / 4) uint8."""
    four = letters.flatten(1).unflatten(1, (-1, 4)).to(torch.uint8)
    return four[..., 0] | four[..., 1] << 2 | four[..., 2] << 4 | four[..., 3] << 6


class Words(NamedTuple):
    """What a model writes for a gene, by the level that its value is rounded to.

    A letter is soft where the model is not sure of it, and its probabilities then carry some of the value; so the
    page is sent the level of every gene, which is smaller than its letters, and the word of every level.
    """

    levels: Tensor  # (LEVELS,) values of a gene, evenly spaced
    parts: (
        Tensor  # (LEVELS, L, A) uint8, the probabilities of the letters; those of one letter are divided by their sum
    )

    @classmethod
    @torch.no_grad()
    def of(cls, model: NCAM, images: data.Images) -> "Words":
        """The words of a model; a few of the images say how large the values are."""
        few = images.pixels[:: -(-len(images) // SAMPLE)]
        reach = model.embed(few).abs().max().clamp_min(1e-6).item()
        levels = torch.linspace(-reach, reach, LEVELS)
        return cls(levels, (255 * model.code.encode(levels[None])[0]).round().to(torch.uint8).contiguous())

    @torch.no_grad()
    def read(self, model: NCAM, images: Tensor) -> Tensor:
        """The nearest level of every gene of images (N, ...): (N, E) uint8."""
        values = torch.cat([model.embed(part) for part in images.split(64)])
        step = self.levels[1] - self.levels[0]
        return ((values - self.levels[0]) / step).round().clamp(0, LEVELS - 1).to(torch.uint8)

    def code(self, genes: Tensor) -> Tensor:
        """Levels (N, E) -> the DNA code (N, E, L, A)."""
        parts = self.parts[genes.long()].float()
        return parts / parts.sum(-1, keepdim=True)

    def letters(self, genes: Tensor) -> Tensor:
        """Levels (N, E) -> the most probable letters (N, E, L)."""
        return self.code(genes).argmax(-1)


def _part(model: NCAM, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    state = {name: tensor.float() for name, tensor in model.state_dict().items() if name.startswith(prefixes)}
    scales = (checkpoint.SCALE, checkpoint.COLUMNS)
    tensors = checkpoint.pack(state).items()
    return {name: (t.flatten() if name.endswith(scales) else t).contiguous() for name, t in tensors}


def pack_encoder(model: NCAM) -> bytes:
    """What reads a picture, as a safetensors file; nothing for a model saved without its encoder."""
    if model.encoder is None:
        return b""
    return save(_part(model, ENCODER), {"ncam": "{}"})


def rule(model: NCAM) -> dict[str, float | bool | str]:
    """What a step needs beside the weights: leak factor, whether the grid wraps round, which perceived maps are
    normalised, and the grid it was made for.
    """
    config = model.config
    return {"leak": model.nca.leak().item(), "wrap": config.wrap, "norm": config.norm, "size": config.image_size}


def _coarse(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Large matrices of the predictor in fewer steps than 8 bits have; the pictures hardly change (`test_live.py`)."""
    for name, grain in GRAIN.items():
        for key in [key for key in tensors if key.startswith(name) and tensors[key].dtype == torch.int8]:
            weights = tensors[key].float()
            step = grain * weights.std(1, keepdim=True).clamp_min(1e-12)
            tensors[key] = (weights / step).round().to(torch.int8)
            tensors[f"{key}.scale"] = (tensors[f"{key}.scale"] * step.flatten()).contiguous()
    return tensors


def _thumbnail(image: Tensor, side: int) -> Image.Image:
    return to_picture(over_white(image[None])[0]).resize((side, side), Image.Resampling.LANCZOS)


def _webp(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=60, method=4)
    return buffer.getvalue()


def sprite(images: data.Images) -> tuple[bytes, tuple[int, int]]:
    """Thumbnails of all images on one sheet, row by row, as WebP; and how many stand (across, down)."""
    side = THUMBNAIL if len(images) <= 500 else SMALL
    columns = max(COLUMNS, -(-len(images) // (WEBP_SIDE // side)))
    across, down = min(columns, len(images)), -(-len(images) // columns)
    sheet = Image.new("RGB", (across * side, down * side), "white")
    for i, image in enumerate(images.pixels):
        sheet.paste(_thumbnail(image, side), (i % columns * side, i // columns * side))
    return _webp(sheet), (across, down)


def pack(model: NCAM, images: data.Images, coarse: bool = True) -> bytes:
    """The decoder, the DNA and the thumbnails of all images, as a safetensors file.

    `coarse`: large matrices rounded as GRAIN says. NcamError for a model the page cannot run.
    """
    require_standard(model)
    tensors = _part(model, DECODER)
    if coarse:
        tensors = _coarse(tensors)
    words = Words.of(model, images)
    tensors |= {"levels": words.levels, "words": words.parts, "genes": words.read(model, images.pixels)}
    thumbnails, grid = sprite(images)
    tensors["sprite"] = torch.frombuffer(bytearray(thumbnails), dtype=torch.uint8)
    header = {
        **rule(model),
        "steps": model.config.steps,
        "fire_rate": model.config.fire_rate,
        "sprite": grid,
        "names": images.names,
        "emoji": images.emoji,
    }
    return save(tensors, {"ncam": json.dumps(header)})


def require_standard(model: NCAM) -> None:
    """NcamError for a model that the page cannot run."""
    config = to_dict(model.config)
    for name, value in STANDARD.items():
        if config[name] != value:
            raise NcamError(f"the live page runs models with {name} = {value}, not {config[name]}")


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


@torch.no_grad()
def seedling(model: NCAM, images: data.Images, i: int, words: Words) -> dict[str, Any]:
    """What grows one image at once, without loading anything: genes, letters, thumbnail, and weights in 8 bits."""
    image = images.pixels[i]
    genes = words.read(model, image[None])
    parts = [part.flatten() for part in model.decode(words.code(genes))]
    scales = [part.abs().amax().clamp_min(1e-12) / 127 for part in parts]
    small = torch.cat([(part / scale).round() for part, scale in zip(parts, scales, strict=True)]).to(torch.int8)
    return {
        "emoji": images.emoji[i],
        "title": images.names[i],
        "rule": rule(model),
        "weights": _text(small.numpy().tobytes()),
        "scales": [scale.item() for scale in scales],
        "genes": _text(genes.numpy().tobytes()),
        "letters": _text(pack_letters(words.letters(genes)).numpy().tobytes()),
        "picture": f"data:image/webp;base64,{_text(_webp(_thumbnail(image, THUMBNAIL)))}",
    }


def packed(content: bytes) -> bytes:
    """A file as the page loads it: gzip, the same bytes for the same content."""
    return gzip.compress(content, 9, mtime=0)


def write(experiments: Sequence[str], folder: Path) -> None:
    """Pack shipped models into `folder` for the built pages: EXPERIMENT-manifold and EXPERIMENT-encoder.

    Each is a binary file for a page that a server sends, and a script for a page that is opened as a file.
    `manifest.json` lists them with size and SHA-256, by which the page checks what it loads.
    """
    files: dict[str, dict[str, Any]] = {}
    for experiment in experiments:
        model, header = checkpoint.load_model(experiment)
        parts = {"manifold": pack(model, data.emoji(header["images"])), "encoder": pack_encoder(model)}
        for part, content in parts.items():
            if not content:  # saved without its encoder: it takes no picture of the reader's own
                continue
            name = f"{header['experiment']['name']}-{part}"
            small = packed(content)
            digest = hashlib.sha256(small).hexdigest()
            write_atomically(folder / f"{name}.bin", small)
            write_atomically(folder / f"{name}.js", f'ncamFile("{digest}", "{_text(small)}");\n'.encode())
            files[f"{name}.bin"] = {"bytes": len(small), "sha256": digest}
    manifest = json.dumps({"version": MANIFEST, "files": files}, indent=1) + "\n"
    write_atomically(folder / "manifest.json", manifest.encode())
