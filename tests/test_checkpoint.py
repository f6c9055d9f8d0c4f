"""Checkpoints: they survive the round trip, and nothing else is taken for one."""

import dataclasses
import errno
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ncamlib.config import ModelConfig
from ncamlib.errors import NcamError
from ncamlib.model import build, checkpoint
from ncamlib.model.encoder import Codebook
from ncamlib.project import write_atomically

SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints"
SMALL = ModelConfig(image_size=16, embedding=24, filters=4, hidden=32, steps=4)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build(SMALL)


def test_model_survives_in_half_precision(tmp_path, model):
    file = tmp_path / "model.safetensors"
    checkpoint.save_model(file, model, {"note": "kept"})
    loaded, header = checkpoint.load_model(file)
    assert loaded.config == SMALL
    assert header["note"] == "kept"
    for (name, a), b in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=name)


def test_what_sees_the_picture_is_kept_whole(tmp_path, model):
    """Without slices, pictures differ in the fourth digit of a mean, and the map from it is steep."""
    checkpoint.save_model(tmp_path / "model.safetensors", model, {})
    loaded = checkpoint.load_model(tmp_path / "model.safetensors")[0].state_dict()
    seeing = [name for name in loaded if name.startswith(("encoder.stem", "encoder.body", "encoder.project"))]
    assert seeing
    assert all(torch.equal(loaded[name], model.state_dict()[name]) for name in seeing)


def test_a_codebook_stands_in_for_the_encoder(tmp_path, model):
    known, other = torch.rand(5, 4, 16, 16), torch.rand(1, 4, 16, 16)
    expected = model.encode(known)
    model.codes, model.encoder = Codebook.of(model.encoder, known), None
    file = tmp_path / "model.safetensors"
    checkpoint.save_model(file, model, {})
    loaded, _ = checkpoint.load_model(file)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(loaded.encode(known[order]), expected[order], rtol=1e-3, atol=1e-3)
    with pytest.raises(NcamError, match=r"saved without its encoder, with the codes of 5 images.*use one with"):
        loaded.encode(other)
    near = known[:1].clone()
    near[0, 0, 0, 0] += 1 / 255 if near[0, 0, 0, 0] < 0.5 else -1 / 255  # one level of one pixel
    with pytest.raises(NcamError, match="saved without its encoder"):
        loaded.encode(near)


@pytest.mark.parametrize("shape", [(1000, 1001), (256, 128, 3, 3)], ids=["matrix", "kernel"])
def test_large_weights_take_one_byte_per_entry(shape):
    rows = torch.logspace(-3, 3, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    matrix = torch.randn(shape) * rows
    packed = checkpoint.pack({"w": matrix, "b": torch.ones(3)})
    assert packed["w"].dtype == torch.int8
    assert packed["b"].dtype == torch.float16
    unpacked = checkpoint._unpack(packed)
    assert unpacked.keys() == {"w", "b"}
    error = (unpacked["w"] - matrix).flatten(1).abs().amax(1) / matrix.flatten(1).abs().amax(1)
    assert error.max() < 1 / 250


def test_the_matrix_that_reads_the_means_is_as_exact_for_those_that_hardly_vary():
    """Its entries are large where the means are small: with a scale per row alone the small ones would be lost."""
    columns = torch.logspace(-2, 2, 2000)
    matrix = torch.randn(500, 2000) * columns
    once = checkpoint._unpack(checkpoint.pack({"encoder.project.weight": matrix}))
    error = (once["encoder.project.weight"] - matrix).square().mean(0).sqrt() / columns
    assert error.max() < 0.02
    twice = checkpoint._unpack(checkpoint.pack(once))
    torch.testing.assert_close(twice, once, rtol=1e-5, atol=0)


def test_a_matrix_with_a_scale_per_row_is_packed_again_without_loss():
    """As in files by earlier commits."""
    integers = torch.randint(-127, 128, (500, 2000)).float()
    integers[:, 0] = 127
    matrix = {"encoder.project.weight": integers * torch.rand(500, 1) * 1e-3}
    torch.testing.assert_close(checkpoint._unpack(checkpoint.pack(matrix)), matrix, rtol=1e-5, atol=0)


def test_missing_truncated_and_foreign_files(tmp_path, model):
    with pytest.raises(NcamError, match=r"there is no checkpoint.*ncam train"):
        checkpoint.load_model(tmp_path / "absent.safetensors")
    file = tmp_path / "model.safetensors"
    checkpoint.save_model(file, model, {})
    whole = file.read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(NcamError, match="damaged or not a checkpoint"):
            checkpoint.load_model(file)
    save_file({"x": torch.zeros(1)}, file)
    with pytest.raises(NcamError, match="not one written by ncamlib"):
        checkpoint.load_model(file)


def test_other_version_kind_and_config(tmp_path, model):
    file = tmp_path / "model.safetensors"
    checkpoint.write(file, {}, {"kind": "training"})
    with pytest.raises(NcamError, match="is a training checkpoint, but a model checkpoint is needed"):
        checkpoint.load_model(file)
    save_file({}, file, {checkpoint.HEADER: json.dumps({"version": 99})})
    with pytest.raises(NcamError, match=r"version 99.*reads version 2"):
        checkpoint.load_model(file)
    checkpoint.save_model(file, model, {"model": {**dataclasses.asdict(SMALL), "hidden": 16}})
    with pytest.raises(NcamError, match="do not fit its configuration"):
        checkpoint.load_model(file)


def rewritten(file, change):
    """Write a file again, with another header or other tensors and a digest that fits them."""
    tensors, header = checkpoint.read(file, "model")
    change(tensors, header)
    checkpoint.write(file, tensors, header)


def test_a_changed_byte_is_noticed(tmp_path, model):
    """Anywhere: in the length of the header, the names, the settings, the weights, the digest."""
    file = tmp_path / "model.safetensors"
    checkpoint.save_model(file, model, {"note": "a note"})
    whole, chance = file.read_bytes(), random.Random(0)
    places = [*range(24), *(chance.randrange(len(whole)) for _ in range(60))]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << chance.randrange(8)
        file.write_bytes(changed)
        with pytest.raises(NcamError):
            checkpoint.load_model(file)


def test_what_was_read_stays_when_the_file_is_written_over(tmp_path, model):
    file = tmp_path / "model.safetensors"
    checkpoint.save_model(file, model, {})
    tensors, _ = checkpoint.read(file, "model")
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    with open(file, "r+b") as opened:
        opened.write(bytes(file.stat().st_size))
    assert all(torch.equal(tensors[name], before[name]) for name in before)


def test_a_file_that_is_replaced_while_it_is_read_is_one_or_the_other(tmp_path, model):
    """By another process that saves again and again."""
    file = tmp_path / "model.safetensors"
    checkpoint.save_model(file, model, {"note": "0"})
    code = (
        "import sys; from pathlib import Path; from ncamlib.model import checkpoint; import torch\n"
        "for i in range(400): checkpoint.write(Path(sys.argv[1]), {'t': torch.full((3000,), float(i % 9))}, "
        "{'kind': 'model', 'note': str(i % 9)})"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(file)])
    while writer.poll() is None:
        tensors, header = checkpoint.read(file, "model")
        if "t" in tensors:
            assert tensors["t"].unique().tolist() == [float(header["note"])]
    assert writer.returncode == 0


def test_shipped_checkpoints_are_as_they_were_committed():
    """Each carries a digest, or is listed beside the others; sha256sum can check the list."""
    lines = (SHIPPED / checkpoint.SUMS).read_text().splitlines()
    listed = dict(reversed(line.split("  ")) for line in lines)
    for file in SHIPPED.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            own = checkpoint.DIGEST in opened.metadata()
        assert own != (file.name in listed), file.name
    assert all(hashlib.sha256((SHIPPED / name).read_bytes()).hexdigest() == sum_ for name, sum_ in listed.items())


def test_a_file_without_a_digest_must_be_a_shipped_one(tmp_path, model):
    file = tmp_path / "model.safetensors"
    checkpoint.save_model(file, model, {})
    with safe_open(file, "pt") as opened:
        header = json.loads(opened.metadata()[checkpoint.HEADER])
    tensors, _ = checkpoint.read(file, "model")
    save_file(tensors, file, {checkpoint.HEADER: json.dumps({**header, "version": 1})})
    with pytest.raises(NcamError, match="has been changed, or comes from an earlier ncamlib"):
        checkpoint.load_model(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, h: t["predictor.bias"].fill_(float("nan")), "predictor.bias in .* is not finite"),
        (lambda t, h: t.pop("predictor.bias"), "do not fit its configuration"),
        (lambda t, h: t.update({"lone.scale": torch.ones(1)}), "do not fit each other"),
        (lambda t, h: t.update({"codes.keys": torch.zeros(3, dtype=torch.int64)}), "do not fit its configuration"),
        (
            lambda t, h: h["model"].update(embedding=10**9),
            "embedding is 1000000000: it must be at least 1 and at most 65536",
        ),
        (lambda t, h: h["model"].update(embedding=60_000), "fewer weights than its configuration needs"),
        (lambda t, h: h["model"].update(predictor_fcbs=10**9), "predictor_fcbs is 1000000000"),
        (lambda t, h: h["model"].update(encoder_body=["cb1", "nope"]), "unknown encoder block 'nope'"),
        (lambda t, h: h["model"].update(encoder_body=["cb1"] * 100), "encoder_body has 100 blocks"),
        (lambda t, h: h.update(model=[]), "must be a table of fields"),
        (lambda t, h: h.update(experiment="none"), "the experiment of .* is 'none'"),
        (lambda t, h: h.update(experiment={"name": 3}), "the experiment of .* has no name"),
        (lambda t, h: h.update(step=-1), "the step of .* is -1"),
        (lambda t, h: h.update(minutes=float("inf")), "the minutes of .* is inf"),
        (lambda t, h: h.update(parts={}), "the parts of"),
    ],
)
def test_impossible_content_is_one_sentence(tmp_path, model, change, message):
    """Written with a digest that fits it, so that nothing else notices."""
    file = tmp_path / "model.safetensors"
    checkpoint.save_model(file, model, {})
    rewritten(file, change)
    with pytest.raises(NcamError, match=message):
        checkpoint.load_model(file)


def test_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NcamError, match=r"No space left.*untouched"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file], "no half-written file is left behind"


def test_unwritable_folder_is_said(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder should be")
    with pytest.raises(NcamError, match="could not save"):
        write_atomically(blocked / "model.safetensors", b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_is_said(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(NcamError, match="Permission denied"):
        write_atomically(tmp_path / "model.safetensors", b"x")
