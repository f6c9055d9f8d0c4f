"""Genetic engineering: what images have in common, put into others (section 4, Fig. 7).

N images, E embedding values, L letters, A alphabet. Codes are DNA, (N, E, L, A); a letter that is
all zeros is "none".
"""

import torch
from torch import Tensor

from ncamlib.errors import NcamError


def mean_genes(codes: Tensor, threshold: float) -> Tensor:
    """The letters that a group shares: (N, E, L, A) -> (E, L, A), one-hot or "none".

    A letter is kept where its probability, averaged over the group, exceeds the threshold. Below 0.5
    two letters could pass at one place, so less is refused with NcamError.
    """
    if not 0.5 <= threshold < 1:
        raise NcamError(f"the threshold is {threshold}: it must be at least 0.5 and below 1")
    if codes.ndim != 4 or not len(codes):
        raise NcamError("mean genes need the DNA codes of at least one image")
    return (codes.mean(0) > threshold).to(codes.dtype)


def inject(codes: Tensor, genes: Tensor) -> Tensor:
    """Overwrite letters of targets with those of `genes` that are not "none". (N, E, L, A), (E, L, A) -> like codes."""
    return torch.where(genes.sum(-1, keepdim=True) > 0, genes, codes)


def share(genes: Tensor) -> float:
    """The share of all letters that are not "none"."""
    return (genes.sum(-1) > 0).float().mean().item()
