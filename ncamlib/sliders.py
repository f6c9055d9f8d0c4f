"""Sliders that grow an emoji while they move, for notebooks with a kernel.

C image channels, H W pixels.
"""

import base64
import io
from typing import Any

import torch
from torch import Tensor

from ncamlib.autoencoder import Grower
from ncamlib.figures import enlarge, sheet, to_picture


def _png(images: Tensor, scale: int) -> bytes:
    buffer = io.BytesIO()
    to_picture(sheet(enlarge(images, scale), len(images))).save(buffer, "PNG")
    return buffer.getvalue()


def growth_sliders(model: Grower, image: Tensor, seed: int = 0, scale: int = 4) -> Any:
    """Sliders for mutation rate, fire rate, steps and grid, and the image that grows under them.

    image (C, H, W) -> an ipywidgets box. Where there is no kernel, as in a built page, its first picture stands in.
    """
    import ipywidgets as widgets

    config = model.config
    rate = widgets.FloatSlider(0.5 if config.code == "dna" else 0, min=0, max=1, step=0.05, description="mutation")
    fire = widgets.FloatSlider(config.fire_rate, min=0.05, max=1, step=0.05, description="fire rate")
    steps = widgets.IntSlider(config.steps, min=1, max=4 * config.steps, description="steps")
    grid = widgets.IntSlider(config.image_size, min=16, max=128, step=8, description="grid")
    picture = widgets.Image(format="png")

    def draw(_: Any = None) -> None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            weights = model.weights(image[None], model.draw_mutation(1, rate.value, generator))
            state = model.grow(weights, steps.value, model.draw_fire(1, fire.value, generator), grid.value)
        picture.value = _png(model.nca.visible(state), scale)

    class Sliders(widgets.HBox):
        def _repr_mimebundle_(self, **options: Any) -> Any:
            bundle = super()._repr_mimebundle_(**options)
            data = base64.b64encode(picture.value).decode()
            alt = "The emoji as the sliders first show it; in a running notebook it grows anew while they move."
            bundle["text/html"] = f'<img class="pixels" alt="{alt}" src="data:image/png;base64,{data}">'
            return bundle

    for control in (rate, fire, steps, grid):
        control.observe(draw, "value")
    draw()
    controls = [rate, fire, steps, grid] if config.code == "dna" else [fire, steps, grid]
    return Sliders([widgets.VBox(controls), picture])
