"""Rules for all tests: the same examples on every run, a short initial fit of the DNA code."""

import os
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import settings

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before the kernels are imported: they then run on the CPU

from ncamlib.model import dna

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


COMPILERS = ("g++", "gcc", "c++", "cc", "clang", "clang++")


def pytest_addoption(parser):
    parser.addoption("--no-compiler", action="store_true", help="run as on a machine without a C++ compiler")


def pytest_configure(config):
    """Take the compilers off the path, and the kernels out of the cache, for this process and all that it starts."""
    if not config.getoption("--no-compiler"):
        return
    folder = Path(config.stash.setdefault(FOLDER, tempfile.TemporaryDirectory()).name)
    (folder / "bin").mkdir()
    for place in os.get_exec_path():
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            link = folder / "bin" / program.name
            if not program.name.startswith(COMPILERS) and not link.is_symlink():
                link.symlink_to(program)
    os.environ |= {"PATH": str(folder / "bin"), "XDG_CACHE_HOME": str(folder / "cache")}
    os.environ.pop("CXX", None)


FOLDER = pytest.StashKey[tempfile.TemporaryDirectory]()


@pytest.fixture(autouse=True)
def short_start(monkeypatch):
    """Tests ask for equality, not for quality: a few steps of the fit are enough."""
    monkeypatch.setattr(dna, "FIT_STEPS", 5)
