"""Unseen images: the baselines on small sets whose answers are known, and what is recorded."""

from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from ncamlib import emoji
from ncamlib.cli.main import app
from ncamlib.data import Images
from ncamlib.errors import NcamError
from ncamlib.results import unseen
from ncamlib.results.pca import LinearCode, errors


def images(values: list[list[float]]) -> Images:
    """Images of one channel and 1x2 pixels."""
    return Images("two", torch.tensor(values).view(-1, 1, 1, 2), [str(i) for i in range(len(values))])


def test_baselines_of_a_known_set():
    known, new = images([[0.0, 0.0], [1.0, 0.0]]), images([[0.9, 0.2], [0.5, 0.0]])
    torch.testing.assert_close(unseen.nearest(known, new), torch.tensor([0.025, 0.125]))
    assert unseen.mean(known, new) == pytest.approx((0.16 + 0.04) / 4)


@pytest.mark.parametrize("count", [3, 40], ids=["fewer images than numbers", "more"])
def test_a_linear_code_leaves_what_pca_leaves(count):
    pixels = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    some = Images("some", pixels, [str(i) for i in range(count)])
    assert LinearCode(some, 2).error(some) == pytest.approx(errors(some)[2].item(), rel=1e-4)


def test_recorded_under_its_experiment(tmp_path, monkeypatch):
    few = emoji("heldout", 64)
    few = few.pick([0, 1, 2])
    monkeypatch.setattr("ncamlib.data.emoji", lambda name, size: few if name == "heldout" else emoji(name, size))
    saved = []
    monkeypatch.setattr(unseen, "record", saved.append)
    said = CliRunner().invoke(app, ["evaluate", "chars-dna-syn", "--test", "--record"])
    assert said.exit_code == 0, said.exception
    (row,) = saved
    assert (row.experiment, row.images, row.measured.images) == ("chars-dna-syn", "heldout", 3)
    assert 0 < row.linear < row.mean
    for name, whole in (("mse", row.measured.mse), ("nearest", row.nearest)):
        assert sum(getattr(part, name) * part.images for part in row.versions) / 3 == pytest.approx(whole, rel=0.1)
    assert [part.version for part in row.versions] == ["13", "13.1", "15.1"]


def test_each_version_has_errors_of_its_own(monkeypatch):
    """Of images whose errors are known: version by version."""
    new, distances = images([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]), torch.tensor([0.1, 0.2, 0.4])
    monkeypatch.setattr(unseen, "versions", lambda _: ["13", "14", "14"])
    monkeypatch.setattr(
        unseen, "measure", lambda _, some, **__: SimpleNamespace(mse=some.pixels.square().mean().item())
    )
    rows = unseen._by_version(None, new, distances)
    assert [(row.version, row.images, row.mse) for row in rows] == [("13", 1, 0.0), ("14", 2, 2.5)]
    assert [row.nearest for row in rows] == pytest.approx([0.1, 0.3])


def test_photographs_need_their_training_images(tmp_path):
    said = CliRunner().invoke(app, ["evaluate", "cifar10-ce-syn", "--test", "--record", "--data-dir", str(tmp_path)])
    assert isinstance(said.exception, NcamError)
