"""The automaton's step in plain PyTorch: the definition every other backend must agree with.

B batch, C state channels, P = 3C perceived channels, K hidden units, H W grid, T steps.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ncamlib.config import NORMS
from ncamlib.errors import choice
from ncamlib.kernels.fire import Fire

EPS = 1e-5  # of the instance norm


class Weights(NamedTuple):
    """All weights of one automaton per sample (paper, section 3.3)."""

    w1: Tensor  #: (B, K, P)
    b1: Tensor  #: (B, K)
    w2: Tensor  #: (B, C, K)
    b2: Tensor  #: (B, C)


def perceive(state: Tensor, wrap: bool = False) -> Tensor:
    """Identity, Sobel x and Sobel y of every channel (section 3.4).

    Beyond the edge lie zeros, or the opposite side where the grid wraps round.
    state (B, C, H, W) -> (B, 3C, H, W), in the order [identity, x, y], each C channels long.
    """
    padded = F.pad(state, (1, 1, 1, 1), "circular" if wrap else "constant")
    column = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    row = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    sobel_x = (column[..., 2:] - column[..., :-2]) / 8
    sobel_y = (row[:, :, 2:] - row[:, :, :-2]) / 8
    return torch.cat([state, sobel_x, sobel_y], 1)


def normalise(maps: Tensor, norm: str = "all") -> Tensor:
    """Instance norm: zero mean, unit (biased) variance per sample and map. (B, P, N) -> (B, P, N).

    norm: of "all" maps, of those of the two "sobel" filters, or of "none".
    """
    if choice("norm", norm, NORMS) == "none":
        return maps
    state, gradients = maps.split([maps.shape[1] // 3, maps.shape[1] // 3 * 2], 1)
    taken = maps if norm == "all" else gradients
    variance, mean = torch.var_mean(taken, dim=2, keepdim=True, correction=0)
    normal = (taken - mean) * torch.rsqrt(variance + EPS)
    return normal if norm == "all" else torch.cat([state, normal], 1)


def step(
    state: Tensor, weights: Weights, leak: Tensor, mask: Tensor | None, norm: str = "all", wrap: bool = False
) -> Tensor:
    """One update of every cell that fires. Pure: nothing is drawn and nothing changed in place.

    state (B, C, H, W); leak: scalar tensor; mask: (B, 1, H, W) bool or None (all cells fire); norm: which maps are
    normalised; wrap: whether the grid is a torus -> the next state (B, C, H, W).
    """
    maps = normalise(perceive(state, wrap).flatten(2), norm)  # (B, P, H*W)
    hidden = torch.relu(torch.baddbmm(weights.b1.unsqueeze(2), weights.w1, maps))  # (B, K, H*W)
    update = torch.baddbmm(weights.b2.unsqueeze(2), weights.w2, hidden).view_as(state)
    if mask is not None:
        update = update * mask.to(update.dtype)
    return state + leak * update


def distance(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """How many steps away the centre is from every cell: (H, W) int64."""
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    return torch.maximum((rows - height // 2).abs()[:, None], (columns - width // 2).abs())


def support(state: Tensor) -> Tensor:
    """How far from the centre the cells that differ from the corner reach: (B, C, H, W) -> (B,) int64."""
    differs = (state != state[:, :, :1, :1]).any(1)
    return (differs * distance(*state.shape[2:], state.device)).amax((1, 2))


def keeps_cone(state: Tensor, masks: "Tensor | Fire | None", wrap: bool) -> bool:
    """Whether `Alike` may be used: all cells fire, none is at an edge, and no gradient of the start is asked for."""
    return masks is None and wrap and not state.requires_grad


class Alike(torch.autograd.Function):
    """The identity; backward, the cells that are marked as having one and the same state share their mean gradient.

    Information travels one cell a step: the cells that the seed cannot have reached hold one state, and only the sum of
    their gradients matters. Apart, these grow exponentially on their way back through the norm of a nearly blank
    grid. At 64 x 64 and T = 32 their float32 sum would be all rounding.
    """

    @staticmethod
    def forward(ctx, state: Tensor, alike: Tensor) -> Tensor:
        """State (B, C, H, W), alike (B, 1, H, W) bool -> the same state."""
        ctx.save_for_backward(alike)
        return state.view_as(state)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        """(B, C, H, W) -> the gradient by `state`, and none by `alike`."""
        (alike,) = ctx.saved_tensors
        mean = gradient.where(alike, 0).sum((2, 3), keepdim=True) / alike.sum((2, 3), keepdim=True).clamp_min(1)
        return torch.where(alike, mean, gradient), None


def rollout(
    state: Tensor,
    weights: Weights,
    leak: Tensor,
    steps: int,
    masks: Tensor | Fire | None,
    norm: str = "all",
    wrap: bool = False,
    cone: bool = True,
) -> Tensor:
    """`steps` steps from `state`; masks (T, B, 1, H, W) bool, a rule, or None. -> (B, C, H, W).

    `cone=False` keeps the gradients of cells of one state apart (see `Alike`).
    """
    reached = support(state)[:, None, None, None] if cone and keeps_cone(state, masks, wrap) else None
    away = distance(*state.shape[2:], state.device)
    for t in range(steps):
        if reached is not None:
            state = Alike.apply(state, away > reached + t)
        mask = masks.mask(t, *state.shape[2:]) if isinstance(masks, Fire) else None if masks is None else masks[t]
        state = step(state, weights, leak, mask, norm, wrap)
    return state
