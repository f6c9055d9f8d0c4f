"""Small trials of the recipe: the effect of changing one setting, within the same few minutes.

Every trial trains a base experiment with one setting changed, on the same images and for the same time, and is
recorded in `figures/trials.json`, from which the book renders its table. These are single short runs: enough to choose
a recipe, not to prove anything. The trials of an earlier recipe stay recorded, but can no longer be run here.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ncamlib.config import Experiment, Stage, to_dict
from ncamlib.data.images import Images
from ncamlib.errors import NcamError, choice
from ncamlib.experiments import experiment
from ncamlib.model import checkpoint
from ncamlib.model.base import Model
from ncamlib.model.manifold import Growing
from ncamlib.project import Records, write_atomically
from ncamlib.results.measurement import measure
from ncamlib.training.loop import Diverged, train
from ncamlib.training.processes import InUse
from ncamlib.training.run import MODEL_FILE, Run

EARLIER_GRIDS = ((0.35, 32), (0.5, 40), (0.65, 48), (0.8, 56), (1.0, 64))  # of the recipe before this one
LEAK_EVERY = 25  # optimiser steps
MEASURED = 1000  # images in a fixed sample, if the set is larger

Change = Callable[[Experiment], Experiment]


def _train(**fields: Any) -> Change:
    return lambda base: replace(base, train=replace(base.train, **fields))


def _model(**fields: Any) -> Change:
    return lambda base: replace(base, model=replace(base.model, **fields))


def _stages(change: Callable[[Stage], Stage]) -> Change:
    return lambda base: _train(stages=tuple(change(stage) for stage in base.train.stages))(base)


def _steps_per_cell(ratio: float) -> Change:
    """Fix the ratio of automaton steps to the side of the grid, for every grid."""

    def change(base: Experiment) -> Experiment:
        base = _model(steps=round(ratio * base.model.image_size))(base)
        return _stages(lambda stage: replace(stage, steps=round(ratio * stage.grid)))(base)

    return change


def grids(*parts: tuple[float, int]) -> Change:
    """Other grids until these shares, with a learning rate that falls from beginning to end."""

    def change(base: Experiment) -> Experiment:
        ratio = base.model.steps / base.model.image_size
        starts = [0.0, *(until for until, _ in parts)]
        stages = tuple(
            Stage(until, grid, round(ratio * grid), rates=(1 - start, 1 - until))
            for start, (until, grid) in zip(starts, parts, strict=False)
        )
        return _train(stages=stages)(base)

    return change


def _after(*changes: Change) -> Change:
    """One change after the other."""
    return lambda base: functools.reduce(lambda experiment, change: change(experiment), changes, base)


def _seeds(variants: dict[str, Change]) -> dict[str, Change]:
    """Variants with three seeds each: enough to tell a difference from noise."""
    return {
        f"{row}, seed {seed}": _after(change, _train(seed=seed))
        for seed in range(3)
        for row, change in variants.items()
    }


def _ablation() -> dict[str, Change]:
    suffixes = {"full model": "", "no leak factor": "-noleak", "no normalisation": "-nonorm", "no slices": "-noslices"}
    return {row: lambda base, suffix=suffix: experiment(base.name + suffix) for row, suffix in suffixes.items()}


def _claims() -> dict[str, Change]:
    """What the paper claims, or leaves open, against the alternatives: all with the same number of optimiser steps."""
    stochastic, continuous = _after(_model(fire_rate=0.5), _steps_per_cell(1.5)), _model(code="ce")
    components = _train(components=True)  # as in all rows with continuous codes
    variants = {
        "DNA, synchronous": _train(),
        "CE, synchronous": _after(continuous, components),
        "CE with the noise of mutated DNA": _after(_model(code="ce", noise=LETTER_NOISE), components),
        "DNA, stochastic, 3 times the steps": stochastic,
        "CE, stochastic, 3 times the steps": _after(stochastic, continuous, components),
        "DNA, stochastic, as many steps": _model(fire_rate=0.5),
        "norm of the Sobel maps only": _model(norm="sobel"),
        "no norm": _model(norm="none"),
        "leak factors fixed": _model(leak="fixed"),
        "no leak factors": _model(leak="none"),
        "no leak factors, a third of the learning rate": _after(_model(leak="none"), _train(learning_rate=2e-3)),
        "FiLM instead of predicted weights": _model(predictor="film"),
    }
    return {name: _after(change, _train(steps=CLAIM_STEPS)) for name, change in variants.items()}


ABLATION = "variety-dna-sto"  # its trials belong to chapter 05, those without a table of their own to `choices`
CLAIMS = "claims"  # ... to the page on evidence
BASES = {CLAIMS: "chars-dna-syn"}  # of studies with a name of their own
CLAIM_STEPS = 500  # optimiser steps of each of its trials, instead of a time budget
LETTER_NOISE = 0.118  # `Information.noise` of chars-dna-syn

# Base experiment -> the change made by each trial, in words.
TRIALS: dict[str, dict[str, Change]] = {
    "full-ce-syn": {
        "the recipe": _train(),
        "zeros beyond the edge": _model(wrap=False),
        "64×64 from the start": grids((1.0, 64)),
        "32×32, 40, 48, 56, 64, as before": grids(*EARLIER_GRIDS),
        "leak factor not scaled with the grid": _train(scale_leak=False),
        "encoder's convolutions trained": _train(encoder_from=0.0),
        "encoder's convolutions trained from 80% on": _train(encoder_from=0.8),
        "embedding from random projections": _train(components=False),
        "no weight averaging": _train(ema=0.0),
        "constant learning rate": _stages(lambda stage: replace(stage, rates=(0.5, 0.5))),
        "batches drawn with replacement": _train(replacement=True),
    },
    "chars-dna-sto": {
        "steps: 3/4 of the side": _steps_per_cell(0.75),
        "steps: 3/2 of the side": _train(),
        "steps: 3 times the side": _steps_per_cell(3.0),
    },
    ABLATION: _seeds(_ablation()),
    CLAIMS: _seeds(_claims()),
}


@dataclass(frozen=True)
class Trial:
    """One recorded trial; the errors are None where the training diverged."""

    base: str
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


RECORDS = Records("trials.json", Trial)


def load() -> list[Trial]:
    """The recorded trials, in the order of the table."""
    known = [(base, change) for base, changes in TRIALS.items() for change in changes]
    places = {trial: place for place, trial in enumerate(known)}
    return sorted(RECORDS.load(), key=lambda row: places.get((row.base, row.change), len(places)))


def by_variant(base: str) -> dict[str, list[Trial]]:
    """The trials that differ only in the seed, by what they train."""
    variants: dict[str, list[Trial]] = {}
    for row in load():
        if row.base == base:
            variants.setdefault(row.change.removesuffix(f", seed {row.seed}"), []).append(row)
    return variants


def over_seeds(base: str) -> dict[str, list[float | None]]:
    """The errors of trials that differ only in the seed, by what they train; None if the training diverged."""
    return {variant: [row.mse for row in rows] for variant, rows in by_variant(base).items()}


class Leaks:
    """The automaton's leak factor along a training, kept in a file beside it: a resumed training goes on with it."""

    def __init__(self, file: Path):
        self.file = file

    def seen(self) -> tuple[tuple[int, float], ...]:
        """(optimiser step, factor at full size), so far."""
        return tuple(map(tuple, json.loads(self.file.read_text()))) if self.file.exists() else ()

    def add(self, step: int, model: Model) -> None:
        """Keep the factor of a model at this step, in place of those of later steps that are trained again."""
        if isinstance(model, Growing):
            earlier = [entry for entry in self.seen() if entry[0] < step]
            write_atomically(self.file, json.dumps([*earlier, (step, model.nca.leak().item())]).encode())

    def watch(self, run: Run) -> None:
        """To be called after every step."""
        if run.step % LEAK_EVERY == 1:
            self.add(run.step, run.model)


def _with(rows: Sequence[Trial], row: Trial) -> list[Trial]:
    """The rows and this one; unchanged if another process was quicker."""
    return [*rows] if any((one.base, one.change) == (row.base, row.change) for one in rows) else [*rows, row]


def run(
    base: str,
    out: Path,
    device: torch.device,
    images: Images,
    budget: float,
    report: Callable[[str], None] = print,
) -> None:
    """Train, measure and record every trial of a base experiment that is not recorded yet; `budget` seconds each.

    Several processes may run it at once: each takes the next trial that no other is training.
    """
    seconds = None if base == CLAIMS else budget
    for label, change in TRIALS[choice("trials", base, TRIALS)].items():
        if (base, label) in {(row.base, row.change) for row in load()}:
            continue
        trial = change(experiment(BASES.get(base, base)))
        settings = hashlib.sha256(json.dumps(to_dict(trial)).encode()).hexdigest()[:8]
        folder = out / f"{base}-{settings}"  # other settings, another folder
        leaks = Leaks(folder / "leaks.json")
        try:
            header = train(trial, images, folder, device, seconds, leaks.watch, quiet=True).header()
            done = header["minutes"] * 60 / budget if seconds else header["step"] / trial.train.steps
            if done < 0.98:
                raise NcamError(f"the trial '{label}' was stopped: run the same command to continue")
            model, _ = checkpoint.load_model(folder / MODEL_FILE, device)
            leaks.add(header["step"], model)
            sample = images.sample(MEASURED)
            mse, clean = measure(model, sample).mse, measure(model, sample, mutation_rate=0.0).mse
        except InUse:
            continue
        except Diverged:
            header, mse, clean = checkpoint.read(folder / MODEL_FILE, "model")[1], None, None
        about = {key: header[key] for key in ("minutes", "data_digest", "note")}
        about |= {key: header["parts"][-1][key] for key in ("device", "commit")}
        row = Trial(base, label, mse, clean, header["step"], seed=trial.train.seed, **about, leaks=leaks.seen())
        RECORDS.update(functools.partial(_with, row=row))
        report(f"{base}, {label}: " + ("diverged" if mse is None else f"MSE {mse:.4f}, clean {clean:.4f}"))
