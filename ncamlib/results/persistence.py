"""How automata fare after the T steps that the paper trains: whether they stay as they are, and whether they heal.

The three regimes of Growing Neural Cellular Automata, for a manifold: growing (the paper's training), persistent and
regenerating (`training.pool`). Ours, not in the paper. N images, C channels, H W grid, T steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ncamlib.data.images import Images
from ncamlib.errors import NcamError
from ncamlib.kernels import Fire, Weights
from ncamlib.machine import device_name
from ncamlib.model.base import Coded
from ncamlib.model.damage import KINDS, damage
from ncamlib.model.dna import mutate
from ncamlib.model.manifold import Growing
from ncamlib.project import Records, commit
from ncamlib.results.measurement import TEST_MUTATION
from ncamlib.results.tables import number

TIMES = (1, 2, 5, 10, 20)  # in T
GROWN = 192  # at least so many are grown, with different draws and wounds: one wound in five may be in the middle
STAYS = 0.05  # the mean squared change from T to 2 T of a picture that stays
BATCH = 32
CLEAN, MUTATED, CHILDREN = "clean", "mutated", "children"


@dataclass(frozen=True)
class Healing:
    """Damage after T steps, and what is left of it T steps later."""

    kind: str  # of `damage.KINDS`
    mse: float | None  # against the target; None for children, which have none
    healed: float | None  # share of images with at most twice their error before the damage
    difference: float  # mean squared difference from the same automaton, as old and undamaged
    median: float | None = None  # of that difference: some pictures are lost, and carry the mean


@dataclass(frozen=True)
class Persistence:
    """One model's errors over time and after damage: which training it is of, and where it was measured."""

    experiment: str
    codes: str  # "clean"; "mutated": half of the letters replaced; "children": every gene from either of two images
    images: int
    draws: int  # pictures that were grown, each with a wound of its own
    errors: tuple[tuple[int, float], ...]  # (multiple of T, MSE); empty for children
    healing: tuple[Healing, ...]
    train_steps: int
    data_digest: str
    device: str
    commit: str
    stay: float | None = None  # share that changes by at most `STAYS` from T to 2 T


RECORDS = Records("persistence.json", Persistence)


@dataclass(frozen=True)
class _Grown:
    """What one batch adds to the sums: squared errors per image."""

    errors: Tensor  # (times, B)
    after: Tensor  # (kinds, B)
    differences: Tensor  # (kinds, B)
    changes: Tensor  # (1, B): from T to 2 T


def _live(
    model: Growing, weights: Weights, targets: Tensor, times: Sequence[int], generator: torch.Generator
) -> _Grown:
    """Grow, wait, and damage: one batch. targets (B, C, H, W)."""
    steps, batch = model.config.steps, len(targets)

    def grow(state: Tensor | None, periods: int, fire: Fire | None = None) -> Tensor:
        fire = fire or model.draw_fire(batch, None, generator)
        return model.grow(weights, periods * steps, fire, state=state)

    def error(state: Tensor, other: Tensor) -> Tensor:
        return (model.nca.visible(state) - other).cpu().double().square().mean((1, 2, 3))

    grown = grow(None, 1)
    fire = model.draw_fire(batch, None, generator)  # the same cells fire with and without damage
    twin = grow(grown, 1, fire)
    healed = [grow(damage(grown, kind, generator), 1, fire) for kind in KINDS]
    errors, state = [error(grown, targets), error(twin, targets)], twin
    for earlier, later in pairwise(times[1:]):
        state = grow(state, later - earlier)
        errors.append(error(state, targets))
    return _Grown(
        torch.stack(errors[: len(times)]),
        torch.stack([error(state, targets) for state in healed]),
        torch.stack([error(state, model.nca.visible(twin)) for state in healed]),
        error(twin, model.nca.visible(grown))[None],
    )


def _codes(model: Growing, pixels: Tensor, partners: Tensor | None, codes: str, generator: torch.Generator) -> Weights:
    """The weights of the automata of some images, from clean or mutated codes or those of children with partners."""
    if not isinstance(model, Coded):
        return model.weights(pixels)
    code = model.encode(pixels)
    if partners is not None:
        choice = (torch.rand(code.shape[:2], generator=generator) < 0.5).to(code.device)  # every gene from one parent
        code = torch.where(choice.view(*choice.shape, *(1,) * (code.ndim - 2)), code, model.encode(partners))
    elif codes == MUTATED:
        code = mutate(code, model.draw_mutation(len(pixels), TEST_MUTATION, generator))
    return model.decode(code)


def _paired(count: int, generator: torch.Generator) -> Tensor:
    """For each of so many images another one, drawn at random: (count,)."""
    order = torch.randperm(count, generator=generator)
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


@torch.no_grad()
def measure_persistence(
    model: Growing, images: Images, header: dict[str, Any], codes: str = MUTATED, times: Sequence[int] = TIMES
) -> Persistence:
    """Errors at multiples of T and 1 T after damage at T, over all images. NcamError for a model that does not grow."""
    if not isinstance(model, Growing):
        raise NcamError(f"'{header['experiment']['name']}' does not grow: it has no steps after its last one")
    if tuple(times[:2]) != TIMES[:2]:
        raise NcamError(f"times are {times}: they must begin with 1 and 2")
    images.require(model.config.image_channels, model.config.image_size, "the model")
    # The wounds do not depend on what is drawn for the codes, so that clean and mutated ones have the same.
    generator, wounds = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
    pixels, copies = images.pixels.to(model.device), -(-GROWN // len(images))
    partners = pixels[_paired(len(images), generator)].repeat(copies, 1, 1, 1) if codes == CHILDREN else None
    pixels = pixels.repeat(copies, 1, 1, 1)
    parts = []
    for start in range(0, len(pixels), BATCH):
        part = slice(start, start + BATCH)
        weights = _codes(model, pixels[part], None if partners is None else partners[part], codes, generator)
        parts.append(_live(model, weights, pixels[part], times, wounds))
    errors, after, differences, changes = (
        torch.cat([getattr(p, name) for p in parts], 1) for name in _Grown.__annotations__
    )
    known = codes != CHILDREN
    healing = tuple(
        Healing(
            kind,
            after[i].mean().item() if known else None,
            (after[i] <= 2 * errors[0]).double().mean().item() if known else None,
            differences[i].mean().item(),
            differences[i].median().item(),
        )
        for i, kind in enumerate(KINDS)
    )
    return Persistence(
        header["experiment"]["name"],
        codes,
        len(images),
        len(pixels),
        tuple(zip(times, errors.mean(1).tolist(), strict=True)) if known else (),
        healing,
        header["step"],
        header["data_digest"],
        device_name(model.device),
        commit(),
        (changes <= STAYS).double().mean().item(),
    )


def codes_of(model: Growing, images: int) -> list[str]:
    """The kinds of codes that a model can be measured with on so many images: a child needs two."""
    if not isinstance(model, Coded):
        return [CLEAN]
    kinds = [CLEAN, MUTATED, CHILDREN] if model.config.code == "dna" else [CLEAN, CHILDREN]
    return kinds if images > 1 else kinds[:-1]


def record(row: Persistence) -> None:
    """Add a row, in place of an earlier one of the same experiment and codes."""

    def changed(rows: list[Persistence]) -> list[Persistence]:
        kept = [one for one in rows if (one.experiment, one.codes) != (row.experiment, row.codes)]
        return sorted([*kept, row], key=lambda one: (one.experiment, one.codes))

    RECORDS.update(changed)


def _shown(error: float | None) -> str:
    """An error as the table shows it; of what is lost, only how far."""
    return f"{error:,.0f}" if error and error >= 10 else f"{error:.2f}" if error and error >= 1 else number(error)


def markdown(rows: Sequence[Persistence]) -> str:
    """Markdown tables, a row per model and kind of codes: errors over time, after damage, and how children fare."""
    children = [row for row in rows if not row.errors and row.stay is not None]
    rows = [row for row in rows if row.errors]
    times = [f"{time} T" for time, _ in rows[0].errors] if rows else []
    after = ["draws", "before, at T", *(f"after {kind}" for kind in KINDS)]
    stay = [[_shown(error) for _, error in row.errors] for row in rows]
    heal = [
        [str(row.draws), _shown(row.errors[0][1]), *(f"{_shown(one.mse)} ({one.healed:.0%})" for one in row.healing)]
        for row in rows
    ]
    tables = [_table(rows, times, stay), _table(rows, after, heal)]
    if children:
        apart = [
            [
                str(row.draws),
                f"{row.stay:.0%}",
                *(f"{_shown(one.median)} ({_shown(one.difference)})" for one in row.healing),
            ]
            for row in children
        ]
        tables.append(_table(children, ["draws", "stay", *(f"after {kind}" for kind in KINDS)], apart))
    return "\n\n".join(tables)


def _table(rows: Sequence[Persistence], titles: list[str], cells: list[list[str]]) -> str:
    lines = [f"| {' | '.join(['model', 'codes', *titles])} |", f"|---|---|{'--:|' * len(titles)}"]
    lines += [
        f"| `{row.experiment}` | {row.codes} | {' | '.join(line)} |" for row, line in zip(rows, cells, strict=True)
    ]
    return "\n".join(lines)
