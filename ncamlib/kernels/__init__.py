"""The rollout behind one interface, with the backends `reference` and `cpu`.

`rollout` picks the fastest backend that can take the call; the environment variable NCAM_BACKEND
or the `backend` argument fixes it.
"""

import functools
import os
import warnings

from torch import Tensor

from ncamlib.errors import NcamError, choice
from ncamlib.kernels import cpu, reference
from ncamlib.kernels.reference import Weights, perceive, step

__all__ = ["BACKENDS", "Weights", "perceive", "rollout", "select_backend", "step"]

BACKENDS = ("auto", "reference", "cpu")


@functools.cache
def _native() -> bool:
    try:
        cpu.library()
    except cpu.Unavailable as error:
        warnings.warn(f"{error}; rollouts fall back to plain PyTorch, several times slower", stacklevel=3)
        return False
    return True


def select_backend(state: Tensor, steps: int = 1, backend: str | None = None) -> str:
    """The backend's name for a rollout of `state` (B, C, H, W): 'reference' or 'cpu'.

    Raises NcamError for an unknown name or a backend that cannot take this call.
    """
    name = choice("backend", backend or os.environ.get("NCAM_BACKEND") or "auto", BACKENDS)
    reason = cpu.unsupported(state, steps)
    if name == "auto":
        return "cpu" if reason is None and _native() else "reference"
    if name == "cpu":
        if reason is None and not _native():
            reason = "it could not be built"
        if reason is not None:
            raise NcamError(f"the cpu backend cannot run this rollout: {reason}; use --backend reference")
    return name


def rollout(
    state: Tensor,
    weights: Weights,
    leak: Tensor,
    steps: int,
    masks: Tensor | None = None,
    norm: bool = True,
    backend: str | None = None,
) -> Tensor:
    """`steps` steps of one automaton per sample; differentiable in state, weights and leak factor.

    state (B, C, H, W); leak: scalar tensor; masks (T, B, 1, H, W) bool, None where all cells fire
    -> (B, C, H, W).
    """
    module = {"reference": reference, "cpu": cpu}[select_backend(state, steps, backend)]
    return module.rollout(state, weights, leak, steps, masks, norm)
