"""The machine this runs on, and its name in recorded runs."""

import platform
import shutil
from pathlib import Path

import torch

from ncamlib.errors import NcamError, choice

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pick_device(name: str = "auto") -> torch.device:
    """'auto', 'cpu', 'cuda' or 'mps' -> device; NcamError if it is not available. 'auto' is CUDA if there is one, else
    the CPU; on an Apple GPU ('mps') rollouts run in plain PyTorch.
    """
    choice("device", name, ("auto", "cpu", "cuda", "mps"))
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise NcamError("no Apple GPU was found: use --device cpu")
        return torch.device("mps")
    if name == "cuda" and not torch.cuda.is_available():
        raise NcamError("no CUDA device was found (or torch is a CPU build): use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def processor(*fields: str) -> str | None:
    """The first line of /proc/cpuinfo that begins with one of these fields, unchanged; None if there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line for line in lines if line.startswith(fields)), None)


def device_name(device: torch.device) -> str:
    """The name of this device as readers know it: 'NVIDIA H200', 'AMD EPYC, 2 threads'."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    line = processor("model name")
    model = line.split(":", 1)[1].strip() if line else platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return f"{model}, {threads} thread{'s' if threads > 1 else ''}"


def browser() -> str | None:
    """The path of a Chromium, or None."""
    return next((path for path in map(shutil.which, BROWSERS) if path), None)
