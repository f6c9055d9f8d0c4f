"""Trains and measures many experiments unattended, and merges what several runs have found.

Each experiment has its folder: the checkpoints (training, model, shipped), `result.json`, `loss.csv` and a sheet of
24 reconstructions.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ncamlib import checkpoint, results
from ncamlib.autoencoder import Autoencoder, Grower
from ncamlib.config import Experiment, from_dict, to_dict
from ncamlib.datasets import Images
from ncamlib.encoder import Codebook
from ncamlib.errors import NcamError
from ncamlib.evaluate import reconstruct
from ncamlib.experiments import EXPERIMENTS, PRIORITY, WITH_ENCODER
from ncamlib.figures import enlarge, sheet, to_picture
from ncamlib.run import MODEL_FILE, TRAINING_FILE, Run
from ncamlib.train import train

RESULT_FILE, LOSS_FILE, SHEET_FILE = "result.json", "loss.csv", "reconstructions.png"
SHIPPED_FILE = "shipped.safetensors"  # the deployable checkpoint, from which the result is measured
SHOWN = 24  # reconstructions on the sheet
CODES = 512  # of a data set that readers may not have, the codes of so many images are shipped too


def in_order(names: Sequence[str]) -> list[Experiment]:
    """The named experiments, or all of them, the most important first."""
    unknown = [name for name in names if name not in EXPERIMENTS]
    if unknown:
        raise NcamError(f"unknown experiment '{unknown[0]}': choose from {', '.join(EXPERIMENTS)}")
    return [EXPERIMENTS[name] for name in PRIORITY if not names or name in names]


def shares(chosen: Sequence[Experiment], budget: float) -> dict[str, float]:
    """Seconds of training for each experiment, by its weight; the rows of one comparison get the same."""
    weights = {e.name: PRIORITY[e.name] for e in chosen}
    return {name: budget * weight / sum(weights.values()) for name, weight in weights.items()}


def reproduce(
    chosen: Sequence[Experiment],
    out: Path,
    device: torch.device,
    load: Callable[[Experiment], Images],
    budget: float | None = None,
    steps: int | None = None,
    more: bool = False,
    report: Callable[[str], None] = print,
) -> list[str]:
    """Train and measure each experiment in `out`, going on where an earlier call was cut off.

    With `more`, a run starts from the weights of the shipped checkpoint, where there is one. The budget (seconds)
    is shared among all; without one each takes `steps` optimiser steps, or its own number. An experiment that fails
    is reported and does not stop the others. Returns the names that failed.
    """
    known = {e.name: checkpoint.shipped(e.name) for e in chosen if more and checkpoint.shipped(e.name).exists()}
    seconds, failed = shares(chosen, budget) if budget else {}, []
    for i, experiment in enumerate(chosen):
        folder, label = out / experiment.name, f"[{i + 1}/{len(chosen)}] {experiment.name}"
        if steps:
            experiment = replace(experiment, train=replace(experiment.train, steps=steps))
        try:
            images = load(experiment)
            report(f"{label}: {len(images)} images")
            if experiment.name in known and _begun_without_start(folder):
                raise NcamError(f"{folder} holds a training that started afresh: train further in another --out")
            start = known.get(experiment.name)
            run = train(experiment, images, folder, device, seconds.get(experiment.name), start=start)
            share = seconds.get(experiment.name)
            if run.seconds < share if share else run.step < experiment.train.steps:
                report(f"{label}: stopped; the same command continues")
                return [*failed, *(e.name for e in chosen[i:])]
            row = _measured(run, folder) or measure_run(run, folder)
        except (NcamError, RuntimeError, OSError) as error:  # out of memory is a RuntimeError
            report(f"{label}: failed: {error}")
            failed.append(experiment.name)
            continue
        paper = f", paper {experiment.paper_mse:.4f}" if experiment.paper_mse else ""
        report(f"{label}: MSE {row.mse:.4f}{paper}; {row.train_steps} steps in {row.minutes:.1f} minutes")
    return failed


def _begun_without_start(folder: Path) -> bool:
    file = folder / TRAINING_FILE
    return file.exists() and not checkpoint.read(file, "training")[1].get("earlier")


def _measured(run: Run, folder: Path) -> results.Result | None:
    """The result that an earlier call wrote for this very run, if there is one."""
    file = folder / RESULT_FILE
    if not all((folder / name).exists() for name in (RESULT_FILE, SHIPPED_FILE, LOSS_FILE)):
        return None
    row = from_dict(results.Result, json.loads(file.read_text(encoding="utf-8")))
    return row if (row.train_steps, row.data_digest) == (run.header()["step"], run.images.digest) else None


def measure_run(run: Run, folder: Path) -> results.Result:
    """Measure a finished run from its deployable checkpoint and write all that is kept of it."""
    model, header = checkpoint.load_model(folder / MODEL_FILE, run.model.device)
    checkpoint.save_model(
        folder / SHIPPED_FILE, deployable(model, run.images, run.experiment.name in WITH_ENCODER), header
    )
    model, header = checkpoint.load_model(folder / SHIPPED_FILE, run.model.device)
    row = results.measure_all(model, run.images, header)
    first = header["step"] - len(run.losses) + 1
    lines = [f"{step},{loss:.6g}" for step, loss in enumerate(run.losses, first)]
    checkpoint.write_atomically(folder / LOSS_FILE, ("step,mse\n" + "\n".join(lines) + "\n").encode())
    shown = torch.linspace(0, len(run.images) - 1, min(SHOWN, len(run.images))).round().long()
    targets = run.images.pixels[shown]
    pairs = torch.stack([targets, reconstruct(model, targets).cpu()], 1).flatten(0, 1)  # target, grown, target, ...
    to_picture(sheet(enlarge(pairs, 2), columns=8)).save(folder / SHEET_FILE)
    # Last, because it says that the others are there.
    checkpoint.write_atomically(folder / RESULT_FILE, (json.dumps(to_dict(row), indent=1) + "\n").encode())
    return row


def deployable(model: Grower, images: Images, encoder: bool = False) -> Grower:
    """The model as it is shipped: with the codes of its images in place of the encoder, unless that is needed.

    Of a data set that does not come with the package, the codes of a fixed random few are added.
    """
    if not isinstance(model, Autoencoder) or model.encoder is None:
        return model
    if not images.sequences and len(images) > 1:
        model.codes = Codebook.of(model.encoder, images.sample(CODES).pixels)
    elif not encoder:
        model.codes, model.encoder = Codebook.of(model.encoder, images.pixels), None
    return model


def _continued(curve: Path, losses: str) -> str:
    """The losses of a run that was trained further: the shipped curve up to where its own begin."""
    head, *own = losses.splitlines(keepends=True)
    if not curve.exists() or not own:
        return losses
    first = int(own[0].split(",")[0])
    before = [line for line in curve.read_text().splitlines(keepends=True)[1:] if int(line.split(",")[0]) < first]
    return "".join([head, *before, *own])


def merge(folders: Sequence[Path], report: Callable[[str], None] = print) -> None:
    """Ship the best run of each experiment: its checkpoint, its loss and its result.

    Better is the lower recorded MSE; runs on other images than those of the recorded result are refused.
    """
    files = [file for folder in folders for file in sorted(folder.glob(f"*/{RESULT_FILE}"))]
    if not files:
        raise NcamError(f"there is no */{RESULT_FILE} in {', '.join(map(str, folders))}: run ncam reproduce first")
    for file in files:
        row = from_dict(results.Result, json.loads(file.read_text(encoding="utf-8")))
        if not (file.parent / SHIPPED_FILE).exists():
            report(f"{row.experiment}: {file.parent} has no {SHIPPED_FILE}: run ncam reproduce again")
            continue
        header = checkpoint.read(file.parent / SHIPPED_FILE, "model")[1]
        if (header["step"], header["data_digest"]) != (row.train_steps, row.data_digest):
            report(f"{row.experiment}: {file.parent} was trained on after it was measured: run ncam reproduce again")
            continue
        known = results.load().get(row.experiment)
        if known and known.data_digest != row.data_digest:
            report(f"{row.experiment}: {file.parent} was trained on other images than the recorded result: left out")
        elif known and known.mse <= row.mse:
            report(f"{row.experiment}: {row.mse:.4f} is no better than the recorded {known.mse:.4f}")
        else:
            shipped = checkpoint.shipped(row.experiment)
            shipped.parent.mkdir(exist_ok=True)
            curve = shipped.with_suffix(".csv")
            losses = _continued(curve, (file.parent / LOSS_FILE).read_text()) if header.get("earlier") else None
            shutil.copyfile(file.parent / SHIPPED_FILE, shipped)
            checkpoint.write_atomically(curve, (losses or (file.parent / LOSS_FILE).read_text()).encode())
            results.record(row)
            report(f"{row.experiment}: {row.mse:.4f} recorded" + (f", was {known.mse:.4f}" if known else ""))
