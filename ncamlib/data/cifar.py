"""CIFAR-10 from its official archives: RGB photographs, float32 in [0, 1], (N, 3, 32, 32)."""

import lzma
import pickletools
import tarfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import torch

from ncamlib.data.download import download
from ncamlib.data.images import Images
from ncamlib.errors import NcamError

ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR10_SOURCES = (
    f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}",
    f"https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/{ARCHIVE}",
)
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDERS = {"cifar-10-batches-bin": ".bin", "cifar-10-batches-py": ""}  # of the two archives: suffix of a batch
PIXELS = 3 * 32 * 32  # numbers of an image
MOST_BYTES = 2**26  # of a batch
BROKEN = (tarfile.TarError, zlib.error, lzma.LZMAError, LookupError, OSError, EOFError, ValueError, OverflowError)
OTHERWISE = "give the archive, or a folder of the pictures, with --data-dir"


def cifar10(archive: str | Path | None = None, test: bool = False) -> Images:
    """The 50,000 training images of CIFAR-10, (50000, 3, 32, 32), or with `test` its 10,000 test images.

    `archive` is the official binary or Python archive, packed or unpacked; without one, the binary one is downloaded
    once and checked by MD5. Batches are read in place: nothing is extracted, and a pickled one is never unpickled.
    """
    if archive is None:
        archive = download(CIFAR10_SOURCES, "CIFAR-10", ARCHIVE, f"md5:{CIFAR10_MD5}", OTHERWISE)
    batches = ["test_batch"] if test else [f"data_batch_{i}" for i in range(1, 6)]
    try:
        parts = [_batch(content) for content in _contents(Path(archive).expanduser(), batches)]
        if len({len(labels) for labels, _ in parts}) != 1:
            raise ValueError("a batch is shorter than the others")
        labels, pixels = (np.concatenate(column) for column in zip(*parts, strict=True))
    except BROKEN as error:
        raise NcamError(
            f"{archive} is damaged, or neither the binary nor the Python archive of CIFAR-10: get it again"
        ) from error
    names = [f"{CIFAR10_CLASSES[label]}-{i}" for i, label in enumerate(labels)]
    name = "cifar10-test" if test else "cifar10"
    return Images(name, torch.from_numpy(pixels.reshape(-1, 3, 32, 32)).float() / 255, names)


def is_cifar10(path: str | Path) -> bool:
    """Whether a path looks like the official archive: a packed file, or a folder with its batches."""
    path = Path(path).expanduser()
    return path.is_file() or any((_unpacked(path) / f"data_batch_1{suffix}").is_file() for suffix in FOLDERS.values())


def _unpacked(path: Path) -> Path:
    """Where the batches of an unpacked archive are: in this folder, or in the one inside it."""
    return next((path / name for name in FOLDERS if (path / name).is_dir()), path)


def _contents(archive: Path, batches: list[str]) -> list[bytes]:
    """The contents of the batch files; raises one of BROKEN."""
    if archive.is_dir():
        folder = _unpacked(archive)
        suffix = ".bin" if (folder / f"{batches[0]}.bin").exists() else ""
        return [_limited((folder / f"{name}{suffix}").open("rb")) for name in batches]
    with tarfile.open(archive) as tar:
        members = {member.name.removeprefix("./"): member for member in tar if member.isfile()}
        names = [[f"{folder}/{name}{suffix}" for name in batches] for folder, suffix in FOLDERS.items()]
        present = [name for those in names if those[0] in members for name in those]
        return [_limited(tar.extractfile(members[name])) for name in present]


def _limited(file: IO[bytes]) -> bytes:
    with file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError("a batch is too large")
    return content


def _batch(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) and pixels (N, 3072) of a batch, in uint8; ValueError for anything else."""
    if len(content) % (1 + PIXELS) == 0:
        records = np.frombuffer(content, np.uint8).reshape(-1, 1 + PIXELS)
        labels, pixels = records[:, 0], records[:, 1:]
    else:
        labels, pixels = _pickled(content)
    if len(labels) != len(pixels) or labels.max() >= len(CIFAR10_CLASSES):
        raise ValueError("the labels are damaged")
    return labels, pixels


def _pickled(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """A batch of the Python archive, from the operations that would build it, without running any of them."""
    longest, labels, key = "", [], ""
    for operation, value, _ in pickletools.genops(content):
        if isinstance(value, str | bytes):
            text = value if isinstance(value, str) else value.decode("latin-1")
            longest = max(longest, text, key=len)
            if text in ("labels", "data", "filenames", "batch_label"):
                key = text
        elif key == "labels" and operation.name.startswith("BININT"):
            labels.append(value)
    return np.array(labels, np.int64), np.frombuffer(longest.encode("latin-1"), np.uint8).reshape(-1, PIXELS)
