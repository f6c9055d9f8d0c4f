// The live panel: ties buttons, inputs, the model's traits and the worker's messages to what they do.
// It works in a page and, through anywidget, in a notebook. WORKER (source text) and WASM (base64) come first.

import { toBytes } from './base64.mjs';
import { CONTROLS, fillControls, SLIDERS, STYLE, showValues } from './controls.mjs';
import { clean, cross, inject } from './crossing.mjs';
import {
  choose,
  growAsked,
  indexOf,
  listenToList,
  listSeedlings,
  loadManifold,
  openManifold,
  refuseEmoji,
  search,
  startSeedling,
  useCode,
} from './emoji.mjs';
import { express, goOn, grow, labelPlay, lifetime, mutated, play } from './growth.mjs';
import { element, Panel, spaced } from './panel.mjs';
import { listenToPicture, Stage, wound, zoom } from './stage.mjs';
import { listenToBrush, listenToKeys } from './strip.mjs';
import { adoptPicture, encodePicture, upload } from './upload.mjs';

/** What the buttons do. */
const ACTIONS = {
  play(panel) {
    const playing = panel.model.get('playing');
    if (!playing) goOn(panel);
    play(panel, !playing);
  },
  restart: grow,
  step(panel) {
    play(panel, false);
    panel.post({ type: 'step', n: 1 });
  },
  seed(panel) {
    const middle = panel.side >> 1;
    panel.post({ type: 'plant', x: middle, y: middle });
  },
  wound(panel) {
    wound(panel, 0.62 * panel.side, 0.4 * panel.side);
  },
  link: copyLink,
  load: loadManifold,
  cross(panel) {
    if (cross(panel)) express(panel);
  },
  inject(panel) {
    if (inject(panel)) express(panel);
  },
  clean(panel) {
    if (clean(panel)) express(panel);
  },
};

/** What the inputs do that move no trait. */
const INPUTS = {
  mix(panel, input) {
    if (!panel.manifold) return;
    if (panel.partner()) express(panel);
    else input.value = 0;
  },
  search(panel, input) {
    search(panel, input.value);
  },
  upload(panel, input) {
    if (input.files[0]) upload(panel, input.files[0]);
  },
  side: grow,
  zoom(panel, input) {
    zoom(panel, Number(input.value));
  },
  endless(panel, input) {
    goOn(panel);
    if (input.checked) play(panel, true);
  },
};

/** What a change of a trait does, from the panel, a link or Python. */
const TRAITS = {
  mutation_rate(panel) {
    showValues(panel);
    if (panel.manifold) express(panel);
    else loadManifold(panel);
  },
  fire_rate(panel) {
    showValues(panel);
    grow(panel);
  },
  steps_per_second(panel, speed) {
    showValues(panel);
    panel.post({ type: 'set', speed });
  },
  seed(panel) {
    if (panel.manifold) express(panel);
    else grow(panel);
  },
  playing(panel, on) {
    if (on) panel.post({ type: 'set', epoch: panel.epoch, again: lifetime(panel) });
    labelPlay(panel, on);
    panel.post({ type: 'set', playing: on && panel.visible });
  },
  emoji(panel, wanted) {
    if (!panel.manifold) {
      panel.asked = { emoji: wanted, code: '' };
      if (wanted !== panel.seedlings[panel.seedling].emoji) fetchAsked(panel);
      return;
    }
    const index = indexOf(panel, wanted);
    if (index < 0) refuseEmoji(panel, wanted);
    else if (spaced(panel.manifold.header.names[index]) !== panel.name) choose(panel, index);
  },
  code(panel, code) {
    if (panel.manifold) {
      if (code !== panel.code) useCode(panel, code);
      return;
    }
    panel.asked.code = code;
    if (code) fetchAsked(panel);
  },
  complaint(panel, sentence) {
    if (sentence) panel.refuse(sentence);
    else if (panel.kept) begin(panel, true);
  },
};

/** What the worker's messages do; the stage shows its frames. */
const ANSWERS = {
  loaded(panel, { header, letters }) {
    openManifold(panel, header, letters);
  },
  encoder: encodePicture,
  encoded(panel, { letters }) {
    adoptPicture(panel, letters);
  },
  done(panel, { epoch, time }) {
    if (epoch !== panel.epoch) return;
    play(panel, false);
    const grown = `${panel.name}${panel.surgery} after ${time} steps.`;
    panel.say(`${grown} Paint on it to wound it; move a slider to grow it again.`);
  },
  error(panel, { text }) {
    panel.say(`The automaton stopped: ${text}. Reload the page to try again.`);
  },
};

/** Copies a link that grows what is seen; where the clipboard is closed, shows it. */
function copyLink(panel) {
  const { model } = panel;
  const link = new URL(location.href.split('#')[0]);
  link.hash = new URLSearchParams({
    emoji: model.get('emoji'),
    mutation: model.get('mutation_rate'),
    fire: model.get('fire_rate'),
    seed: model.get('seed'),
    code: model.get('code'),
  });
  const show = () => panel.say(link.href);
  if (navigator.clipboard) navigator.clipboard.writeText(link.href).then(() => panel.say('The link is copied.'), show);
  else show();
}

function listen(panel, stage) {
  panel.root.addEventListener('click', (event) => ACTIONS[event.target.dataset?.do]?.(panel));
  panel.root.addEventListener('input', ({ target }) => {
    if (SLIDERS[target.name]) panel.set(SLIDERS[target.name], Number(target.value));
    else INPUTS[target.name]?.(panel, target);
    showValues(panel);
  });
  const drawer = panel.find('details');
  drawer.addEventListener('toggle', () => {
    if (drawer.open) loadManifold(panel);
  });
  for (const [trait, react] of Object.entries(TRAITS)) {
    panel.model.on(`change:${trait}`, () => react(panel, panel.model.get(trait)));
  }
  panel.worker.onmessage = ({ data: message }) => {
    if (message.type === 'frame') stage.show(message);
    else ANSWERS[message.type]?.(panel, message);
  };
  listenToPicture(panel);
  listenToBrush(panel, mutated, express);
  listenToKeys(panel, express);
  listenToList(panel);
}

/** Loads the manifold for what the instant row does not have; nothing grows meanwhile. */
function fetchAsked(panel) {
  panel.wait();
  panel.say('Loading all emoji…');
  loadManifold(panel);
}

/** Grows what is asked for: at once if it is in the instant row, else when the manifold is loaded. */
function begin(panel, playing) {
  const { model } = panel;
  panel.settle();
  panel.asked = { emoji: model.get('emoji'), code: model.get('code') };
  if (model.get('complaint')) panel.refuse(model.get('complaint'));
  else if (panel.manifold) growAsked(panel);
  else {
    const wanted = panel.asked.emoji || panel.seedlings[0].emoji;
    const first = panel.seedlings.findIndex(({ emoji, title }) => [emoji, title].includes(wanted));
    if (first < 0 || panel.asked.code) fetchAsked(panel);
    else {
      startSeedling(panel, first, false);
      if (!playing) play(panel, false);
      if (model.get('mutation_rate') > 0) loadManifold(panel);
    }
  }
}

/** Puts a live panel into an element; returns what takes it away again. */
function render({ model, el }) {
  const root = element('div', { className: 'ncam', innerHTML: `<style>${STYLE}</style>${CONTROLS}` });
  el.append(root);
  const worker = new Worker(URL.createObjectURL(new Blob([WORKER], { type: 'text/javascript' })));
  const fast = typeof WebAssembly === 'object' && WebAssembly.validate(toBytes(WASM));
  const panel = new Panel(model, root, worker);
  panel.post({ type: 'start', wasm: fast ? toBytes(WASM).buffer : null });
  const stage = new Stage(panel, fast ? '' : ' (slowly: no WebAssembly SIMD here)');
  listen(panel, stage);
  fillControls(panel);
  listSeedlings(panel);
  showValues(panel);
  begin(panel, model.get('playing'));
  stage.run();
  return () => {
    stage.stop();
    worker.terminate();
  };
}

export default { render };
