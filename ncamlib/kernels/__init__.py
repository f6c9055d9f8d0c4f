"""The rollout behind one interface, with the backends `reference`, `cpu` and `triton` (CUDA).

`rollout` picks the fastest backend that can take the call; the environment variable NCAM_BACKEND
or the `backend` argument fixes it.
"""

import functools
import os
import warnings

import torch
from torch import Tensor

from ncamlib.config import NORMS
from ncamlib.errors import NcamError, SlowRollouts, choice
from ncamlib.kernels import cpu, reference, triton
from ncamlib.kernels.fire import Fire
from ncamlib.kernels.reference import Weights, perceive, step

__all__ = ["BACKENDS", "Fire", "Weights", "perceive", "rollout", "select_backend", "step"]

MOST_STEPS = 2**31 - 1
BACKENDS = ("auto", "reference", "cpu", "triton")


@functools.cache
def _native() -> bool:
    try:
        cpu.library()
    except cpu.Unavailable as error:
        text = f"{error}; rollouts are computed by plain PyTorch, correctly but several times slower"
        warnings.warn(text, SlowRollouts, stacklevel=3)
        return False
    return True


def _obstacle(name: str, state: Tensor, hidden: int) -> str | None:
    """Why a backend cannot take this rollout, or None."""
    if name == "cpu":
        return cpu.unsupported(state) or (None if _native() else "it could not be built")
    if name == "triton":
        return triton.unsupported(state, hidden) or (None if triton.available() else "triton is not installed")
    return None


def select_backend(state: Tensor, backend: str | None = None, hidden: int = 1) -> str:
    """The backend's name for a rollout of `state` (B, C, H, W) with so many hidden units.

    Raises NcamError for an unknown name or a backend that cannot take this call.
    """
    asked = os.environ.get("NCAM_BACKEND") or "auto" if backend is None else backend
    name = choice("backend", asked, BACKENDS)
    if name == "auto":
        native = "triton" if state.is_cuda else "cpu"
        return "reference" if _obstacle(native, state, hidden) else native
    reason = _obstacle(name, state, hidden)
    if reason is not None:
        raise NcamError(f"the {name} backend cannot run this rollout: {reason}; use --backend reference")
    return name


def check(state: Tensor, weights: Weights, leak: Tensor, steps: int, masks: Tensor | Fire | None) -> None:
    """NcamError unless the arguments of a rollout fit together; checked here once, for every backend."""
    if state.ndim != 4 or not state.is_floating_point() or 0 in state.shape:
        raise NcamError(f"a state is a float tensor (B, C, H, W), not {state.dtype} {tuple(state.shape)}")
    if isinstance(steps, bool) or not isinstance(steps, int) or not 0 <= steps <= MOST_STEPS:
        raise NcamError(f"a rollout takes from 0 to {MOST_STEPS} steps, not {steps!r}")
    (batch, channels, *grid), hidden = state.shape, weights.w1.shape[1] if weights.w1.ndim == 3 else 0
    shapes = {"w1": (batch, hidden, 3 * channels), "b1": (batch, hidden), "w2": (batch, channels, hidden)}
    shapes |= {"b2": (batch, channels), "leak": leak.shape if leak.numel() == 1 else ()}
    for name, tensor in {**weights._asdict(), "leak": leak}.items():
        if tuple(tensor.shape) != shapes[name] or not hidden:
            wanted = f"{shapes[name]} for a state {tuple(state.shape)}"
            raise NcamError(f"{name} has the shape {tuple(tensor.shape)}: it must be {wanted}")
        if (tensor.dtype, tensor.device) != (state.dtype, state.device):
            raise NcamError(f"{name} is {tensor.dtype} on {tensor.device}, the state {state.dtype} on {state.device}")
    if masks is None:
        return
    rule = isinstance(masks, Fire)
    drawn, kind, shape = (masks.seeds, torch.int64, (batch,)) if rule else (masks, torch.bool, (steps, batch, 1, *grid))
    if tuple(drawn.shape) != shape:
        raise NcamError(f"masks of shape {tuple(drawn.shape)} do not fit {steps} steps of a state {tuple(state.shape)}")
    if (drawn.dtype, drawn.device) != (kind, state.device):
        raise NcamError(f"masks are {drawn.dtype} on {drawn.device}: they must be {kind} on {state.device}")
    if rule and not 0 <= masks.rate <= 1:
        raise NcamError(f"the fire rate is {masks.rate}: it must be between 0 and 1")


def rollout(
    state: Tensor,
    weights: Weights,
    leak: Tensor,
    steps: int,
    masks: Tensor | Fire | None = None,
    norm: str = "all",
    wrap: bool = False,
    backend: str | None = None,
) -> Tensor:
    """`steps` steps of one automaton per sample; differentiable in state, weights and leak factor.

    state (B, C, H, W); leak: scalar tensor; masks: which cells fire, (T, B, 1, H, W) bool or a `Fire`
    rule, None where all do; norm: which perceived maps are normalised, "all", "sobel" or "none"; wrap: whether the
    grid wraps round, else zeros lie beyond its edge -> (B, C, H, W). NcamError for arguments that do not fit together.
    """
    check(state, weights, leak, steps, masks)
    choice("norm", norm, NORMS)
    name = select_backend(state, backend, weights.w1.shape[1])
    if steps == 0:
        return state.clone()
    module = {"reference": reference, "cpu": cpu, "triton": triton}[name]
    return module.rollout(state, weights, leak.reshape(()), steps, masks, norm, wrap)
