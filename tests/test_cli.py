"""The command line, as a user meets it: what it prints, what it writes, how it refuses."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from ncamlib import data, experiments
from ncamlib.cli import listing, main, options
from ncamlib.cli.grow import suits
from ncamlib.config import Experiment, ModelConfig, TrainConfig, to_dict
from ncamlib.errors import NcamError
from ncamlib.model import build, checkpoint
from ncamlib.results import store, tables

SMALL = ModelConfig(image_size=16, embedding=24, filters=4, hidden=32, steps=4)
TINY = Experiment("emos-dna-sto", "emos", SMALL, TrainConfig(steps=2, batch=4), experiments.FIG6, "Emos", 0.01799)


@pytest.fixture
def ncam(monkeypatch, capsys, tmp_path):
    """Call `ncam` with arguments: (exit status, stdout, stderr). Runs in an empty folder, on a tiny experiment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NCAM_HOME", str(tmp_path))
    monkeypatch.setenv("NCAM_BACKEND", "auto")
    (tmp_path / "_toc.yml").touch()
    monkeypatch.setitem(experiments.EXPERIMENTS, TINY.name, TINY)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["ncam", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code or 0
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


@pytest.fixture
def shipped(tmp_path):
    """A checkpoint of the tiny experiment, untrained, where shipped ones are."""
    torch.manual_seed(0)
    images = data.emoji("emos", 16)
    header = {"experiment": to_dict(TINY), "images": "emos", "data_digest": images.digest, "step": 7, "minutes": 0.5}
    header |= {"device": "test", "backend": "reference", "commit": "abc", "torch": "2", "note": ""}
    file = tmp_path / "checkpoints" / f"{TINY.name}.safetensors"
    checkpoint.save_model(file, build(SMALL), header)
    return file


def test_help_reads_well(ncam):
    status, out, _ = ncam("--help")
    assert status == 0
    for command in ("list", "train", "evaluate", "grow", "config", "data"):
        assert command in out


def test_list(ncam):
    status, out, _ = ncam("list", "--json")
    rows = json.loads(out)
    assert status == 0
    assert {"name", "paper_mse", "mse", "images", "minutes", "device"} <= rows[0].keys()
    by_name = {row["name"]: row for row in rows}
    assert (by_name["full-dna-syn"]["paper_mse"], by_name["full-dna-syn"]["images"]) == (0.00262, 2948)
    assert (by_name["cifar10-ce-syn"]["images"], by_name["lizard-single-sto"]["images"]) == (50_000, 1)
    assert all(row["mse"] is None for row in rows), "nothing is recorded here"
    assert "cifar10-ce-syn" in ncam("list")[1]


def test_the_list_fits_a_terminal_of_80_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    rows = tables.summary()
    listing.show(rows)
    out = capsys.readouterr().out
    assert "…" not in out
    for row in rows:
        shown = next(line.split() for line in out.splitlines() if line.startswith(row["name"] + " "))
        steps = "–" if row["train_steps"] is None else f"{row['train_steps']:,}"
        assert steps in shown


def test_config(ncam):
    status, out, _ = ncam("config", "full-ce-sto-256")
    assert status == 0
    assert json.loads(out)["model"]["embedding"] == 256


def test_train_then_evaluate_then_resume(ncam, tmp_path):
    status, out, err = ncam("train", TINY.name, "--device", "cpu")
    assert status == 0, err
    assert "2 steps" in out
    file = tmp_path / "runs" / TINY.name / "model.safetensors"
    status, out, err = ncam("evaluate", file, "--json", "--seeds", "1")
    measured = json.loads(out)
    assert status == 0, err
    expected = {"experiment", "mse", "mse_rgb_white", "psnr", "images", "mutation_rate", "fire_rate"}
    assert expected | {"steps", "device", "checkpoint"} <= measured.keys()
    assert (measured["experiment"], measured["images"], measured["mutation_rate"]) == (TINY.name, 103, 0.5)
    assert ncam("train", TINY.name)[0] == 0
    status, out, err = ncam("train", TINY.name, "--steps", "5")
    assert status == 0
    assert "5 steps" in out
    assert "from step 2 with changed settings: steps 2 -> 5" in err


def test_time_budget(ncam):
    status, out, _ = ncam("train", TINY.name, "--time-budget", "1s", "--out", "short")
    assert status == 0
    assert "minutes" in out
    status, _, err = ncam("train", TINY.name, "--time-budget", "soon")
    assert status == 2
    assert "90s, 9m or 1h30m" in err


def test_durations():
    assert [options.parse_duration(t) for t in ("90s", "9m", "1h30m", "45", "0.5m", None)] == [
        90,
        540,
        5400,
        45,
        30,
        None,
    ]


def test_train_on_a_folder(ncam, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(5):
        Image.new("RGB", (20, 20), (50 * i, 0, 0)).save(pictures / f"{i}.png")
    status, _, err = ncam("train", TINY.name, "--data-dir", pictures, "--out", "own")
    assert status == 0, err
    assert "5 of 5 pictures" in err
    (pictures / "broken.png").write_text("no")
    assert ncam("train", TINY.name, "--data-dir", pictures, "--out", "own2")[0] == 2
    assert ncam("train", TINY.name, "--data-dir", pictures, "--out", "own3", "--skip-broken")[0] == 0


@pytest.mark.parametrize("command", ["information", "persistence"])
def test_a_model_of_ones_own_pictures_is_measured_but_not_recorded(ncam, tmp_path, command):
    pictures = tmp_path / "chars"  # the name of a set of emoji, which these are not
    pictures.mkdir()
    for i in range(3):
        Image.new("RGB", (16, 16), (80 * i, 0, 0)).save(pictures / f"{i}.png")
    assert ncam("train", TINY.name, "--data-dir", pictures)[0] == 0
    own = "runs/own-chars-dna-sto/model.safetensors"
    status, out, err = ncam(command, own, "--data-dir", pictures)
    assert (status, "MSE" in out) == (0, True), err
    status, _, err = ncam(command, own, "--data-dir", pictures, "--record")
    assert (status, "only a shipped checkpoint can be recorded" in err) == (2, True)
    assert "was trained on 'own-chars': give those pictures" in ncam("evaluate", own)[2]
    assert "was not among the images" in ncam("grow", "🅰", "--model", own, "--out", "a.png")[2]


def test_evaluate_records(ncam, shipped, tmp_path):
    (tmp_path / "README.md").write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    (tmp_path / "book").mkdir()
    for page, places in ("intro.md", 1), ("choices.md", 3):
        (tmp_path / "book" / page).write_text(f"{tables.BEGIN}\n{tables.END}\n" * places)
    status, out, err = ncam("evaluate", TINY.name, "--record", "--json")
    assert status == 0, err
    row = next(r for r in json.loads(ncam("list", "--json")[1]) if r["name"] == TINY.name)
    assert row["mse"] == json.loads(out)["mse"]
    assert (row["minutes"], row["device"]) == (0.5, "test")
    result = store.load()[TINY.name]
    assert dict(result.mutation_curve).keys() == {0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 1}
    assert ncam("list", "--write")[0] == 0
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("before\n")
    assert readme.endswith("after\n")
    assert f"{row['mse']:.4f}" in readme
    assert "old" not in readme
    status, _, err = ncam("evaluate", TINY.name, "--record", "--mutation-rate", "0")
    assert status == 2
    assert "test conditions" in err


def test_broken_results_file_is_said(ncam, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "results.json").write_text('{"schema": 1, "results": [{"mse": "low"}]}')
    status, _, err = ncam("list")
    assert status == 2
    assert "mse is 'low'" in err


@pytest.mark.parametrize(("name", "kind"), [("a.gif", "GIF"), ("a.apng", "PNG"), ("a.png", "PNG")])
def test_grow_an_emoji(ncam, shipped, tmp_path, name, kind):
    status, out, err = ncam("grow", "😀", "--model", TINY.name, "--out", name, "--steps", "6", "--scale", "2")
    assert status == 0, err
    assert f"wrote {name}" in out
    with Image.open(io.BytesIO((tmp_path / name).read_bytes())) as picture:
        assert picture.format == kind
        if name.endswith("gif"):
            assert picture.size == (32, 32)


def test_grow_is_repeatable_and_follows_its_options(ncam, shipped, tmp_path):
    def grown(*arguments):
        assert ncam("grow", "grinning_face", "--model", TINY.name, "--out", "g.png", *arguments)[0] == 0
        return (tmp_path / "g.png").read_bytes()

    assert grown() == grown("--seed", "0")
    for change in (("--seed", "1"), ("--mutation-rate", "0"), ("--fire-rate", "1"), ("--grid", "20")):
        assert grown(*change) != grown(), change


def test_grow_a_picture_of_ones_own(ncam, shipped, tmp_path):
    Image.new("LA", (30, 20), (100, 255)).save(tmp_path / "own.png")
    status, _, err = ncam("grow", "own.png", "--model", TINY.name, "--out", "g.gif")
    assert status == 0
    assert "own.png is 30x20 pixels and was resized to 16x16" in err
    assert "all this model has seen" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "full-rna"], "unknown experiment 'full-rna': choose one of"),
        (["train", "emos-dna-sto", "--batch", "0"], "batch is 0"),
        (["train", "emos-dna-sto", "--device", "tpu"], "choose one of auto, cpu, cuda"),
        (["train", "emos-dna-sto", "--backend", "abacus"], "unknown backend 'abacus'"),
        (["train", "emos-dna-sto", "--data-dir", "absent"], "there is no folder absent"),
        (["evaluate", "chars-dna-sto"], "there is no checkpoint"),
        (["evaluate", "absent.safetensors"], "there is no checkpoint"),
        (["evaluate", "emos-dna-sto", "--mutation-rate", "2"], "mutation rate is 2"),
        (["evaluate", "emos-dna-sto", "--fire-rate", "0"], "fire rate is 0"),
        (["grow", "unicorn_with_a_hat", "--model", "emos-dna-sto"], "not among"),
        (["grow", "absent.png", "--model", "emos-dna-sto"], "there is no picture absent.png"),
        (["grow", "😀", "--model", "emos-dna-sto", "--out", "growth.bmp"], "must end in .gif, .apng, .png"),
        (["grow", "😀", "--model", "emos-dna-sto", "--grid", "2"], "too small for the seed"),
        (["grow", "😀", "--model", "emos-dna-sto", "--mutation-rate", "-1"], "between 0 and 1"),
        (["grow", "😀", "--model", "emos-dna-sto", "--grid", "1024", "--scale", "64"], "too large to write"),
        (["reproduce", "emos-dna-sto", "--data-dir", "absent"], "--data-dir is for CIFAR-10"),
        (["reproduce", "--from", "full-ce-syn", "--status"], "--from is for named experiments"),
        (["reproduce", "full-dna-syn", "--more", "--from", "full-ce-syn", "--status"], "leave out --more"),
        (["reproduce", "full-dna-syn", "--from", "nowhere.safetensors", "--status"], "nowhere.safetensors"),
        (["trials", "full-ce-syn", "--data-dir", "absent"], "--data-dir is for CIFAR-10"),
        (["train", "emos-dna-sto", "--seed", "-1"], "between 0 and 4294967295"),
        (["evaluate", __file__], "the name of one ends in .safetensors"),
        (["train", "emos-dna-sto", "--data-dir", __file__], "is a file: give a folder"),
        (["data", "verify", "--font", "absent.ttf"], "there is no font file absent.ttf"),
        (["data", "info", "--names", "flags"], "unknown emoji subset 'flags'"),
        (["grow", "😀", "--model", "emos-dna-sto", "--grid", "1024", "--scale", "1", "--steps", "100"], "too large"),
        (["bench", "--recipes", "1,1", "--quick"], "takes one --threads at most: leave other options out"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(ncam, shipped, arguments, message):
    status, _, err = ncam(*arguments)
    assert status == 2
    assert message in err
    assert err.startswith("ncam: ")
    assert len(err.strip().splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_one(ncam):
    status, _, err = ncam("train", TINY.name, "--device", "cuda")
    assert status == 2
    assert "no CUDA device" in err


def test_data_info(ncam):
    status, out, _ = ncam("data", "info")
    assert status == 0
    assert "2948" in out
    assert "😀\tgrinning_face" in ncam("data", "info", "--names", "emos")[1]


def test_outside_a_checkout(monkeypatch, tmp_path):
    monkeypatch.setenv("NCAM_HOME", str(tmp_path))
    with pytest.raises(NcamError, match="run in a checkout, or set NCAM_HOME"):
        checkpoint.checkpoint_path("full-dna-syn")
    assert store.load() == {}


def test_data_pca_tells_and_records(ncam, tmp_path):
    status, out, _ = ncam("data", "pca", "chars")
    assert status == 0
    assert "0 components: residual MSE 0.12" in out
    assert not (tmp_path / "figures" / "pca.json").exists()
    assert ncam("data", "pca", "chars", "--record")[:2] == (0, out)
    assert (tmp_path / "figures" / "pca.json").exists()
    assert "unknown dataset 'flags'" in ncam("data", "pca", "flags")[2]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.05035, "0.0504"), (0.00717, "0.0072"), (0.0, "0.0000"), (3.2e9, "3e+09"), (float("nan"), "nan")],
)
def test_errors_are_shown_as_the_paper_rounds_them(value, shown):
    assert tables.number(value) == shown


NUMBERS = [
    ("evaluate", "--seeds", "0"),
    ("evaluate", "--steps", "-3"),
    ("evaluate", "--steps", "0"),
    ("evaluate", "--mutation-rate", "nan"),
    ("evaluate", "--fire-rate", "0"),
    ("grow", "--steps", "-5"),
    ("grow", "--steps", "0"),
    ("grow", "--grid", "0"),
    ("grow", "--grid", "2"),
    ("grow", "--scale", "0"),
    ("grow", "--fire-rate", "nan"),
    ("grow", "--mutation-rate", "inf"),
    ("grow", "--seed", str(2**64)),
    ("grow", "--seed", "-1"),
    ("train", "--learning-rate", "nan"),
    ("train", "--learning-rate", "inf"),
    ("train", "--learning-rate", "0"),
    ("train", "--ema", "1.5"),
    ("train", "--ema", "nan"),
    ("train", "--batch", "0"),
    ("train", "--threads", "-1"),
    ("train", "--threads", "0"),
    ("train", "--seed", str(2**64)),
    ("train", "--optimiser-steps", "0"),
    ("train", "--steps", "-2"),
    ("train", "--time-budget", "1h30"),
    ("train", "--time-budget", "0"),
    ("train", "--time-budget", "-9m"),
    ("train", "--time-budget", "nan"),
    ("reproduce", "--nice", "20"),
    ("reproduce", "--time-budget", "inf"),
]


@pytest.mark.parametrize(("command", "option", "value"), NUMBERS, ids=" ".join)
def test_numbers_out_of_bounds_are_refused(ncam, shipped, tmp_path, command, option, value):
    """Zero is zero and not the default, and nothing is computed, let alone saved, from what is no number."""
    target = {"grow": ["grinning_face", "--model", TINY.name]}.get(command, [TINY.name])
    before = sorted(tmp_path.rglob("*"))
    status, out, err = ncam(command, *target, option, value)
    assert status == 2, (out, err)
    assert err.startswith("ncam: ")
    assert err.count("\n") == 1
    assert out == ""
    assert sorted(tmp_path.rglob("*")) == before


COMMAND = [sys.executable, "-m", "ncamlib.cli"]


def test_a_closed_output_is_no_error():
    code = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', 'ncamlib.cli', *sys.argv[1:]])"
    command = [sys.executable, "-c", code, "config", "chars-dna-syn"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


LISTS = (["list"], ["data", "info", "--names", "emos"], ["config", "chars-dna-syn"])


@pytest.mark.parametrize("arguments", LISTS, ids=lambda a: a[0])
def test_output_that_nobody_reads_ends_a_command_as_a_closed_pipe_does(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_a_wrong_option_names_the_command_whose_help_has_it(ncam):
    status, _, err = ncam("grow", "🅰", "--steps", "abc")
    assert status == 2
    assert "grow --help" in err


def test_folders_that_would_not_be_used_are_refused(ncam, tmp_path):
    (tmp_path / "file").touch()
    assert "takes a folder" in ncam("reproduce", "--out", tmp_path / "file", "--status")[2]
    assert "add both" in ncam("evaluate", "chars-dna-syn", "--train-dir", tmp_path)[2]


@pytest.mark.parametrize(
    ("arguments", "encoding"),
    [*((arguments, "ascii") for arguments in LISTS), *((LISTS[1], one) for one in ("cp1252", "latin-1", "utf-16"))],
)
def test_any_encoding_of_the_output_will_do(arguments, encoding):
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "100"}
    process = subprocess.run([*COMMAND, *arguments], capture_output=True, check=True, env=environment)
    assert process.stderr == b""
    assert len(process.stdout) > 100


def test_the_c_locale_will_do(tmp_path):
    """Also for an emoji among the arguments, whose bytes Python then does not understand."""
    bare = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    arguments = ["grow", "💯", "--out", str(tmp_path / "a.png"), "--steps", "2"]
    process = subprocess.run([*COMMAND, *arguments], capture_output=True, check=True, env=os.environ | bare)
    assert b"wrote" in process.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", LISTS, ids=lambda a: a[0])
def test_a_full_device_is_said(arguments):
    with open("/dev/full", "w") as full:
        process = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr == (
        "ncam: could not write the output (No space left on device): free some space, or write it elsewhere\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "No such command 'nope'"),
        (["train"], "Missing argument 'EXPERIMENT'"),
        (["train", "emos-dna-sto", "--batch", "x"], "Invalid value for '--batch'"),
        (["train", "emos-dna-sto", "--nope"], "No such option: --nope"),
    ],
)
def test_misuse_is_one_sentence(ncam, arguments, said):
    status, out, err = ncam(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"ncam: {said}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["persistence", "information", "data pca"])
def test_what_advises_to_skip_broken_pictures_can(ncam, shipped, tmp_path, command):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in "abc":
        Image.new("RGBA", (16, 16), (len(name), 0, 0, 255)).save(folder / f"{name}.png")
    (folder / "d.png").write_bytes(b"no picture")
    target = "emos" if command == "data pca" else shipped
    status, _, err = ncam(*command.split(), target, "--data-dir", folder)
    assert (status, "or skip it with --skip-broken" in err) == (2, True)
    status, out, err = ncam(*command.split(), target, "--data-dir", folder, "--skip-broken")
    assert "skipped: " in err
    assert (status, "MSE" in out) == (0, True)


def test_test_images_are_those_it_was_not_trained_on(ncam, shipped):
    status, out, _ = ncam("evaluate", shipped, "--test", "--json", "--seeds", "1")
    assert status == 0
    assert json.loads(out)["images"] == 606


@pytest.mark.parametrize(
    ("target", "model"),
    [
        ("🅰", "chars-dna-syn"),
        ("🍕", "full-dna-syn"),
        ("melting_face", "full-dna-syn-augmented"),  # newer than the models
        ("own.PNG", "full-dna-syn-augmented"),
    ],
)
def test_grow_takes_a_model_that_suits_the_target(target, model):
    assert suits(target) == model
    assert model in experiments.EXPERIMENTS
