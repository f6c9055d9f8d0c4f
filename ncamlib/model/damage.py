"""Damage to grown states: what an automaton that heals is trained on and measured by.

B batch, C state channels, H W grid. Lengths are shares of the grid's side, so that a wound means the same on any grid.
"""

import math

import torch
from torch import Tensor

KINDS = ("disc", "half", "noise")
QUARTER = math.sqrt(0.25 / math.pi)  # the radius of a disc of a quarter of the area
NOISE = 0.2  # the standard deviation of the noise that healing is measured with


def _offsets(side: int, centre: Tensor) -> Tensor:
    """How far each row (or column) is from a centre in [0, 1), round the torus: (B,) -> (B, side)."""
    cells = (torch.arange(side, device=centre.device) + 0.5) / side
    return (cells - centre[:, None] + 0.5).remainder(1) - 0.5


def disc(state: Tensor, y: Tensor, x: Tensor, radius: Tensor) -> Tensor:
    """Blank a disc in all channels. state (B, C, H, W); y, x, radius (B,) in [0, 1) -> (B, C, H, W)."""
    rows, columns = _offsets(state.shape[2], y), _offsets(state.shape[3], x)
    inside = rows.square()[:, :, None] + columns.square()[:, None, :] < radius.square()[:, None, None]
    return state.masked_fill(inside.unsqueeze(1), 0)


def half(state: Tensor, angle: Tensor) -> Tensor:
    """Blank everything on one side of a line through the centre. state (B, C, H, W); angle (B,), radians -> same."""
    centre = torch.full_like(angle, 0.5)
    rows, columns = _offsets(state.shape[2], centre), _offsets(state.shape[3], centre)
    beyond = rows[:, :, None] * angle.sin()[:, None, None] + columns[:, None, :] * angle.cos()[:, None, None] > 0
    return state.masked_fill(beyond.unsqueeze(1), 0)


def noise(state: Tensor, deviation: Tensor, generator: torch.Generator) -> Tensor:
    """Add normal noise to all channels of every cell. state (B, C, H, W); deviation (B,) -> same."""
    drawn = torch.randn(state.shape, generator=generator, device=generator.device)
    return state + deviation[:, None, None, None] * drawn.to(state)


def damage(state: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """The damage that healing is measured with: a disc of a quarter of the area at a random place, a half on a random
    side, or noise of standard deviation 0.2. (B, C, H, W) -> same.
    """
    a, b = torch.rand(2, len(state), generator=generator, device=generator.device).to(state)
    if kind == "disc":
        return disc(state, a, b, torch.full_like(a, QUARTER))
    if kind == "half":
        return half(state, 2 * math.pi * a)
    return noise(state, torch.full_like(a, NOISE), generator)


def random_damage(state: Tensor, generator: torch.Generator) -> Tensor:
    """The damage that is trained on: any kind, up to a little more than is measured. (B, C, H, W) -> same.

    Discs are large rather than small, and in the middle rather than at the edge: that is where they are hard to heal.
    """
    a, b, c, d, size, which = torch.rand(6, len(state), generator=generator, device=generator.device).to(state)
    kinds = (
        disc(state, (a + c) / 2, (b + d) / 2, 0.1 + size.sqrt() * (1.1 * QUARTER - 0.1)),
        half(state, 2 * math.pi * a),
        noise(state, 1.5 * NOISE * size, generator),
    )
    chosen = (which * 8).long()[:, None, None, None]  # five of eight wounds are discs, two halves: noise heals early
    return torch.where(chosen < 5, kinds[0], torch.where(chosen < 7, kinds[1], kinds[2]))
