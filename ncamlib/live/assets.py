"""What the page needs of a model: decoder, leak factor, and the letters of every emoji, in one file.

N images, E genes, L letters.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ncamlib import data
from ncamlib.config import to_dict
from ncamlib.errors import NcamError
from ncamlib.model import checkpoint
from ncamlib.model.manifold import NCAM
from ncamlib.project import write_atomically

MANIFEST = 1  # version of manifest.json; the page knows one
DECODER, ENCODER = ("code.from_", "predictor."), ("code.to_", "encoder.")  # parts of a model's state
STANDARD = {"code": "dna", "decoder": "nca", "channels": 16, "hidden": 128, "norm": True, "letters": 16, "alphabet": 4}
STANDARD |= {"leak": True, "embedding": 512, "image_channels": 4, "slices": True}


def pack_letters(letters: Tensor) -> Tensor:
    """Four letters to a byte, the first in the lowest bits. (N, E, L) -> (N, E * L / 4) uint8."""
    four = letters.flatten(1).unflatten(1, (-1, 4)).to(torch.uint8)
    return four[..., 0] | four[..., 1] << 2 | four[..., 2] << 4 | four[..., 3] << 6


@torch.no_grad()
def letters_of(model: NCAM, images: data.Images) -> Tensor:
    """The most probable letter everywhere: (N, E, L)."""
    return torch.cat([model.encode(part).argmax(-1) for part in images.pixels.split(64)])


def _part(model: NCAM, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    state = {name: tensor.float() for name, tensor in model.state_dict().items() if name.startswith(prefixes)}
    tensors = checkpoint.pack(state)
    return {
        name: t.flatten().contiguous() if name.endswith(".scale") else t.contiguous() for name, t in tensors.items()
    }


def pack_encoder(model: NCAM) -> bytes:
    """What reads a picture and writes its DNA, as a safetensors file; nothing for a model saved without its encoder."""
    if model.encoder is None:
        return b""
    return save(_part(model, ENCODER), {"ncam": "{}"})


def rule(model: NCAM) -> dict[str, float | bool]:
    """What a step needs beside the weights: leak factor, whether the grid wraps round, and the grid it was made for."""
    return {"leak": model.nca.leak().item(), "wrap": model.config.wrap, "size": model.config.image_size}


def pack(model: NCAM, images: data.Images) -> bytes:
    """The decoder and the DNA of all images, as a safetensors file. NcamError for a model the page cannot run."""
    config = to_dict(model.config)
    for name, value in STANDARD.items():
        if config[name] != value:
            raise NcamError(f"the live page runs models with {name} = {value}, not {config[name]}")
    tensors = _part(model, DECODER)
    tensors["letters"] = pack_letters(letters_of(model, images))
    header = {
        **rule(model),
        "steps": model.config.steps,
        "fire_rate": model.config.fire_rate,
        "names": images.names,
        "emoji": images.emoji,
    }
    return save(tensors, {"ncam": json.dumps(header)})


@torch.no_grad()
def seedling(model: NCAM, image: Tensor) -> str:
    """All weights of one clean automaton, in half precision and base64: for a first growth without loading anything."""
    code = torch.nn.functional.one_hot(model.encode(image[None]).argmax(-1), 4).float()
    flat = torch.cat([w.flatten() for w in model.decode(code)])
    return base64.b64encode(flat.half().numpy().tobytes()).decode()


def write(experiments: Sequence[str], folder: Path) -> None:
    """Pack shipped models into `folder` for the built pages: EXPERIMENT-manifold and EXPERIMENT-encoder.

    `manifest.json` lists them with size and SHA-256, by which the page checks what it loads.
    """
    files: dict[str, dict[str, Any]] = {}
    for experiment in experiments:
        model, header = checkpoint.load_model(experiment)
        parts = {"manifold": pack(model, data.emoji(header["images"])), "encoder": pack_encoder(model)}
        for part, content in parts.items():
            if not content:
                raise NcamError(f"{experiment} was saved without its encoder, which the page needs: take another model")
            name = f"{header['experiment']['name']}-{part}.safetensors"
            write_atomically(folder / name, content)
            files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = json.dumps({"version": MANIFEST, "files": files}, indent=1) + "\n"
    write_atomically(folder / "manifest.json", manifest.encode())
