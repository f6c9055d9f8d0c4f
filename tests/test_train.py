"""Training: the loss falls, a resumed run equals an uninterrupted one, trouble is said in a sentence."""

import contextlib
import dataclasses
import importlib
import itertools
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ncamlib import data
from ncamlib.config import ModelConfig, Stage, TrainConfig
from ncamlib.errors import NcamError
from ncamlib.experiments import experiment
from ncamlib.machine import pick_device
from ncamlib.model import build, checkpoint
from ncamlib.model.lettering import to_letters
from ncamlib.project import locked, write_atomically
from ncamlib.results.reproduce import deployable
from ncamlib.training import schedule
from ncamlib.training.drawing import Draws
from ncamlib.training.loop import AVERAGE_EVERY, Diverged, Feed, average, check_ranks, train
from ncamlib.training.processes import InUse, Ranks, only_one, own_device, stop_requests
from ncamlib.training.run import MAP, MODEL_FILE, TRAINING_FILE, prepare

CPU = torch.device("cpu")
TINY = ModelConfig(
    image_size=16, embedding=16, filters=4, encoder_body=("cb1", "cb3"), predictor_fcbs=1, hidden=32, steps=8
)


def tiny(steps: int = 6, model: dict | None = None, **settings):
    """A small experiment on real emoji at 16x16."""
    base = dataclasses.replace(experiment("emos-dna-sto"), model=dataclasses.replace(TINY, **(model or {})))
    return dataclasses.replace(base, train=TrainConfig(steps=steps, batch=4, **settings))


@pytest.fixture(scope="module")
def images() -> data.Images:
    few = data.emoji("emos", 16)
    return data.Images("emos", few.pixels[:12], few.names[:12], few.sequences[:12])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(folder / TRAINING_FILE, "training")[0]


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


class StopHere(Exception):
    pass


def stop_after(step: int):
    def hook(run):
        if run.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return hook


def test_one_image_is_learned(tmp_path, images):
    one = data.Images("one", images.pixels[:1], images.names[:1])
    quick = tiny(150, {"code": "ce", "fire_rate": 1.0}, learning_rate=6e-3, warmup=5)
    run = train(quick, one, tmp_path, CPU, quiet=True)
    assert run.losses[-1] < 0.2 * run.losses[0]


HALVES = (Stage(0.5, 8, 4, batch=2), Stage(1.0, 16, 8))


@pytest.mark.parametrize(("preparing", "total"), [(0, 40), (10, 40), (60, 80)])
def test_preparing_counts_towards_the_budget_up_to_half_of_it(tmp_path, images, monkeypatch, preparing, total):
    training, clock = importlib.import_module("ncamlib.training.loop"), itertools.count()

    def slow(*arguments):
        for _ in range(preparing):
            next(clock)
        return prepare(*arguments)

    monkeypatch.setattr(schedule, "time", SimpleNamespace(monotonic=lambda: next(clock)))  # a second per question
    monkeypatch.setattr(training, "prepare", slow)
    run = train(tiny(stages=HALVES), images, tmp_path, CPU, time_budget=40.0, quiet=True)
    assert total <= run.seconds <= total + 3
    assert 8 <= run.step <= 21
    assert run.header()["minutes"] * 60 >= 0.98 * 40  # as `ncam trials` asks


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ema": 0.9},
        {"stages": HALVES},
        {"stages": HALVES, "encoder_from": 1.0, "ema": 0.9},
        {"stages": HALVES, "encoder_from": 0.6},
        {"encoder_from": 0.2},
        {"mutation": (0.0, 0.5)},
        {"map_rate": 3.0, "ema": 0.9},
        {"replacement": True},
        {"by_error": 0.5, "steps": 12},
        {"augment": 0.5, "stages": HALVES, "encoder_from": 0.6},
        {"model": {"code": "ce"}, "components": True},
        {"pool": 12, "pool_damage": 0.5},
        {"pool": 8, "stages": HALVES, "model": {"code": "ce"}},
    ],
    ids=lambda settings: " ".join(settings) or "plain",
)
def test_resumed_run_equals_uninterrupted(tmp_path, images, settings):
    train(tiny(**settings), images, tmp_path / "whole", CPU, quiet=True)
    train(tiny(**settings), images, tmp_path / "parts", CPU, after_step=stop_after(2), quiet=True)
    assert len(weights(tmp_path / "parts")["losses"]) == 2
    train(tiny(**settings), images, tmp_path / "parts", CPU, quiet=True)
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_the_map_to_the_weights_can_have_a_rate_of_its_own(tmp_path, images):
    """Adam's first step is as long as the rate: three times as long there, the same elsewhere."""
    start = dict(prepare(tiny(), images, CPU).model.named_parameters())
    steps = []
    for rate in 1.0, 3.0:
        run = train(tiny(1, map_rate=rate, warmup=0), images, tmp_path / str(rate), CPU, quiet=True)
        steps.append({name: (one - start[name]).abs().max().item() for name, one in run.model.named_parameters()})
    for name, step in steps[0].items():
        assert steps[1][name] == pytest.approx(step * (3 if name in MAP else 1), rel=1e-3, abs=1e-7), name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_stopped_training_saves_and_says_so_by_its_status(tmp_path, number):
    """So that `ncam train ... && ncam evaluate ...` does not go on with half a model."""
    code = (
        f"import signal; signal.signal({number:d}, signal.SIG_DFL)\n"  # in the background it may be ignored
        "from ncamlib.model import dna; dna.FIT_STEPS = 5\nfrom ncamlib.cli import main; main()"
    )
    arguments = ["train", "emos-dna-sto", "--optimiser-steps", "100000", "--out", str(tmp_path), "--threads", "1"]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (tmp_path / TRAINING_FILE).exists():
        time.sleep(0.05)
    time.sleep(2)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert f"stopped by {number.name} at step" in said
    assert "Traceback" not in said
    assert checkpoint.read(tmp_path / TRAINING_FILE, "training")[1]["step"] > 0
    assert not list(tmp_path.glob(".*.part"))


def test_a_signal_that_is_ignored_stays_so():
    """As by nohup, or in a job in the background of a script."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requests() as asked:
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not asked


@pytest.mark.parametrize("part", ["save_model", "write"])
def test_a_last_save_that_was_cut_off_is_made_up_for(tmp_path, images, monkeypatch, part):
    whole, half = tmp_path / "whole", tmp_path / "half"
    train(tiny(3), images, whole, CPU, quiet=True)
    calls, do = itertools.count(), getattr(checkpoint, part)

    def cut_off(*arguments):
        if next(calls):  # the first save, before any step, is complete
            raise StopHere
        do(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, part, cut_off)
        with pytest.raises(StopHere):
            train(tiny(3), images, half, CPU, quiet=True)
    train(tiny(3), images, half, CPU, quiet=True)
    assert_same(weights(whole), weights(half))
    assert checkpoint.read_header(half / MODEL_FILE, "model")["step"] == 3


def test_each_part_of_a_training_keeps_its_machine_and_commit(tmp_path, images, monkeypatch):
    places = {name: importlib.import_module(f"ncamlib.training.{name}") for name in ("run", "loop")}

    def at(commit, steps, stop=None):
        monkeypatch.setattr(places["run"], "commit", lambda: commit)

        def later(run):
            monkeypatch.setattr(places["run"], "commit", lambda: "committed while it trains")
            if stop:
                stop(run)

        return train(tiny(steps), images, tmp_path / "one", CPU, after_step=later, quiet=True).header()

    assert [part["commit"] for part in at("a", 6, stop_after(2))["parts"]] == ["a"]
    assert [(part["commit"], part["step"]) for part in at("a", 6, stop_after(3))["parts"]] == [("a", 3)]
    at("b", 6, stop_after(5))
    about = at("c", 6)
    assert [(part["commit"], part["step"]) for part in about["parts"]] == [("a", 3), ("b", 2), ("c", 1)]
    assert about["step"] == 6
    assert about == at("d", 6), "a finished run is left as it is"
    assert checkpoint.read_header(tmp_path / "one" / TRAINING_FILE, "training")["parts"] == about["parts"]


def test_a_warm_start_that_is_killed_at_once_keeps_what_came_before(tmp_path, images):
    train(tiny(3), images, tmp_path / "first", CPU, quiet=True)
    model, further = tmp_path / "first" / MODEL_FILE, tmp_path / "further"
    before = checkpoint.read_header(model, "model")["parts"]

    def killed(run):
        raise StopHere

    with pytest.raises(StopHere):
        train(tiny(2), images, further, CPU, quiet=True, warm_start=model, after_step=killed)
    about = train(tiny(2), images, further, CPU, quiet=True, warm_start=model).header()
    assert about["parts"][:-1] == before
    assert [part["step"] for part in about["parts"]] == [3, 2]


@pytest.mark.long
@pytest.mark.parametrize(("predictor", "saved"), [("weights", "with codes"), ("film", "with its encoder")])
def test_dna_letters_take_over_the_automata_of_continuous_codes(tmp_path, images, monkeypatch, predictor, saved):
    monkeypatch.setattr("ncamlib.model.lettering.FIT_STEPS", 600)
    alike = {"fire_rate": 1.0, "predictor": predictor}
    first = train(tiny(20, {**alike, "code": "ce"}), images, tmp_path / "ce", CPU, quiet=True)
    first.model.predictor.bias.data += 0.1  # the offset of the codes must reach the map and every block
    file, about = tmp_path / "ce.safetensors", first.header()
    about["experiment"]["name"] = "emos-ce-syn"
    ships = deployable(first.model, images, encoder=saved == "with its encoder")
    checkpoint.save_model(file, ships, about)
    continuous, _ = checkpoint.load_model(file)
    run = train(tiny(1, alike, learning_rate=1e-12), images, tmp_path / "dna", CPU, quiet=True, warm_start=file)

    embedding = run.model.embed(images.pixels)
    for ours, theirs in zip(run.model.predictor(embedding), continuous.weights(images.pixels), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-3)
    assert embedding.mean(0).abs().max() < 1e-3
    assert embedding.square().mean().sqrt().item() == pytest.approx(1, abs=1e-3)
    assert (run.model(images.pixels) - continuous(images.pixels)).square().mean() < 2e-3, "letters carry the code"
    assert [(part.get("experiment"), part["step"]) for part in run.header()["parts"]] == [
        ("emos-ce-syn", 20),
        (None, 1),
    ]
    for wrong in ({**alike, "embedding": 8}, {**alike, "code": "ce", "hidden": 8}):
        with pytest.raises(NcamError, match="does not have the model"):
            train(tiny(1, wrong), images, tmp_path / str(len(wrong)), CPU, quiet=True, warm_start=file)


def test_the_code_of_one_image_is_put_into_letters(tmp_path, images, monkeypatch):
    """There is nothing to centre or to scale by."""
    monkeypatch.setattr("ncamlib.model.lettering.FIT_STEPS", 5)
    one = data.Images("one", images.pixels[:1], images.names[:1])
    train(tiny(2, {"code": "ce"}), one, tmp_path / "ce", CPU, quiet=True)
    run = train(tiny(1), one, tmp_path / "dna", CPU, quiet=True, warm_start=tmp_path / "ce" / MODEL_FILE)
    model, _ = checkpoint.load_model(tmp_path / "dna" / MODEL_FILE)
    assert all(parameter.abs().max() < 100 for parameter in model.parameters())
    assert run.losses[-1] < 1


def test_what_a_killed_process_left_half_written_is_swept(tmp_path):
    stray, other = tmp_path / ".model.safetensors.999999.part", tmp_path / f".model.safetensors.{os.getppid()}.part"
    for file in (stray, other):
        file.write_bytes(b"half")
    write_atomically(tmp_path / "model.safetensors", b"whole")
    assert not stray.exists()
    assert other.exists(), "its process is alive"
    assert (tmp_path / "model.safetensors").read_bytes() == b"whole"


def test_a_second_training_in_a_folder_is_refused(tmp_path, images):
    with only_one(tmp_path), pytest.raises(InUse, match=rf"process {os.getpid()} is training in .*another --out"):
        train(tiny(2), images, tmp_path, CPU, quiet=True)


def test_a_folder_that_others_look_at_is_waited_for(tmp_path):
    with ThreadPoolExecutor(1) as other, locked(tmp_path):
        waiting = other.submit(lambda: only_one(tmp_path).__enter__())
        time.sleep(0.1)
        assert not waiting.done()
    assert waiting.exception() is None


SCRIPT = """
import os, sys; sys.path.insert(0, sys.argv[1])
import torch; torch.set_num_threads(1)
from ncamlib.model import dna; dna.FIT_STEPS = 5
from test_train import *
from ncamlib.cli.main import ended
rank, steps = os.environ.get("RANK", "0"), int(sys.argv[3])
few = data.emoji("emos", 16)
few = data.Images("emos", few.pixels[:12], few.names[:12], few.sequences[:12])
{change}
with ended():
    train(tiny(steps, **settings), few, Path(sys.argv[2]) / rank, CPU, quiet=True)
"""
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.fixture
def script(tmp_path):
    """Write a training whose settings or images may be changed by rank -> its arguments; each rank has its folder."""

    def write(change: str = "settings = {}") -> list[str]:
        (tmp_path / "run.py").write_text(SCRIPT.format(change=change))
        return [str(tmp_path / "run.py"), str(Path(__file__).parent)]

    return write


@pytest.mark.long
def test_two_processes_equal_one(tmp_path, script):
    """Also where only the first one's disk holds what there is to go on from: it tells the other."""
    one, two = tmp_path / "one", tmp_path / "two"
    for steps in ("2", "4"):
        subprocess.run([sys.executable, *script(), str(one), steps], check=True)
        subprocess.run([*TORCHRUN, *script(), str(two), steps], check=True, capture_output=True)
    assert not (two / "1" / TRAINING_FILE).exists()
    one, two = weights(one / "0"), weights(two / "0")
    assert torch.equal(one["generator"], two["generator"])
    torch.testing.assert_close(one["losses"], two["losses"], rtol=1e-5, atol=1e-7)
    for name in one:
        if name.startswith("model."):
            torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-4)


def test_processes_that_differ_are_refused(tmp_path, script):
    command = [*TORCHRUN, *script("settings = {'seed': int(rank)}"), str(tmp_path), "2"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode
    assert process.stderr.count("ncam: the settings of process 1 and of the first differ: start all of them alike") == 1
    assert "NcamError" not in process.stderr
    assert not (tmp_path / "0" / TRAINING_FILE).exists()


@pytest.mark.parametrize("what", ["settings", "images", "time budget", "commit"])
def test_whatever_differs_between_processes_is_named(tmp_path, images, monkeypatch, what):
    def another(everyone, facts):
        everyone[:] = [facts, {**facts, what: "another"}]

    monkeypatch.setattr("torch.distributed.all_gather_object", another)
    with pytest.raises(NcamError, match=f"the {what} of process 1 and of the first differ"):
        check_ranks(Ranks(0, 2), tiny(), images, None)
    with pytest.raises(SystemExit):
        check_ranks(Ranks(1, 2), tiny(), images, None)


@pytest.mark.parametrize("missing", ["WORLD_SIZE", "MASTER_PORT"])
def test_half_of_torchruns_environment_is_refused(tmp_path, images, monkeypatch, missing):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv(missing)
    with pytest.raises(NcamError, match=f"RANK is set, but {missing} is not a number.*torchrun"):
        train(tiny(2), images, tmp_path, CPU, quiet=True)


@pytest.mark.parametrize(("own", "says"), [("x", "LOCAL_RANK is not a number"), ("2", "process 3 of this machine")])
def test_each_process_needs_a_gpu(monkeypatch, own, says):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"):
        monkeypatch.setenv(name, own if name == "LOCAL_RANK" else "3")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(NcamError, match=says):
        own_device(torch.device("cuda"))


def test_time_budget_ends_training(tmp_path, images):
    run = train(tiny(10**6), images, tmp_path, CPU, time_budget=1.0, quiet=True)
    assert 0 < run.step < 10**6
    assert (tmp_path / MODEL_FILE).exists()


def test_divergence_keeps_the_last_good_checkpoint(tmp_path, images):
    def spoil(run):
        if run.step == 2:
            run.save(tmp_path)
            with torch.no_grad():
                run.model.predictor.weight.fill_(float("nan"))

    with pytest.raises(Diverged, match=r"diverged at step 2.*learning rate"):
        train(tiny(), images, tmp_path, CPU, after_step=spoil, quiet=True)
    kept = weights(tmp_path)
    assert len(kept["losses"]) == 2
    assert all(tensor.isfinite().all() for tensor in kept.values())


def test_weights_that_are_not_finite_are_not_saved(tmp_path, images):
    run = train(tiny(2), images, tmp_path, CPU, quiet=True)
    before = (tmp_path / MODEL_FILE).read_bytes()
    with torch.no_grad():
        run.model.predictor.bias[0] = float("inf")
    with pytest.raises(Diverged, match="weights that are not finite"):
        run.save(tmp_path)
    assert (tmp_path / MODEL_FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, h: t.pop("losses"), "is incomplete .'losses'.: remove it to start afresh"),
        (lambda t, h: h.pop("seen"), "is incomplete .'seen'."),
        (lambda t, h: h.update(parts=[]), "is incomplete"),
        (lambda t, h: t.pop("optimiser.predictor.bias.exp_avg"), "the moments of predictor.bias in .* do not fit"),
        (lambda t, h: t.update({"optimiser.predictor.bias.exp_avg": torch.ones(3)}), "the moments of predictor.bias"),
        (lambda t, h: t.pop("model.predictor.bias"), "do not fit its configuration"),
        (lambda t, h: t.update(generator=torch.zeros(5, dtype=torch.uint8)), "another kind of device"),
    ],
)
def test_an_incomplete_training_checkpoint_is_one_sentence(tmp_path, images, change, message):
    train(tiny(2), images, tmp_path, CPU, quiet=True)
    tensors, header = checkpoint.read(tmp_path / TRAINING_FILE, "training")
    change(tensors, header)
    checkpoint.write(tmp_path / TRAINING_FILE, tensors, header)
    with pytest.raises(NcamError, match=message):
        train(tiny(4), images, tmp_path, CPU, quiet=True)


def test_resuming_with_other_settings_is_said(tmp_path, images, capsys):
    train(tiny(2), images, tmp_path, CPU, quiet=True)
    run = train(tiny(4, learning_rate=1e-4), images, tmp_path, CPU, quiet=True)
    assert run.step == 4
    assert "from step 2 with changed settings: steps 2 -> 4, learning_rate 0.001 -> 0.0001" in capsys.readouterr().err


def test_another_model_or_other_images_are_refused(tmp_path, images):
    train(tiny(2), images, tmp_path, CPU, quiet=True)
    with pytest.raises(NcamError, match="holds a model other than"):
        train(tiny(2, {"hidden": 64}), images, tmp_path, CPU, quiet=True)
    other = data.Images("emos", images.pixels.flip(0), images.names)
    with pytest.raises(NcamError, match="trained on images other than"):
        train(tiny(2), other, tmp_path, CPU, quiet=True)


def test_images_of_another_shape_are_refused(tmp_path):
    with pytest.raises(NcamError, match=r"4x32x32.*takes 4x16x16"):
        train(tiny(), data.emoji("emos", 32), tmp_path, CPU, quiet=True)


def test_one_automaton_takes_one_image(tmp_path, images):
    with pytest.raises(NcamError, match="is one automaton for one image, 'emos' has 12"):
        train(tiny(model={"code": "single"}), images, tmp_path, CPU, quiet=True)


def test_missing_gpu_is_said():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(NcamError, match="no CUDA device"):
        pick_device("cuda")


def test_any_seed_gives_an_order(images):
    run = prepare(tiny(seed=2**63 - 1), images, CPU)
    assert sorted(run.draw(len(images)).tolist()) == list(range(len(images)))


def test_preparing_at_length_does_not_end_a_resumed_training():
    budget = schedule.Budget(tiny(), 60.0, spent=40.0, done=0.6, preparing=35.0, began=time.monotonic() - 35.0)
    assert budget.progress(0) == pytest.approx(0.6, abs=0.01)
    assert schedule.Budget(tiny(), 60.0, spent=60.0, preparing=5.0, began=time.monotonic() - 5.0).progress(0) >= 1


@pytest.mark.parametrize("budgets", [(100.0, 100.0), (100.0, 200.0)])
def test_a_resumed_training_goes_on_where_it_was_in_its_schedule(tmp_path, images, monkeypatch, budgets):
    """Although preparing it took time of its limit twice; a longer limit stretches what is left."""
    loop, clock, seen = importlib.import_module("ncamlib.training.loop"), itertools.count(), []

    def slow(*arguments):
        for _ in range(20):
            next(clock)
        return prepare(*arguments)

    class Enough(Exception):
        pass

    def watched(feed, progress):
        seen.append(progress)
        train_step(feed, progress)
        if len(seen) == 10:
            feed.run.save(tmp_path)
            raise Enough

    train_step = loop.train_step
    monkeypatch.setattr(schedule, "time", SimpleNamespace(monotonic=lambda: next(clock)))  # a second per question
    monkeypatch.setattr(loop, "prepare", slow)
    monkeypatch.setattr(loop, "train_step", watched)
    for budget in budgets:
        with contextlib.suppress(Enough):
            train(tiny(), images, tmp_path, CPU, time_budget=budget, quiet=True)
    step = seen[1] - seen[0]
    assert seen[10] == pytest.approx(seen[9] * budgets[0] / budgets[1], abs=2 * step)
    assert all(0 < later - earlier < 2 * step for earlier, later in itertools.pairwise(seen[10:]))


def test_schedule_by_progress():
    parts = (Stage(0.25, 8, 4, rates=(1.0, 0.5)), Stage(0.5, 12, 6, batch=2), Stage(1.0, 16, 8, rates=(0.5, 0.0)))
    run = tiny(stages=parts, warmup=10, learning_rate=1.0)
    assert [schedule.stage(run, p).grid for p in (0, 0.24, 0.25, 0.5, 1)] == [8, 8, 12, 16, 16]
    rates = [(0, 0.1), (0.125, 0.75), (0.25, 1), (0.4, 1), (0.5, 0.5), (0.75, 0.25), (1, 0)]
    assert [schedule.learning_rate(run, 0 if p == 0 else 20, p) for p, _ in rates] == pytest.approx(
        [r for _, r in rates]
    )
    assert schedule.learning_rate(tiny(learning_rate=1.0), 99, 0.25) == pytest.approx(0.75)


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_schedule_by_steps(steps):
    """Every step belongs to a stage, in order; the last step is the last of the work."""
    run = tiny(steps, stages=(Stage(0.3, 8, 4, batch=2), Stage(0.6, 12, 6), Stage(1.0, 16, 8)))
    shares = [schedule.progress(run, step) for step in range(steps + 1)]
    assert shares[0] >= 0
    assert shares[-1] == 1
    assert shares == sorted(set(shares))
    assert schedule.ends(run)[-1] == steps
    if steps == 1000:  # small grids cost less, so that they get more steps for their share of the work
        counts = Counter(schedule.stage(run, share).grid for share in shares[:-1])
        assert counts[8] > counts[12] > counts[16] / 1.4


@pytest.mark.parametrize("stages", [(Stage(0.5, 8, 4),), (Stage(0.6, 8, 4), Stage(0.5, 8, 4), Stage(1.0, 8, 4))])
def test_stages_that_leave_a_gap_are_refused(stages):
    with pytest.raises(NcamError, match="the last at 1"):
        tiny(stages=stages)


def test_an_epoch_shows_every_image_once(images):
    run = prepare(tiny(), images, CPU)
    drawn = torch.cat([run.draw(5) for _ in range(12)])
    for epoch in drawn.split(12):
        assert epoch.sort().values.tolist() == list(range(12))
    assert not torch.equal(drawn[:12], drawn[12:24])
    few = data.Images("few", images.pixels[:3], images.names[:3])
    assert prepare(tiny(), few, CPU).draw(8).bincount().tolist() in ([3, 3, 2], [3, 2, 3], [2, 3, 3])


def test_images_with_large_errors_are_drawn_in_proportion_to_them():
    generator, draws = torch.Generator().manual_seed(0), Draws.empty(6, CPU)
    assert draws.draw(6, 1.0, generator).sort().values.tolist() == list(range(6))
    errors = torch.tensor([0.0, 0.1, 0.1, 0.2, 0.2, 0.6])
    draws.note(torch.arange(6), errors)
    for share in (1.0, 0.5):
        drawn = draws.draw(6 * 200, share, generator)
        expected = 200 * (1 - share + share * 6 * errors / errors.sum())
        assert (drawn.bincount(minlength=6) - expected).abs().max() < 30
        for epoch in drawn.split(6):
            assert (epoch.bincount(minlength=6) - expected / 200).abs().max() < 1 + 1e-6
    draws.note(torch.arange(6), torch.zeros(6))
    assert draws.draw(6, 1.0, generator).sort().values.tolist() == list(range(6))


def test_drawing_by_errors_notes_them_and_excludes_other_ways_to_draw(tmp_path, images):
    run = train(tiny(steps=6, by_error=1.0), images, tmp_path, CPU, quiet=True)
    assert (run.draws.errors > 0).all()
    assert float(run.draws.errors.mean()) == pytest.approx(sum(run.losses[-3:]) / 3, rel=0.5)
    for other in ({"replacement": True}, {"pool": 12}):
        with pytest.raises(NcamError, match="goes with neither replacement nor a pool"):
            tiny(by_error=0.5, **other)


def test_fixed_convolutions_stay_and_then_learn(tmp_path, images):
    states = []

    def keep(run):
        states.append({name: tensor.clone() for name, tensor in run.model.encoder.state_dict().items()})

    train(tiny(8, encoder_from=0.5), images, tmp_path, CPU, quiet=True, after_step=keep)
    moved = [
        any(not torch.equal(a[name], b[name]) for name in a if name.startswith(("stem", "body")))
        for a, b in itertools.pairwise(states)
    ]
    assert moved == [False] * 3 + [True] * 4
    assert not torch.equal(states[0]["project.weight"], states[1]["project.weight"])


def test_known_means_train_as_images_do(tmp_path, images):
    """What is computed once is what would be computed every time."""
    run = prepare(tiny(), images, CPU)
    run.model.encoder.train_convolutions(False)
    means = run.model.encoder.all_means(images.pixels)
    torch.testing.assert_close(run.model.encoder(means), run.model.encoder(images.pixels))


def test_the_leak_factor_begins_as_it_is_on_the_first_grid(images):
    scaled = prepare(tiny(stages=(Stage(0.5, 8, 4), Stage(1.0, 16, 8))), images, CPU).model
    assert (scaled.nca.leak() * scaled.leak_scale(8)).item() == pytest.approx(0.1)
    plain = prepare(tiny(stages=(Stage(0.5, 8, 4), Stage(1.0, 16, 8)), scale_leak=False), images, CPU).model
    assert plain.nca.leak().item() == pytest.approx(0.1)


def test_components_spread_the_embedding_as_the_images_are_spread(images):
    """Uncorrelated, of mean variance 1, and the first components weigh more, but less than their variance says."""
    settings = tiny(model={"code": "ce", "embedding": 8}, components=True)
    encoder = prepare(settings, images, CPU).model.encoder
    embedding = encoder.project(encoder.means(images.pixels))
    covariance = embedding.T.cov(correction=0)
    variances = covariance.diagonal()
    assert variances.mean().item() == pytest.approx(1, rel=1e-3)
    assert (covariance - variances.diag()).abs().max() < 1e-3 * variances.max()
    features = (encoder.means(images.pixels) - encoder.project.centre) * encoder.project.gain
    spread = torch.linalg.svdvals(features)[:8] / len(images) ** 0.5
    torch.testing.assert_close(variances / variances[0], spread / spread[0], rtol=1e-3, atol=1e-3)


def test_a_finished_run_is_left_as_it_is(tmp_path, images):
    """Also its provenance: a later commit did not train it."""
    first = train(tiny(2), images, tmp_path, CPU, quiet=True)
    before = (tmp_path / TRAINING_FILE).stat().st_mtime_ns, (tmp_path / MODEL_FILE).read_bytes()
    assert train(tiny(2), images, tmp_path, CPU, quiet=True).seconds == first.seconds > 0
    assert before == ((tmp_path / TRAINING_FILE).stat().st_mtime_ns, (tmp_path / MODEL_FILE).read_bytes())


def test_a_finished_run_writes_its_model_again_where_that_is_gone(tmp_path, images):
    train(tiny(2), images, tmp_path, CPU, quiet=True)
    model, about = checkpoint.read(tmp_path / MODEL_FILE, "model")
    (tmp_path / MODEL_FILE).unlink()
    train(tiny(2), images, tmp_path, CPU, quiet=True)
    again, said = checkpoint.read(tmp_path / MODEL_FILE, "model")
    assert said == about
    assert all(torch.equal(model[name], again[name]) for name in model)


def test_what_the_settings_say_is_what_a_step_does(tmp_path, images, monkeypatch):
    """Letters and cells are drawn at the rates of the settings, and gradients are clipped."""
    rates, fired, norms = [], [], []
    run = prepare(tiny(12, mutation=(0.25, 0.5), clip=1e-3), images, CPU)
    model = type(run.model)
    forward, step = model.forward, torch.optim.Adam.step

    def spied(self, drawn, mutation, fire, *rest, **settings):
        rates.append((mutation >= 0).float().mean().item())
        fired.append(None if fire is None else fire.rate)
        return forward(self, drawn, mutation, fire, *rest, **settings)

    def stepped(self, *arguments, **settings):
        if hasattr(self, "grad_scale"):  # the model's optimiser, not that which fits the letters
            used = [p.grad / self.grad_scale for p in self.param_groups[0]["params"] if p.grad is not None]
            norms.append(torch.nn.utils.get_total_norm(used).item())
        return step(self, *arguments, **settings)

    monkeypatch.setattr(model, "forward", spied)
    monkeypatch.setattr(torch.optim.Adam, "step", stepped)
    train(run.experiment, images, tmp_path, CPU, quiet=True)
    assert 0.2 < min(rates) < 0.35 < max(rates) < 0.55
    assert set(fired) == {0.5}
    assert max(norms) <= 1e-3 * (1 + 1e-4)


def test_each_image_is_its_own_target(tmp_path, images):
    """After a short training without chance, every picture is nearest to its own image."""
    few = data.Images("few", images.pixels[::3], images.names[::3])
    settings = {"learning_rate": 6e-3, "warmup": 5, "ema": 0.97, "stages": (Stage(1.0, 16, 8, rates=(1.0, 0.5)),)}
    quick = tiny(250, {"code": "ce", "fire_rate": 1.0}, **settings)
    run = train(quick, few, tmp_path, CPU, quiet=True)
    model, _ = checkpoint.load_model(tmp_path / MODEL_FILE)
    with torch.no_grad():
        distances = torch.cdist(model(few.pixels).flatten(1), few.pixels.flatten(1))
    assert distances.argmin(1).tolist() == list(range(len(few)))
    saved, average, last = (torch.cat([p.flatten() for p in m.parameters()]) for m in (model, run.average, run.model))
    assert (saved - average).norm() < 0.1 * (saved - last).norm()  # but for half precision


def test_the_average_follows_the_weights_by_what_the_steps_would_together(images):
    run = prepare(tiny(1, ema=0.5), images, CPU)
    with torch.no_grad():
        for p, q in zip(run.model.parameters(), run.average.parameters(), strict=True):
            p.fill_(1.0)
            q.fill_(0.0)
    run.step = 800
    average(run)
    assert run.average.nca.leak.log.item() == pytest.approx(1 - 0.5**AVERAGE_EVERY)
    run.step = 801
    average(run)  # not at every step
    assert run.average.nca.leak.log.item() == pytest.approx(1 - 0.5**AVERAGE_EVERY)


def test_the_seed_decides_everything(images):
    runs = [
        prepare(dataclasses.replace(e, train=dataclasses.replace(e.train, seed=i)), images, CPU)
        for e in [tiny()]
        for i in (0, 0, 1)
    ]
    state = [torch.cat([p.flatten() for p in run.model.parameters()]) for run in runs]
    order = [run.draw(12).tolist() for run in runs]
    chance = [torch.rand(1, generator=run.generator).item() for run in runs]
    for drawn in (order, chance):
        assert drawn[0] == drawn[1] != drawn[2]
    assert torch.equal(state[0], state[1])
    assert not torch.allclose(state[0], state[2])


def test_a_warm_start_draws_other_images_and_other_chance(tmp_path, images):
    train(tiny(3), images, tmp_path / "first", CPU, quiet=True)
    first, later = (prepare(tiny(3), images, CPU) for _ in range(2))
    later.warm_start(tmp_path / "first" / MODEL_FILE, *checkpoint.load_model(tmp_path / "first" / MODEL_FILE))
    assert first.draw(12).tolist() != later.draw(12).tolist()
    assert torch.rand(1, generator=first.generator) != torch.rand(1, generator=later.generator)


def test_small_grids_see_area_averages_and_leak_factors_that_are_scaled_if_asked(images):
    feed = Feed(prepare(tiny(scale_leak=False), images, CPU), Ranks(), images.pixels)
    board = torch.zeros(1, 4, 16, 16)
    board[..., ::2, ::2] = board[..., 1::2, 1::2] = 1.0
    feed.pixels = board
    assert torch.equal(feed.targets(torch.tensor([0]), 8), torch.full((1, 4, 8, 8), 0.5))
    assert feed.leak_scale == 1.0
    assert Feed(prepare(tiny(), images, CPU), Ranks(), images.pixels).leak_scale is None


def test_stages_end_where_their_share_of_the_work_is_done():
    """A step of 4 images costs 4 of them and 1 more at full size; on half of the side, 8 of an eighth each and 1."""
    assert schedule.ends(tiny(70, stages=HALVES)) == [50, 70]  # 1/2 / 2 and 1/2 / 5: as 5 to 2


def test_a_time_budget_of_nothing_is_refused(tmp_path, images):
    for budget in (0.0, -1.0, math.nan):
        with pytest.raises(NcamError, match="must be above 0"):
            train(tiny(), images, tmp_path, CPU, time_budget=budget, quiet=True)


def test_letters_are_given_codes_that_vary_alike_in_every_gene(images, monkeypatch):
    """A code whose variance is in few numbers is turned; what the encoder misses is said."""
    monkeypatch.setattr("ncamlib.model.lettering.FIT_STEPS", 5)
    continuous = build(dataclasses.replace(TINY, code="ce", fire_rate=1.0))
    model = build(dataclasses.replace(TINY, code="dna", fire_rate=1.0))
    for one in (continuous, model):
        one.initialise(images.pixels, torch.Generator().manual_seed(0), components=False)
    codes = torch.randn(len(images), 16, generator=torch.Generator().manual_seed(1)) * torch.logspace(0, -3, 16)
    continuous.embed = lambda pixels: codes[: len(pixels)]
    missed = to_letters(model, continuous, images.pixels, torch.Generator().manual_seed(2))
    with torch.no_grad():
        embedding = model.embed(images.pixels)
    deviations = embedding.std(0)
    assert deviations.max() < 30 * deviations.min()  # 1,000 times before
    assert 0 <= missed < 1e-3
    sizes = embedding.square().sum(1) / (codes - codes.mean(0)).square().sum(1)
    assert sizes.std() < 0.02 * sizes.mean()  # turned and scaled as a whole
