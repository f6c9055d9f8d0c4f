"""The CUDA backend: buffers, launches and autograd around the device code in `forward` and `backward`.

B batch, C channels (16 or 32), K hidden units (a power of two), H W grid, T steps. States are
cells-major, (T+1, B, H*W, C). During training the loop over the steps is captured once in a CUDA graph per
shape and replayed.
"""

import contextlib
import functools
import importlib.util
import os
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ncamlib.config import NORMS
from ncamlib.errors import choice
from ncamlib.kernels.fire import GOLDEN, WORD, Fire
from ncamlib.kernels.padding import CHANNELS, obstacle, pad
from ncamlib.kernels.reference import Weights, keeps_cone, support

MAX_HIDDEN = 256
DOTS = ("ieee", "tf32x3", "tf32", "bf16")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def unsupported(state: Tensor, hidden: int) -> str | None:
    """Why this rollout cannot run here, or None if it can."""
    if hidden > MAX_HIDDEN:
        return f"{hidden} hidden units are more than {MAX_HIDDEN}"
    if state.device.type != "cuda" and not INTERPRETED:
        return f"the state is on {state.device}"
    return obstacle(state)


@functools.cache
def available() -> bool:
    """Whether the triton package is here."""
    return importlib.util.find_spec("triton") is not None


@dataclass(frozen=True)
class Tiles:
    """Cells per tile, warps and pipeline stages of each kernel, and programs per sample."""

    statistics: tuple[int, int] = (32, 4)  # (cells per tile, warps)
    forward: tuple[int, int, int] = (64, 4, 1)  # (cells per tile, warps, stages)
    update: tuple[int, int, int] = (64, 8, 2)
    perceive: tuple[int, int] = (32, 4)
    chunk: int = 512  # cells per program of `statistics`
    forward_programs: int = 512  # over the batch
    update_programs: int = 256


def tiles(channels: int, hidden: int, dot: str) -> Tiles:
    """Sizes that leave no registers to spill, by the compiler's own count for compute capability 9.0."""
    if INTERPRETED:  # the interpreter pays per operation: few, large tiles
        return Tiles((64, 4), (256, 4, 1), (256, 8, 1), (256, 4), forward_programs=2, update_programs=2)
    large = channels * hidden > 16 * 128
    if dot == "tf32x3":
        return Tiles(forward=(32, 4, 1), update=(32, 8, 1))
    update = (32, 8, 2) if large else (64, 8, 1)
    return Tiles(forward=(64, 4, 1 if large and dot != "bf16" else 2), update=update)


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


EXPLICIT, GENERATED = 1, 2


class Firing(NamedTuple):
    """How cells are chosen to fire: all of them (kind 0), by a mask, or by a `Fire` rule."""

    kind: int
    limit: int = 0
    start: int = 0


def _signed(word: int) -> int:
    """A 32-bit word as Triton's int32."""
    return word - (word >> 31 << 32)


class _Plan:
    """The buffers and launch loops of one rollout shape."""

    def __init__(
        self,
        shape: torch.Size,
        hidden: int,
        steps: int,
        norm: int,  # as the place in NORMS
        wrap: bool,
        fire: Firing,
        dot: str,
        save: bool,
        cone: bool,
        device: torch.device,
    ):
        self.shape, self.hidden, self.steps, self.norm, self.wrap = shape, hidden, steps, norm, wrap
        self.fire, self.dot, self.save, self.cone, self.device = fire, dot, save, cone, device
        batch, channels, height, width = shape
        cells = height * width
        self.tiles = t = tiles(channels, hidden, dot)
        self.chunk = min(t.chunk, _ceil(cells, t.statistics[0]) * t.statistics[0])
        self.forward_span = self._span(t.forward[0], _ceil(t.forward_programs, batch))
        self.update_span = self._span(t.update[0], _ceil(t.update_programs, batch))
        self.chunks = _ceil(cells, self.chunk)
        self.forward_programs = _ceil(cells, self.forward_span)
        self.update_programs = _ceil(cells, self.update_span)
        self.states = self.new(steps + 1 if save else 2, batch, cells, channels)
        self.stats = self.new(steps if save else 1, batch, 6, channels)
        self.parts = self.new(batch, self.chunks, 6, channels)
        kind, size = {0: (torch.uint8, (1,)), 1: (torch.uint8, (steps, batch, cells)), 2: (torch.int64, (batch,))}[
            fire.kind
        ]
        self.firing = torch.empty(size, dtype=kind, device=device)  # nothing, masks or seeds
        self.weights: list[Tensor] = []
        self.graphs: dict[str, torch.cuda.CUDAGraph] = {}
        self.generation = 0
        if save:
            k = hidden
            self.g, self.dp = self.new(batch, cells, channels), self.new(3, batch, cells, channels)
            shapes = ((k, 3 * channels), (k,), (channels, k), (channels,))
            self.sums = [self.new(batch, self.update_programs, *s) for s in shapes]
            self.means = self.new(batch, self.update_programs, 6, channels)
            self.perceive_programs = _ceil(cells, t.perceive[0])
            self.support = torch.empty(batch, dtype=torch.int32, device=device)
            self.shares = self.new(2, batch, self.perceive_programs, channels)  # of even and odd steps

    def new(self, *shape: int) -> Tensor:
        return torch.empty(shape, device=self.device)

    def _span(self, tile: int, programs: int) -> int:
        """Cells per program: a whole number of tiles."""
        return _ceil(_ceil(self.shape[2] * self.shape[3], tile), programs) * tile

    def firing_at(self, i: int) -> tuple[Tensor, int, int]:
        """(masks or seeds, turn, limit) of step i, words as signed integers (see `fire`)."""
        turn = (self.fire.start + i) * GOLDEN & WORD
        return self.firing[i] if self.fire.kind == EXPLICIT else self.firing, _signed(turn), _signed(self.fire.limit)

    def result(self) -> Tensor:
        return self.states[self.steps if self.save else self.steps & 1]

    def forward(self) -> None:
        from ncamlib.kernels.triton import forward as code

        (batch, channels, height, width), t = self.shape, self.tiles
        for i in range(self.steps):
            x, y = (i, i + 1) if self.save else (i & 1, (i + 1) & 1)
            if self.norm:
                code.statistics[(batch, self.chunks)](
                    self.states[x], self.parts, height, width, channels, self.wrap, self.chunk, self.chunks,
                    t.statistics[0],
                    num_warps=t.statistics[1],
                )  # fmt: skip
            code.forward_step[(batch, self.forward_programs)](
                self.states[x], self.states[y], *self.firing_at(i), *self.weights, self.parts,
                self.stats[i if self.save else 0], height, width, channels, self.hidden,
                NORM=self.norm, WRAP=self.wrap, FIRE=self.fire.kind, DOT=self.dot, CHUNK=self.chunk, NS=self.chunks,
                NSP=_power_of_two(self.chunks), BM=t.forward[0], SPAN=self.forward_span,
                num_warps=t.forward[1], num_stages=t.forward[2],
            )  # fmt: skip

    def backward(self) -> None:
        from ncamlib.kernels.triton import backward as code

        (batch, channels, height, width), t = self.shape, self.tiles
        w1, b1, w2, b2, leak = self.weights
        torch._foreach_zero_(self.sums)
        plane = batch * height * width * channels
        far = 2 * (height + width)  # nothing is shared before the first step back
        cone = {"CONE": self.cone, "NP": self.perceive_programs, "NPP": min(128, _power_of_two(self.perceive_programs))}
        for i in reversed(range(self.steps)):
            shares, own = self.shares[(i + 1) & 1], self.shares[i & 1]
            later = far if i + 1 == self.steps else i + 1
            code.backward_update[(batch, self.update_programs)](
                self.states[i], self.g, self.dp, *self.firing_at(i), w1, b1, w2, leak, self.stats[i], *self.sums,
                self.means, plane, self.support, shares, later, height, width, channels, self.hidden, NORM=self.norm,
                WRAP=self.wrap, FIRE=self.fire.kind, DOT=self.dot, NA=self.update_programs, BM=t.update[0],
                SPAN=self.update_span, num_warps=t.update[1], num_stages=t.update[2], **cone,
            )  # fmt: skip
            code.backward_perceive[(batch, self.perceive_programs)](
                self.states[i], self.g, self.dp, self.stats[i], self.means, plane, self.support, shares, own, later, i,
                height, width, channels, NORM=self.norm, WRAP=self.wrap, NA=self.update_programs,
                NAP=_power_of_two(self.update_programs), BM=t.perceive[0], num_warps=t.perceive[1], **cone,
            )  # fmt: skip
        dw1, db1, dw2, db2 = (s.sum(1) for s in self.sums)  # over the programs, in a fixed order
        self.grads = (dw1, db1, leak * dw2, leak * db2, (dw2 * w2).sum() + (db2 * b2).sum())

    def run(self, name: str, graph: bool) -> None:
        """Run `forward` or `backward`, through a CUDA graph if asked to."""
        function = getattr(self, name)
        if not graph:
            function()
            return
        if name not in self.graphs:  # once without capture: compiles the kernels
            before = self.g.clone()  # backward updates g in place
            function()
            torch.cuda.synchronize()
            self.g.copy_(before)
            self.graphs[name] = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graphs[name]):
                function()
        self.graphs[name].replay()


_PLANS: dict[tuple, _Plan] = {}
MAX_PLANS = 32  # buffers and graphs are kept for the shapes and steps of a training; the oldest goes first


def forget() -> None:
    """Give back the buffers and graphs that are kept for the next call of the same shape."""
    _PLANS.clear()
    torch.cuda.empty_cache()


class _Rollout(torch.autograd.Function):
    """Saves states and statistics; everything else is computed again in backward."""

    @staticmethod
    def forward(ctx, state, w1, b1, w2, b2, leak, steps, masks, norm, wrap, dot, save, cone):
        batch, channels, height, width = state.shape
        graph = save and state.is_cuda and os.environ.get("NCAM_CUDA_GRAPH", "1") != "0"
        rule = isinstance(masks, Fire)
        fire = Firing(GENERATED, masks.limit, masks.start) if rule else Firing(0 if masks is None else EXPLICIT)
        key = (state.shape, w1.shape[1], steps, norm, wrap, fire, dot, save, cone, state.device)
        plan = _PLANS.get(key) if graph else None
        if plan is None:
            plan = _Plan(*key)
            if graph:
                while len(_PLANS) >= MAX_PLANS:
                    del _PLANS[next(iter(_PLANS))]
                _PLANS[key] = plan
        weights = [t.detach().contiguous() for t in (w1, b1, w2, b2, leak)]
        if not plan.weights:
            plan.weights = [w.clone() for w in weights] if graph else weights
        else:
            torch._foreach_copy_(plan.weights, weights)
        if masks is not None:
            plan.firing.copy_(masks.seeds if rule else masks.reshape(steps, batch, height * width))
        if cone:
            plan.support.copy_(support(state))
        plan.states[0].view(batch, height, width, channels).copy_(state.permute(0, 2, 3, 1))
        plan.generation += 1
        plan.run("forward", graph)
        if save:
            ctx.plan, ctx.generation, ctx.graph = plan, plan.generation, graph
        return plan.result().view(batch, height, width, channels).permute(0, 3, 1, 2).contiguous()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        plan = ctx.plan
        batch, channels, height, width = plan.shape
        if ctx.generation != plan.generation:
            raise RuntimeError(
                "a CUDA graph keeps one rollout per shape: set NCAM_CUDA_GRAPH=0 to have several at once"
            )
        plan.g.view(batch, height, width, channels).copy_(grad.permute(0, 2, 3, 1))
        plan.run("backward", ctx.graph)
        state = plan.g.view(batch, height, width, channels).permute(0, 3, 1, 2).contiguous()
        return state, *(g.clone() for g in plan.grads), *[None] * 7


def rollout(
    state: Tensor,
    weights: Weights,
    leak: Tensor,
    steps: int,
    masks: Tensor | Fire | None,
    norm: str = "all",
    wrap: bool = False,
) -> Tensor:
    """As `reference.rollout`, float32, up to 32 channels and 256 hidden units; once differentiable.

    The environment variable NCAM_DOT sets the operand type of the dot products: ieee, tf32x3 (nearly as exact, three
    products in place of one), tf32 (the default) or bf16; sums and state are float32 always.
    """
    dot = choice("NCAM_DOT", os.environ.get("NCAM_DOT", "ieee" if INTERPRETED else "tf32"), DOTS)
    channels, hidden = state.shape[1], weights.w1.shape[1]
    wide = next(c for c in CHANNELS if c >= channels)
    state, (w1, b1, w2, b2) = pad(state, weights, wide, max(16, _power_of_two(hidden)))
    # Autograd is off inside Function.forward: whether to keep the states is decided here.
    save = torch.is_grad_enabled() and any(t.requires_grad for t in (state, w1, b1, w2, b2, leak))
    cone = save and keeps_cone(state, masks, wrap)
    on_its_device = torch.cuda.device(state.device) if state.is_cuda else contextlib.nullcontext()
    with on_its_device:  # Triton and CUDA graphs use the current device
        result = _Rollout.apply(state, w1, b1, w2, b2, leak, steps, masks, NORMS.index(norm), wrap, dot, save, cone)
    return result[:, :channels]
