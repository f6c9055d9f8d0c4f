"""The recorded results: one JSON file from which README, book and `ncam list` are rendered. No number is typed by hand.

An experiment has two records. Its `best` run is the one that is shipped. Its `table` run was trained like the other
rows of its table: only table runs are compared, and a better run never replaces one.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ncamlib.errors import NcamError
from ncamlib.experiments import EXPERIMENTS
from ncamlib.project import Records, project_root, recording, write_atomically
from ncamlib.results.measurement import BEST, Result

SCHEMA = 2


def _upgrade(row: dict[str, Any]) -> dict[str, Any]:
    """A row of an earlier commit. In schema 1 the machines, commits, ... of its parts were joined by plus signs, and
    their shares not kept.
    """
    row = {{"attempts": "holders"}.get(name, name): value for name, value in row.items()}
    if "parts" in row:
        return row
    names = ("device", "backend", "commit", "torch")
    columns = {name: row.pop(name).split(" + ") for name in names}
    count = max(map(len, columns.values()))
    empty = {"step": 0, "minutes": 0.0}
    parts = [empty | {name: column[min(i, len(column) - 1)] for name, column in columns.items()} for i in range(count)]
    if count == 1:
        parts[0] |= {"step": row["train_steps"], "minutes": row["minutes"]}
    return row | {"parts": parts}


RECORDS = Records("results.json", Result, "results", upgrade=_upgrade)


def load(kind: str = BEST) -> dict[str, Result]:
    """Recorded results by experiment, of best or of table runs; empty outside a checkout. NcamError if damaged."""
    return {row.experiment: row for row in rows() if row.kind == kind}


def curve(name: str) -> Path:
    """Where the training loss of a shipped experiment is kept, one line per step."""
    return project_root() / "checkpoints" / f"{name}.csv"


def losses(name: str) -> list[float]:
    """The training loss of a shipped experiment, one number per step; empty if none was kept."""
    file = curve(name)
    if not file.exists():
        return []
    return [float(line.split(",")[1]) for line in file.read_text(encoding="utf-8").splitlines()[1:]]


def restarts(name: str) -> list[int]:
    """The optimiser steps, as `losses` counts them, after which a further run of an experiment began."""
    own = [part.step for part in load()[name].parts if not part.experiment] if name in load() else []
    return [step for step in itertools.accumulate(own) if step > 0][:-1]


def rows() -> list[Result]:
    """All recorded results; none outside a checkout. NcamError if damaged."""
    head, recorded = RECORDS.read()
    if recorded and head.get("schema") not in (1, SCHEMA):
        raise NcamError(f"{RECORDS.path} has schema {head.get('schema')}, this ncamlib reads {SCHEMA}")
    return recorded


def with_result(rows: Sequence[Result], result: Result) -> list[Result]:
    """The rows with one experiment's best or table run added or replaced, in the order of the tables."""
    known = {(row.experiment, row.kind): row for row in rows}
    before = known.get((result.experiment, result.kind))
    if before is not None:  # another run, or the same measured again
        result = replace(result, holders=before.holders + (before.parts != result.parts))
    known[result.experiment, result.kind] = result
    places = {name: i for i, name in enumerate(EXPERIMENTS)}
    return sorted(known.values(), key=lambda row: (places.get(row.experiment, len(places)), row.kind))


def text(rows: Sequence[Result]) -> bytes:
    """The content of the file with these rows."""
    return RECORDS.text(rows, {"schema": SCHEMA}).encode()


def record(result: Result) -> None:
    """Add or replace one experiment's best or table run."""
    with recording():
        write_atomically(RECORDS.path, text(with_result(rows(), result)))
