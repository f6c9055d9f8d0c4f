"""Measures a model on a whole set of images: the test conditions, and everything that is recorded.

N images, C image channels, H W pixels.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ncamlib.config import to_dict
from ncamlib.data.images import Images
from ncamlib.data.pictures import over_white
from ncamlib.data.sprites import emoji
from ncamlib.errors import NcamError, choice
from ncamlib.kernels import Weights, rollout
from ncamlib.model.base import Coded, Model
from ncamlib.model.manifold import Growing

TEST_MUTATION = 0.5  # as the paper tests DNA codes (section 4; said of one row, taken to be true of all)
CURVE = (0.0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 1.0)  # mutation rates
CURVE_IMAGES = 1000  # for larger sets the curve is measured on a fixed sample of this size
SEEDS, GROWN = 3, 96  # draws that the error is averaged over, at least, and pictures that are grown for it
NUDGED, NUDGE = (2, 2), 1e-4  # the cell, near a corner, that `felt_far_away` nudges; by so much of the mean state
BEST, TABLE = "best", "table"  # the run that is shipped, and the one trained like the rest of its table


@dataclass(frozen=True)
class Measurement:
    """Reconstruction error over a set. MSE averages over images, channels and pixels, as in training."""

    mse: float  # premultiplied RGBA, or RGB for RGB models
    mse_rgb_white: float  # RGB over a white background, clamped to [0, 1]
    psnr: float  # dB, of mse_rgb_white
    images: int
    mutation_rate: float  # 0 for continuous codes
    fire_rate: float
    steps: int
    seeds: int


@torch.no_grad()
def reconstruct(
    model: Model,
    pixels: Tensor,
    mutation_rate: float = TEST_MUTATION,
    fire_rate: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    batch: int = 32,
    backend: str | None = None,
) -> Tensor:
    """Encode, mutate, grow every image. (N, C, H, W) -> the same shape, not clamped."""
    generator = torch.Generator().manual_seed(seed)  # draws the same for a model on any device
    steps = model.config.steps if steps is None else steps
    grown = []
    # A progress bar on a terminal; elsewhere nothing.
    for part in tqdm(pixels.split(batch), "growing", leave=False, disable=None, delay=2):
        mutation = model.draw_mutation(len(part), mutation_rate, generator)
        fire = model.draw_fire(len(part), fire_rate, generator)
        grown.append(model(part.to(model.device), mutation, fire, steps, backend=backend).to(pixels.device))
    return torch.cat(grown)


def draws(images: int) -> int:
    """How many draws of mutations and masks an error of so many images is averaged over: of one image, 96."""
    return max(SEEDS, -(-GROWN // images))


def measure(
    model: Model,
    images: Images,
    mutation_rate: float = TEST_MUTATION,
    fire_rate: float | None = None,
    steps: int | None = None,
    seeds: int = 1,
    backend: str | None = None,
) -> Measurement:
    """The mean error over `seeds` draws of mutations and masks (one is enough where nothing is drawn)."""
    images.require(model.config.image_channels, model.config.image_size, "the model")
    if not 0 <= mutation_rate <= 1:
        raise NcamError(f"the mutation rate is {mutation_rate}: it must be between 0 and 1")
    if seeds < 1:
        raise NcamError(f"seeds is {seeds}: average over at least one draw")
    fire_rate = model.config.fire_rate if fire_rate is None else fire_rate
    if not 0 < fire_rate <= 1:
        raise NcamError(f"the fire rate is {fire_rate}: it must be above 0 and at most 1")
    mutation_rate = mutation_rate if model.config.code == "dna" or model.config.noise else 0.0
    seeds = seeds if fire_rate < 1 or mutation_rate else 1
    grown_for = model.config.steps if steps is None else steps
    mse = white = 0.0
    for seed in range(seeds):
        grown = reconstruct(model, images.pixels, mutation_rate, fire_rate, grown_for, seed, backend=backend)
        mse += (grown - images.pixels).double().square().mean().item() / seeds
        difference = over_white(grown).clamp(0, 1) - over_white(images.pixels)
        white += difference.double().square().mean().item() / seeds
    psnr = math.inf if white == 0 else -10 * math.log10(white)
    return Measurement(mse, white, psnr, len(images), mutation_rate, fire_rate, grown_for, seeds)


@torch.no_grad()
def felt_far_away(model: Growing, pixels: Tensor) -> float:
    """The share of the effect of perturbing one cell that lies outside its 3×3 neighbourhood, one step later.

    Grown for T steps from mutated codes. The nudge is so small that its effect is proportional to it, and all cells
    are updated in the step. An effect is a change of the update, summed over channels and images without signs. 0 for a
    cellular automaton in the strict sense: an instance norm tells every cell about all others.
    """
    generator = torch.Generator().manual_seed(0)
    (y, x), near, far = NUDGED, 0.0, 0.0
    for part in pixels.to(model.device).split(32):
        weights = model.weights(part, model.draw_mutation(len(part), TEST_MUTATION, generator))
        state = model.grow(weights, model.config.steps, model.draw_fire(len(part), None, generator)).cpu().double()
        exact, leak = Weights(*(w.cpu().double() for w in weights)), model.nca.leak().cpu().double()
        nudge = torch.zeros_like(state)
        nudge[:, :, y, x] = NUDGE * state.square().mean((1, 2, 3)).sqrt()[:, None]
        nudged, other = (
            rollout(start, exact, leak, 1, None, model.config.norm, model.config.wrap, "reference")
            for start in (state + nudge, state)
        )
        effect = (nudged - other - nudge).abs()
        around = effect[:, :, y - 1 : y + 2, x - 1 : x + 2]
        near += around.sum().item()
        around.zero_()
        far += effect.sum().item()
    return far / (near + far) if far else 0.0


@dataclass(frozen=True)
class Part:
    """One training run, or one of several that continued each other."""

    step: int  # optimiser steps
    minutes: float
    device: str
    backend: str
    commit: str
    torch: str
    experiment: str = ""  # that it trained, if another one


def others(parts: Sequence[Part]) -> dict[str, int]:
    """The optimiser steps of the parts that trained other experiments, by experiment."""
    steps: Counter[str] = Counter()
    for part in parts:
        if part.experiment:
            steps[part.experiment] += part.step
    return dict(steps)


@dataclass(frozen=True)
class Result:
    """One experiment, measured from its deployable checkpoint, with the provenance of the training run."""

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
    data_digest: str
    note: str
    parts: tuple[Part, ...]
    heldout_mse: float | None = None  # on the emoji newer than those of `full`, for its models with an encoder
    kind: str = BEST
    holders: int = 1  # runs that have held this record, one after another

    def __post_init__(self) -> None:
        errors = [error for rate, error in self.mutation_curve for error in (rate, error)]
        counts = {"images": self.images, "steps": self.steps, "seeds": self.seeds, "holders": self.holders}
        values = {"mse": self.mse, "mse_rgb_white": self.mse_rgb_white, "heldout_mse": self.heldout_mse or 0.0}
        values |= {"train_steps": self.train_steps, "minutes": self.minutes, "fire_rate": self.fire_rate}
        values |= {f"mutation_curve[{i // 2}]": error for i, error in enumerate(errors)}
        values["mutation_rate"] = self.mutation_rate
        for i, part in enumerate(self.parts, 1):
            values |= {f"step of part {i}": part.step, f"minutes of part {i}": part.minutes}
        for name, value in values.items():
            if not 0 <= value < math.inf:
                raise NcamError(f"the {name} of {self.experiment} is {value}: it must be 0 or more, and finite")
        for name, value in counts.items():
            if value < 1:
                raise NcamError(f"the {name} of {self.experiment} are {value}: at least 1 is needed")
        if not math.isfinite(self.psnr) or max(self.fire_rate, self.mutation_rate) > 1:
            raise NcamError(f"psnr or rates of {self.experiment} are out of bounds: {self.psnr}, {self.fire_rate}")
        choice("kind of result", self.kind, (BEST, TABLE))

    @property
    def devices(self) -> list[str]:
        """The machines it was trained on."""
        return list(dict.fromkeys(part.device for part in self.parts))

    @property
    def others(self) -> dict[str, int]:
        """The optimiser steps that trained other experiments, from which this one started."""
        return others(self.parts)

    @property
    def commits(self) -> list[str]:
        """The commits that trained it."""
        return list(dict.fromkeys(part.commit for part in self.parts))


def measure_all(model: Model, images: Images, header: dict[str, Any]) -> Result:
    """Measure a model under the paper's conditions and over all mutation rates; `header` is its checkpoint's."""
    measured = measure(model, images, seeds=draws(len(images)))
    curve = ()
    if model.config.code == "dna":
        sample = images.sample(CURVE_IMAGES)
        curve = tuple((rate, measure(model, sample, rate, seeds=1).mse) for rate in CURVE)
    heldout = None
    if images.name == "full" and isinstance(model, Coded) and model.encoder is not None:
        unseen = emoji("heldout", model.config.image_size)
        heldout = measure(model, unseen, seeds=SEEDS).mse
    return Result(
        experiment=header["experiment"]["name"],
        **to_dict(measured),
        mutation_curve=curve,
        train_steps=header["step"],
        minutes=header["minutes"],
        data_digest=header["data_digest"],
        note=header["note"],
        parts=tuple(Part(**part) for part in header["parts"]),
        heldout_mse=heldout,
    )
