"""The linear baseline for the paper's numbers: the residual error of PCA on a set of images.

For squared error, principal components are the best linear code. N images, K components.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ncamlib.data.images import Images
from ncamlib.errors import NcamError
from ncamlib.project import Records, commit

MOST = 1024  # components recorded: the longest code of the paper


def errors(images: Images) -> Tensor:
    """Residual MSE after k principal components, from k = 0 (the mean image alone) on: (K + 1,).

    Fitted on the same images that it is measured on, as the models are.
    """
    flat = images.pixels.flatten(1).double()
    flat -= flat.mean(0)
    # Of the Gram matrix and the covariance, which share their eigenvalues, the smaller.
    products = flat @ flat.T if len(flat) <= flat.shape[1] else flat.T @ flat
    energy = torch.linalg.eigvalsh(products).flip(0).clamp_min(0)
    left = energy.sum() - torch.cat([energy.new_zeros(1), energy.cumsum(0)])
    return left.clamp_min(0) / flat.numel()


class LinearCode:
    """The first principal components of a set: the best linear code of this length."""

    def __init__(self, images: Images, components: int):
        flat = images.pixels.flatten(1)
        self.mean = flat.mean(0)
        centred = flat - self.mean
        kept = max(1, min(components, len(images) - 1, flat.shape[1]))
        if len(images) <= flat.shape[1]:  # the smaller of the two matrices that share their eigenvalues
            values, vectors = torch.linalg.eigh((centred @ centred.T).double())
            there = values > 1e-6 * values[-1]  # copies of an image add no direction
            values, vectors = values[there][-kept:], vectors[:, there][:, -kept:]
            self.axes = (vectors / values.sqrt()).float().T @ centred  # (K, C * H * W), orthonormal
        else:
            self.axes = torch.linalg.eigh((centred.T @ centred).double())[1][:, -kept:].float().T

    def __len__(self) -> int:
        """The number of components: no more than the images have."""
        return len(self.axes)

    def error(self, images: Images) -> float:
        """Residual MSE of the code on a set, which may be one it was not fitted to."""
        centred = images.pixels.flatten(1) - self.mean
        return (centred - (centred @ self.axes.T) @ self.axes).square().mean().item()


@dataclass(frozen=True)
class Recorded:
    """The errors of a set of images, kept so that tables need neither the images nor the time."""

    images: str
    count: int
    note: str
    data_digest: str
    commit: str
    errors: tuple[float, ...]  # as `errors`, up to MOST components

    def left(self, components: int) -> float:
        """Residual MSE after this many components."""
        return self.errors[min(components, len(self.errors) - 1)]

    def equal(self, error: float) -> int | None:
        """The fewest components with at most this residual `error`; None if that takes more than are recorded."""
        return next((k for k, left in enumerate(self.errors) if left <= error), None)


RECORDS = Records("pca.json", Recorded)


@functools.cache
def _load(file: Path, changed: int) -> dict[str, Recorded]:
    return {row.data_digest: row for row in RECORDS.load()}


def load() -> dict[str, Recorded]:
    """The recorded errors, by the digest of the images; empty outside a checkout."""
    try:
        file = RECORDS.path
    except NcamError:
        return {}
    return _load(file, file.stat().st_mtime_ns) if file.exists() else {}


def record(images: Images) -> Recorded:
    """Compute and record the errors of a set of images."""
    left = tuple(float(f"{error:.5g}") for error in errors(images)[: MOST + 1].tolist())
    row = Recorded(images.name, len(images), images.note, images.digest, commit(), left)
    RECORDS.update(lambda rows: list(({r.data_digest: r for r in rows} | {row.data_digest: row}).values()))
    return row
