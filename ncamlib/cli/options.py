"""Options that several `ncam` commands share, and what they mean."""

import os
import re
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ncamlib import data
from ncamlib.config import Experiment
from ncamlib.data import Images
from ncamlib.errors import NcamError
from ncamlib.kernels import BACKENDS, select_backend

MOST_STEPS, MOST_GRID, MOST_SEED = 100_000, 1024, 2**32 - 1


def between(low: float, high: float) -> Any:
    """A check for a numeric option: NcamError unless it is from `low` to `high`; NaN never is."""

    def check(parameter: typer.CallbackParam, value: float | list[float] | None) -> float | list[float] | None:
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is not None and not low <= one <= high:
                name = parameter.name.replace("_", " ")
                raise NcamError(f"the {name} is {_plain(one)}: it must be between {_plain(low)} and {_plain(high)}")
        return value

    check.bounds = low, high
    return check


def _plain(number: float) -> str:
    """A number without an exponent, where it is a whole one."""
    return str(int(number)) if number == number // 1 and abs(number) < 1e18 else f"{number:g}"


Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Backend = Annotated[str, typer.Option(help=f"Backend of the rollout: {', '.join(BACKENDS)}.")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="A folder of pictures instead of the data set, or the CIFAR-10 archive."),
]
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Skip pictures that cannot be read.")]
OptimiserSteps = Annotated[
    int | None,
    typer.Option(
        help="Optimiser steps, if no time budget is given (default: the experiment's).", callback=between(1, 1e9)
    ),
]
StepsAlias = Annotated[int | None, typer.Option("--steps", hidden=True, callback=between(1, 1e9))]  # its earlier name
MutationRate = Annotated[
    float, typer.Option(help="Share of DNA letters replaced by random ones.", callback=between(0, 1))
]
FireRate = Annotated[
    float | None,
    typer.Option(help="Probability that a cell updates (default: the model's).", callback=between(0.001, 1)),
]
Seed = Annotated[int, typer.Option(help="Random seed.", callback=between(0, MOST_SEED))]
GrowthSteps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        help="Steps of the automaton (default: the model's).",
        callback=between(1, MOST_STEPS),
    ),
]
Threads = Annotated[int | None, typer.Option(help="CPU threads.", callback=between(1, 1024))]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def parse_duration(text: str | None) -> float | None:
    """'90s', '9m', '1h30m' or a bare number of seconds -> seconds. '1h30' is ambiguous and refused."""
    if text is None:
        return None
    number = r"(\d{1,9}(?:\.\d{1,9})?)"
    match = re.fullmatch(f"{number}|(?:{number}h)?(?:{number}m)?(?:{number}s)?", text.strip(), re.ASCII)
    units = (1, 3600, 60, 1)
    seconds = sum(float(n or 0) * unit for n, unit in zip(match.groups(), units, strict=True)) if match else 0
    if seconds <= 0:
        raise NcamError(f"'{text}' is not a duration: write e.g. 90s, 9m or 1h30m")
    return seconds


def choose_backend(name: str, device: torch.device | str = "cpu") -> None:
    """Fix the backend for this process; NcamError for one that is unknown or cannot compute on the device."""
    select_backend(torch.empty(1, 16, 3, 3, device=device), backend=name)
    if name != "auto":
        os.environ["NCAM_BACKEND"] = name


def terminal() -> Any:
    """A console for tables. Where nobody reads the output, that is left to the command as a whole."""
    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            raise  # it is called while the error is handled; rich's own ends with status 1

    return Terminal()


def load_images(experiment: Experiment, name: str, data_dir: Path | None, skip_broken: bool = False) -> Images:
    """The images of an experiment as its model takes them."""
    return data.load(name, experiment.model.image_size, experiment.model.image_channels, data_dir, skip_broken)
