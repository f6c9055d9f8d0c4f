"""Composes the one ES module that serves page and notebook: engine, worker, WebAssembly and controls, no imports."""

import base64
import functools
import html
import json
import re
from typing import Any

from ncamlib.live.build import BINARY, HERE

# Runs in a page: gives the module a stand-in for anywidget's model, set from the link's hash.
HOST = """
(() => {
  const place = document.currentScript.parentElement;
  const state = JSON.parse(place.dataset.props), listeners = {};
  const initial = { ...state };
  const follow = (set) => {
    const link = new URLSearchParams(location.hash.slice(1));
    if (!['emoji', 'code', 'mutation', 'fire', 'seed'].some((key) => link.has(key))) return;
    for (const name of ['mutation_rate', 'fire_rate', 'seed', 'code']) set(name, initial[name]);
    for (const [key, name] of [['mutation', 'mutation_rate'], ['fire', 'fire_rate'], ['seed', 'seed']]) {
      if (link.get(key) && Number.isFinite(Number(link.get(key)))) set(name, Number(link.get(key)));
    }
    for (const key of ['emoji', 'code']) if (link.has(key)) set(key, link.get(key));
  };
  follow((name, value) => { state[name] = value; });
  const model = {
    get: (key) => state[key],
    set: (key, value) => {
      if (state[key] === value) return;
      state[key] = value;
      (listeners['change:' + key] || []).forEach((f) => f());
    },
    save_changes() {}, send() {}, on: (event, f) => (listeners[event] ??= []).push(f), off() {},
  };
  addEventListener('hashchange', () => follow(model.set));
  const source = place.querySelector('script[type="text/ncam-live"]').textContent;
  import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })))
    .then((module) => { module.default.render({ model, el: place }); place.ncam = model; place.dataset.alive = '1'; })
    .catch((error) => { place.append('The live manifold could not start: ' + error); });
})();
"""


def _plain(name: str) -> str:
    """A part of the module as it is read by the others: without its exports."""
    return re.sub(r"^export (?!default)", "", (HERE / name).read_text(encoding="utf-8"), flags=re.MULTILINE)


@functools.cache
def source() -> str:
    """The module's source text."""
    engine, wasm = _plain("engine.mjs"), base64.b64encode(BINARY.read_bytes()).decode()
    worker = json.dumps(f"{engine}\n{_plain('worker.mjs')}")
    return f'{engine}\nconst WORKER = {worker};\nconst WASM = "{wasm}";\n{_plain("widget.mjs")}'


def page(properties: dict[str, Any]) -> str:
    """The module as a piece of HTML that starts by itself, with the given properties as the model's state."""
    text = source()
    assert "</script" not in text
    return (
        f'<div data-ncam-live data-props="{html.escape(json.dumps(properties))}">'
        f'<script type="text/ncam-live">{text}</script><script>{HOST}</script></div>'
    )
