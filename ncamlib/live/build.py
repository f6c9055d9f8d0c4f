"""Builds `automaton.wasm` from the native kernel's source: `python -m ncamlib.live.build`. Needs clang and lld."""

import shutil
import subprocess
from pathlib import Path

from ncamlib.errors import NcamError

HERE = Path(__file__).resolve().parent
SOURCE, BINARY = HERE / "automaton.cpp", HERE / "automaton.wasm"
FLAGS = [
    "--target=wasm32", "-msimd128", "-O3", "-std=c++17", "-ffp-contract=fast", "-fno-math-errno",
    "-nostdlib", "-ffreestanding", "-fno-exceptions", "-fno-rtti", "-Wl,--no-entry", "-Wl,--strip-all",
]  # fmt: skip


def build(target: Path = BINARY) -> None:
    """Compile; NcamError where clang or its WebAssembly linker is missing, or the source does not compile."""
    if not shutil.which("clang++"):
        raise NcamError("clang++ is needed to build the WebAssembly kernel: install clang and lld")
    command = ["clang++", *FLAGS, str(SOURCE), "-o", str(target)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise NcamError(f"clang++ could not build {SOURCE.name}: {result.stderr.strip()[:300]}")


if __name__ == "__main__":
    build()
