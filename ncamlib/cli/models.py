"""The commands for one model: train it, measure it, grow with it, print its configuration."""

import json
import os
from dataclasses import replace
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
    OptimiserSteps,
    SkipBroken,
    StepsAlias,
    Threads,
    choose_backend,
    parse_duration,
)
from ncamlib.config import Experiment, to_dict
from ncamlib.data import Images
from ncamlib.errors import NcamError
from ncamlib.experiments import experiment
from ncamlib.kernels import select_backend
from ncamlib.machine import device_name, pick_device
from ncamlib.model import checkpoint
from ncamlib.model.build import growing
from ncamlib.results import TEST_MUTATION, measure, store
from ncamlib.training import MODEL_FILE

MutationRate = Annotated[float, typer.Option(help="Share of DNA letters replaced by random ones.")]
FireRate = Annotated[float | None, typer.Option(help="Probability that a cell updates. [the model's]")]


def configured(name: str, pictures: Path | None = None, **changes: Any) -> Experiment:
    """An experiment with the training settings of the command line, on a folder of pictures if one is given.

    A folder stands in for photographs that may not be shipped; else it makes a model of its own.
    """
    base = experiment(name)
    settings = {key: value for key, value in changes.items() if value is not None}
    base = replace(base, train=replace(base.train, **settings))
    if pictures is None or base.images == "cifar10":
        return base
    own = f"{pictures.resolve().name}{name.removeprefix(base.images)}"
    return Experiment(own, pictures.resolve().name, base.model, base.train, ships_encoder=True)


def train(
    name: Annotated[str, typer.Argument(metavar="EXPERIMENT")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints; resumes what it holds. [runs/EXPERIMENT]")
    ] = None,
    time_budget: Annotated[str | None, typer.Option(help="Train this long, e.g. 9m, in place of a step count.")] = None,
    optimiser_steps: OptimiserSteps = None,
    steps: StepsAlias = None,
    batch: Annotated[int | None, typer.Option(help="Images per step, over all processes.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    ema: Annotated[float | None, typer.Option(help="Decay of the averaged weights, 0 for none.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and draws.")] = None,
    threads: Threads = None,
    device: Device = "auto",
    backend: Backend = "auto",
    data_dir: DataDir = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Train an experiment. Ctrl-C saves; the same command continues."""
    from ncamlib.training import MODEL_FILE
    from ncamlib.training import train as run_training

    if threads:
        torch.set_num_threads(threads)
    budget, torch_device = parse_duration(time_budget), pick_device(device)
    choose_backend(backend, torch_device)
    settings = {"batch": batch, "learning_rate": learning_rate, "ema": ema, "seed": seed}
    one = configured(name, data_dir, steps=optimiser_steps or steps, **settings)
    images = load_images(one, one.images, data_dir, skip_broken)
    folder = out or Path("runs") / one.name
    run = run_training(one, images, folder, torch_device, budget)
    if int(os.environ.get("RANK", "0")) == 0:
        spent = f"{run.step} steps in {run.seconds / 60:.1f} minutes"
        typer.echo(f"{one.name}: {spent}; the model is {folder / MODEL_FILE}")


def load_images(experiment: Experiment, name: str, data_dir: Path | None, skip_broken: bool = False) -> Images:
    """The images of an experiment as its model takes them."""
    return data.load(name, experiment.model.image_size, experiment.model.image_channels, data_dir, skip_broken)


def evaluate(
    target: Annotated[str, typer.Argument(metavar="EXPERIMENT|FILE")],
    mutation_rate: MutationRate = TEST_MUTATION,
    fire_rate: FireRate = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the automaton. [the model's]")] = None,
    seeds: Annotated[int, typer.Option(help="Average over this many draws.")] = store.SEEDS,
    record: Annotated[
        bool, typer.Option("--record", help="Record as the experiment's result, with its mutation curve.")
    ] = False,
    as_json: AsJson = False,
    device: Device = "auto",
    backend: Backend = "auto",
    data_dir: DataDir = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Measure a trained model on its whole data set."""
    torch_device = pick_device(device)
    choose_backend(backend, torch_device)
    file = checkpoint.shipped(target)
    model, header = checkpoint.load_model(target, torch_device)
    images = images_of(header, model.config, file.name, data_dir, skip_broken)
    if record:
        if (mutation_rate, fire_rate, steps, seeds) != (TEST_MUTATION, None, None, store.SEEDS):
            raise NcamError("what is recorded is measured under the paper's test conditions: leave the options away")
        if images.digest != header["data_digest"]:
            raise NcamError("these are not the images that the model was trained on: nothing is recorded")
        measured, where = keep(file, images, torch_device)
        typer.echo(f"recorded in {where}", err=True)
    else:
        measured = measure(model, images, mutation_rate, fire_rate, steps, seeds)
    shown = {name: getattr(measured, name) for name in ("mse", "mse_rgb_white", "psnr", "images")}
    shown |= {name: getattr(measured, name) for name in ("mutation_rate", "fire_rate", "steps", "seeds")}
    backend = select_backend(torch.empty(1, 16, 3, 3, device=model.device))
    shown = {"experiment": header["experiment"]["name"], **shown, "device": device_name(model.device)}
    shown |= {"backend": backend, "checkpoint": str(file)}
    if as_json:
        typer.echo(json.dumps(shown, indent=1))
        return
    for key, value in shown.items():
        typer.echo(f"{key:>14}  {value:.5f}" if isinstance(value, float) else f"{key:>14}  {value}")


def keep(file: Path, images: Images, device: torch.device) -> tuple[store.Result, Path]:
    """Record the result of a shipped checkpoint, or beside one that was trained here, for `ncam merge`."""
    from ncamlib.results import reproduce

    if file.name == MODEL_FILE:
        return reproduce.measure_run(file.parent, images, device), file.parent / reproduce.RESULT_FILE
    if checkpoint.shipped(file.stem) != file:
        raise NcamError("only a shipped checkpoint, or the model.safetensors of a run, is recorded")
    model, header = checkpoint.load_model(file, device)
    result = store.measure_all(model, images, header)
    store.record(result)
    return result, store.RECORDS.path


def images_of(header: dict[str, Any], model: Any, file: str, data_dir: Path | None, skip_broken: bool) -> Images:
    """The images that a model was trained on; says so if those in `data_dir` are others."""
    name = header["images"]
    if data_dir is None and not data.known(name):
        raise NcamError(f"{file} was trained on '{name}': give those pictures with --data-dir FOLDER")
    images = data.load(name, model.image_size, model.image_channels, data_dir, skip_broken)
    if images.digest != header["data_digest"]:
        typer.echo(f"note: these are not the images that {file} was trained on", err=True)
    return images


def grow(
    target: Annotated[str, typer.Argument(help="An emoji, its name, or a PNG or JPEG of your own.")],
    out: Annotated[Path, typer.Option(help="What to write: .gif, .apng, or a strip as .png.")] = Path("growth.gif"),
    model_name: Annotated[str, typer.Option("--model", help="Experiment or checkpoint file.")] = "chars-dna-syn",
    steps: Annotated[
        int | None, typer.Option(help="Steps of the automaton. [the model's, more on a larger grid]")
    ] = None,
    fire_rate: FireRate = None,
    mutation_rate: MutationRate = TEST_MUTATION,
    seed: Annotated[int, typer.Option(help="Seed of what chance decides.")] = 0,
    grid: Annotated[int | None, typer.Option(help="Side of the grid in cells. [the image's]")] = None,
    scale: Annotated[int, typer.Option(help="Pixels per cell in the picture.")] = 4,
    backend: Backend = "auto",
) -> None:
    """Grow an emoji, or a picture of your own, from one pixel."""
    choose_backend(backend)
    loaded, header = checkpoint.load_model(model_name)
    model = growing(loaded, model_name)
    for label, value in (("mutation rate", mutation_rate), ("fire rate", fire_rate)):
        if value is not None and not 0 <= value <= 1:
            raise NcamError(f"the {label} is {value}: it must be between 0 and 1")
    size = model.config.image_size
    steps = steps or model.steps_on(grid or size)
    image, note = find_image(target, model.config, header)
    if note:
        typer.echo(note, err=True)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        weights = model.weights(image[None], model.draw_mutation(1, mutation_rate, generator))
    fire = model.draw_fire(1, fire_rate, generator)
    frames = model.nca.visible(model.growth(weights, steps, fire, grid=grid)[:, 0])
    data.save_growth(out, frames, scale)
    if frames.shape[-1] == size:
        typer.echo(f"MSE to the target after {steps} steps: {(frames[-1] - image).square().mean():.4f}")
    typer.echo(f"wrote {out}")


def find_image(target: str, model: Any, header: dict[str, Any]) -> tuple[torch.Tensor, str]:
    """(The picture or emoji as the model takes it (C, H, W), what the reader should know of it)."""
    trained_on, size = header["images"], model.image_size
    if Path(target).suffix.lower() in data.IMAGE_SUFFIXES:
        image, original = data.load_image(Path(target), size, model.image_channels)
        note = f"{trained_on} is all this model has seen: a picture of another kind grows into what it knows"
        if original != (size, size):
            note = f"{target} is {original[0]}x{original[1]} pixels and was resized to {size}x{size}\n{note}"
        return image, note
    images = data.single(target, size)
    image = images.pixels[0] if model.image_channels == 4 else data.over_white(images.pixels[0])
    known = data.known(trained_on) and images.names[0] in data.names(trained_on)
    note = f"{images.names[0]} was not among the images that {header['experiment']['name']} was trained on"
    return image, "" if known else note


def config(name: Annotated[str, typer.Argument(metavar="EXPERIMENT")]) -> None:
    """Print an experiment's whole configuration as JSON."""
    typer.echo(json.dumps(to_dict(experiment(name)), indent=1))
