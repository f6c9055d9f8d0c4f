"""`ncam bench`: the rollout timed against the alternatives."""

import datetime
import json
import re
from typing import Annotated

import torch
import typer

from ncamlib import data
from ncamlib.bench.rollout import Row
from ncamlib.bench.training import StepShare
from ncamlib.cli.options import AsJson, Device, between, terminal
from ncamlib.config import to_dict
from ncamlib.errors import NcamError
from ncamlib.experiments import experiment
from ncamlib.machine import device_name, pick_device
from ncamlib.project import commit

TIMED = "full-ce-syn"  # whose training is timed


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Small cases only, within a minute.")] = False,
    threads: Annotated[
        list[int] | None, typer.Option(help="CPU threads; may be given several times.", callback=between(1, 1024))
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            help="Rounds, each of every variant in every case (default: 5; quick: 3).", callback=between(1, 1000)
        ),
    ] = None,
    recipes: Annotated[
        str | None,
        typer.Option(metavar="MINUTES,MINUTES", help="Instead, train by the present and the earlier recipe."),
    ] = None,
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:
    """Time the rollout against the alternatives, and a training step."""
    from ncamlib.bench import rollout as benchmark
    from ncamlib.bench import training

    if recipes:
        if quick or rounds or as_json or device != "auto" or len(threads or []) > 1:
            raise NcamError("--recipes trains on the CPU, and takes one --threads at most: leave other options out")
        time_recipes(recipes, threads)
        return
    torch_device, rows, rounds = pick_device(device), [], rounds or (3 if quick else 5)
    head = {
        "device": device_name(torch_device).split(", ")[0],
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "commit": commit(),
        "rounds": rounds,
    }
    for count in threads or [None]:
        if count:
            benchmark.use_threads(count)
        rows += benchmark.measure(benchmark.QUICK if quick else benchmark.FULL, torch_device, rounds)
    ratios, shares = {}, []
    if torch_device.type == "cpu":
        ratios = training.ratios(TIMED, rounds)
        shares = training.shares(TIMED, data.load("full", 64).sample(64), rounds)
    if as_json:
        growth = [to_dict(row) for row in shares]
        results = [to_dict(row) for row in rows]
        typer.echo(json.dumps({**head, **ratios, "growth": growth, "results": results}, indent=1))
        return
    show(rows)
    show_training(ratios, shares)


def time_recipes(minutes: str, threads: list[int] | None) -> None:
    """Train by both recipes, each for its minutes."""
    from ncamlib.bench import rollout as benchmark
    from ncamlib.results import quality

    if threads:
        benchmark.use_threads(threads[0])
    quality.run(experiment(TIMED), data.load("full", 64), minutes_of(minutes), typer.echo)


def minutes_of(text: str) -> dict[str, float]:
    """'20,75' -> minutes by recipe; NcamError for anything else."""
    parts = text.split(",")
    if len(parts) != 2 or not all(re.fullmatch(r"\d{1,5}(\.\d{1,3})?", part) and float(part) > 0 for part in parts):
        raise NcamError(f"'{text}' is not two durations: give minutes for the present and earlier recipe, e.g. 20,75")
    return dict(zip(("present", "earlier"), map(float, parts), strict=True))


def show_training(ratios: dict[str, float], shares: list[StepShare]) -> None:
    """Print the timings of a training step."""
    if "light_cone_ratio" in ratios:
        ratio = ratios["light_cone_ratio"]
        typer.echo(f"a synchronous training step with the light cone takes {ratio:.2f} times as long as one without")
    if "trained_ratio" in ratios:
        typer.echo(f"and with the weights of {TIMED} {ratios['trained_ratio']:.2f} times as long as with random ones")
    for row in shares:
        size = f"{row.grid}x{row.grid}, batch {row.batch}"
        typer.echo(f"{TIMED} at {size}: {row.milliseconds:.0f} ms per step, {row.growth:.0%} of it growth")


def show(rows: list[Row]) -> None:
    """Print the rows as a table, case by case."""
    from rich.table import Table

    table, last = Table("variant", "ms", "x naive", "of ceiling", "peak MiB"), None
    for row in rows:
        size = f"{row.grid}x{row.grid} T={row.steps} B={row.batch}"
        case = f"{row.direction} p={row.fire_rate:g} {size}, threads: {row.threads}"
        if case != last:
            table.add_section()
            table.add_row(f"[bold]{case}")
        last = case
        numbers = (f"{row.milliseconds:.0f}", f"{row.ratio_to_naive:.2g}", f"{row.share_of_ceiling:.0%}")
        table.add_row(row.variant, *numbers, "" if row.peak_memory_mib is None else f"{row.peak_memory_mib:.0f}")
    terminal().print(table)
