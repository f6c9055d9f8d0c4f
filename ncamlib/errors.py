"""User errors, each reported in one sentence."""

from collections.abc import Iterable


class NcamError(Exception):
    """Bad input or a failed precondition; the message is one sentence that says what to do."""


class SlowRollouts(UserWarning):
    """The native kernel cannot be used: rollouts are computed by plain PyTorch, correctly but several times slower."""


def choice(kind: str, value: str, choices: Iterable[str]) -> str:
    """Return `value` if it is one of `choices`, else raise NcamError listing them."""
    known = list(choices)
    if value in known:
        return value
    raise NcamError(f"unknown {kind} '{value}': choose one of {', '.join(map(str, known))}")
