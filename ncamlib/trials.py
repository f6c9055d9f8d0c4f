"""Small trials of the recipe: what a change of one setting does within the same few minutes.

Every trial trains a base experiment with one setting changed, on the same images and the same time, and is
recorded in `figures/trials.json`, from which the book renders its table. Single short runs: they choose a
recipe, they prove nothing.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ncamlib import checkpoint
from ncamlib.config import Experiment, Stage, from_dict, to_dict
from ncamlib.datasets import Images
from ncamlib.errors import NcamError, choice
from ncamlib.evaluate import measure
from ncamlib.experiments import experiment
from ncamlib.provenance import project_root
from ncamlib.results import machine, number
from ncamlib.run import MODEL_FILE
from ncamlib.train import Diverged, train

RECIPE = ((0.35, 32), (0.5, 40), (0.65, 48), (0.8, 56))  # the registry's grids for emoji
MEASURED = 1000  # images of a fixed sample, where the set is larger

Change = Callable[[Experiment], Experiment]


def _train(**fields: Any) -> Change:
    return lambda base: replace(base, train=replace(base.train, **fields))


def _model(**fields: Any) -> Change:
    return lambda base: replace(base, model=replace(base.model, **fields))


def _curriculum(*stages: tuple[float, int], per_cell: float = 0.5) -> Change:
    """Grids until these shares of the time; `per_cell` steps for every cell of a side, also at full size."""
    parts = tuple(Stage(until, grid, round(per_cell * grid)) for until, grid in stages)

    def change(base: Experiment) -> Experiment:
        model = replace(base.model, steps=round(per_cell * base.model.image_size))
        return replace(base, model=model, train=replace(base.train, curriculum=parts))

    return change


def _chars(change: Change) -> Change:
    return lambda base: change(_train(batch=16)(base))  # the recipe when these trials began


def _variants() -> dict[str, Change]:
    """The rows of the ablation with three seeds each: enough to tell a difference from chance."""
    suffixes = {"full model": "", "no leak factor": "-noleak", "no normalisation": "-nonorm", "no slices": "-noslices"}

    def variant(suffix: str, seed: int) -> Change:
        return lambda base: _train(seed=seed)(experiment(base.name + suffix))

    return {f"{row}, seed {seed}": variant(suffix, seed) for seed in range(3) for row, suffix in suffixes.items()}


ABLATION = "variety-dna-sto"  # its trials belong to chapter 05, the others to the table of the recipe

# Base experiment -> what each trial changes, in words.
TRIALS: dict[str, dict[str, Change]] = {
    "chars-dna-syn": {
        "batch 16, seed 0": _chars(_train()),
        "batch 16, seed 1": _chars(_train(seed=1)),
        "learning rate 3e-3": _chars(_train(learning_rate=3e-3)),
        "learning rate 1.2e-2": _chars(_train(learning_rate=1.2e-2)),
        "batch 8": _train(batch=8),
        "batch 32": _train(batch=32),
        "EMA 0.98": _chars(_train(ema=0.98)),
        "64×64 from the start": _chars(_curriculum()),
        "32×32 for 60%, then 48, 64": _chars(_curriculum((0.6, 32), (0.8, 48))),
        "64×64 for the last 40%": _chars(_curriculum((0.3, 32), (0.4, 40), (0.5, 48), (0.6, 56))),
        "steps: 3/4 of the side": _chars(_curriculum(*RECIPE, per_cell=0.75)),
        "steps: 3/8 of the side": _chars(_curriculum(*RECIPE, per_cell=0.375)),
        "second layer starts at full size": _chars(_model(second_layer_start=1.0)),
        "second layer starts at zero": _chars(_model(second_layer_start=0.0)),
        "mutation rate from 0 to 0.5": _chars(_train(mutation=(0.0, 0.5))),
    },
    "chars-dna-sto": {
        "batch 8": _train(batch=8),
        "batch 4": _train(batch=4),
        "learning rate falls from 60% on": _train(decay_from=0.6),
        "learning rate falls from 80% on": _train(decay_from=0.8),
    },
    "cifar10-dna-syn": {
        "batch 64, 32×32 throughout": _train(batch=64, curriculum=()),
        "batch 32, 32×32 throughout": _train(batch=32, curriculum=()),
        "batch 16, 32×32 throughout": _train(batch=16, curriculum=()),
        "batch 16, 16×16 for 40%, then 24, 32": _curriculum((0.4, 16), (0.7, 24)),
    },
    "lizard-single-sto": {
        "learning rate 6e-3": _train(learning_rate=6e-3),
        "learning rate 6e-3, 64×64 from the start": _train(learning_rate=6e-3, curriculum=()),
        "learning rate 2e-3": _train(learning_rate=2e-3),
        "learning rate 2e-2": _train(learning_rate=2e-2),
        "learning rate 6e-2": _train(learning_rate=6e-2),
    },
    ABLATION: _variants(),
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


def path() -> Path:
    """Where the trials are recorded."""
    return project_root() / "figures" / "trials.json"


def load() -> list[Trial]:
    """The recorded trials, in the order of the table."""
    if not path().exists():
        return []
    rows = [from_dict(Trial, row) for row in json.loads(path().read_text(encoding="utf-8"))]
    known = [(base, change) for base, changes in TRIALS.items() for change in changes]
    places = {trial: place for place, trial in enumerate(known)}
    return sorted(rows, key=lambda row: places.get((row.base, row.change), len(places)))


def over_seeds(base: str) -> dict[str, list[float | None]]:
    """The errors of trials that differ in the seed alone, by what they train; None where a training diverged."""
    found: dict[str, list[float | None]] = {}
    for row in load():
        if row.base == base:
            found.setdefault(row.change.removesuffix(f", seed {row.seed}"), []).append(row.mse)
    return found


def run(
    base: str,
    out: Path,
    device: torch.device,
    images: Images,
    budget: float,
    report: Callable[[str], None] = print,
) -> None:
    """Train, measure and record every trial of a base experiment that is not recorded yet; `budget` seconds each."""
    done = {(row.base, row.change) for row in load()}
    for label, change in TRIALS[choice("trials", base, TRIALS)].items():
        if (base, label) in done:
            continue
        chosen = change(experiment(base))
        settings = hashlib.sha256(json.dumps(to_dict(chosen)).encode()).hexdigest()[:8]
        folder = out / f"{base}-{settings}"  # other settings, another folder
        try:
            header = train(chosen, images, folder, device, budget, quiet=True).header()
            if header["minutes"] * 60 < 0.98 * budget:
                raise NcamError(f"the trial '{label}' was stopped: the same command continues")
            model, _ = checkpoint.load_model(folder / MODEL_FILE, device)
            sample = images.sample(MEASURED)
            mse, clean = measure(model, sample).mse, measure(model, sample, mutation_rate=0.0).mse
        except Diverged:
            header, mse, clean = checkpoint.read(folder / MODEL_FILE, "model")[1], None, None
        keys = ("minutes", "device", "commit", "data_digest", "note")
        row = Trial(
            base, label, mse, clean, header["step"], seed=chosen.train.seed, **{key: header[key] for key in keys}
        )
        content = json.dumps([to_dict(r) for r in [*load(), row]], indent=1, ensure_ascii=False) + "\n"
        checkpoint.write_atomically(path(), content.encode())
        report(f"{base}, {label}: " + ("diverged" if mse is None else f"MSE {mse:.4f}, clean {clean:.4f}"))


def markdown(rows: Sequence[Trial]) -> str:
    """The trials as a Markdown table."""

    def shown(value: float | None) -> str:
        return "diverged" if value is None else number(value)

    lines = ["| trial | optimiser steps | MSE, 50% mutation | MSE, clean codes |", "|---|--:|--:|--:|"]
    last = None
    for row in rows:
        if row.base != last:
            commits = " and ".join(dict.fromkeys(r.commit[:7] for r in rows if r.base == row.base))
            where = f"{row.minutes:.0f} min each, {machine(row.device)}, commit {commits}"
            lines.append(f"| **`{row.base}`**, {where} | | | |")
        last = row.base
        lines.append(f"| {row.change} | {row.train_steps:,} | {shown(row.mse)} | {shown(row.mse_clean)} |")
    return "\n".join(lines)
