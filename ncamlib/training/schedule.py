"""The course of a training: its stages, the learning rate, and how much of its time or steps is used.

Progress is a share of the whole training, 0 to 1: of the time if that is limited, else of the work in the given number
of optimiser steps.
"""

import time
from bisect import bisect_right
from dataclasses import dataclass, field
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


@dataclass
class Budget:
    """The time or the optimiser steps that a training may take, and how much of it is used.

    The time to prepare the model counts towards a time limit, up to half of what is left of it.
    """

    experiment: Experiment
    seconds: float | None  # in place of a number of steps
    spent: float = 0.0  # seconds of earlier calls
    done: float = 0.0  # the share of a time limit's steps that they took
    preparing: float = 0.0  # seconds
    began: float = field(default_factory=lambda: time.monotonic())

    @property
    def total(self) -> float:
        """Seconds spent, over all calls."""
        return self.spent + time.monotonic() - self.began

    @property
    def training(self) -> float:
        """Seconds that a time limit leaves for the steps of this call."""
        left = max(self.seconds - self.spent, 0)
        return max(left - self.preparing, left / 2)

    def prepared(self) -> None:
        """Note that the model is prepared."""
        self.preparing = time.monotonic() - self.began

    def progress(self, step: int) -> float:
        """The share of the training that is done at this optimiser step."""
        if not self.seconds:
            return progress(self.experiment, step)
        if not self.training or self.done >= 1:
            return 1.0
        return self.done + (1 - self.done) * (self.total - self.spent - self.preparing) / self.training

    def remaining(self, progress: float) -> str:
        """The remaining time, as the progress bar shows it."""
        share = (1 - progress) / (1 - self.done) if self.done < 1 else 0
        return f", {share * self.training / 60:.1f} min left" if self.seconds else ""
