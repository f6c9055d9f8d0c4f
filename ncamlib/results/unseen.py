"""How models do on images that they were not trained on, beside what needs no model. N images."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ncamlib.data.images import Images
from ncamlib.data.sprites import versions
from ncamlib.machine import device_name
from ncamlib.model.base import Model
from ncamlib.project import Records, commit
from ncamlib.results.measurement import SEEDS, Measurement, measure
from ncamlib.results.pca import LinearCode

PART = 256  # images compared at once


@dataclass(frozen=True)
class Version:
    """Unseen emoji of one version of the standard."""

    version: str
    images: int
    mse: float
    nearest: float


@dataclass(frozen=True)
class Unseen:
    """One model on unseen images; its errors on those it was trained on are in the results."""

    experiment: str
    images: str
    note: str  # where the images come from, if that changes how a number reads
    measured: Measurement
    mean: float  # MSE of the mean of the training images
    nearest: float  # MSE of the nearest training image
    components: int  # of the training images
    linear: float  # residual MSE of so many, as many as the code has numbers
    train_steps: int
    trained_on: str  # the digest of the training images
    data_digest: str  # of the unseen ones
    device: str
    commit: str
    versions: tuple[Version, ...] = ()  # of emoji, the oldest first


RECORDS = Records("unseen.json", Unseen)


def nearest(known: Images, unseen: Images) -> Tensor:
    """The MSE of the nearest known image, for each unseen one: (N,)."""
    flat, others = unseen.pixels.flatten(1), known.pixels.flatten(1)
    distances = [torch.cdist(part, others).min(1).values for part in flat.split(PART)]
    return torch.cat(distances).square() / flat.shape[1]


def mean(known: Images, unseen: Images) -> float:
    """The MSE of the mean of the known images."""
    return (unseen.pixels - known.pixels.mean(0)).square().mean().item()


@torch.no_grad()
def measure_unseen(model: Model, known: Images, header: dict[str, Any], unseen: Images) -> Unseen:
    """Measure a model on unseen images, and what its training images alone say about them."""
    linear, distances = LinearCode(known, model.config.embedding), nearest(known, unseen)
    return Unseen(
        experiment=header["experiment"]["name"],
        images=unseen.name,
        note=unseen.note,
        measured=measure(model, unseen, seeds=SEEDS),
        mean=mean(known, unseen),
        nearest=distances.mean().item(),
        components=len(linear),
        linear=linear.error(unseen),
        train_steps=header["step"],
        trained_on=header["data_digest"],
        data_digest=unseen.digest,
        device=device_name(model.device),
        commit=commit(),
        versions=_by_version(model, unseen, distances),
    )


def _by_version(model: Model, unseen: Images, distances: Tensor) -> tuple[Version, ...]:
    """The errors version by version; distances (N,) are those from the nearest known images."""
    places: dict[str, list[int]] = {}
    for i, version in enumerate(versions(unseen)):
        places.setdefault(version, []).append(i)
    return tuple(
        Version(version, len(some), measure(model, unseen.pick(some), seeds=SEEDS).mse, distances[some].mean().item())
        for version, some in sorted(places.items(), key=lambda item: float(item[0]))
    )


def record(row: Unseen) -> None:
    """Add a row, in place of an earlier one of the same experiment."""

    def changed(rows: list[Unseen]) -> list[Unseen]:
        return sorted([*(one for one in rows if one.experiment != row.experiment), row], key=lambda one: one.experiment)

    RECORDS.update(changed)
