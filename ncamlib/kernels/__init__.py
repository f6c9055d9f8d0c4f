"""The rollout behind one interface, with the backends `reference`, `cpu` and `triton` (CUDA).

`rollout` picks the fastest backend that can take the call; the environment variable NCAM_BACKEND
or the `backend` argument fixes it.
"""

import functools
import os
import warnings

from torch import Tensor

from ncamlib.errors import NcamError, choice
from ncamlib.kernels import cpu, reference, triton
from ncamlib.kernels.fire import Fire
from ncamlib.kernels.reference import Weights, perceive, step

__all__ = ["BACKENDS", "Fire", "Weights", "perceive", "rollout", "select_backend", "step"]

BACKENDS = ("auto", "reference", "cpu", "triton")


@functools.cache
def _native() -> bool:
    try:
        cpu.library()
    except cpu.Unavailable as error:
        warnings.warn(f"{error}; rollouts fall back to plain PyTorch, several times slower", stacklevel=3)
        return False
    return True


def _obstacle(name: str, state: Tensor, steps: int) -> str | None:
    """Why a backend cannot take this rollout, or None."""
    if name == "cpu":
        return cpu.unsupported(state, steps) or (None if _native() else "it could not be built")
    if name == "triton":
        return triton.unsupported(state, steps) or (None if triton.available() else "triton is not installed")
    return None


def select_backend(state: Tensor, steps: int = 1, backend: str | None = None) -> str:
    """The backend's name for a rollout of `state` (B, C, H, W).

    Raises NcamError for an unknown name or a backend that cannot take this call.
    """
    name = choice("backend", backend or os.environ.get("NCAM_BACKEND") or "auto", BACKENDS)
    if name == "auto":
        native = "triton" if state.is_cuda else "cpu"
        return "reference" if _obstacle(native, state, steps) else native
    reason = _obstacle(name, state, steps)
    if reason is not None:
        raise NcamError(f"the {name} backend cannot run this rollout: {reason}; use --backend reference")
    return name


def rollout(
    state: Tensor,
    weights: Weights,
    leak: Tensor,
    steps: int,
    masks: Tensor | Fire | None = None,
    norm: bool = True,
    wrap: bool = False,
    backend: str | None = None,
) -> Tensor:
    """`steps` steps of one automaton per sample; differentiable in state, weights and leak factor.

    state (B, C, H, W); leak: scalar tensor; masks: which cells fire, (T, B, 1, H, W) bool or a `Fire`
    rule, None where all do; wrap: whether the grid wraps round, else zeros lie beyond its edge
    -> (B, C, H, W). NcamError if the masks do not fit.
    """
    batch, _, *grid = state.shape
    shape = masks.seeds.shape if isinstance(masks, Fire) else None if masks is None else masks.shape
    if shape not in (None, (batch,), (steps, batch, 1, *grid)):
        raise NcamError(f"masks of shape {tuple(shape)} do not fit {steps} steps of a state {tuple(state.shape)}")
    module = {"reference": reference, "cpu": cpu, "triton": triton}[select_backend(state, steps, backend)]
    return module.rollout(state, weights, leak, steps, masks, norm, wrap)
