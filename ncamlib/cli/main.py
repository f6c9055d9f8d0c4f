"""The `ncam` command, put together, and its way out: one sentence and an exit status."""

import sys

import typer

from ncamlib.cli import bench, data, evaluate, grow, listing, reproduce, train
from ncamlib.errors import NcamError
from ncamlib.training import Diverged
from ncamlib.training.processes import Stopped

app = typer.Typer(
    help="Neural Cellular Automata Manifold: grow images from a DNA-like code, one pixel at a time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("list")(listing.list_experiments)
for command in (train.train, evaluate.evaluate, grow.grow, train.config):
    app.command()(command)
for command in (reproduce.reproduce, reproduce.merge, reproduce.trials, bench.bench):
    app.command()(command)
app.add_typer(data.app, name="data")


def main() -> None:
    """Entry point: an NcamError is one sentence on stderr and exit status 2, a diverged training 1.

    What was stopped by a signal ends as if it had died of it, with 128 plus its number, so that `&&` does not go on.
    """
    try:
        app()
    except Stopped as stopped:
        sys.exit(128 + stopped.number)
    except NcamError as error:
        typer.echo(f"ncam: {error}", err=True)
        sys.exit(1 if isinstance(error, Diverged) else 2)
