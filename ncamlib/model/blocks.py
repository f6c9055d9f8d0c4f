"""The residual blocks CB1, CB3 and FCB with their leak factors (section 3.1).

B batch, C filters, H W grid, N features.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAK_INITIAL, LEAK_RANGE = 0.1, (1e-3, 1e3)


class Leak(nn.Module):
    """The leak factor: one learnable scalar in [1e-3, 1e3], 0.1 at the start (section 3.1).

    Kept as a logarithm, so that a step changes it by a ratio. "fixed": it keeps its initial value; "none": it is 1.
    """

    def __init__(self, kind: str = "learned"):
        super().__init__()
        log = torch.tensor(0.0 if kind == "none" else math.log(LEAK_INITIAL))
        if kind == "learned":
            self.log = nn.Parameter(log)
        else:
            self.register_buffer("log", log, persistent=kind == "fixed")

    def forward(self) -> Tensor:
        """The factor, a scalar tensor."""
        low, high = LEAK_RANGE
        return self.log.clamp(math.log(low), math.log(high)).exp()


class Residual(nn.Module):
    """x + leak * outer(relu(inner(x))); keeps its width."""

    def __init__(self, inner: nn.Module, outer: nn.Module, leak: str = "learned"):
        super().__init__()
        self.inner, self.outer, self.leak = inner, outer, Leak(leak)

    def forward(self, x: Tensor) -> Tensor:
        """X of the block's width -> the same shape."""
        return x + self.leak() * self.outer(F.relu(self.inner(x)))


def cb3(width: int, leak: str = "learned") -> Residual:
    """3x3 convolutions, twice as wide inside. (B, C, H, W) -> (B, C, H, W)."""
    return Residual(nn.Conv2d(width, 2 * width, 3, padding=1), nn.Conv2d(2 * width, width, 3, padding=1), leak)


def cb1(width: int, leak: str = "learned") -> Residual:
    """1x1 convolutions, four times as wide inside. (B, C, H, W) -> (B, C, H, W)."""
    return Residual(nn.Conv2d(width, 4 * width, 1), nn.Conv2d(4 * width, width, 1), leak)


def cb1_1d(width: int, leak: str = "learned") -> Residual:
    """CB1 over a sequence, features last: a 1x1 convolution is a linear map. (..., C) -> (..., C)."""
    return Residual(nn.Linear(width, 4 * width), nn.Linear(4 * width, width), leak)


def fcb(width: int, leak: str = "learned") -> Residual:
    """Fully connected, as wide inside as outside. (B, N) -> (B, N)."""
    return Residual(nn.Linear(width, width), nn.Linear(width, width), leak)
