"""The live manifold as a Jupyter widget, and the same module in a built page. Needs anywidget.

The module computes in the reader's browser: a kernel is only asked for the model's file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ncamlib import data
from ncamlib.live import assets, module
from ncamlib.model import checkpoint
from ncamlib.model.build import growing

SEEDLINGS = 6  # automata that travel with the page, for a first growth without loading anything


class LiveManifold(anywidget.AnyWidget):
    """Grow, mutate, wound and cross the emoji of a trained synchronous or stochastic DNA model.

    `emoji` (itself or its name), `code` (base64 of the letters, two bits each; empty: the emoji's own),
    `mutation_rate`, `fire_rate`, `steps_per_second`, `playing` and `seed` are synchronised both ways. What crossing and
    injection begin with is given once: `partner` (a name) and `group` (part of names).
    """

    _esm = module.source()
    emoji = traitlets.Unicode().tag(sync=True)
    code = traitlets.Unicode().tag(sync=True)
    mutation_rate = traitlets.Float(0.0, min=0.0, max=1.0).tag(sync=True)
    fire_rate = traitlets.Float(1.0, min=0.0, max=1.0).tag(sync=True)
    steps_per_second = traitlets.Float(30.0, min=1.0, max=1000.0).tag(sync=True)
    playing = traitlets.Bool(True).tag(sync=True)
    seed = traitlets.Int(0, min=0, max=2**32 - 1).tag(sync=True)
    steps = traitlets.Int().tag(sync=True)
    seedlings = traitlets.List().tag(sync=True)
    partner = traitlets.Unicode().tag(sync=True)
    group = traitlets.Unicode().tag(sync=True)
    manifold = traitlets.Dict().tag(sync=True)
    encoder = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        experiment: str = "chars-dna-syn",
        first: str | Sequence[str] = "",
        data_dir: Path | str | None = None,
        **traits: Any,
    ):
        """Show an experiment, or a checkpoint file. Raises NcamError.

        `first`: emoji of the instant row, a list or separated by spaces, evenly chosen unless given. `data_dir`: the
        folder of pictures that a model of one's own was trained on.
        """
        loaded, header = checkpoint.load_model(experiment)
        model = growing(loaded, str(experiment))
        images = data.load(
            header["images"], model.config.image_size, model.config.image_channels, data_dir and Path(data_dir)
        )
        shown_first = [images.index(key) for key in data.listed(first)] or range(
            0, len(images), -(-len(images) // SEEDLINGS)
        )
        self._files = {"manifold": assets.pack(model, images), "encoder": assets.pack_encoder(model)}
        self._experiment = header["experiment"]["name"]
        seedlings = [
            {
                "emoji": images.emoji[i],
                "title": images.names[i],
                "rule": assets.rule(model),
                "weights": assets.seedling(model, images.pixels[i]),
            }
            for i in shown_first
        ]
        traits = {"emoji": seedlings[0]["emoji"], "fire_rate": model.config.fire_rate, **traits}
        super().__init__(
            steps=model.config.steps,
            seedlings=seedlings,
            **{name: {"url": "", "bytes": len(file)} for name, file in self._files.items()},
            **traits,
        )
        self.on_msg(self._answer)

    def _answer(self, _: Any, content: dict[str, Any], __: Any) -> None:
        if content.get("type") == "load" and content.get("file") in self._files:
            self.send({"type": content["file"]}, [self._files[content["file"]]])

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = super()._repr_mimebundle_(**options)
        shown = bundle[0] if isinstance(bundle, tuple) else bundle
        names = ("emoji", "code", "mutation_rate", "fire_rate", "steps_per_second", "playing", "seed", "steps")
        names += ("partner", "group")
        properties = {name: getattr(self, name) for name in (*names, "seedlings")}
        for name in self._files:
            url = f"../_static/live/{self._experiment}-{name}.safetensors"
            properties[name] = {**getattr(self, name), "url": url}
        shown["text/html"] = module.page(properties)
        return bundle
