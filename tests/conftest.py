"""Rules for all tests: the same examples on every run, a short initial fit of the DNA code."""

import os

import pytest
import torch
from hypothesis import settings

if torch.cuda.is_available():
    os.environ.setdefault("NCAM_DOT", "ieee")  # parity is asked of exact products
else:
    os.environ["TRITON_INTERPRET"] = "1"  # before the kernels are imported: they then run on the CPU

from ncamlib.model import dna

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


def pytest_addoption(parser):
    parser.addoption("--torture", action="store_true", help="all of the attacks of test_torture.py, recorded")


def pytest_collection_modifyitems(items):
    """Those that take a minute first: side by side, the last to end are then short ones."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Let fixtures know whether the test passed: what is recorded of an attack was withstood."""
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


PASSED = pytest.StashKey[bool]()


@pytest.fixture(autouse=True)
def short_start(monkeypatch):
    """Tests ask for equality, not for quality: a few steps of the fit are enough."""
    monkeypatch.setattr(dna, "FIT_STEPS", 5)
