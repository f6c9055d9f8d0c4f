"""Builds the kind of model that a configuration describes."""

import math

from ncamlib.config import ModelConfig
from ncamlib.errors import NcamError
from ncamlib.model.automaton import weight_shapes
from ncamlib.model.base import Model
from ncamlib.model.convolutional import ConvAutoencoder
from ncamlib.model.manifold import NCAM, Growing, SingleNCA


def build(config: ModelConfig, encoder: bool = True) -> NCAM | ConvAutoencoder | SingleNCA:
    """The model that a configuration describes, freshly initialised; without its encoder if so asked."""
    if config.code == "single":
        return SingleNCA(config)
    return (ConvAutoencoder if config.decoder == "conv" else NCAM)(config, encoder)


def fewest_weights(config: ModelConfig, encoder: bool = True) -> int:
    """A lower bound on the number of weights of such a model, without building one."""
    rule = sum(math.prod(shape) for shape in weight_shapes(config).values())
    if config.code == "single":
        return rule
    width, side, filters = config.embedding, config.image_size, config.filters
    count = 2 * config.predictor_fcbs * width**2
    predicted = 2 * config.hidden if config.predictor == "film" else rule
    count += width * (predicted if config.decoder == "nca" else side**2)
    if config.code == "dna":
        count += 64 * config.letters**2 + 2 * config.letters**2 * config.alphabet
    if encoder:
        means = filters + (2 * filters * side + side**2 if config.slices else 0)
        count += width * means + 2 * config.encoder_fcbs * width**2 + 8 * len(config.encoder_body) * filters**2
    return count


def growing(model: Model, name: str) -> Growing:
    """The same model if its images grow; NcamError if they come out of an ordinary decoder."""
    if not isinstance(model, Growing):
        raise NcamError(f"nothing grows in {name}, which has a convolutional decoder: use for example chars-dna-syn")
    return model
