"""Ships what came of trainings: checkpoints, losses and results go into the checkout."""

import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from ncamlib.errors import NcamError
from ncamlib.model import checkpoint
from ncamlib.project import project_root, write_atomically
from ncamlib.results import store
from ncamlib.results.measurement import BEST, Result
from ncamlib.results.reproduce import LOSS_FILE, RESULT_FILE, SHEET_FILE, SHIPPED_FILE, read_result
from ncamlib.results.store import TABLE

Report = Callable[[str], None]


def table_files(name: str) -> tuple[Path, Path]:
    """Where a table run's losses and sample sheet are kept; its checkpoint is not."""
    folder = project_root() / "figures" / "table_runs"
    return folder / f"{name}.csv", folder / f"{name}.png"


def _continued(curve: Path, losses: str) -> str:
    """The losses of a run that was trained further: the shipped curve up to where its own begin."""
    head, *own = losses.splitlines(keepends=True)
    if not curve.exists() or not own:
        return losses
    first = int(own[0].split(",")[0])
    before = [line for line in curve.read_text().splitlines(keepends=True)[1:] if int(line.split(",")[0]) < first]
    return "".join([head, *before, *own])


def merge(folders: Sequence[Path], table: bool = False, report: Report = print) -> None:
    """Ship the best run of each experiment: its checkpoint, its loss and its result.

    Better is the lower recorded MSE; runs on other images than those of the recorded result are refused. With
    `table`, the runs are also recorded as those that are compared: all rows of a table must have been trained alike.
    """
    files = [file for folder in folders for file in sorted(folder.glob(f"*/{RESULT_FILE}"))]
    if not files:
        raise NcamError(f"there is no */{RESULT_FILE} in {', '.join(map(str, folders))}: run ncam reproduce first")
    for file in files:
        row = read_result(file.parent)
        obstacle = _obstacle(row, file.parent)
        if obstacle:
            report(f"{row.experiment}: {obstacle}")
            continue
        if table:
            _keep_table_run(row, file.parent)
            report(f"{row.experiment}: {row.mse:.4f} recorded as its table run")
        known = store.load().get(row.experiment)
        if known and known.mse <= row.mse:
            report(f"{row.experiment}: {row.mse:.4f} is no better than the recorded {known.mse:.4f}")
            continue
        _ship(row, file.parent)
        report(f"{row.experiment}: {row.mse:.4f} recorded" + (f", was {known.mse:.4f}" if known else ""))


def _obstacle(row: Result, folder: Path) -> str | None:
    """Why a run cannot be merged, or None."""
    if not (folder / SHIPPED_FILE).exists():
        return f"{folder} has no {SHIPPED_FILE}: run ncam reproduce again"
    header = checkpoint.read_header(folder / SHIPPED_FILE, "model")
    if (header["step"], header["data_digest"]) != (row.train_steps, row.data_digest):
        return f"{folder} was trained on after it was measured: run ncam reproduce again"
    known = store.load().get(row.experiment)
    if known and known.data_digest != row.data_digest:
        return f"{folder} was trained on other images than the recorded result: left out"
    return None


def _keep_table_run(row: Result, folder: Path) -> None:
    curve, picture = table_files(row.experiment)
    write_atomically(curve, (folder / LOSS_FILE).read_bytes())
    with Image.open(folder / SHEET_FILE) as sheet:  # 256 colours are enough to judge by, and a third of the size
        buffer = io.BytesIO()
        sheet.quantize(256).save(buffer, "PNG", optimize=True)
    write_atomically(picture, buffer.getvalue())
    store.record(replace(row, kind=TABLE))


def _ship(row: Result, folder: Path) -> None:
    target = project_root() / "checkpoints" / f"{row.experiment}.safetensors"
    target.parent.mkdir(exist_ok=True)
    curve, losses = target.with_suffix(".csv"), (folder / LOSS_FILE).read_text()
    if len(row.parts) > 1:
        losses = _continued(curve, losses)
    shutil.copyfile(folder / SHIPPED_FILE, target)
    write_atomically(curve, losses.encode())
    store.record(replace(row, kind=BEST))
