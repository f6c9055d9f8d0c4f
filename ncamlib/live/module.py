"""Composes the one ES module that serves page and notebook: worker, WebAssembly and panel, no imports.

It is made of the parts beside this file. Each is an ordinary module; here one follows another and names stay as they
are, so no two parts that are joined may give the same name to something.
"""

import base64
import functools
import gzip
import html
import json
import re
from typing import Any

from ncamlib.live.build import BINARY, HERE

IMPORT = re.compile(r"^import [^;]* from '\./([\w-]+\.mjs)';\n", re.MULTILINE)
COMMENT = re.compile(r"^[ \t]*(?://.*|/\*\*.*(?:\n[ \t]*\*.*)*)\n|^\n", re.MULTILINE)
INDENT = re.compile(r"^[ \t]+", re.MULTILINE)
MARKUP = ("STYLE", "CONTROLS")  # constants of style.mjs and controls.mjs
EXPORT = re.compile(r"^export (?!default)", re.MULTILINE)


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def order(*names: str) -> list[str]:
    """The named parts and all that they import, each once and after what it imports itself."""
    parts: list[str] = []

    def visit(name: str, *importers: str) -> None:
        assert name not in importers, f"{name} imports itself by way of {importers}"
        if name not in parts:
            for imported in IMPORT.findall(_read(name)):
                visit(imported, name, *importers)
            parts.append(name)

    for name in names:
        visit(name)
    return parts


def joined(*names: str) -> str:
    """The named parts and all that they import as one text without imports."""
    return "\n".join(IMPORT.sub("", _read(name)) for name in order(*names))


def _script(name: str) -> str:
    """What a page is sent of a part and all that it imports: without comments and indentation."""
    return INDENT.sub("", COMMENT.sub("", EXPORT.sub("", joined(name))))


def markup() -> str:
    """The panel before its script runs, so that nothing on the page moves when it does."""
    parts = {name: _read(f"{name.lower()}.mjs").split(f"const {name} = `")[1].split("`")[0] for name in MARKUP}
    html_ = INDENT.sub("", f"<style>{parts['STYLE']}</style>{parts['CONTROLS']}")
    return f'<div class="ncam-live"><div class="ncam">{html_}</div></div>'


@functools.cache
def source() -> str:
    """The module's source text."""
    wasm = base64.b64encode(BINARY.read_bytes()).decode()
    return f'const WORKER = {json.dumps(_script("worker.mjs"))};\nconst WASM = "{wasm}";\n{_script("widget.mjs")}'


def page(properties: dict[str, Any]) -> str:
    """The module as a piece of HTML that starts by itself, with the given properties as the model's state."""
    text = base64.b64encode(gzip.compress(source().encode(), 9, mtime=0)).decode()
    return (
        f'<div data-ncam-live data-props="{html.escape(json.dumps(properties))}">{markup()}'
        f'<script type="text/ncam-live">{text}</script><script>(() => {{\n{_script("host.mjs")}}})();</script></div>'
    )
