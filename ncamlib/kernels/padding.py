"""Fits a rollout to the sizes a kernel takes: channels and hidden units with zero weights change nothing."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ncamlib.kernels.reference import Weights

CHANNELS = (16, 32)  # the state widths that the kernels take; narrower states are padded


def obstacle(state: Tensor) -> str | None:
    """Why no kernel can take a rollout of this state, or None if one can. state (B, C, H, W)."""
    if state.dtype != torch.float32:
        return f"the state is {state.dtype}, not float32"
    if state.shape[1] > CHANNELS[-1]:
        return f"{state.shape[1]} channels are more than {CHANNELS[-1]}"
    return None


def pad(state: Tensor, weights: Weights, channels: int, hidden: int) -> tuple[Tensor, Weights]:
    """Widen to `channels` state channels and `hidden` units; differentiable, and free if nothing is missing.

    state (B, C, H, W) -> (B, channels, H, W).
    """
    have = state.shape[1]
    extra_c, extra_k = channels - have, hidden - weights.w1.shape[1]
    if not extra_c and not extra_k:
        return state, weights
    w1, b1, w2, b2 = weights
    maps = F.pad(w1.unflatten(2, (3, have)), (0, extra_c)).flatten(2)
    wide = Weights(
        F.pad(maps, (0, 0, 0, extra_k)),
        F.pad(b1, (0, extra_k)),
        F.pad(w2, (0, extra_k, 0, extra_c)),
        F.pad(b2, (0, extra_c)),
    )
    return F.pad(state, (0, 0, 0, 0, 0, extra_c)), wide
