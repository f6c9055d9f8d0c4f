"""The recorded results: one JSON file that README, book and `ncam list` render from. No number is typed."""

import itertools
import json
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from ncamlib import datasets, pca
from ncamlib.autoencoder import Grower
from ncamlib.checkpoint import write_atomically
from ncamlib.config import from_dict, to_dict
from ncamlib.errors import NcamError
from ncamlib.evaluate import measure
from ncamlib.experiments import CHAPTERS, EXPERIMENTS
from ncamlib.provenance import project_root

SCHEMA = 1
CURVE = (0.0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 1.0)  # mutation rates
CURVE_IMAGES = 1000  # of larger sets the curve is measured on a fixed sample of so many
SEEDS = 3  # draws that the error is averaged over
BEGIN, END = "<!-- results: written by 'ncam list --write', not by hand -->", "<!-- end of results -->"


@dataclass(frozen=True)
class Result:
    """One experiment, measured from its shipped checkpoint, with the provenance of the training run."""

    experiment: str
    mse: float
    mse_rgb_white: float
    psnr: float
    images: int
    mutation_rate: float
    fire_rate: float
    steps: int
    seeds: int
    mutation_curve: tuple[tuple[float, float], ...]  # (rate, MSE); empty for continuous codes
    train_steps: int
    minutes: float
    device: str
    backend: str
    commit: str
    data_digest: str
    torch: str
    note: str
    heldout_mse: float | None = None  # on the emoji newer than those of `full`, for its models with an encoder


def measure_all(model: Grower, images: datasets.Images, header: dict[str, Any]) -> Result:
    """Measure a model under the paper's conditions and over all mutation rates; `header` is its checkpoint's."""
    measured = measure(model, images, seeds=SEEDS)
    curve = ()
    if model.config.code == "dna":
        sample = images.sample(CURVE_IMAGES)
        curve = tuple((rate, measure(model, sample, rate, seeds=1).mse) for rate in CURVE)
    heldout = None
    if images.name == "full" and getattr(model, "encoder", None) is not None:
        unseen = datasets.emoji("heldout", model.config.image_size)
        heldout = measure(model, unseen, seeds=SEEDS).mse
    keys = ("minutes", "device", "backend", "commit", "data_digest", "torch", "note")
    return Result(
        experiment=header["experiment"]["name"],
        **to_dict(measured),
        mutation_curve=curve,
        train_steps=header["step"],
        heldout_mse=heldout,
        **{key: header[key] for key in keys},
    )


def path() -> Path:
    """Where the results are recorded."""
    return project_root() / "figures" / "results.json"


def load() -> dict[str, Result]:
    """Recorded results by experiment; empty outside a checkout. NcamError if the file breaks its schema."""
    try:
        file = path()
    except NcamError:
        return {}
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        rows = [from_dict(Result, row) for row in content["results"]]
    except (ValueError, KeyError, TypeError) as error:
        raise NcamError(f"{file} is not a results file ({error}): restore it from version control") from error
    if content.get("schema") != SCHEMA:
        raise NcamError(f"{file} has schema {content.get('schema')}, this ncamlib reads {SCHEMA}")
    return {row.experiment: row for row in rows}


def record(result: Result) -> None:
    """Add or replace one experiment's result."""
    rows = load() | {result.experiment: result}
    ordered = sorted(rows.values(), key=lambda row: list(EXPERIMENTS).index(row.experiment))
    content = {"schema": SCHEMA, "results": [to_dict(row) for row in ordered]}
    write_atomically(path(), (json.dumps(content, indent=1) + "\n").encode())


def summary() -> list[dict[str, Any]]:
    """One row per experiment of the registry, with what the paper reports and what was measured here."""
    measured, linear = load(), pca.load()
    rows = []
    for name, experiment in EXPERIMENTS.items():
        result = measured.get(name)
        yardstick = result and linear.get(result.data_digest)
        rows.append(
            {
                "name": name,
                "dataset": experiment.images,
                "table": experiment.table,
                "row": experiment.row,
                "paper_mse": experiment.paper_mse,
                "mse": result and result.mse,
                "mse_rgb_white": result and result.mse_rgb_white,
                "psnr": result and result.psnr,
                "pca_mse": yardstick and yardstick.left(experiment.model.embedding),
                "images": datasets.count(experiment.images),
                "train_steps": result and result.train_steps,
                "minutes": result and result.minutes,
                "device": result and result.device,
                "backend": result and result.backend,
                "commit": result and result.commit,
                "data_digest": result and result.data_digest,
                "heldout_mse": result and result.heldout_mse,
                "note": result and result.note,
            }
        )
    return rows


def machine(device: str) -> str:
    """Recorded devices without their threads and trade marks, as a table shows them."""
    parts = (part.split(",")[0].replace("(R)", "").replace("(TM)", "") for part in device.split(" + "))
    return ", ".join(dict.fromkeys(part.removesuffix(" Processor").strip() for part in parts))


def short(commit: str) -> str:
    """Recorded commits, as a table shows them."""
    return ", ".join(part[:7] for part in commit.split(" + "))


def number(value: float | None) -> str:
    """An error as the tables show it: four places, a half rounded up as in the paper (0.05035 -> 0.0504)."""
    if value is None:
        return "–"
    return str(Decimal(repr(value)).quantize(Decimal("0.0001"), ROUND_HALF_UP)) if value < 10 else f"{value:.0e}"


def markdown(rows: list[dict[str, Any]], book: str = "") -> str:
    """The results as a Markdown table, by the paper's tables; experiments not yet trained show a dash.

    `book` is the way to the folder of the chapters.
    """
    titles = ["experiment", "paper", "ours", "PCA", "PSNR (dB)", "steps", "min", "machine", "commit"]
    lines = [f"| {' | '.join(titles)} |", f"|---|{'--:|' * 6}---|---|"]
    for where, group in itertools.groupby(rows, key=lambda row: row["table"]):
        notes = []
        lines.append(f"| **[{where}]({book}{CHAPTERS[where]}.ipynb)** |{' |' * 8}")
        for row in group:
            cells = [f"`{row['name']}`", *(number(row[key]) for key in ("paper_mse", "mse", "pca_mse"))]
            if row["mse"] is not None:
                cells += [f"{row['psnr']:.1f}", f"{row['train_steps']:,}", f"{row['minutes']:.0f}"]
                cells += [machine(row["device"]), short(row["commit"])]
                notes += [row["note"]] if row["note"] else []
            lines.append(f"| {' | '.join(cells)} |{' |' * (len(titles) - len(cells))}")
        lines += [f"| *images {note}* |{' |' * 8}" for note in dict.fromkeys(notes)]
    return "\n".join(lines)


def write_into(file: Path, table: str) -> None:
    """Replace the table between the two marks in a Markdown file."""
    text = file.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise NcamError(f"{file} has no place for the results: it needs the lines {BEGIN} and {END}")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    write_atomically(file, f"{before}{BEGIN}\n\n{table}\n\n{END}{after}".encode())
