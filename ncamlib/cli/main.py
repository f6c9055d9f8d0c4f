"""The whole `ncam` command, and how it ends: with one sentence and an exit status."""

import contextlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import typer

from ncamlib.cli import bench, data, evaluate, grow, information, listing, persistence, reproduce, train
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
for command in (train.train, evaluate.evaluate, persistence.persistence, information.information):
    app.command()(command)
for command in (grow.grow, train.config, reproduce.reproduce, reproduce.merge, reproduce.trials, bench.bench):
    app.command()(command)
app.add_typer(data.app, name="data")


@contextlib.contextmanager
def ended() -> Iterator[None]:
    """How a command ends: an NcamError is one sentence on stderr and exit status 2, a diverged training 1.

    A command stopped by a signal exits as if killed by it, with 128 plus its number, so that `&&` does not continue.
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
            command = error.ctx.command_path if error.ctx else "ncam"
            say(f"ncam: {error.format_message().rstrip('.')}; see '{command} --help'")
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(128 + signal.SIGINT)


def say(text: str) -> None:
    """Write one line to stderr, if possible."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _note(message: Warning | str, category: type[Warning], *where: Any, **_: Any) -> None:
    """Show a warning to the user; our own appear without their place in the code."""
    if issubclass(category, SlowRollouts):
        say(f"note: {message}")
    else:
        say(warnings.formatwarning(message, category, *where[:2]).rstrip())


def main() -> None:
    """Entry point. Characters that the terminal cannot encode are escaped. If the output cannot be written, the command
    ends with one sentence; if nobody reads it, with none.
    """
    if sys.stdout is None or sys.stderr is None:  # closed before we began
        nowhere = open(os.devnull, "w")  # noqa: SIM115
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _note
    status: int | str | None = 0
    output = sys.stdout
    try:
        with ended():
            status = app(standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        status = 128 + signal.SIGPIPE
    except SystemExit as end:  # a closed pipe is met by typer, which replaces the stream and exits with 1
        status = end.code if sys.stdout is output else 128 + signal.SIGPIPE
    except OSError as error:
        say(f"ncam: could not write the output ({error.strerror}): free some space, or write it elsewhere")
        status = 2
    if status != 0 or sys.stdout.closed:
        _drop(sys.stdout)
    sys.exit(status)


def _drop(stream: Any) -> None:
    """Redirect a stream that cannot be written to, or Python would complain when it flushes it at exit."""
    try:
        stream.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
