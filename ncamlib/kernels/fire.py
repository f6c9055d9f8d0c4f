"""Which cells fire, as a rule instead of a stored mask: a counter-based generator.

Whether a cell fires is a hash of (sample's seed, step, cell), so every backend draws the same
cells, backward draws them again, and a rollout cut into parts equals the whole.
B batch, H W grid, T steps.
"""

from typing import NamedTuple

import torch
from torch import Tensor

WORD = 0xFFFFFFFF
GOLDEN = 0x9E3779B9  # 2^32 over the golden ratio: spreads consecutive steps over all words


def mix(x: Tensor) -> Tensor:
    """A bijection of 32-bit words (held in int64) that flips about half of the bits for every one changed."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & WORD
    x = ((x ^ (x >> 15)) * 0x846CA68B) & WORD
    return x ^ (x >> 16)


class Fire(NamedTuple):
    """Each cell fires with probability `rate` at each step, decided by its sample's seed."""

    rate: float  #: 0 to 1
    seeds: Tensor  #: (B,) int64, 0 to 2^32 - 1
    start: int = 0  #: the first step's number

    @property
    def limit(self) -> int:
        """A cell fires if its word is below this."""
        return min(round(self.rate * 2**32), WORD)

    def after(self, steps: int) -> "Fire":
        """The rule for what follows the first `steps` steps."""
        return self._replace(start=self.start + steps)

    def of(self, samples: slice | Tensor) -> "Fire":
        """The rule for some of the samples."""
        return self._replace(seeds=self.seeds[samples])

    def mask(self, step: int, height: int, width: int) -> Tensor:
        """The mask of one step, counted from `start`: (B, 1, H, W) bool."""
        key = mix((self.seeds + (self.start + step) * GOLDEN) & WORD)
        cells = mix(torch.arange(height * width, device=self.seeds.device))
        return (mix(key[:, None] ^ cells) < self.limit).view(-1, 1, height, width)

    def masks(self, steps: int, height: int, width: int) -> Tensor:
        """The masks of all steps: (T, B, 1, H, W) bool."""
        return torch.stack([self.mask(t, height, width) for t in range(steps)])
