"""Builds the shipped emoji sprites from a NotoColorEmoji.ttf, and verifies that they come from it.

The font stores each emoji as a 136x128 PNG in its CBDT table. Sequences have no glyph names, so
they are shaped with HarfBuzz; the bitmap is cropped to 128x128 and averaged down to 64x64 with
premultiplied colour. Everything is integer arithmetic: the same font gives the same bytes anywhere.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ncamlib.data.download import download
from ncamlib.errors import NcamError

SIZE = 64
FONT_URL = "https://github.com/googlefonts/noto-emoji/raw/v2.042/fonts/NotoColorEmoji.ttf"
FONT_BLOB = "cf7a47e960cc84bfcbf65bbcf324f56385948b73"  # its git blob hash at that tag
SYSTEM_FONTS = (
    "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/google-noto-emoji/NotoColorEmoji.ttf",
    "/usr/share/fonts/google-noto-color-emoji-fonts/NotoColorEmoji.ttf",
)
NEEDED = "this needs fonttools and uharfbuzz: install them with pip install 'ncamlib[data]'"


def git_blob_hash(content: bytes) -> str:
    """The hash by which git names a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def system_font() -> Path | None:
    """The system's NotoColorEmoji.ttf, if it has one."""
    return next((Path(p) for p in SYSTEM_FONTS if Path(p).is_file()), None)


def find_font(path: Path | None = None) -> Path:
    """The font to build from: `path`, else the system's, else upstream's v2.042, downloaded and verified."""
    if path is not None:
        if not path.is_file():
            raise NcamError(f"there is no font file {path}: give the path of a NotoColorEmoji.ttf")
        return path
    return system_font() or download_font()


def download_font() -> Path:
    """Upstream's tag v2.042 in the user's cache; refused if it is not byte for byte that file."""
    otherwise = "install the system's package (Debian: fonts-noto-color-emoji), or give a path with --font"
    font = download((FONT_URL,), "NotoColorEmoji 2.042", "NotoColorEmoji-2.042.ttf", None, otherwise)
    if git_blob_hash(font.read_bytes()) != FONT_BLOB:
        font.unlink()
        raise NcamError("the downloaded font is not NotoColorEmoji v2.042; it was removed, try again")
    return font


def _bitmaps(font: Path, sequences: Sequence[str]) -> Iterator[bytes]:
    """The PNG of every sequence ('1f468-200d-2695-fe0f'), in order."""
    try:
        import uharfbuzz
        from fontTools.ttLib import TTFont, TTLibError
    except ImportError as error:
        raise NcamError(NEEDED) from error
    try:
        tables = TTFont(font)
    except TTLibError as error:
        raise NcamError(f"{font.name} is not a TrueType font: give a NotoColorEmoji.ttf") from error
    if "CBDT" not in tables:
        raise NcamError(
            f"{font.name} has no CBDT table (colour bitmaps): use the CBDT build of "
            "NotoColorEmoji, for example Debian's fonts-noto-color-emoji"
        )
    strike = tables["CBDT"].strikeData[0]
    shaper = uharfbuzz.Font(uharfbuzz.Face(font.read_bytes()))
    for sequence in sequences:
        buffer = uharfbuzz.Buffer()
        buffer.add_codepoints([int(point, 16) for point in sequence.split("-")])
        buffer.guess_segment_properties()
        uharfbuzz.shape(shaper, buffer)
        glyphs = [tables.getGlyphName(info.codepoint) for info in buffer.glyph_infos]
        drawn = [strike[glyph].imageData for glyph in glyphs if glyph in strike]
        if len(drawn) != 1:
            raise NcamError(f"{font.name} has no single bitmap for {sequence}: use NotoColorEmoji 2.042")
        yield drawn[0]


def build_sprites(font: Path, sequences: Sequence[str]) -> np.ndarray:
    """(N, 64, 64, 4) uint8, premultiplied RGBA, one sprite per sequence."""
    sprites = np.empty((len(sequences), SIZE, SIZE, 4), np.uint8)
    for sprite, png in zip(sprites, _bitmaps(font, sequences), strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))[:, 4:132].astype(np.uint32)
        pixels[..., :3] *= pixels[..., 3:]  # premultiplied, in units of 1 / 255^2
        pixels[..., 3] *= 255
        blocks = pixels.reshape(SIZE, 2, SIZE, 2, 4).sum((1, 3))
        sprite[:] = (blocks + 2 * 255) // (4 * 255)  # rounded mean
    return sprites
