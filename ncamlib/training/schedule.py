"""The course of a training: its stages, and the learning rate. Pure functions of the settings.

Progress is a share of the whole training, 0 to 1: of the time if that is limited, else of the work in the given number
of optimiser steps.
"""

from bisect import bisect_right
from itertools import accumulate, pairwise

from ncamlib.config import Experiment, Stage


def stages(experiment: Experiment) -> tuple[Stage, ...]:
    """The stages of a training; if none are set, one at full size with a learning rate that falls to 0."""
    full = Stage(1.0, experiment.model.image_size, experiment.model.steps, rates=(1.0, 0.0))
    return experiment.train.stages or (full,)


def _work(experiment: Experiment, stage: Stage) -> float:
    """The cost of an optimiser step, in images grown at full size. Growth scales with the side cubed, since the steps
    of the automaton scale with the side; everything else costs about one image.
    """
    return experiment.train.batch * stage.batch * (stage.grid / experiment.model.image_size) ** 3 + 1


def ends(experiment: Experiment) -> list[int]:
    """The optimiser step before which each stage ends, if steps are counted."""
    parts = stages(experiment)
    starts = [0.0, *(stage.until for stage in parts)]
    counts = [(b - a) / _work(experiment, part) for part, (a, b) in zip(parts, pairwise(starts), strict=True)]
    return [round(experiment.train.steps * done / sum(counts)) for done in accumulate(counts)]


def progress(experiment: Experiment, step: int) -> float:
    """The share of the work done before this optimiser step; 1 after the last."""
    parts, bounds = stages(experiment), [0, *ends(experiment)]
    i = bisect_right(bounds, step) - 1
    if i >= len(parts):
        return 1.0
    start = parts[i - 1].until if i else 0.0
    return start + (parts[i].until - start) * (step - bounds[i]) / (bounds[i + 1] - bounds[i])


def stage(experiment: Experiment, progress: float) -> Stage:
    """The stage at this share of the training."""
    parts = stages(experiment)
    return next((part for part in parts if progress < part.until), parts[-1])


def learning_rate(experiment: Experiment, step: int, progress: float) -> float:
    """The rate of the stage, with linear warm-up over the first steps."""
    settings, parts, now = experiment.train, stages(experiment), stage(experiment, progress)
    i = parts.index(now)
    start = parts[i - 1].until if i else 0.0
    share = min(1.0, (progress - start) / (now.until - start))
    first, last = now.rates
    warm = min(1.0, (step + 1) / max(1, settings.warmup))
    return settings.learning_rate * warm * (first + (last - first) * share)
