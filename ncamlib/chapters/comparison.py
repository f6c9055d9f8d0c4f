"""What the results chapters share: several models on the same images, with their numbers side by side.

F models, N images, C image channels, H W pixels.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncamlib import results
from ncamlib.config import Experiment
from ncamlib.data.images import Images
from ncamlib.experiments import experiment
from ncamlib.machine import pick_device
from ncamlib.model import checkpoint
from ncamlib.model.base import Model
from ncamlib.results import information, pca
from ncamlib.results.measurement import TEST_MUTATION, Part, measure, others, reconstruct
from ncamlib.results.tables import machine, number, published
from ncamlib.training.loop import train
from ncamlib.training.run import MODEL_FILE


@dataclass(frozen=True)
class Contender:
    """A model to compare, and where it comes from."""

    experiment: Experiment
    model: Model
    header: dict[str, Any]  # of its checkpoint

    @property
    def label(self) -> str:
        """The row's name in the paper."""
        return self.experiment.row


def load(names: Sequence[str]) -> list[Contender]:
    """The named experiments that have a checkpoint; NcamError for a name that is none."""
    return [
        Contender(experiment(name), *checkpoint.load_model(name))
        for name in names
        if checkpoint.checkpoint_path(experiment(name).name).exists()
    ]


def retrain(names: Sequence[str], images: Images, minutes: float, seed: int = 0) -> list[Contender]:
    """Train the named experiments afresh on `images`, each for the same time and with a progress bar."""
    contenders, device = [], pick_device()
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            base = experiment(name)
            changed = replace(base, images=images.name, train=replace(base.train, seed=seed))
            train(changed, images, Path(folder) / name, device, 60 * minutes / len(names))
            contenders.append(Contender(changed, *checkpoint.load_model(Path(folder) / name / MODEL_FILE)))
    return contenders


def compare(
    contenders: Sequence[Contender], images: Images, shown: Sequence[int], mutation_rate: float = TEST_MUTATION
) -> tuple[list[float], Tensor]:
    """MSE of each model on `images`, and what each grows from those `shown`: (F, N, C, H, W)."""
    errors = [measure(c.model, images, mutation_rate).mse for c in contenders]
    targets = images.pixels[list(shown)]
    return errors, torch.stack([reconstruct(c.model, targets, mutation_rate) for c in contenders])


def _half_wrong(contender: Contender) -> float | None:
    """The recorded error of this model with half of its letters wrong; None if there is none."""
    for row in information.RECORDS.load():
        about = (row.experiment, row.train_steps, row.data_digest)
        if about == (contender.experiment.name, contender.header["step"], contender.header["data_digest"]):
            return dict(row.errors).get(information.WRONG)
    return None


def markdown(contenders: Sequence[Contender], errors: Sequence[float] | None = None) -> str:
    """A table: the paper's error, ours as recorded on the whole set, the training.

    If codes were measured with half of their letters wrong, for which more than half are replaced, also that error, on
    a sample. With `errors`, also what was measured here. If a run was trained like its neighbours, also its error and
    steps: only these can be compared. Where PCA was recorded, a second table has the `yardsticks`.
    """
    recorded, alike = results.load(), results.load(results.TABLE)
    strict = [_half_wrong(contender) for contender in contenders]
    titles = ["model", "paper", "ours, recorded", *(["half wrong (sample)"] if any(strict) else [])]
    titles += ["measured here"] if errors else []
    own = [_recorded(contender, recorded) for contender in contenders]
    compared = [alike.get(c.experiment.name) if one else None for c, one in zip(contenders, own, strict=True)]
    titles += [*(["matched run (steps)"] if any(compared) else []), "training"]
    rows = []
    for i, contender in enumerate(contenders):
        about, header, mse = contender.experiment, contender.header, own[i] and own[i].mse
        cells = [contender.label, published(about.name, about.paper_mse), number(mse)]
        cells += [number(strict[i])] if any(strict) else []
        cells += [number(errors[i])] if errors else []
        if any(compared):
            other = compared[i]
            cells.append(f"{number(other.mse)} ({other.train_steps:,})" if other else "–")
        spent = f"{minutes:.0f} min" if (minutes := header["minutes"]) >= 1 else f"{60 * minutes:.0f} s"
        how = [f"{header['step']:,} steps", spent, machine([part["device"] for part in header["parts"]])]
        started = others([Part(**part) for part in header["parts"]])
        how += [f"{steps:,} of the steps as {other}" for other, steps in started.items()]
        cells.append(", ".join(how))
        rows.append(cells)
    return _table(titles, rows) + yardsticks(contenders, errors)


def yardsticks(contenders: Sequence[Contender], errors: Sequence[float] | None = None) -> str:
    """A table of what our errors (the recorded ones, else `errors`) are to be held against; empty if none was recorded.

    The error of the mean image, with ours as a share of it, which is the variance that is left unexplained; the
    residual error of PCA with as many numbers as the code has, and the number at which PCA equals our model.
    """
    recorded, linear = results.load(), pca.load()
    if not any(contender.header["data_digest"] in linear for contender in contenders):
        return ""
    rows = []
    for i, contender in enumerate(contenders):
        yardstick = linear.get(contender.header["data_digest"])
        own = _recorded(contender, recorded)
        best = own.mse if own else errors[i] if errors else None
        left = yardstick and yardstick.left(contender.experiment.model.embedding)
        components = yardstick.equal(best) if yardstick and best is not None else None
        mean = yardstick and yardstick.left(0)
        share = f"{best / mean:.0%}" if mean and best is not None else "–"
        equal = "–" if components is None else f"{components:,}"
        rows.append([contender.label, number(mean), share, number(left), equal])
    titles = ["model", "mean image", "ours / mean image", "PCA, as many numbers", "as good as PCA with"]
    return "\n\n" + _table(titles, rows)


def _recorded(contender: Contender, recorded: dict[str, results.Result]) -> results.Result | None:
    """The record of a model; None if there is none, or if it is of another training."""
    row, header = recorded.get(contender.experiment.name), contender.header
    same = row and (row.train_steps, row.data_digest) == (header["step"], header["data_digest"])
    return row if same else None


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column at the left, sentences of a last one too, numbers at the right."""
    last = "---" if titles[-1] == "training" else "--:"
    lines = [titles, ["---", *["--:"] * (len(titles) - 2), last], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
