"""Checkpoints: safetensors with a JSON header; nothing is pickled, nothing half written.

Two kinds share the format: `training` (everything that resuming needs, full precision) and `model`
(what using it needs, half precision, large matrices in 8 bits per row, the encoder or a codebook in its place).
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ncamlib.autoencoder import Autoencoder, Grower, build
from ncamlib.config import ModelConfig, from_dict, to_dict
from ncamlib.encoder import Codebook
from ncamlib.errors import NcamError
from ncamlib.experiments import experiment
from ncamlib.provenance import project_root

VERSION = 1
HEADER = "ncam"
INT8_FROM = 200_000  # matrices and kernels with at least so many entries are stored in 8 bits
SCALE = ".scale"


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` as a whole or leave it as it was; NcamError if that fails (no permission, disk full)."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise NcamError(
            f"could not save {path} ({error.strerror}): free some space or choose another folder; "
            "what was there before is untouched"
        ) from error


def write(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Save tensors and header atomically."""
    header = {"version": VERSION, **header}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(tensors, {HEADER: json.dumps(header)}))


def read(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load tensors and header; NcamError for a missing, damaged, foreign or other-version file."""
    if not path.is_file():
        raise NcamError(f"there is no checkpoint {path}: train one with 'ncam train', or check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        header = json.loads(metadata[HEADER])
    except (SafetensorError, OSError, ValueError) as error:
        raise NcamError(f"{path} is damaged or not a checkpoint ({error}): get or train it again") from error
    except KeyError as error:
        raise NcamError(f"{path} is a safetensors file, but not one written by ncamlib") from error
    if header.get("version") != VERSION:
        raise NcamError(
            f"{path} has checkpoint version {header.get('version')}, this ncamlib reads version {VERSION}: "
            "use the release that wrote it, or train again"
        )
    if header.get("kind") != kind:
        raise NcamError(f"{path} is a {header.get('kind')} checkpoint, but a {kind} checkpoint is needed here")
    _complete(header)
    return tensors, header


def _complete(header: dict[str, Any]) -> None:
    """Settings that models were trained with before they were settings."""
    for model in (header.get("model"), header.get("experiment", {}).get("model")):
        if model is not None:
            model.setdefault("wrap", False)


def pack(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Half precision; 8 bits with a scale per row (output) for large matrices and kernels."""
    packed = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            packed[name] = tensor
        elif tensor.ndim > 1 and tensor.numel() >= INT8_FROM:
            scale = tensor.abs().amax(list(range(1, tensor.ndim)), keepdim=True).clamp_min(1e-12) / 127
            packed[name] = (tensor / scale).round().to(torch.int8)
            packed[name + SCALE] = scale
        else:
            packed[name] = tensor.half()
    return packed


def _unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    plain = {name: tensor for name, tensor in packed.items() if not name.endswith(SCALE)}
    plain = {name: tensor if tensor.dtype == torch.int64 else tensor.float() for name, tensor in plain.items()}
    for name, tensor in packed.items():
        if name.endswith(SCALE):
            plain[name.removesuffix(SCALE)] *= tensor
    return plain


def save_model(path: Path, model: Grower, header: dict[str, Any]) -> None:
    """Save what using the model needs, in half precision."""
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    write(path, pack(state), {"kind": "model", "model": to_dict(model.config), **header})


def load_state(model: torch.nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """`load_state_dict` with one sentence instead of a page when the shapes are others."""
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise NcamError(f"the weights in {path} do not fit its configuration: get or train it again") from error


def shipped(name: str) -> Path:
    """The committed checkpoint of an experiment; a path to a .safetensors file stands for itself."""
    if name.endswith(".safetensors"):
        return Path(name)
    return project_root() / "checkpoints" / f"{experiment(name).name}.safetensors"


def losses(name: str) -> list[float]:
    """The training loss of a shipped experiment, one number per step; empty where none was kept."""
    file = shipped(name).with_suffix(".csv")
    if not file.exists():
        return []
    return [float(line.split(",")[1]) for line in file.read_text(encoding="utf-8").splitlines()[1:]]


def load_model(path: Path | str, device: torch.device | str = "cpu") -> tuple[Grower, dict[str, Any]]:
    """The model of a `model` checkpoint or of a shipped experiment, ready to use, and its header."""
    path = shipped(str(path))
    packed, header = read(path, "model")
    model, state = build(from_dict(ModelConfig, header.get("model", {}))), _unpack(packed)
    if "codes.keys" in state:
        model.codes = Codebook(*state["codes.embeddings"].shape)
    if isinstance(model, Autoencoder) and not any(name.startswith("encoder.") for name in state):
        model.encoder = None
    load_state(model, state, path)
    return model.to(device).eval().requires_grad_(False), header
