"""Rules for all tests: the same examples on every run, a short initial fit of the DNA code."""

import pytest
from hypothesis import settings

from ncamlib import dna

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def short_start(monkeypatch):
    """Tests ask for equality, not for quality: a few steps of the fit are enough."""
    monkeypatch.setattr(dna, "START_STEPS", 5)
