"""Composes the one ES module that serves page and notebook: worker, WebAssembly and panel, no imports.

It is made of the parts beside this file. Each is an ordinary module; here one follows another and names stay as they
are, so no two parts that are joined may give the same name to something.
"""

import base64
import functools
import html
import json
import re
from typing import Any

from ncamlib.live.build import BINARY, HERE

IMPORT = re.compile(r"^import [^;]* from '\./([\w-]+\.mjs)';\n", re.MULTILINE)
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


@functools.cache
def source() -> str:
    """The module's source text."""
    worker, wasm = EXPORT.sub("", joined("worker.mjs")), base64.b64encode(BINARY.read_bytes()).decode()
    panel = EXPORT.sub("", joined("widget.mjs"))
    return f'const WORKER = {json.dumps(worker)};\nconst WASM = "{wasm}";\n{panel}'


def page(properties: dict[str, Any]) -> str:
    """The module as a piece of HTML that starts by itself, with the given properties as the model's state."""
    text = source()
    assert "</script" not in text
    host = EXPORT.sub("", joined("host.mjs"))
    return (
        f'<div data-ncam-live data-props="{html.escape(json.dumps(properties))}">'
        f'<script type="text/ncam-live">{text}</script><script>(() => {{\n{host}}})();</script></div>'
    )
