"""From a configuration to a model, of the kind it describes."""

from ncamlib.config import ModelConfig
from ncamlib.errors import NcamError
from ncamlib.model.base import Model
from ncamlib.model.convolutional import ConvAutoencoder
from ncamlib.model.manifold import NCAM, Growing, SingleNCA


def build(config: ModelConfig) -> NCAM | ConvAutoencoder | SingleNCA:
    """The model that a configuration describes, freshly initialised."""
    if config.decoder == "conv":
        return ConvAutoencoder(config)
    return SingleNCA(config) if config.code == "single" else NCAM(config)


def growing(model: Model, name: str) -> Growing:
    """The same model if its images grow; NcamError if they come out of an ordinary decoder."""
    if not isinstance(model, Growing):
        raise NcamError(f"nothing grows in {name}, it has a convolutional decoder: take for instance chars-dna-syn")
    return model
