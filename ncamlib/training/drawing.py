"""Which images a training sees next, where those with large errors come more often.

Most of a large set is soon grown well, and what is left of the error is in images that resemble no others. N images.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Draws:
    """The most recent error of every image, and the images of this epoch that are still to come."""

    errors: Tensor  # (N,) float64; -1 before an image was seen
    upcoming: Tensor  # (M,) int64

    @classmethod
    def empty(cls, images: int, device: torch.device) -> "Draws":
        """Before the first epoch."""
        errors = torch.full((images,), -1.0, dtype=torch.float64, device=device)
        return cls(errors, torch.empty(0, dtype=torch.int64, device=device))

    def draw(self, batch: int, share: float, generator: torch.Generator) -> Tensor:
        """The next images: (batch,) int64. A `share` of an epoch is drawn in proportion to the errors."""
        while len(self.upcoming) < batch:
            self.upcoming = torch.cat([self.upcoming, self._epoch(share, generator)])
        drawn, self.upcoming = self.upcoming.split([batch, len(self.upcoming) - batch])
        return drawn

    def _epoch(self, share: float, generator: torch.Generator) -> Tensor:
        """As many draws as there are images, in random order: each image once until all were seen; then as often as
        its error asks for, rounded up or down by one random number for all.
        """
        n, device = len(self.errors), self.errors.device
        order = torch.randperm(n, generator=generator, device=device)
        total = self.errors.sum()
        if (self.errors < 0).any() or not 0 < total < torch.inf:
            return order
        times = 1 - share + share * n * self.errors / total
        places = torch.arange(n, device=device) + torch.rand((), generator=generator, device=device)
        return torch.searchsorted(times.cumsum(0), places.double()).clamp_max(n - 1)[order]

    def note(self, images: Tensor, errors: Tensor) -> None:
        """Keep the errors (B,) of the images (B,) that were just seen."""
        self.errors[images] = errors.detach().double()
