"""The continuous encoder: image -> embedding (section 3.1).

B batch, C filters, H W pixels, E embedding.
"""

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ncamlib.config import ModelConfig
from ncamlib.errors import NcamError
from ncamlib.model.blocks import cb1, cb3, fcb


def slice_means(maps: Tensor) -> Tensor:
    """The four means side by side: over (h, w), over h, over w, over c. (B, C, H, W) -> (B, C + CW + CH + HW)."""
    means = [maps.mean((2, 3)), maps.mean(2), maps.mean(3), maps.mean(1)]
    return torch.cat([m.flatten(1) for m in means], 1)


class Project(nn.Module):
    """A linear map of centred, unit-length features: (B, N) -> (B, M).

    `initialise` sets centre and gain from data; weights begin standard normal. So the outputs begin with
    standard deviation 1 over the data, and one optimiser step moves them by the same small fraction
    whatever N is. (With a plain layer, the part of the features common to all images drowns the rest.)
    """

    def __init__(self, features: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, features))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("gain", torch.tensor(features**-0.5))

    @torch.no_grad()
    def initialise(self, x: Tensor, components: bool = False) -> None:
        """Set centre and gain from a sample x (B, N); with `components`, the weights from its principal components."""
        length = x.square().sum(1).mean().sqrt()
        spread = (x - x.mean(0)).square().sum(1).mean().sqrt()
        if spread > 1e-3 * length:
            self.centre.copy_(x.mean(0))
            self.gain.copy_(1 / spread)
            if components:
                few = x.shape[1] < len(self.weight)
                (self._mix_components if few else self._initialise_with_components)((x - self.centre) * self.gain)
        else:  # one image, or copies of it: there is nothing to centre
            self.gain.copy_(1 / length.clamp_min(1e-6))

    def _initialise_with_components(self, x: Tensor) -> None:
        """Weights from the principal components of centred features x (B, N), each scaled by the power -1/2 of
        its standard deviation: between plain components, whose last are lost, and whitened ones, whose last are noise.
        """
        variances, vectors = torch.linalg.eigh((x @ x.T).double() / len(x))  # of the smaller, B by B, matrix
        there = int((variances > 1e-6 * variances[-1]).sum())  # copies of an image add no direction
        count = min(len(self.weight), len(x) - 1, x.shape[1], there)
        deviations = variances.flip(0)[:count].sqrt()
        directions = F.normalize(vectors.flip(1)[:, :count].T.to(x.dtype) @ x, dim=1)  # (count, N), unit length
        scaled = directions * deviations.to(x.dtype).rsqrt()[:, None]
        self.weight[:count] = scaled * (count / deviations.sum()).sqrt().to(x.dtype)  # mean variance 1, as random ones

    def _mix_components(self, x: Tensor) -> None:
        """Where there are fewer features than numbers: random mixtures of all principal components of centred features
        x (B, N), each scaled to deviation 1. Else the largest few would be all that the mixtures hold.
        """
        x = x.double()  # a product in single precision would drown the smallest
        variances, axes = torch.linalg.eigh(x.T @ x / len(x))
        there = variances > 1e-10 * variances[-1]  # the others are rounding noise of the features
        variances, axes = variances[there], axes[:, there]
        mixed = self.weight.double() @ axes / (variances * len(variances)).sqrt()
        self.weight.copy_(mixed @ axes.T)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N) -> (B, M)."""
        return F.linear((x - self.centre) * self.gain, self.weight, self.bias)


class Encoder(nn.Module):
    """Convolutions at full resolution, four means, fully connected blocks, embedding.

    images (B, image_channels, image_size, image_size) -> (B, E).
    Paper: the last block of a stack changes its width; here all blocks keep it, and plain linear maps
    change it, before the first block and after the means.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        c, size = config.filters, config.image_size
        blocks = {"cb1": cb1, "cb3": cb3}
        self.stem = nn.Conv2d(config.image_channels, c, 1)
        self.body = nn.Sequential(*(blocks[name](c, config.leak) for name in config.encoder_body))
        self.slices = config.slices
        features = c + 2 * c * size + size * size if config.slices else c
        self.project = Project(features, config.embedding)
        self.head = nn.Sequential(*(fcb(config.embedding, config.leak) for _ in range(config.encoder_fcbs)))

    def means(self, images: Tensor) -> Tensor:
        """The input of the fully connected part: the four means of section 3.1, or only the first."""
        # In 10 bits, as cuDNN multiplies by default, the smallest differences between images would be lost.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            maps = self.body(self.stem(images))
        return slice_means(maps) if self.slices else maps.mean((2, 3))

    @torch.no_grad()
    def all_means(self, images: Tensor) -> Tensor:
        """The means of a whole set: (N, image_channels, H, W) -> (N, features), on the encoder's device."""
        device = self.stem.weight.device
        return torch.cat([self.means(part.to(device)) for part in images.split(8)])  # in cache

    def train_convolutions(self, learn: bool) -> None:
        """Set whether the convolutions are trained; while they are not, the means of an image stay the same."""
        for part in (self.stem, self.body):
            part.requires_grad_(learn)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, image_channels, H, W), or their means (B, features) if those are known -> embedding (B, E)."""
        return self.head(self.project(images if images.ndim == 2 else self.means(images)))


def _key(image: Tensor) -> int:
    """The key of an image: 64 bits of the SHA-256 of its pixels in 8 bits."""
    pixels = (image * 255).round().to(torch.uint8).cpu().contiguous().numpy().tobytes()
    return int.from_bytes(hashlib.sha256(pixels).digest()[:8], "little", signed=True)


class Codebook(nn.Module):
    """The embeddings of known images, in place of the encoder that made them.

    (B, image_channels, H, W) -> (B, E); NcamError for an image that is not in it.
    """

    def __init__(self, images: int, embedding: int):
        super().__init__()
        self.register_buffer("keys", torch.zeros(images, dtype=torch.int64))
        self.register_buffer("embeddings", torch.zeros(images, embedding))

    @classmethod
    @torch.no_grad()
    def of(cls, encoder: nn.Module, images: Tensor) -> "Codebook":
        """What `encoder` makes of images (N, image_channels, H, W)."""
        device = next(encoder.parameters()).device
        embeddings = torch.cat([encoder(part.to(device)) for part in images.split(64)])
        book = cls(*embeddings.shape)
        book.keys.copy_(torch.tensor([_key(image) for image in images]))
        book.embeddings.copy_(embeddings)
        return book.to(device)

    def knows(self, images: Tensor) -> bool:
        """Whether all images (B, image_channels, H, W) are in it."""
        return {_key(image) for image in images} <= {*self.keys.tolist()}

    def forward(self, images: Tensor) -> Tensor:
        """Look up images (B, image_channels, H, W) -> (B, E)."""
        rows = {key: row for row, key in enumerate(self.keys.tolist())}
        places = [rows.get(_key(image)) for image in images]
        if None in places:
            raise NcamError(
                f"this model was saved without its encoder, with the codes of {len(rows)} images that it was trained "
                "on: for other pictures use one with an encoder, for example chars-dna-syn or full-dna-syn-augmented"
            )
        return self.embeddings[places]
