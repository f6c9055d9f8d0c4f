"""The commands that train everything, and ship the best of what was trained."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from ncamlib import datasets
from ncamlib.cli_options import Backend, DataDir, Device, choose_backend, parse_duration
from ncamlib.config import Experiment
from ncamlib.experiments import experiment
from ncamlib.provenance import pick_device


def reproduce(
    names: Annotated[list[str] | None, typer.Argument(metavar="[EXPERIMENT]...", help="All, unless named.")] = None,
    out: Annotated[Path, typer.Option(help="One folder per experiment; resumes what it holds.")] = Path("runs"),
    time_budget: Annotated[str | None, typer.Option(help="Shared among all, e.g. 25m.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps of each, where no time budget is given.")] = None,
    more: Annotated[bool, typer.Option("--more", help="Train the shipped checkpoints further.")] = False,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    device: Device = "auto",
    backend: Backend = "auto",
    data_dir: DataDir = None,
) -> None:
    """Train and measure experiments one after the other, unattended. The same command continues."""
    from ncamlib import reproduce as reproduction

    if threads:
        torch.set_num_threads(threads)
    place = pick_device(device)
    choose_backend(backend, place)
    chosen = reproduction.in_order(names or [])

    def load(experiment: Experiment) -> datasets.Images:
        folder = data_dir if experiment.images == "cifar10" else None
        return datasets.load(experiment.images, experiment.model.image_size, experiment.model.image_channels, folder)

    failed = reproduction.reproduce(chosen, out, place, load, parse_duration(time_budget), steps, more, typer.echo)
    if failed:
        typer.echo(f"not finished: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


def trials(
    bases: Annotated[list[str] | None, typer.Argument(metavar="[EXPERIMENT]...", help="All, unless named.")] = None,
    out: Annotated[Path, typer.Option(help="One folder per trial.")] = Path("runs/trials"),
    time_budget: Annotated[str, typer.Option(help="Of each trial.")] = "4m",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    device: Device = "auto",
    data_dir: DataDir = None,
) -> None:
    """Train a base experiment with one setting changed at a time, and record what each change did."""
    from ncamlib import trials as recipe

    torch.set_num_threads(threads)
    for name in bases or recipe.TRIALS:
        base = experiment(name)
        folder = data_dir if base.images == "cifar10" else None
        images = datasets.load(base.images, base.model.image_size, base.model.image_channels, folder)
        recipe.run(name, out, pick_device(device), images, parse_duration(time_budget), typer.echo)


def merge(folders: Annotated[list[Path], typer.Argument(help="The --out folders of `ncam reproduce`.")]) -> None:
    """Ship the best of several runs: checkpoints, losses and results go into the checkout."""
    from ncamlib import reproduce as reproduction

    reproduction.merge(folders, typer.echo)
