"""`ncam train` and `ncam config`: one experiment."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ncamlib import data
from ncamlib.cli.options import (
    MOST_SEED,
    Backend,
    DataDir,
    Device,
    OptimiserSteps,
    SkipBroken,
    StepsAlias,
    Threads,
    between,
    choose_backend,
    load_images,
    parse_duration,
)
from ncamlib.config import Experiment, to_dict
from ncamlib.experiments import experiment
from ncamlib.machine import pick_device


def configured(name: str, pictures: Path | None = None, **changes: Any) -> Experiment:
    """An experiment with the training settings of the command line, on a folder of pictures if one is given.

    For CIFAR-10 the folder stands in for photographs that may not be shipped; otherwise it makes a new experiment.
    """
    base = experiment(name)
    settings = {key: value for key, value in changes.items() if value is not None}
    base = replace(base, train=replace(base.train, **settings))
    if pictures is None or base.images == "cifar10":
        return base
    images = data.named(pictures)
    return Experiment(f"{images}{name.removeprefix(base.images)}", images, base.model, base.train, ships_encoder=True)


def train(
    name: Annotated[str, typer.Argument(metavar="EXPERIMENT")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints; resumes what it holds (default: runs/EXPERIMENT).")
    ] = None,
    time_budget: Annotated[str | None, typer.Option(help="Train this long, e.g. 9m, in place of a step count.")] = None,
    optimiser_steps: OptimiserSteps = None,
    steps: StepsAlias = None,
    batch: Annotated[
        int | None, typer.Option(help="Images per step, over all processes.", callback=between(1, 1e6))
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate.", callback=between(1e-12, 1e3))
    ] = None,
    ema: Annotated[
        float | None, typer.Option(help="Decay of the averaged weights, 0 for none.", callback=between(0, 1))
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and draws.", callback=between(0, MOST_SEED))] = None,
    threads: Threads = None,
    device: Device = "auto",
    backend: Backend = "auto",
    data_dir: DataDir = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Train an experiment. Ctrl-C saves; the same command continues."""
    from ncamlib.training import MODEL_FILE
    from ncamlib.training import train as run_training
    from ncamlib.training.processes import Stopped

    if threads:
        torch.set_num_threads(threads)
    budget, torch_device = parse_duration(time_budget), pick_device(device)
    choose_backend(backend, torch_device)
    settings = {"batch": batch, "learning_rate": learning_rate, "ema": ema, "seed": seed}
    one = configured(name, data_dir, steps=optimiser_steps or steps, **settings)
    images = load_images(one, one.images, data_dir, skip_broken)
    folder = out or Path("runs") / one.name
    run = run_training(one, images, folder, torch_device, budget)
    if run.stopped:
        raise Stopped(run.stopped, "stopped")
    if os.environ.get("RANK", "0") == "0":
        spent = f"{run.step} steps in {run.seconds / 60:.1f} minutes"
        typer.echo(f"{one.name}: {spent}; the model is {folder / MODEL_FILE}")


def config(name: Annotated[str, typer.Argument(metavar="EXPERIMENT")]) -> None:
    """Print the whole configuration of an experiment as JSON."""
    typer.echo(json.dumps(to_dict(experiment(name)), indent=1))
