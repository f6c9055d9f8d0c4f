"""A training run: its parts, how it starts, and how it is saved and resumed whole."""

import copy
import functools
import json
import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncamlib.config import Experiment, ModelConfig, TrainConfig, from_dict, to_dict
from ncamlib.data.images import Images
from ncamlib.errors import NcamError
from ncamlib.kernels import select_backend
from ncamlib.machine import device_name
from ncamlib.model import checkpoint
from ncamlib.model.base import Coded, Model
from ncamlib.model.build import build
from ncamlib.model.encoder import Codebook
from ncamlib.model.lettering import to_letters
from ncamlib.model.manifold import NCAM, Growing
from ncamlib.project import commit
from ncamlib.training import schedule
from ncamlib.training.drawing import Draws
from ncamlib.training.pool import Pool

TRAINING_FILE, MODEL_FILE = "training.safetensors", "model.safetensors"
MAP = ("predictor.weight", "predictor.bias")  # from an embedding to an automaton's weights
SAMPLE = 2048  # how many images the data-dependent initialisation looks at


class Diverged(NcamError):
    """The loss, the gradient or the weights grew without bound; the last good checkpoint is kept."""

    def __init__(self, run: "Run", what: str = "weights that are not finite"):
        self.step, self.seconds = run.step, run.seconds
        rate = run.experiment.train.learning_rate
        super().__init__(
            f"training diverged at step {run.step} ({what}): the last good checkpoint is kept; resume from it with a "
            f"lower learning rate, for example --learning-rate {rate / 3:.1g}"
        )


@functools.lru_cache(maxsize=4)
def _order(images: int, seed: int, epoch: int) -> Tensor:
    """The order in which an epoch shows the images: (N,) int64."""
    return torch.randperm(images, generator=torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63))


@dataclass
class Run:
    """What makes up a training run, and everything that must survive it."""

    experiment: Experiment
    images: Images
    model: Model
    optimiser: torch.optim.Adam
    generator: torch.Generator
    average: Model | None  # exponential moving average of the weights
    pool: Pool | None = None  # of grown states, if it trains on them
    draws: Draws | None = None  # if images are drawn by their errors
    step: int = 0
    seen: int = 0  # images drawn so far
    seconds: float = 0.0  # spent training, over all resumptions
    done: float = 0.0  # seconds of its time limit that its steps stand for: without those of preparing
    losses: list[float] = field(default_factory=list)  # one per step
    here: dict[str, Any] = field(default_factory=dict)  # what trains: torch, device, backend, commit
    earlier: list[dict[str, Any]] = field(default_factory=list)  # the trainings that it started from, or is part of
    begun: tuple[int, float] = (0, 0.0)  # its step and seconds when the present part began
    saved: float = field(default_factory=time.monotonic)  # when it was last saved
    stopped: int | None = None  # the signal that asked it to stop

    @property
    def unsaved(self) -> float:
        """Seconds since it was last saved."""
        return time.monotonic() - self.saved

    def header(self) -> dict[str, Any]:
        """The run's provenance, as it is written into checkpoints and results."""
        step, seconds = self.begun
        now = {"step": self.step - step, "minutes": round((self.seconds - seconds) / 60, 2), **self.here}
        parts = [*self.earlier, now] if now["step"] or not self.earlier else self.earlier
        return {
            "experiment": to_dict(self.experiment),
            "images": self.images.name,
            "image_count": len(self.images),
            "note": self.images.note,
            "data_digest": self.images.digest,
            "step": sum(part["step"] for part in parts),  # of the whole training, as the minutes
            "minutes": round(sum(part["minutes"] for part in parts), 2),
            "parts": parts,  # the trainings one after the other, each with its device, backend, commit and torch
        }

    def draw(self, batch: int) -> Tensor:
        """The next images to train on: (batch,) int64, all of them before any is repeated unless set otherwise."""
        n, settings = len(self.images), self.experiment.train
        if self.draws is not None:
            return self.draws.draw(batch, settings.by_error, self.generator)
        if settings.replacement and batch > n:
            return torch.randint(n, (batch,), generator=self.generator, device=self.generator.device)
        if settings.replacement:
            return torch.randperm(n, generator=self.generator, device=self.generator.device)[:batch]
        first, last = self.seen // n, (self.seen + batch - 1) // n
        orders = torch.cat([_order(n, settings.seed, epoch) for epoch in range(first, last + 1)])
        begin = self.seen - first * n
        self.seen += batch
        return orders[begin : begin + batch].to(self.generator.device)

    def save(self, folder: Path) -> None:
        """Write the training checkpoint and the model. If weights are not finite, raises Diverged and
        writes nothing. The model comes first: if the rest is cut off, the same command trains the end again.
        """
        if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
            raise Diverged(self)
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        names = [name for name, _ in in_order(self.model)]
        for i, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{names[i]}.{key}": value for key, value in moments.items()}
        if self.pool is not None:
            tensors |= {f"pool.{name}": tensor.contiguous() for name, tensor in vars(self.pool).items()}
        if self.draws is not None:
            tensors |= {f"draws.{name}": tensor.contiguous() for name, tensor in vars(self.draws).items()}
        tensors["generator"] = self.generator.get_state()
        tensors["losses"] = torch.tensor(self.losses, dtype=torch.float64)
        count = {"seconds": self.seconds, "done": self.done, "own_steps": self.step, "seen": self.seen}
        header = {**self.header(), **count}
        checkpoint.save_model(folder / MODEL_FILE, self.average or self.model, self.header())
        checkpoint.write(folder / TRAINING_FILE, tensors, {"kind": "training", **header, "begun": self.begun})
        self.saved = time.monotonic()

    def resume(self, path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> list[str]:
        """Continue from a training checkpoint, read from `path`.

        NcamError if it holds another model, was trained on other images, or is incomplete. Returns the training
        settings that have changed since, in words: a lower learning rate after a divergence, or more steps.
        """
        settings = header["experiment"]
        try:
            count = header["own_steps"], header["seen"], header["seconds"], header["parts"][-1]
            self.step, self.seen, self.seconds, _ = count
            self.done = header.get("done", self.seconds)
            self.losses, generator = tensors["losses"].tolist(), tensors["generator"]
            before = settings["train"]
        except (KeyError, IndexError) as error:
            raise NcamError(f"{path} is incomplete ({error}): remove it to start afresh") from error
        if from_dict(ModelConfig, settings.get("model", {})) != self.experiment.model:
            raise NcamError(f"{path} holds a model other than '{self.experiment.name}': use another --out")
        if header["data_digest"] != self.images.digest:
            raise NcamError(f"{path} was trained on images other than '{self.images.name}': use another --out")

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        if "model.codes.embeddings" in tensors:
            self.fix_codes(Codebook(*tensors["model.codes.embeddings"].shape))
        checkpoint.load_state(self.model, part("model."), path)
        if self.average is not None:
            checkpoint.load_state(self.average, part("average.") or part("model."), path)
        pool = part("pool.")
        if pool and settings["train"].get("pool") == self.experiment.train.pool:
            self.pool = Pool(**{name: tensor.to(self.model.device) for name, tensor in pool.items()})
        draws = part("draws.")
        if draws and self.draws is not None:
            self.draws = Draws(**{name: tensor.to(self.model.device) for name, tensor in draws.items()})
        state = self.optimiser.state_dict()
        moments = part("optimiser.")
        for i, (name, parameter) in enumerate(in_order(self.model)):
            keys = ("step", "exp_avg", "exp_avg_sq")
            known = {key: moments[f"{name}.{key}"] for key in keys if f"{name}.{key}" in moments}
            if len(known) not in (0, 3) or {moment.shape for moment in known.values()} - {(), parameter.shape}:
                raise NcamError(f"the moments of {name} in {path} do not fit: remove it to start afresh")
            state["state"][i] = known
        self.optimiser.load_state_dict(state)
        try:
            self.generator.set_state(generator)
        except (RuntimeError, TypeError) as error:
            raise NcamError(f"{path} comes from another kind of device: remove it to start afresh") from error
        self._go_on(header)
        now = json.loads(json.dumps(to_dict(self.experiment.train)))
        return [f"{name} {before.get(name)} -> {now[name]}" for name in now if now[name] != before.get(name)]

    def _go_on(self, header: dict[str, Any]) -> None:
        """Go on with the part of the training that a checkpoint ends with; on another machine or commit, begin one."""
        self.begun, self.earlier = tuple(header.get("begun", (0, 0.0))), list(header["parts"])
        if self.step == self.begun[0] and self.earlier[-1]["step"]:
            return  # it has taken no step of its own yet
        last = self.earlier.pop()
        if last["step"] and any(last.get(key) != value for key, value in self.here.items()):
            self.earlier.append(last)
            self.begun = self.step, self.seconds

    def fix_codes(self, codes: Codebook) -> None:
        """Put fixed embeddings of the images in the place of the encoder."""
        self.model.encoder, self.model.codes = None, copy.deepcopy(codes).to(self.model.device)
        self.optimiser, self.average = learners(self.model, self.experiment.train)

    def warm_start(self, path: Path, model: Model, header: dict[str, Any]) -> float:
        """Take the weights of a saved model of the same kind, read from `path`; its training counts as earlier.

        If it was saved without its encoder, the codes of its images stay as they are, and the rest is trained.
        Continuous codes are put into letters if that is all that differs; returns what is lost of their variance.
        """
        wanted, state, lost = self.experiment.model, model.state_dict(), 0.0
        continuous = isinstance(model, NCAM) and wanted.code == "dna" and model.config.code == "ce"
        code = {"code": "dna", "noise": 0.0} if continuous else {}
        if replace(model.config, **code) != wanted or header["data_digest"] != self.images.digest:
            raise NcamError(f"{path} does not have the model and images of '{self.experiment.name}': start afresh")
        if continuous:
            draws = torch.Generator().manual_seed(self.experiment.train.seed)
            lost = to_letters(self.model, model, self.images.pixels, draws)
            state = self.model.state_dict()
        elif isinstance(model, Coded) and model.encoder is None:
            if self.experiment.train.augment:
                raise NcamError(f"{path} was saved without its encoder: it has no codes for images that are augmented")
            self.fix_codes(model.codes)
        else:  # a codebook of some images, which a model may be shipped with, is rebuilt at the end
            state = {name: value for name, value in state.items() if not name.startswith("codes.")}
        checkpoint.load_state(self.model, state, path)
        if self.average is not None:
            checkpoint.load_state(self.average, state, path)
        self.earlier = [{"experiment": header["experiment"]["name"]} | part for part in header["parts"]]
        for part in self.earlier:  # what trained this very experiment goes without saying
            if part["experiment"] in ("", self.experiment.name):
                del part["experiment"]
        self.generator.manual_seed(self.experiment.train.seed + header["step"])  # not the same draws again
        self.seen = header["step"] * len(self.images)  # nor the same epochs
        return lost


def prepare(experiment: Experiment, images: Images, device: torch.device) -> Run:
    """A run at step 0: weights from the experiment's seed, initialised from the data."""
    images.require(experiment.model.image_channels, experiment.model.image_size, f"'{experiment.name}'")
    if experiment.model.code == "single" and len(images) != 1:
        raise NcamError(f"'{experiment.name}' is one automaton for one image, '{images.name}' has {len(images)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.train.seed)
        model = build(experiment.model)
    settings = experiment.train
    sample = images.sample(SAMPLE).pixels
    model.initialise(sample, torch.Generator().manual_seed(settings.seed), settings.components)
    if isinstance(model, Growing) and settings.scale_leak and experiment.model.leak != "none":  # 0.1 on the first grid
        with torch.no_grad():
            model.nca.leak.log -= math.log(model.leak_scale(schedule.stages(experiment)[0].grid))
    model.to(device)
    generator = torch.Generator(device).manual_seed(settings.seed)
    optimiser, average = learners(model, settings)
    draws = Draws.empty(len(images), device) if settings.by_error else None
    state = torch.empty(1, experiment.model.channels, 3, 3, device=device)
    here = {
        "torch": torch.__version__,
        "device": device_name(device),
        "backend": select_backend(state, hidden=experiment.model.hidden),
    }
    here["commit"] = commit()  # now: what is committed while it trains does not change what trains
    return Run(experiment, images, model, optimiser, generator, average, draws=draws, here=here)


def in_order(model: Model) -> list[tuple[str, torch.nn.Parameter]]:
    """The parameters as the optimiser numbers them: those of the map to an automaton's weights come last."""
    return sorted(model.named_parameters(), key=lambda one: one[0] in MAP)


def learners(model: Model, settings: TrainConfig) -> tuple[torch.optim.Adam, Model | None]:
    """What follows the weights of a model along its training: their optimiser, and their average if one is kept."""
    ordered = in_order(model)
    groups = [
        {"params": [parameter for name, parameter in ordered if (name in MAP) == chosen], "scale": scale}
        for chosen, scale in ((False, 1.0), (True, settings.map_rate))
    ]
    groups = [group for group in groups if group["params"]]
    optimiser = torch.optim.Adam(groups, settings.learning_rate, betas=(0.9, 0.99), fused=True)
    return optimiser, copy.deepcopy(model).requires_grad_(False) if settings.ema else None
