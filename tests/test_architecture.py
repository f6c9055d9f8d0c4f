"""The house rules that a reader relies on: layers, small files, no pickles, light imports."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "ncamlib"

# The rooms: modules and packages of `ncamlib`. Imports point down, never sideways.
FLOORS = [
    {"errors"},
    {"config", "machine"},
    {"project", "experiments"},
    {"kernels", "data"},
    {"model"},
    {"training"},
    {"results"},
    {"chapters", "live", "bench"},
    {"cli"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FUNCTION_LINES = 50


def room(file: Path) -> str:
    """The room that a file of the package is in."""
    first = file.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(file: Path) -> set[str]:
    """The rooms that a file imports from, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ncamlib"):
            assert node.level == 0
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("ncamlib.")}
    return found


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_imports_point_down(file):
    here = room(file)
    if here == "__init__":  # the package's front door
        return
    for there in imports(file) - {here}:
        assert FLOOR[there] < FLOOR[here], f"{here} (floor {FLOOR[here]}) imports {there} ({FLOOR[there]})"


def test_every_room_has_a_floor_and_says_what_it_offers():
    rooms = {room(file) for file in PACKAGE.rglob("*.py")} - {"__init__"}
    assert rooms == set(FLOOR)
    for folder in (path for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()):
        text = (folder / "__init__.py").read_text(encoding="utf-8")
        assert "__all__ = [" in text, f"{folder.name} does not list its public names"


@pytest.mark.parametrize("package", sorted(p.parent.name for p in PACKAGE.glob("*/__init__.py")))
def test_public_names_exist(package):
    module = importlib.import_module(f"ncamlib.{package}")
    for name in module.__all__:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_files_stay_readable(file):
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert not re.search(r"\bpickle\b.*load|weights_only\s*=\s*False|import \*", text)
    for node in ast.walk(ast.parse(text)):
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), "a catch-all except"
        if isinstance(node, ast.FunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= FUNCTION_LINES, f"{node.name} has {lines} lines"


def test_library_imports_without_notebook_or_download_packages():
    code = (
        "import sys, importlib, pkgutil, ncamlib\n"
        "names = [m.name for m in pkgutil.walk_packages(ncamlib.__path__, 'ncamlib.')]\n"
        "[importlib.import_module(n) for n in names if n not in ('ncamlib.live.widget', 'ncamlib.cli.__main__')]\n"
        "heavy = {'jax', 'matplotlib', 'IPython', 'ipywidgets', 'pooch', 'fontTools', 'uharfbuzz'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_front_door_opens_without_the_tools():
    """`import ncamlib` is what every reader runs first."""
    code = (
        "import sys, ncamlib\n"
        "tools = {'typer', 'rich', 'anywidget', 'ncamlib.training', 'ncamlib.cli', 'ncamlib.bench'}\n"
        "assert not tools & set(sys.modules), tools & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
