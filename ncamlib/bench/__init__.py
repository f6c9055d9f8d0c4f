"""Benchmarks: the rollout against the alternatives, and the live page."""

from ncamlib.bench.rollout import (
    FULL,
    HEADLINE,
    QUICK,
    SWEEPS,
    Case,
    Row,
    inputs,
    markdown,
    measure,
    naive,
    recorded,
    select,
    sweep,
    variants,
)

__all__ = [
    "FULL",
    "HEADLINE",
    "QUICK",
    "SWEEPS",
    "Case",
    "Row",
    "inputs",
    "markdown",
    "measure",
    "naive",
    "recorded",
    "select",
    "sweep",
    "variants",
]
