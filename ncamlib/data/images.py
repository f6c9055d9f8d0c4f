"""A set of images and its identity. N images, C channels, H W pixels."""

import difflib
import functools
import hashlib
import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ncamlib.errors import NcamError


def characters(sequence: str) -> str:
    """Code points as in the manifest, '1f468-200d-1f680' -> the emoji itself."""
    return "".join(chr(int(point, 16)) for point in sequence.split("-"))


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` places, evenly spaced, the first and the last among them."""
    return torch.linspace(0, count - 1, min(most, count)).round().int().tolist()


@dataclass(frozen=True, eq=False)
class Images:
    """A named set of images and their identity."""

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
        """The emoji themselves; for other pictures, their names."""
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
        return self.pick(places.tolist())

    def pick(self, places: Sequence[int]) -> "Images":
        """Those at some places, in this order."""
        sequences = [self.sequences[i] for i in places] if self.sequences else []
        return Images(self.name, self.pixels[list(places)], [self.names[i] for i in places], sequences, self.note)

    def index(self, key: str) -> int:
        """Position of an emoji given as itself, its name or its code points, however spelled; NcamError if absent.

        Style selectors (U+FE0F, U+FE0E), surrounding spaces, colons (":lizard:"), capitals and word separators make no
        difference; code points may be written 1F98E, U+1F98E, \\U0001F98E, 0x1F98E or &#x1F98E;.
        """
        key = as_text(key)
        if key in self.names:
            return self.names.index(key)
        for candidates, spelled in ((self.sequences, _plain_sequence(key)), (self.names, _plain_name(key))):
            plain = _plain_sequence if candidates is self.sequences else _plain_name
            for i, candidate in enumerate(candidates):
                if spelled and plain(candidate) == spelled:
                    return i
        raise NcamError(f"'{key}' is not among the {len(self)} images of '{self.name}': {self._advice(key)}")

    def _advice(self, key: str) -> str:
        """What to choose in place of a key that is none of them."""
        near = _near(key, self.names)
        if not self.sequences:  # files
            return f"choose for example {', '.join(near or self.names[:4])}"
        where = "'ncam data info --names full' lists them; the newer ones are in 'heldout'"
        return f"choose for example {', '.join(near)} ({where})" if near else where


SELECTORS = {0xFE0E, 0xFE0F}  # text style, emoji style
CODE_POINT = re.compile(r"(?:U\+|\\U|\\u|\\u\{|0x|&#x)?([0-9a-f]{2,8})[;}]?", re.IGNORECASE)


def as_text(key: str) -> str:
    """Text as it was typed, read as UTF-8 even if the locale did not allow for it (the C locale)."""
    try:
        return os.fsencode(key).decode() if any("\ud800" <= c <= "\udfff" for c in key) else key
    except UnicodeError:
        return key.encode(errors="replace").decode()


def listed(value: str | Sequence[Any]) -> list[str]:
    """A list in a string -> its items, separated by commas if there are any, else by spaces. Brackets and quotes are
    allowed, as in Python or JSON. A list is taken as it is.
    """
    if not isinstance(value, str):
        return [str(item).strip() for item in value]
    text = as_text(value).strip()
    if text[:1] + text[-1:] in ("[]", "()"):
        text = text[1:-1]
    items = [item.strip().strip("'\"").strip() for item in (text.split(",") if "," in text else text.split())]
    return [item for item in items if item]


@functools.cache
def _plain_sequence(text: str) -> tuple[int, ...]:
    """The code points of an emoji, given as itself or written out, without selectors; () for anything else."""
    text = text.strip()
    apart = re.sub(r"(?=\\u|&#|u\+)", " ", text, flags=re.IGNORECASE)
    parts = [CODE_POINT.fullmatch(part) for part in re.split(r"[\s,-]+", apart) if part]
    if text.isascii() and len(text) > 1:
        points = [int(part[1], 16) for part in parts if part] if all(parts) else []
    else:
        points = [ord(c) for c in text if not c.isspace()]
    return tuple(point for point in points if point not in SELECTORS)


@functools.cache
def _plain_name(text: str) -> str:
    """A name without the differences of spelling."""
    text = unicodedata.normalize("NFKC", text).strip().strip(":").casefold()
    return re.sub(r"[\s_:,.()’'-]+", " ", text).strip()


def _near(key: str, names: list[str]) -> list[str]:
    """Names that share a word with what was asked for, or look like it; for an emoji, with its Unicode name."""
    said = " ".join(unicodedata.name(c, "") for c in key) if key and not key.isascii() else key
    words = set(_plain_name(said).split()) - {"with", "and", "of", "face", "sign", "symbol", "selector-16", "variation"}
    ranked = sorted((-len(words & set(_plain_name(name).split())), len(name), name) for name in names)
    near = [name for shared, _, name in ranked if shared][:8]
    if not near and len(_plain_name(said)) > 2:
        near = [name for name in names if _plain_name(said) in _plain_name(name)][:8]
        near = near or difflib.get_close_matches(_plain_name(said).replace(" ", "_"), names, 4, 0.6)
    return near
