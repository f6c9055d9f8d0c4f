"""Trains and measures experiments unattended: a queue that any number of processes on a machine share.

Each experiment has its folder, which one process at a time holds: the checkpoints (training, model, shipped),
`result.json`, `loss.csv` and a sheet of 24 reconstructions. `merge` ships the finished runs.
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ncamlib.config import Experiment, Stage, to_dict
from ncamlib.data.images import Images, evenly
from ncamlib.data.pictures import enlarge, sheet, to_picture
from ncamlib.errors import NcamError, choice
from ncamlib.experiments import EXPERIMENTS
from ncamlib.model import checkpoint
from ncamlib.model.base import Coded, Model
from ncamlib.model.encoder import Codebook
from ncamlib.project import write_atomically
from ncamlib.results.measurement import Result, measure_all, reconstruct
from ncamlib.results.store import RECORDS
from ncamlib.training.loop import train
from ncamlib.training.processes import InUse, Stopped, holder, only_one
from ncamlib.training.run import MODEL_FILE, TRAINING_FILE

RESULT_FILE, LOSS_FILE, SHEET_FILE = "result.json", "loss.csv", "reconstructions.png"  # of a run, in its folder
SHIPPED_FILE = "shipped.safetensors"  # the deployable checkpoint, from which the result is measured
SHOWN = 24  # reconstructions on the sheet
CODES = 512  # of a data set that readers may not have, the codes of so many images are shipped too
FURTHER = (0.25, 0.01)  # of the learning rate, where a trained model is trained further
FURTHER_POOL, FURTHER_SINGLE = (0.125, 0.5), (0.25, 0.5)  # shares of a batch that are fresh and wounded, there

Report = Callable[[str], None]


def in_order(names: Sequence[str]) -> list[Experiment]:
    """The named experiments, or all of them, in the order of the tables."""
    for name in names:
        choice("experiment", name, EXPERIMENTS)
    return [experiment for name, experiment in EXPERIMENTS.items() if not names or name in names]


def shares(experiments: Sequence[Experiment], budget: float) -> dict[str, float]:
    """Seconds of training for each experiment, by its share; the rows of one comparison get the same."""
    return {e.name: budget * e.share / sum(other.share for other in experiments) for e in experiments}


def further(experiment: Experiment) -> Experiment:
    """Further training of a trained model: at full size only, from a small learning rate.

    A pool's model grows well by then: fewer of its states are fresh, so that they get older, and more are wounded.
    A single image learns to stay early in training, and to grow late: more of its states are fresh. Rollouts take T
    steps, no more: trained up to 1.25 T, a picture is ready at the mean of these times, and its error at T stays high.
    """
    full = Stage(1.0, experiment.model.image_size, experiment.model.steps, rates=FURTHER)
    train = replace(experiment.train, stages=(full,), scale_leak=False, map_rate=1.0)
    if train.pool:
        fresh, wounded = FURTHER_SINGLE if experiment.model.code == "single" else FURTHER_POOL
        train = replace(train, pool_steps=1.0, pool_fresh=fresh, pool_damage=wounded if train.pool_damage else 0.0)
    return replace(experiment, train=train)


@dataclass(frozen=True)
class Task:
    """One experiment in its folder, and how far it is to be trained."""

    experiment: Experiment
    folder: Path
    seconds: float | None = None  # of training; None: as many optimiser steps as the experiment says
    warm_start: Path | None = None
    more: bool = False  # whether a trained model is to be trained further

    def header(self) -> dict[str, Any] | None:
        """The header of the training checkpoint; None if there is none yet."""
        file = self.folder / TRAINING_FILE
        return checkpoint.read_header(file, "training") if file.exists() else None

    def check(self) -> None:
        """InUse if another process has the folder, NcamError if it holds a run of another kind."""
        pid, about = holder(self.folder), self.header()
        if pid is not None:
            raise InUse(f"process {pid} is training in {self.folder}")
        start = about and self._start(about)
        if self.warm_start and about and start is None:
            raise NcamError(f"{self.folder} holds a run that was trained from scratch: train further in another --out")
        if self.warm_start is None and start is not None:
            mend = "its shipped checkpoint is missing, restore that" if self.more else "add --more"
            mend = mend if start == self.experiment.name else f"add --from {start}"
            raise NcamError(f"{self.folder} holds the further training of a model: {mend}, or choose another --out")
        if self.warm_start and about:
            wanted = checkpoint.read_header(self.warm_start, "model")["experiment"]["name"]
            if wanted != start:
                raise NcamError(f"{self.folder} holds a training that started from '{start}': choose another --out")

    def _start(self, about: dict[str, Any]) -> str | None:
        """The experiment whose model a training started from, its own included; None if from random weights."""
        steps, start = about["step"] - about["own_steps"], None
        for part in about["parts"]:
            if steps <= 0:
                break
            steps, start = steps - part["step"], part.get("experiment") or self.experiment.name
        return start

    @property
    def trained(self) -> bool:
        """Whether its training is complete."""
        about = self.header()
        if about is None:
            return False
        return about["seconds"] >= self.seconds if self.seconds else about["own_steps"] >= self.experiment.train.steps

    @property
    def result(self) -> Result | None:
        """The result of exactly this training, if it was measured."""
        if not all((self.folder / name).exists() for name in (RESULT_FILE, SHIPPED_FILE, LOSS_FILE, SHEET_FILE)):
            return None
        row, about = read_result(self.folder), self.header()
        known = about and (about["step"], about["data_digest"])
        return row if known == (row.train_steps, row.data_digest) else None

    def state(self) -> str:
        """Its state in words, for the status."""
        pid, row = holder(self.folder), self.result
        if pid is not None:
            return f"being trained by process {pid}" + self._progress()
        if row is not None and self.trained:
            return f"done: MSE {row.mse:.4f} after {row.train_steps:,} steps, {row.minutes:.0f} min"
        return ("to be measured" if self.trained else "paused" if self.header() else "waiting") + self._progress()

    def _progress(self) -> str:
        about = self.header()
        if about is None:
            return ""
        goal = f" of {self.seconds / 60:.0f}" if self.seconds else f", to {self.experiment.train.steps:,} steps"
        return f": step {about['own_steps']:,}, {about['seconds'] / 60:.1f} min{goal}"


def read_result(folder: Path) -> Result:
    """The result that was measured in a folder; NcamError for a damaged one."""
    try:
        return RECORDS.row_of(json.loads((folder / RESULT_FILE).read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError, NcamError) as error:
        raise NcamError(
            f"{folder / RESULT_FILE} is damaged ({error}): remove it and run ncam reproduce again"
        ) from error


def queue(
    experiments: Sequence[Experiment],
    out: Path,
    budget: float | None = None,
    steps: int | None = None,
    more: bool = False,
    start: str | None = None,
) -> list[Task]:
    """The tasks to do. The budget (seconds) is shared among all; without one each takes `steps` optimiser steps,
    or its own number. With `more`, a run starts from the shipped checkpoint, if there is one; with `start`, from that
    of another experiment, or from a file. NcamError if there is no model to start from.
    """
    seconds, tasks = shares(experiments, budget) if budget else {}, []
    if start is not None:
        checkpoint.read_header(checkpoint.checkpoint_path(start), "model")
    for experiment in experiments:
        model = None
        if more or start is not None:
            model = checkpoint.checkpoint_path(experiment.name if start is None else start)
        warm_start = model if model and (start is not None or model.exists()) else None
        asked = further(experiment) if warm_start else experiment
        asked = replace(asked, train=replace(asked.train, steps=steps)) if steps else asked
        tasks.append(Task(asked, out / experiment.name, seconds.get(experiment.name), warm_start, more))
    return tasks


def reproduce(
    tasks: Sequence[Task], device: torch.device, load: Callable[[Experiment], Images], report: Report = print
) -> list[str]:
    """Train and measure each experiment that no other process has, continuing where an earlier call stopped.

    An experiment that fails is reported and does not stop the others. Returns the names of those that failed; raises
    Stopped if it was asked to stop.
    """
    failed: list[str] = []
    for i, task in enumerate(tasks):
        name, label = task.experiment.name, f"[{i + 1}/{len(tasks)}] {task.experiment.name}"
        try:
            task.check()
            row = task.result if task.trained else None
            if row is None:
                row = _work(task, device, load, lambda text, label=label: report(f"{label}: {text}"))
        except Stopped as stopped:
            report(f"{label}: {stopped}")
            raise
        except InUse as error:
            report(f"{label}: left to another: {error}")
            continue
        except (NcamError, RuntimeError, OSError) as error:  # out of memory is a RuntimeError
            report(f"{label}: failed: {error}")
            failed.append(name)
            continue
        paper = f", paper {task.experiment.paper_mse:.4f}" if task.experiment.paper_mse else ""
        report(f"{label}: MSE {row.mse:.4f}{paper}; {row.train_steps} steps in {row.minutes:.1f} minutes")
    return failed


def _work(task: Task, device: torch.device, load: Callable[[Experiment], Images], report: Report) -> Result:
    """Train and measure one experiment; raises Stopped."""
    images = load(task.experiment)
    report(f"{len(images)} images")
    run = train(task.experiment, images, task.folder, device, task.seconds, warm_start=task.warm_start)
    if run.stopped:
        raise Stopped(run.stopped, "stopped; run the same command to continue")
    with only_one(task.folder):
        return measure_run(task.folder, images, device)


def measure_run(folder: Path, images: Images, device: torch.device) -> Result:
    """Measure a trained model from its deployable checkpoint and write everything that `merge` needs."""
    model, header = checkpoint.load_model(folder / MODEL_FILE, device)
    ships = deployable(model, images, header["experiment"].get("ships_encoder", True))
    checkpoint.save_model(folder / SHIPPED_FILE, ships, header)
    model, header = checkpoint.load_model(folder / SHIPPED_FILE, device)
    row = measure_all(model, images, header)
    losses = checkpoint.read(folder / TRAINING_FILE, "training")[0]["losses"].tolist()
    first = header["step"] - len(losses) + 1
    lines = [f"{step},{loss:.4g}" for step, loss in enumerate(losses, first)]
    write_atomically(folder / LOSS_FILE, ("step,mse\n" + "\n".join(lines) + "\n").encode())
    picture = io.BytesIO()
    to_picture(sample_sheet(model, images)).save(picture, "PNG")
    write_atomically(folder / SHEET_FILE, picture.getvalue())
    # Last, because it says that the others are there.
    write_atomically(folder / RESULT_FILE, (json.dumps(to_dict(row), indent=1) + "\n").encode())
    return row


def sample_sheet(model: Model, images: Images) -> torch.Tensor:
    """Some targets and what grows from them, side by side: (3, H, W)."""
    targets = images.pixels[evenly(len(images), SHOWN)]
    pairs = torch.stack([targets, reconstruct(model, targets).cpu()], 1).flatten(0, 1)  # target, grown, target, ...
    return sheet(enlarge(pairs, 2), columns=8)


def deployable(model: Model, images: Images, encoder: bool = False) -> Model:
    """The model as it is shipped: with the codes of its images in place of the encoder, unless that is needed.

    For a data set that does not come with the package, the codes of a small random sample are added.
    """
    if not isinstance(model, Coded) or model.encoder is None:
        return model
    if not images.sequences and len(images) > 1:
        model.codes = Codebook.of(model.encoder, images.sample(CODES).pixels)
    elif not encoder:
        model.codes, model.encoder = Codebook.of(model.encoder, images.pixels), None
    return model
