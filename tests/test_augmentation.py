"""Augmented pictures: still pictures, and what each alteration keeps."""

import dataclasses

import pytest
import torch

from ncamlib import data
from ncamlib.config import Stage, TrainConfig
from ncamlib.errors import NcamError
from ncamlib.experiments import experiment
from ncamlib.model import checkpoint
from ncamlib.results.reproduce import deployable
from ncamlib.training import augmentation
from ncamlib.training.augmentation import _Draws, augment, recolour, shrink, warp
from ncamlib.training.loop import Feed, train
from ncamlib.training.processes import Ranks
from ncamlib.training.run import MODEL_FILE, prepare

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return data.emoji("chars", 32).pixels


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_augmented_pictures_are_premultiplied_pictures_each_time_others(pixels):
    before, draws = pixels.clone(), generator()
    first, second = augment(pixels, pixels, draws), augment(pixels, pixels, draws)
    for one in (first, second):
        assert one.shape == pixels.shape
        assert one.min() >= 0
        assert one.max() <= 1 + 1e-5
        assert (one[:, :3] <= one[:, 3:] + 1e-5).all()
    assert (first - second).abs().amax((1, 2, 3)).median() > 0.5
    assert torch.equal(pixels, before)
    assert torch.equal(augment(pixels, pixels, generator()), first)


def test_the_shares_say_how_many_are_altered(pixels, monkeypatch):
    for name in ("RECOLOURED", "WARPED", "SHRUNK", "COVERED"):
        monkeypatch.setattr(augmentation, name, 0.0)
    assert torch.equal(augment(pixels, pixels, generator()), pixels)
    monkeypatch.setattr(augmentation, "COVERED", 0.25)
    changed = (augment(pixels.repeat(10, 1, 1, 1), pixels, generator()) - pixels.repeat(10, 1, 1, 1)).abs()
    assert 0.15 < (changed.amax((1, 2, 3)) > 0).float().mean() < 0.3  # of 960, a quarter, less what lands on nothing


def test_recolouring_keeps_alpha_and_mixes_the_colours_of_each_pixel(pixels, monkeypatch):
    monkeypatch.setattr(augmentation, "INVERTED", 0.0)
    altered = recolour(pixels, _Draws(len(pixels), generator()))
    assert torch.equal(altered[:, 3], pixels[:, 3])
    torch.testing.assert_close(altered[:, :3].sum(1), pixels[:, :3].sum(1))
    assert (altered - pixels).abs().amax() > 0.5
    monkeypatch.setattr(augmentation, "INVERTED", 1.0)
    inverted = recolour(pixels, _Draws(len(pixels), generator()))
    torch.testing.assert_close(inverted[:, :3].sum(1), 3 * pixels[:, 3] - pixels[:, :3].sum(1))


def test_a_warp_of_nothing_keeps_or_mirrors(pixels, monkeypatch):
    for name in ("TURN", "SCALE", "ASPECT", "SHEAR", "SHIFT"):
        monkeypatch.setattr(augmentation, name, 0.0)
    warped = warp(pixels, _Draws(len(pixels), generator()))
    kept = (warped - pixels).abs().amax((1, 2, 3)) < 1e-4
    mirrored = (warped - pixels.flip(3)).abs().amax((1, 2, 3)) < 1e-4
    assert (kept | mirrored).all()
    assert 0.3 < kept.float().mean() < 0.8


def test_a_warp_shifts_and_turns_as_its_limits_say(monkeypatch):
    """A dot off the centre: half sides and radians are what they are called."""
    for name in ("TURN", "SCALE", "ASPECT", "SHEAR", "SHIFT"):
        monkeypatch.setattr(augmentation, name, 0.0)
    dot = torch.zeros(400, 4, 64, 64)
    dot[:, :, 31:33, 50:52] = 1  # 19 cells from the centre

    def places(images: torch.Tensor) -> torch.Tensor:
        cells = torch.arange(64) - 31.5
        mass = images[:, 3] / images[:, 3].sum((1, 2), keepdim=True)
        return torch.stack([(mass.sum(1) * cells).sum(1), (mass.sum(2) * cells).sum(1)], 1)  # across, down

    monkeypatch.setattr(augmentation, "SHIFT", 0.25)
    moved = places(warp(dot, _Draws(400, generator())))
    assert moved[:, 1].abs().max() < 8.1  # a quarter of half a side
    assert moved[:, 1].abs().max() > 7
    monkeypatch.setattr(augmentation, "SHIFT", 0.0)
    monkeypatch.setattr(augmentation, "TURN", 0.5)
    moved = places(warp(dot, _Draws(400, generator())))
    torch.testing.assert_close(moved.norm(dim=1), torch.full((400,), 19.0), atol=0.5, rtol=0)
    assert 0.45 < torch.atan2(moved[:, 1], moved[:, 0].abs()).abs().max() < 0.52


def test_shrunk_pictures_are_whole(pixels):
    square = torch.ones(200, 4, 32, 32)
    area = shrink(square, _Draws(200, generator()))[:, 3].mean((1, 2))
    low, high = augmentation.SMALL
    assert low**2 - 0.02 < area.min() < low**2 + 0.03
    assert high**2 - 0.05 < area.max() < high**2 + 0.02


def small(**settings):
    base = experiment("chars-dna-syn")
    model = dataclasses.replace(
        base.model, image_size=16, embedding=16, filters=4, predictor_fcbs=1, hidden=32, steps=4
    )
    return dataclasses.replace(base, model=model, train=TrainConfig(steps=2, batch=8, **settings))


@pytest.mark.parametrize("learning", [False, True])
def test_a_share_of_a_batch_is_augmented_and_the_model_sees_what_it_is_to_grow(learning):
    images = data.emoji("chars", 16)
    run = prepare(small(augment=0.25, encoder_from=0.0 if learning else 1.0), images, CPU)
    feed = Feed(run, Ranks(), images.pixels)
    feed.arrange(0.0)
    drawn = torch.arange(8)
    inputs, targets = feed.take(drawn, slice(0, 8))
    changed = (targets - images.pixels[drawn]).abs().amax((1, 2, 3)) > 0
    assert not changed[2:].any()
    assert changed[:2].any()
    seen = targets if learning else run.model.encoder.all_means(targets)
    torch.testing.assert_close(inputs, seen)
    assert torch.equal(images.pixels, data.emoji("chars", 16).pixels)
    assert torch.equal(feed.inputs, images.pixels if learning else run.model.encoder.all_means(images.pixels))


def test_processes_share_what_one_would_augment():
    images = data.emoji("chars", 16)

    def taken(mine: slice) -> torch.Tensor:
        run = prepare(small(augment=0.75), images, CPU)
        feed = Feed(run, Ranks(), images.pixels)
        feed.arrange(0.0)
        return feed.take(torch.arange(8), mine)[1]

    assert torch.equal(torch.cat([taken(slice(0, 4)), taken(slice(4, 8))]), taken(slice(0, 8)))


def test_what_cannot_be_augmented_is_refused():
    with pytest.raises(NcamError, match="neither by_error nor a pool"):
        TrainConfig(augment=0.5, by_error=0.5)
    with pytest.raises(NcamError, match="neither by_error nor a pool"):
        TrainConfig(augment=0.5, pool=64)
    with pytest.raises(NcamError, match="between 0 and 1"):
        TrainConfig(augment=1.5)
    for name in ("cifar10-ce-syn", "lizard-single-sto"):
        one = experiment(name)
        with pytest.raises(NcamError, match="augments its images"):
            dataclasses.replace(one, train=dataclasses.replace(one.train, augment=0.5))


def test_a_model_without_its_encoder_has_no_codes_for_augmented_images(tmp_path):
    images, one = data.emoji("chars", 16), small(stages=(Stage(1.0, 16, 4),))
    train(one, images, tmp_path / "whole", CPU, quiet=True)
    model, header = checkpoint.load_model(tmp_path / "whole" / MODEL_FILE)
    checkpoint.save_model(tmp_path / "codes.safetensors", deployable(model, images), header)
    augmented = dataclasses.replace(one, train=dataclasses.replace(one.train, augment=0.5))
    with pytest.raises(NcamError, match="no codes for images that are augmented"):
        train(augmented, images, tmp_path / "new", CPU, quiet=True, warm_start=tmp_path / "codes.safetensors")
