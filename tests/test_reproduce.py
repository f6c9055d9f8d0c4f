"""Unattended training: budgets are shared fairly, nothing is trained twice, the best run is kept, never mixed."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from ncamlib import data, project
from ncamlib.config import ModelConfig, TrainConfig
from ncamlib.errors import NcamError
from ncamlib.experiments import EXPERIMENTS
from ncamlib.model import checkpoint
from ncamlib.results import BEST, TABLE, measure_all, merge, reproduce, store, tables
from ncamlib.training import TRAINING_FILE
from ncamlib.training.processes import HOLDER, holder, only_one

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
TINY = ModelConfig(
    image_size=16, embedding=16, filters=4, encoder_body=("cb1", "cb3"), predictor_fcbs=1, hidden=32, steps=8
)
NAMES = ("emos-dna-sto", "chars-dna-syn")


@pytest.fixture
def chosen(monkeypatch):
    train = TrainConfig(steps=3, batch=4)
    small = [dataclasses.replace(EXPERIMENTS[name], model=TINY, train=train) for name in NAMES]
    for experiment in small:
        monkeypatch.setitem(EXPERIMENTS, experiment.name, experiment)
    return small


def load(experiment) -> data.Images:
    few = data.emoji(experiment.images, 16)
    return data.Images(experiment.images, few.pixels[:6], few.names[:6], few.sequences[:6])


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty checkout to record into."""
    (tmp_path / "checkout" / "figures").mkdir(parents=True)
    (tmp_path / "checkout" / "_toc.yml").touch()
    monkeypatch.setenv("NCAM_HOME", str(tmp_path / "checkout"))
    return project.project_root()


TRAINED: dict[Path, bytes] = {}


def offer(chosen, out):
    """As `reproduced`, trained once for all tests; only for the one experiment of which they need no more than that."""
    if not TRAINED:
        reproduced(chosen, out)
        TRAINED.update({file.relative_to(out): file.read_bytes() for file in (out / chosen[0].name).iterdir()})
    for file, content in TRAINED.items():
        (out / file).parent.mkdir(exist_ok=True)
        (out / file).write_bytes(content)


def reproduced(chosen, out, source=load, report=lambda _: None, **options) -> list[str]:
    return reproduce.reproduce(reproduce.queue(chosen, out, **options), CPU, source, report)


def test_every_experiment_has_its_place_and_comparisons_share_alike():
    everything = reproduce.in_order([])
    assert [e.name for e in everything] == list(EXPERIMENTS)
    seconds = reproduce.shares(everything, 1000)
    assert sum(seconds.values()) == pytest.approx(1000)
    assert len({seconds[name] for name in seconds if name.startswith("variety-")}) == 1
    with pytest.raises(NcamError, match="unknown experiment 'nope': choose one of full-"):
        reproduce.in_order(["nope"])


def test_everything_is_written_and_nothing_trained_twice(tmp_path, chosen, checkout):
    said = []
    assert reproduced(chosen, tmp_path, report=said.append) == []
    for experiment in chosen:
        folder = tmp_path / experiment.name
        row = json.loads((folder / reproduce.RESULT_FILE).read_text())
        assert row["train_steps"] == 3
        assert len((folder / reproduce.LOSS_FILE).read_text().splitlines()) == 4
        with Image.open(folder / reproduce.SHEET_FILE) as picture:
            assert picture.width == 8 * (32 + 4) - 4
        # The recorded error comes from the very file that would be shipped.
        model, header = checkpoint.load_model(folder / reproduce.SHIPPED_FILE)
        assert (model.encoder is None) == (not experiment.ships_encoder)
        assert measure_all(model, load(experiment), header).mse == pytest.approx(row["mse"], rel=1e-6)
    assert any("emos-dna-sto: MSE" in line and "paper 0.0180" in line for line in said)
    before = checkpoint.read(tmp_path / NAMES[0] / TRAINING_FILE, "training")[1]["step"]
    reproduced(chosen, tmp_path, report=said.append)
    assert checkpoint.read(tmp_path / NAMES[0] / TRAINING_FILE, "training")[1]["step"] == before


def test_one_failure_does_not_stop_the_rest(tmp_path, chosen, checkout):
    def broken(experiment):
        if experiment.name == NAMES[0]:
            raise NcamError("the images are missing")
        return load(experiment)

    said = []
    assert reproduced(chosen, tmp_path, broken, report=said.append) == [NAMES[0]]
    assert "[1/2] emos-dna-sto: failed: the images are missing" in said
    assert (tmp_path / NAMES[1] / reproduce.RESULT_FILE).exists()


def test_merge_keeps_the_better_and_never_mixes_images(tmp_path, chosen, checkout):
    run = tmp_path / "run"
    reproduced(chosen[:1], run)
    said = []
    merge.merge([run], report=said.append)
    first = store.load()[NAMES[0]]
    assert checkpoint.checkpoint_path(NAMES[0]).read_bytes() == (run / NAMES[0] / reproduce.SHIPPED_FILE).read_bytes()

    file = run / NAMES[0] / reproduce.RESULT_FILE
    # A model that went on training after it was measured is not shipped under the old number.
    shipped = run / NAMES[0] / reproduce.SHIPPED_FILE
    tensors, header = checkpoint.read(shipped, "model")
    checkpoint.write(shipped, tensors, {**header, "step": 99})
    merge.merge([run], report=said.append)
    assert "was trained further after it was measured" in said[-1]
    checkpoint.write(shipped, tensors, header)

    for change, expected in (
        ({"mse": first.mse * 2}, "no better"),
        ({"mse": first.mse / 2, "data_digest": "other"}, "is of other images than its model"),
        ({"mse": first.mse / 2}, "recorded, was"),
    ):
        file.write_text(json.dumps({**dataclasses.asdict(first), **change}))
        merge.merge([run], report=said.append)
        assert expected in said[-1]
    assert store.load()[NAMES[0]].mse == first.mse / 2
    with pytest.raises(NcamError, match="run ncam reproduce first"):
        merge.merge([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mse": float("nan")}, "the mse of .* is nan"),
        ({"mse": -5.0}, "the mse of .* is -5.0"),
        ({"psnr": float("inf")}, "out of bounds"),
        ({"minutes": float("inf")}, "minutes"),
        ({"seeds": 0}, "the seeds of .* are 0: at least 1"),
        ({"fire_rate": 2.0}, "out of bounds"),
        ({"mutation_curve": [[0.0, float("nan")]]}, "mutation_curve"),
        ({"experiment": "nobody"}, "a result of 'nobody' and a model of 'emos-dna-sto': nothing was merged"),
        ({"mse": "good"}, "mse is 'good': expected float"),
        ({"mood": 1}, "unknown Result field 'mood'"),
        ({"device": 3}, "is damaged"),
        ([1], "is damaged"),
        (None, "is damaged"),
    ],
)
def test_a_damaged_result_changes_nothing(tmp_path, chosen, checkout, change, message):
    offer(chosen[:1], tmp_path)
    merge.merge([tmp_path], report=lambda _: None)
    before = {file: file.read_bytes() for file in checkout.rglob("*") if file.is_file()}
    file = tmp_path / NAMES[0] / reproduce.RESULT_FILE
    known = json.loads(file.read_text())
    file.write_text(json.dumps(known | change if isinstance(change, dict) else change))
    with pytest.raises(NcamError, match=message):
        merge.merge([tmp_path])
    assert {file: file.read_bytes() for file in checkout.rglob("*") if file.is_file()} == before


def test_merging_onto_a_full_disk_changes_nothing(tmp_path, chosen, checkout, monkeypatch):
    """Whichever of the writes fails."""
    reproduced(chosen[:1], tmp_path)
    merge.merge([tmp_path], report=lambda _: None)
    before = {file: file.read_bytes() for file in checkout.rglob("*") if file.is_file()}
    file = tmp_path / NAMES[0] / reproduce.RESULT_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {"mse": 1e-9}))
    real = os.fsync
    for room in range(4):
        left = [room]

        def full(handle, left=left):
            if not left[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            left[0] -= 1
            real(handle)

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(NcamError, match="No space left"):
            merge.merge([tmp_path])
        assert {file: file.read_bytes() for file in checkout.rglob("*") if file.is_file()} == before


@pytest.mark.long
def test_a_merge_that_was_killed_is_finished_by_the_next(checkout):
    """Once the journal is written, the change counts; before, it never happened, and leaves nothing."""
    files = {checkout / "figures" / "a.json": b"new a", checkout / "checkpoints" / "b.csv": b"new b"}
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"old")
    program = (
        "import os, signal, sys, types; ncamlib = sys.modules['ncamlib'] = types.ModuleType('ncamlib')\n"
        f"ncamlib.__path__ = [{str(ROOT / 'ncamlib')!r}]  # without torch, which takes most of the time\n"
        "from pathlib import Path; from ncamlib import project\n"
        "real, left = os.replace, [int(sys.argv[1])]\n"
        "def replace(*names):\n"
        "    left[0] -= 1\n"
        "    if left[0] < 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(*names)\n"
        "os.replace = replace\n"
        "with project.recording(): project.write_together({Path(n): c.encode() for n, c in zip(sys.argv[2::2], "
        "sys.argv[3::2])})"
    )
    arguments = [text for file, content in files.items() for text in (str(file), content.decode())]
    for moves in range(6):
        for file in files:
            file.write_bytes(b"old")
        subprocess.run([sys.executable, "-c", program, str(moves), *arguments], check=False)
        with project.recording():
            pass
        contents = {file.read_bytes() for file in files}
        assert contents in ({b"old"}, set(files.values()))
        assert contents == ({b"old"} if moves < 3 else set(files.values()))
        left = [file for file in checkout.rglob("*") if file.is_file() and file.name != "_toc.yml"]
        assert sorted(left) == sorted(files)


def test_writers_at_once_lose_nothing(tmp_path, chosen, checkout):
    reproduced(chosen[:1], tmp_path)
    program = (
        "import json, sys; from dataclasses import replace; from pathlib import Path\n"
        "from ncamlib.results import store, reproduce\n"
        "row = reproduce.read_result(Path(sys.argv[1]))\n"
        "for i in range(8): store.record(replace(row, experiment=f'{sys.argv[2]}-{i}'))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / NAMES[0])]
    writers = [subprocess.Popen([*command, str(i)]) for i in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert len(store.load()) == 32


def test_a_shipped_model_is_trained_further_and_counts_all_its_training(tmp_path, chosen, checkout):
    one = [e for e in chosen if e.ships_encoder]
    for mse, folder in ((0.3, "first"), (0.2, "second"), (0.1, "third")):
        reproduced(one, tmp_path / folder, more=True)
        row = json.loads((tmp_path / folder / one[0].name / reproduce.RESULT_FILE).read_text())
        # A worse run would not be shipped; here it has to be, to be trained further.
        (tmp_path / folder / one[0].name / reproduce.RESULT_FILE).write_text(json.dumps({**row, "mse": mse}))
        merge.merge([tmp_path / folder], report=lambda _: None)
    header = checkpoint.load_model(one[0].name)[1]
    assert header["step"] == row["train_steps"] == 9
    assert [part["step"] for part in header["parts"]] == [3, 3, 3]
    assert len(store.load()[one[0].name].devices) == 1  # named once
    curve = checkpoint.checkpoint_path(one[0].name).with_suffix(".csv").read_text().splitlines()
    assert [line.split(",")[0] for line in curve] == ["step", *map(str, range(1, 10))]
    merge.merge([tmp_path / "third"], table=True, report=lambda _: None, ship=False)
    assert merge.table_files(one[0].name)[0].read_text().splitlines() == curve


def test_a_model_without_its_encoder_is_trained_further_with_fixed_codes(tmp_path, chosen, checkout):
    one = [e for e in chosen if not e.ships_encoder]
    name, codes = one[0].name, "codes.embeddings"
    reproduced(one, tmp_path / "first")
    merge.merge([tmp_path / "first"], report=lambda _: None)
    shipped = checkpoint.load_model(name)[0].state_dict()
    reproduced(one, tmp_path / "second", more=True)
    longer = [dataclasses.replace(e, train=dataclasses.replace(e.train, steps=6)) for e in one]
    reproduced(longer, tmp_path / "second", more=True)  # goes on from the training checkpoint
    model, header = checkpoint.load_model(tmp_path / "second" / name / reproduce.SHIPPED_FILE)
    assert [part["step"] for part in header["parts"]] == [3, 6]
    assert model.encoder is None
    after = model.state_dict()
    assert shipped.keys() == after.keys()
    same = {key for key in after if torch.equal(shipped[key], after[key])}
    assert {"codes.keys", codes} <= same
    assert any(key.startswith("predictor.") for key in after.keys() - same)


def test_further_training_lets_the_states_of_a_pool_get_older():
    regrow, persist = (EXPERIMENTS[f"chars-dna-syn-{name}"] for name in ("regrow", "persist"))
    before, after = regrow.train, reproduce.further(regrow).train
    assert after.pool_fresh < before.pool_fresh
    first, last = after.stages[-1].rates
    assert 1 > first > last > 0
    assert after.pool_damage > before.pool_damage
    assert after.pool_steps == 1 < before.pool_steps  # what is measured at T is trained at T
    assert reproduce.further(persist).train.pool_damage == 0
    one = reproduce.further(EXPERIMENTS["lizard-single-sto-regrow"]).train
    assert one.pool_fresh > after.pool_fresh  # it grows late
    assert {stage.grid for stage in after.stages} == {regrow.model.image_size}


def test_shipped_checkpoints_are_small():
    sizes = [file.stat().st_size for file in (ROOT / "checkpoints").glob("*.safetensors")]
    assert max(sizes) <= 16 * 2**20
    assert sum(sizes) <= 150 * 2**20


def test_a_run_that_started_afresh_is_not_taken_for_one_trained_further(tmp_path, chosen, checkout):
    one, said = [e for e in chosen if e.ships_encoder], []
    reproduced(one, tmp_path, report=said.append)
    merge.merge([tmp_path], report=said.append)
    assert reproduced(one, tmp_path, more=True, report=said.append) == [one[0].name]
    assert "train further in another --out" in said[-1]
    assert reproduced(one, tmp_path / "more", more=True) == []
    assert reproduced(one, tmp_path / "more", report=said.append) == [one[0].name]
    assert "add --more, or choose another --out" in said[-1]
    checkpoint.checkpoint_path(one[0].name).unlink()
    assert reproduced(one, tmp_path / "more", more=True, report=said.append) == [one[0].name]
    assert "its shipped checkpoint is missing" in said[-1]


def test_a_row_with_letters_starts_from_one_with_continuous_codes(tmp_path, chosen, checkout, monkeypatch):
    monkeypatch.setattr("ncamlib.model.lettering.FIT_STEPS", 5)
    letters = chosen[0]
    numbers = dataclasses.replace(letters, name="emos-ce-sto", model=dataclasses.replace(TINY, code="ce"))
    reproduced([numbers], tmp_path / "ce")
    merge.merge([tmp_path / "ce"])
    assert reproduced([letters], tmp_path / "dna", start="emos-ce-sto", steps=2) == []
    assert reproduced([letters], tmp_path / "dna", start="emos-ce-sto", steps=4) == [], "and is trained on"
    merge.merge([tmp_path / "dna"])
    row = store.load()[letters.name]
    assert [(part.experiment, part.step) for part in row.parts] == [("emos-ce-sto", 3), ("", 4)]
    assert (row.others, row.train_steps) == ({"emos-ce-sto": 3}, 7)
    lines = store.curve(letters.name).read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == [4, 5, 6, 7], "the losses of its own training"
    (summary,) = (one for one in tables.summary() if one["name"] == letters.name)
    assert "| *`emos-dna-sto` started from `emos-ce-sto`, whose 3 steps are counted* |" in tables.markdown([summary])
    chain = summary | {"others": {"first": 4, "emos-ce-sto": 3}}
    said = "started from `emos-ce-sto`, and that from `first`, whose 7 steps are counted"
    assert said in tables.markdown([chain])
    with pytest.raises(NcamError, match="unknown experiment 'emos-dna-syn'"):
        reproduced([letters], tmp_path / "wrong", start="emos-dna-syn")
    for nothing in ("nowhere.safetensors", ""):
        with pytest.raises(NcamError):
            reproduced([letters], tmp_path / "wrong", start=nothing)
    with pytest.raises(NcamError, match="started from 'emos-ce-sto': --table is for runs trained alike"):
        merge.merge([tmp_path / "dna"], table=True)
    larger, said = dataclasses.replace(letters, model=dataclasses.replace(TINY, hidden=40)), []
    for folder, one, options, why in (
        ("wrong", larger, {"start": "emos-ce-sto"}, "does not have the model"),
        ("dna", letters, {"start": letters.name}, "a training that started from 'emos-ce-sto'"),
        ("dna", letters, {"more": True}, "a training that started from 'emos-ce-sto'"),
        ("dna", letters, {}, "add --from emos-ce-sto"),
    ):
        assert reproduced([one], tmp_path / folder, report=said.append, **options) == [letters.name]
        assert why in said[-1]


def test_losses_of_another_run_are_not_put_before_a_continuation(tmp_path, chosen, checkout):
    one = [e for e in chosen if e.ships_encoder]
    name, curve = one[0].name, merge.table_files(one[0].name)[0]

    def steps(folder, mse, **how):
        reproduced(one, tmp_path / folder, **how)
        file = tmp_path / folder / name / reproduce.RESULT_FILE
        file.write_text(json.dumps({**json.loads(file.read_text()), "mse": mse}))

    steps("first", 0.3)
    merge.merge([tmp_path / "first"], table=True)
    for folder, mse in (("a", 0.4), ("b", 0.2)):
        steps(folder, mse, more=True)
    steps("other", 0.1, steps=2)
    merge.merge([tmp_path / "b"])  # two continuations of one run
    merge.merge([tmp_path / "other"])
    for folder in ("a", "b"):
        merge.merge([tmp_path / folder], table=True, ship=False)
        kept = curve.read_text().splitlines(keepends=True)
        assert [line.split(",")[0] for line in kept] == ["step", *"123456"]
        own = (tmp_path / folder / name / reproduce.LOSS_FILE).read_text().splitlines(keepends=True)
        first = (tmp_path / "first" / name / reproduce.LOSS_FILE).read_text().splitlines(keepends=True)
        assert kept == [*first, *own[1:]]


def test_a_table_run_stays_when_a_better_one_comes(tmp_path, chosen, checkout):
    """Only runs that were trained alike are compared, and what they are compared by is kept."""
    name = NAMES[0]
    reproduced(chosen[:1], tmp_path / "alike")
    merge.merge([tmp_path / "alike"], table=True)
    alike = store.load(TABLE)[name]
    assert dataclasses.replace(store.load()[name], kind=TABLE) == alike
    curve, picture = merge.table_files(name)
    assert not curve.exists()  # while it is the shipped run, its losses are beside the checkpoint
    reproduced(chosen[:1], tmp_path / "better", steps=5)
    file = tmp_path / "better" / name / reproduce.RESULT_FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), "mse": alike.mse / 2}))
    merge.merge([tmp_path / "better"])
    assert store.load(TABLE)[name] == alike
    assert store.load()[name].mse == alike.mse / 2
    assert store.load()[name].holders == 2
    assert curve.read_bytes() == (tmp_path / "alike" / name / reproduce.LOSS_FILE).read_bytes()
    with Image.open(picture) as kept, Image.open(tmp_path / "alike" / name / reproduce.SHEET_FILE) as whole:
        assert kept.size == whole.size


@pytest.mark.parametrize("table", [False, True])
def test_a_trial_of_another_model_is_never_taken_for_the_row_whose_name_it_has(tmp_path, chosen, checkout, table):
    other = dataclasses.replace(chosen[0], model=dataclasses.replace(TINY, code="ce"))
    reproduced([other], tmp_path / "trial")
    with pytest.raises(NcamError, match=f"a model with other settings than '{NAMES[0]}' has: nothing was merged"):
        merge.merge([tmp_path / "trial"], table=table)
    assert store.load() == {}


def test_measuring_again_does_not_forget_how_many_runs_were_tried(tmp_path, chosen, checkout):
    reproduced(chosen[:1], tmp_path)
    merge.merge([tmp_path])
    row = store.load()[NAMES[0]]
    again, tried = dataclasses.replace(row, mse=row.mse / 2, holders=1), dataclasses.replace(row, holders=3)
    assert store.with_result([tried], again) == [dataclasses.replace(again, holders=3)]


def test_a_run_can_be_recorded_for_comparison_alone(tmp_path, chosen, checkout):
    name = NAMES[0]
    reproduced(chosen[:1], tmp_path)
    merge.merge([tmp_path], table=True, ship=False)
    assert (name in store.load(TABLE)) > (name in store.load())
    assert not checkpoint.checkpoint_path(name).exists()
    (row,) = (row for row in tables.summary() if row["name"] == name)
    assert row["mse"] is None
    text = tables.markdown([row])
    assert f"| `{name}` | {tables.number(row['paper_mse'])} | – | {tables.number(row['table_mse'])} |" in text
    assert f"| {row['train_steps']:,} |" in text


def test_other_images_than_those_of_a_table_are_left_out(tmp_path, chosen, checkout):
    """Also where no run is shipped."""
    reproduced(chosen[:1], tmp_path / "table")
    merge.merge([tmp_path / "table"], table=True, ship=False)
    before = store.RECORDS.path.read_bytes()

    def others(experiment):
        few = load(experiment)
        return data.Images(few.name, few.pixels.flip(3), few.names, few.sequences)

    reproduced(chosen[:1], tmp_path / "others", source=others)
    said = []
    merge.merge([tmp_path / "others"], table=True, report=said.append)
    assert "trained on other images" in said[0]
    assert store.RECORDS.path.read_bytes() == before


@pytest.mark.parametrize("missing", [reproduce.LOSS_FILE, reproduce.SHEET_FILE, reproduce.SHIPPED_FILE])
def test_a_run_that_lacks_a_file_is_one_sentence(tmp_path, chosen, checkout, missing):
    reproduced(chosen[:1], tmp_path)
    (tmp_path / NAMES[0] / missing).unlink()
    with pytest.raises(NcamError, match=rf"{NAMES[0]} has no {missing}: run ncam reproduce again"):
        merge.merge([tmp_path])


def test_several_processes_share_a_queue(tmp_path, chosen, checkout):
    """What another holds is left to it; what it has finished is not done again."""
    said = []
    with only_one(tmp_path / NAMES[0]):
        tasks = reproduce.queue(chosen, tmp_path)
        assert tasks[0].state() == f"being trained by process {os.getpid()}"
        assert tasks[1].state() == "waiting"
        assert reproduced(chosen, tmp_path, report=said.append) == []
    assert "left to another" in said[0]
    assert not (tmp_path / NAMES[0] / TRAINING_FILE).exists()
    assert tasks[1].state().startswith("done: MSE")
    assert reproduced(chosen, tmp_path) == []
    assert [task.state().split(":")[0] for task in tasks] == ["done", "done"]


def test_a_lock_whose_holder_is_gone_is_no_obstacle(tmp_path, chosen, checkout):
    folder = tmp_path / NAMES[0]
    folder.mkdir()
    (folder / HOLDER).write_text("999999")
    assert holder(folder) is None
    assert reproduced(chosen[:1], tmp_path) == []


def test_a_result_of_an_earlier_commit_is_read(checkout):
    """Its machines were joined by plus signs."""
    old = {"experiment": NAMES[0], "mse": 0.1, "mse_rgb_white": 0.2, "psnr": 7.0, "images": 6, "mutation_rate": 0.5}
    old |= {"fire_rate": 0.5, "steps": 8, "seeds": 3, "mutation_curve": [[0.0, 0.1]], "train_steps": 9, "minutes": 2.0}
    old |= {"device": "one + two", "backend": "cpu", "commit": "a1 + b2", "data_digest": "d", "torch": "2", "note": ""}
    file = checkout / "figures" / "results.json"
    file.write_text(json.dumps({"schema": 1, "results": [old]}))
    row = store.load()[NAMES[0]]
    assert (row.devices, row.commits, row.kind) == (["one", "two"], ["a1", "b2"], BEST)
    store.record(dataclasses.replace(row, mse=0.05))
    assert json.loads(file.read_text())["schema"] == store.SCHEMA
    assert store.load()[NAMES[0]].mse == 0.05


def test_an_exported_archive_knows_its_commit(tmp_path, monkeypatch):
    """A run records the commit that the archive was made from, also if it was unpacked inside another repository."""
    top = project.PACKAGE.parent
    archive = subprocess.run(
        ["git", "-C", top, "archive", "HEAD", ".git_archival.txt"], capture_output=True, check=True
    )
    head = subprocess.run(["git", "-C", top, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["tar", "-x", "-C", tmp_path], input=archive.stdout, check=True)
    (tmp_path / "ncamlib").mkdir()
    monkeypatch.setattr(project, "PACKAGE", tmp_path / "ncamlib")
    assert project.commit() == head.stdout[:12]
