"""Time to quality: the error that the present recipe and the earlier one reach in given minutes on one machine."""

import datetime
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ncamlib.config import Experiment
from ncamlib.data.images import Images
from ncamlib.machine import device_name
from ncamlib.model import load_model
from ncamlib.project import Records, commit
from ncamlib.results.measurement import measure
from ncamlib.results.studies import EARLIER_RECIPE
from ncamlib.training.loop import train
from ncamlib.training.processes import Stopped
from ncamlib.training.run import MODEL_FILE

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Quality:
    """The error that a recipe reaches in a given time: MSE on the training images."""

    experiment: str
    recipe: str
    minutes: float
    mse: float
    train_steps: int
    device: str
    date: str
    commit: str


RECORDS = Records("time_to_quality.json", Quality)


def run(base: Experiment, images: Images, minutes: dict[str, float], report: Callable[[str], None] = print) -> None:
    """Train an experiment by the present and the earlier recipe, each for its `minutes`, and record the errors."""
    recipes = {"present": base, "earlier": EARLIER_RECIPE(base)}
    for recipe, budget in minutes.items():
        with tempfile.TemporaryDirectory() as folder:
            trained = train(recipes[recipe], images, Path(folder), CPU, 60 * budget, quiet=True)
            if trained.stopped:
                raise Stopped(trained.stopped, f"the {recipe} recipe was stopped: nothing is recorded of it")
            model, _ = load_model(Path(folder) / MODEL_FILE)
        error, today = measure(model, images).mse, datetime.date.today().isoformat()
        spent = round(trained.seconds / 60, 2)
        row = Quality(base.name, recipe, spent, error, trained.step, device_name(CPU), today, commit())
        RECORDS.update(lambda rows, row=row: [*rows, row])
        report(f"{base.name}, {recipe} recipe: MSE {row.mse:.4f} after {row.minutes:.1f} min, {row.train_steps} steps")
