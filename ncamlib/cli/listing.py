"""`ncam list`: all rows of the paper's results, published and ours."""

import itertools
import json
from typing import Annotated, Any

import typer

from ncamlib.cli.options import AsJson
from ncamlib.project import project_root
from ncamlib.results import tables


def list_experiments(
    as_json: AsJson = False,
    write: Annotated[bool, typer.Option("--write", help="Render the tables of README.md and the book.")] = False,
) -> None:
    """All rows of the paper's results, with the published number and ours."""
    if write:
        for file, table in tables.rendered().items():
            tables.write_into(project_root() / file, table)
            typer.echo(f"wrote the table into {file}")
    elif as_json:
        typer.echo(json.dumps(tables.summary(), indent=1))
    else:
        show(tables.summary())


def show(rows: list[dict[str, Any]]) -> None:
    """Print the rows in the width of a terminal."""
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("", no_wrap=True), box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("paper", "ours", "alike", "PSNR", "steps", "min"):
        table.add_column(title, justify="right")
    table.add_column("commit")
    for where, group in itertools.groupby(rows, key=lambda row: row["table"]):
        table.add_row(f"\n[bold]{where.split(', section')[0]}[/bold]")
        for row in group:
            paper = "" if row["paper_mse"] is None else tables.number(row["paper_mse"])
            table.add_row(row["name"], paper, *_measured(row))
    Console().print(table)


def _measured(row: dict[str, Any]) -> list[str]:
    """The measurements of an experiment, and how it was trained."""
    if row["train_steps"] is None:
        return ["–"]
    alike = "" if row["table_mse"] is None else tables.number(row["table_mse"])
    psnr = "" if row["psnr"] is None else f"{row['psnr']:.1f}"
    numbers = tables.number(row["mse"]), alike, psnr, f"{row['train_steps']:,}", f"{row['minutes']:.0f}"
    return [*numbers, tables.short(row["commits"]).replace(", ", ",\n")]
