"""Run a command as on a machine without a C++ compiler: python tests/without_compiler.py COMMAND ARGUMENT..."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

COMPILERS = ("g++", "gcc", "c++", "cc", "clang", "x86_64-linux-gnu-g")


def main() -> int:
    """Everything on the path but compilers, and an empty cache for kernels; the command's status."""
    with tempfile.TemporaryDirectory() as folder:
        programs = Path(folder) / "bin"
        programs.mkdir()
        for place in os.get_exec_path():
            for program in Path(place).iterdir() if Path(place).is_dir() else ():
                link = programs / program.name
                if not program.name.startswith(COMPILERS) and not link.is_symlink():
                    link.symlink_to(program)
        environment = os.environ | {"PATH": str(programs), "XDG_CACHE_HOME": str(Path(folder) / "cache")}
        environment.pop("CXX", None)
        return subprocess.run(sys.argv[1:], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
