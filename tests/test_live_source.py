"""The live page's source stays readable: short lines, short functions, parts that fit together."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ncamlib.live import module

ROOT = Path(__file__).resolve().parent.parent
PARTS = sorted((ROOT / "ncamlib" / "live").glob("*.*js"))
SOURCES = sorted(f for kind in ("*.py", "*.cpp", "*.mjs", "*.js") for f in (ROOT / "ncamlib").rglob(kind))
NODE = shutil.which("node")
LINE, FUNCTION = 120, 60

# A function begins on a line that opens a brace after its parameters, and ends where a brace closes as far in.
OPENS = re.compile(r"^( *).*(\bfunction\b.*|=> |\) )\{$")
NO_FUNCTION = re.compile(r"^ *(\} )?(if|else|for|while|switch|catch|try)\b")
NAME = re.compile(r"^(?:export )?(?:async )?(?:const|let|class|function) (\w+)", re.MULTILINE)


def functions(text: str) -> list[tuple[int, int]]:
    """First and last line of every JavaScript function of more than one line; the code is formatted."""
    lines, found = text.splitlines(), []
    for first, line in enumerate(lines):
        opens = OPENS.match(line)
        if opens and not NO_FUNCTION.match(line):
            close = opens.group(1) + "}"
            last = next(i for i in range(first + 1, len(lines)) if lines[i].startswith(close))
            found.append((first + 1, last + 1))
    return found


@pytest.mark.parametrize("file", SOURCES, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_lines_are_short(file):
    long = [i for i, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1) if len(line) > LINE]
    assert not long, f"longer than {LINE}: lines {long}"


@pytest.mark.parametrize("file", PARTS, ids=lambda f: f.name)
def test_functions_are_short(file):
    long = [(a, b) for a, b in functions(file.read_text(encoding="utf-8")) if b - a + 1 > FUNCTION]
    assert not long, f"longer than {FUNCTION} lines: {long}"


def test_functions_of_every_form_are_seen():
    text = "\n".join(
        [
            "export async function load(file) {\n  return 1;\n}",
            "const later = (a) => {\n  if (a) {\n    a();\n  }\n};",
            "class Grid {\n  get state() {\n    return 1;\n  }\n}",
            "on('click', () => {\n  go();\n});",
            "const short = (a) => a;\nfor (const a of b) {\n  go(a);\n}",
        ]
    )
    assert functions(text) == [(1, 3), (4, 8), (10, 12), (14, 16)]


@pytest.mark.parametrize("whole", ["worker.mjs", "widget.mjs"])
def test_parts_fit_together(whole):
    names = module.order(whole)
    text = module.joined(whole)
    assert names[-1] == whole
    assert not re.search(r"^import\b|^export .* from\b", text, re.MULTILINE)
    imports = re.findall(r"^import ([^;]*) from", "".join(map(module._read, names)), re.MULTILINE)
    assert not [i for i in imports if re.search(r"\bas\b|\*", i)], "a part keeps its names where it is joined"
    given = NAME.findall(text)
    twice = sorted({name for name in given if given.count(name) > 1})
    assert not twice, f"two parts of {whole} give a name to something: {twice}"


def test_no_part_is_left_out():
    joined = {*module.order("worker.mjs"), *module.order("widget.mjs"), *module.order("host.mjs")}
    assert joined == {file.name for file in PARTS}


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_every_part_is_a_module_of_its_own():
    # But for host.mjs, which starts the panel of the page that it stands in.
    addresses = [file.as_uri() for file in PARTS if file.name != "host.mjs"]
    code = f"for (const part of {addresses}) await import(part); process.exit(0);"
    subprocess.run([NODE, "--input-type=module", "--eval", code], check=True)
