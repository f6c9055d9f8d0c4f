"""Pictures and tensors: read, written, enlarged, laid out on a sheet, animated.

F frames, N images, C channels, H W pixels. RGBA is premultiplied; pictures are shown over white unless said otherwise.
"""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from ncamlib.data.images import evenly
from ncamlib.errors import NcamError
from ncamlib.project import write_atomically

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}  # that are read
MOST_PIXELS, MOST_SIDE = 2**24, 1024  # of a picture that is read; beyond this side it is shrunk first
MOST_WRITTEN = 2**28  # pixels of an animation; a strip, which is drawn in floats, has a quarter
MOST_GROWN = 2**26  # cells of all frames together
STRIP = 9  # frames of a strip
ANIMATIONS, PICTURES = (".gif", ".apng"), (".png",)  # that are written


def load_image(path: Path, size: int, channels: int = 4) -> tuple[Tensor, tuple[int, int]]:
    """One picture as a (channels, size, size) tensor, premultiplied; and the size it had (W, H), held upright.

    Other sizes are resized (padded to a square first). NcamError for a file that is broken, too large, or has
    values without a known white level.
    """
    if not path.exists():
        raise NcamError(f"there is no picture {path}")
    if not path.is_file():
        raise NcamError(f"{path} is not a file: give a picture")
    picture = _opened(path)
    original, side = picture.size, max(picture.size)
    pixels = torch.from_numpy(_square(picture)).permute(2, 0, 1).contiguous()
    if side != size:
        method = Image.Resampling.BOX if side > size else Image.Resampling.BICUBIC
        bands = [Image.fromarray(band.numpy()).resize((size, size), method) for band in pixels]
        pixels = torch.from_numpy(np.stack([np.asarray(band) for band in bands])).clamp(0, 1)
        pixels[:3] = pixels[:3].minimum(pixels[3])  # bicubic weights overshoot: no colour beyond its own alpha
    return (pixels if channels == 4 else over_white(pixels)), original


def _opened(path: Path) -> Image.Image:
    """The picture in a file, in RGBA, held upright. NcamError if it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is odd, but can be read
            with Image.open(path) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    sides = f"{opened.width}x{opened.height}"
                    raise NcamError(f"{path} has {sides} pixels, more than {MOST_PIXELS:,}: scale it down")
                bits = getattr(opened, "tag_v2", {}).get(258, (16,))[0]  # TIFF: bits per sample
                whole = opened.mode != "I" or opened.format == "PNG"  # else integers of 32 bits
                upright = ImageOps.exif_transpose(opened)  # cameras store which way is up, and leave the pixels
                return _eight_bits(upright, path, 4095 if bits == 12 else 65535 if whole else 0).convert("RGBA")
    except NcamError:
        raise
    except Exception as error:  # Pillow passes on whatever its readers raise
        why = " ".join(str(error).split())
        raise NcamError(f"{path} is not a picture that can be read ({why}): remove or replace it") from error


def _eight_bits(picture: Image.Image, path: Path, white: int) -> Image.Image:
    """Reduce a picture to 8 bits per channel if it has more; `white` is the level of white in integers, 0 if that is
    not known. Pillow's own conversion clips at 255.
    """
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        return picture
    values = np.asarray(picture)
    white = 1 if picture.mode == "F" else white
    if not white or values.min() < 0 or values.max() > white:
        have = f"{values.min():g} to {values.max():g}"
        raise NcamError(f"{path} has values from {have}, with no known white: save it with 8 or 16 bits per channel")
    grey = Image.fromarray((values / white * 255).round().astype(np.uint8))
    key = picture.info.get("transparency")
    if isinstance(key, int):  # this grey means transparent
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


def _square(picture: Image.Image) -> np.ndarray:
    """RGBA in the middle of a square, premultiplied before any resizing: no dark or bright rims. -> (S, S, 4)."""
    side = max(picture.size)
    if side > MOST_SIDE:  # shrunk first: the square of a thin picture would be immense
        sides = [max(1, round(length * MOST_SIDE / side)) for length in picture.size]
        picture, side = picture.convert("RGBa").resize(sides, Image.Resampling.BOX), MOST_SIDE
    square = Image.new(picture.mode, (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    premultiplied = np.asarray(square).astype(np.float32) / 255
    if picture.mode == "RGBA":
        premultiplied[..., :3] *= premultiplied[..., 3:]
    return premultiplied


def over_white(rgba: Tensor) -> Tensor:
    """Premultiplied RGBA (..., 4, H, W) -> RGB over white; RGB passes through."""
    if rgba.shape[-3] == 3:
        return rgba
    return rgba[..., :3, :, :] + (1 - rgba[..., 3:4, :, :])


def to_picture(rgb: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1], clamped -> an 8-bit picture."""
    levels = (rgb.clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).cpu().contiguous().numpy(), "RGB")


def enlarge(images: Tensor, factor: int) -> Tensor:
    """Every pixel as factor x factor pixels. (N, C, H, W) -> (N, C, factor H, factor W)."""
    return images.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def sheet(images: Tensor, columns: int, gap: int = 4) -> Tensor:
    """Images side by side over white, `columns` to a row. (N, 3 or 4, H, W) -> (3, H', W')."""
    rgb = over_white(images).clamp(0, 1)
    rows = -(-len(rgb) // columns)
    blank = rgb.new_ones(rows * columns - len(rgb), *rgb.shape[1:])
    padded = F.pad(torch.cat([rgb, blank]), (0, gap, 0, gap), value=1.0)
    h, w = padded.shape[-2:]
    grid = padded.view(rows, columns, 3, h, w).permute(2, 0, 3, 1, 4).reshape(3, rows * h, columns * w)
    return grid[:, : rows * h - gap, : columns * w - gap]


def check_growth(path: Path | str, frames: int, side: int, scale: int) -> None:
    """NcamError if a growth cannot be written: a name that ends in nothing we know, or more pixels than fit in memory.

    So many frames, each of so many cells a side, each `scale` pixels wide. To be asked before growing, too.
    """
    path = Path(path)
    if frames < 1:
        raise NcamError(f"there is no frame to write to {path.name}: grow at least one")
    suffix = path.suffix.lower()
    if suffix not in ANIMATIONS + PICTURES:
        raise NcamError(f"cannot write {path.name}: the name must end in {', '.join(ANIMATIONS + PICTURES)}")
    shown, most = (frames, MOST_WRITTEN) if suffix in ANIMATIONS else (min(frames, STRIP), MOST_WRITTEN // 4)
    if shown * (scale * side) ** 2 > most or shown * side**2 > MOST_GROWN:
        raise NcamError(
            f"{shown} pictures of {scale * side}x{scale * side} pixels are too large to write: "
            "choose a smaller scale or grid, or fewer steps"
        )


def save_growth(path: Path | str, frames: Tensor, scale: int = 4, milliseconds: int = 60) -> None:
    """Write a growth as an animation (.gif, .apng) or as a strip of at most nine frames (.png).

    frames (F, 3 or 4, H, W). The last frame of an animation stays for a second.
    """
    path = Path(path)
    check_growth(path, len(frames), max(frames.shape[-2:]), scale)
    suffix, buffer = path.suffix.lower(), io.BytesIO()
    if suffix in PICTURES:
        times = evenly(len(frames), STRIP)
        to_picture(sheet(enlarge(frames[times], scale), len(times))).save(buffer, "PNG")
    else:
        pictures = [to_picture(enlarge(frame[None], scale)[0]) for frame in over_white(frames)]
        durations = [milliseconds] * (len(pictures) - 1) + [1000]
        options: dict[str, Any] = {"save_all": True, "append_images": pictures[1:], "duration": durations, "loop": 0}
        pictures[0].save(buffer, "GIF" if suffix == ".gif" else "PNG", **options)
    write_atomically(path, buffer.getvalue())
