"""Typed settings of a model and of its training; an experiment is one of each.

Every field is one decision. The paper's values are the defaults; what the paper leaves open says so.
"""

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from ncamlib.errors import NcamError, choice


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
    slices: bool = True  # the three extra means of section 3.1
    channels: int = 16  # of the automaton's state, visible ones first
    hidden: int = 128  # of the automaton's update; open
    leak: bool = True  # leak factors; False fixes them all at 1
    norm: bool = True  # instance norm of the perceived maps
    fire_rate: float = 0.5  # 0.5: stochastic update (STO); 1: synchronous (SYN)
    steps: int = 48  # of the automaton; open
    second_layer_start: float = 0.1  # size of its predicted second layer at the start, in 1 / sqrt(fan in); open

    def __post_init__(self) -> None:
        choice("decoder", self.decoder, ("nca", "conv"))
        choice("code", self.code, ("ce", "dna", "single"))
        if self.image_channels not in (3, 4):
            raise NcamError(f"image_channels is {self.image_channels}: it must be 3 (RGB) or 4 (RGBA)")
        if self.channels <= self.image_channels:
            raise NcamError(
                f"channels is {self.channels}: the state needs more than its {self.image_channels} visible channels"
            )
        if not 0 < self.fire_rate <= 1:
            raise NcamError(f"fire_rate is {self.fire_rate}: it must be above 0 and at most 1")
        for name in ("image_size", "embedding", "letters", "filters", "hidden", "steps"):
            if getattr(self, name) < 1:
                raise NcamError(f"{name} is {getattr(self, name)}: it must be at least 1")


@dataclass(frozen=True)
class Stage:
    """A part of training on a smaller grid: until this share of it, this grid and this many steps."""

    until: float
    grid: int
    steps: int


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. The paper leaves all of it open but the mutation rate."""

    steps: int = 2000  # optimiser steps, unless a time budget is given
    batch: int = 16
    learning_rate: float = 1e-3
    warmup: int = 50  # optimiser steps of linear warm-up
    decay_from: float = 0.0  # share of the training from which the learning rate falls, as a cosine, to 0
    clip: float = 1.0  # gradient norm
    ema: float = 0.0  # decay of the averaged weights; 0: off
    mutation: tuple[float, float] = (0.5, 0.5)  # rate drawn per batch from this range; paper: always 0.5
    curriculum: tuple[Stage, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = self.mutation
        if not 0 <= low <= high <= 1:
            raise NcamError(f"mutation is {self.mutation}: give a range within 0 and 1")
        if not 0 <= self.decay_from < 1:
            raise NcamError(f"decay_from is {self.decay_from}: it must be at least 0 and below 1")
        for name in ("steps", "batch", "learning_rate"):
            if getattr(self, name) <= 0:
                raise NcamError(f"{name} is {getattr(self, name)}: it must be above 0")


@dataclass(frozen=True)
class Experiment:
    """One row of the paper's results: its images, its model, its training, the published number."""

    name: str
    images: str  # an emoji subset or "cifar10"
    model: ModelConfig
    train: TrainConfig = field(default_factory=TrainConfig)
    table: str = ""  # where the paper reports it
    row: str = ""
    paper_mse: float | None = None


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
    return kind(**{name: _coerce(value, hints[name], name) for name, value in values.items()})


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
