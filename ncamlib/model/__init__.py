"""The model of the paper, smallest part first, and how it is saved."""

from ncamlib.model import genetics
from ncamlib.model.automaton import NCA, seed
from ncamlib.model.build import build
from ncamlib.model.checkpoint import checkpoint_path, load_model
from ncamlib.model.convolutional import ConvAutoencoder
from ncamlib.model.dna import ContinuousCode, DNACode, mutate
from ncamlib.model.encoder import Codebook, Encoder
from ncamlib.model.manifold import NCAM, SingleNCA
from ncamlib.model.predictor import Predictor

__all__ = [
    "NCA",
    "NCAM",
    "Codebook",
    "ContinuousCode",
    "ConvAutoencoder",
    "DNACode",
    "Encoder",
    "Predictor",
    "SingleNCA",
    "build",
    "checkpoint_path",
    "genetics",
    "load_model",
    "mutate",
    "seed",
]
