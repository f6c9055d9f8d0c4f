"""Trains one experiment: the whole set on the device, one loop that reads from top to bottom.

Everything random comes from one generator whose state is saved with the weights, so a run that
was cut off continues bit for bit on a CPU. Under torchrun each process takes its share of the
same global batch. B global batch, T steps, H W grid.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ncamlib import schedule
from ncamlib.config import Experiment
from ncamlib.datasets import Images
from ncamlib.errors import NcamError
from ncamlib.run import TRAINING_FILE, Run, prepare

EXPLODED = 1e4  # gradient norm before clipping, or loss, beyond which training has diverged
SAVE_EVERY = 60.0  # seconds
AVERAGE_EVERY = 8  # optimiser steps: averaging costs as much memory traffic as a third of an optimiser step


class Diverged(NcamError):
    """The loss or the gradient left all bounds; the last good checkpoint is kept."""


@dataclass
class Ranks:
    """One process among those that train together; alone unless torchrun started it."""

    rank: int = 0
    world: int = 1

    def share(self, batch: int) -> slice:
        """The process's part of the global batch."""
        size = batch // self.world
        return slice(self.rank * size, (self.rank + 1) * size)


def _ready(run: Run, pixels: Tensor, learn: bool, ranks: Ranks) -> tuple[nn.Module, Tensor]:
    """(What is trained, what it sees): the images, or their means once and for all while convolutions do not learn."""
    encoder = getattr(run.model, "encoder", None)
    if encoder is not None:
        encoder.train_convolutions(learn)
    seen = pixels if encoder is None or learn else encoder.all_means(pixels)
    return nn.parallel.DistributedDataParallel(run.model) if ranks.world > 1 else run.model, seen


def train_step(run: Run, module: nn.Module, seen: Tensor, pixels: Tensor, progress: float, ranks: Ranks) -> float:
    """Draw a batch, grow it, step the optimiser. Returns the loss of the global batch."""
    settings, generator = run.experiment.train, run.generator
    stage = schedule.stage(run.experiment, progress)
    # All processes draw the whole batch from the same stream and keep their share.
    batch = settings.batch * stage.batch
    mine, chosen = ranks.share(batch), run.draw(batch)
    low, high = settings.mutation
    rate = low + (high - low) * torch.rand((), generator=generator, device=generator.device).item()
    mutation = run.model.draw_mutation(batch, rate, generator)
    fire = run.model.draw_fire(batch, None, generator)
    target = F.adaptive_avg_pool2d(pixels[chosen[mine]], stage.grid)

    grown = module(
        seen[chosen[mine]],
        None if mutation is None else mutation[mine],
        None if fire is None else fire.of(mine),
        stage.steps,
        stage.grid,
        leak_scale=None if settings.scale_leak else 1.0,
    )
    loss = F.mse_loss(grown, target)
    run.optimiser.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(run.model.parameters(), settings.clip).item()
    value = loss.detach()
    if ranks.world > 1:
        dist.all_reduce(value, dist.ReduceOp.AVG if dist.get_backend() == "nccl" else dist.ReduceOp.SUM)
        value = value if dist.get_backend() == "nccl" else value / ranks.world
    value = value.item()
    if not (value < EXPLODED and norm < EXPLODED):  # also catches NaN
        raise Diverged(
            f"training diverged at step {run.step} (loss {value:.3g}, gradient norm {norm:.3g}): the last good "
            "checkpoint is kept; resume from it with a lower learning rate, for instance "
            f"--learning-rate {settings.learning_rate / 3:.1g}"
        )
    for group in run.optimiser.param_groups:
        group["lr"] = schedule.learning_rate(run.experiment, run.step, progress)
    run.optimiser.step()
    if run.average is not None and run.step % AVERAGE_EVERY == 0:
        decay = min(settings.ema, (run.step + 1) / (run.step + 10)) ** AVERAGE_EVERY
        with torch.no_grad():
            torch._foreach_lerp_(list(run.average.parameters()), list(run.model.parameters()), 1 - decay)
    run.step += 1
    run.losses.append(value)
    return value


@contextlib.contextmanager
def _stop_requests() -> Iterator[list[str]]:
    """Collect SIGINT and SIGTERM instead of dying of them: the current step is finished first."""
    asked: list[str] = []
    handlers = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError):  # outside the main thread there are no handlers
            handlers[number] = signal.signal(number, lambda n, _: asked.append(signal.Signals(n).name))
    try:
        yield asked
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _processes(device: torch.device) -> Iterator[Ranks]:
    """Join the other processes if torchrun started this one."""
    if "RANK" not in os.environ:
        yield Ranks()
        return
    joined = not dist.is_initialized()
    if joined:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        if joined:
            dist.destroy_process_group()


def train(
    experiment: Experiment,
    images: Images,
    out: Path,
    device: torch.device,
    time_budget: float | None = None,
    after_step: Callable[[Run], None] | None = None,
    quiet: bool = False,
    start: Path | None = None,
) -> Run:
    """Train into the folder `out`, continuing what is there; a time budget (seconds) replaces the step count.

    What it takes to prepare the model counts towards the budget, up to half of it.
    With `start`, a new run begins with the weights of that model, and its training counts as earlier.
    Writes TRAINING_FILE and MODEL_FILE, at least once a minute and at the end.
    Ctrl-C and SIGTERM finish the step and save. Raises Diverged, or NcamError for bad input.
    """
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    with _processes(device) as ranks, _stop_requests() as asked:
        if experiment.train.batch % ranks.world:
            raise NcamError(f"the batch of {experiment.train.batch} does not divide among {ranks.world} processes")
        began = time.monotonic()
        run = prepare(experiment, images, device)
        main, changes = ranks.rank == 0, []
        if (out / TRAINING_FILE).exists():
            changes = run.resume(out / TRAINING_FILE)
        elif start is not None:
            run.start_from(start)
        if changes and main:
            print(f"continuing from step {run.step} with other settings: {', '.join(changes)}", file=sys.stderr)
        pixels = images.pixels.to(device)
        progress = run.seconds / time_budget if time_budget else schedule.progress(experiment, run.step)
        learns = progress >= experiment.train.encoder_from
        module, seen = _ready(run, pixels, learns, ranks)
        saved = time.monotonic()
        preparing = saved - began
        left = max(time_budget - preparing, time_budget / 2) if time_budget else 0.0  # seconds for the steps
        spent, first = run.seconds, run.step
        if main and run.step == 0:
            run.save(out)  # an unwritable folder is noticed now, not in an hour
        total = None if time_budget else experiment.train.steps
        bar = tqdm(total=total, initial=run.step, disable=quiet or not main, file=sys.stderr, mininterval=1)
        with bar:
            while True:
                run.seconds = spent + time.monotonic() - began
                progress = (run.seconds - preparing) / left if left else schedule.progress(experiment, run.step)
                progress, stop = _agree(progress, bool(asked), ranks, device)
                if stop or progress >= 1:
                    break
                if not learns and progress >= experiment.train.encoder_from:
                    learns, (module, seen) = True, _ready(run, pixels, True, ranks)
                train_step(run, module, seen, pixels, progress, ranks)
                recent = sum(run.losses[-50:]) / len(run.losses[-50:])
                remaining = f", {(1 - progress) * left / 60:.1f} min left" if left else ""
                bar.set_postfix_str(f"mse {recent:.4f}{remaining}", refresh=False)
                bar.update()
                if main and time.monotonic() - saved > SAVE_EVERY:
                    run.save(out)
                    saved = time.monotonic()
                if after_step is not None:
                    after_step(run)
        if main:
            if run.step > first:  # a finished run keeps the provenance of what trained it
                run.save(out)
            if asked:
                print(f"stopped by {asked[0]} at step {run.step}; run the same command to continue", file=sys.stderr)
    return run


def _agree(progress: float, stop: bool, ranks: Ranks, device: torch.device) -> tuple[float, bool]:
    """All processes follow the first one's clock, and stop when any is asked to."""
    if ranks.world == 1:
        return progress, stop
    clock = torch.tensor([progress if ranks.rank == 0 else 0.0], dtype=torch.float64, device=device)
    dist.broadcast(clock, 0)
    flag = torch.tensor([float(stop)], device=device)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return clock.item(), bool(flag.item())
