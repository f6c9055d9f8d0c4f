"""Trials: every one changes what it says, is recorded once, and a stopped one is not taken for finished."""

import dataclasses
import json
import signal

import pytest
import torch

from ncamlib import data, project
from ncamlib.chapters import figures
from ncamlib.config import ModelConfig, TrainConfig
from ncamlib.errors import NcamError
from ncamlib.experiments import experiment
from ncamlib.model.build import build
from ncamlib.results import measurement, quality, studies, tables, trials
from ncamlib.training import train
from ncamlib.training.processes import Stopped

CPU = torch.device("cpu")
TINY = ModelConfig(
    image_size=16, embedding=16, filters=4, encoder_body=("cb1", "cb3"), predictor_fcbs=1, hidden=32, steps=8
)


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty checkout to record into."""
    (tmp_path / "figures").mkdir()
    (tmp_path / "_toc.yml").touch()
    monkeypatch.setenv("NCAM_HOME", str(tmp_path))


@pytest.fixture
def checkout(empty, monkeypatch):
    """An empty checkout, and one small base experiment with two trials."""
    base = dataclasses.replace(experiment("emos-dna-sto"), model=TINY, train=TrainConfig(batch=4))
    monkeypatch.setattr(studies, "experiment", lambda name: base)
    changes = {"as it is": studies.train(), "twice the batch": studies.train(batch=8)}
    monkeypatch.setattr(studies, "STUDIES", {"emos-dna-sto": studies.Study("emos-dna-sto", changes)})
    return project.project_root()


@pytest.fixture
def images():
    few = data.emoji("emos", 16)
    return data.Images("emos", few.pixels[:8], few.names[:8], few.sequences[:8])


def test_every_trial_changes_something_else():
    for study in studies.STUDIES.values():
        settings = [study.trial(change) for change in study.changes]
        assert len({str(s) for s in settings}) == len(settings)


def test_trials_are_recorded_once_and_shown(tmp_path, checkout, images):
    said = []
    for _ in range(2):
        trials.run("emos-dna-sto", tmp_path / "runs", CPU, images, 1.5, said.append)
    assert said[2:] == ["emos-dna-sto: all 2 trials are recorded already"]
    rows = trials.load()
    assert [row.change for row in rows] == ["as it is", "twice the batch"]
    assert all(row.data_digest == images.digest and row.train_steps > 0 for row in rows)
    table = tables.trials_markdown(rows)
    assert f"| twice the batch | {rows[1].train_steps:,} | {rows[1].mse:.4f} |" in table
    file = trials.RECORDS.path
    file.write_text(json.dumps([{**json.loads(file.read_text())[0], "change": "a forgotten one"}]))
    assert trials.load()[0].change == "a forgotten one"


def test_seeds_are_gathered_and_a_diverged_one_is_seen(checkout):
    row = trials.Trial("variety-dna-sto", "no slices, seed 0", 0.07, 0.1, 9, 4.0, 0, "CPU", "abc", "d", "")
    rows = [dataclasses.replace(row, change=f"no slices, seed {s}", seed=s, mse=m) for s, m in ((0, 0.07), (1, None))]
    trials.RECORDS.save(rows)
    assert trials.over_seeds("variety-dna-sto") == {"no slices": [0.07, None]}
    drawn = figures.seed_spread(trials.over_seeds("variety-dna-sto"), [0.067])
    assert "1 of 2 diverged" in drawn.axes[0].get_xticklabels()[0].get_text()


def test_an_unknown_base_is_said(tmp_path, checkout, images):
    with pytest.raises(NcamError, match=r"unknown trials 'nope'"):
        trials.run("nope", tmp_path, CPU, images, 0.1)


def test_leak_factors_are_kept_beside_the_run_and_trained_again_after_a_stop(tmp_path):
    """Also for another process that goes on; steps that are trained again replace what they had left."""
    model = build(TINY)
    leaks = trials.Leaks(tmp_path / "leaks.json")
    for step in (1, 26, 51):
        leaks.add(step, model)
    with torch.no_grad():
        model.nca.leak.log.fill_(0)
    again = trials.Leaks(tmp_path / "leaks.json")
    again.add(26, model)
    assert [(step, round(factor, 3)) for step, factor in again.seen()] == [(1, 0.1), (26, 1.0)]


def test_two_processes_record_a_trial_once():
    row = trials.Trial("claims", "no norm, seed 0", 0.07, 0.1, 9, 4.0, 0, "CPU", "abc", "d", "")
    other = dataclasses.replace(row, change="no norm, seed 1")
    assert trials._with([row], dataclasses.replace(row, mse=0.08)) == [row]
    assert trials._with([row], other) == [row, other]


def test_a_rate_of_the_ablation_is_found_in_its_table(empty):
    row = trials.Trial(studies.ABLATION, "", 0.07, 0.1, 500, 3.0, 0, "CPU", "abc", "d", "")
    errors = {
        ("full model", 2e-3): (0.05, 0.07),
        ("full model", 6e-3): (0.04, 0.04),
        ("no slices", 1.8e-2): (0.1, None),
    }
    trials.RECORDS.save(
        [
            dataclasses.replace(row, change=f"{name}{studies.AT_RATE}{rate:g}, seed {seed}", seed=seed, mse=mse)
            for (name, rate), both in errors.items()
            for seed, mse in enumerate(both)
        ]
    )
    assert {row.change for row in trials.load()} <= studies.STUDIES[studies.ABLATION].changes.keys()
    table = tables.rates_markdown().splitlines()
    assert table[0] == "| variant | learning rate 0.002 | learning rate 0.006 | learning rate 0.018 |"
    assert table[2] == "| full model | 0.0600 ± 0.0141 | **0.0400 ± 0.0000** | – |"
    assert table[3] == "| no slices | – | – | 0.1000 (1 of 2 diverged) |"


@pytest.mark.parametrize("norm", ["none", "sobel", "all"])
def test_only_a_norm_tells_cells_about_others_far_away(norm, images):
    torch.manual_seed(0)
    model = build(dataclasses.replace(TINY, norm=norm))
    far = measurement.felt_far_away(model, images.pixels)
    assert far < 1e-9 if norm == "none" else 1e-3 < far < 1


def test_a_stop_ends_the_trials(tmp_path, checkout, images, monkeypatch):
    """Also one that comes when the last step was taken: nothing of it is recorded."""
    stop = train

    def stopped(*arguments, **options):
        run = stop(*arguments, **options)
        run.stopped = signal.SIGINT
        return run

    for place in (trials, quality):
        monkeypatch.setattr(place, "train", stopped)
    with pytest.raises(Stopped, match="'as it is' was stopped: run the same command") as caught:
        trials.run("emos-dna-sto", tmp_path / "runs", CPU, images, 0.5)
    assert caught.value.number == signal.SIGINT
    base = dataclasses.replace(experiment("emos-dna-sto"), model=TINY, train=TrainConfig(batch=4))
    with pytest.raises(Stopped, match="the present recipe was stopped: nothing is recorded"):
        quality.run(base, images, {"present": 0.01, "earlier": 0.01})
    assert not trials.load()
    assert not quality.RECORDS.load()


def test_a_finished_trial_keeps_the_provenance_of_its_training(tmp_path, checkout, images, monkeypatch):
    monkeypatch.setitem(studies.STUDIES, "emos-dna-sto", dataclasses.replace(studies.STUDIES["emos-dna-sto"], steps=3))
    trials.run("emos-dna-sto", tmp_path / "runs", CPU, images, 0)
    first = trials.load()
    monkeypatch.setattr("ncamlib.training.run.commit", lambda: "another")
    trials.RECORDS.save([dataclasses.replace(row, change="lost") for row in first[1:]])
    trials.run("emos-dna-sto", tmp_path / "runs", CPU, images, 0)
    again = {row.change: row for row in trials.load()}
    assert [again[row.change] for row in first] == first
    assert [step for step, _ in first[0].leaks] == [1, 3]


def test_a_diverged_trial_is_recorded_with_the_steps_it_took(tmp_path, checkout, images, monkeypatch):
    one = studies.Study("emos-dna-sto", {"too fast": studies.train(learning_rate=1e6, warmup=2)}, steps=50)
    monkeypatch.setitem(studies.STUDIES, "emos-dna-sto", one)
    trials.run("emos-dna-sto", tmp_path / "runs", CPU, images, 0)
    (row,) = trials.load()
    assert row.mse is None
    assert 0 < row.train_steps < 50


def test_the_minutes_of_a_study_take_the_place_of_the_time_budget(tmp_path, checkout, images, monkeypatch):
    one = studies.Study("emos-dna-sto", {"as it is": studies.train()}, minutes=0.01)
    monkeypatch.setitem(studies.STUDIES, "emos-dna-sto", one)
    trials.run("emos-dna-sto", tmp_path / "runs", CPU, images, 3600)
    (row,) = trials.load()
    assert 0.01 <= row.minutes < 0.5


def test_both_recipes_are_timed_and_recorded(empty, images):
    base, said = dataclasses.replace(experiment("emos-dna-sto"), model=TINY, train=TrainConfig(batch=4)), []
    quality.run(base, images, {"present": 0.02, "earlier": 0.02}, said.append)
    rows = quality.RECORDS.load()
    assert [row.recipe for row in rows] == ["present", "earlier"]
    table = tables.quality_markdown()
    for row, line in zip(rows, said, strict=True):
        assert row.train_steps > 0
        assert f"{row.recipe} recipe: MSE {row.mse:.4f}" in line
        assert f"| {row.recipe} | 0 | {row.train_steps:,} | {row.mse:.4f} |" in table


def test_the_earlier_recipe_differs_in_all_its_parts():
    base = experiment("full-ce-syn")
    earlier = studies.EARLIER_RECIPE(base)
    assert (base.model.wrap, earlier.model.wrap) == (True, False)
    assert [(stage.until, stage.grid) for stage in earlier.train.stages] == list(studies.EARLIER_GRIDS)
    assert {stage.batch for stage in earlier.train.stages} == {1}
    assert earlier.train.stages[0].rates[0] == 1
    assert earlier.train.stages[-1].rates[1] == 0
    named = ("scale_leak", "encoder_from", "components", "replacement", "ema")
    assert [getattr(earlier.train, name) for name in named] == [False, 0.0, False, True, 0.0]
    for name in named:
        assert getattr(earlier.train, name) != getattr(base.train, name), name
    same = ("learning_rate", "batch", "warmup", "clip", "mutation")
    assert all(getattr(earlier.train, name) == getattr(base.train, name) for name in same)


def test_trials_of_earlier_recipes_are_told_apart(empty):
    row = trials.Trial("chars-dna-sto", "steps: 3/4 of the side", 0.02, 0.02, 9, 4.0, 0, "CPU", "abc", "d", "")
    other = dataclasses.replace(row, study="chars-dna-syn", change="batch 8")
    claim = dataclasses.replace(row, study="claims", change="no norm, seed 0")
    rows = [row, dataclasses.replace(row, change="batch 4"), other, claim]
    trials.RECORDS.update(lambda _: rows)
    assert trials.of_the_recipe() == ([row], [rows[1], other])


def test_a_file_needs_a_place_for_each_table(tmp_path):
    file = tmp_path / "page.md"
    file.write_text(f"a\n{tables.BEGIN}\nold\n{tables.END}\nb\n{tables.BEGIN}\n{tables.END}\nc\n")
    tables.write_into(file, ["one", "two"])
    assert "old" not in file.read_text()
    assert file.read_text().index("one") < file.read_text().index("\nb\n")
    with pytest.raises(NcamError, match="has 2 places for tables"):
        tables.write_into(file, ["one"])


def test_a_rule_that_moves_nothing_is_felt_nowhere(images):
    model = build(TINY)
    with torch.no_grad():
        model.predictor.weight.zero_()
        model.predictor.bias.zero_()
    assert measurement.felt_far_away(model, images.pixels) == 0


def test_a_trial_is_measured_as_trained_with_clean_codes_and_after_twice_the_steps(images, monkeypatch):
    model = build(TINY)
    asked, one = [], measurement.measure(model, images)
    monkeypatch.setattr(trials, "felt_far_away", lambda *_: 0.5)

    def answers(_, __, **settings):
        asked.append(settings)
        return dataclasses.replace(one, mse=len(asked) / 10)

    monkeypatch.setattr(trials, "measure", answers)
    assert trials._measured(model, images) == {"mse": 0.1, "mse_clean": 0.2, "mse_2t": 0.3, "far": 0.5}
    assert asked == [{}, {"mutation_rate": 0.0}, {"steps": 2 * TINY.steps}]


def test_changes_of_the_studies_are_what_their_names_say():
    base = experiment("chars-dna-syn")
    changed = studies.STOCHASTIC(base)
    assert (base.model.fire_rate, base.model.steps) == (1.0, 32)
    assert (changed.model.fire_rate, changed.model.steps) == (0.5, 96)
    assert {stage.steps / stage.grid for stage in changed.train.stages} == {1.5}
    continuous = studies.CONTINUOUS(base)
    assert (continuous.model.code, continuous.train.components) == ("ce", True)
    study = studies.STUDIES[studies.ABLATION]
    for change in study.changes.values():
        assert study.common(change(experiment(study.base))).model.steps == 48


def test_recipes_are_not_confused(empty, images, monkeypatch):
    base, wraps = dataclasses.replace(experiment("emos-dna-sto"), model=TINY, train=TrainConfig(batch=4)), []

    def watched(recipe, *arguments, **settings):
        wraps.append(recipe.model.wrap)
        return train(recipe, *arguments, **settings)

    monkeypatch.setattr(quality, "train", watched)
    quality.run(base, images, {"earlier": 0.01, "present": 0.01}, lambda _: None)
    assert wraps == [False, True]
