"""The baseline for growing: a plain convolutional decoder of the same size, from the same code.

B batch, E embedding, H W pixels.
"""

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from ncamlib.config import ModelConfig
from ncamlib.kernels import Fire
from ncamlib.model.base import Coded
from ncamlib.model.blocks import fcb
from ncamlib.model.dna import mutate

# From side/16 upwards, doubling the side each time: together with the fully connected part this makes
# about as many parameters as the predictor of the standard model has (5.3 million).
WIDTHS = (352, 256, 160, 96, 48)


class ConvDecoder(nn.Module):
    """Fully connected blocks as in the predictor, then four times: double the side, 3x3 convolution, ReLU.

    (B, E) -> (B, image_channels, image_size, image_size).
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.side = config.image_size // 2 ** (len(WIDTHS) - 1)
        self.body = nn.Sequential(*(fcb(config.embedding, config.leak) for _ in range(config.predictor_fcbs)))
        self.spread = nn.Linear(config.embedding, WIDTHS[0] * self.side**2)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(WIDTHS))
        self.colour = nn.Conv2d(WIDTHS[-1], config.image_channels, 3, padding=1)

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, E) -> (B, image_channels, H, W)."""
        maps = F.relu(self.spread(self.body(embedding))).unflatten(1, (-1, self.side, self.side))
        for convolution in self.convolutions:
            maps = F.relu(convolution(F.interpolate(maps, scale_factor=2.0)))
        return self.colour(maps)


class ConvAutoencoder(Coded):
    """The same encoder and code with an ordinary decoder: nothing grows, the image is there at once."""

    def __init__(self, config: ModelConfig, encoder: bool = True):
        super().__init__(config, encoder)
        self.decoder = ConvDecoder(config)

    def forward(
        self,
        images: Tensor,
        mutation: Tensor | None = None,
        fire: Fire | None = None,
        steps: int | None = None,
        grid: int | None = None,
        backend: str | None = None,
        leak_scale: float | None = None,
    ) -> Tensor:
        """As `NCAM.forward`; arguments for the automaton are ignored, a smaller grid is an average."""
        decoded = self.decoder(self.code.decode(mutate(self.encode(images), mutation)))
        return F.adaptive_avg_pool2d(decoded, grid) if grid else decoded
