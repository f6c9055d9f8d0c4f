"""The recorded results: one JSON file that README, book and `ncam list` render from. No number is typed.

An experiment has two records. Its `best` run is the one that is shipped. Its `table` run was trained as the other rows
of its table were: only table runs are compared, and a better run never takes the place of one.
"""

from dataclasses import dataclass, replace
from typing import Any

from ncamlib import data
from ncamlib.config import to_dict
from ncamlib.errors import NcamError
from ncamlib.experiments import EXPERIMENTS
from ncamlib.model.base import Coded, Model
from ncamlib.project import Records
from ncamlib.results.measurement import measure

SCHEMA = 2
BEST, TABLE = "best", "table"
CURVE = (0.0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 1.0)  # mutation rates
CURVE_IMAGES = 1000  # of larger sets the curve is measured on a fixed sample of so many
SEEDS = 3  # draws that the error is averaged over


@dataclass(frozen=True)
class Part:
    """One training, or one of several that went on from each other."""

    step: int  # optimiser steps
    minutes: float
    device: str
    backend: str
    commit: str
    torch: str


@dataclass(frozen=True)
class Result:
    """One experiment, measured from its deployable checkpoint, with the provenance of the training run."""

    experiment: str
    mse: float
    mse_rgb_white: float
    psnr: float
    images: int
    mutation_rate: float
    fire_rate: float
    steps: int
    seeds: int
    mutation_curve: tuple[tuple[float, float], ...]  # (rate, MSE); empty for continuous codes
    train_steps: int
    minutes: float
    data_digest: str
    note: str
    parts: tuple[Part, ...]
    heldout_mse: float | None = None  # on the emoji newer than those of `full`, for its models with an encoder
    run: str = BEST
    attempts: int = 1  # runs of this experiment that were offered for this record

    @property
    def devices(self) -> list[str]:
        """The machines that it was trained on."""
        return list(dict.fromkeys(part.device for part in self.parts))

    @property
    def commits(self) -> list[str]:
        """The commits that trained it."""
        return list(dict.fromkeys(part.commit for part in self.parts))


def _upgrade(row: dict[str, Any]) -> dict[str, Any]:
    """A row of schema 1: the machines, commits, ... of its parts were joined by plus signs, their shares not kept."""
    names = ("device", "backend", "commit", "torch")
    columns = {name: row.pop(name).split(" + ") for name in names}
    count = max(map(len, columns.values()))
    empty = {"step": 0, "minutes": 0.0}
    parts = [empty | {name: column[min(i, len(column) - 1)] for name, column in columns.items()} for i in range(count)]
    if count == 1:
        parts[0] |= {"step": row["train_steps"], "minutes": row["minutes"]}
    return row | {"parts": parts}


RECORDS = Records("results.json", Result, "results", upgrade=_upgrade)


def measure_all(model: Model, images: data.Images, header: dict[str, Any]) -> Result:
    """Measure a model under the paper's conditions and over all mutation rates; `header` is its checkpoint's."""
    measured = measure(model, images, seeds=SEEDS)
    curve = ()
    if model.config.code == "dna":
        sample = images.sample(CURVE_IMAGES)
        curve = tuple((rate, measure(model, sample, rate, seeds=1).mse) for rate in CURVE)
    heldout = None
    if images.name == "full" and isinstance(model, Coded) and model.encoder is not None:
        unseen = data.emoji("heldout", model.config.image_size)
        heldout = measure(model, unseen, seeds=SEEDS).mse
    return Result(
        experiment=header["experiment"]["name"],
        **to_dict(measured),
        mutation_curve=curve,
        train_steps=header["step"],
        minutes=header["minutes"],
        data_digest=header["data_digest"],
        note=header["note"],
        parts=tuple(Part(**part) for part in header["parts"]),
        heldout_mse=heldout,
    )


def load(run: str = BEST) -> dict[str, Result]:
    """Recorded results by experiment, of best or of table runs; empty outside a checkout. NcamError if damaged."""
    return {row.experiment: row for row in _rows() if row.run == run}


def _rows() -> list[Result]:
    head, rows = RECORDS.read()
    if rows and head.get("schema") not in (1, SCHEMA):
        raise NcamError(f"{RECORDS.path} has schema {head.get('schema')}, this ncamlib reads {SCHEMA}")
    return rows


def record(result: Result) -> None:
    """Add or replace one experiment's best or table run."""
    rows = {(row.experiment, row.run): row for row in _rows()}
    known = rows.get((result.experiment, result.run))
    if known is not None and known.parts != result.parts:  # another run, not the same measured again
        result = replace(result, attempts=known.attempts + 1)
    rows[result.experiment, result.run] = result
    order = list(EXPERIMENTS)
    places = {name: i for i, name in enumerate(order)}
    ordered = sorted(rows.values(), key=lambda row: (places.get(row.experiment, len(order)), row.run))
    RECORDS.save(ordered, {"schema": SCHEMA})
