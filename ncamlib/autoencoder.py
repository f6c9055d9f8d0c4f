"""The Neural Cellular Automata Manifold: image -> code -> automaton -> grown image (section 3).

B batch, E embedding, C state channels, H W grid, T steps.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ncamlib.baseline import ConvDecoder
from ncamlib.config import ModelConfig
from ncamlib.dna import ContinuousCode, DNACode, draw_mutation, mutate
from ncamlib.encoder import Codebook, Encoder
from ncamlib.kernels import Fire, Weights
from ncamlib.nca import NCA, draw_fire, seed
from ncamlib.predictor import Predictor, start_weights


class Grower(nn.Module):
    """What every model here can do: grow automata from the seed, and draw what chance decides."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.nca = NCA(config)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.nca.leak.log.device

    def start(self, images: Tensor, generator: torch.Generator, components: bool = False) -> None:
        """Initialise from data; nothing to do unless a model says otherwise."""

    def leak_scale(self, grid: int) -> float:
        """What the leak factor is multiplied by on a grid of this side: it is a step in time.

        With instance norm the perceived gradients of a picture stay the same when it is stretched: a rule with
        T steps on a grid grows the same picture with sT steps on one s times as large, each 1/s as long.
        """
        return self.config.image_size / grid if self.config.leak else 1.0

    def draw_mutation(self, batch: int, rate: float, generator: torch.Generator | None = None) -> Tensor | None:
        """A mutation for `batch` codes (see `dna.draw_mutation`); None unless codes are DNA, or for rate 0."""
        if self.config.code != "dna" or rate == 0:
            return None
        shape = (batch, self.config.embedding, self.config.letters)
        return draw_mutation(shape, rate, self.config.alphabet, generator).to(self.device)

    def draw_fire(
        self, batch: int, fire_rate: float | None = None, generator: torch.Generator | None = None
    ) -> Fire | None:
        """Which cells fire (see `nca.draw_fire`); the fire rate defaults to the model's."""
        fire = draw_fire(batch, self.config.fire_rate if fire_rate is None else fire_rate, generator)
        return None if fire is None else fire._replace(seeds=fire.seeds.to(self.device))

    def steps_on(self, grid: int, steps: int | None = None) -> int:
        """As many steps on a grid of this side as `steps`, the model's own unless given, are on the image's."""
        return max(1, round((steps or self.config.steps) * grid / self.config.image_size))

    def grow(
        self,
        weights: Weights,
        steps: int,
        fire: Fire | None = None,
        grid: int | None = None,
        backend: str | None = None,
        leak_scale: float | None = None,
    ) -> Tensor:
        """Grow from the seed. -> state (B, C, grid, grid); the grid defaults to the image's size.

        On another grid the leak factor is scaled as `leak_scale` says, unless a factor is given.
        """
        grid = grid or self.config.image_size
        state = seed(self.config, len(weights.w1), grid, grid, self.device)
        scale = self.leak_scale(grid) if leak_scale is None else leak_scale
        return self.nca(state, weights, steps, fire, backend, scale)

    @torch.no_grad()
    def growth(
        self, weights: Weights, steps: int, fire: Fire | None = None, every: int = 1, grid: int | None = None
    ) -> Tensor:
        """The states along the way, from the seed on: (1 + ceil(steps / every), B, C, grid, grid)."""
        grid = grid or self.config.image_size
        states = [seed(self.config, len(weights.w1), grid, grid, self.device)]
        for t in range(0, steps, every):
            later = None if fire is None else fire.after(t)
            scale = self.leak_scale(grid)
            states.append(self.nca(states[-1], weights, min(every, steps - t), later, leak_scale=scale))
        return torch.stack(states)


class Autoencoder(Grower):
    """A model with codes. A saved one may have a codebook of the images it was trained on in place of its encoder."""

    encoder: Encoder | None
    codes: Codebook | None

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        self.encoder = Encoder(config)
        self.codes = None
        self.code = DNACode(config) if config.code == "dna" else ContinuousCode()

    @torch.no_grad()
    def start(self, images: Tensor, generator: torch.Generator, components: bool = False) -> None:
        """Initialise from data: the embedding spread over `images`, the DNA code fitted to carry it."""
        self.encoder.project.start(self.encoder.all_means(images), components)
        if isinstance(self.code, DNACode):
            with torch.enable_grad():
                self.code.start(generator)

    def embed(self, images: Tensor) -> Tensor:
        """Images (B, image_channels, image_size, image_size), or what `Encoder` takes for them -> embedding (B, E)."""
        return (self.codes if self.encoder is None else self.encoder)(images)

    def encode(self, images: Tensor) -> Tensor:
        """(B, image_channels, image_size, image_size) -> code: (B, E), or (B, E, L, A) letter probabilities."""
        return self.code.encode(self.embed(images))


class NCAM(Autoencoder):
    """The auto-encoder. `forward` grows images from images; its parts can be used one by one."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        self.predictor = Predictor(config)

    def decode(self, code: Tensor) -> Weights:
        """Code -> the weights of one automaton per sample."""
        return self.predictor(self.code.decode(code))

    def weights(self, images: Tensor, mutation: Tensor | None = None) -> Weights:
        """Images (B, ...) -> the weights of their automata, through their (mutated) codes."""
        return self.decode(mutate(self.encode(images), mutation))

    def forward(
        self,
        images: Tensor,
        mutation: Tensor | None = None,
        fire: Fire | None = None,
        steps: int | None = None,
        grid: int | None = None,
        backend: str | None = None,
        leak_scale: float | None = None,
    ) -> Tensor:
        """Encode, mutate, decode, grow. images (B, image_channels, S, S) -> (B, image_channels, grid, grid)."""
        steps = steps or self.steps_on(grid or self.config.image_size)
        state = self.grow(self.weights(images, mutation), steps, fire, grid, backend, leak_scale)
        return self.nca.visible(state)


class ConvAutoencoder(Autoencoder):
    """The same encoder and code with an ordinary decoder: nothing grows, the image is there at once."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        self.decoder = ConvDecoder(config)

    def forward(
        self,
        images: Tensor,
        mutation: Tensor | None = None,
        fire: Fire | None = None,
        steps: int | None = None,
        grid: int | None = None,
        backend: str | None = None,
        leak_scale: float | None = None,
    ) -> Tensor:
        """As `NCAM.forward`; what concerns the automaton is ignored, a smaller grid is an average."""
        decoded = self.decoder(self.code.decode(mutate(self.encode(images), mutation)))
        return F.adaptive_avg_pool2d(decoded, grid) if grid else decoded


class SingleNCA(Grower):
    """One automaton for one image, as in Growing Neural Cellular Automata: its weights are the parameters."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        for name, start in start_weights(config).items():
            self.register_parameter(name, nn.Parameter(start))

    def weights(self, images: Tensor, mutation: Tensor | None = None) -> Weights:
        """The same weights for every sample; the images only say how many."""
        shared = (getattr(self, name) for name in Weights._fields)
        return Weights(*(w.expand(len(images), *w.shape) for w in shared))

    forward = NCAM.forward


def build(config: ModelConfig) -> NCAM | ConvAutoencoder | SingleNCA:
    """The model that a configuration describes."""
    if config.decoder == "conv":
        return ConvAutoencoder(config)
    return SingleNCA(config) if config.code == "single" else NCAM(config)
