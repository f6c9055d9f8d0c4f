"""What trials vary: studies of the recipe, of what the paper claims or leaves open, and of its ablation.

A study is a base experiment and the changes made to it, by what they are called in tables. A variant that is trained
with several seeds has one change for each.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ncamlib.config import Experiment, Stage
from ncamlib.errors import NcamError, choice
from ncamlib.experiments import experiment

RATES = (2e-3, 6e-3, 1.8e-2)  # the learning rates that each row of the ablation is trained with
AT_RATE = ", learning rate "
UNSCALED = "full model, leak factor not scaled with the grid"
LETTER_NOISE = 0.118  # `Information.noise` of the shipped chars-dna-syn
EARLIER_GRIDS = ((0.35, 32), (0.5, 40), (0.65, 48), (0.8, 56), (1.0, 64))  # of the recipe before this one

Change = Callable[[Experiment], Experiment]


def train(**fields: Any) -> Change:
    """Other settings of the training."""
    return lambda base: replace(base, train=replace(base.train, **fields))


def model(**fields: Any) -> Change:
    """Other settings of the model."""
    return lambda base: replace(base, model=replace(base.model, **fields))


def stages(change: Callable[[Stage], Stage]) -> Change:
    """The same change to every stage of the training."""
    return lambda base: train(stages=tuple(change(stage) for stage in base.train.stages))(base)


def steps_per_cell(ratio: float) -> Change:
    """Fix the ratio of automaton steps to the side of the grid, for every grid."""

    def change(base: Experiment) -> Experiment:
        base = model(steps=round(ratio * base.model.image_size))(base)
        return stages(lambda stage: replace(stage, steps=round(ratio * stage.grid)))(base)

    return change


def stages_until(*shares: float) -> Change:
    """Other ends of all stages but the last."""
    ends = (*shares, 1.0)
    return lambda base: train(
        stages=tuple(replace(stage, until=end) for stage, end in zip(base.train.stages, ends, strict=True))
    )(base)


def stage_batches(*batches: int) -> Change:
    """Other batches of all stages, in multiples of the experiment's."""
    return lambda base: train(
        stages=tuple(replace(stage, batch=batch) for stage, batch in zip(base.train.stages, batches, strict=True))
    )(base)


def grids(*parts: tuple[float, int]) -> Change:
    """Other grids until these shares, with a learning rate that falls from beginning to end."""

    def change(base: Experiment) -> Experiment:
        ratio = base.model.steps / base.model.image_size
        starts = [0.0, *(until for until, _ in parts)]
        stages = tuple(
            Stage(until, grid, round(ratio * grid), rates=(1 - start, 1 - until))
            for start, (until, grid) in zip(starts, parts, strict=False)
        )
        return train(stages=stages)(base)

    return change


# Of the time, 70% or 20% at full size, on which synchronous rows spend 38%.
MORE_AT_FULL_SIZE = stages_until(0.10, 0.15, 0.22, 0.30)
LESS_AT_FULL_SIZE = stages_until(0.18, 0.34, 0.56, 0.80)
FAST_MAP = train(map_rate=3.0, components=False)


def after(*changes: Change) -> Change:
    """One change after the other."""
    return lambda base: functools.reduce(lambda experiment, change: change(experiment), changes, base)


# The recipe of earlier editions: larger grids and batches alike on all of them, a learning rate that falls from
# beginning to end, zeros beyond the edge, a trained encoder, random projections, no averaging.
EARLIER_RECIPE = after(
    model(wrap=False),
    grids(*EARLIER_GRIDS),
    train(scale_leak=False, encoder_from=0.0, components=False, replacement=True, ema=0.0),
)


def _seeds(variants: dict[str, Change]) -> dict[str, Change]:
    """Variants with three seeds each: enough to see large differences."""
    return {
        f"{row}, seed {seed}": after(change, train(seed=seed)) for seed in range(3) for row, change in variants.items()
    }


def _rows() -> dict[str, Change]:
    """The rows of the paper's ablation, which differ in one part each: all embeddings begin as random projections."""
    suffixes = {"full model": "", "no leak factor": "-noleak", "no normalisation": "-nonorm", "no slices": "-noslices"}
    return {
        row: lambda base, suffix=suffix: train(components=False)(experiment(base.name + suffix))
        for row, suffix in suffixes.items()
    }


def _ablation() -> dict[str, Change]:
    """Every row of the ablation at every learning rate, with 48 steps of growth on the full grid.

    Without leak factors nothing is left to scale from grid to grid, so one row has them and does not scale them.
    """
    return {
        f"{row}{AT_RATE}{rate:g}": after(change, steps_per_cell(0.75), train(learning_rate=rate))
        for row, change in {**_rows(), UNSCALED: train(components=False, scale_leak=False)}.items()
        for rate in RATES
    }


STOCHASTIC = after(model(fire_rate=0.5), steps_per_cell(1.5))  # as in the stochastic rows
CONTINUOUS = after(model(code="ce"), train(components=True))  # as in the rows with continuous codes


def _codes_and_updates() -> dict[str, Change]:
    """Fig. 5's four models with 512 numbers."""
    return {
        "DNA, synchronous": train(),
        "CE, synchronous": CONTINUOUS,
        "DNA, stochastic, 3 times the steps": STOCHASTIC,
        "CE, stochastic, 3 times the steps": after(STOCHASTIC, CONTINUOUS),
    }


def _full_set() -> dict[str, Change]:
    """These four, and what the beginning of the embedding has to do with their order."""
    return {**_codes_and_updates(), "CE, synchronous, from random projections as DNA": model(code="ce")}


def _claims() -> dict[str, Change]:
    """What the paper claims, or leaves open, against the alternatives."""
    return {
        **_codes_and_updates(),
        "DNA, stochastic, as many steps": model(fire_rate=0.5),
        "CE, from random projections as DNA": model(code="ce"),
        "CE with the noise of mutated DNA": after(CONTINUOUS, model(noise=LETTER_NOISE)),
        "norm of the Sobel maps only": model(norm="sobel"),
        "no norm": model(norm="none"),
        "leak factors fixed": model(leak="fixed"),
        "leak factors not scaled with the grid": train(scale_leak=False),
        "no leak factors": model(leak="none"),
        "no leak factors, a third of the learning rate": after(model(leak="none"), train(learning_rate=2e-3)),
        "FiLM instead of predicted weights": model(predictor="film"),
    }


def _recipe() -> dict[str, Change]:
    """The recipe with one of its parts changed."""
    return {
        "the recipe": train(),
        "the recipe, seed 1": train(seed=1),
        "zeros beyond the edge": model(wrap=False),
        "64×64 from the start": grids((1.0, 64)),
        "32×32, 40, 48, 56, 64, as before": grids(*EARLIER_GRIDS),
        "leak factor not scaled with the grid": train(scale_leak=False),
        "encoder's convolutions trained": train(encoder_from=0.0),
        "encoder's convolutions trained from 80% on": train(encoder_from=0.8),
        "embedding from random projections": train(components=False),
        "embedding from random projections, seed 1": train(components=False, seed=1),
        "no weight averaging": train(ema=0.0),
        "constant learning rate": stages(lambda stage: replace(stage, rates=(0.5, 0.5))),
        "batches drawn with replacement": train(replacement=True),
    }


def _steps_of_growth() -> dict[str, Change]:
    return {
        "steps: 3/4 of the side": steps_per_cell(0.75),
        "steps: 3/2 of the side": train(),
        "steps: 3 times the side": steps_per_cell(3.0),
    }


def _means() -> dict[str, Change]:
    """How the embedding begins where the encoder has 16 means and nothing else."""
    return {"16 means, whitened": train(), "16 means as they are": train(components=False)}


def _quarter() -> dict[str, Change]:
    """What might reach the earlier recipe's error in a quarter of its time."""
    return {
        "the recipe": train(),
        "70% of the time at full size": MORE_AT_FULL_SIZE,
        "half of the images drawn by error": train(by_error=0.5),
        "map to the weights at 3 times the rate, random projections": FAST_MAP,
        "the same, 20% of the time at full size": after(FAST_MAP, LESS_AT_FULL_SIZE),
        "the same, 4 images a step on grids of 48 and 64": after(
            FAST_MAP, train(batch=4), stage_batches(4, 2, 2, 1, 1)
        ),
    }


@dataclass(frozen=True)
class Study:
    """One base experiment and the changes made to it. Each trains for a number of optimiser steps, or for minutes; if
    neither is set, for the time budget that is asked for.
    """

    base: str
    changes: dict[str, Change]
    steps: int | None = None
    minutes: float | None = None
    common: Change = field(default_factory=train)  # to all its trials

    def __post_init__(self) -> None:
        if self.steps and self.minutes:
            raise NcamError(f"a study of '{self.base}' has {self.steps} steps and {self.minutes} minutes: give one")

    def trial(self, change: str) -> Experiment:
        """The experiment that one change makes of the base."""
        changed = self.changes[change](self.common(experiment(self.base)))
        return replace(changed, train=replace(changed.train, steps=self.steps)) if self.steps else changed


# Those of the recipe are named as their base. They are shown in `choices`, the others where their names say.
RECIPE = ("full-ce-syn", "chars-dna-sto")
QUARTER, NO_SLICES = "time-to-quality", "no-slices"
EARLIER_ABLATION = "variety-dna-sto"  # chapter 05, in the recipe before this one
ABLATION, CLAIMS, FULL_SET = "ablation", "claims", "full-set"  # chapter 05, the page on evidence
STUDIES = {
    "full-ce-syn": Study("full-ce-syn", _recipe(), common=MORE_AT_FULL_SIZE),
    "chars-dna-sto": Study("chars-dna-sto", _steps_of_growth()),
    NO_SLICES: Study("variety-dna-sto-noslices", _means()),
    QUARTER: Study("full-ce-syn", _quarter(), minutes=19),
    EARLIER_ABLATION: Study("variety-dna-sto", _seeds(_rows())),
    ABLATION: Study("variety-dna-sto", _seeds(_ablation()), steps=500),
    CLAIMS: Study("chars-dna-syn", _seeds(_claims()), steps=500, common=MORE_AT_FULL_SIZE),
    FULL_SET: Study("full-dna-syn", _seeds(_full_set()), steps=1000, common=MORE_AT_FULL_SIZE),
}


def study(name: str) -> Study:
    """The study of this name; NcamError listing all names if there is none."""
    return STUDIES[choice("trials", name, STUDIES)]
