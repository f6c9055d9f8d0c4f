"""The `ncam` command, put together, and its way out: one sentence and an exit status."""

import contextlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import typer

from ncamlib.cli import bench, data, evaluate, grow, listing, reproduce, train
from ncamlib.errors import NcamError, SlowRollouts
from ncamlib.training import Diverged
from ncamlib.training.processes import Stopped

# What typer raises for an unknown command or option, or a value of another kind; it has no public name for it.
MISUSED: Any = typer.BadParameter.__mro__[2]

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


@contextlib.contextmanager
def ended() -> Iterator[None]:
    """The way out of a command: an NcamError is one sentence on stderr and exit status 2, a diverged training 1.

    What was stopped by a signal ends as if it had died of it, with 128 plus its number, so that `&&` does not go on.
    """
    try:
        yield
    except Stopped as stopped:
        sys.exit(128 + stopped.number)
    except NcamError as error:
        say(f"ncam: {error}")
        sys.exit(1 if isinstance(error, Diverged) else 2)
    except MISUSED as error:
        if error.format_message():  # without any argument, the help is shown
            say(f"ncam: {error.format_message().rstrip('.')}; 'ncam --help' lists what there is")
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(128 + signal.SIGINT)


def say(text: str) -> None:
    """One line on stderr, where that can be written to."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _note(message: Warning | str, category: type[Warning], *where: Any, **_: Any) -> None:
    """A warning as a user reads it: our own without the place in the code that it came from."""
    if issubclass(category, SlowRollouts):
        say(f"note: {message}")
    else:
        say(warnings.formatwarning(message, category, *where[:2]).rstrip())


def main() -> None:
    """Entry point. What cannot be encoded for the terminal is written by its number; output that finds no room, or
    nobody who reads it, ends the command with one sentence, or none.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _note
    status: int | str | None = 0
    try:
        with ended():
            status = app(standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        status = 128 + signal.SIGPIPE
    except OSError as error:
        say(f"ncam: could not write the output ({error.strerror}): free some space, or write it elsewhere")
        status = 2
    if status != 0 or sys.stdout.closed:
        _drop(sys.stdout)
    sys.exit(status)


def _drop(stream: Any) -> None:
    """Nothing more is written to a stream that could not be: Python's own attempt at the end would complain."""
    try:
        stream.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
