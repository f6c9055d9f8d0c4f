"""Checkpoints: safetensors with a JSON header; nothing is pickled, nothing half written.

Two kinds share the format: `training` (everything that resuming needs, full precision) and `model`
(what using it needs, half precision, large matrices in 8 bits per row, the encoder or a codebook in its place).
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ncamlib.config import ModelConfig, from_dict, to_dict
from ncamlib.errors import NcamError
from ncamlib.experiments import experiment
from ncamlib.model.base import Coded, Model
from ncamlib.model.build import build
from ncamlib.model.encoder import Codebook
from ncamlib.project import project_root, write_atomically

VERSION = 1
HEADER = "ncam"
INT8_FROM = 200_000  # matrices and kernels with at least so many entries are stored in 8 bits
SCALE = ".scale"


def write(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Save tensors and header atomically."""
    header = {"version": VERSION, **header}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(tensors, {HEADER: json.dumps(header)}))


def read(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load tensors and header; NcamError for a missing, damaged, foreign or other-version file."""
    return _open(path, kind, tensors=True)


def _open(path: Path, kind: str, tensors: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise NcamError(f"there is no checkpoint {path}: train one with 'ncam train', or check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys() if tensors else ()
            loaded = {name: file.get_tensor(name) for name in names}
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
    _upgrade(loaded, header)
    return loaded, header


def read_header(path: Path, kind: str) -> dict[str, Any]:
    """The header alone, without loading the tensors; errors as `read`."""
    return _open(path, kind, tensors=False)[1]


def _upgrade(tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Make of a file by an earlier commit what this one would have written."""
    if "parts" not in header and "commit" in header:  # one training after the other was joined by plus signs
        earlier = header.pop("earlier", [])
        names = ("device", "backend", "commit", "torch")
        last = {name: header.pop(name).split(" + ")[-1] for name in names}
        last["step"] = header["step"] - sum(part["step"] for part in earlier)
        last["minutes"] = round(header["minutes"] - sum(part["minutes"] for part in earlier), 2)
        header["parts"] = [*earlier, last]
    for model in (header.get("model"), header.get("experiment", {}).get("model")):
        if model is None:
            continue
        model.setdefault("wrap", False)  # all there was before it was a setting
        if model.get("decoder") == "conv":  # had the leak factor of an automaton, which it never used
            for name in [name for name in tensors if name.endswith("nca.leak.log")]:
                del tensors[name]


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


def save_model(path: Path, model: Model, header: dict[str, Any]) -> None:
    """Save what using the model needs, in half precision."""
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    write(path, pack(state), {"kind": "model", "model": to_dict(model.config), **header})


def load_state(model: torch.nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """`load_state_dict` with one sentence instead of a page when the shapes are others."""
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise NcamError(f"the weights in {path} do not fit its configuration: get or train it again") from error


def checkpoint_path(name: str) -> Path:
    """The committed checkpoint of an experiment; a path to a .safetensors file stands for itself."""
    if name.endswith(".safetensors"):
        return Path(name)
    file = project_root() / "checkpoints" / f"{name}.safetensors"
    return file if file.is_file() else file.with_stem(experiment(name).name)


def losses(name: str) -> list[float]:
    """The training loss of a shipped experiment, one number per step; empty where none was kept."""
    file = checkpoint_path(name).with_suffix(".csv")
    if not file.exists():
        return []
    return [float(line.split(",")[1]) for line in file.read_text(encoding="utf-8").splitlines()[1:]]


def load_model(path: Path | str, device: torch.device | str = "cpu") -> tuple[Model, dict[str, Any]]:
    """The model of a `model` checkpoint or of a shipped experiment, ready to use, and its header."""
    path = checkpoint_path(str(path))
    packed, header = read(path, "model")
    model, state = build(from_dict(ModelConfig, header.get("model", {}))), _unpack(packed)
    if "codes.keys" in state:
        model.codes = Codebook(*state["codes.embeddings"].shape)
    if isinstance(model, Coded) and not any(name.startswith("encoder.") for name in state):
        model.encoder = None
    load_state(model, state, path)
    return model.to(device).eval().requires_grad_(False), header
