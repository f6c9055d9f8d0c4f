"""Measures a model on a whole set of images.

N images, C image channels, H W pixels.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ncamlib.data.images import Images
from ncamlib.data.pictures import over_white
from ncamlib.errors import NcamError
from ncamlib.model.base import Model

TEST_MUTATION = 0.5  # the paper tests DNA codes with half of their letters replaced (section 4)


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
    generator = torch.Generator(model.device).manual_seed(seed)
    steps = steps or model.config.steps
    grown = []
    for part in pixels.split(batch):
        mutation = model.draw_mutation(len(part), mutation_rate, generator)
        fire = model.draw_fire(len(part), fire_rate, generator)
        grown.append(model(part.to(model.device), mutation, fire, steps, backend=backend).to(pixels.device))
    return torch.cat(grown)


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
    fire_rate = model.config.fire_rate if fire_rate is None else fire_rate
    if not 0 < fire_rate <= 1:
        raise NcamError(f"the fire rate is {fire_rate}: it must be above 0 and at most 1")
    mutation_rate = mutation_rate if model.config.code == "dna" else 0.0
    seeds = seeds if fire_rate < 1 or mutation_rate else 1
    mse = white = 0.0
    for seed in range(seeds):
        grown = reconstruct(model, images.pixels, mutation_rate, fire_rate, steps, seed, backend=backend)
        mse += (grown - images.pixels).double().square().mean().item() / seeds
        difference = over_white(grown).clamp(0, 1) - over_white(images.pixels)
        white += difference.double().square().mean().item() / seeds
    psnr = 10 * math.log10(1 / white) if white > 0 else math.inf
    return Measurement(mse, white, psnr, len(images), mutation_rate, fire_rate, steps or model.config.steps, seeds)
