"""Ships finished training runs: checkpoints, losses and results go into the checkout."""

import io
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from ncamlib.config import ModelConfig, from_dict
from ncamlib.errors import NcamError
from ncamlib.experiments import EXPERIMENTS
from ncamlib.model import checkpoint
from ncamlib.project import project_root, recording, write_together
from ncamlib.results import store
from ncamlib.results.measurement import BEST, TABLE, Result
from ncamlib.results.reproduce import LOSS_FILE, RESULT_FILE, SHEET_FILE, SHIPPED_FILE, read_result

Report = Callable[[str], None]


def table_files(name: str) -> tuple[Path, Path]:
    """Where a table run's losses and sample sheet are kept; its checkpoint is not.

    While it is also the shipped run, its losses are beside the checkpoint.
    """
    folder = project_root() / "figures" / "table_runs"
    return folder / f"{name}.csv", folder / f"{name}.png"


def _losses(row: Result, folder: Path, rows: Sequence[Result]) -> bytes:
    """The losses of a run, from its first step on if the run that it continues is recorded."""
    losses = (folder / LOSS_FILE).read_text(encoding="utf-8")
    head, *own = losses.splitlines(keepends=True)
    first = int(own[0].split(",")[0]) if own else 1
    for one in rows:
        shared = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one.parts, row.parts, strict=False))
        if first > 1 and one.experiment == row.experiment and sum(part.step for part, _ in shared) >= first - 1:
            return "".join([head, *_before(first, _curve(one)), *own]).encode()
    return losses.encode()


def _curve(row: Result) -> Path:
    """Where the losses of a recorded run are."""
    kept, _ = table_files(row.experiment)
    return kept if row.kind == TABLE and kept.exists() else store.curve(row.experiment)


def _before(first: int, curve: Path) -> list[str]:
    """The lines of a loss curve before a step."""
    try:
        lines = curve.read_text(encoding="utf-8").splitlines(keepends=True)[1:]
        return [line for line in lines if int(line.split(",")[0]) < first]
    except (OSError, ValueError) as error:
        raise NcamError(f"the losses in {curve} are damaged ({error}): restore them from version control") from error


def merge(folders: Sequence[Path], table: bool = False, report: Report = print, ship: bool = True) -> None:
    """Ship the best run of each experiment: its checkpoint, its losses and its result, all of it or nothing.

    The lower recorded MSE wins; runs on images other than those of the recorded result are refused. With `table`, the
    runs are also recorded for comparison: all rows of a table must have been trained alike. With `ship=False` they are
    recorded for nothing else, and their checkpoints stay where they are.
    NcamError, before anything is changed, for a result or a checkpoint that is damaged.
    """
    files = [file for folder in folders for file in sorted(folder.glob(f"*/{RESULT_FILE}"))]
    if not files:
        raise NcamError(f"there is no */{RESULT_FILE} in {', '.join(map(str, folders))}: run ncam reproduce first")
    runs = [(read_result(file.parent), file.parent) for file in files]
    for row, folder in runs:
        if table and row.others:
            raise NcamError(f"{folder} started from '{next(iter(row.others))}': --table is for runs trained alike")
    headers = [_header(row, folder) for row, folder in runs]
    with recording():
        for (row, folder), header in zip(runs, headers, strict=True):
            write_together(_changes(row, folder, header, table, ship, report))


def _header(row: Result, folder: Path) -> dict[str, Any]:
    """The header of the run's deployable checkpoint; NcamError if there is none, or it cannot be shipped."""
    for file in (SHIPPED_FILE, LOSS_FILE, SHEET_FILE):
        if not (folder / file).exists():
            raise NcamError(f"{folder} has no {file}: run ncam reproduce again")
    _, header = checkpoint.load_model(folder / SHIPPED_FILE)
    name = header["experiment"]["name"]
    if name != row.experiment or set(name) & set("/\\\0") or name.startswith("."):
        raise NcamError(f"{folder} holds a result of '{row.experiment}' and a model of '{name}': nothing was merged")
    if name in EXPERIMENTS and _settings(header) not in _known(name):
        raise NcamError(f"{folder} holds a model with other settings than '{name}' has: nothing was merged")
    return header


def _settings(header: dict[str, Any]) -> ModelConfig:
    return from_dict(ModelConfig, header["experiment"]["model"])


def _known(name: str) -> list[ModelConfig]:
    """The settings of an experiment's models: as they are now, and as in the one that is shipped."""
    file = checkpoint.checkpoint_path(name)
    return [EXPERIMENTS[name].model, *([_settings(checkpoint.read_header(file, "model"))] if file.exists() else [])]


def _changes(
    row: Result, folder: Path, header: dict[str, Any], table: bool, ship: bool, report: Report
) -> dict[Path, bytes]:
    """What is to be written for one run, nothing if it is no better; reports which."""
    rows, files = store.rows(), {}
    known, alike = (
        next((one for one in rows if (one.experiment, one.kind) == (row.experiment, kind)), None)
        for kind in (BEST, TABLE)
    )
    if header["data_digest"] != row.data_digest:
        report(f"{row.experiment}: the result in {folder} is of other images than its model: run ncam reproduce again")
        return {}
    if header["step"] != row.train_steps:
        report(f"{row.experiment}: {folder} was trained further after it was measured: run ncam reproduce again")
        return {}
    if any(one and one.data_digest != row.data_digest for one in (known, alike)):
        report(f"{row.experiment}: {folder} was trained on other images than the recorded result: left out")
        return {}
    losses = _losses(row, folder, rows)
    if table:
        files |= _table_run(row, folder, losses)
        rows = store.with_result(rows, replace(row, kind=TABLE))
        report(f"{row.experiment}: {row.mse:.4f} recorded as its table run")
    if not ship:
        return files | {store.RECORDS.path: store.text(rows)}
    if known and known.mse <= row.mse:
        report(f"{row.experiment}: {row.mse:.4f} is no better than the recorded {known.mse:.4f}")
    else:
        shipped, (curve, _) = _shipped(row, folder, losses), table_files(row.experiment)
        if table and not curve.exists():
            del files[curve]
        elif not table and known and alike and alike.parts == known.parts:
            files[curve] = store.curve(row.experiment).read_bytes()
        files |= shipped
        rows = store.with_result(rows, replace(row, kind=BEST))
        report(f"{row.experiment}: {row.mse:.4f} recorded" + (f", was {known.mse:.4f}" if known else ""))
    return files | {store.RECORDS.path: store.text(rows)} if files else {}


def _table_run(row: Result, folder: Path, losses: bytes) -> dict[Path, bytes]:
    curve, picture = table_files(row.experiment)
    with Image.open(folder / SHEET_FILE) as sheet:  # 256 colours are enough to judge by, and a third of the size
        buffer = io.BytesIO()
        sheet.quantize(256).save(buffer, "PNG", optimize=True)
    return {curve: losses, picture: buffer.getvalue()}


def _shipped(row: Result, folder: Path, losses: bytes) -> dict[Path, bytes]:
    curve = store.curve(row.experiment)
    target = curve.with_suffix(".safetensors")
    files = {target: (folder / SHIPPED_FILE).read_bytes(), curve: losses}
    sums = target.with_name(checkpoint.SUMS)  # of files without a digest of their own; this one has one
    if sums.exists():
        lines = sums.read_text(encoding="utf-8").splitlines(keepends=True)
        files[sums] = "".join(line for line in lines if line.split()[1] != target.name).encode()
    return files
