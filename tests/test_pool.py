"""Automata that stay and heal: damage, the pool of grown states, and the measures."""

import math

import pytest
import torch
from test_train import CPU, tiny
from typer.testing import CliRunner

from ncamlib import data
from ncamlib.cli.main import app
from ncamlib.config import Stage
from ncamlib.errors import NcamError
from ncamlib.model import checkpoint
from ncamlib.model.build import build
from ncamlib.model.damage import KINDS, QUARTER, damage, disc, half, random_damage
from ncamlib.results import persistence
from ncamlib.training import pool as pooling
from ncamlib.training import prepare, train
from ncamlib.training.loop import Feed, check_ranks, pool_loss
from ncamlib.training.pool import Pool
from ncamlib.training.processes import Ranks


@pytest.fixture(scope="module")
def images() -> data.Images:
    few = data.emoji("emos", 16)
    return data.Images("emos", few.pixels[:12], few.names[:12], few.sequences[:12])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("side", [16, 33, 64])
def test_a_disc_has_its_area_wherever_it_is(side):
    y, x = torch.rand(2, 8, generator=generator())
    left = disc(torch.ones(8, 5, side, side), y, x, torch.full((8,), QUARTER))
    assert left.mean((1, 2, 3)).sub(0.75).abs().max() < 2.5 / side  # the edge of a disc falls between cells
    assert (left == left[:, :1]).all()  # all channels are wounded alike


@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi / 2, 3.0])
def test_a_half_is_half(angle):
    left = half(torch.ones(2, 3, 32, 32), torch.full((2,), angle))
    assert left.mean().item() == pytest.approx(0.5, abs=0.05)


def test_noise_has_its_deviation_and_damage_draws_from_its_generator():
    grown = torch.zeros(4, 16, 16, 16)
    assert damage(grown, "noise", generator()).std().item() == pytest.approx(0.2, rel=0.05)
    for kind in KINDS:
        assert torch.equal(damage(grown + 1, kind, generator(1)), damage(grown + 1, kind, generator(1)))
    assert not torch.equal(random_damage(grown + 1, generator(1)), random_damage(grown + 1, generator(2)))
    assert random_damage(grown[:0], generator()).shape == (0, 16, 16, 16)


STILL = {"learning_rate": 1e-30, "warmup": 0, "clip": 1e6}  # nothing is learned, so growth can be repeated


@pytest.mark.parametrize("code", ["dna", "ce"])
def test_a_state_of_the_pool_is_what_its_image_and_code_grow_in_its_age(tmp_path, images, code):
    quiet = tiny(16, {"fire_rate": 1.0, "code": code}, pool=8, **STILL)
    run = train(quiet, images, tmp_path, CPU, quiet=True)
    pool, steps = run.pool, run.experiment.model.steps
    assert len(pool.ages.unique()) > 2
    assert (pool.ages >= steps).all()  # every slot was drawn at least once
    mutation = pool.mutations.long() if code == "dna" else None
    with torch.no_grad():
        automata = run.model.weights(images.pixels[pool.images], mutation)
        for i, age in enumerate(pool.ages.tolist()):
            one = type(automata)(*(part[i : i + 1] for part in automata))
            assert torch.allclose(run.model.grow(one, age)[0], pool.states[i], atol=1e-4)


def test_some_start_again_and_only_what_has_grown_is_wounded(images):
    settings = {"pool": 8, "pool_damage": 0.75, "pool_fresh": 0.25}
    run = prepare(tiny(1, None, **settings), images, CPU)
    pool = Pool.empty(run.model, 8, 16)
    _, first = pooling.draw(pool, run, 8, 0.5, lambda part: torch.zeros(len(part.ages)))
    assert (first.ages == 0).all()
    assert torch.equal(first.states, Pool.empty(run.model, 8, 16).states)  # a wounded seed would never grow
    assert first.images.tolist() == sorted(set(first.images.tolist()), key=first.images.tolist().index)  # no repeats
    assert (first.mutations >= 0).float().mean().item() == pytest.approx(0.5, abs=0.1)

    pool = first.of(torch.arange(8))
    pool.ages += 8
    pool.states.fill_(1.0)
    errors = torch.arange(8) / 10
    errors[[3, 5]] = torch.tensor([math.nan, 7.0])  # neither is worth keeping
    slots, part = pooling.draw(pool, run, 8, 0.5, lambda part: errors)
    assert sorted(slots.tolist()) == list(range(8))
    assert [i for i in range(8) if part.ages[i] == 0] == [0, 1, 3, 5]  # a quarter, and the lost ones
    assert torch.equal(part.images[[3, 5]], pool.images[slots[[3, 5]]])  # which try the same image again
    for i in (2, 4, 6, 7):
        assert part.images[i] == pool.images[slots[i]]
        assert torch.equal(part.mutations[i], pool.mutations[slots[i]])
        assert not torch.equal(part.states[i], pool.states[slots[i]])  # wounded
    assert (pool.states == 1).all()  # the pool itself is changed when the batch has grown


def test_a_pool_too_small_for_a_batch_is_refused():
    with pytest.raises(NcamError, match="a pool needs a whole batch of 4 states or more"):
        tiny(pool=3)


@pytest.mark.parametrize("code", ["dna", "ce", "single"])
def test_what_never_changes_stays_and_does_not_heal(images, code):
    """An automaton without updates: the seed stays for ever, and so does every wound."""
    count = 1 if code == "single" else 5
    few = data.Images("emos", images.pixels[:count], images.names[:count], images.sequences[:count])
    model = build(tiny(model={"code": code, "second_layer_start": 0.0}).model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in ("predictor.weight", "predictor.bias", "w2", "b2"):
                parameter.zero_()
    header = {"experiment": {"name": "still"}, "step": 1, "data_digest": few.digest}
    for codes in persistence.codes_of(model, count):
        row = persistence.measure_persistence(model, few, header, codes, times=(1, 2, 5))
        if codes == persistence.CHILDREN:
            assert row.errors == ()
            assert {one.mse for one in row.healing} == {None}
        else:
            (_, first), *others = row.errors
            assert [error for _, error in others] == pytest.approx([first, first])
        noise = row.healing[KINDS.index("noise")]
        assert noise.difference == pytest.approx(0.04, rel=0.2)


def test_a_wound_that_changes_nothing_makes_no_difference(images, monkeypatch):
    """Also where cells fire at random: the same ones fire with and without it."""
    monkeypatch.setattr(persistence, "damage", lambda state, *_: state)
    model = build(tiny(model={"fire_rate": 0.5}).model)
    header = {"experiment": {"name": "stochastic"}, "step": 1, "data_digest": images.digest}
    row = persistence.measure_persistence(model, images, header, times=(1, 2))
    assert [one.difference for one in row.healing] == [0, 0, 0]


def test_the_command_prints_what_it_measured(tmp_path, images, monkeypatch):
    run = train(tiny(2, {"steps": 3}), images, tmp_path, CPU, quiet=True)
    monkeypatch.setattr("ncamlib.cli.evaluate.images_of", lambda *_, **__: images)
    said = CliRunner().invoke(app, ["persistence", str(tmp_path / "model.safetensors")])
    assert said.exit_code == 0, said.output
    assert "mutated codes" in said.output
    assert "20 T" in said.output
    model, _ = checkpoint.load_model(tmp_path / "model.safetensors")
    measured = persistence.measure_persistence(model, images, run.header())
    assert f"{measured.errors[0][1]:.5f}" in said.output


def test_a_model_that_does_not_grow_is_refused(images):
    model = build(tiny(model={"decoder": "conv"}).model)
    with pytest.raises(NcamError, match="does not grow"):
        persistence.measure_persistence(model, images, {"experiment": {"name": "conv"}})


def test_a_pool_is_kept_by_one_process(images):
    with pytest.raises(NcamError, match="which one process keeps: start it alone"):
        check_ranks(Ranks(0, 2), tiny(pool=8), images, None)


@pytest.mark.parametrize("size", [1e3, math.inf, math.nan])
def test_a_state_that_is_lost_on_the_way_does_not_drown_the_others(images, monkeypatch, size):
    """The loss and the gradient are those of the states that are worth keeping, and finite."""
    run = prepare(tiny(1, {"fire_rate": 1.0}, pool=4), images, CPU)
    feed = Feed(run, Ranks(), images.pixels)
    feed.arrange(0.0)
    stage = Stage(1.0, 16, 8)
    grow = run.model.grow

    def one_explodes(*arguments, **settings):
        state = grow(*arguments, **settings)
        return torch.cat([size * state[:1], state[1:]]) if len(state) == 4 else state

    monkeypatch.setattr(run.model, "grow", one_explodes)
    loss = pool_loss(feed, stage, 0.5)
    kept = run.pool.states[(run.pool.states.abs() < 100).all((1, 2, 3))]
    shown = [images.pixels[i] for i in run.pool.images[(run.pool.states.abs() < 100).all((1, 2, 3))]]
    assert len(kept) == 3
    expected = (run.model.nca.visible(kept) - torch.stack(shown)).square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in run.model.parameters() if p.grad is not None)


def test_as_many_are_wounded_as_are_asked_for_and_each_in_its_own_way(images):
    run = prepare(tiny(1, None, pool=64, pool_fresh=0.25, pool_damage=0.5), images, CPU)
    pool = Pool.empty(run.model, 64, 16)
    pool.ages += 8
    pool.images += 1
    pool.states.fill_(1.0)
    _, part = pooling.draw(pool, run, 8, 0.5, lambda part: torch.zeros(8))
    changed = ((part.states != 1).any((1, 2, 3)) & (part.ages > 0)).nonzero().flatten()
    assert len(changed) == 4
    assert (part.ages == 0).sum() == 2
    assert len({part.states[i].numpy().tobytes() for i in changed}) == 4
    first, second = part.mutations[part.ages == 0]
    assert not torch.equal(first, second)


def test_wounds_in_training_are_discs_halves_and_noise_in_their_shares():
    left = random_damage(torch.ones(2000, 1, 16, 16), generator())
    blank = (left == 0).float().mean((1, 2, 3))
    shares = [
        ((low <= blank) & (blank < high)).float().mean().item() for low, high in ((0, 1e-9), (1e-9, 0.4), (0.4, 1))
    ]
    assert shares == pytest.approx([1 / 8, 5 / 8, 2 / 8], abs=0.04)
    discs = (left == 0)[(blank >= 1e-9) & (blank < 0.4)].float().mean((0, 1))
    assert discs[7:9, 7:9].mean() > 3 * discs[[0, 0, 15, 15], [0, 15, 0, 15]].mean() > 0  # in the middle, mostly
    middle = disc(torch.ones(1, 1, 16, 16), *torch.full((2, 1), 0.5), torch.tensor([0.2]))
    assert torch.equal(middle, middle.flip(2))
    assert torch.equal(middle, middle.transpose(2, 3))


def test_rollouts_from_the_pool_take_all_lengths_that_are_asked_for():
    settings, random = tiny(pool=8, pool_steps=1.25).train, generator()
    drawn = {pooling.draw_steps(settings, Stage(1.0, 16, 8), random) for _ in range(100)}
    assert drawn == {8, 9, 10}


def test_errors_over_time_and_what_counts_as_healed(images, monkeypatch):
    """Of a state that is its own age, and of wounds whose size is known."""
    model = build(tiny(model={"fire_rate": 1.0}).model)
    T, shape = model.config.steps, (model.config.channels, 16, 16)

    def older(weights, steps, fire=None, state=None):
        return (torch.zeros(len(weights.w1), *shape) if state is None else state) + steps

    def wounded(state, kind, random):
        """Twice the error before would be 1.41 T."""
        return state + T * torch.where(torch.arange(len(state)) % 4 == 0, -0.7, -0.5)[:, None, None, None]

    monkeypatch.setattr(model, "grow", older)
    monkeypatch.setattr(persistence, "damage", wounded)
    still = data.Images("still", 0 * images.pixels, images.names)
    row = persistence.measure_persistence(model, still, {"experiment": {"name": "a"}, "step": 1, "data_digest": ""})
    assert row.errors == tuple((time, (time * T) ** 2) for time in persistence.TIMES)
    for healing in row.healing:
        assert healing.healed == 0.25
        assert healing.mse == pytest.approx(T**2 * (1.3**2 + 3 * 1.5**2) / 4)
        assert healing.difference == pytest.approx(T**2 * (0.7**2 + 3 * 0.5**2) / 4)


def test_of_few_images_children_have_two_parents_as_well(images, monkeypatch):
    """They are grown several times each; one image alone has none."""
    model, met = build(tiny().model), []
    few = data.Images("few", images.pixels[:3], images.names[:3])
    codes = persistence._codes

    def watched(model, pixels, partners, *rest):
        met.append((pixels, partners))
        return codes(model, pixels, partners, *rest)

    monkeypatch.setattr(persistence, "_codes", watched)
    header = {"experiment": {"name": "few"}, "step": 1, "data_digest": ""}
    row = persistence.measure_persistence(model, few, header, persistence.CHILDREN, times=(1, 2))
    assert (row.draws, row.errors) == (len(few) * 64, ())
    assert 0 <= row.stay <= 1
    assert all(one.mse is None and one.median > 0 for one in row.healing)
    pixels, partners = (torch.cat(parts) for parts in zip(*met, strict=True))
    assert len(pixels) >= persistence.GROWN
    assert (pixels != partners).flatten(1).any(1).all()
    assert persistence.CHILDREN not in persistence.codes_of(model, 1)


def test_clean_and_mutated_codes_get_the_same_wounds(images, monkeypatch):
    model, wounds = build(tiny().model), []

    def watched(state, kind, generator):
        wounds.append((kind, generator.get_state()))
        return state

    monkeypatch.setattr(persistence, "damage", watched)
    header = {"experiment": {"name": "few"}, "step": 1, "data_digest": ""}
    rows = [
        persistence.measure_persistence(model, images, header, codes, times=(1, 2)) for codes in ("clean", "mutated")
    ]
    half = len(wounds) // 2
    assert all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in zip(wounds[:half], wounds[half:], strict=True))
    assert rows[0].errors != rows[1].errors
    assert rows[0].draws == rows[1].draws >= persistence.GROWN


def test_codes_are_mutated_or_crossed_and_nobody_is_its_own_partner(images, monkeypatch):
    model = build(tiny().model)
    monkeypatch.setattr(model, "decode", lambda code: code)
    for count in (2, 3, 33):
        partners = persistence._paired(count, generator())
        assert sorted(partners.tolist()) == list(range(count))
        assert (partners != torch.arange(count)).all()
    mine, others = model.encode(images.pixels), model.encode(images.pixels.flip(0))
    child = persistence._codes(model, images.pixels, images.pixels.flip(0), persistence.CHILDREN, generator())
    of_first, of_second = ((child == parent).all((2, 3)) for parent in (mine, others))
    assert (of_first | of_second).all()
    assert 0.3 < of_first.float().mean() < 0.7
    mutated = persistence._codes(model, images.pixels, None, persistence.MUTATED, generator())
    assert 0.4 < (mutated != mine).any(-1).float().mean() < 0.6
    assert torch.equal(persistence._codes(model, images.pixels, None, persistence.CLEAN, generator()), mine)


def test_the_pool_does_not_fill_with_what_is_easy_to_keep(images):
    """However large the errors of some images are, all of them stay as frequent."""
    run = prepare(tiny(1, None, pool=48), images, CPU)
    pool = Pool.empty(run.model, 48, 16)
    for _ in range(600):
        slots, part = pooling.draw(pool, run, 4, 0.5, lambda part: part.images / 10)  # from 10 on, all are lost
        part.ages += 8
        pool.put(slots, part)
    counts = torch.bincount(pool.images, minlength=12)
    assert counts.min() > 0
    assert abs(counts[:6].sum().item() - 24) < 15


def test_what_a_pool_cannot_be_used_for_is_said(images):
    with pytest.raises(NcamError, match="nothing grows that a pool could keep"):
        check_ranks(Ranks(), tiny(pool=8, model={"decoder": "conv"}), images, None)
    with pytest.raises(NcamError, match="together at most 1"):
        tiny(pool=8, pool_fresh=0.5, pool_damage=0.6)
    model = build(tiny().model)
    with pytest.raises(NcamError, match="they must begin with 1 and 2"):
        persistence.measure_persistence(model, images, {"experiment": {"name": "x"}}, times=(1, 3))
