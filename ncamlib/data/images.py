"""A set of images, and what identifies it. N images, C channels, H W pixels."""

import functools
import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ncamlib.errors import NcamError


def characters(sequence: str) -> str:
    """Code points as in the manifest, '1f468-200d-1f680' -> the emoji itself."""
    return "".join(chr(int(point, 16)) for point in sequence.split("-"))


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` places, evenly spaced, the first and the last among them."""
    return torch.linspace(0, count - 1, min(most, count)).round().int().tolist()


@dataclass(frozen=True)
class Images:
    """A named set of images and what identifies them."""

    name: str
    pixels: Tensor  # (N, C, H, W)
    names: list[str]
    sequences: list[str] = field(default_factory=list)  # code points, emoji only
    note: str = ""  # where the pictures come from, if that changes how a number reads

    def __len__(self) -> int:
        return len(self.pixels)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over the pixels in 8 bits, their shape and names: the identity that results record."""
        bytes_ = (self.pixels * 255).round().to(torch.uint8).contiguous().numpy().tobytes()
        head = f"{tuple(self.pixels.shape)} {' '.join(self.names)}".encode()
        return hashlib.sha256(head + bytes_).hexdigest()

    @property
    def emoji(self) -> list[str]:
        """The emoji themselves; the names of pictures that are none."""
        return [characters(sequence) for sequence in self.sequences] or self.names

    def require(self, channels: int, size: int, who: str) -> None:
        """NcamError unless `who` takes these images: (N, channels, size, size)."""
        wanted, have = (channels, size, size), tuple(self.pixels.shape[1:])
        if have != wanted:
            sizes = ["x".join(map(str, shape)) for shape in (have, wanted)]
            raise NcamError(f"the images of '{self.name}' are {sizes[0]}, {who} takes {sizes[1]}")

    def sample(self, count: int, seed: int = 0) -> "Images":
        """A fixed random choice of `count` of the images, in their order; all of them for 0."""
        if not 0 < count < len(self):
            return self
        places = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count].sort().values
        rows = places.tolist()
        sequences = [self.sequences[i] for i in rows] if self.sequences else []
        return Images(self.name, self.pixels[places], [self.names[i] for i in rows], sequences, self.note)

    def index(self, key: str) -> int:
        """Position of an emoji given as itself, its name or its code points; NcamError if absent."""
        if key in self.names:
            return self.names.index(key)
        points = "-".join(f"{ord(c):04x}" for c in key) if not key.isascii() or len(key) == 1 else key.lower()
        for candidate in (points, f"{points}-fe0f", points.replace("-fe0f", "")):
            if candidate in self.sequences:
                return self.sequences.index(candidate)
        raise NcamError(f"'{key}' is not among the {len(self)} images of '{self.name}': {_suggest(key, self.names)}")


def _suggest(key: str, names: list[str]) -> str:
    import difflib

    near = [n for n in names if key.lower() in n.lower()][:8] or difflib.get_close_matches(key, names, 8, 0.4)
    return f"choose for instance {', '.join(near or names[:8])} ('ncam data info --names SUBSET' lists them)"
