"""The parameter predictor: decoded embedding -> all weights of one automaton (section 3.3).

B batch, E embedding, K hidden units, C state channels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ncamlib.config import ModelConfig
from ncamlib.kernels import Weights
from ncamlib.model.automaton import weight_shapes
from ncamlib.model.blocks import fcb


def _initial_sizes(config: ModelConfig) -> dict[str, float]:
    """The initial size of each predicted weight, in its unit.

    A second layer at full size makes the state grow without bound over the steps.
    """
    return {"w1": 1.0, "b1": 1.0, "w2": config.second_layer_start, "b2": 0.0}


def _units(shapes: dict[str, tuple[int, ...]]) -> dict[str, float]:
    """1 / sqrt(fan in) of every weight: the unit in which it is predicted."""
    k, p = shapes["w1"]
    return {"w1": p**-0.5, "b1": p**-0.5, "w2": k**-0.5, "b2": k**-0.5}


def initial_weights(config: ModelConfig) -> dict[str, Tensor]:
    """Random weights of one automaton, as large as the predictor's first ones."""
    shapes = weight_shapes(config)
    units, sizes = _units(shapes), _initial_sizes(config)
    return {name: torch.randn(shape) * sizes[name] * units[name] for name, shape in shapes.items()}


class Modulator(nn.Module):
    """Shared weights, whose hidden units an embedding scales and shifts (FiLM): the usual way to condition a network.

    (B, E) -> Weights, for comparison with `Predictor`: relu(scale * (W1 p + b1) + shift) is again an automaton's layer.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.body = nn.Sequential(*(fcb(config.embedding, config.leak) for _ in range(config.predictor_fcbs)))
        for name, tensor in initial_weights(config).items():
            self.register_parameter(name, nn.Parameter(tensor))
        self.unit = _units(weight_shapes(config))["b1"]
        self.weight = nn.Parameter(torch.randn(2 * config.hidden, config.embedding) * 0.5**0.5)
        self.bias = nn.Parameter(torch.zeros(2 * config.hidden))

    def forward(self, embedding: Tensor) -> Weights:
        """(B, E) -> Weights, each with the batch first."""
        features = self.body(embedding) * self.weight.shape[1] ** -0.5
        scale, shift = F.linear(features, self.weight, self.bias).chunk(2, 1)
        scale = 1 + scale
        w2, b2 = (w.expand(len(scale), *w.shape) for w in (self.w2, self.b2))
        return Weights(scale.unsqueeze(-1) * self.w1, scale * self.b1 + self.unit * shift, w2, b2)


class Predictor(nn.Module):
    """Fully connected blocks of the embedding's width, then one linear map to the weights.

    (B, E) -> Weights. The last map works in units of 1 / sqrt(fan in) of the weight it predicts and
    takes its input at unit length, so that one optimiser step changes every weight by about
    the same fraction.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.shapes = weight_shapes(config)
        self.body = nn.Sequential(*(fcb(config.embedding, config.leak) for _ in range(config.predictor_fcbs)))
        units, initial = _units(self.shapes), _initial_sizes(config)
        self.sizes = {name: math.prod(shape) for name, shape in self.shapes.items()}
        unit = torch.cat([torch.full((n,), units[name]) for name, n in self.sizes.items()])
        start = torch.cat([torch.full((n,), initial[name]) for name, n in self.sizes.items()])
        self.register_buffer("unit", unit, persistent=False)
        # At the start half of the variance is common to all images (the bias), half their own.
        start *= 0.5**0.5
        self.weight = nn.Parameter(torch.randn(len(start), config.embedding) * start[:, None])
        self.bias = nn.Parameter(torch.randn(len(start)) * start)

    def forward(self, embedding: Tensor) -> Weights:
        """(B, E) -> Weights, each with the batch first."""
        features = self.body(embedding) * self.weight.shape[1] ** -0.5
        flat = self.unit * F.linear(features, self.weight, self.bias)
        parts = dict(zip(self.shapes, flat.split(list(self.sizes.values()), 1), strict=True))
        return Weights(**{name: part.unflatten(1, self.shapes[name]) for name, part in parts.items()})
