"""Typed settings of a model and of its training; an experiment is one of each.

Every field is one decision. The defaults are the paper's values where it gives any (the source marks others "open");
`experiments` says what the rows of the book are trained with.
"""

import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from ncamlib.errors import NcamError, choice

# Bounds on the sizes of a model: a file that asks for more is damaged.
SIZES = {"image_size": (1, 1024), "embedding": (1, 65_536), "letters": (1, 1024), "alphabet": (1, 64)}
SIZES |= {"filters": (1, 1024), "channels": (1, 1024), "hidden": (1, 65_536), "steps": (1, 100_000)}
SIZES |= {"encoder_fcbs": (0, 64), "predictor_fcbs": (0, 64)}
LEAKS = ("learned", "fixed", "none")
NORMS = ("none", "all", "sobel")  # in the order of the kernels' numbers for them


@dataclass(frozen=True)
class ModelConfig:
    """The auto-encoder of section 3."""

    image_channels: int = 4  # 4: premultiplied RGBA; 3: RGB
    image_size: int = 64
    decoder: str = "nca"  # "conv": an ordinary convolutional decoder, for comparison
    code: str = "dna"  # "dna": DNA-like letters; "ce": continuous encoding; "single": no code, one image
    embedding: int = 512
    letters: int = 16  # letters per gene, one gene per embedding value
    alphabet: int = 4
    filters: int = 16  # of the encoder's convolutions; open
    encoder_body: tuple[str, ...] = ("cb3", "cb1", "cb3", "cb1")  # open
    encoder_fcbs: int = 1  # open
    predictor_fcbs: int = 2  # open
    predictor: str = "weights"  # "film": all images share the weights, the code scales and shifts the hidden units
    noise: float = 0.0  # on a continuous code in place of replaced letters, in units of its root mean square
    slices: bool = True  # the three extra means of section 3.1
    channels: int = 16  # of the automaton's state, visible ones first
    hidden: int = 128  # of the automaton's update; open
    leak: str = "learned"  # leak factors, small at first; "fixed": they stay as they begin; "none": all are 1
    norm: str = "all"  # which of the perceived maps are normalised: all, those of the Sobel filters, none; open
    wrap: bool = True  # the grid wraps round, like a torus; False: zeros lie beyond its edge; open
    fire_rate: float = 0.5  # 0.5: stochastic update (STO); 1: synchronous (SYN)
    steps: int = 48  # of the automaton; open
    second_layer_start: float = 0.1  # size of its predicted second layer at the start, in 1 / sqrt(fan in); open

    def __post_init__(self) -> None:
        choice("decoder", self.decoder, ("nca", "conv"))
        choice("code", self.code, ("ce", "dna", "single"))
        choice("leak", self.leak, LEAKS)
        choice("predictor", self.predictor, ("weights", "film"))
        choice("norm", self.norm, NORMS)
        if self.image_channels not in (3, 4):
            raise NcamError(f"image_channels is {self.image_channels}: it must be 3 (RGB) or 4 (RGBA)")
        if self.channels <= self.image_channels:
            raise NcamError(
                f"channels is {self.channels}: the state needs more than its {self.image_channels} visible channels"
            )
        if not 0 < self.fire_rate <= 1:
            raise NcamError(f"fire_rate is {self.fire_rate}: it must be above 0 and at most 1")
        for name, (low, high) in SIZES.items():
            if not low <= getattr(self, name) <= high:
                raise NcamError(f"{name} is {getattr(self, name)}: it must be at least {low} and at most {high}")
        if not 0 <= self.noise <= 1000 or (self.noise and self.code != "ce"):
            raise NcamError(f"noise is {self.noise}: it is for continuous codes, and must be between 0 and 1000")
        if self.decoder == "conv" and self.image_size % 16:
            raise NcamError(f"image_size is {self.image_size}: a convolutional decoder needs a multiple of 16")
        for block in self.encoder_body:
            choice("encoder block", block, ("cb1", "cb3"))
        if len(self.encoder_body) > SIZES["encoder_fcbs"][1]:
            raise NcamError(f"encoder_body has {len(self.encoder_body)} blocks, the most is {SIZES['encoder_fcbs'][1]}")
        if not 0 <= self.second_layer_start <= 1000:
            raise NcamError(f"second_layer_start is {self.second_layer_start}: it must be between 0 and 1000")


@dataclass(frozen=True)
class Stage:
    """One stage of the training, on one grid; it ends at a share of the total work."""

    until: float  # share of the time, or of as much work where optimiser steps are counted
    grid: int  # side, in cells
    steps: int  # of the automaton
    batch: int = 1  # in batches of the training: a small grid has room for more images
    rates: tuple[float, float] = (1.0, 1.0)  # of the learning rate, at its start and end; linear between

    def __post_init__(self) -> None:
        for name in ("grid", "steps", "batch"):
            if getattr(self, name) < 1:
                raise NcamError(f"{name} of a stage is {getattr(self, name)}: it must be at least 1")
        if not (0 < self.until <= 1 and len(self.rates) == 2 and all(0 <= rate < math.inf for rate in self.rates)):
            raise NcamError(
                f"a stage until {self.until} with rates {self.rates}: give a share, and two finite rates from 0"
            )


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. Of these settings the paper gives only the mutation rate, and it trains all parts."""

    steps: int = 2000  # optimiser steps, unless a time budget is given
    batch: int = 16
    learning_rate: float = 1e-3
    map_rate: float = 1.0  # for the map from an embedding to an automaton's weights, in learning rates
    warmup: int = 50  # optimiser steps of linear warm-up
    clip: float = 1.0  # gradient norm
    ema: float = 0.0  # decay of the averaged weights, which are the ones shipped; 0: off
    mutation: tuple[float, float] = (0.5, 0.5)  # rate drawn per batch from this range; paper: always 0.5
    stages: tuple[Stage, ...] = ()  # none: all at full size, the learning rate falling to 0
    scale_leak: bool = True  # the automaton's leak factor grows as the grid shrinks, see `Grower.grow`
    encoder_from: float = 0.0  # share of the training from which the encoder's convolutions learn; 1: never
    components: bool = False  # the embedding begins as scaled principal components, not as projections of the features
    pool: int = 0  # grown states kept to train on, see `training.pool`; 0: all grows from the seed, as in the paper
    pool_fresh: float = 0.25  # share of a batch from the pool that starts again from the seed, at least one
    pool_damage: float = 0.0  # share of it that is wounded
    pool_steps: float = 1.25  # rollouts from the pool take T steps to this many times T
    replacement: bool = False  # draw every batch afresh; False: no image comes twice before all came once
    augment: float = (
        0.0  # share of a batch whose images are altered, see `training.augmentation`; 0: none, as in the paper
    )
    by_error: float = 0.0  # share of images drawn in proportion to their recent error, see `training.drawing`
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = self.mutation
        if not 0 <= low <= high <= 1:
            raise NcamError(f"mutation is {self.mutation}: give a range between 0 and 1")
        for name in ("ema", "encoder_from", "pool_fresh", "pool_damage", "by_error", "augment"):
            if not 0 <= getattr(self, name) <= 1:
                raise NcamError(f"{name} is {getattr(self, name)}: it must be between 0 and 1")
        ends = [stage.until for stage in self.stages]
        if ends and (ends != sorted(set(ends)) or ends[-1] != 1):
            raise NcamError(f"stages end at {ends}: each must end later than the one before, and the last at 1")
        for name in ("steps", "batch", "learning_rate", "map_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise NcamError(f"{name} is {getattr(self, name)}: it must be above 0 and finite")
        if self.pool_fresh + self.pool_damage > 1:
            raise NcamError(f"pool_fresh {self.pool_fresh} and pool_damage {self.pool_damage}: together at most 1")
        if self.pool and not (self.pool >= self.largest_batch and self.pool_steps >= 1):
            raise NcamError(
                f"pool {self.pool} and pool_steps {self.pool_steps}: a pool needs a whole batch of "
                f"{self.largest_batch} states or more, and rollouts at least 1 times T steps"
            )
        if self.by_error and (self.replacement or self.pool):
            raise NcamError("by_error draws images epoch by epoch: it goes with neither replacement nor a pool")
        if self.augment and (self.by_error or self.pool):
            raise NcamError("augment makes new images for every batch: it goes with neither by_error nor a pool")
        if not (self.warmup >= 0 and 0 <= self.seed < 2**63):
            raise NcamError(
                f"warmup {self.warmup} and seed {self.seed}: neither may be below 0, and the seed must be below 2^63"
            )

    @property
    def largest_batch(self) -> int:
        """The most images of an optimiser step, over all stages."""
        return self.batch * max((stage.batch for stage in self.stages), default=1)


def regime_of(train: dict[str, Any]) -> str:
    """How automata were trained, in the words of Growing Neural Cellular Automata; `train` as checkpoints record it."""
    if not train.get("pool"):
        return "growing"
    return "regenerating" if train.get("pool_damage") else "persistent"


@dataclass(frozen=True)
class Experiment:
    """One row of the paper's results: its images, its model, its training, the published number."""

    name: str
    images: str  # an emoji subset, one emoji's name, "cifar10", or a folder of the reader's own
    model: ModelConfig
    train: TrainConfig = field(default_factory=TrainConfig)
    table: str = "Models of your own"  # where the paper reports it
    row: str = ""
    paper_mse: float | None = None
    share: float = 1.0  # of the time when all are trained; rows that are compared get the same
    ships_encoder: bool = False  # for pictures it was not trained on; without, the codes of its images are less

    def __post_init__(self) -> None:
        if self.train.pool and self.model.decoder == "conv":
            raise NcamError(f"'{self.name}' has a convolutional decoder: nothing grows that a pool could keep")
        if self.train.pool and self.model.noise:
            raise NcamError(f"'{self.name}' has noise on its codes, which a pool does not keep: leave one of them out")
        if self.train.augment and (self.model.image_channels != 4 or self.model.code == "single"):
            raise NcamError(
                f"'{self.name}' augments its images: that is for models with codes, and pictures with alpha"
            )


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON types."""
    return dataclasses.asdict(config)


def from_dict(kind: type, values: dict[str, Any]) -> Any:
    """The inverse of `to_dict`; unknown fields and wrong types raise NcamError."""
    hints = typing.get_type_hints(kind)
    if not isinstance(values, dict):
        raise NcamError(f"a {kind.__name__} must be a table of fields")
    for name in values:
        choice(f"{kind.__name__} field", name, hints)
    fields = {name: _coerce(value, hints[name], name) for name, value in values.items()}
    missing = [f.name for f in dataclasses.fields(kind) if f.name not in values and _required(f)]
    if missing:
        raise NcamError(f"a {kind.__name__} needs {missing[0]}")
    return kind(**fields)


def _required(field_: dataclasses.Field) -> bool:
    return field_.default is dataclasses.MISSING and field_.default_factory is dataclasses.MISSING


def _coerce(value: Any, hint: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, list | tuple):
        items = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(items) == len(value):
            return tuple(_coerce(v, h, name) for v, h in zip(value, items, strict=True))
    if origin is types.UnionType:
        if value is None:
            return None
        return _coerce(value, arguments[0], name)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise NcamError(f"{name} is {value!r}: expected {getattr(hint, '__name__', hint)}")
