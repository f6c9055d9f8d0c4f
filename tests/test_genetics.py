"""Mean genes and their injection."""

import itertools

import pytest
import torch

from ncamlib.errors import NcamError
from ncamlib.model import dna, genetics


def codes(n: int = 5) -> torch.Tensor:
    return torch.randn(n, 7, 16, 4, generator=torch.Generator().manual_seed(0)).mul(4).softmax(-1)


def test_genes_of_one_image_are_its_sure_letters():
    one = codes(1)
    genes = genetics.mean_genes(one, 0.5)
    sure = one[0].amax(-1) > 0.5
    assert torch.equal(genes.sum(-1) > 0, sure)
    assert torch.equal(genes[sure], dna.harden(one)[0][sure])


def test_a_higher_threshold_keeps_fewer_of_the_same_letters():
    kept = [genetics.mean_genes(codes(), t) for t in (0.5, 0.7, 0.9)]
    assert genetics.share(kept[0]) > genetics.share(kept[1]) > genetics.share(kept[2])
    for more, fewer in itertools.pairwise(kept):
        assert (more >= fewer).all()
        assert set(more.sum(-1).unique().tolist()) <= {0.0, 1.0}


def test_injection_overwrites_what_is_kept_and_nothing_else():
    targets, genes = codes(3), genetics.mean_genes(codes(4), 0.6)
    changed = genetics.inject(targets, genes)
    kept = genes.sum(-1) > 0
    assert torch.equal(changed[:, kept], genes[kept].expand(3, -1, -1))
    assert torch.equal(changed[:, ~kept], targets[:, ~kept])
    assert torch.equal(genetics.inject(targets, torch.zeros_like(genes)), targets)
    assert torch.equal(genetics.inject(changed, genes), changed)


@pytest.mark.parametrize(("group", "threshold", "message"), [(2, 0.4, "threshold is 0.4"), (0, 0.5, "at least one")])
def test_bad_requests_are_refused(group, threshold, message):
    with pytest.raises(NcamError, match=message):
        genetics.mean_genes(codes(group), threshold)


def test_letters_that_two_disagree_on_are_none_at_one_half():
    one, other = torch.zeros(2, 7, 16, 4).unbind()
    one[..., 0] = 1
    other[..., 0] = 1
    other[:3] = other[:3].roll(1, -1)  # three of seven genes read another way
    genes = genetics.mean_genes(torch.stack([one, other]), 0.5)
    assert torch.equal(genes.sum((1, 2)), torch.tensor([0.0, 0, 0, 16, 16, 16, 16]))
    assert genetics.share(genes) == pytest.approx(4 / 7)
