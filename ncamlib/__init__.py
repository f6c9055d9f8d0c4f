"""Neural Cellular Automata Manifold: images grown by automata whose weights come from a DNA-like code.

A companion to Hernandez Ruiz, Vilalta and Moreno-Noguer, "Neural Cellular Automata Manifold"
(CVPR 2021, arXiv 2006.12155). Start with `load_model` and `emoji`; `ncam --help` is the command line.
"""

from ncamlib.config import Experiment, ModelConfig, TrainConfig
from ncamlib.data.images import Images
from ncamlib.data.sprites import emoji
from ncamlib.errors import NcamError
from ncamlib.experiments import EXPERIMENTS, experiment
from ncamlib.model.checkpoint import checkpoint_path, load_model
from ncamlib.model.manifold import NCAM, SingleNCA
from ncamlib.results.measurement import measure, reconstruct

__version__ = "0.1.0"
__all__ = [
    "EXPERIMENTS",
    "NCAM",
    "Experiment",
    "Images",
    "ModelConfig",
    "NcamError",
    "SingleNCA",
    "TrainConfig",
    "checkpoint_path",
    "emoji",
    "experiment",
    "load_model",
    "measure",
    "reconstruct",
]
