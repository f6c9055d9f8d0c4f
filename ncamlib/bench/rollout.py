"""Times every way to run the rollout in one process, in alternating rounds, whose ratios are reliable. Rows report
the median over rounds. B batch, C channels, P = 3C maps, K hidden, T steps.
"""

import ctypes
import functools
import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ncamlib.bench import peers
from ncamlib.errors import NcamError
from ncamlib.kernels import Weights, reference, rollout, select_backend, triton
from ncamlib.project import Records

CHANNELS, HIDDEN = 16, 128
PATIENCE = 30.0  # seconds of one variant in one case, after which it is left out of further rounds
CPUS = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
Variant = Callable[[Tensor, Weights, Tensor, int, Tensor | None], Tensor]  # or a `peers.Peer`


@dataclass(frozen=True)
class Case:
    """One thing to time: `training` is forward and backward with respect to everything."""

    training: bool
    fire_rate: float
    grid: int = 64
    steps: int = 32
    batch: int = 8


@dataclass(frozen=True)
class Row:
    """One variant in one case. The share is of a measured matrix product on the same threads."""

    variant: str
    direction: str  # forward or training
    fire_rate: float
    grid: int
    steps: int
    batch: int
    threads: int
    milliseconds: float
    ratio_to_naive: float
    share_of_ceiling: float
    peak_memory_mib: float | None


def naive(state: Tensor, weights: Weights, leak: Tensor, steps: int, masks: Tensor | None) -> Tensor:
    """A straightforward port: the batch folded into the groups of a convolution, and `F.instance_norm`."""
    batch, channels, height, width = state.shape
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device=state.device) / 8
    kernels = [k.expand(channels, 1, 3, 3).contiguous() for k in (sobel, sobel.T)]
    w1, w2 = weights.w1.flatten(0, 1)[:, :, None, None], weights.w2.flatten(0, 1)[:, :, None, None]
    for t in range(steps):
        gradients = [F.conv2d(state, k, padding=1, groups=channels) for k in kernels]
        maps = F.instance_norm(torch.cat([state, *gradients], 1), eps=reference.EPS)
        hidden = F.relu(F.conv2d(maps.reshape(1, -1, height, width), w1, weights.b1.flatten(), groups=batch))
        update = F.conv2d(hidden, w2, weights.b2.flatten(), groups=batch).view_as(state)
        state = state + leak * (update if masks is None else masks[t] * update)
    return state


@functools.cache
def _compiled_step() -> Callable[..., Tensor]:
    return torch.compile(reference.step)


def compiled(state: Tensor, weights: Weights, leak: Tensor, steps: int, masks: Tensor | None) -> Tensor:
    """`torch.compile` over the reference's step."""
    for t in range(steps):
        state = _compiled_step()(state, weights, leak, None if masks is None else masks[t])
    return state


def variants(device: torch.device) -> dict[str, Variant]:
    """Every way to run the rollout on this device, the naive port first."""
    ways: dict[str, Variant] = {"naive": naive, "bmm eager": reference.rollout, "torch.compile": compiled}
    own = select_backend(torch.empty(1, CHANNELS, 3, 3, device=device))
    if own != "reference":
        ways[own] = functools.partial(rollout, backend=own)
    if device.type == "cpu":
        ways |= peers.installed()
    return ways


def inputs(case: Case, device: torch.device) -> tuple[Tensor, Weights, Tensor, int, Tensor | None]:
    """A random state, and automata with weights as large as trained ones."""
    g = torch.Generator().manual_seed(0)
    b, c, k, n = case.batch, CHANNELS, HIDDEN, case.grid

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g).to(device)

    weights = Weights(normal(b, k, 3 * c) / (3 * c) ** 0.5, normal(b, k) / 10, normal(b, c, k) / k, normal(b, c) / 50)
    masks = None
    if case.fire_rate < 1:
        masks = (torch.rand(case.steps, b, 1, n, n, generator=g) < case.fire_rate).to(device)
    return 0.1 * normal(b, c, n, n), weights, torch.tensor(0.1, device=device), case.steps, masks


def run(variant: Variant, case: Case, arguments: tuple) -> None:
    """Run once: forward alone, or forward and backward."""
    state, weights, leak, steps, masks = arguments
    if case.training and isinstance(variant, peers.Peer):
        variant.training(*arguments)
        return
    with torch.set_grad_enabled(case.training):
        if not case.training:
            variant(state, weights, leak, steps, masks)
            return
        leaves = [t.detach().requires_grad_() for t in (state, *weights, leak)]
        variant(leaves[0], Weights(*leaves[1:5]), leaves[5], steps, masks).sum().backward()


def _seconds(function: Callable[[], object], device: torch.device) -> float:
    began = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def ceiling(device: torch.device, size: int = 1024) -> float:
    """Floating point operations per second of a large matrix product here, the best of several."""
    a, b = torch.randn(2, size, size, device=device)
    return 2 * size**3 / min(_seconds(lambda: a @ b, device) for _ in range(10))


def operations(case: Case) -> float:
    """Multiplications and additions that the dense layers of live cells need; work done twice counts once."""
    cell = 2 * (3 * CHANNELS * HIDDEN + HIDDEN * CHANNELS)
    return cell * case.grid**2 * case.steps * case.batch * case.fire_rate * (3 if case.training else 1)


def _resident(field: str) -> float:
    """VmRSS or VmHWM (its high-water mark) of this process, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field))) / 1024


def peak_memory(variant: Variant, case: Case, arguments: tuple, device: torch.device) -> float | None:
    """Peak MiB that one run needs beyond its inputs; None if the system does not report it."""
    gc.collect()
    if device.type == "cuda":
        triton.forget()  # or the buffers of the warm-up would not count
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(variant, case, arguments)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    try:
        ctypes.CDLL(None).malloc_trim(0)  # give back what earlier runs left in the heap
        Path("/proc/self/clear_refs").write_text("5")  # and start the high-water mark anew
        before = _resident("VmRSS")
    except (OSError, AttributeError):
        return None
    run(variant, case, arguments)
    return max(0.0, _resident("VmHWM") - before)


def _ways(case: Case, device: torch.device) -> dict[str, Variant]:
    """The variants to time. JAX sizes its threads once and CAX takes minutes: both join in few cases."""
    torch.compiler.reset()  # else many shapes end in one general, slower program
    ways = variants(device)
    if case not in PEER_CASES or torch.get_num_threads() != _first_threads():
        ways = {name: way for name, way in ways.items() if not isinstance(way, peers.Peer)}
    return ways


@functools.cache
def _first_threads() -> int:
    return torch.get_num_threads()


def use_threads(threads: int) -> None:
    """Compute on this many CPUs, whatever the library: torch is told, and the process is confined to them."""
    torch.set_num_threads(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(CPUS)[:threads])


def measure(cases: list[Case], device: torch.device, rounds: int = 5, only: Sequence[str] | None = None) -> list[Row]:
    """Time every variant, or `only` some and the naive one, in every case, in alternating rounds."""
    rows = []
    _first_threads()
    for case in tqdm(cases, leave=False, disable=None):
        arguments = inputs(case, device)
        ways = {name: way for name, way in _ways(case, device).items() if only is None or name in ("naive", *only)}
        times: dict[str, list[float]] = {name: [] for name in ways}
        tops = []
        for way in ways.values():  # compiles, allocates, warms up
            run(way, case, arguments)
        for _ in range(rounds):
            tops.append(ceiling(device))
            for name, way in ways.items():
                if sum(times[name]) < PATIENCE:
                    times[name].append(_seconds(functools.partial(run, way, case, arguments), device))
        medians = {name: statistics.median(t) for name, t in times.items()}
        for name, seconds in medians.items():
            rows.append(
                Row(
                    variant=name,
                    direction="training" if case.training else "forward",
                    fire_rate=case.fire_rate,
                    grid=case.grid,
                    steps=case.steps,
                    batch=case.batch,
                    threads=torch.get_num_threads(),
                    milliseconds=1000 * seconds,
                    ratio_to_naive=medians["naive"] / seconds,
                    share_of_ceiling=operations(case) / seconds / statistics.median(tops),
                    peak_memory_mib=peak_memory(ways[name], case, arguments, device),
                )
            )
    return rows


HEADLINE = [
    *(Case(False, rate, steps=64) for rate in (0.5, 1.0)),
    *(Case(True, rate, steps=32) for rate in (0.5, 1.0)),
]
SWEEPS = {
    "grid": [Case(True, 0.5, grid=grid, steps=16, batch=2) for grid in (32, 64, 128, 256)],
    "steps": [Case(True, 0.5, steps=steps, batch=2) for steps in (32, 64, 128, 256)],
    "batch": [Case(True, 0.5, steps=16, batch=batch) for batch in (1, 2, 8, 32)],
}
QUICK = [Case(training, rate, grid=32, steps=8, batch=4) for training in (False, True) for rate in (0.5, 1.0)]
FULL = list(dict.fromkeys([*HEADLINE, *(case for cases in SWEEPS.values() for case in cases)]))
PEER_CASES = [*HEADLINE, *QUICK]


def _upgrade(row: dict[str, Any]) -> dict[str, Any]:
    """A row by an earlier commit, in which the direction was called a pass."""
    return {"direction" if name == "pass" else name: value for name, value in row.items()}


RECORDS = Records("benchmark.json", Row, "results", upgrade=_upgrade)
GPU = Records("benchmark_gpu.json", Row, "results")


def recorded(gpu: bool = False) -> tuple[dict[str, Any], list[Row]]:
    """The benchmark that the book shows: (where and when it ran, its rows). NcamError if there is none."""
    records, options = (GPU, "--device cuda") if gpu else (RECORDS, "--threads 1 --threads 2")
    head, rows = records.read()
    if not rows:
        raise NcamError(f"no benchmark recorded: run ncam bench {options} --json > figures/{records.file}")
    return head, rows


def select(rows: list[Row], cases: Sequence[Case], variant: str | None = None, threads: int = 1) -> list[Row]:
    """The rows of these cases, at this number of threads, and of one variant if it is named."""
    keys = {("training" if c.training else "forward", c.fire_rate, c.grid, c.steps, c.batch) for c in cases}
    rows = [row for row in rows if row.threads == threads and variant in (None, row.variant)]
    return [row for row in rows if (row.direction, row.fire_rate, row.grid, row.steps, row.batch) in keys]


def markdown(rows: list[Row], milliseconds: bool = False) -> str:
    """A line per variant, a column per case: ratios to the naive port (and shares of the ceiling, or milliseconds).

    NcamError for rows of several sizes, which have no column of their own.
    """
    if len({(row.direction, row.fire_rate, row.variant) for row in rows}) < len(rows):
        raise NcamError("these are the times of several sizes: select those of one")
    cases = list(dict.fromkeys((row.direction, row.fire_rate) for row in rows))
    titles = " | ".join(f"{kind}, p = {rate:g}" for kind, rate in cases)
    lines = [f"| variant | {titles} |", "|---|" + "--:|" * len(cases)]

    def cell(row: Row) -> str:
        digits = ".2g" if row.ratio_to_naive < 100 else ".0f"
        also = f"{row.milliseconds:.1f} ms" if milliseconds else f"{row.share_of_ceiling:.0%}"
        return f"{row.ratio_to_naive:{digits}}× ({also})"

    for name in dict.fromkeys(row.variant for row in rows):
        own = {(row.direction, row.fire_rate): row for row in rows if row.variant == name}
        cells = [cell(own[c]) if c in own else "–" for c in cases]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def sweep(rows: list[Row], name: str) -> dict[str, list[tuple[float, float, float]]]:
    """Per variant: (what was swept, ms per sample and step, MiB per sample and step) of SWEEPS[name]."""
    lines: dict[str, dict[float, tuple[float, float, float]]] = {}
    for row in select(rows, SWEEPS[name]):
        work = row.steps * row.batch
        memory = math.nan if row.peak_memory_mib is None else row.peak_memory_mib / work
        size = getattr(row, name)
        lines.setdefault(row.variant, {})[size] = (size, row.milliseconds / work, memory)
    return {variant: sorted(points.values()) for variant, points in lines.items() if len(points) > 1}
