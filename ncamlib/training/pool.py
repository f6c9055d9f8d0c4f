"""A pool of grown states, for automata that stay as they are and heal, as in Growing Neural Cellular Automata.

The paper trains growth alone: its automata are trained for T steps, and nothing says what follows. With a pool, a
batch starts from states that the model has grown earlier, of which some are wounded; others start again from the
seed. A state is kept with its image and its mutated code. P slots, B batch, T steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ncamlib.config import Stage, TrainConfig
from ncamlib.model.automaton import seed
from ncamlib.model.damage import random_damage
from ncamlib.model.manifold import Growing

if TYPE_CHECKING:
    from ncamlib.training.run import Run

LOST = 1.0  # a state with a greater error is not worth keeping: it starts from the seed


@dataclass
class Pool:
    """The states and what belongs to them, one slot each."""

    states: Tensor  # (P, C, grid, grid)
    images: Tensor  # (P,) int64: of the training set
    ages: Tensor  # (P,) int64: steps since the seed
    mutations: Tensor  # (P, E, L) int8, as `dna.draw_mutation` gives them; E is 0 without DNA codes

    @classmethod
    def empty(cls, model: Growing, slots: int, grid: int) -> "Pool":
        """A pool of states that have not begun to grow; they are seeds of no image yet (-1)."""
        config, device = model.config, model.device
        genes = config.embedding if config.code == "dna" else 0
        return cls(
            seed(config, slots, grid, grid, device),
            torch.full((slots,), -1, device=device),
            torch.zeros(slots, dtype=torch.int64, device=device),
            torch.full((slots, genes, config.letters), -1, dtype=torch.int8, device=device),
        )

    @property
    def grid(self) -> int:
        """The side of the grid that its states have grown on."""
        return self.states.shape[-1]

    def of(self, slots: Tensor) -> "Pool":
        """A copy of some of its slots."""
        return Pool(*(tensor[slots] for tensor in vars(self).values()))

    def put(self, slots: Tensor, part: "Pool") -> None:
        """Replace some of its slots."""
        for tensor, new in zip(vars(self).values(), vars(part).values(), strict=True):
            tensor[slots] = new


def draw(pool: Pool, run: "Run", batch: int, rate: float, errors_of: Callable[[Pool], Tensor]) -> tuple[Tensor, Pool]:
    """A batch from the pool: its slots, and their content with some states replaced by seeds and some wounded.

    Which are replaced is random, else the pool would fill with the images that are easy to keep. A seed is of an image
    drawn like any batch; only where a state was lost, it is of the same image. Mutations are new, at the given rate.
    """
    settings, model, generator = run.experiment.train, run.model, run.generator
    slots = torch.randperm(len(pool.ages), generator=generator, device=generator.device)[:batch]
    part = pool.of(slots)
    lost = (part.ages > 0) & ~(errors_of(part) < LOST)
    fresh = part.ages == 0
    fresh[: max(1, round(settings.pool_fresh * batch))] = True  # slots come in random order
    images = part.images.clone()
    images[fresh] = run.draw(int(fresh.sum()))
    count = int((fresh | lost).sum())
    seeds = Pool.empty(model, count, pool.grid)
    seeds.images = images[fresh | lost]
    mutation = model.draw_mutation(count, rate, generator)
    if mutation is not None:
        seeds.mutations = mutation.to(torch.int8)
    part.put(fresh | lost, seeds)
    wounded = (~(fresh | lost)).nonzero().flatten()[: round(settings.pool_damage * batch)]
    part.states[wounded] = random_damage(part.states[wounded], generator)
    return slots, part


def draw_steps(settings: TrainConfig, stage: Stage, generator: torch.Generator) -> int:
    """The steps of a rollout from the pool: the stage's, or up to `pool_steps` times as many."""
    most = round(settings.pool_steps * stage.steps)
    return int(torch.randint(stage.steps, most + 1, (), generator=generator, device=generator.device))
