"""The house rules that a reader relies on: layers, small files, no pickles, light imports."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "ncamlib"

# Imports point down, never sideways.
LAYERS = [
    {"errors"},
    {"config", "blocks", "kernels", "provenance"},
    {"nca", "encoder", "dna", "datasets", "noto", "experiments", "parameters", "peers"},
    {"predictor", "genetics", "baseline", "schedule"},
    {"autoencoder"},
    {"checkpoint", "evaluate"},
    {"run", "pca"},
    {"train", "figures", "results"},
    {"cli_options", "bench", "reproduce", "comparison", "sliders", "live", "trials"},
    {"cli_data", "cli_reproduce", "widget"},
    {"cli"},
]
PACKAGES = {"kernels", "live"}  # each is one name in the table
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports(file: Path) -> set[str]:
    """Names of the ncamlib modules that a file imports, also inside functions."""
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
    parts = file.relative_to(PACKAGE).parts
    name = parts[0] if parts[0] in PACKAGES else file.stem
    if name == "__init__":  # the package's front door
        return
    for imported in imports(file) - {name} if name in PACKAGES else imports(file):
        assert LEVEL[imported] < LEVEL[name], f"{name} (layer {LEVEL[name]}) imports {imported} ({LEVEL[imported]})"


def test_every_module_has_a_layer():
    modules = {f.stem for f in PACKAGE.glob("*.py")} - {"__init__"} | PACKAGES
    assert modules == set(LEVEL)


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_files_stay_readable(file):
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert not re.search(r"\bpickle\b.*load|weights_only\s*=\s*False|import \*", text)
    for node in ast.walk(ast.parse(text)):
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), "a catch-all except"


def test_library_imports_without_notebook_or_download_packages():
    code = (
        "import sys, importlib, pkgutil, ncamlib\n"
        "[importlib.import_module('ncamlib.' + m.name) for m in pkgutil.iter_modules(ncamlib.__path__)"
        " if m.name not in ('data', 'widget')]\n"
        "heavy = {'jax', 'matplotlib', 'IPython', 'ipywidgets', 'pooch', 'fontTools', 'uharfbuzz'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
