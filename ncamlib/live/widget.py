"""The live manifold as a Jupyter widget, and the same module in a built page. Needs anywidget.

The module computes in the reader's browser: a kernel is only asked for the model's file.
"""

import functools
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
    `partner` (another emoji: the child of both grows, `seed` decides which genes come from whom), `mutation_rate`,
    `fire_rate`, `steps_per_second`, `playing` and `seed` are synchronised both ways. `group`, a word of names, says
    once which groups are offered. Nothing is encoded before it is shown or asked for.
    """

    _esm = module.source()
    emoji = traitlets.Unicode().tag(sync=True)
    partner = traitlets.Unicode().tag(sync=True)
    code = traitlets.Unicode().tag(sync=True)
    mutation_rate = traitlets.Float(0.0, min=0.0, max=1.0).tag(sync=True)
    fire_rate = traitlets.Float(1.0, min=0.0, max=1.0).tag(sync=True)
    steps_per_second = traitlets.Float(30.0, min=1.0, max=1000.0).tag(sync=True)
    playing = traitlets.Bool(True).tag(sync=True)
    seed = traitlets.Int(0, min=0, max=2**32 - 1).tag(sync=True)
    steps = traitlets.Int().tag(sync=True)
    seedlings = traitlets.List().tag(sync=True)
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
        self._model = growing(loaded, str(experiment))
        assets.require_standard(self._model)
        config = self._model.config
        self._images = data.load(
            header["images"], config.image_size, config.image_channels, data_dir and Path(data_dir)
        )
        self._first = [self._images.index(key) for key in data.listed(first)] or list(
            range(0, len(self._images), -(-len(self._images) // SEEDLINGS))
        )
        self._experiment = header["experiment"]["name"]
        traits = {"emoji": self._images.emoji[self._first[0]], "fire_rate": config.fire_rate, **traits}
        there = {"manifold": True, "encoder": self._model.encoder is not None}
        parts = {name: {"url": "", "there": is_there} for name, is_there in there.items()}
        super().__init__(steps=config.steps, **parts, **traits)
        self.on_msg(self._answer)

    @functools.cached_property
    def _seedlings(self) -> list[dict[str, Any]]:
        return [assets.seedling(self._model, self._images, i) for i in self._first]

    @functools.cached_property
    def _manifold(self) -> bytes:
        return assets.packed(assets.pack(self._model, self._images))

    @functools.cached_property
    def _encoder(self) -> bytes:
        return assets.packed(assets.pack_encoder(self._model))

    def _answer(self, _: Any, content: dict[str, Any], __: Any) -> None:
        wanted = content.get("file") if content.get("type") == "load" else None
        if wanted == "seedlings":
            self.seedlings = self._seedlings
        elif wanted in ("manifold", "encoder"):
            self.send({"type": wanted}, [getattr(self, f"_{wanted}")])

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = super()._repr_mimebundle_(**options)
        shown = bundle[0] if isinstance(bundle, tuple) else bundle
        names = ("emoji", "partner", "code", "mutation_rate", "fire_rate", "steps_per_second", "playing", "seed")
        properties = {name: getattr(self, name) for name in (*names, "steps", "group")}
        properties["seedlings"] = self._seedlings
        for name in ("manifold", "encoder"):
            properties[name] = {**getattr(self, name), "url": f"../_static/live/{self._experiment}-{name}.bin"}
        shown["text/html"] = module.page(properties)
        return bundle
