"""Every row of the paper's results as data: what is trained, how, and the number to reproduce.

Names are `<images>-<ce|dna|single>-<sto|syn|conv>`, where conv is an ordinary decoder. A suffix marks a row that
differs from the paper's standard model: -256 -1024 -32ch -noleak -nonorm -noslices. Six suffixes are ours: -robust is
trained at mutation rates from 0 to 0.5, -augmented on altered images too, -96 takes that many steps of the automaton,
-sobel normalises only what the Sobel filters see, -persist also stays as it has grown, and -regrow heals as well.
"""

from dataclasses import replace
from typing import Any

from ncamlib.config import Experiment, ModelConfig, Stage, TrainConfig
from ncamlib.errors import choice

FIG5 = "Fig. 5, MSE in section 4"
FIG6 = "Fig. 6, MSE in section 4"
ABLATION = "Ablation of variety-dna-sto, section 4"
OURS = "Ours, not in the paper"
REGIMES = "Automata that stay and heal, not in the paper"
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
    REGIMES: "09_regeneration",
}

ROUGH = ("lizard-single-sto",)  # the paper gives an order of magnitude, of other code, for an image it does not name
CODES = {"ce": "CE", "dna": "DNA"}
UPDATES = {"sto": 0.5, "syn": 1.0, "conv": 1.0}  # fire rates; a convolutional decoder has none
# A synchronous wave from the centre needs half a side of steps to reach the border.
# With random updates it arrives later, and then needs time to settle.
STEPS_PER_CELL = {"sto": 1.5, "syn": 0.5, "conv": 0.5}
# Training begins on small grids, where a step costs up to 64 times less, and grows them in small ratios, but spends
# most of its time at full size. By the image's side: (until this share of the training, side of the grid).
SMALL_GRIDS = {64: ((0.10, 16), (0.15, 24), (0.22, 32), (0.30, 48)), 32: ((0.15, 16), (0.30, 24))}
# Synchronous rows at 64×64, and pools, which need the whole grid where growth needs little more than its light cone.
LONGER_ON_SMALL_GRIDS = ((0.12, 16), (0.24, 24), (0.42, 32), (0.62, 48))
LEARNING_RATE, BATCH, EMA = 6e-3, 8, 0.995


def _stages(per_cell: float, size: int, grids: tuple[tuple[float, int], ...] = ()) -> tuple[Stage, ...]:
    """The learning rate falls on the smallest grid, which also takes larger batches, and again at full size."""
    small = [
        Stage(until, grid, round(per_cell * grid), batch=1 if i else 2, rates=(0.5, 0.5) if i else (1.0, 0.25))
        for i, (until, grid) in enumerate(grids or SMALL_GRIDS[size])
    ]
    return (*small, Stage(1.0, size, round(per_cell * size), rates=(0.5, 0.02)))


def _row(
    table: str,
    row: str,
    paper_mse: float | None,
    images: str,
    code: str,
    update: str,
    suffix: str = "",
    *,
    share: float = 1.0,
    ships_encoder: bool = False,
    train: dict[str, Any] | None = None,
    per_cell: float | None = None,
    **model: Any,
) -> Experiment:
    """One row: where the paper has it and its number; images, code and update; what differs from the standard."""
    size, per_cell = model.get("image_size", 64), per_cell or STEPS_PER_CELL[update]
    settings = {"code": code, "fire_rate": UPDATES[update], "steps": round(per_cell * size), **model}
    grids = LONGER_ON_SMALL_GRIDS if update == "syn" and size == 64 else ()
    # Without slices there are 16 means, of which the mean colours would outweigh all others in a plain projection.
    standard = TrainConfig(
        learning_rate=LEARNING_RATE,
        batch=BATCH,
        ema=EMA,
        stages=() if update == "conv" else _stages(per_cell, size, grids),
        encoder_from=1.0,
        components=code == "ce" or not model.get("slices", True),
    )
    return Experiment(
        name=f"{images}-{code}-{update}" + (f"-{suffix}" if suffix else ""),
        images=images,
        model=ModelConfig(**settings),
        train=replace(standard, **(train or {})),
        table=table,
        row=row,
        paper_mse=paper_mse,
        share=share,
        ships_encoder=ships_encoder,
    )


CIFAR_MODEL = {"image_channels": 3, "image_size": 32, "train": {"batch": 16}, "ships_encoder": True}
ANY_RATE = {"mutation": (0.0, 0.5)}
HALF_AUGMENTED = {"augment": 0.5}
# A batch of one image holds copies that differ in which cells fire: few of them, and more steps.
ONE_IMAGE = {"learning_rate": 2e-2, "batch": 2}


def _alive(damage: float, per_cell: float, norm: str = "sobel", **settings: Any) -> dict[str, Any]:
    """A row that trains on a pool of grown states, a share of a batch wounded. What a cell holds is not normalised: a
    wound would change it for every cell.
    """
    stages = _stages(per_cell, 64, LONGER_ON_SMALL_GRIDS)
    train = {"pool": 256, "pool_fresh": 0.375, "pool_damage": damage, "stages": stages, **settings}
    return {"train": train, "norm": norm}


LIZARD = _alive(0.4, 1.5, norm="none", pool=64, pool_fresh=0.25, batch=4)


def _registry() -> list[Experiment]:
    """Every row, table by table. One entry here is all that an experiment needs."""
    return [
        _row(FIG5, "CE-STO 16-512", 0.01591, "full", "ce", "sto", share=3),
        _row(FIG5, "DNA-STO 16-512", 0.01633, "full", "dna", "sto", share=3),
        _row(FIG5, "CE-SYN 16-512", 0.00199, "full", "ce", "syn", share=3),
        _row(FIG5, "DNA-SYN 16-512", 0.00262, "full", "dna", "syn", share=3, ships_encoder=True),
        _row(FIG5, "CE-STO 16-256", 0.02302, "full", "ce", "sto", "256", share=3, embedding=256),
        _row(FIG5, "CE-STO 16-1024", 0.01584, "full", "ce", "sto", "1024", share=3, embedding=1024),
        _row(FIG5, "CE-STO 32-512", None, "full", "ce", "sto", "32ch", share=3, channels=32),
        _row(FIG6, "Chars", 0.00976, "chars", "dna", "sto"),
        _row(FIG6, "Emos", 0.01799, "emos", "dna", "sto"),
        _row(FIG6, "Heads", 0.02439, "heads", "dna", "sto"),
        _row(FIG6, "Variety", 0.05035, "variety", "dna", "sto", ships_encoder=True),
        _row(ABLATION, "no leak factor", 0.0597, "variety", "dna", "sto", "noleak", ships_encoder=True, leak="none"),
        _row(ABLATION, "no normalisation", 0.0627, "variety", "dna", "sto", "nonorm", ships_encoder=True, norm="none"),
        _row(ABLATION, "no slices", 0.0670, "variety", "dna", "sto", "noslices", ships_encoder=True, slices=False),
        _row(CIFAR, "CE-SYN", 0.00717, "cifar10", "ce", "syn", share=2, **CIFAR_MODEL),
        _row(CIFAR, "DNA-SYN", 0.00720, "cifar10", "dna", "syn", share=2, **CIFAR_MODEL),
        _row(SINGLE, "one image", 0.001, "lizard", "single", "sto", share=0.2, train=ONE_IMAGE),
        _row(OURS, "Chars, synchronous", None, "chars", "dna", "syn", ships_encoder=True),
        _row(OURS, "Chars, synchronous, as many steps as stochastic", None, "chars", "dna", "syn", "96", per_cell=1.5),
        _row(OURS, "Chars, convolutional decoder", None, "chars", "dna", "conv", decoder="conv"),
        _row(OURS, "convolutional decoder", None, "full", "dna", "conv", share=3, decoder="conv"),
        _row(OURS, "any mutation rate", None, "full", "dna", "syn", "robust", share=3, train=ANY_RATE),
        _row(OURS, "any mutation rate", None, "full", "dna", "sto", "robust", share=3, train=ANY_RATE),
        _row(
            OURS,
            "augmented images",
            None,
            "full",
            "dna",
            "syn",
            "augmented",
            share=3,
            ships_encoder=True,
            train=HALF_AUGMENTED,
        ),
        _row(REGIMES, "growing", None, "chars", "dna", "syn", "sobel", norm="sobel"),
        _row(REGIMES, "persistent", None, "chars", "dna", "syn", "persist", **_alive(0.0, 0.5)),
        _row(REGIMES, "regenerating", None, "chars", "dna", "syn", "regrow", **_alive(0.375, 0.5)),
        _row(REGIMES, "one image, regenerating", None, "lizard", "single", "sto", "regrow", **LIZARD),
    ]


EXPERIMENTS: dict[str, Experiment] = {e.name: e for e in _registry()}


def experiment(name: str) -> Experiment:
    """The experiment of this name; NcamError listing all names if there is none."""
    return EXPERIMENTS[choice("experiment", name, EXPERIMENTS)]
