"""Every registered experiment goes through every command that takes a model: it works, or a sentence says why not."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from ncamlib import data, experiments
from ncamlib.cli import main
from ncamlib.config import Stage
from ncamlib.errors import NcamError
from ncamlib.experiments import EXPERIMENTS
from ncamlib.live import assets
from ncamlib.model import checkpoint
from ncamlib.results import tables
from ncamlib.training.run import prepare

ROOT = Path(__file__).resolve().parent.parent
SMALL = {"image_size": 16, "embedding": 8, "filters": 4, "hidden": 16, "steps": 4}


def small(experiment):
    """The same switches, small and quickly trained."""
    train = dataclasses.replace(experiment.train, steps=2, batch=2, stages=(Stage(0.5, 8, 2), Stage(1.0, 16, 4)))
    return dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, **SMALL), train=train)


@pytest.fixture
def ncam(monkeypatch, capsys, tmp_path):
    """Call `ncam` in an empty checkout: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NCAM_HOME", str(tmp_path))
    monkeypatch.setenv("NCAM_BACKEND", "auto")
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "figures").mkdir()

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["ncam", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code or 0
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


@pytest.fixture
def pictures(tmp_path):
    """A folder of four pictures."""
    folder = tmp_path / "drawings"
    folder.mkdir()
    for i in range(4):
        Image.new("RGB", (20, 20), (60 * i, 0, 90)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def few(monkeypatch):
    """Sets of emoji are cut to their first six."""
    whole = data.sprites.emoji

    def emoji(subset, size=64):
        images = whole(subset, size)
        return data.Images(subset, images.pixels[:6], images.names[:6], images.sequences[:6])

    for module in ("ncamlib.data", "ncamlib.data.loading"):
        monkeypatch.setattr(sys.modules[module], "emoji", emoji)


def says_why(err: str) -> bool:
    """Whether stderr ends with one sentence instead of a traceback."""
    return err.splitlines()[-1].startswith("ncam: ") and "Traceback" not in err


def kind(experiment):
    """What the commands treat alike."""
    one = small(experiment)
    pool = one.train.pool > 0, one.train.pool_damage > 0
    return one.model, one.ships_encoder, *pool, one.train.mutation, one.train.augment, one.images == "cifar10"


KINDS = {kind(experiment): name for name, experiment in reversed(EXPERIMENTS.items())}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_listed(ncam, name):
    assert json.loads(ncam("config", name)[1])["name"] == name
    assert name in ncam("list")[1]


@pytest.mark.parametrize("name", sorted(KINDS.values()))
def test_every_kind_of_experiment_goes_through_every_command(ncam, few, pictures, monkeypatch, name):
    experiment = small(EXPERIMENTS[name])
    monkeypatch.setitem(experiments.EXPERIMENTS, name, experiment)
    folder = ["--data-dir", pictures] if experiment.images == "cifar10" else []
    status, out, err = ncam("train", name, "--optimiser-steps", 1, *folder)
    assert status == 0, err
    assert "1 steps" in out
    status, out, err = ncam("reproduce", name, *folder)  # goes on where it was
    assert status == 0, err
    assert f"{name}: MSE" in out
    assert ncam("merge", "runs")[0] == 0
    status, out, err = ncam("evaluate", name, "--json", *folder)
    assert status == 0, err
    row = next(row for row in tables.summary() if row["name"] == name)
    assert row["mse"] == pytest.approx(json.loads(out)["mse"])
    status, out, err = ncam("grow", "🍕", "--model", name, "--out", "growth.png")
    if experiment.model.decoder == "conv":
        assert status == 2
        assert "nothing grows" in err
    else:
        assert status == 0 or ("without its encoder" in err and says_why(err)), err
    assert name in ncam("list")[1]


def test_one_entry_adds_an_experiment(ncam, few, monkeypatch, tmp_path):
    """Everything else follows from it."""
    base = small(EXPERIMENTS["emos-dna-sto"])
    new = dataclasses.replace(base, name="emos-dna-sto-new", row="Emos, new", paper_mse=0.5)
    monkeypatch.setitem(experiments.EXPERIMENTS, new.name, new)
    assert new.name in ncam("list")[1]
    assert ncam("train", new.name)[0] == 0
    assert ncam("evaluate", f"runs/{new.name}/model.safetensors")[0] == 0
    status, out, err = ncam("reproduce", new.name)
    assert (status, "paper 0.5000" in out) == (0, True), err
    assert ncam("reproduce", new.name, "--status")[1].startswith(f"{new.name}  done: MSE")
    assert ncam("merge", "runs", "--table")[0] == 0
    assert ncam("evaluate", new.name, "--record")[0] == 0
    (tmp_path / "README.md").write_text(f"{tables.BEGIN}\n{tables.END}\n")
    tables.write_into(tmp_path / "README.md", tables.rendered()["README.md"])
    line = next(line for line in (tmp_path / "README.md").read_text().splitlines() if new.name in line)
    assert line.startswith(f"| `{new.name}` | 0.5000 | 0.")
    mse = tables.number(tables.summary()[-1]["mse"])
    assert f"| {mse} | {mse} |" in line  # as the best and as the table run


def test_a_model_of_ones_own_is_as_good_as_a_shipped_one(ncam, pictures, tmp_path):
    """Trained on a folder: measured, recorded, merged, grown, shown in the live widget."""
    status, out, err = ncam("train", "chars-dna-syn", "--optimiser-steps", 2, "--batch", 2, "--data-dir", pictures)
    assert status == 0, err
    file = tmp_path / "runs" / "drawings-dna-syn" / "model.safetensors"
    assert str(file.relative_to(tmp_path)) in out
    status, _, err = ncam("evaluate", file)
    assert status == 2
    assert "give those pictures with --data-dir" in err
    status, out, err = ncam("evaluate", file, "--data-dir", pictures, "--record", "--json")
    assert status == 0, err
    assert (file.parent / "result.json").exists()
    assert ncam("merge", "runs")[0] == 0
    row = next(row for row in tables.summary() if row["name"] == "drawings-dna-syn")
    assert (row["table"], row["mse"]) == (tables.OWN, pytest.approx(json.loads(out)["mse"]))
    assert "drawings-dna-syn" in ncam("list")[1]
    assert ncam("grow", pictures / "1.png", "--model", "drawings-dna-syn", "--out", "g.png")[0] == 0
    from ncamlib.live import LiveManifold

    with pytest.raises(NcamError, match="was trained on 'drawings': give the folder of those pictures as data_dir"):
        LiveManifold("drawings-dna-syn")
    live = LiveManifold("drawings-dna-syn", data_dir=pictures)
    assert live.seedlings == [], "something was encoded before it was shown"
    live._answer(live, {"type": "load", "file": "seedlings"}, [])
    assert [seedling["title"] for seedling in live.seedlings] == ["0.png", "1.png", "2.png", "3.png"]
    assert live._file("growing", "manifold")[:2] == b"\x1f\x8b", "not packed"
    (pictures / "3.png").unlink()
    assert len(LiveManifold("drawings-dna-syn", data_dir=pictures)._images) == 3


def test_what_the_page_cannot_run_is_said(pictures, monkeypatch):
    from ncamlib.live import LiveManifold

    with pytest.raises(NcamError, match="heads-dna-sto knows the codes of the images it was trained on only"):
        LiveManifold("heads-dna-sto", data_dir=pictures)
    live, sent = LiveManifold(), []
    monkeypatch.setattr(live, "send", lambda content, buffers=None: sent.append(content))
    monkeypatch.setattr(assets, "pack", lambda *_: damaged())
    live._answer(live, {"type": "load", "file": "manifold", "regime": "growing"}, [])
    assert sent == [{"type": "manifold", "regime": "growing", "error": "it is damaged"}]
    monkeypatch.setattr(assets, "seedling", lambda *_: {}["weights"])  # whatever goes wrong, the page waits
    live._answer(live, {"type": "load", "file": "seedlings"}, [])
    assert sent[1:] == [{"type": "seedlings", "regime": None, "error": "KeyError: 'weights'"}]

    with pytest.raises(NcamError, match="nothing grows in full-dna-conv"):
        LiveManifold("full-dna-conv")
    with pytest.raises(NcamError, match="the live page runs models with code = dna, not ce"):
        LiveManifold("full-ce-syn")
    assert assets.STANDARD["code"] == "dna"


def damaged():
    raise NcamError("it is damaged")


def test_two_processes_train_a_convolutional_decoder(tmp_path):
    """No parameter is without a gradient."""
    script = tmp_path / "run.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import torch; torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from ncamlib.model import dna; dna.FIT_STEPS = 5\n"
        "from test_experiments import EXPERIMENTS, data, small\n"
        "from ncamlib.training import train\n"
        "train(small(EXPERIMENTS['full-dna-conv']), data.emoji('chars', 16), Path(sys.argv[2]), torch.device('cpu'))\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    subprocess.run([*torchrun, str(ROOT / "tests"), str(tmp_path / "out")], check=True, capture_output=True)
    assert checkpoint.load_model(tmp_path / "out" / "model.safetensors")[1]["step"] == 2


def test_every_parameter_of_every_model_gets_a_gradient():
    for name, experiment in EXPERIMENTS.items():
        one = small(experiment)
        channels, count = one.model.image_channels, 1 if one.model.code == "single" else 3
        pixels = data.emoji("chars", 16).pixels[:count, :channels].contiguous()
        images = data.Images("x", pixels, ["a", "b", "c"][:count])
        model = prepare(one, images, checkpoint.torch.device("cpu")).model
        fire = model.draw_fire(count)
        model(images.pixels, model.draw_mutation(count, 0.5), fire).square().sum().backward()
        idle = [key for key, parameter in model.named_parameters() if parameter.grad is None]
        assert not idle, f"{name}: {idle}"
