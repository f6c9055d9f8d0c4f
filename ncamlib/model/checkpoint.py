"""Checkpoints: safetensors with a JSON header and a digest; nothing is pickled, nothing half written.

Two kinds share the format: `training` (everything that resuming needs, full precision) and `model`
(what using it needs, the encoder or a codebook in its place: half precision, large matrices in 8 bits with a scale
per row, and what makes means of a picture in full).
"""

import copy
import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ncamlib.config import ModelConfig, from_dict, to_dict
from ncamlib.errors import NcamError
from ncamlib.experiments import experiment
from ncamlib.model.base import Model
from ncamlib.model.build import build, fewest_weights
from ncamlib.model.encoder import Codebook
from ncamlib.project import project_root, write_atomically

VERSION = 2
HEADER, DIGEST = "ncam", "sha256"  # the metadata of the file
WITHOUT_DIGEST = 1  # files of this version have none; the shipped ones among them are listed in SUMS
SUMS = "SHA256SUMS"  # beside the shipped checkpoints, as sha256sum writes and checks it
SEES = ("encoder.stem.", "encoder.body.", "encoder.project.")  # from the picture to its means, and the map after them
INT8_FROM = 200_000  # matrices and kernels with at least so many entries are stored in 8 bits
SCALE, COLUMNS = ".scale", ".columns"  # of the rows and of the columns of an 8-bit matrix
MOST_HEADER = 2**26  # bytes
AGAIN = "download or train it again"
# What every header says, and the defaults for older ones that do not.
ABOUT: dict[str, Any] = {"experiment": {"name": "unnamed"}, "images": "unknown", "data_digest": "", "note": ""}
ABOUT |= {"step": 0, "minutes": 0.0, "parts": []}


def write(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Save tensors and header atomically, with a digest of both."""
    text = json.dumps({"version": VERSION, **header})
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(tensors, {HEADER: text, DIGEST: digest(text, tensors)}))


def digest(header: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the header as it is written, then name, type, shape and content of every tensor, by name."""
    total = hashlib.sha256(header.encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


def read(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load tensors and header; NcamError for a missing, damaged, foreign or other-version file."""
    return _open(path, kind, tensors=True)


def _open(path: Path, kind: str, tensors: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise NcamError(f"there is no checkpoint {path}: train one with 'ncam train', or check the path")
    try:
        # Read at once, by one handle: the file may be replaced while it is read.
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > min(MOST_HEADER, os.fstat(file.fileno()).st_size):
                raise ValueError("there is no header")
            file.seek(0)
            content = file.read() if tensors else file.read(8 + size)
        metadata = json.loads(content[8 : 8 + size]).get("__metadata__") or {}
        loaded = load(content) if tensors else {}
        text = metadata[HEADER]
        header = json.loads(text)
    except (SafetensorError, OSError, ValueError, RecursionError, AttributeError, TypeError) as error:
        raise NcamError(f"{path} is damaged or not a checkpoint ({error}): {AGAIN}") from error
    except KeyError as error:
        raise NcamError(f"{path} is a safetensors file, but not one written by ncamlib") from error
    if not isinstance(header, dict) or header.get("version") not in (WITHOUT_DIGEST, VERSION):
        version = header.get("version") if isinstance(header, dict) else None
        raise NcamError(
            f"{path} has checkpoint version {version}, this ncamlib reads version {VERSION}: "
            "use the release that wrote it, or train again"
        )
    if tensors:
        _verify(path, content, metadata.get(DIGEST), text, loaded)
    if header.get("kind") != kind:
        raise NcamError(f"{path} is a {header.get('kind')} checkpoint, but a {kind} checkpoint is needed here")
    _upgrade(loaded, header)
    _complete(path, header)
    return loaded, header


def _verify(path: Path, content: bytes, expected: str | None, text: str, tensors: dict[str, Tensor]) -> None:
    """NcamError unless a file holds what was written, and finite numbers."""
    if expected is None and hashlib.sha256(content).hexdigest() not in _sums():
        raise NcamError(f"{path} has been changed, or comes from an earlier ncamlib without digests: {AGAIN}")
    if expected is not None and digest(text, tensors) != expected:
        raise NcamError(f"{path} is damaged, its content does not match its digest: {AGAIN}")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and name != "losses" and not tensor.isfinite().all():
            raise NcamError(f"{name} in {path} is not finite: train it again, with a lower learning rate")


def _sums() -> set[str]:
    """The digests of the shipped files that carry none themselves; none outside a checkout."""
    try:
        lines = (project_root() / "checkpoints" / SUMS).read_text(encoding="utf-8").splitlines()
    except (NcamError, OSError):
        return set()
    return {line.split()[0] for line in lines if line}


def _complete(path: Path, header: dict[str, Any]) -> None:
    """Fill in missing entries; NcamError if one is of the wrong type."""
    for name, value in ABOUT.items():
        given = header.setdefault(name, copy.deepcopy(value))
        number = isinstance(value, int | float) and isinstance(given, int | float) and 0 <= given < math.inf
        if not (number or (isinstance(given, type(value)) and not isinstance(value, int | float))):
            raise NcamError(f"the {name} of {path} is {given!r}: {AGAIN}")
    if not isinstance(header["experiment"].setdefault("name", ABOUT["experiment"]["name"]), str):
        raise NcamError(f"the experiment of {path} has no name: {AGAIN}")


def read_header(path: Path, kind: str) -> dict[str, Any]:
    """The header alone, without loading the tensors; errors as `read`, except that the digest is not verified."""
    return _open(path, kind, tensors=False)[1]


def _upgrade(tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Turn a file by an earlier commit into what this one would have written."""
    if "parts" not in header and "commit" in header:  # one training after the other was joined by plus signs
        earlier = header.pop("earlier", [])
        names = ("device", "backend", "commit", "torch")
        last = {name: header.pop(name).split(" + ")[-1] for name in names}
        last["step"] = header["step"] - sum(part["step"] for part in earlier)
        last["minutes"] = round(header["minutes"] - sum(part["minutes"] for part in earlier), 2)
        header["parts"] = [*earlier, last]
    experiment = header.get("experiment")
    for model in (header.get("model"), experiment.get("model") if isinstance(experiment, dict) else None):
        if not isinstance(model, dict):
            continue
        model.setdefault("wrap", False)  # all there was before it was a setting
        for name, was in (("leak", ("none", "learned")), ("norm", ("none", "all"))):  # two settings were yes or no
            if isinstance(model.get(name), bool):
                model[name] = was[model[name]]
        if model.get("decoder") == "conv":  # had the leak factor of an automaton, which it never used
            for name in [name for name in tensors if name.endswith("nca.leak.log")]:
                del tensors[name]


def _in_8_bits(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Integers, and the scale of each row (output)."""
    scale = tensor.abs().amax(list(range(1, tensor.ndim)), keepdim=True).clamp_min(1e-12) / 127
    return (tensor / scale).round().to(torch.int8), scale


def pack(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Half precision; 8 bits with a scale per row (output) for large matrices and kernels. What sees the picture is
    kept in single precision where it is small: without slices, pictures differ in the fourth digit of a mean.
    The matrix that reads the means has a scale per column, too: means differ a hundredfold in how much they vary, and
    its entries make up for it.
    """
    packed = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            packed[name] = tensor
        elif tensor.ndim > 1 and tensor.numel() >= INT8_FROM:
            packed[name], packed[name + SCALE] = _in_8_bits(tensor)
            if name.startswith(SEES) and tensor.ndim == 2:
                # Powers of two, so that a matrix that was packed before is packed again without loss.
                columns = 2 ** tensor.square().mean(0, keepdim=True).sqrt().clamp_min(1e-12).log2().round()
                rows, (small, scale) = packed[name] * packed[name + SCALE], _in_8_bits(tensor / columns)
                if (small * scale - tensor / columns).norm() < ((rows - tensor) / columns).norm():
                    packed[name], packed[name + SCALE], packed[name + COLUMNS] = small, scale, columns
        elif name.startswith(SEES):
            packed[name] = tensor.float()
        else:
            packed[name] = tensor.half()
    return packed


def _unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    plain = {name: tensor for name, tensor in packed.items() if not name.endswith((SCALE, COLUMNS))}
    plain = {name: tensor if tensor.dtype == torch.int64 else tensor.float() for name, tensor in plain.items()}
    for name, tensor in packed.items():
        for scale in (SCALE, COLUMNS):
            if name.endswith(scale):
                plain[name.removesuffix(scale)] *= tensor
    return plain


def _hollow(config: ModelConfig, state: dict[str, Tensor], path: Path) -> Model:
    """A model that such weights may be loaded into; NcamError, before anything large is built, if they are too few."""
    encoder = any(name.startswith("encoder.") for name in state)
    if fewest_weights(config, encoder) > sum(tensor.numel() for tensor in state.values()):
        raise NcamError(f"{path} holds fewer weights than its configuration needs: {AGAIN}")
    model = build(config, encoder)
    keys, embeddings = state.get("codes.keys"), state.get("codes.embeddings")
    if keys is not None and embeddings is not None and embeddings.ndim == 2:
        model.codes = Codebook(*embeddings.shape)
    return model


def save_model(path: Path, model: Model, header: dict[str, Any]) -> None:
    """Save what using the model needs, packed: mostly in half precision and in 8 bits."""
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    write(path, pack(state), {"kind": "model", "model": to_dict(model.config), **header})


def load_state(model: torch.nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """`load_state_dict` with an error of one sentence instead of a page when the shapes differ."""
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise NcamError(f"the weights in {path} do not fit its configuration: {AGAIN}") from error


def checkpoint_path(name: str) -> Path:
    """The committed checkpoint of an experiment; a path to a .safetensors file is returned as it is."""
    if name.endswith(".safetensors"):
        return Path(name)
    file = project_root() / "checkpoints" / f"{name}.safetensors"
    if not file.is_file() and Path(name).is_file():
        raise NcamError(f"{name} is not a checkpoint: the name of one ends in .safetensors")
    return file if file.is_file() else file.with_stem(experiment(name).name)


def is_shipped(file: Path) -> bool:
    """Whether a file is one of the committed checkpoints."""
    return file.resolve().parent == (project_root() / "checkpoints").resolve()


def load_model(path: Path | str, device: torch.device | str = "cpu") -> tuple[Model, dict[str, Any]]:
    """The model of a `model` checkpoint or of a shipped experiment, ready to use, and its header."""
    path = checkpoint_path(str(path))
    packed, header = read(path, "model")
    config = from_dict(ModelConfig, header.get("model", {}))
    try:
        state = _unpack(packed)
    except (KeyError, RuntimeError) as error:
        raise NcamError(f"the weights in {path} do not fit each other: {AGAIN}") from error
    model = _hollow(config, state, path)
    load_state(model, state, path)
    return model.to(device).eval().requires_grad_(False), header
