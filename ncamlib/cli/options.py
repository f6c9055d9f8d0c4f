"""Options that several `ncam` commands share, and what they mean."""

import os
import re
from pathlib import Path
from typing import Annotated

import torch
import typer

from ncamlib import data
from ncamlib.config import Experiment
from ncamlib.data import Images
from ncamlib.errors import NcamError
from ncamlib.kernels import BACKENDS, select_backend

Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Backend = Annotated[str, typer.Option(help=f"Who computes the rollout: {', '.join(BACKENDS)}.")]
DataDir = Annotated[Path | None, typer.Option(help="A folder of PNG or JPEG pictures in place of the data set.")]
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Skip pictures that cannot be read.")]
OptimiserSteps = Annotated[
    int | None, typer.Option(help="Steps of the optimiser, where no time budget is given. [the experiment's]")
]
StepsAlias = Annotated[int | None, typer.Option("--steps", hidden=True)]  # what it was called
MutationRate = Annotated[float, typer.Option(help="Share of DNA letters replaced by random ones.")]
FireRate = Annotated[float | None, typer.Option(help="Probability that a cell updates. [the model's]")]
Threads = Annotated[int | None, typer.Option(help="CPU threads.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def parse_duration(text: str | None) -> float | None:
    """'90s', '9m', '1h30m' or plain seconds -> seconds."""
    if text is None:
        return None
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text)
    seconds = sum(float(n or 0) * unit for n, unit in zip(match.groups(), (3600, 60, 1), strict=True)) if match else 0
    if seconds <= 0:
        raise NcamError(f"'{text}' is not a time: write for instance 90s, 9m or 1h30m")
    return seconds


def choose_backend(name: str, device: torch.device | str = "cpu") -> None:
    """Fix the backend for this process; NcamError for one that is unknown or cannot compute on the device."""
    select_backend(torch.empty(1, 16, 3, 3, device=device), backend=name)
    if name != "auto":
        os.environ["NCAM_BACKEND"] = name


def load_images(experiment: Experiment, name: str, data_dir: Path | None, skip_broken: bool = False) -> Images:
    """The images of an experiment as its model takes them."""
    return data.load(name, experiment.model.image_size, experiment.model.image_channels, data_dir, skip_broken)
