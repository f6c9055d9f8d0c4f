"""The live manifold as a Jupyter widget, and the same module in a built page. Needs anywidget.

The module computes in the reader's browser: a kernel is only asked for the model's file.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ncamlib import data
from ncamlib.config import regime_of
from ncamlib.errors import NcamError
from ncamlib.live import assets, module
from ncamlib.model import checkpoint
from ncamlib.model.build import growing
from ncamlib.model.manifold import Coded, Growing

SEEDLINGS = 6  # automata that travel with the page, for a first growth without loading anything


@dataclass(frozen=True)
class Shown:
    """A model that the reader can choose."""

    experiment: str
    model: Growing
    given: str  # the experiment or the file that the reader of a notebook named

    def listed(self, name: str, folder: str = "") -> dict[str, Any]:
        """What the panel knows of it: its regime, and where its files are; without a folder the kernel has them."""
        there = {"manifold": True, "encoder": self.model.encoder is not None}
        return {"name": name, "experiment": self.experiment if folder else self.given} | {
            part: {"url": folder and f"{folder}{self.experiment}-{part}.bin", "there": is_there}
            for part, is_there in there.items()
        }


class LiveManifold(anywidget.AnyWidget):
    """Grow, mutate, wound and cross the emoji of a trained synchronous or stochastic DNA model.

    `emoji` (itself or its name), `code` (base64 of the letters, two bits each, and before them the levels of the
    genes if it is of a picture of the reader's own; empty: the emoji's own), `partner` (another emoji: the child of
    both grows, `seed` decides which genes come from whom), `mutation_rate`, `fire_rate`, `steps_per_second`,
    `playing`, `over` (whether the growth has ended), `seed`, `mix` (0: the child; above: so far from the first parent
    to the other), `side` (of the grid, in cells) and `regime` (which of several models grows, by how it was trained)
    are synchronised both ways. `group`, a word of names, says once which groups are offered. Nothing is encoded before
    it is shown or asked for.
    """

    _esm = module.source()
    emoji = traitlets.Unicode().tag(sync=True)
    partner = traitlets.Unicode().tag(sync=True)
    code = traitlets.Unicode().tag(sync=True)
    mutation_rate = traitlets.Float(0.0, min=0.0, max=1.0).tag(sync=True)
    fire_rate = traitlets.Float(1.0, min=0.0, max=1.0).tag(sync=True)
    steps_per_second = traitlets.Float(30.0, min=1.0, max=1000.0).tag(sync=True)
    playing = traitlets.Bool(True).tag(sync=True)
    over = traitlets.Bool(False).tag(sync=True)
    seed = traitlets.Int(0, min=0, max=2**32 - 1).tag(sync=True)
    mix = traitlets.Float(0.0, min=0.0, max=1.0).tag(sync=True)
    side = traitlets.Int(64, min=1, max=256).tag(sync=True)
    steps = traitlets.Int().tag(sync=True)
    seedlings = traitlets.List().tag(sync=True)
    group = traitlets.Unicode().tag(sync=True)
    regime = traitlets.Unicode().tag(sync=True)
    regimes = traitlets.List().tag(sync=True)

    def __init__(
        self,
        experiment: str = "chars-dna-syn",
        first: str | Sequence[str] = "",
        data_dir: Path | str | None = None,
        others: Sequence[str] = (),
        **traits: Any,
    ):
        """Show an experiment, or a checkpoint file. Raises NcamError.

        `first`: emoji of the instant row, a list or separated by spaces, evenly chosen unless given. `data_dir`: the
        folder of pictures that a model of one's own was trained on. `others`: models of the same images, trained in
        another regime, that the reader can switch to.
        """
        self._models, self._files, regimes, headers = {}, {}, [], []
        for one in (experiment, *others):
            model, header = checkpoint.load_model(one)
            about = Shown(header["experiment"]["name"], growing(model, str(one)), str(one))
            assets.require_standard(about.model)
            headers.append(header)
            regimes.append(about.listed(regime_of(header["experiment"].get("train", {}))))
            self._models[regimes[-1]["name"]] = about
        if len(self._models) < len(regimes) or len({header["data_digest"] for header in headers}) > 1:
            raise NcamError("the reader can switch between models of the same images, each trained in another regime")
        if len({(one.model.config.fire_rate, one.model.config.steps) for one in self._models.values()}) > 1:
            raise NcamError("the reader can switch between models with the same fire rate and steps only")
        self._first_model = next(iter(self._models.values()))
        config = self._first_model.model.config
        name = headers[0]["images"]
        if not data_dir and not data.known(name):
            raise NcamError(f"{experiment} was trained on '{name}': give the folder of those pictures as data_dir")
        self._images = data.load(name, config.image_size, config.image_channels, data_dir)
        same = self._images.sequences or self._images.digest == headers[0]["data_digest"]
        coded = [one.model for one in self._models.values() if isinstance(one.model, Coded)]
        books = [model.codes for model in coded if model.encoder is None]
        if not same and not all(book.knows(self._images.pixels) for book in books):
            raise NcamError(
                f"{experiment} knows the codes of the images it was trained on only, and some of these are others: "
                "give the folder of those as data_dir"
            )
        self._first = [self._images.index(key) for key in data.listed(first)] or list(
            range(0, len(self._images), -(-len(self._images) // SEEDLINGS))
        )
        traits = {"emoji": self._images.emoji[self._first[0]], "fire_rate": config.fire_rate, **traits}
        super().__init__(steps=config.steps, regimes=regimes, **traits)
        self.on_msg(self._answer)

    @functools.cached_property
    def _seedlings(self) -> list[dict[str, Any]]:
        words = assets.Words.of(self._first_model.model, self._images)
        return [assets.seedling(self._first_model.model, self._images, i, words) for i in self._first]

    def _file(self, name: str, part: str) -> bytes:
        model = self._models[name].model
        if (name, part) not in self._files:
            content = assets.pack(model, self._images) if part == "manifold" else assets.pack_encoder(model)
            self._files[name, part] = assets.packed(content)
        return self._files[name, part]

    def _answer(self, _: Any, content: dict[str, Any], __: Any) -> None:
        wanted = content.get("file") if content.get("type") == "load" else None
        asked = {"type": wanted, "regime": content.get("regime")}
        try:
            if wanted == "seedlings":
                self.seedlings = self._seedlings
            elif wanted in ("manifold", "encoder") and asked["regime"] in self._models:
                self.send(asked, [self._file(asked["regime"], wanted)])
        except Exception as error:  # whatever it is, the panel waits for an answer
            known = isinstance(error, NcamError)
            self.send({**asked, "error": str(error) if known else f"{type(error).__name__}: {error}"})

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = super()._repr_mimebundle_(**options)
        shown = bundle[0] if isinstance(bundle, tuple) else bundle
        names = (
            "emoji",
            "partner",
            "code",
            "mutation_rate",
            "fire_rate",
            "steps_per_second",
            "playing",
            "seed",
            "mix",
            "side",
            "regime",
        )
        properties = {name: getattr(self, name) for name in (*names, "steps", "group")}
        properties["seedlings"] = self._seedlings
        properties["regimes"] = [
            self._models[one["name"]].listed(one["name"], "../_static/live/") for one in self.regimes
        ]
        shown["text/html"] = module.page(properties)
        return bundle
