"""Every row of the paper's results as data: what is trained, how, and the number to reproduce.

Names are `<images>-<ce|dna|single>-<sto|syn|conv>`, conv being an ordinary decoder, with a suffix where a row
differs from the paper's standard model: -256 -1024 -32ch -noleak -nonorm -noslices, or ours: -robust is trained at
mutation rates from 0 to 0.5.
"""

from dataclasses import replace
from typing import Any

from ncamlib.config import Experiment, ModelConfig, Stage, TrainConfig
from ncamlib.errors import choice

FIG5 = "Fig. 5, MSE in section 4"
FIG6 = "Fig. 6, MSE in section 4"
ABLATION = "Ablation of variety-dna-sto, section 4"
OURS = "Ours, not in the paper"
CIFAR = "Fig. 8, MSE in section 4"
SINGLE = "Comparison to NCA, section 4"
# Which chapter of the book has these rows.
CHAPTERS = {
    FIG5: "02_encodings",
    FIG6: "03_subsets",
    ABLATION: "05_ablation",
    CIFAR: "06_cifar10",
    SINGLE: "07_single_nca",
    OURS: "08_beyond",
}

CODES = {"ce": "CE", "dna": "DNA"}
UPDATES = {"sto": 0.5, "syn": 1.0, "conv": 1.0}  # fire rates; a convolutional decoder has none
# A synchronous wave from the centre needs half a side of steps to reach the border.
# Where chance decides, it arrives late, and needs time to settle.
STEPS_PER_CELL = {"sto": 1.5, "syn": 0.5, "conv": 0.5}
# Training begins on small grids, where a step costs up to 64 times less, and grows them in small ratios, but spends
# most of its time at full size. By the image's side: (until this share of the training, side of the grid).
SMALL_GRIDS = {64: ((0.10, 16), (0.15, 24), (0.22, 32), (0.30, 48)), 32: ((0.15, 16), (0.30, 24))}
LEARNING_RATE, BATCH, EMA = 6e-3, 8, 0.995


def _steps(update: str, grid: int) -> int:
    return round(STEPS_PER_CELL[update] * grid)


def _stages(update: str, size: int) -> tuple[Stage, ...]:
    """The learning rate falls on the smallest grid, which also takes larger batches, and again at full size."""
    if update == "conv":
        return ()
    small = [
        Stage(until, grid, _steps(update, grid), batch=1 if i else 2, rates=(0.5, 0.5) if i else (1.0, 0.25))
        for i, (until, grid) in enumerate(SMALL_GRIDS[size])
    ]
    return (*small, Stage(1.0, size, _steps(update, size), rates=(0.5, 0.02)))


def _experiment(
    images: str,
    code: str,
    update: str,
    suffix: str = "",
    batch: int = BATCH,
    learning_rate: float = LEARNING_RATE,
    mutation: tuple[float, float] = (0.5, 0.5),
    **model: Any,
) -> Experiment:
    size = model.get("image_size", 64)
    settings = {"code": code, "fire_rate": UPDATES[update], "steps": _steps(update, size), **model}
    name = f"{images}-{code}-{update}" + (f"-{suffix}" if suffix else "")
    train = TrainConfig(
        learning_rate=learning_rate,
        batch=batch,
        ema=EMA,
        mutation=mutation,
        stages=_stages(update, size),
        encoder_from=1.0,
        components=code == "ce",
    )
    return Experiment(name, images, ModelConfig(**settings), train)


def _row(experiment: Experiment, table: str, row: str, paper_mse: float | None) -> Experiment:
    return replace(experiment, table=table, row=row, paper_mse=paper_mse)


def _registry() -> list[Experiment]:
    cifar = {"image_channels": 3, "image_size": 32, "batch": 16}
    return [
        _row(_experiment("full", "ce", "sto"), FIG5, "CE-STO 16-512", 0.01591),
        _row(_experiment("full", "dna", "sto"), FIG5, "DNA-STO 16-512", 0.01633),
        _row(_experiment("full", "ce", "syn"), FIG5, "CE-SYN 16-512", 0.00199),
        _row(_experiment("full", "dna", "syn"), FIG5, "DNA-SYN 16-512", 0.00262),
        _row(_experiment("full", "ce", "sto", "256", embedding=256), FIG5, "CE-STO 16-256", 0.02302),
        _row(_experiment("full", "ce", "sto", "1024", embedding=1024), FIG5, "CE-STO 16-1024", 0.01584),
        _row(_experiment("full", "ce", "sto", "32ch", channels=32), FIG5, "CE-STO 32-512", None),
        _row(_experiment("chars", "dna", "sto"), FIG6, "Chars", 0.00976),
        _row(_experiment("emos", "dna", "sto"), FIG6, "Emos", 0.01799),
        _row(_experiment("heads", "dna", "sto"), FIG6, "Heads", 0.02439),
        _row(_experiment("variety", "dna", "sto"), FIG6, "Variety", 0.05035),
        _row(_experiment("variety", "dna", "sto", "noleak", leak=False), ABLATION, "no leak factor", 0.0597),
        _row(_experiment("variety", "dna", "sto", "nonorm", norm=False), ABLATION, "no normalisation", 0.0627),
        _row(_experiment("variety", "dna", "sto", "noslices", slices=False), ABLATION, "no slices", 0.0670),
        _row(_experiment("cifar10", "ce", "syn", **cifar), CIFAR, "CE-SYN", 0.00717),
        _row(_experiment("cifar10", "dna", "syn", **cifar), CIFAR, "DNA-SYN", 0.00720),
        _row(_experiment("lizard", "single", "sto", learning_rate=2e-2), SINGLE, "one image", 0.001),
        _row(_experiment("chars", "dna", "syn"), OURS, "Chars, synchronous", None),
        _row(_experiment("chars", "dna", "conv", decoder="conv"), OURS, "Chars, convolutional decoder", None),
        _row(_experiment("full", "dna", "conv", decoder="conv"), OURS, "convolutional decoder", None),
        _row(_experiment("full", "dna", "syn", "robust", mutation=(0.0, 0.5)), OURS, "any mutation rate", None),
        _row(_experiment("full", "dna", "sto", "robust", mutation=(0.0, 0.5)), OURS, "any mutation rate", None),
    ]


EXPERIMENTS: dict[str, Experiment] = {e.name: e for e in _registry()}


def experiment(name: str) -> Experiment:
    """The experiment of this name; NcamError listing all names if there is none."""
    return EXPERIMENTS[choice("experiment", name, EXPERIMENTS)]


# What to train first, with the share of the time each gets; rows that are compared get the same.
PRIORITY: dict[str, float] = {
    "full-dna-syn": 3,
    "full-dna-sto": 3,
    "full-ce-sto": 3,
    "full-ce-syn": 3,
    "variety-dna-sto": 1,
    "variety-dna-sto-noleak": 1,
    "variety-dna-sto-nonorm": 1,
    "variety-dna-sto-noslices": 1,
    "chars-dna-sto": 1,
    "emos-dna-sto": 1,
    "heads-dna-sto": 1,
    "full-ce-sto-256": 3,
    "full-ce-sto-1024": 3,
    "full-ce-sto-32ch": 3,
    "cifar10-ce-syn": 2,
    "cifar10-dna-syn": 2,
    "chars-dna-syn": 1,
    "chars-dna-conv": 1,
    "full-dna-conv": 3,
    "full-dna-syn-robust": 3,
    "full-dna-sto-robust": 3,
    "lizard-single-sto": 0.2,
}

# Models that are shipped with their encoder: those that readers give pictures of their own, or that a chapter shows
# pictures they were not trained on. The others carry the codes of their images, which is less.
WITH_ENCODER = frozenset(
    {"full-dna-syn", "full-dna-sto", "chars-dna-syn", "cifar10-dna-syn", "cifar10-ce-syn"}
    | {name for name in EXPERIMENTS if name.startswith("variety-")}
)
