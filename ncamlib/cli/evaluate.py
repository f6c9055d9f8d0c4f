"""`ncam evaluate`: one model on its whole data set."""

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ncamlib import data
from ncamlib.cli.options import (
    AsJson,
    Backend,
    DataDir,
    Device,
    FireRate,
    GrowthSteps,
    MutationRate,
    SkipBroken,
    between,
    choose_backend,
)
from ncamlib.data import Images
from ncamlib.errors import NcamError
from ncamlib.experiments import EXPERIMENTS
from ncamlib.kernels import select_backend
from ncamlib.machine import device_name, pick_device
from ncamlib.model import checkpoint
from ncamlib.model.base import Model
from ncamlib.results import TEST_MUTATION, Measurement, Result, measure, measure_all, store, unseen
from ncamlib.results.measurement import draws
from ncamlib.training import MODEL_FILE


def evaluate(
    target: Annotated[str, typer.Argument(metavar="EXPERIMENT|FILE")],
    mutation_rate: MutationRate = TEST_MUTATION,
    fire_rate: FireRate = None,
    steps: GrowthSteps = None,
    seeds: Annotated[
        int | None, typer.Option(help="Average over this many draws: 3, or 96 of one image.", callback=between(1, 1000))
    ] = None,
    test: Annotated[
        bool, typer.Option("--test", help="Use unseen images: the held-out emoji, CIFAR-10's test batch.")
    ] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Record as the experiment's result, with its mutation curve.")
    ] = False,
    as_json: AsJson = False,
    device: Device = "auto",
    backend: Backend = "auto",
    data_dir: DataDir = None,
    train_dir: Annotated[
        Path | None, typer.Option(help="With --test --record: the training images, if they are not the emoji.")
    ] = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Measure a trained model on its whole data set."""
    if train_dir is not None and not (test and record):
        raise NcamError("--train-dir is for --test --record: leave it out, or add both")
    torch_device = pick_device(device)
    choose_backend(backend, torch_device)
    file = checkpoint.checkpoint_path(target)
    model, header = checkpoint.load_model(target, torch_device)
    images = images_of(header, model.config, file.name, data_dir, skip_broken, test)
    if record:
        _require_test_conditions(mutation_rate, fire_rate, steps, seeds)
        if test:
            measured, where = keep_unseen(target, images, torch_device, train_dir, skip_broken)
        else:
            measured, where = keep(file, images, torch_device)
        typer.echo(f"recorded in {where}", err=True)
    else:
        measured = measure(model, images, mutation_rate, fire_rate, steps, seeds or draws(len(images)))
    shown = {name: getattr(measured, name) for name in ("mse", "mse_rgb_white", "psnr", "images")}
    shown |= {name: getattr(measured, name) for name in ("mutation_rate", "fire_rate", "steps", "seeds")}
    backend = select_backend(torch.empty(1, 16, 3, 3, device=model.device), hidden=model.config.hidden)
    shown = {"experiment": header["experiment"]["name"], **shown, "device": device_name(model.device)}
    shown |= {"backend": backend, "checkpoint": str(file)}
    if as_json:
        typer.echo(json.dumps(shown, indent=1))
        return
    for key, value in shown.items():
        typer.echo(f"{key:>14}  {value:.5f}" if isinstance(value, float) else f"{key:>14}  {value}")


def _require_test_conditions(
    mutation_rate: float, fire_rate: float | None, steps: int | None, seeds: int | None
) -> None:
    if (mutation_rate, fire_rate, steps, seeds) != (TEST_MUTATION, None, None, None):
        raise NcamError(
            "results are recorded under the paper's test conditions: "
            "leave out --mutation-rate, --fire-rate, --steps and --seeds"
        )


def keep(file: Path, images: Images, device: torch.device) -> tuple[Result, Path]:
    """Record the result of a shipped checkpoint; for one trained here, write it beside the run, for `ncam merge`."""
    from ncamlib.results import reproduce

    model, header = checkpoint.load_model(file, device)
    if images.digest != header["data_digest"]:
        raise NcamError("these are not the images that the model was trained on: nothing is recorded")
    if file.name == MODEL_FILE:
        return reproduce.measure_run(file.parent, images, device), file.parent / reproduce.RESULT_FILE
    if not checkpoint.is_shipped(file):
        raise NcamError("only a shipped checkpoint, or the model.safetensors of a run, can be recorded")
    result = measure_all(model, images, header)
    store.record(result)
    return result, store.RECORDS.path


def keep_unseen(
    target: str, images: Images, device: torch.device, train_dir: Path | None, skip_broken: bool
) -> tuple[Measurement, Path]:
    """Record a model's error on unseen images, with the baselines that its training images give."""
    row = unseen.measure_unseen(*shipped(target, device, train_dir, True, skip_broken), images)
    unseen.record(row)
    return row.measured, unseen.RECORDS.path


def shipped(
    target: str, device: torch.device, data_dir: Path | None, record: bool, skip_broken: bool = False
) -> tuple[Model, Images, dict[str, Any]]:
    """A trained model, its images and its header. NcamError if it is to be recorded and is not shipped, nor of a run
    of an experiment that ships none.
    """
    model, header = checkpoint.load_model(target, device)
    file = checkpoint.checkpoint_path(target)
    images = images_of(header, model.config, file.name, data_dir, skip_broken)
    name = header["experiment"]["name"]
    compared = file.name == MODEL_FILE and name in EXPERIMENTS and not checkpoint.checkpoint_path(name).exists()
    if record and (images.digest != header["data_digest"] or not (checkpoint.is_shipped(file) or compared)):
        raise NcamError(
            "only a shipped checkpoint can be recorded, or a run of an experiment that ships none, and only on the "
            "images that it was trained on"
        )
    return model, images, header


def images_of(
    header: dict[str, Any], model: Any, file: str, data_dir: Path | None, skip_broken: bool, test: bool = False
) -> Images:
    """The images that a model was trained on, or those to `test` it; notes if those in `data_dir` differ."""
    name = header["images"]
    if test:
        trained_on = header["experiment"].get("images", name)  # also where a copy stood in for it
        if trained_on == "cifar10":
            return data.load("cifar10-test", model.image_size, model.image_channels, data_dir, skip_broken)
        if trained_on not in data.SUBSETS or data_dir is not None:
            raise NcamError(f"there are no test images for a model of '{name}': leave out --test and use --data-dir")
        return data.emoji("heldout", model.image_size)
    if data_dir is None and not data.known(name):
        raise NcamError(f"{file} was trained on '{name}': give those pictures with --data-dir FOLDER")
    images = data.load(name, model.image_size, model.image_channels, data_dir, skip_broken)
    if images.digest != header["data_digest"]:
        typer.echo(f"note: these are not the images that {file} was trained on", err=True)
    return images
