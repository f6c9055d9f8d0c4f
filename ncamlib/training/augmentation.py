"""Pictures that no set holds: known ones recoloured, warped, shrunk, or laid over one another.

A manifold that has seen a few thousand pictures decodes those well, and others less well than a linear map of its size
could. The paper trains on the set alone; with `augment`, a share of every batch is altered, each time anew.
B images of C channels, H W pixels; colours are premultiplied by alpha, all values lie in [0, 1].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

RECOLOURED, INVERTED, WARPED, SHRUNK, COVERED = 0.5, 0.15, 0.7, 0.4, 0.6  # the share of each, of the images augmented
TURN, SCALE, ASPECT, SHEAR, SHIFT = 0.35, 0.25, 0.15, 0.2, 0.15  # the most: radians, two logarithms, then half sides
SMALL = (0.35, 0.75)  # sides of a shrunk picture


class _Draws:
    """Random numbers for a batch, shaped to be multiplied with its images."""

    def __init__(self, count: int, generator: torch.Generator):
        self.count, self.generator = count, generator

    def uniform(self, low: float, high: float) -> Tensor:
        """One number for each image: (B,)."""
        return low + (high - low) * torch.rand(self.count, generator=self.generator, device=self.generator.device)

    def chosen(self, share: float) -> Tensor:
        """Which images are among a share: (B, 1, 1, 1), bool."""
        return (self.uniform(0, 1) < share)[:, None, None, None]

    def orders(self, items: int) -> Tensor:
        """A random order of so many things for each image: (B, items)."""
        return torch.rand(self.count, items, generator=self.generator, device=self.generator.device).argsort(1)


def _resample(images: Tensor, matrices: Tensor, side: int) -> Tensor:
    """Images (B, C, H, W) seen through affine maps (B, 2, 3) of the square from -1 to 1; nothing is beyond."""
    grid = F.affine_grid(matrices, [*images.shape[:2], side, side], align_corners=False)
    return F.grid_sample(images, grid, align_corners=False).clamp(0, 1)


def recolour(images: Tensor, draws: _Draws) -> Tensor:
    """Mix the colours with a permutation of themselves, and invert some; alpha stays. (B, 4, H, W) -> the same."""
    rgb, alpha = images[:, :3], images[:, 3:]
    orders = draws.orders(3)[:, :, None, None].expand_as(rgb)
    rgb = rgb.lerp(rgb.gather(1, orders), draws.uniform(0, 1)[:, None, None, None])
    return torch.cat([torch.where(draws.chosen(INVERTED), alpha - rgb, rgb), alpha], 1)


def warp(images: Tensor, draws: _Draws) -> Tensor:
    """Turn, stretch, shear, shift, and mirror every second. (B, C, H, W) -> the same."""
    angle, scale = draws.uniform(-TURN, TURN), draws.uniform(-SCALE, SCALE).exp()
    wide = scale * draws.uniform(-ASPECT, ASPECT).exp() * torch.where(draws.uniform(0, 1) < 0.5, -1.0, 1.0)
    along = [angle.cos() * wide, draws.uniform(-SHEAR, SHEAR) - angle.sin() * scale, draws.uniform(-SHIFT, SHIFT)]
    down = [angle.sin() * wide, angle.cos() * scale, draws.uniform(-SHIFT, SHIFT)]
    return _resample(images, torch.stack([torch.stack(along, 1), torch.stack(down, 1)], 1), images.shape[-1])


def shrink(images: Tensor, draws: _Draws) -> Tensor:
    """Each smaller, somewhere within the square. (B, C, H, W) -> the same."""
    scale, none = 1 / draws.uniform(*SMALL), images.new_zeros(len(images))
    across, down = ((scale - 1) * draws.uniform(-1, 1) for _ in range(2))
    rows = [torch.stack([scale, none, across], 1), torch.stack([none, scale, down], 1)]
    return _resample(F.avg_pool2d(images, 2), torch.stack(rows, 1), images.shape[-1])


def augment(images: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
    """New pictures from images (B, 4, H, W), some with one of `others` (N, 4, H, W), smaller, on top: (B, 4, H, W).

    H and W are alike. The images themselves stay as they are.
    """
    draws = _Draws(len(images), generator)

    def some(share: float, altered: Tensor, plain: Tensor) -> Tensor:
        return torch.where(draws.chosen(share), altered, plain)

    images = some(RECOLOURED, recolour(images, draws), images)
    images = some(WARPED, warp(images, draws), images)
    over = others[torch.randint(len(others), (len(images),), generator=generator, device=generator.device)]
    over = shrink(some(RECOLOURED, recolour(over, draws), over), draws)
    under = some(SHRUNK, shrink(images, draws), images)
    return some(COVERED, over + under * (1 - over[:, 3:]), images)
