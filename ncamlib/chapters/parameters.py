"""Checks the parameters of a chapter, however they were given.

papermill passes what it cannot parse as text and only warns about a name it does not know; here
both raise an error of one sentence that lists the choices.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ncamlib.data import Images, as_text, emoji, listed
from ncamlib.data.sprites import SUBSETS
from ncamlib.errors import NcamError, choice
from ncamlib.model.build import growing
from ncamlib.model.checkpoint import load_model
from ncamlib.model.manifold import NCAM

NOTEBOOK_NAMES = {"In", "Out", "exit", "quit", "open", "get_ipython"}
TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Several:
    """A list, also in a string: 'chars emos', '0.5, 0.7', '["🍕", "🦁"]'."""

    kind: Any  # of each item
    least: int = 1
    most: int = 64


def check_parameters(namespace: Mapping[str, Any], **kinds: Any) -> SimpleNamespace:
    """Validate and convert the parameters found in a notebook's `globals()`.

    A kind is `bool`, `str`, `Path` (None where empty), a `range` of integers, a pair of floats (lowest, highest), a
    list of choices, or `Several` of one of these. Call it right after the parameters cell: any other plain value
    there is an unknown parameter. Raises NcamError.
    """
    values = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_")
        and name not in NOTEBOOK_NAMES
        and isinstance(value, bool | int | float | str | list | tuple | type(None))
    }
    for name in values:
        choice("parameter", name, kinds)
    for name in kinds:
        if name not in values:
            raise NcamError(f"the parameter {name} is missing: set it in the cell tagged 'parameters'")
    return SimpleNamespace(**{name: _convert(name, values[name], kind) for name, kind in kinds.items()})


def _convert(name: str, value: Any, kind: Any) -> Any:
    if kind is bool:
        text = str(value).strip().lower()
        if text in TRUTHS:
            return TRUTHS[text]
        raise NcamError(f"{name} is {value!r}: choose True or False")
    if isinstance(kind, Several):
        items = listed(value) if isinstance(value, str | list | tuple) else [value]
        if not kind.least <= len(items) <= kind.most:
            wanted = f"{kind.least}" if kind.least == kind.most else f"{kind.least} to {kind.most}"
            raise NcamError(f"{name} is {value!r}: give {wanted} of them, separated by spaces or commas")
        return [_convert(name, item, kind.kind) for item in items]
    if kind in (str, Path) and not isinstance(value, str):
        raise NcamError(f"{name} is {value!r}: give text")
    if kind is str:
        return as_text(value)
    if kind is Path:
        return Path(value).expanduser() if value.strip() else None
    if isinstance(kind, range):
        number = _number(name, value, int, f"an integer from {kind.start} to {kind.stop - 1}")
        if number not in kind:
            raise NcamError(f"{name} is {number}: choose an integer from {kind.start} to {kind.stop - 1}")
        return number
    if isinstance(kind, tuple):
        low, high = kind
        number = _number(name, value, float, f"a number from {low} to {high}")
        if not low <= number <= high:
            raise NcamError(f"{name} is {number}: choose a number from {low} to {high}")
        return number
    assert isinstance(kind, Sequence), kind
    return choice(name, value, kind)


def _number(name: str, value: Any, kind: type, wanted: str) -> Any:
    try:
        if isinstance(value, bool) or (kind is int and isinstance(value, float) and not value.is_integer()):
            raise ValueError
        number = kind(value)
        if not math.isfinite(number):
            raise ValueError
        return number
    except (TypeError, ValueError, OverflowError) as error:
        raise NcamError(f"{name} is {value!r}: choose {wanted}") from error


def load_manifold(name: str, example: str = "full-dna-syn") -> tuple[NCAM, dict[str, Any], Images]:
    """A model whose emoji grow from DNA codes, the header of its checkpoint, and its emoji; NcamError for another."""
    loaded, header = load_model(name)
    model = growing(loaded, name)
    if model.config.code != "dna" or header["images"] not in SUBSETS:
        raise NcamError(f"this chapter needs a model of emoji with DNA codes, which {name} is not: use {example}")
    return model, header, emoji(header["images"], model.config.image_size)
