"""`ncam grow`: an emoji or a picture, from one pixel."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ncamlib import data
from ncamlib.cli.options import MOST_GRID, MOST_STEPS, Backend, FireRate, MutationRate, Seed, between, choose_backend
from ncamlib.data.images import evenly
from ncamlib.data.pictures import PICTURES, STRIP
from ncamlib.kernels import Fire, Weights
from ncamlib.model import checkpoint
from ncamlib.model.automaton import seed as seed_state
from ncamlib.model.build import growing
from ncamlib.model.manifold import Growing
from ncamlib.results import TEST_MUTATION


def grow(
    target: Annotated[str, typer.Argument(help="An emoji, its name, or a PNG or JPEG of your own.")],
    out: Annotated[Path, typer.Option(help="What to write: .gif, .apng, or a strip as .png.")] = Path("growth.gif"),
    model_name: Annotated[
        str | None, typer.Option("--model", help="Experiment or checkpoint file (default: one that suits the target).")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Steps of the automaton (default: the model's, more on a larger grid).",
            callback=between(1, MOST_STEPS),
        ),
    ] = None,
    fire_rate: FireRate = None,
    mutation_rate: MutationRate = TEST_MUTATION,
    seed: Seed = 0,
    grid: Annotated[
        int | None,
        typer.Option(help="Side of the grid in cells (default: the image's).", callback=between(1, MOST_GRID)),
    ] = None,
    scale: Annotated[int, typer.Option(help="Pixels per cell in the picture.", callback=between(1, 64))] = 4,
    backend: Backend = "auto",
) -> None:
    """Grow an emoji, or a picture of your own, from one pixel."""
    choose_backend(backend)
    model_name = model_name or suits(target)
    loaded, header = checkpoint.load_model(model_name)
    model = growing(loaded, model_name)
    size = model.config.image_size
    steps = steps or model.steps_on(grid or size)
    data.check_growth(out, steps + 1, grid or size, scale)
    image, note = find_image(target, model.config, header)
    if note:
        typer.echo(note, err=True)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        weights = model.weights(image[None], model.draw_mutation(1, mutation_rate, generator))
    fire = model.draw_fire(1, fire_rate, generator)
    times = evenly(steps + 1, STRIP) if out.suffix.lower() in PICTURES else range(steps + 1)
    frames = grown_at(list(times), model, weights, fire, grid or size)
    data.save_growth(out, frames, scale)
    if frames.shape[-1] == size:
        typer.echo(f"MSE to the target after {steps} steps: {(frames[-1] - image).square().mean():.4f}")
    typer.echo(f"wrote {out}, grown by {model_name}")


def suits(target: str) -> str:
    """The shipped model for a target: one that was trained on this emoji, or for pictures that no set holds."""
    if Path(target).suffix.lower() not in data.IMAGE_SUFFIXES:
        name = data.single(target, 16).names[0]
        for images, model_name in (("chars", "chars-dna-syn"), ("full", "full-dna-syn")):
            if name in data.names(images):
                return model_name
    return "full-dna-syn-augmented"


def grown_at(times: list[int], model: Growing, weights: Weights, fire: Fire | None, grid: int) -> torch.Tensor:
    """What is seen after so many steps, the first of which is 0: (F, C, grid, grid). No other states are kept."""
    state = seed_state(model.config, 1, grid, grid, model.device)
    frames = [model.nca.visible(state)[0].clone()]
    for before, after in pairwise(times):
        state = model.grow(weights, after - before, fire and fire.after(before), grid, state=state)
        frames.append(model.nca.visible(state)[0].clone())
    return torch.stack(frames)


def find_image(target: str, model: Any, header: dict[str, Any]) -> tuple[torch.Tensor, str]:
    """(The picture or emoji as the model takes it (C, H, W), what the reader should know of it)."""
    trained_on, size = header["images"], model.image_size
    if Path(target).suffix.lower() in data.IMAGE_SUFFIXES:
        image, original = data.load_image(Path(target), size, model.image_channels)
        altered = ", altered in many ways," if header["experiment"]["train"].get("augment") else ""
        note = f"{trained_on}{altered} is all this model has seen: a picture of another kind grows into what it knows"
        if original != (size, size):
            note = f"{target} is {original[0]}x{original[1]} pixels and was resized to {size}x{size}\n{note}"
        return image, note
    images = data.single(target, size)
    image = images.pixels[0] if model.image_channels == 4 else data.over_white(images.pixels[0])
    known = data.known(trained_on) and images.names[0] in data.names(trained_on)
    note = f"{images.names[0]} was not among the images that {header['experiment']['name']} was trained on"
    return image, "" if known else note
