"""The images of an experiment: a subset of the emoji, one of them, CIFAR-10, or a folder of pictures."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from ncamlib.data.cifar import cifar10, is_cifar10
from ncamlib.data.images import Images
from ncamlib.data.pictures import IMAGE_SUFFIXES, load_image
from ncamlib.data.sprites import SUBSETS, emoji, manifest, members, single
from ncamlib.errors import NcamError, choice

PHOTOGRAPHS = ("cifar10", "cifar10-test")


def folder(
    path: str | Path,
    size: int = 64,
    channels: int = 4,
    skip_broken: bool = False,
    say: Callable[[str], None] | None = None,
) -> Images:
    """Every picture under `path` as one set, named by relative path.

    A broken picture is named and refused, or named and skipped if `skip_broken`. Pictures of another size are resized
    and other files ignored; `say` (default: stderr) is told how many. Files that systems keep for themselves are passed
    over: hidden files and folders, and those that begin with @.
    """
    say = say or functools.partial(print, file=sys.stderr)
    path = Path(path).expanduser()
    if path.is_file():
        raise NcamError(f"{path} is a file: give a folder of PNG or JPEG pictures")
    if not path.is_dir():
        raise NcamError(f"there is no folder {path}: give a folder of PNG or JPEG pictures")
    everything = [f for f in path.rglob("*") if f.is_file() and not _of_the_system(f.relative_to(path))]
    files = sorted(f for f in everything if f.suffix.lower() in IMAGE_SUFFIXES)
    if len(files) < len(everything):
        say(f"{len(everything) - len(files)} other files in {path} were ignored")
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
        names.append(_readable(file.relative_to(path)))
    if not pixels:
        raise NcamError(f"no picture in {path} could be read")
    if resized:
        say(f"{resized} of {len(pixels)} pictures in {path} were resized to {size}x{size}")
    name = named(path)
    note = f"from the folder {name}"
    return Images(name, torch.stack(pixels), names, note=note)


def named(path: Path) -> str:
    """What the pictures of a folder are called: as the folder, with 'own-' before it where that is the name of images
    that are loaded without one.
    """
    name = _readable(Path(path.expanduser().resolve().name))
    return f"own-{name}" if known(name) else name


def _readable(path: Path) -> str:
    """A path as text, also one whose name is not in UTF-8."""
    return os.fsencode(path.as_posix()).decode(errors="backslashreplace")


def _of_the_system(file: Path) -> bool:
    return any(part.startswith((".", "@")) for part in file.parts)


def load(
    name: str, size: int, channels: int = 4, data_dir: str | Path | None = None, skip_broken: bool = False
) -> Images:
    """The images of an experiment: an emoji subset, one emoji by name, a part of CIFAR-10, or the folder `data_dir`.

    For CIFAR-10, `data_dir` may also be its official archive, packed or unpacked.
    """
    data_dir = Path(data_dir) if data_dir else None
    photographs = name in PHOTOGRAPHS
    if photographs and (data_dir is None or is_cifar10(data_dir)):
        return cifar10(data_dir, test=name == "cifar10-test")
    if data_dir is not None:
        return folder(data_dir, size, channels, skip_broken)
    if any(row["name"] == name for row in manifest()):
        return single(name, size)
    return emoji(choice("dataset", name, (*SUBSETS, *PHOTOGRAPHS)), size)


def known(name: str) -> bool:
    """Whether images of this name can be loaded without a folder."""
    return name in (*SUBSETS, *PHOTOGRAPHS) or any(row["name"] == name for row in manifest())


def names(name: str) -> list[str]:
    """The names of an emoji subset's images, or of one emoji; none for photographs."""
    if name in SUBSETS:
        return [manifest()[i]["name"] for i in members(name)]
    return [] if name in PHOTOGRAPHS else [name]
