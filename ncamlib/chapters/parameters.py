"""Checks the parameters of a chapter, however they were given.

papermill passes what it cannot parse as text and only warns of a name it does not know; here
both end in one sentence that lists the choices.
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ncamlib.errors import NcamError, choice

NOTEBOOK_NAMES = {"In", "Out", "exit", "quit", "open", "get_ipython"}
TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def check_parameters(namespace: Mapping[str, Any], **kinds: Any) -> SimpleNamespace:
    """Validate and convert the parameters found in a notebook's `globals()`.

    A kind is `bool`, `str`, a `range` of integers, a pair of floats (lowest, highest), or a list of
    choices. Call it right after the parameters cell: any other plain value there is an unknown
    parameter. Raises NcamError.
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
    if kind is str:
        return str(value)
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
        return kind(value)
    except (TypeError, ValueError) as error:
        raise NcamError(f"{name} is {value!r}: choose {wanted}") from error
