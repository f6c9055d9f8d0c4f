"""How fast it is: the rollout beside everything one could use instead, and the page."""

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
