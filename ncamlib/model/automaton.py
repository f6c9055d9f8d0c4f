"""The automaton: what its weights look like, its seed, and its rollout (section 3.4).

B batch, C state channels, K hidden units, H W grid, T steps.
"""

import torch
from torch import Tensor, nn

from ncamlib.config import ModelConfig
from ncamlib.errors import NcamError
from ncamlib.kernels import Fire, Weights, rollout
from ncamlib.model.blocks import Leak

MIN_GRID = 3  # a seed and its neighbours


def weight_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every weight of one automaton: all that a predictor needs to know."""
    c, k = config.channels, config.hidden
    return {"w1": (k, 3 * c), "b1": (k,), "w2": (c, k), "b2": (c,)}


def seed(config: ModelConfig, batch: int, height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """A blank grid with one different pixel: the centre has alpha and hidden channels 1. -> (B, C, H, W)."""
    if min(height, width) < MIN_GRID:
        raise NcamError(f"a {height}x{width} grid is too small for the seed: use at least {MIN_GRID}x{MIN_GRID}")
    state = torch.zeros(batch, config.channels, height, width, device=device)
    state[:, 3:, height // 2, width // 2] = 1
    return state


def draw_fire(batch: int, fire_rate: float, generator: torch.Generator | None = None) -> Fire | None:
    """Which cells fire at which step, as a rule with one drawn seed per sample; None if all do."""
    if fire_rate >= 1:
        return None
    device = generator.device if generator else None
    return Fire(fire_rate, torch.randint(2**32, (batch,), generator=generator, device=device))


class NCA(nn.Module):
    """The rule with its one parameter, the leak factor; all other weights are arguments."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.leak = Leak(config.leak)

    def forward(
        self,
        state: Tensor,
        weights: Weights,
        steps: int,
        fire: Fire | None,
        backend: str | None = None,
        leak_scale: float = 1.0,
    ) -> Tensor:
        """`steps` steps of one automaton per sample, `leak_scale` times the leak factor. state (B, C, H, W) -> same."""
        leak = self.leak() * leak_scale
        return rollout(state, weights, leak, steps, fire, self.config.norm, self.config.wrap, backend)

    def visible(self, state: Tensor) -> Tensor:
        """The colour channels of states: (..., C, H, W) -> (..., image_channels, H, W)."""
        return state[..., : self.config.image_channels, :, :]
