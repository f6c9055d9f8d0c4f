"""The linear yardstick: equal to a truncated SVD, by either matrix, and what is recorded is what would be computed."""

import pytest
import torch

from ncamlib import data
from ncamlib.errors import NcamError
from ncamlib.results import pca
from ncamlib.results.store import load


def test_errors_are_those_of_a_truncated_svd():
    images = data.emoji("chars", 16)
    flat = images.pixels.flatten(1).double()
    centred = flat - flat.mean(0)
    u, s, v = torch.linalg.svd(centred, full_matrices=False)
    left = pca.errors(images)
    assert len(left) == len(images) + 1
    for k in (0, 1, 10, 95):
        expected = (centred - (u[:, :k] * s[:k]) @ v[:k]).square().mean()
        torch.testing.assert_close(left[k], expected, atol=1e-12, rtol=1e-6)
    assert left[-1] < 1e-12
    code = pca.LinearCode(images, 10)
    assert len(code) == 10
    assert code.error(images) == pytest.approx(left[10].item(), rel=1e-4)
    assert code.error(data.emoji("emos", 16)) > code.error(images)
    assert len(pca.LinearCode(images, 500)) == 95


def test_copies_add_no_direction():
    few = data.emoji("emos", 16).pixels[:40]
    pixels = torch.cat([few, few[:5]])
    images = data.Images("copies", pixels, [str(i) for i in range(45)])
    code = pca.LinearCode(images, 100)
    assert len(code) == 39
    assert code.error(images) < 1e-8


def test_many_small_images_take_the_covariance():
    pixels = torch.rand(40, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    left = pca.errors(data.Images("many", pixels, [str(i) for i in range(40)]))
    assert len(left) == 10
    assert left[0].item() == pytest.approx((pixels - pixels.mean(0)).square().mean().item(), rel=1e-5)
    assert left[-1] < 1e-12
    assert (left.diff() <= 0).all()


@pytest.mark.parametrize("subset", ["chars", "emos"])
def test_the_record_is_what_is_computed(subset):
    images = data.emoji(subset)
    row = pca.load()[images.digest]
    assert (row.images, row.count) == (subset, len(images))
    torch.testing.assert_close(torch.tensor(row.errors), pca.errors(images).float(), atol=1e-9, rtol=1e-4)
    assert row.equal(row.left(7)) == 7
    assert row.left(512) == row.errors[-1]


def test_every_measured_model_of_several_images_has_its_yardstick():
    recorded = pca.load()
    assert all(row.data_digest in recorded for row in load().values() if row.images > 1)


def test_an_error_below_all_that_is_recorded_has_no_number():
    row = pca.Recorded("x", 2, "", "", "", (0.3, 0.2, 0.1))
    assert (row.equal(0.15), row.equal(0.05)) == (2, None)


def test_recording_adds_to_what_is_there(tmp_path, monkeypatch):
    (tmp_path / "_toc.yml").touch()
    monkeypatch.setenv("NCAM_HOME", str(tmp_path))
    for count in (4, 5, 4):
        pixels = torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(count))
        pca.record(data.Images(f"set {count}", pixels, [str(i) for i in range(count)]))
    assert [row.count for row in pca.load().values()] == [4, 5]
    pca.RECORDS.path.write_text("[{}]")
    with pytest.raises(NcamError, match=r"pca\.json is damaged"):
        pca.load()
