"""The images: Noto emoji, CIFAR-10, or any folder of pictures, and pictures as files.

Tensors are float32 in [0, 1]: emoji and folders are RGBA with premultiplied colour (N, 4, H, W), CIFAR-10 is RGB
(N, 3, 32, 32). N images, H W pixels.
"""

from ncamlib.data.cifar import cifar10
from ncamlib.data.images import Images, as_text, evenly, listed
from ncamlib.data.loading import folder, known, load, named, names
from ncamlib.data.pictures import (
    IMAGE_SUFFIXES,
    check_growth,
    enlarge,
    load_image,
    over_white,
    save_growth,
    sheet,
    to_picture,
)
from ncamlib.data.sprites import SUBSETS, count, emoji, single

__all__ = [
    "IMAGE_SUFFIXES",
    "SUBSETS",
    "Images",
    "as_text",
    "check_growth",
    "cifar10",
    "count",
    "emoji",
    "enlarge",
    "evenly",
    "folder",
    "known",
    "listed",
    "load",
    "load_image",
    "named",
    "names",
    "over_white",
    "save_growth",
    "sheet",
    "single",
    "to_picture",
]
