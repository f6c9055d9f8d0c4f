// Starts the live panel in a page: gives it a stand-in for anywidget's model, set from the link's hash.
// It runs as an ordinary script, in a function of its own, inside the element that holds the module's text.

import { toBytes } from './base64.mjs';
import { follow } from './link.mjs';

const place = document.currentScript.parentElement;
const state = JSON.parse(place.dataset.props);
const initial = { ...state };
const listeners = {};

const model = {
  initial, // before a link was followed
  get: (trait) => state[trait],
  set(trait, value) {
    if (state[trait] === value) return;
    state[trait] = value;
    for (const react of listeners[`change:${trait}`] ?? []) react();
  },
  on(event, react) {
    listeners[event] ??= [];
    listeners[event].push(react);
  },
  off() {},
  save_changes() {},
  send() {},
};

async function start() {
  const packed = new Blob([toBytes(place.querySelector('script[type="text/ncam-live"]').textContent)]);
  const source = await new Response(packed.stream().pipeThrough(new DecompressionStream('gzip'))).text();
  const module = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
  module.default.render({ model, el: place });
  place.ncam = model;
  place.dataset.alive = '1';
}

// A link to a page with several panels is one to the first.
if (document.querySelector('[data-ncam-live]') === place) {
  follow((trait, value) => {
    state[trait] = value;
  }, initial);
  addEventListener('hashchange', () => follow(model.set, initial));
}
start().catch((error) => place.append(`The live manifold could not start: ${error}`));
