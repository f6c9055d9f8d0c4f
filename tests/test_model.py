"""The parts of the auto-encoder and the whole: shapes, properties, every switch of the paper."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from ncamlib import emoji, load_model
from ncamlib.config import Experiment, ModelConfig, from_dict, to_dict
from ncamlib.data import Images
from ncamlib.errors import NcamError
from ncamlib.experiments import EXPERIMENTS, experiment
from ncamlib.model import NCAM, build, dna
from ncamlib.model.automaton import draw_fire, seed, weight_shapes
from ncamlib.model.blocks import Leak, cb1, cb1_1d, cb3, fcb
from ncamlib.model.encoder import Project, slice_means
from ncamlib.model.predictor import Predictor
from ncamlib.results import measure

SMALL = ModelConfig(image_size=16, embedding=24, filters=4, hidden=32, steps=4)


def small(**changes) -> ModelConfig:
    return dataclasses.replace(SMALL, **changes)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.rand(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"code": "ce"},
        {"code": "single"},
        {"fire_rate": 1.0},
        {"channels": 32},
        {"leak": "fixed"},
        {"leak": "none"},
        {"norm": "sobel"},
        {"norm": "none"},
        {"slices": False},
        {"predictor": "film"},
        {"code": "ce", "noise": 0.1},
        {"embedding": 12},
        {"letters": 4, "alphabet": 2},
    ],
)
def test_every_switch_runs_forward_and_backward(changes, images):
    torch.manual_seed(0)
    config = small(**changes)
    model = build(config)
    model.initialise(images, torch.Generator().manual_seed(0))
    grown = model(images, model.draw_mutation(3, 0.5), model.draw_fire(3))
    assert grown.shape == (3, 4, 16, 16)
    grown.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert any("leak" in name for name, _ in model.named_parameters()) == (config.leak == "learned")


def test_rgb_images():
    model = build(small(image_channels=3))
    assert model(torch.rand(2, 3, 16, 16)).shape == (2, 3, 16, 16)


@pytest.mark.parametrize("grid", [16, 24, 48])
def test_any_grid_at_rollout(grid, images):
    assert build(SMALL)(images, grid=grid).shape == (3, 4, grid, grid)


@pytest.mark.parametrize("grid", [48, 80])
def test_another_grid_grows_the_same_picture(grid):
    """With the leak factor and the steps scaled: nearer to the stretched target than with either left as it is."""
    model, header = load_model("chars-dna-syn")
    pixels = emoji(header["images"]).pixels[::16]
    target = F.interpolate(pixels, size=(grid, grid), mode="bilinear", antialias=True)
    with torch.no_grad():
        weights = model.weights(pixels)
        errors = {
            (steps, scale): F.mse_loss(
                model.nca.visible(model.grow(weights, steps, None, grid, leak_scale=scale)), target
            )
            for steps in (model.config.steps, model.steps_on(grid))
            for scale in (1.0, None)
        }
    assert min(errors, key=errors.get) == (model.steps_on(grid), None)


def test_growth_ends_where_the_rollout_ends(images):
    model = build(SMALL)
    fire = model.draw_fire(3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        weights = model.weights(images)
        states = model.growth(weights, 7, fire, every=3)
        assert states.shape == (4, 3, 16, 16, 16)
        assert torch.equal(states[-1], model.grow(weights, 7, fire))
    assert torch.equal(states[0], seed(SMALL, 3, 16, 16))


@pytest.mark.parametrize("block", [cb1, cb3])
def test_convolution_blocks_keep_their_shape(block):
    x = torch.randn(2, 8, 5, 6)
    assert block(8)(x).shape == x.shape


def test_inner_widths_are_the_papers():
    assert cb3(8).inner.out_channels == 16
    assert cb1(8).inner.out_channels == 32
    assert cb1_1d(8).inner.out_features == 32
    assert fcb(8).inner.out_features == 8


def test_leak_factor_starts_at_a_tenth_and_stays_in_its_range():
    leak = Leak()
    assert leak().item() == pytest.approx(0.1)
    with torch.no_grad():
        leak.log.fill_(100)
        assert leak().item() == pytest.approx(1e3)
        leak.log.fill_(-100)
        assert leak().item() == pytest.approx(1e-3)
    assert Leak("none")().item() == 1
    assert not list(Leak("none").parameters())


def test_a_fixed_leak_factor_is_saved_but_not_learned():
    leak, other = Leak("fixed"), Leak("fixed")
    assert not list(leak.parameters())
    leak.log.fill_(-1)  # as where the first grid is smaller
    other.load_state_dict(leak.state_dict())
    assert other().item() == leak().item() == pytest.approx(math.exp(-1))


def test_slice_means():
    maps = torch.arange(2.0 * 3 * 4).reshape(1, 2, 3, 4)
    means = slice_means(maps)
    assert means.shape == (1, 2 + 2 * 4 + 2 * 3 + 3 * 4)
    assert means[0, 0] == maps[0, 0].mean()
    assert torch.equal(means[0, 2:10], maps.mean(2).flatten())
    assert torch.equal(means[0, 10:16], maps.mean(3).flatten())
    assert torch.equal(means[0, 16:], maps.mean(1).flatten())


def test_start_spreads_the_embedding(images):
    torch.manual_seed(0)
    model = NCAM(small(code="ce"))
    model.initialise(images, torch.Generator())
    assert 0.5 < model.encode(images).std(0).mean() < 2


def test_codes_share_one_interface(images):
    continuous, letters = NCAM(small(code="ce")), NCAM(SMALL)
    assert continuous.encode(images).shape == (3, 24)
    code = letters.encode(images)
    assert code.shape == (3, 24, 16, 4)
    torch.testing.assert_close(code.sum(-1), torch.ones(3, 24, 16))
    assert letters.decode(code).w1.shape == continuous.decode(continuous.encode(images)).w1.shape == (3, 32, 48)
    assert continuous.draw_mutation(3, 0.5) is None


def test_genes_are_independent(images):
    """Changing one embedding value changes its own gene only, and back."""
    code = dna.DNACode(SMALL)
    embedding = torch.randn(1, 24)
    other = embedding.clone()
    other[0, 5] += 1
    changed = (code.encode(embedding) != code.encode(other)).any(-1).any(-1)[0]
    assert changed.nonzero().flatten().tolist() == [5]


def test_mutation_rate():
    """At rate r a share r of letters is redrawn, so a share 3r/4 differs."""
    code = torch.nn.functional.one_hot(torch.zeros(1, 500, 16, dtype=torch.long), 4).float()
    for rate in (0.0, 0.3, 1.0):
        mutation = dna.draw_mutation((1, 500, 16), rate, generator=torch.Generator().manual_seed(0))
        assert (mutation >= 0).float().mean().item() == pytest.approx(rate, abs=0.02)
        mutated = dna.mutate(code, mutation)
        assert (mutated.argmax(-1) != 0).float().mean().item() == pytest.approx(0.75 * rate, abs=0.02)
        assert torch.equal(mutated.sum(-1), torch.ones(1, 500, 16))
    assert dna.mutate(code, None) is code


def test_none_letters_are_ignored():
    """A "none" letter says nothing: it reads as the average over the alphabet, hard or soft."""
    module = dna.DNACode(SMALL)
    code = module.encode(torch.randn(2, 24))
    none = code.clone()
    none[:, 3, :5] = 0
    average = code.clone()
    average[:, 3, :5] = 0.25
    torch.testing.assert_close(module.decode(none), module.decode(average))
    hard = dna.harden(none)
    assert torch.equal(hard[:, 3, :5], torch.zeros(2, 5, 4))
    assert torch.equal(hard.sum(-1)[:, 4], torch.ones(2, 16))


def test_started_code_carries_values_through_noise(monkeypatch):
    """After its start, half of the letters random cost less than a quarter of the variance."""
    monkeypatch.setattr(dna, "FIT_STEPS", 400)
    torch.manual_seed(0)
    code = dna.DNACode(ModelConfig())
    error = code.initialise(generator())
    assert error < 0.25
    with torch.no_grad():  # of other values and other mutations, too
        values, mutation = torch.randn(1, 4096), dna.draw_mutation((1, 4096, 16), 0.5)
        missed = F.mse_loss(code.decode(dna.mutate(code.encode(values), mutation)), values).item()
    assert missed == pytest.approx(error, rel=0.3)


def test_predictor_fills_what_the_automaton_states():
    torch.manual_seed(0)
    config = small(channels=20, hidden=40)
    weights = Predictor(config)(torch.randn(5, 24))
    for name, shape in weight_shapes(config).items():
        assert getattr(weights, name).shape == (5, *shape)
    assert (weights.b2 == 0).all(), "the outermost bias starts at zero"


def test_seed():
    state = seed(ModelConfig(), 2, 9, 12)
    assert state.shape == (2, 16, 9, 12)
    assert state.sum() == 2 * 13
    assert (state[:, 3:, 4, 6] == 1).all()
    with pytest.raises(NcamError, match="too small for the seed"):
        seed(ModelConfig(), 1, 2, 64)


def test_fire():
    assert draw_fire(2, 1.0) is None
    one, two = (draw_fire(3, 0.2, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(one.seeds, two.seeds)
    assert len(set(draw_fire(3, 0.2).seeds.tolist())) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"code": "rna"}, "unknown code 'rna': choose one of ce, dna, single"),
        ({"channels": 4}, "more than its 4 visible"),
        ({"fire_rate": 0.0}, "above 0"),
        ({"image_channels": 1}, "must be 3"),
        ({"steps": 0}, "at least 1"),
        ({"decoder": "conv", "image_size": 40}, "image_size is 40: a convolutional decoder needs a multiple of 16"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(NcamError, match=message):
        small(**changes)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_survive_json(name):
    assert from_dict(Experiment, to_dict(experiment(name))) == experiment(name)
    images, code, update = name.split("-")[:3]
    assert experiment(name).images == images
    assert experiment(name).model.code == code
    assert experiment(name).model.fire_rate == {"sto": 0.5, "syn": 1.0, "conv": 1.0}[update]


def test_unknown_fields_are_refused():
    with pytest.raises(NcamError, match="unknown ModelConfig field 'depth': choose one of image_channels"):
        from_dict(ModelConfig, {"depth": 3})
    with pytest.raises(NcamError, match="steps is '9': expected int"):
        from_dict(ModelConfig, {"steps": "9"})


def test_unknown_experiment_lists_the_choices():
    with pytest.raises(NcamError, match=r"unknown experiment 'full-rna': choose one of .*full-dna-syn"):
        experiment("full-rna")


def test_the_convolutional_baseline_is_as_large_as_the_predictor():
    count = {}
    for name in ("full-dna-syn", "full-dna-conv"):
        model = build(EXPERIMENTS[name].model)
        part = model.predictor if name.endswith("syn") else model.decoder
        count[name] = sum(p.numel() for p in part.parameters())
    assert count["full-dna-conv"] == pytest.approx(count["full-dna-syn"], rel=0.02)
    images = torch.rand(2, 4, 64, 64)
    assert model(images, model.draw_mutation(2, 0.5)).shape == images.shape
    assert model(images, grid=32).shape == (2, 4, 32, 32)


@pytest.mark.parametrize("copies", [1, 3])
def test_copies_of_an_image_add_no_direction(copies):
    torch.manual_seed(0)
    features = torch.randn(5, 40).repeat(copies, 1)
    project = Project(40, 8)
    project.initialise(features, components=True)
    assert project(features).std() < 2
    assert project.weight[:4].norm(dim=1).max() < 5


@torch.no_grad()
def test_few_features_are_mixed_whole():
    """However small a feature, two images that differ in nothing else are told apart as well as any."""
    torch.manual_seed(0)
    features = torch.randn(200, 6) * torch.tensor([1, 1, 1e-1, 1e-2, 1e-3, 1e-4])
    project = Project(6, 64)
    project.initialise(features, components=True)
    out = project(features)
    assert out.std().item() == pytest.approx(1, abs=0.1)
    moved = project(features + torch.diag(features.std(0))[:, None]) - out
    assert moved.norm(dim=2).mean(1).std() < 0.3 * moved.norm(dim=2).mean()


@pytest.mark.parametrize(("images", "features"), [(5, 16), (20, 40), (200, 6)])
@torch.no_grad()
def test_new_images_get_embeddings_like_those_of_known_ones(images, features):
    """Rounding noise is no direction; a small deviation is, however the features are turned."""
    torch.manual_seed(0)
    x = torch.rand(images, features)
    if images > features:
        turned, _ = torch.linalg.qr(torch.randn(features, features))
        x = x * torch.logspace(0, -4, features) @ turned
    project = Project(features, 64)
    project.initialise(x, components=True)
    assert project(x).std().item() == pytest.approx(1, abs=0.2)
    new = torch.rand(50, features)
    if images > features:
        new = new * torch.logspace(0, -4, features) @ turned
    assert 0.3 < project(new).std() < 2


def test_no_steps_leave_the_seed(images):
    model = build(SMALL)
    begun = model(images, steps=0)
    assert torch.equal(begun, model.nca.visible(seed(model.config, len(images), 16, 16)))
    assert measure(model, Images("x", images, ["a", "b", "c"]), steps=0).steps == 0
    lost = measure(model, Images("x", images * math.nan, ["a", "b", "c"]), steps=0)
    assert math.isnan(lost.mse)
    assert math.isnan(lost.psnr)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_measures_with_the_same_draws(images):
    """The mutated letters and the cells that fire are the same wherever the model is."""
    model = build(small(fire_rate=0.5))
    shown = Images("x", images, ["a", "b", "c"])
    here, there = measure(model, shown), measure(model.to("cuda"), shown)
    assert there.mse == pytest.approx(here.mse, rel=1e-3)


@pytest.mark.parametrize("decoder", ["nca", "conv"])
def test_a_mutation_reaches_the_picture(images, decoder):
    model = build(small(decoder=decoder))
    model.initialise(images, generator(), components=False)
    mutation = model.draw_mutation(len(images), 0.5, generator(1))
    with torch.no_grad():
        assert not torch.allclose(model(images, mutation), model(images), atol=1e-6)


def test_the_whole_is_its_parts_one_after_the_other(images):
    model = build(SMALL)
    model.initialise(images, generator(), components=False)
    mutation = model.draw_mutation(len(images), 0.5, generator(1))
    with torch.no_grad():
        decoded = model.decode(dna.mutate(model.encode(images), mutation))
        for weights, expected in zip(model.weights(images, mutation), decoded, strict=True):
            assert torch.equal(weights, expected)
        grown = model.nca.visible(model.grow(decoded, model.config.steps))
        assert torch.equal(model(images, mutation), grown)


def test_noise_is_in_units_of_the_codes_root_mean_square():
    code, noise = torch.tensor([[3.0, -4.0], [0.3, -0.4]]), torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    size = math.sqrt(12.5)
    assert torch.allclose(dna.mutate(code, noise), torch.tensor([[3 + size, -4.0], [0.3, -0.4 - size / 10]]))


def test_film_scales_and_shifts_the_hidden_units():
    """relu(scale * (W1 p + b1) + shift), with scales near 1 at the start for embeddings of unit size."""
    film = build(small(predictor="film")).predictor
    embedding, perceived = torch.randn(64, 24, generator=generator()), torch.randn(48, generator=generator(1))
    with torch.no_grad():
        weights = film(embedding)
        features = film.body(embedding) / 24**0.5
        scale, shift = (features @ film.weight.T + film.bias).chunk(2, 1)
        wanted = (1 + scale) * (film.w1 @ perceived + film.b1) + shift / 48**0.5
        assert torch.allclose(weights.w1 @ perceived + weights.b1, wanted, atol=1e-4)
    assert scale.std().item() == pytest.approx(0.5**0.5, rel=0.2)


def test_what_is_not_scaled_and_what_is_counted():
    assert build(small(leak="none")).leak_scale(8) == 1
    assert build(small()).leak_scale(8) == 2
    model = build(small())
    assert [model.steps_on(grid) for grid in (1, 8, 16, 48)] == [1, 2, 4, 12]
    assert [model.steps_on(48, steps) for steps in (0, 1, 4)] == [0, 3, 12]
    with torch.no_grad():
        weights = model.weights(torch.zeros(1, 4, 16, 16))
    for every in (0, -1):
        with pytest.raises(NcamError, match="at least 1"):
            model.growth(weights, 4, every=every)
    assert len(model.growth(weights, 4, every=3)) == 3
