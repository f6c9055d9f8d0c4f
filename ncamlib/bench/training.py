"""Times a training: the share of growth in a step, what the light cone saves, and what trained weights take.

Times on a shared machine vary; ratios from alternating rounds are reliable.
"""

import datetime
import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ncamlib.config import Stage
from ncamlib.data import Images
from ncamlib.errors import NcamError
from ncamlib.experiments import experiment
from ncamlib.kernels import Weights, cpu, select_backend
from ncamlib.machine import device_name
from ncamlib.model import checkpoint_path, load_model, seed
from ncamlib.project import commit
from ncamlib.training import prepare, schedule
from ncamlib.training.loop import Feed, train_step
from ncamlib.training.processes import Ranks

CPU = torch.device("cpu")


@dataclass(frozen=True)
class StepShare:
    """One optimiser step on one grid: its time, and the part of it that is the rollout, forward and backward."""

    experiment: str
    grid: int
    batch: int
    milliseconds: float
    growth: float  # share
    device: str
    date: str
    commit: str


def _here() -> dict[str, str]:
    return {"device": device_name(CPU), "date": datetime.date.today().isoformat(), "commit": commit()}


def _median(function: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def shares(name: str, images: Images, rounds: int = 7) -> list[StepShare]:
    """The share of growth in a step of every stage of an experiment's training."""
    rows = []
    run = prepare(replace(experiment(name), images=images.name), images, CPU)
    feed = Feed(run, Ranks(), images.pixels)
    feed.arrange(0.0)
    for part in schedule.stages(run.experiment):
        inside = part.until - 1e-6
        batch = run.experiment.train.batch * part.batch
        state = seed(run.experiment.model, batch, part.grid, part.grid)
        with torch.no_grad():
            weights = run.model.weights(feed.inputs[:batch] if len(images) >= batch else feed.inputs[:1])
        fire = run.model.draw_fire(batch)

        def grow(state: torch.Tensor = state, weights: Weights = weights, part: Stage = part, fire=fire) -> None:
            leaves = Weights(*(w.detach().requires_grad_() for w in weights))
            run.model.nca(state, leaves, part.steps, fire).sum().backward()

        step = functools.partial(train_step, feed, inside)
        grow(), step()  # compiles, allocates, warms up
        growth, whole = _median(grow, rounds), _median(step, rounds)
        rows.append(StepShare(name, part.grid, batch, 1000 * whole, min(1.0, growth / whole), **_here()))
    return rows


def _ratio(one: Callable[[], None], other: Callable[[], None], rounds: int) -> float:
    """The time of one function relative to another, in alternating rounds."""
    times: tuple[list[float], list[float]] = ([], [])
    one(), other()
    for _ in range(rounds):
        for function, measured in zip((one, other), times, strict=True):
            measured.append(_median(function, 1))
    return statistics.median(times[0]) / statistics.median(times[1])


def ratios(name: str, rounds: int = 5, grid: int = 64, steps: int = 32, batch: int = 8) -> dict[str, float]:
    """Relative times of a synchronous training step of the rollout in the native kernel; empty where there is none.

    light_cone_ratio: with the light cone to without. trained_ratio: with the weights of a shipped model of continuous
    codes, most of whose hidden units are off in most cells, to random ones; left out where no checkpoint is at hand.
    """
    from ncamlib.bench.rollout import Case, inputs

    if select_backend(torch.empty(1, 16, 3, 3)) != "cpu":
        return {}
    _, untrained, leak, _, _ = inputs(Case(True, 1.0, grid, steps, batch), CPU)
    state = seed(experiment(name).model, batch, grid, grid)

    def step(weights: Weights, leak: torch.Tensor, cone: bool = True) -> None:
        leaves = Weights(*(w.detach().requires_grad_() for w in weights))
        cpu.rollout(state, leaves, leak, steps, None, "all", True, cone).sum().backward()

    plain = functools.partial(step, untrained, leak)
    found = {"light_cone_ratio": _ratio(plain, functools.partial(step, untrained, leak, cone=False), rounds)}
    try:
        model, _ = load_model(checkpoint_path(name))
    except NcamError:  # the library alone, without the checkout
        return found
    with torch.no_grad():
        codes = model.codes.embeddings
        trained = functools.partial(step, model.decode(codes[:: len(codes) // batch][:batch]), model.nca.leak())
    return found | {"trained_ratio": _ratio(trained, plain, rounds)}
