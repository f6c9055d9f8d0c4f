"""Where things are, and what a recorded run must say about itself."""

import os
import platform
import subprocess
from pathlib import Path

import torch

from ncamlib.errors import NcamError

PACKAGE = Path(__file__).resolve().parent


def project_root() -> Path:
    """The checkout this package runs from, or the folder in NCAM_HOME; NcamError if there is neither."""
    home = os.environ.get("NCAM_HOME")
    root = Path(home) if home else PACKAGE.parent
    if not (root / "_toc.yml").is_file():
        raise NcamError("the project's checkpoints and book are not here: run in a checkout, or set NCAM_HOME to one")
    return root


def commit() -> str:
    """The checkout's commit, with '+' if files under version control differ from it; '' outside one."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PACKAGE), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", str(PACKAGE))
        return git("rev-parse", "HEAD")[:12] + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def pick_device(name: str = "auto") -> torch.device:
    """'auto', 'cpu' or 'cuda' -> device; NcamError for 'cuda' where there is none."""
    if name not in ("auto", "cpu", "cuda"):
        raise NcamError(f"unknown device '{name}': choose one of auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise NcamError("there is no CUDA device here (or torch is a CPU build): use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """What a reader calls this device: 'NVIDIA H200', 'AMD EPYC, 2 threads'."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return f"{model}, {threads} thread{'s' if threads > 1 else ''}"
