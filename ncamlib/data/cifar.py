"""CIFAR-10 from its official binary archive: RGB photographs, float32 in [0, 1], (N, 3, 32, 32)."""

import tarfile
from pathlib import Path

import numpy as np
import torch

from ncamlib.data.images import Images
from ncamlib.errors import NcamError

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


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
