"""The native CPU backend: builds `rollout.cpp` with the machine's compiler and calls it.

The library is compiled once for this processor, kept in the user's cache folder by a hash of the source, the
compiler and the flags, and loaded with ctypes. B, C, P, K, H, W, T as in
`reference`.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ncamlib.config import NORMS
from ncamlib.errors import NcamError
from ncamlib.kernels.fire import Fire
from ncamlib.kernels.padding import CHANNELS, obstacle, pad
from ncamlib.kernels.reference import Weights
from ncamlib.machine import processor
from ncamlib.project import write_atomically

SOURCE = Path(__file__).with_name("rollout.cpp")
FLAGS = ["-O3", "-std=c++17", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC"]
HIDDEN_MULTIPLE = 64
ZEROS, WRAP, CONE = 0, 1, 2  # what lies beyond the edge, as `Shape` in rollout.cpp says


class Unavailable(Exception):
    """The native kernel cannot be built or used here; the message says why."""


def compilers() -> list[list[str]]:
    """The C++ compilers to try, best first: the command in the environment variable CXX, flags and all, then others."""
    try:
        own = shlex.split(os.environ.get("CXX", ""))
    except ValueError:  # an unclosed quotation mark
        own = []
    commands = [*([own] if own else []), ["g++"], ["clang++"], ["c++"]]
    return [command for command in commands if shutil.which(command[0])]


def _compile(command: list[str], target: Path) -> str:
    """Build `target`; '' if that worked, else the compiler's message."""
    native = ["-mcpu=native"] if platform.machine() in ("arm64", "aarch64") else ["-march=native"]
    said = ""
    for extra in ([*native, "-fopenmp"], native, []):  # fewer wishes each time: a compiler may lack one
        line = [*command, *FLAGS, *extra, str(SOURCE), "-o", str(target)]
        try:
            result = subprocess.run(line, capture_output=True, text=True, errors="replace", check=False)
        except OSError as error:
            return str(error.strerror)
        if result.returncode == 0 and target.exists():
            return ""
        said = result.stderr.strip().splitlines()[0][:200] if result.stderr.strip() else "no reason given"
    return said


def _load(file: Path) -> ctypes.CDLL:
    """The kernel in a file; OSError if it is another library, or cannot be run from there."""
    loaded = ctypes.CDLL(str(file))
    try:
        loaded.ncam_forward.restype = loaded.ncam_backward.restype = None
    except AttributeError as error:
        raise OSError(f"{file.name} is another library") from error
    return loaded


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _cached(cache: Path, key: str) -> ctypes.CDLL | None:
    """The kernel from an earlier process. A file's name ends in the digest of its content: a damaged one goes."""
    try:
        files = sorted(cache.glob(f"rollout-{key}-*.so"))
    except OSError:
        return None
    for file in files:
        try:
            if file.stem.endswith(_digest(file.read_bytes())):
                return _load(file)
        except OSError:
            pass
        with contextlib.suppress(OSError):
            file.unlink()
    return None


def _build(command: list[str], cache: Path, key: str) -> ctypes.CDLL:
    """Compile, keep for later processes, load. If the cache cannot be used, load it from elsewhere."""
    if sys.stderr.isatty():
        print("compiling the native kernel for this processor, once: a few seconds", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "rollout.so"
        said = _compile(command, built)
        if said:
            raise Unavailable(f"{command[0]} could not compile the native kernel: {said}")
        content = built.read_bytes()
        with contextlib.suppress(OSError, NcamError):  # no permission, disk full, or nothing may be run from there
            target = cache / f"rollout-{key}-{_digest(content)}.so"
            write_atomically(target, content)
            return _load(target)
        try:
            return _load(built)
        except OSError as error:
            why = "is another library" if "another" in str(error) else "cannot be run from the cache or elsewhere"
            raise Unavailable(f"the native kernel that {command[0]} built {why}") from error


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled kernel, from the first compiler that can build it; raises Unavailable if none can."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ncamlib"
    here = processor("flags", "Features") or platform.processor()
    failures = []
    for command in compilers():
        try:
            version = subprocess.run([*command, "--version"], capture_output=True, errors="replace", check=False).stdout
            parts = [SOURCE.read_text(encoding="utf-8"), *command, version, *FLAGS, here]
            key = _digest("\n".join(parts).encode())
            return _cached(cache, key) or _build(command, cache, key)
        except Unavailable as failure:
            failures.append(str(failure))
        except OSError as error:  # of the compiler, or of the temporary folder
            failures.append(f"the native kernel could not be built: {error.strerror}")
    raise Unavailable("; ".join(failures) or "no C++ compiler was found (install g++ or clang++)")


def unsupported(state: Tensor) -> str | None:
    """Why this rollout cannot run here, or None if it can."""
    if state.device.type != "cpu":
        return f"the state is on {state.device}"
    return obstacle(state)


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _firing(masks: Tensor | Fire | None) -> tuple:
    """Masks as the kernel's arguments: bytes, seeds, limit, first step."""
    if isinstance(masks, Fire):
        return _pointer(None), _pointer(masks.seeds), ctypes.c_uint32(masks.limit), masks.start
    return _pointer(masks), _pointer(None), ctypes.c_uint32(0), 0


def _to_cells(image: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H+2, W+2, C), a border of zeros around the cells; the kernel wraps it where asked."""
    return F.pad(image.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()


def _to_image(cells: Tensor) -> Tensor:
    return cells[:, 1:-1, 1:-1].permute(0, 3, 1, 2).contiguous()


class _Rollout(torch.autograd.Function):
    """Saves the states only; everything else is computed again in backward."""

    @staticmethod
    def forward(ctx, state, w1, b1, w2, b2, leak, steps, masks, norm, edge, save):
        batch, channels, height, width = state.shape
        shape = (ctypes.c_int * 7)(steps, batch, height, width, w1.shape[1], NORMS.index(norm), edge)
        states = state.new_empty(steps if save else min(steps, 2), batch, height + 2, width + 2, channels)
        result = torch.empty_like(states[0])
        states[0] = _to_cells(state)
        stats = state.new_empty(steps if save else 1, batch, 2, 3 * channels)
        weights = [t.contiguous() for t in (w1, b1, w2, b2)]
        arguments = [_pointer(t) for t in (states, stats, result, *weights)]
        factor = ctypes.c_float(float(leak))
        threads = torch.get_num_threads()
        library().ncam_forward(shape, channels, *arguments, factor, *_firing(masks), int(save), threads)
        if save:
            ctx.save_for_backward(states, stats, *weights, leak)
            ctx.shape, ctx.masks = shape, masks
        return _to_image(result)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        states, stats, w1, b1, w2, b2, leak = ctx.saved_tensors
        cells = _to_cells(grad)
        grads = [torch.zeros_like(t) for t in (w1, b1, w2, b2)]
        grad_leak = torch.zeros(len(w1), dtype=torch.float64)
        arguments = [_pointer(t) for t in (states, stats, cells, w1, b1, w2, b2)]
        library().ncam_backward(
            ctx.shape,
            states.shape[-1],
            *arguments,
            ctypes.c_float(float(leak)),
            *_firing(ctx.masks),
            *(_pointer(t) for t in (*grads, grad_leak)),
            torch.get_num_threads(),
        )
        return _to_image(cells), *grads, grad_leak.sum().to(leak.dtype).view_as(leak), None, None, None, None, None


def rollout(
    state: Tensor,
    weights: Weights,
    leak: Tensor,
    steps: int,
    masks: Tensor | Fire | None,
    norm: str = "all",
    wrap: bool = False,
    cone: bool = True,
) -> Tensor:
    """As `reference.rollout`, float32, up to 32 channels; once differentiable.

    `cone=False` computes every cell even where those that the seed cannot have reached are known to be identical.
    """
    channels, hidden = state.shape[1], weights.w1.shape[1]
    wide = next(c for c in CHANNELS if c >= channels)
    edge = ZEROS if not wrap else CONE if cone and not state.requires_grad else WRAP
    state, (w1, b1, w2, b2) = pad(state, weights, wide, hidden + -hidden % HIDDEN_MULTIPLE)
    if isinstance(masks, Fire):
        masks = masks._replace(seeds=masks.seeds.contiguous())
    elif masks is not None:
        masks = masks.to(torch.bool).contiguous()
    # Autograd is off inside Function.forward: whether to keep the states is decided here.
    save = torch.is_grad_enabled() and any(t.requires_grad for t in (state, w1, b1, w2, b2, leak))
    result = _Rollout.apply(state, w1, b1, w2, b2, leak, steps, masks, norm, edge, save)
    return result[:, :channels]
