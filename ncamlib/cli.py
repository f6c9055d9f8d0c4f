"""The `ncam` command: list, train, evaluate, grow, config, bench; the others are in `cli_*`."""

import dataclasses
import datetime
import itertools
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ncamlib import checkpoint, cli_data, cli_reproduce, datasets, results
from ncamlib.cli_options import AsJson, Backend, DataDir, Device, SkipBroken, choose_backend, parse_duration
from ncamlib.config import Experiment, to_dict
from ncamlib.errors import NcamError
from ncamlib.evaluate import TEST_MUTATION, measure
from ncamlib.experiments import experiment
from ncamlib.kernels import select_backend
from ncamlib.provenance import commit, device_name, pick_device, project_root

app = typer.Typer(
    help="Neural Cellular Automata Manifold: grow images from a DNA-like code, one pixel at a time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_data.app, name="data")
app.command()(cli_reproduce.reproduce)
app.command()(cli_reproduce.merge)
app.command()(cli_reproduce.trials)


def rendered_tables() -> dict[str, str]:
    """The tables that README and book take from the recorded results, by file."""
    from ncamlib import trials

    rows = results.summary()
    recipe = trials.markdown([row for row in trials.load() if row.base != trials.ABLATION])
    return {
        "README.md": results.markdown(rows, book="book/"),
        "book/intro.md": results.markdown(rows),
        "book/choices.md": recipe,
    }


@app.command("list")
def list_experiments(
    as_json: AsJson = False,
    write: Annotated[bool, typer.Option("--write", help="Render the tables of README.md and the book.")] = False,
) -> None:
    """Every row of the paper's results, the published number and ours."""
    rows = results.summary()
    if write:
        for file, table in rendered_tables().items():
            results.write_into(project_root() / file, table)
            typer.echo(f"wrote the table into {file}")
    elif as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        from rich.console import Console
        from rich.table import Column, Table

        table = Table(Column("", no_wrap=True), box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for title in ("paper", "ours", "PSNR", "steps", "min"):
            table.add_column(title, justify="right")
        for title in ("device", "commit"):
            table.add_column(title)
        for where, group in itertools.groupby(rows, key=lambda row: row["table"]):
            table.add_row(f"\n[bold]{where.split(', section')[0]}[/bold]")
            for row in group:
                paper = "" if row["paper_mse"] is None else results.number(row["paper_mse"])
                table.add_row(row["name"], paper, *_measured(row))
        Console().print(table)


def _measured(row: dict[str, Any]) -> list[str]:
    """What was measured of an experiment, and how it was trained, as `ncam list` shows it."""
    if row["mse"] is None:
        return ["–"]
    numbers = results.number(row["mse"]), f"{row['psnr']:.1f}", f"{row['train_steps']:,}", f"{row['minutes']:.0f}"
    return [
        *numbers,
        results.machine(row["device"]).replace(", ", ",\n"),
        results.short(row["commit"]).replace(", ", ",\n"),
    ]


def configured(name: str, **changes: Any) -> Experiment:
    """An experiment with the training settings that were given on the command line."""
    chosen = experiment(name)
    given = {key: value for key, value in changes.items() if value is not None}
    return dataclasses.replace(chosen, train=dataclasses.replace(chosen.train, **given))


@app.command()
def train(
    name: Annotated[str, typer.Argument(metavar="EXPERIMENT")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints; resumes what it holds. [runs/EXPERIMENT]")
    ] = None,
    time_budget: Annotated[str | None, typer.Option(help="Train this long, e.g. 9m, in place of a step count.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images per step, over all processes.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    ema: Annotated[float | None, typer.Option(help="Decay of the averaged weights, 0 for none.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and draws.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    device: Device = "auto",
    backend: Backend = "auto",
    data_dir: DataDir = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Train an experiment. Ctrl-C saves; the same command continues."""
    from ncamlib.run import MODEL_FILE
    from ncamlib.train import train as run_training

    if threads:
        torch.set_num_threads(threads)
    budget = parse_duration(time_budget)
    place = pick_device(device)
    choose_backend(backend, place)
    chosen = configured(name, steps=steps, batch=batch, learning_rate=learning_rate, ema=ema, seed=seed)
    images = datasets.load(chosen.images, chosen.model.image_size, chosen.model.image_channels, data_dir, skip_broken)
    folder = out or Path("runs") / name
    run = run_training(chosen, images, folder, place, budget)
    if int(os.environ.get("RANK", "0")) == 0:
        typer.echo(f"{name}: {run.step} steps in {run.seconds / 60:.1f} minutes; the model is {folder / MODEL_FILE}")


@app.command()
def evaluate(
    target: Annotated[str, typer.Argument(metavar="EXPERIMENT|FILE")],
    mutation_rate: Annotated[float, typer.Option(help="Share of DNA letters replaced by random ones.")] = TEST_MUTATION,
    fire_rate: Annotated[float | None, typer.Option(help="Probability that a cell updates. [the model's]")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the automaton. [the model's]")] = None,
    seeds: Annotated[int, typer.Option(help="Average over this many draws.")] = results.SEEDS,
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
    place = pick_device(device)
    choose_backend(backend, place)
    file = checkpoint.shipped(target)
    model, header = checkpoint.load_model(target, place)
    known = header["images"] in (*datasets.SUBSETS, "cifar10") or header["experiment"]["images"] == header["images"]
    if not known and data_dir is None:
        raise NcamError(f"{file.name} was trained on '{header['images']}': give those pictures with --data-dir FOLDER")
    images = datasets.load(
        header["images"], model.config.image_size, model.config.image_channels, data_dir, skip_broken
    )
    measured = measure(model, images, mutation_rate, fire_rate, steps, seeds)
    if images.digest != header["data_digest"]:
        typer.echo(f"note: these are not the images that {file.name} was trained on", err=True)
    name = header["experiment"]["name"]
    shown = {"experiment": name, **to_dict(measured), "device": device_name(model.device)}
    shown |= {"backend": select_backend(torch.empty(1, 16, 3, 3, device=model.device)), "checkpoint": str(file)}
    if record:
        if images.digest != header["data_digest"]:
            raise NcamError("these are not the images that the model was trained on: nothing is recorded")
        if str(file) == target or (mutation_rate, fire_rate, steps) != (TEST_MUTATION, None, None):
            raise NcamError(
                "only a shipped checkpoint under the paper's test conditions is recorded: give its name alone"
            )
        results.record(results.measure_all(model, images, header))
        typer.echo(f"recorded in {results.path()}", err=True)
    if as_json:
        typer.echo(json.dumps(shown, indent=1))
    else:
        for key, value in shown.items():
            typer.echo(f"{key:>14}  {value:.5f}" if isinstance(value, float) else f"{key:>14}  {value}")


@app.command()
def grow(
    target: Annotated[str, typer.Argument(help="An emoji, its name, or a PNG or JPEG of your own.")],
    out: Annotated[Path, typer.Option(help="What to write: .gif, .apng, or a strip as .png.")] = Path("growth.gif"),
    model_name: Annotated[str, typer.Option("--model", help="Experiment or checkpoint file.")] = "chars-dna-syn",
    steps: Annotated[
        int | None, typer.Option(help="Steps of the automaton. [the model's, more on a larger grid]")
    ] = None,
    fire_rate: Annotated[float | None, typer.Option(help="Probability that a cell updates. [the model's]")] = None,
    mutation_rate: Annotated[float, typer.Option(help="Share of DNA letters replaced by random ones.")] = TEST_MUTATION,
    seed: Annotated[int, typer.Option(help="Seed of what chance decides.")] = 0,
    grid: Annotated[int | None, typer.Option(help="Side of the grid in cells. [the image's]")] = None,
    scale: Annotated[int, typer.Option(help="Pixels per cell in the picture.")] = 4,
    backend: Backend = "auto",
) -> None:
    """Grow an emoji, or a picture of your own, from one pixel."""
    from ncamlib.figures import save_growth

    choose_backend(backend)
    model, header = checkpoint.load_model(model_name)
    for label, value in (("mutation rate", mutation_rate), ("fire rate", fire_rate)):
        if value is not None and not 0 <= value <= 1:
            raise NcamError(f"the {label} is {value}: it must be between 0 and 1")
    size, steps = model.config.image_size, steps or model.steps_on(grid or model.config.image_size)
    if Path(target).suffix.lower() in datasets.IMAGE_SUFFIXES:
        image, original = datasets.load_image(Path(target), size, model.config.image_channels)
        if original != (size, size):
            typer.echo(f"{target} is {original[0]}x{original[1]} pixels and was resized to {size}x{size}", err=True)
        typer.echo(
            f"{header['images']} is all this model has seen: a picture of another kind grows into what it knows",
            err=True,
        )
    else:
        images = datasets.single(target, size)
        image = images.pixels[0]
        if images.names[0] not in datasets.load(header["images"], size).names:
            typer.echo(
                f"{images.names[0]} was not among the images that {header['experiment']['name']} was trained on",
                err=True,
            )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        weights = model.weights(image[None], model.draw_mutation(1, mutation_rate, generator))
    fire = model.draw_fire(1, fire_rate, generator)
    states = model.growth(weights, steps, fire, grid=grid)
    frames = model.nca.visible(states[:, 0])
    save_growth(out, frames, scale)
    if frames.shape[-1] == size:
        typer.echo(f"MSE to the target after {steps} steps: {(frames[-1] - image).square().mean():.4f}")
    typer.echo(f"wrote {out}")


@app.command()
def config(name: Annotated[str, typer.Argument(metavar="EXPERIMENT")]) -> None:
    """Print an experiment's whole configuration as JSON."""
    typer.echo(json.dumps(to_dict(experiment(name)), indent=1))


@app.command()
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Small cases only, within a minute.")] = False,
    threads: Annotated[list[int] | None, typer.Option(help="CPU threads; may be given several times.")] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Turns of every variant in every case, 5 unless told, 3 if quick.")
    ] = None,
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:
    """Time the rollout beside everything one could use instead."""
    from ncamlib import bench as benchmark

    chosen, rows, rounds = pick_device(device), [], rounds or (3 if quick else 5)
    head = {
        "device": device_name(chosen).split(", ")[0],
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "commit": commit(),
        "rounds": rounds,
    }
    for count in threads or [None]:
        if count:
            benchmark.use_threads(count)
        rows += benchmark.measure(benchmark.QUICK if quick else benchmark.FULL, chosen, rounds)
    if as_json:
        table = [{key.rstrip("_"): value for key, value in to_dict(row).items()} for row in rows]
        typer.echo(json.dumps({**head, "results": table}, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table, last = Table("variant", "ms", "x naive", "of ceiling", "peak MiB"), None
    for row in rows:
        case = (
            f"{row.pass_} p={row.fire_rate:g} {row.grid}x{row.grid} T={row.steps} B={row.batch}, threads: {row.threads}"
        )
        if case != last:
            table.add_section()
            table.add_row(f"[bold]{case}")
        last = case
        numbers = (f"{row.milliseconds:.0f}", f"{row.ratio_to_naive:.2g}", f"{row.share_of_ceiling:.0%}")
        table.add_row(row.variant, *numbers, "" if row.peak_memory_mib is None else f"{row.peak_memory_mib:.0f}")
    Console().print(table)


def main() -> None:
    """Entry point: an NcamError is one sentence on stderr and exit status 2, a diverged training 1."""
    try:
        app()
    except NcamError as error:
        typer.echo(f"ncam: {error}", err=True)
        sys.exit(1 if type(error).__name__ == "Diverged" else 2)


if __name__ == "__main__":
    main()
