"""The Neural Cellular Automata Manifold: image -> code -> automaton -> grown image (section 3).

B batch, E embedding, C state channels, H W grid, T steps.
"""

import torch
from torch import Tensor, nn

from ncamlib.config import ModelConfig
from ncamlib.errors import NcamError
from ncamlib.kernels import Fire, Weights
from ncamlib.model.automaton import NCA, seed
from ncamlib.model.base import Coded, Model
from ncamlib.model.dna import mutate
from ncamlib.model.predictor import Modulator, Predictor, initial_weights


class Growing(Model):
    """A model whose images grow: it has weights for automata, and grows them from the seed."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        self.nca = NCA(config)

    def leak_scale(self, grid: int) -> float:
        """The multiplier of the leak factor, a time step, on a grid of this side.

        With instance norm the perceived gradients of a picture stay the same when it is stretched: a rule with
        T steps on a grid grows the same picture with sT steps on one s times as large, each 1/s as long. Without a norm
        this does not follow. Without leak factors there is nothing to scale: 1.
        """
        return self.config.image_size / grid if self.config.leak != "none" else 1.0

    def steps_on(self, grid: int, steps: int | None = None) -> int:
        """The steps on a grid of this side that match `steps` (by default the model's own) on the image's."""
        steps = self.config.steps if steps is None else steps
        return round(steps * grid / self.config.image_size) or min(steps, 1)

    def grow(
        self,
        weights: Weights,
        steps: int,
        fire: Fire | None = None,
        grid: int | None = None,
        backend: str | None = None,
        leak_scale: float | None = None,
        state: Tensor | None = None,
    ) -> Tensor:
        """Grow from the seed, or on from a state. -> state (B, C, grid, grid); the grid defaults to the image's size.

        On another grid the leak factor is scaled as `leak_scale` says, unless a factor is given.
        """
        grid = grid or (self.config.image_size if state is None else state.shape[-1])
        state = seed(self.config, len(weights.w1), grid, grid, self.device) if state is None else state
        scale = self.leak_scale(grid) if leak_scale is None else leak_scale
        return self.nca(state, weights, steps, fire, backend, scale)

    @torch.no_grad()
    def growth(
        self, weights: Weights, steps: int, fire: Fire | None = None, every: int = 1, grid: int | None = None
    ) -> Tensor:
        """The states along the way, from the seed on: (1 + ceil(steps / every), B, C, grid, grid).

        NcamError unless `every` is at least 1.
        """
        if every < 1:
            raise NcamError(f"every is {every}: keep one state in so many steps, at least 1")
        grid = grid or self.config.image_size
        states = [seed(self.config, len(weights.w1), grid, grid, self.device)]
        for t in range(0, steps, every):
            later = None if fire is None else fire.after(t)
            states.append(self.grow(weights, min(every, steps - t), later, grid, state=states[-1]))
        return torch.stack(states)


class NCAM(Coded, Growing):
    """The auto-encoder. `forward` grows images from images; its parts can be used one by one."""

    def __init__(self, config: ModelConfig, encoder: bool = True):
        super().__init__(config, encoder)
        self.predictor = (Modulator if config.predictor == "film" else Predictor)(config)

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
        steps = self.steps_on(grid or self.config.image_size) if steps is None else steps
        state = self.grow(self.weights(images, mutation), steps, fire, grid, backend, leak_scale)
        return self.nca.visible(state)


class SingleNCA(Growing):
    """One automaton for one image, as in Growing Neural Cellular Automata: its weights are the parameters."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        for name, tensor in initial_weights(config).items():
            self.register_parameter(name, nn.Parameter(tensor))

    def weights(self, images: Tensor, mutation: Tensor | None = None) -> Weights:
        """The same weights for every sample; the images only say how many."""
        shared = (getattr(self, name) for name in Weights._fields)
        return Weights(*(w.expand(len(images), *w.shape) for w in shared))

    forward = NCAM.forward
