"""Sliders that grow emoji while they move, for notebooks with a kernel.

N images, M targets, C image channels, H W pixels, E embedding, L letters, A alphabet.
"""

import base64
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ncamlib.data.pictures import enlarge, sheet, to_picture
from ncamlib.model import genetics
from ncamlib.model.dna import mutate
from ncamlib.model.manifold import Growing


def _png(images: Tensor, scale: int) -> bytes:
    buffer = io.BytesIO()
    to_picture(sheet(enlarge(images, scale), len(images))).save(buffer, "PNG")
    return buffer.getvalue()


def _sliders(controls: Sequence[Any], draw: Callable[[], Tensor], scale: int, alt: str) -> Any:
    """Controls above the images that `draw` returns for their values, (N, C, H, W); redrawn whenever one moves.

    Without a kernel, as in a built page, the first picture stands in, described by `alt`.
    """
    import ipywidgets as widgets

    picture = widgets.Image(format="png")
    picture.layout.object_fit = "contain"

    def redraw(_: Any = None) -> None:
        with torch.no_grad():
            picture.value = _png(draw(), scale)

    class Sliders(widgets.HBox):
        def _repr_mimebundle_(self, **options: Any) -> Any:
            bundle = super()._repr_mimebundle_(**options)
            data = base64.b64encode(picture.value).decode()
            bundle["text/html"] = f'<img class="pixels" alt="{alt}" src="data:image/png;base64,{data}">'
            return bundle

    for control in controls:
        control.observe(redraw, "value")
    redraw()
    return Sliders([widgets.VBox(controls), picture])


def growth_sliders(model: Growing, image: Tensor, seed: int = 0, scale: int = 4) -> Any:
    """Sliders for mutation rate, fire rate, steps and grid, and the image that grows under them.

    image (C, H, W) -> an ipywidgets box.
    """
    import ipywidgets as widgets

    config = model.config
    rate = widgets.FloatSlider(0.5 if config.code == "dna" else 0, min=0, max=1, step=0.05, description="mutation")
    fire = widgets.FloatSlider(config.fire_rate, min=0.05, max=1, step=0.05, description="fire rate")
    steps = widgets.IntSlider(config.steps, min=1, max=4 * config.steps, description="steps")  # at the image's size
    size = config.image_size
    grid = widgets.IntSlider(size, min=min(16, size), max=max(128, size), step=math.gcd(8, size), description="grid")

    def draw() -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        weights = model.weights(image[None], model.draw_mutation(1, rate.value, generator))
        fired = model.draw_fire(1, fire.value, generator)
        return model.nca.visible(model.grow(weights, model.steps_on(grid.value, steps.value), fired, grid.value))

    controls = [rate, fire, steps, grid] if config.code == "dna" else [fire, steps, grid]
    alt = "The emoji as the sliders first show it; in a running notebook it grows anew while they move."
    return _sliders(controls, draw, scale, alt)


def injection_sliders(model: Growing, group: Tensor, targets: Tensor, seed: int = 0, scale: int = 2) -> Any:
    """Sliders for the threshold of a group's mean genes and for the mutation of their carriers (section 4, Fig. 7).

    Codes: group (N, E, L, A), targets (M, E, L, A) -> an ipywidgets box. It shows what grows from the mean genes
    alone, then from each target with these genes injected.
    """
    import ipywidgets as widgets

    threshold = widgets.FloatSlider(0.9, min=0.5, max=0.99, step=0.01, description="threshold")
    rate = widgets.FloatSlider(0, min=0, max=1, step=0.05, description="mutation")

    def draw() -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        genes = genetics.mean_genes(group, threshold.value)
        codes = torch.cat([genes[None], genetics.inject(targets, genes)])
        mutated = mutate(codes, model.draw_mutation(len(codes), rate.value, generator))
        fired = model.draw_fire(len(codes), generator=generator)
        return model.nca.visible(model.grow(model.decode(mutated), model.config.steps, fired))

    alt = "Mean genes of a group and targets that carry them; in a running notebook they grow anew with the threshold."
    return _sliders([threshold, rate], draw, scale, alt)
