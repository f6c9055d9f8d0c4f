"""The page's engine computes what the library computes: letters, embedding, weights, growth."""

import copy
import io
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load

from ncamlib import data, load_model
from ncamlib.data.pictures import over_white
from ncamlib.errors import NcamError
from ncamlib.kernels import Weights
from ncamlib.kernels.cpu import compilers
from ncamlib.live import assets, build
from ncamlib.model import dna
from ncamlib.model.build import build as build_model

NODE = shutil.which("node")
ENGINE = Path(__file__).with_name("live_engine.mjs")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


@pytest.fixture(scope="module")
def trained():
    model, header = load_model("chars-dna-syn")
    return model, data.emoji(header["images"])


@pytest.fixture(scope="module")
def file(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("live") / "manifold.safetensors"
    path.write_bytes(assets.pack(*trained, coarse=False))
    return path


def ask(file, kernel=build.BINARY, **request):
    request = {"image": 3, "rate": 0.5, "seed": 7, "side": 64, "fireRate": 1, "steps": 64, **request}
    command = [NODE, str(ENGINE), str(file), str(kernel), json.dumps(request)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@torch.no_grad()
def mutated(model, images, image=3, rate=0.5, seed=7) -> torch.Tensor:
    """The code of an image as the page is sent it, mutated by the library."""
    words = assets.Words.of(model, images)
    code = words.code(words.read(model, images.pixels[image : image + 1]))
    return dna.mutate(code, dna.seeded_mutation(tuple(code.shape[:3]), rate, seed))


def state_of(answer, side) -> torch.Tensor:
    cells = torch.tensor(answer["state"]).view(side + 2, side + 2, 16)
    if not answer["header"]["wrap"]:
        border = cells.clone()
        border[1:-1, 1:-1] = 0
        assert not border.any()
    return cells[1:-1, 1:-1].permute(2, 0, 1)


@needs_node
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_letters_are_the_same_for_a_seed(trained, file, rate):
    model, images = trained
    words = assets.Words.of(model, images)
    clean = words.letters(words.read(model, images.pixels[3:4]))[0]
    mutation = dna.seeded_mutation((1, 512, 16), rate, 7)[0]
    expected = torch.where(mutation < 0, clean, mutation)
    assert ask(file, rate=rate, steps=0)["letters"] == expected.flatten().tolist()


@needs_node
@pytest.mark.parametrize("kernel", [build.BINARY, "-"], ids=["wasm", "plain"])
@pytest.mark.parametrize(("fire_rate", "side"), [(1.0, 64), (0.5, 64), (1.0, 40)])
@pytest.mark.parametrize(
    ("wrap", "norm"),
    [(True, "all"), (False, "all"), (True, "none"), (True, "sobel")],
    ids=["wrapped", "zeros", "raw", "gradients"],
)
def test_growth_agrees_with_the_library(trained, tmp_path, wrap, norm, fire_rate, side, kernel):
    model, images = trained
    config = replace(model.config, wrap=wrap, norm=norm)  # the page's numbers are held to the library's for each
    model = copy.deepcopy(model)
    model.config = model.nca.config = config
    file = tmp_path / "manifold.safetensors"
    images = images.pick(range(4))
    file.write_bytes(assets.pack(model, images, coarse=False))
    steps = side // 2 + 8  # the seed has reached the edge; much later, rounding grows with the picture
    answer = ask(file, kernel, fireRate=fire_rate, side=side, steps=steps)
    code = mutated(model, images)
    assert answer["letters"] == code.argmax(-1).flatten().tolist()
    with torch.no_grad():
        torch.testing.assert_close(torch.tensor(answer["embedding"]), model.code.decode(code)[0], atol=1e-4, rtol=1e-3)
        weights = model.decode(code)
    flat = torch.tensor(answer["weights"])
    torch.testing.assert_close(flat, torch.cat([w.flatten() for w in weights]), atol=1e-4, rtol=1e-3)
    fire = model.draw_fire(1, fire_rate)
    fire = None if fire is None else fire._replace(seeds=torch.tensor([7]))
    sizes = [w[0].numel() for w in weights]
    same = Weights(*(part.view_as(w) for part, w in zip(flat.split(sizes), weights, strict=True)))
    for backend in ("reference", "cpu") if compilers() else ("reference",):
        grown = model.grow(same, steps, fire, side, backend=backend)[0]
        assert (state_of(answer, side) - grown).abs().max() < 1e-4 * max(1, grown.abs().max().item())


@torch.no_grad()
@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_rounded_matrices_grow_nearly_the_same_pictures(trained, rate):
    """What the page is sent grows pictures within 36 dB of the library's: a difference that is not seen."""
    model, images = trained
    exact, words = model.encode(images.pixels[::4]), assets.Words.of(model, images)
    mutation = dna.seeded_mutation(tuple(exact.shape[:3]), rate, 7)
    sent = words.code(words.read(model, images.pixels[::4]))
    tensors = load(assets.pack(model, images))
    rounded = copy.deepcopy(model)
    for name, tensor in rounded.state_dict().items():
        if name in tensors:
            scale = tensors.get(f"{name}.scale", torch.ones(1)).view(-1, *[1] * (tensor.ndim - 1))
            tensor.copy_((tensors[name].float() * scale).view_as(tensor))
    one, two = (
        m.nca.visible(m.grow(m.decode(dna.mutate(code, mutation)), m.config.steps))
        for m, code in ((model, exact), (rounded, sent))
    )
    assert 0 < (one - two).square().mean() < 10**-3.6


@torch.no_grad()
def test_rounded_genes_grow_nearly_the_same_pictures():
    """In a model whose letters are soft, and for emoji beyond those that say how large the values are."""
    model, header = load_model("full-dna-syn")
    images = data.emoji(header["images"])
    words, pixels = assets.Words.of(model, images), images.pixels[5::400]
    exact, sent = model.encode(pixels), words.code(words.read(model, pixels))
    one, two = (model.nca.visible(model.grow(model.decode(code), model.config.steps)) for code in (exact, sent))
    assert 0 < (one - two).square().mean() < 10**-3.6


@pytest.mark.parametrize("longest", [assets.WEBP_SIDE, 400])  # the format allows no longer edge
def test_thumbnails_lie_on_one_sheet_in_order(trained, monkeypatch, longest):
    _, images = trained
    monkeypatch.setattr(assets, "WEBP_SIDE", longest)
    monkeypatch.setattr(assets, "COLUMNS", 4 if longest == 400 else assets.COLUMNS)
    content, (across, down) = assets.sprite(images)
    with Image.open(io.BytesIO(content)) as sheet:
        assert sheet.size == (32 * across, 32 * down)
        for i in (0, 40, 95):
            box = (i % across * 32, i // across * 32, i % across * 32 + 32, i // across * 32 + 32)
            shown = torch.from_numpy(np.array(sheet.convert("RGB").crop(box))).permute(2, 0, 1) / 255
            expected = F.avg_pool2d(over_white(images.pixels[i : i + 1]), 2)[0]
            assert (shown - expected).abs().mean() < 0.05


def test_a_higher_rate_mutates_the_same_letters_and_more():
    one, two = (dna.seeded_mutation((1, 512, 16), rate, 3) for rate in (0.2, 0.6))
    assert ((one == two) | (one < 0)).all()
    assert (two >= 0).float().mean().item() == pytest.approx(0.6, abs=0.02)
    assert two[two >= 0].bincount().float().std().item() < 60
    assert not torch.equal(one, dna.seeded_mutation((1, 512, 16), 0.2, 4))


def test_packed_letters_hold_every_letter():
    letters = torch.randint(4, (3, 8, 16), generator=torch.Generator().manual_seed(0))
    packed = assets.pack_letters(letters)
    assert packed.shape == (3, 32)
    unpacked = torch.stack([packed >> 2 * i & 3 for i in range(4)], -1).flatten(1)
    assert torch.equal(unpacked, letters.flatten(1))


@torch.no_grad()
def test_soft_letters_carry_the_values_of_genes(trained):
    """A page that was sent the most probable letters only would grow other pictures."""
    model, images = trained
    torch.manual_seed(0)
    soft = build_model(replace(model.config, embedding=64))
    words = assets.Words.of(soft, images)
    genes = words.read(soft, images.pixels[:16])
    assert genes.max() - genes.min() > 100
    exact = soft.encode(images.pixels[:16])
    assert (words.code(genes) - exact).abs().max() < 0.02
    assert exact.amax(-1).mean() < 0.9
    one, two, three = (soft.code.decode(code) for code in (exact, words.code(genes), dna.harden(exact)))
    assert (one - two).abs().max() < 0.1 * (one - three).abs().max()


def test_a_model_of_another_kind_is_refused():
    model, header = load_model("chars-dna-syn")
    model.config = type(model.config)(hidden=64)
    with pytest.raises(NcamError, match="models with hidden = 128, not 64"):
        assets.pack(model, data.emoji(header["images"]))


@pytest.mark.skipif(not (shutil.which("clang++") and shutil.which("wasm-ld")), reason="clang and lld are not installed")
@needs_node
def test_the_committed_kernel_is_what_its_source_builds_to(tmp_path, file):
    rebuilt = tmp_path / "automaton.wasm"
    build.build(rebuilt)
    results = []
    for binary in (build.BINARY, rebuilt):
        request = {"image": 0, "rate": 0, "seed": 1, "side": 32, "fireRate": 0.5, "steps": 20}
        command = [NODE, str(ENGINE), str(file), str(binary), json.dumps(request)]
        results.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    one, two = (json.loads(text)["state"] for text in results)
    assert max(abs(a - b) for a, b in zip(one, two, strict=True)) < 1e-4  # another compiler may round otherwise


@needs_node
def test_the_encoder_writes_the_same_dna(trained, tmp_path):
    model, images = trained
    (tmp_path / "encoder").write_bytes(assets.pack_encoder(model))
    words = assets.Words.of(model, images)
    request = {"picture": images.pixels[5].flatten().tolist(), "levels": words.levels.tolist()}
    (tmp_path / "request").write_text(json.dumps(request))
    command = [NODE, str(ENGINE), str(tmp_path / "encoder"), "-", str(tmp_path / "request")]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    with torch.no_grad():
        embedding = model.encoder(images.pixels[5:6])[0]
    torch.testing.assert_close(torch.tensor(answer["embedding"]), embedding, atol=1e-3, rtol=1e-3)
    genes = words.read(model, images.pixels[5:6])[0].tolist()
    assert max(abs(a - b) for a, b in zip(answer["genes"], genes, strict=True)) <= 1  # where rounding decides
    assert sum(a == b for a, b in zip(answer["genes"], genes, strict=True)) > 0.98 * len(genes)


@needs_node
def test_a_code_of_another_length_is_read(trained, tmp_path):
    """A model of one's own need not have 512 genes."""
    model, images = trained
    short = build_model(replace(model.config, embedding=64))
    (tmp_path / "file").write_bytes(assets.pack(short, images.sample(4), coarse=False))
    answer = ask(tmp_path / "file", image=1, rate=0.3, steps=0)
    with torch.no_grad():
        weights = torch.cat([w.flatten() for w in short.decode(mutated(short, images.sample(4), 1, 0.3))])
        embedding = short.code.decode(mutated(short, images.sample(4), 1, 0.3))[0]
    # Random weights are rounded when they are packed; those of a checkpoint have been.
    torch.testing.assert_close(torch.tensor(answer["embedding"]), embedding, atol=1e-2, rtol=0)
    torch.testing.assert_close(torch.tensor(answer["weights"]), weights, atol=2e-3, rtol=0)
