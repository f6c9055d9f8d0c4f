"""Trials: the effect of changing one setting, within the same few minutes or the same number of optimiser steps.

Every trial trains the base experiment of a study (`studies`) with one setting changed, on the same images, and is
recorded in `figures/trials.json`, from which the book renders its tables. Single short runs are enough to choose a
recipe, not to prove anything; studies of claims have several seeds. The trials of an earlier recipe stay recorded, but
can no longer be run here.
"""

import functools
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ncamlib.config import to_dict
from ncamlib.data.images import Images
from ncamlib.model import checkpoint
from ncamlib.model.base import Model
from ncamlib.model.manifold import Growing
from ncamlib.project import Records, write_atomically
from ncamlib.results import studies
from ncamlib.results.measurement import felt_far_away, measure
from ncamlib.training.loop import Diverged, train
from ncamlib.training.processes import InUse, Stopped
from ncamlib.training.run import MODEL_FILE, Run

LEAK_EVERY = 25  # optimiser steps
MEASURED, FELT = 1000, 96  # images in a fixed sample, if the set is larger: for errors, and for `felt_far_away`


@dataclass(frozen=True)
class Trial:
    """One recorded trial; the errors are None where the training diverged."""

    study: str  # of `studies.STUDIES`, or of an earlier recipe
    change: str
    mse: float | None  # at 50% mutation
    mse_clean: float | None  # codes as encoded
    train_steps: int
    minutes: float
    seed: int
    device: str
    commit: str
    data_digest: str
    note: str
    leaks: tuple[tuple[int, float], ...] = ()  # (optimiser step, the automaton's leak factor at full size)
    mse_2t: float | None = None  # after twice the steps of growth; None: beyond all bounds, or not measured
    far: float | None = None  # see `felt_far_away`; None if not measured


def _upgrade(row: dict[str, Any]) -> dict[str, Any]:
    """A row by an earlier commit, which named a study after its base."""
    return {"study" if name == "base" else name: value for name, value in row.items()}


RECORDS = Records("trials.json", Trial, upgrade=_upgrade)


def load() -> list[Trial]:
    """The recorded trials, in the order of the tables: study by study, those of an earlier recipe last."""
    known = [(name, change) for name, study in studies.STUDIES.items() for change in study.changes]
    places = {trial: place for place, trial in enumerate(known)}
    rows = RECORDS.load()
    earlier = {name: place for place, name in enumerate(dict.fromkeys(row.study for row in rows), len(places))}
    return sorted(rows, key=lambda row: places.get((row.study, row.change), earlier[row.study]))


def of_the_recipe() -> tuple[list[Trial], list[Trial]]:
    """The recorded trials that `choices` shows: those of the present recipe, and those of earlier recipes, which no
    study has any more. Studies of the paper's claims are shown elsewhere.
    """
    rows, known, shown = load(), studies.STUDIES, (*studies.RECIPE, studies.NO_SLICES, studies.QUARTER)
    current = [row.study in known and row.change in known[row.study].changes for row in rows]
    present = [row for row, is_current in zip(rows, current, strict=True) if is_current and row.study in shown]
    return present, [row for row, is_current in zip(rows, current, strict=True) if not is_current]


def by_variant(study: str) -> dict[str, list[Trial]]:
    """The trials that differ only in the seed, by what they train."""
    variants: dict[str, list[Trial]] = {}
    for row in load():
        if row.study == study:
            variants.setdefault(row.change.removesuffix(f", seed {row.seed}"), []).append(row)
    return variants


def over_seeds(study: str) -> dict[str, list[float | None]]:
    """The errors of trials that differ only in the seed, by what they train; None if the training diverged."""
    return {variant: [row.mse for row in rows] for variant, rows in by_variant(study).items()}


class Leaks:
    """The automaton's leak factor along a training, kept in a file beside it: a resumed training goes on with it."""

    def __init__(self, file: Path):
        self.file = file

    def seen(self) -> tuple[tuple[int, float], ...]:
        """(optimiser step, factor at full size), so far."""
        return tuple(map(tuple, json.loads(self.file.read_text()))) if self.file.exists() else ()

    def add(self, step: int, model: Model) -> None:
        """Keep the factor of a model at this step, to five digits, in place of those of later steps that are trained
        again.
        """
        if isinstance(model, Growing):
            earlier = [entry for entry in self.seen() if entry[0] < step]
            factor = float(f"{model.nca.leak().item():.5g}")
            write_atomically(self.file, json.dumps([*earlier, (step, factor)]).encode())

    def watch(self, run: Run) -> None:
        """To be called after every step."""
        if run.step % LEAK_EVERY == 1:
            self.add(run.step, run.model)


def _with(rows: Sequence[Trial], row: Trial) -> list[Trial]:
    """The rows and this one; unchanged if another process was quicker."""
    return [*rows] if any((one.study, one.change) == (row.study, row.change) for one in rows) else [*rows, row]


def _measured(model: Model, images: Images) -> dict[str, float | None]:
    """What is measured of a trained model, by the fields of a trial; None for what is beyond all bounds."""
    sample = images.sample(MEASURED)
    errors = {"mse": measure(model, sample).mse, "mse_clean": measure(model, sample, mutation_rate=0.0).mse}
    if isinstance(model, Growing):
        errors["mse_2t"] = measure(model, sample, steps=2 * model.config.steps).mse
        errors["far"] = felt_far_away(model, sample.sample(FELT).pixels)
    return {name: value if math.isfinite(value) else None for name, value in errors.items()}


def run(
    name: str,
    out: Path,
    device: torch.device,
    images: Images,
    budget: float,
    report: Callable[[str], None] = print,
) -> None:
    """Train, measure and record every trial of a study that is not recorded yet; `budget` seconds each, unless the
    study says how many minutes or optimiser steps they have.

    Several processes may run it at once: each takes the next trial that no other is training.
    """
    study = studies.study(name)
    budget = 60 * study.minutes if study.minutes else budget
    seconds = None if study.steps else budget
    if study.changes.keys() <= {row.change for row in load() if row.study == name}:
        report(f"{name}: all {len(study.changes)} trials are recorded already")
    for label in study.changes:
        if (name, label) in {(row.study, row.change) for row in load()}:
            continue
        trial = study.trial(label)
        settings = hashlib.sha256(json.dumps(to_dict(trial)).encode()).hexdigest()[:8]
        folder = out / f"{name}-{settings}"  # other settings, another folder
        leaks = Leaks(folder / "leaks.json")
        try:
            trained = train(trial, images, folder, device, seconds, leaks.watch, quiet=True)
            if trained.stopped:
                raise Stopped(trained.stopped, f"the trial '{label}' was stopped: run the same command to continue")
            leaks.add(trained.step, trained.model)
            model, header = checkpoint.load_model(folder / MODEL_FILE, device)
            errors = _measured(model, images)
        except InUse as error:
            report(f"{name}, {label}: left to another: {error}")
            continue
        except Diverged as error:
            header, errors = checkpoint.read(folder / MODEL_FILE, "model")[1], {"mse": None, "mse_clean": None}
            header |= {"step": error.step, "minutes": round(error.seconds / 60, 2)}  # further than it was saved
        about = {key: header[key] for key in ("minutes", "data_digest", "note")}
        about |= {key: header["parts"][-1][key] for key in ("device", "commit")}
        steps, seed = header["step"], trial.train.seed
        row = Trial(name, label, **errors, train_steps=steps, seed=seed, **about, leaks=leaks.seen())
        RECORDS.update(functools.partial(_with, row=row))
        shown = [f"{key} {value:.4f}" for key, value in errors.items() if value is not None]
        report(f"{name}, {label}: {', '.join(shown) or 'diverged'}")
