"""What codes hold: words, entropy, and an ideal reader, on codes whose answers are known."""

import json
import shutil

import pytest
import torch
from typer.testing import CliRunner

from ncamlib import emoji, load_model
from ncamlib.cli.main import app
from ncamlib.data import Images
from ncamlib.errors import NcamError
from ncamlib.model.checkpoint import checkpoint_path
from ncamlib.model.dna import mutate
from ncamlib.results import information
from ncamlib.results.information import entropy, frequent, letters_of, read_right, repetition_right, snap, words_of


def few(name: str, count: int) -> Images:
    images = emoji(name, 64)
    return Images(images.name, images.pixels[:count], images.names[:count], images.sequences[:count])


def test_words_are_letters_and_back():
    letters = torch.randint(4, (5, 7, 16), generator=torch.Generator().manual_seed(0))
    words = words_of(letters, 4)
    assert words.shape == (5, 7)
    assert (letters_of(words, 16, 4) == letters).all()


def test_entropy_of_known_genes():
    """One gene says nothing, one is a coin, one tells four images apart: (0 + 1 + 2) / 3 bits."""
    assert entropy(torch.tensor([[5, 1, 0], [5, 1, 1], [5, 2, 2], [5, 2, 3]])) == pytest.approx(1.0)
    values, shares = frequent(torch.tensor([[7, 7], [7, 3]]), 2)
    assert values.tolist() == [7, 3]
    assert shares.tolist() == [0.75, 0.25]


def test_genes_snap_to_the_nearest_word():
    words = words_of(torch.tensor([[0] * 16, [3] * 16]), 4)
    letters = torch.tensor([[[0] * 9 + [3] * 7, [0] * 5 + [3] * 11]])
    assert snap(letters, words, 4).tolist() == [[[0] * 16, [3] * 16]]


def test_an_ideal_reader_of_a_repetition_code():
    """All is read at rate 0, chance remains at rate 1, and sixteen letters carry two bits through a rate of a half."""
    assert repetition_right(16, 4, 0.0) == 1
    assert repetition_right(16, 4, 1.0) == pytest.approx(0.25, abs=0.02)
    assert repetition_right(16, 4, 0.5) > 0.95 > repetition_right(4, 4, 0.5)


def test_genes_with_words_that_the_reader_does_not_know_are_misread():
    words = words_of(torch.tensor([[0] * 16, [3] * 16]), 4)
    shares = torch.tensor([0.2, 0.1])
    assert read_right(words, shares, 16, 4, 0.0) == pytest.approx(0.3)


def test_a_frequent_word_is_guessed_where_nothing_can_be_read():
    words = words_of(torch.tensor([[0] * 4, [3] * 4]), 4)
    assert read_right(words, torch.tensor([0.9, 0.1]), 4, 4, 1.0) == pytest.approx(0.9, abs=0.02)


def test_measured_and_recorded(tmp_path, monkeypatch):
    model, header = load_model("chars-dna-syn")
    row = information.measure_information(model, few("chars", 8), header)
    errors = dict(row.errors)
    assert errors[information.CLEAN] <= errors[information.REPLACED] <= errors[information.WRONG]
    assert errors[information.HARD] <= errors[information.BOTH]
    assert 0 < row.entropy <= 3  # bits, of eight images
    assert row.words >= 2
    monkeypatch.setenv("NCAM_HOME", str(tmp_path))
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "figures").mkdir()
    for _ in range(2):
        information.record(row)
    assert [one.experiment for one in information.RECORDS.load()] == ["chars-dna-syn"]
    assert json.loads((tmp_path / "figures" / "information.json").read_text())


def test_a_model_without_a_code_is_refused():
    model, header = load_model("lizard-single-sto")
    with pytest.raises(NcamError, match="has no code"):
        information.measure_information(model, few("chars", 1), header)


def test_only_a_shipped_model_is_recorded(tmp_path):
    copy = tmp_path / "mine.safetensors"
    shutil.copy(checkpoint_path("chars-dna-syn"), copy)
    said = CliRunner().invoke(app, ["information", str(copy), "--record"])
    assert isinstance(said.exception, NcamError)
    assert "shipped checkpoint" in str(said.exception)


def test_what_is_done_to_the_codes(monkeypatch):
    """Of each treatment, how many letters it changes, and which letters it leaves hard."""
    model, header = load_model("chars-dna-syn")
    treats, images = [], few("chars", 8)
    monkeypatch.setattr(information, "_error", lambda _, __, treat: treats.append(treat) or 0.0)
    names = dict(information.measure_information(model, images, header).errors)
    with torch.no_grad():
        code = model.encode(images.pixels)
        treated = {
            name: treat(code, torch.Generator().manual_seed(0)) for name, treat in zip(names, treats, strict=True)
        }
    letters = code.argmax(-1)
    wrong = {name: (one.argmax(-1) != letters).float().mean().item() for name, one in treated.items()}
    assert wrong[information.CLEAN] == wrong[information.HARD] == 0
    assert wrong[information.REPLACED] == pytest.approx(3 / 8, abs=0.01)
    assert wrong[information.BOTH] == pytest.approx(3 / 8, abs=0.01)
    assert wrong[information.WRONG] == pytest.approx(1 / 2, abs=0.01)
    hard = {name for name, one in treated.items() if (one.amax(-1) == 1).all()}
    snapped = [name for name in names if name.startswith("nearest")]
    assert hard == {information.HARD, information.BOTH, *snapped}
    words = words_of(letters, 4)
    for name in snapped:
        count = int(name.split()[2])
        known = set(frequent(words, count)[0].tolist())
        assert set(words_of(treated[name].argmax(-1), 4).flatten().tolist()) <= known


def test_noise_is_a_root_mean_square_in_units_of_the_values(monkeypatch):
    model, _ = load_model("chars-dna-syn")
    images = few("chars", 4)
    with torch.no_grad():
        code = model.encode(images.pixels)
        mutation = model.draw_mutation(4, 0.5, torch.Generator().manual_seed(0))
        value, changed = model.code.decode(code), model.code.decode(mutate(code, mutation))
        expected = ((changed - value).square().mean() / value.square().mean()).sqrt().item()
        assert information.noise(model, images) == pytest.approx(expected, rel=1e-4)


def test_continuous_codes_get_noise_in_units_of_their_size(monkeypatch):
    model, header = load_model("full-ce-syn")
    treats, images = [], few("full", 4)
    monkeypatch.setattr(information, "_twin", lambda *_: None)
    monkeypatch.setattr(information, "noise", lambda *_: 0.25)
    monkeypatch.setattr(information, "_error", lambda _, __, treat: treats.append(treat) or 0.0)
    information.measure_information(model, images, header)
    code = torch.randn(8, 512, generator=torch.Generator().manual_seed(1)) * torch.logspace(-2, 2, 8)[:, None]
    clean, noisy = (treat(code, torch.Generator().manual_seed(0)) for treat in treats)
    assert torch.equal(clean, code)
    ratio = (noisy - code).square().mean(1).sqrt() / code.square().mean(1).sqrt()
    assert ratio.tolist() == pytest.approx([0.25] * 8, rel=0.15)
