"""What models share: their random draws, and the half of an auto-encoder that reads images.

B batch, E embedding, L letters.
"""

import torch
from torch import Tensor, nn

from ncamlib.config import ModelConfig
from ncamlib.kernels import Fire
from ncamlib.model.automaton import draw_fire
from ncamlib.model.dna import ContinuousCode, DNACode, draw_mutation
from ncamlib.model.encoder import Codebook, Encoder


class Model(nn.Module):
    """Images in, images out: `forward(images, mutation, fire, steps, grid, backend, leak_scale)`."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def initialise(self, images: Tensor, generator: torch.Generator, components: bool = False) -> None:
        """Initialise from data; nothing to do unless a model says otherwise."""

    def draw_mutation(self, batch: int, rate: float, generator: torch.Generator | None = None) -> Tensor | None:
        """What `dna.mutate` does to `batch` codes: a mutation (see `dna.draw_mutation`), or (B, E) noise for continuous
        codes that have it. None for other codes, or for rate 0.
        """
        if rate == 0 or (self.config.code != "dna" and not self.config.noise):
            return None
        if self.config.noise:
            device = generator.device if generator else None
            noise = torch.randn(batch, self.config.embedding, generator=generator, device=device)
            return (self.config.noise * noise).to(self.device)
        shape = (batch, self.config.embedding, self.config.letters)
        return draw_mutation(shape, rate, self.config.alphabet, generator).to(self.device)

    def draw_fire(
        self, batch: int, fire_rate: float | None = None, generator: torch.Generator | None = None
    ) -> Fire | None:
        """Which cells fire (see `automaton.draw_fire`); the fire rate defaults to the model's."""
        fire = draw_fire(batch, self.config.fire_rate if fire_rate is None else fire_rate, generator)
        return None if fire is None else fire._replace(seeds=fire.seeds.to(self.device))


class Coded(Model):
    """A model with codes. A saved one may have a codebook of the images it was trained on in place of its encoder."""

    encoder: Encoder | None
    codes: Codebook | None

    def __init__(self, config: ModelConfig, encoder: bool = True):
        super().__init__(config)
        self.encoder = Encoder(config) if encoder else None
        self.codes = None
        self.code = DNACode(config) if config.code == "dna" else ContinuousCode()

    @torch.no_grad()
    def initialise(self, images: Tensor, generator: torch.Generator, components: bool = False) -> None:
        """Initialise from data: the embedding spread over `images`, the DNA code fitted to carry it."""
        self.encoder.project.initialise(self.encoder.all_means(images), components)
        if isinstance(self.code, DNACode):
            with torch.enable_grad():
                self.code.initialise(generator)

    def embed(self, images: Tensor) -> Tensor:
        """Images (B, image_channels, image_size, image_size), or what `Encoder` takes for them -> embedding (B, E)."""
        return (self.codes if self.encoder is None else self.encoder)(images)

    def encode(self, images: Tensor) -> Tensor:
        """(B, image_channels, image_size, image_size) -> code: (B, E), or (B, E, L, A) letter probabilities."""
        return self.code.encode(self.embed(images))
