"""Trains one experiment: the whole set on the device, one loop that reads from top to bottom.

Everything random comes from one generator whose state is saved with the weights, so a run that
was cut off continues bit for bit on a CPU. Under torchrun each process takes its share of the
same global batch. B global batch, T steps, H W grid.
"""

import contextlib
import math
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ncamlib.config import Experiment, Stage, to_dict
from ncamlib.data.images import Images
from ncamlib.errors import NcamError
from ncamlib.model import checkpoint
from ncamlib.project import commit
from ncamlib.training import augmentation, schedule
from ncamlib.training import pool as pooling
from ncamlib.training.pool import Pool
from ncamlib.training.processes import Ranks, StopRequests, only_one, own_device, ranks, stop_requests
from ncamlib.training.run import MODEL_FILE, TRAINING_FILE, Diverged, Run, prepare
from ncamlib.training.schedule import Budget

EXPLODED = 1e4  # gradient norm before clipping, or loss, beyond which training has diverged
SAVE_EVERY = 60.0  # seconds
AVERAGE_EVERY = 8  # optimiser steps: averaging costs as much memory traffic as a third of an optimiser step


@dataclass
class Feed:
    """What the model is trained on: images, or their means, computed once, while the convolutions are fixed."""

    run: Run
    ranks: Ranks
    pixels: Tensor
    learning: bool | None = None  # whether the encoder's convolutions learn

    def arrange(self, progress: float) -> None:
        """Switch from fixed to trained convolutions when it is time."""
        learning = progress >= self.run.experiment.train.encoder_from
        if learning == self.learning:
            return
        self.learning, model = learning, self.run.model
        encoder = getattr(model, "encoder", None)
        if encoder is not None:
            encoder.train_convolutions(learning)
        self.inputs = self.pixels if encoder is None or learning else encoder.all_means(self.pixels)
        self.module = nn.parallel.DistributedDataParallel(model) if self.ranks.world > 1 else model

    @property
    def leak_scale(self) -> float | None:
        """The multiplier of the leak factor: that of the grid (None), or none."""
        return None if self.run.experiment.train.scale_leak else 1.0

    def take(self, drawn: Tensor, mine: slice) -> tuple[Tensor, Tensor]:
        """Inputs and images (B, image_channels, H, W) for this process's share of the images of a batch: the first of
        a batch are augmented, if the training says so.
        """
        count = round(self.run.experiment.train.augment * len(drawn))
        if not count:
            return self.inputs[drawn[mine]], self.pixels[drawn[mine]]
        inputs, images = self.inputs[drawn], self.pixels[drawn]
        images[:count] = augmentation.augment(images[:count], self.pixels, self.run.generator)
        with torch.no_grad():
            inputs[:count] = images[:count] if self.learning else self.run.model.encoder.means(images[:count])
        return inputs[mine], images[mine]

    def targets(self, drawn: Tensor, grid: int) -> Tensor:
        """The images of these numbers at the size of a grid: (B,) -> (B, image_channels, grid, grid)."""
        return F.adaptive_avg_pool2d(self.pixels[drawn], grid)


def seed_loss(feed: Feed, stage: Stage, rate: float) -> Tensor:
    """The loss of a batch that grows from the seed, as in the paper: this process's share of it."""
    run, ranks = feed.run, feed.ranks
    # All processes draw the whole batch from the same stream and keep their share.
    batch = run.experiment.train.batch * stage.batch
    mine, drawn = ranks.share(batch), run.draw(batch)
    mutation = run.model.draw_mutation(batch, rate, run.generator)
    fire = run.model.draw_fire(batch, None, run.generator)
    inputs, images = feed.take(drawn, mine)
    grown = feed.module(
        inputs,
        None if mutation is None else mutation[mine],
        None if fire is None else fire.of(mine),
        stage.steps,
        stage.grid,
        leak_scale=feed.leak_scale,
    )
    targets = F.adaptive_avg_pool2d(images, stage.grid)
    if run.draws is not None:
        run.draws.note(drawn, (grown - targets).square().mean((1, 2, 3)))
    return F.mse_loss(grown, targets)


def pool_loss(feed: Feed, stage: Stage, rate: float) -> Tensor:
    """The loss of a batch from the pool, which keeps what has grown."""
    run, model, settings = feed.run, feed.run.model, feed.run.experiment.train
    if run.pool is None or run.pool.grid != stage.grid:
        run.pool = Pool.empty(model, settings.pool, stage.grid)

    def errors(part: Pool) -> Tensor:
        return (model.nca.visible(part.states) - feed.targets(part.images, stage.grid)).square().mean((1, 2, 3))

    slots, part = pooling.draw(run.pool, run, settings.batch * stage.batch, rate, errors)
    fire = model.draw_fire(len(slots), None, run.generator)
    steps = pooling.draw_steps(settings, stage, run.generator)

    def grown(which: Tensor) -> Pool:
        """Some of the batch, a few steps older."""
        some = part.of(which)
        weights = model.weights(feed.inputs[some.images], some.mutations.long() if some.mutations.numel() else None)
        firing = None if fire is None else fire.of(which)
        state = model.grow(weights, steps, firing, stage.grid, leak_scale=feed.leak_scale, state=some.states)
        return replace(some, states=state, ages=some.ages + steps)

    after = grown(torch.arange(len(slots), device=slots.device))
    run.pool.put(slots, replace(after, states=after.states.detach()))
    losses = errors(after)
    kept = losses < pooling.LOST  # the gradient of a state that was lost on the way would drown the others'
    if kept.any() and not losses.isfinite().all():  # even times zero it is not a number: the others grow again
        which = kept.nonzero().flatten()
        del after, losses  # and their graph
        return errors(grown(which)).mean()
    return losses[kept].mean() if kept.any() else losses.mean()


def train_step(feed: Feed, progress: float) -> float:
    """Draw a batch, grow it, step the optimiser. Returns the loss of the global batch."""
    run, ranks = feed.run, feed.ranks
    settings, generator = run.experiment.train, run.generator
    low, high = settings.mutation
    rate = low + (high - low) * torch.rand((), generator=generator, device=generator.device).item()
    loss = (pool_loss if settings.pool else seed_loss)(feed, schedule.stage(run.experiment, progress), rate)
    run.optimiser.zero_grad()
    loss.backward()
    gradients = [p.grad for p in run.model.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    scale = (norm / settings.clip).clamp_min(1)
    if run.model.device.type in ("cpu", "cuda"):
        run.optimiser.grad_scale = scale  # the optimiser's own pass divides by it
    else:  # that of other devices may ignore it
        torch._foreach_div_(gradients, scale)
    value = ranks.mean(loss.detach())
    if not (value < EXPLODED and norm.item() < EXPLODED):  # also catches NaN
        raise Diverged(run, f"loss {value:.3g}, gradient norm {norm.item():.3g}")
    for group in run.optimiser.param_groups:
        group["lr"] = schedule.learning_rate(run.experiment, run.step, progress) * group["scale"]
    run.optimiser.step()
    average(run)
    run.step += 1
    run.losses.append(value)
    return value


@torch.no_grad()
def average(run: Run) -> None:
    """Move the averaged weights towards the current ones, every few steps, by as much as those steps would together."""
    if run.average is not None and run.step % AVERAGE_EVERY == 0:
        decay = min(run.experiment.train.ema, (run.step + 1) / (run.step + 10)) ** AVERAGE_EVERY
        torch._foreach_lerp_(list(run.average.parameters()), list(run.model.parameters()), 1 - decay)


def check_ranks(group: Ranks, experiment: Experiment, images: Images, time_budget: float | None) -> None:
    """NcamError unless all processes were started for the same training, the batch can be divided among them, and there
    is time for it.
    """
    if time_budget is not None and not time_budget > 0:
        raise NcamError(
            f"the time budget is {time_budget:g} seconds: it must be above 0, or None for the steps to count"
        )
    group.divide(experiment.train.batch)
    if experiment.train.pool and group.world > 1:
        raise NcamError(f"'{experiment.name}' trains on a pool of states, which one process keeps: start it alone")
    if experiment.train.by_error and group.world > 1:
        raise NcamError(f"'{experiment.name}' draws images by their errors, which one process keeps: start it alone")
    facts = {"settings": to_dict(experiment), "images": images.digest, "time budget": time_budget, "commit": commit()}
    group.require_alike(facts)


def begin(
    experiment: Experiment, images: Images, out: Path, device: torch.device, warm_start: Path | None, group: Ranks
) -> Run:
    """The run in the folder `out` if there is one, else a new one, from the weights of `warm_start` if given.

    The first process finds and reads what to resume from, and tells the others.
    """
    run, file = prepare(experiment, images, device), out / TRAINING_FILE
    read = None
    if group.main:
        if file.exists():
            read = checkpoint.read(file, "training")
        elif warm_start is not None:
            read = checkpoint.load_model(warm_start)
    read = group.told(read)
    if read is None:
        return run
    content, header = read
    if isinstance(content, nn.Module):
        lost = run.warm_start(warm_start, content, header)
        if lost and group.main:
            print(f"its codes are put into letters; the encoder misses {lost:.2%} of their variance", file=sys.stderr)
        return run
    changes = run.resume(file, content, header)
    if changes and group.main:
        print(f"continuing from step {run.step} with changed settings: {', '.join(changes)}", file=sys.stderr)
    return run


def train(
    experiment: Experiment,
    images: Images,
    out: Path,
    device: torch.device,
    time_budget: float | None = None,
    after_step: Callable[[Run], None] | None = None,
    quiet: bool = False,
    warm_start: Path | None = None,
) -> Run:
    """Train into the folder `out`, continuing what is there; a time budget (seconds) replaces the step count.

    With `warm_start`, a new run begins with the weights of that model, whose training counts as an earlier part.
    Writes TRAINING_FILE and MODEL_FILE once a minute and at the end, also when a signal asks it to stop. Raises
    Diverged, InUse if another process is training in the folder, or NcamError for bad input.
    """
    device = own_device(device)
    with contextlib.ExitStack() as stack:
        group, asked = stack.enter_context(ranks(device)), stack.enter_context(stop_requests())
        check_ranks(group, experiment, images, time_budget)
        if group.main:
            stack.enter_context(only_one(out))

        # Prepare: the run, and what it is fed.
        if group.main and not quiet:
            print(f"preparing the model and {len(images)} images", file=sys.stderr)
        budget = Budget(experiment, time_budget)
        run = begin(experiment, images, out, device, warm_start, group)
        budget.spent, budget.done, first = run.seconds, run.done / (time_budget or math.inf), run.step
        feed = Feed(run, group, images.pixels.to(device))
        feed.arrange(budget.done if time_budget else schedule.progress(experiment, run.step))
        budget.prepared()
        if group.main and run.step == 0:
            run.save(out)  # an unwritable folder is noticed now, not in an hour
        asked.saves = True
        # Train, until the budget is spent or somebody asks to stop.
        for progress in steps(feed, budget, asked, quiet):
            train_step(feed, progress)
            if group.main and run.unsaved > SAVE_EVERY:
                run.save(out)
            if after_step is not None:
                after_step(run)
        # Save the result. A finished run keeps the provenance of its training.
        run.stopped = asked[0] if asked else None
        if group.main and (run.step > first or not (out / MODEL_FILE).exists()):
            run.save(out)
        if group.main and run.stopped:
            name = signal.Signals(run.stopped).name
            print(f"stopped by {name} at step {run.step}; run the same command to continue", file=sys.stderr)
    return run


def steps(feed: Feed, budget: Budget, asked: StopRequests, quiet: bool = False) -> Iterator[float]:
    """The progress before each optimiser step, until the budget is spent or a stop is requested; shows a bar."""
    run, group, first = feed.run, feed.ranks, feed.run.step
    total = None if budget.seconds else run.experiment.train.steps
    hidden = quiet or not group.main
    with tqdm(total=total, initial=run.step, disable=hidden, file=sys.stderr, mininterval=1) as bar:
        while True:
            spent = budget.total
            if run.step > first:  # preparing a run that has finished adds nothing to it
                run.seconds = spent
            progress, stop = group.agree(budget.progress(run.step), bool(asked), feed.pixels.device)
            if budget.seconds and run.step > first:
                run.done = progress * budget.seconds
            if stop or progress >= 1:
                return
            feed.arrange(progress)
            yield progress
            recent = sum(run.losses[-50:]) / len(run.losses[-50:])
            bar.set_postfix_str(f"mse {recent:.4f}{budget.remaining(progress)}", refresh=False)
            bar.update()
