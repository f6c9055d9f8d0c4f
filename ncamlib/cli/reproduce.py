"""The commands that train everything and ship the best runs."""

import os
from pathlib import Path
from typing import Annotated

import torch
import typer

from ncamlib.cli.options import (
    Backend,
    Device,
    OptimiserSteps,
    StepsAlias,
    Threads,
    between,
    choose_backend,
    load_images,
    parse_duration,
)
from ncamlib.config import Experiment
from ncamlib.data import Images
from ncamlib.errors import NcamError
from ncamlib.experiments import experiment
from ncamlib.machine import pick_device

Archive = Annotated[
    Path | None, typer.Option("--data-dir", help="The CIFAR-10 archive, or a folder of pictures instead.")
]


def _photographs(experiments: list[Experiment], data_dir: Path | None) -> None:
    """NcamError if there is a place for CIFAR-10 that none of the experiments would use."""
    if data_dir is not None and all(one.images != "cifar10" for one in experiments):
        raise NcamError("--data-dir is for CIFAR-10, which is not used here: 'ncam train' takes pictures of your own")


def _check(names: list[str] | None, out: Path, more: bool, start: str | None) -> None:
    """NcamError for options that do not go together, or a file in the place of a folder."""
    if out.exists() and not out.is_dir():
        raise NcamError(f"{out} is a file: --out takes a folder")
    if start is not None and (more or not names):
        raise NcamError("--from is for named experiments that start from another: leave out --more, and name them")


def reproduce(
    names: Annotated[list[str] | None, typer.Argument(metavar="[EXPERIMENT]...", help="All by default.")] = None,
    out: Annotated[Path, typer.Option(help="One folder per experiment; resumes what it holds.")] = Path("runs"),
    time_budget: Annotated[str | None, typer.Option(help="Total, shared among all, e.g. 25m.")] = None,
    optimiser_steps: OptimiserSteps = None,
    steps: StepsAlias = None,
    more: Annotated[bool, typer.Option("--more", help="Train the shipped checkpoints further.")] = False,
    start: Annotated[
        str | None,
        typer.Option(
            "--from", help="Start from this model; continuous codes are put into letters where a row has them."
        ),
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Show the progress of each, and train nothing.")] = False,
    nice: Annotated[int, typer.Option(help="Yield the processor to others, 0 to 19.", callback=between(0, 19))] = 0,
    threads: Threads = None,
    device: Device = "auto",
    backend: Backend = "auto",
    data_dir: Archive = None,
) -> None:
    """Train and measure experiments in turn, unattended. The same command continues.

    Several processes may run it at once: each takes the next free experiment.
    """
    from ncamlib.results import reproduce as reproduction

    rows = reproduction.in_order(names or [])
    _photographs(rows, data_dir)
    _check(names, out, more, start)
    tasks = reproduction.queue(rows, out, parse_duration(time_budget), optimiser_steps or steps, more, start)
    if status:
        width = max(len(task.experiment.name) for task in tasks)
        for task in tasks:
            typer.echo(f"{task.experiment.name:<{width}}  {task.state()}")
        return
    if threads:
        torch.set_num_threads(threads)
    if nice:
        os.nice(nice)
    torch_device = pick_device(device)
    choose_backend(backend, torch_device)

    def load(one: Experiment) -> Images:
        return load_images(one, one.images, data_dir if one.images == "cifar10" else None)

    failed = reproduction.reproduce(tasks, torch_device, load, typer.echo)
    if failed:
        typer.echo(f"not finished: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


def trials(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STUDY]...", help="By default those of the recipe; most others take hours."),
    ] = None,
    out: Annotated[Path, typer.Option(help="One folder per trial.")] = Path("runs/trials"),
    time_budget: Annotated[
        str, typer.Option(help="For each trial, unless its study says how many minutes or optimiser steps.")
    ] = "6m",
    threads: Threads = 1,
    device: Device = "auto",
    data_dir: Archive = None,
) -> None:
    """Train the base experiments of studies with one setting changed at a time, and record the effect of each change.

    Studies: full-ce-syn and chars-dna-sto (the recipe), no-slices, time-to-quality, claims, full-set, ablation,
    variety-dna-sto.
    """
    from ncamlib.results import studies
    from ncamlib.results import trials as trying

    torch.set_num_threads(threads)
    _photographs([experiment(studies.study(name).base) for name in names or studies.RECIPE], data_dir)
    for name in names or studies.RECIPE:
        base = experiment(studies.study(name).base)
        images = load_images(base, base.images, data_dir if base.images == "cifar10" else None)
        trying.run(name, out, pick_device(device), images, parse_duration(time_budget), typer.echo)


def merge(
    folders: Annotated[list[Path], typer.Argument(help="The --out folders of `ncam reproduce`.")],
    table: Annotated[
        bool, typer.Option("--table", help="Also record them as the runs for comparison, trained alike.")
    ] = False,
    no_checkpoint: Annotated[
        bool, typer.Option("--no-checkpoint", help="With --table: record them for comparison only, and ship no model.")
    ] = False,
) -> None:
    """Ship the best of several runs: checkpoints, losses and results go into the checkout."""
    from ncamlib.results import merge as merging

    if no_checkpoint and not table:
        raise NcamError("without a checkpoint a run can only be recorded for comparison: add --table")
    merging.merge(folders, table, typer.echo, ship=not no_checkpoint)
