"""`ncam list`: all rows of the paper's results, published and ours."""

import itertools
import json
from typing import Annotated, Any

import typer

from ncamlib.cli.options import AsJson, terminal
from ncamlib.project import project_root
from ncamlib.results import tables

NUMBERS = {"paper": 6, "ours": 6, "matched": 7, "PSNR": 4, "steps": 7, "min": 3}  # the columns and their widths


def list_experiments(
    as_json: AsJson = False,
    write: Annotated[bool, typer.Option("--write", help="Render the tables of README.md and the book.")] = False,
) -> None:
    """All rows of the paper's results, with the published number and ours."""
    if write:
        for file, texts in tables.rendered().items():
            tables.write_into(project_root() / file, texts)
            typer.echo(f"wrote the tables into {file}", err=as_json)
    if as_json:
        typer.echo(json.dumps(tables.summary(), indent=1))
    elif not write:
        show(tables.summary())


def show(rows: list[dict[str, Any]]) -> None:
    """Print the rows, in a terminal of 80 columns or more."""
    from rich.table import Column, Table

    console, longest = terminal(), max(len(row["name"]) for row in rows)
    for i, (where, group) in enumerate(itertools.groupby(rows, key=lambda row: row["table"])):
        numbers = (Column(title, width=width, justify="right") for title, width in NUMBERS.items())
        columns = [Column("", width=longest), *numbers, Column("commit", width=8)]
        table = Table(*columns, show_header=i == 0, box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for row in group:
            paper = "" if row["paper_mse"] is None else tables.published(row["name"], row["paper_mse"])
            table.add_row(row["name"], paper, *_measured(row))
        console.print(f"\n[bold]{where.split(', section')[0]}[/bold]", highlight=False)
        console.print(table)


def _measured(row: dict[str, Any]) -> list[str]:
    """The measurements of an experiment, and how it was trained."""
    if row["train_steps"] is None:
        return ["–"]
    alike = "" if row["table_mse"] is None else tables.number(row["table_mse"])
    psnr = "" if row["psnr"] is None else f"{row['psnr']:.1f}"
    numbers = tables.number(row["mse"]), alike, psnr, f"{row['train_steps']:,}", f"{row['minutes']:.0f}"
    return [*numbers, tables.short(row["commits"]).replace(", ", ",\n")]
