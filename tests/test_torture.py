"""Attacks at random, from fixed seeds: a few of each on every run, all of them with `make torture`, which records them.

Killed trainings go on bit for bit; no damaged file is taken for a whole one; no bad value does more than end in a
sentence.
"""

import ast
import contextlib
import datetime
import io
import json
import random
import signal
import subprocess
import sys
import time
import typing
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PASSED
from PIL import Image

from ncamlib import data
from ncamlib.chapters.parameters import Several
from ncamlib.cli import app, main
from ncamlib.config import ModelConfig
from ncamlib.errors import NcamError
from ncamlib.machine import device_name
from ncamlib.model import build, checkpoint
from ncamlib.project import commit
from ncamlib.results import torture
from ncamlib.training import MODEL_FILE, TRAINING_FILE

ROOT = Path(__file__).resolve().parent.parent
FEW_AND_ALL = {"kills": (3, 500), "checkpoints": (200, 20_000), "pictures": (150, 5000), "values": (100, 2000)}
FEW_AND_ALL |= {"parameters": (100, 2000)}
HANG = 5.0  # seconds


@pytest.fixture
def attack(request):
    """attack(kind, name): how many attacks of a kind; they are recorded once all have been withstood."""
    full, began, asked = request.config.getoption("--torture"), time.monotonic(), []

    def count(kind: str, name: str) -> int:
        number = FEW_AND_ALL[kind][full]
        asked.append((name, number))
        return number

    yield count
    if full and request.node.stash.get(PASSED, False):
        where = {"device": device_name(torch.device("cpu")), "commit": commit()}
        minutes = round((time.monotonic() - began) / 60, 1)
        for name, number in asked:
            torture.record(torture.Attack(name, number, minutes, date=datetime.date.today().isoformat(), **where))


@contextlib.contextmanager
def at_most(seconds: float):
    """Fail what hangs."""

    def ring(*_):
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Bits turned, bytes set, pieces cut out, doubled, moved or filled."""
    out = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        if not out:
            break
        # Half of the damage where headers are.
        place = chance.randrange(min(len(out), 600) if chance.random() < 0.5 else len(out))
        length = chance.randrange(1, 64)
        match chance.randrange(7):
            case 0 | 1:
                out[place] ^= 1 << chance.randrange(8)
            case 2:
                out[place] = chance.randrange(256)
            case 3:
                del out[place:]
            case 4:
                del out[place : place + length]
            case 5:
                out[place:place] = out[place : place + length]
            case 6:
                out[place : place + length] = bytes([chance.choice((0, 255))]) * length
    return bytes(out)


# A life ends after so many saves, a third of them inside one, at the next call of one of these functions.
LIFE = """
import os, signal, sys
import torch; torch.set_num_threads(1)
import ncamlib.training.loop as loop
from ncamlib.cli import main
loop.SAVE_EVERY = 0.0
saves, inside, where = int(sys.argv.pop(1)), sys.argv.pop(1) == "inside", sys.argv.pop(1)
real, left = getattr(os, where), [saves if inside else -1]
def last(*arguments):
    left[0] -= 1
    if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
setattr(os, where, last)
step, steps = loop.train_step, [0]
def train_step(*arguments):
    if not inside and steps[0] == saves: os.kill(os.getpid(), signal.SIGKILL)
    steps[0] += 1
    return step(*arguments)
loop.train_step = train_step
main()
"""


def live(folder: Path, steps: int, saves: int, inside: bool, where: str) -> int:
    """One process of `ncam train`, killed or at its end; its exit status."""
    arguments = ["train", "lizard-single-sto", "--optimiser-steps", str(steps), "--threads", "1", "--out", str(folder)]
    life = [sys.executable, "-c", LIFE, str(saves), "inside" if inside else "between", where]
    return subprocess.run([*life, *arguments], capture_output=True, check=False).returncode


def killed_again_and_again(folder: Path, kills: int, seed: int, steps: int) -> None:
    chance = random.Random(seed)
    for i in range(kills):
        inside = i % 3 == 0
        assert live(folder, steps, chance.randrange(1, 5), inside, chance.choice(("fsync", "replace"))) == -9
    assert live(folder, steps, 10**9, False, "fsync") == 0


@pytest.mark.long
def test_killed_trainings_go_on_bit_for_bit(tmp_path, attack):
    """SIGKILL through the real command, between steps and inside of saves."""
    kills, chains = attack("kills", "SIGKILL of `ncam train`, a third of them inside a save"), 2
    each = [kills // chains + (i < kills % chains) for i in range(chains)]
    steps = 3 * max(each) + 8  # more than all lives together take
    with ThreadPoolExecutor(chains + 1) as pool:
        whole = pool.submit(live, tmp_path / "whole", steps, 10**9, False, "fsync")
        lives = [pool.submit(killed_again_and_again, tmp_path / str(i), n, i, steps) for i, n in enumerate(each)]
        assert [life.result() for life in lives] == [None] * chains
        assert whole.result() == 0
    expected = checkpoint.read(tmp_path / "whole" / TRAINING_FILE, "training")[0]
    for i in range(chains):
        assert sorted(file.name for file in (tmp_path / str(i)).iterdir()) == [MODEL_FILE, TRAINING_FILE]
        tensors = checkpoint.read(tmp_path / str(i) / TRAINING_FILE, "training")[0]
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(tensors[name], expected[name]) for name in expected)


def edited(value, chance: random.Random):
    """A header with something else in it."""
    strange = [None, -1, 10**9, 1e308, float("nan"), "", "x", [], {}, True, [[]], "\ud800"]
    if isinstance(value, dict) and value:
        key = chance.choice(sorted(value))
        if chance.random() < 0.3:
            return {name: item for name, item in value.items() if name != key}
        return value | {key: edited(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.5:
        place = chance.randrange(len(value))
        return [*value[:place], edited(value[place], chance), *value[place + 1 :]]
    return chance.choice(strange)


def test_damaged_checkpoints_are_refused_or_whole(tmp_path, attack):
    """Damaged at random, or written with a strange header and a digest that fits it."""
    torch.manual_seed(0)
    small = ModelConfig(image_size=16, embedding=24, filters=4, hidden=32, steps=4)
    file, model = tmp_path / "model.safetensors", build(small)
    checkpoint.save_model(file, model, {"experiment": {"name": "a"}, "images": "emos", "parts": [{"step": 3}]})
    whole, chance = file.read_bytes(), random.Random(1)
    tensors, header = checkpoint.read(file, "model")
    expected = checkpoint.load_model(file)[0].state_dict()
    sentences: list[str] = []
    for i in range(attack("checkpoints", "damaged checkpoints")):
        if i % 4 == 3:
            checkpoint.write(file, tensors, edited(header, chance))
        else:
            file.write_bytes(damaged(whole, chance))
        with at_most(HANG):
            try:
                loaded = checkpoint.load_model(file)[0].state_dict()
            except NcamError as error:
                sentences.append(str(error))
                continue
        assert loaded.keys() == expected.keys()
        assert all(torch.equal(loaded[name], expected[name]) for name in expected), i
    assert not any("\n" in sentence for sentence in sentences)


def pictures() -> dict[str, bytes]:
    """One of each kind that is read."""
    rng = np.random.default_rng(0)
    rgba = Image.fromarray(rng.integers(0, 256, (40, 30, 4), np.uint8), "RGBA")
    grey16 = Image.fromarray(rng.integers(0, 65536, (20, 20), np.uint16))
    kinds = {
        "png": rgba,
        "jpg": rgba.convert("RGB"),
        "gif": rgba.convert("P"),
        "webp": rgba,
        "bmp": rgba.convert("RGB"),
    }
    kinds |= {"tif": rgba.convert("CMYK"), "tiff": grey16, "PNG": grey16, "Png": rgba.convert("P")}
    files = {}
    for suffix, picture in kinds.items():
        buffer = io.BytesIO()
        picture.save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
        files[suffix] = buffer.getvalue()
    return files


def test_damaged_pictures_are_refused_or_pictures(tmp_path, attack):
    chance, files = random.Random(2), pictures()
    sentences: list[str] = []
    for i in range(attack("pictures", "damaged pictures")):
        suffix = list(files)[i % len(files)]
        file = tmp_path / f"picture.{suffix}"
        file.write_bytes(damaged(files[suffix], chance))
        with at_most(HANG), warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                pixels, _ = data.load_image(file, 16)
            except NcamError as error:
                sentences.append(str(error))
                continue
        assert pixels.shape == (4, 16, 16)
        assert pixels.isfinite().all()
        assert 0 <= pixels.min() <= pixels.max() <= 1
    assert not any("\n" in sentence for sentence in sentences)


NUMBERS = ("nan", "inf", "-inf", "1e999", "-1", "1,5", "0x10", "", " ", "abc", "--", "1_0", "½", "99999999999999999999")
TEXTS = {"device": ("gpu", "", "CPU"), "backend": ("fast", ""), "time_budget": ("1h30", "-5m", "0", "nan", "soon", "")}
ARGUMENTS = {"train": ["lizard-single-sto"], "evaluate": ["lizard-single-sto"], "grow": ["🦎"], "bench": []}
ARGUMENTS |= {"reproduce": ["lizard-single-sto"], "trials": ["chars-dna-sto"]}


def bad_values() -> list[list[str]]:
    """Command lines with one bad value each."""
    lines = []
    for command in app.registered_commands:
        name = command.name or command.callback.__name__
        for parameter, hint in typing.get_type_hints(command.callback, include_extras=True).items():
            kind, option = typing.get_args(hint)[:2] if typing.get_origin(hint) is typing.Annotated else (hint, None)
            values, whole = list(TEXTS.get(parameter, ())), kind in (int, int | None, list[int] | None)
            bounds = getattr(getattr(option, "callback", None), "bounds", None)
            if bounds:
                low, high = bounds
                outside = [low - 1, low - 0.5, 2 * high + 1, -(10**12)]
                values = [*NUMBERS, *(f"{value:.12g}" for value in outside), *(("0.5", "1e1", "true") if whole else ())]
                values = [value for value in values if not good(value, whole, low, high)]
            flag = next((text for text in getattr(option, "param_decls", None) or () if text.startswith("--")), None)
            flag = flag or f"--{parameter.replace('_', '-')}"
            lines += [[name, *ARGUMENTS.get(name, ["x"]), f"{flag}={value}"] for value in values]
    return lines


def good(text: str, whole: bool, low: float, high: float) -> bool:
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        return False
    return low <= value <= high


def test_bad_values_end_in_a_sentence(monkeypatch, capsys, attack):
    chance, lines = random.Random(3), bad_values()
    chance.shuffle(lines)
    assert len(lines) > 300
    for i in range(attack("values", "bad values on the command line")):
        line = list(lines[i % len(lines)])
        if i >= len(lines):  # the same again, with other noise in it
            line[-1] += chance.choice(("e", "x", "\u00a0m", "'", '"', ";", "\x00", "\u202e", "%", "٣ "))
        monkeypatch.setattr(sys, "argv", ["ncam", *line])
        with at_most(HANG), pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err
        assert ended.value.code == 2, line
        assert said.startswith("ncam: "), (line, said)
        assert said.count("\n") == 1, (line, said)


def checks() -> dict[str, tuple[str, str]]:
    """Of every chapter: its parameters, and its cell up to where they are checked."""
    found = {}
    for file in sorted((ROOT / "book").glob("*.ipynb")):
        cells = [cell for cell in json.loads(file.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
        parameters = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
        source = "".join(cells[cells.index(parameters[0]) + 1]["source"]) if parameters else ""
        body = ast.parse(source).body
        for i, node in enumerate(body):
            if isinstance(node, ast.Assign) and "check_parameters(" in ast.unparse(node):
                checked = "\n".join(ast.unparse(node) for node in body[: i + 1])
                found[file.stem] = ("".join(parameters[0]["source"]), checked)
    return found


def strange(kind, chance: random.Random):
    """A value that is none of a kind."""
    values = [None, float("nan"), float("inf"), -(10**9), "many", "", "1,5", [], {}, "nan", 10**400, b"x"]
    if isinstance(kind, range):
        values += [kind.start - 1, kind.stop, 0.5, "0.5", str(kind.stop), True]
    elif isinstance(kind, tuple):
        values += [kind[0] - 0.1, kind[1] + 0.1, True, "½"]
    elif kind is bool:
        values += ["perhaps", 2, -1.5]
    elif isinstance(kind, Several):
        values = ["" if kind.least else 7 * ["x"] * 64, "x " * 100, [], {}, ["x"] * 100]
        values += [] if kind.kind is str else ["nope", [strange(kind.kind, chance)]]
        values = [value for value in values if kind.least or value not in ("", [])]
    elif kind is str or kind is Path:
        values = [None, 3, 0.5, [], {}, True, b"x", ["x"]]
    return chance.choice(values)


def test_bad_parameters_of_chapters_end_in_a_sentence(attack, monkeypatch):
    chance, chapters, kinds = random.Random(4), checks(), {}
    real = sys.modules["ncamlib.chapters"].check_parameters

    def keep(namespace, **given):
        kinds.update(given)
        return real(namespace, **given)

    monkeypatch.setattr("ncamlib.chapters.check_parameters", keep)
    assert len(chapters) >= 10
    for _ in range(attack("parameters", "bad parameters of chapters")):
        parameters, check = chapters[chance.choice(sorted(chapters))]
        kinds.clear()
        namespace: dict = {"__name__": "__main__"}
        exec(parameters, namespace)
        exec(check, dict(namespace))  # as they are, they are good
        if chance.random() < 0.1:
            name, value = chance.choice(("stepps", "Seed", "emojis")), 3
        else:
            name = chance.choice(sorted(kinds))
            value = strange(kinds[name], chance)
        namespace[name] = value
        with at_most(HANG), pytest.raises(NcamError) as refused:
            exec(check, dict(namespace))
        assert "\n" not in str(refused.value), (name, value)
