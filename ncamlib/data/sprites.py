"""The Noto emoji that ship with the package: sprites, their names and code points, and the subsets of the paper.

Tensors are float32 in [0, 1], RGBA with premultiplied colour, (N, 4, H, W). N images, H W pixels. They need no
download and no font.
"""

import csv
import functools
import hashlib
from importlib import resources

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ncamlib.data.images import Images
from ncamlib.errors import NcamError, choice

SUBSETS = ("chars", "emos", "heads", "variety", "full", "heldout")
SPRITE_COLUMNS = 60
SIZES = (16, 32, 64)


def count(name: str) -> int:
    """How many images a data set has, without loading it."""
    if name == "cifar10":
        return 50_000
    return 1 if any(row["name"] == name for row in manifest()) else len(members(name))


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


def _pixels(rows: list[int], size: int) -> Tensor:
    """The sprites of some rows of the manifest: (N, 4, size, size)."""
    if size not in SIZES:
        raise NcamError(f"emoji come in sizes {', '.join(map(str, SIZES))}, not {size}")
    pixels = torch.from_numpy(sprites()[rows]).permute(0, 3, 1, 2).float() / 255
    return F.avg_pool2d(pixels, 64 // size) if size < 64 else pixels.contiguous()


def emoji(subset: str, size: int = 64) -> Images:
    """A subset of the Noto emoji, (N, 4, size, size); size 64, 32 or 16 (area average)."""
    rows = members(subset)
    table = [manifest()[i] for i in rows]
    return Images(subset, _pixels(rows, size), [r["name"] for r in table], [r["sequence"] for r in table])


def versions(images: Images) -> list[str]:
    """The version of the emoji standard in which each image came; empty if they are not emoji."""
    known = {row["sequence"]: row["version"] for row in manifest()}
    return [known[sequence] for sequence in images.sequences]


def single(key: str, size: int = 64) -> Images:
    """One emoji of the whole font, given as itself, its name or its code points: (1, 4, size, size)."""
    table = manifest()
    everything = Images(
        "all emoji", torch.empty(len(table)), [r["name"] for r in table], [r["sequence"] for r in table]
    )
    i = everything.index(key)
    return Images(table[i]["name"], _pixels([i], size), [table[i]["name"]], [table[i]["sequence"]])
