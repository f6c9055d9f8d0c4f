// The live panel: ties buttons, inputs, the model's traits and the worker's messages to what they do.
// It works in a page and, through anywidget, in a notebook. WORKER (source text) and WASM (base64) come first.

import { toBytes } from './base64.mjs';
import { CONTROLS, fillControls, SLIDERS, showValues } from './controls.mjs';
import {
  aimAt,
  breed,
  choose,
  chooseFound,
  forget,
  listAll,
  listenToGallery,
  listSeedlings,
  lookUp,
  pair,
  recross,
  refuseEmoji,
  search,
  surprise,
} from './gallery.mjs';
import { listGroups } from './groups.mjs';
import { express, finish, goOn, grow, labelPlay, lifetime, liveOn, pause, play, useLetters } from './growth.mjs';
import { listenToShortcuts, listKeys } from './keys.mjs';
import { LETTERS, recognise, unpackLetters } from './letters.mjs';
import { loadManifold } from './loading.mjs';
import { element, Panel } from './panel.mjs';
import { share } from './share.mjs';
import { fillScreen, holdBrush, listenToAim, listenToPicture, Stage, wound, zoom } from './stage.mjs';
import { listenToBrush, listenToKeys } from './strip.mjs';
import { STYLE } from './style.mjs';
import { pictured, upload } from './upload.mjs';

/** What the buttons do. */
const ACTIONS = {
  play(panel) {
    if (panel.waiting) panel.say('Choose an emoji to grow.');
    else if (panel.running) pause(panel);
    else if (panel.ended && panel.lasting) liveOn(panel);
    else if (panel.ended) grow(panel);
    else play(panel, true);
  },
  restart: grow,
  step(panel) {
    pause(panel);
    panel.post({ type: 'step', n: 1 });
  },
  wound(panel) {
    const first = !panel.wounded && !panel.waiting;
    holdBrush(panel);
    if (first && panel.brush) wound(panel, 0.62 * panel.side, 0.4 * panel.side);
  },
  mutate(panel) {
    panel.set('mutation_rate', panel.rate > 0 ? 0 : 0.5);
  },
  reseed(panel) {
    panel.set('seed', (panel.model.get('seed') + 1) % 2 ** 32);
  },
  breed(panel) {
    if (!panel.partner) return;
    panel.unmix();
    panel.letters = panel.bred; // edits are of the old child
    ACTIONS.reseed(panel);
  },
  single(panel) {
    panel.aim = '';
    pair(panel, null);
  },
  clean: breed,
  surprise,
  screen: fillScreen,
  link: share,
  keys(panel) {
    const when = element('p', { textContent: 'They work while the panel has the focus.' });
    panel.open('Keyboard shortcuts', [when, listKeys()]);
  },
};

/** What the inputs do that move no trait. */
const INPUTS = {
  search(panel, input) {
    search(panel, input.value);
  },
  group(panel, input) {
    if (panel.manifold) listGroups(panel, input.value);
  },
  upload(panel, input) {
    if (input.files[0]) upload(panel, input.files[0]);
  },
  regime(panel, input) {
    panel.set('regime', input.value);
  },
  mix(panel, input) {
    if (panel.partner) panel.set('mix', Number(input.value));
    else panel.say('Choose the other parent first: press +.');
  },
  side(panel, input) {
    panel.set('side', Number(input.value));
  },
  channel(panel) {
    panel.stage.refresh();
  },
  zoom(panel, input) {
    zoom(panel, Number(input.value));
  },
  endless(panel) {
    panel.endless = false; // the box decides
    if (panel.waiting) return;
    if (panel.ended || panel.running) goOn(panel);
    else panel.post({ type: 'set', more: lifetime(panel) });
  },
};

/** What a change of a trait does, from the panel, a link or Python. */
const TRAITS = {
  mutation_rate(panel) {
    showValues(panel);
    express(panel);
  },
  fire_rate(panel) {
    showValues(panel);
    grow(panel);
  },
  steps_per_second(panel, speed) {
    showValues(panel);
    panel.post({ type: 'set', speed });
  },
  mix(panel, share) {
    showValues(panel);
    if (share === panel.mix || !panel.partner) return;
    panel.mix = share;
    express(panel);
  },
  side(panel) {
    showValues(panel);
    grow(panel);
  },
  seed(panel) {
    const { mix } = panel;
    if (panel.partner && !panel.edited) {
      breed(panel);
      panel.set('mix', mix);
      return;
    }
    if (panel.partner) recross(panel);
    express(panel);
  },
  playing(panel, on) {
    const { spared } = panel;
    panel.spared = false;
    if (!on && spared) return;
    panel.running = on;
    if (on) panel.post({ type: 'set', epoch: panel.epoch, again: lifetime(panel) });
    labelPlay(panel, on);
    panel.post({ type: 'set', playing: on && panel.visible });
  },
  over(panel, on) {
    panel.spared = on && !panel.ended;
  },
  emoji(panel, wanted) {
    if (panel.waiting || (wanted !== panel.chosen?.emoji && wanted !== panel.chosen?.name)) begin(panel, true);
  },
  partner(panel, wanted) {
    if (panel.waiting || wanted !== (panel.partner?.emoji ?? '')) begin(panel, true);
  },
  code(panel, code) {
    if (panel.letters && code !== panel.code) begin(panel, true);
  },
  regime(panel) {
    const { model } = panel;
    for (const loaded of ['manifold', 'loading', 'encoder']) panel[loaded] = null;
    showValues(panel);
    if (panel.own && !model.get('emoji') && model.get('code') === panel.code) {
      forget(panel);
      panel.refuse(
        'The DNA of this picture means nothing to another model: give the picture again, or choose an emoji.',
      );
    } else begin(panel, true);
  },
  complaint(panel, sentence) {
    if (sentence) panel.refuse(sentence);
    else if (panel.kept) begin(panel, true, panel.model.get('code'));
  },
};

function listen(panel, stage) {
  panel.root.addEventListener('click', (event) => {
    const { do: action, slot } = event.target.closest('button')?.dataset ?? {};
    if (action) ACTIONS[action](panel);
    if (slot) aimAt(panel, slot);
  });
  panel.input('upload').addEventListener('click', ({ target }) => {
    target.value = ''; // the same file again is news, too
  });
  panel.input('search').addEventListener('keydown', ({ key }) => {
    if (key === 'Enter') chooseFound(panel);
  });
  panel.root.addEventListener('input', ({ target }) => {
    if (SLIDERS[target.name]) panel.set(SLIDERS[target.name], Number(target.value));
    else INPUTS[target.name]?.(panel, target);
    showValues(panel);
  });
  // Whoever comes near the controls will need all emoji.
  for (const near of ['pointerenter', 'touchstart', 'focusin'])
    panel.root.addEventListener(near, () => panel.loading ?? loadManifold(panel), { once: true, passive: true });
  for (const drawer of panel.findAll('details')) {
    drawer.addEventListener('toggle', () => {
      if (drawer.open) loadManifold(panel);
    });
  }
  for (const [trait, react] of Object.entries(TRAITS)) {
    panel.model.on(`change:${trait}`, () => react(panel, panel.model.get(trait)));
  }
  panel.hear('frame', (message) => stage.show(message));
  panel.hear('done', ({ epoch, left }) => {
    if (epoch === panel.epoch) finish(panel, left);
  });
  panel.hear('error', ({ text }) => panel.stopped(text));
  listenToPicture(panel);
  listenToAim(panel);
  listenToBrush(panel, express);
  listenToKeys(panel, express);
  listenToGallery(panel);
  listenToShortcuts(panel, ACTIONS);
}

/** Grows what the traits ask for: at once if it came with the page, else when the manifold is loaded. */
async function begin(panel, playing, code = codeAsked(panel)) {
  const { model } = panel;
  const [wanted, partner] = ['emoji', 'partner'].map((trait) => model.get(trait));
  panel.settle();
  if (model.get('complaint')) {
    panel.refuse(model.get('complaint'));
    return;
  }
  const [turn, choice] = [++panel.turn, panel.choices];
  const regime = model.get('regime');
  if (regime && panel.regime.name !== regime) {
    panel.refuse(`There is no model “${regime.slice(0, 40)}” on this page. Choose an emoji to grow.`);
    return;
  }
  const keys = [wanted || panel.seedlings[0].emoji, ...(partner ? [partner] : [])];
  const there = await loadFor(panel, keys, code);
  if (!there || turn !== panel.turn || choice !== panel.choices) return;
  const unknown = keys.find((key) => !lookUp(panel, key));
  if (unknown) {
    refuseEmoji(panel, unknown);
    return;
  }
  const [chosen, other] = keys.map((key) => lookUp(panel, key));
  const first = panel.own && !wanted ? panel.chosen : chosen; // a picture of one's own has no emoji
  start(panel, first, other ?? null, code, model.get('mix'), playing);
}

/** The code that is asked for; none where it is that of what grew before. */
function codeAsked(panel) {
  const code = panel.model.get('code');
  return panel.letters && code === panel.code ? '' : code;
}

/** Loads the manifold, unless what is asked for came with the page; whether all that is needed is there. */
async function loadFor(panel, keys, code) {
  const pictured = code.length > panel.seedlings[0].letters.length; // genes come first
  if (panel.manifold || (!pictured && keys.every((key) => lookUp(panel, key)))) return true;
  panel.wait();
  panel.say('Loading all emoji…');
  return loadManifold(panel);
}

/** Grows an emoji, its child with another, or the letters of a code. */
function start(panel, chosen, partner, code, mix, playing) {
  const { first, letters } = code ? readCode(panel, code, chosen) : { first: chosen };
  if (!first) {
    panel.refuse('The DNA in this link is damaged, so nothing grows from it. Choose an emoji to grow.');
    return;
  }
  const known = first !== chosen || panel.model.get('emoji') !== ''; // else of a picture that is not in the link
  panel.partner = partner;
  choose(panel, first);
  const written = letters && known ? recognise(letters, panel.bred) : (letters ?? panel.bred);
  if (written.some((letter, i) => letter !== panel.bred[i])) useLetters(panel, written, ' with edited DNA');
  if (partner && mix) panel.set('mix', mix);
  if (!playing) pause(panel);
}

/** What a link calls `code` -> the letters, and the first parent: an emoji, or a picture whose genes come before them.
 *  Nothing if it is damaged. */
function readCode(panel, code, emoji) {
  const [count, length] = [emoji.letters.length / LETTERS, emoji.letters.length / 4];
  let bytes;
  try {
    bytes = toBytes(code);
  } catch {
    return {};
  }
  const letters = unpackLetters(bytes.subarray(-length));
  if (bytes.length === length) return { first: emoji, letters };
  if (bytes.length !== count + length) return {};
  return { first: pictured(panel, bytes.subarray(0, count)), letters };
}

/** Puts a live panel into an element; returns what takes it away again. */
function render({ model, el }) {
  if (!el.querySelector('.ncam')) {
    // A page brings the markup along.
    const root = element('div', { className: 'ncam', innerHTML: `<style>${STYLE}</style>${CONTROLS}` });
    const outer = element('div', { className: 'ncam-live' });
    outer.append(root);
    el.append(outer);
  }
  const root = el.querySelector('.ncam');
  const worker = new Worker(URL.createObjectURL(new Blob([WORKER], { type: 'text/javascript' })));
  const fast = typeof WebAssembly === 'object' && WebAssembly.validate(toBytes(WASM));
  const panel = new Panel(model, root, worker);
  const stage = new Stage(panel, fast ? '' : ' (slowly: no WebAssembly SIMD here)');
  panel.stage = stage;
  panel.opened = () => {
    listAll(panel);
    listGroups(panel, panel.input('group').value);
  };
  panel.post({ type: 'start', wasm: fast ? toBytes(WASM).buffer : null });
  fillControls(panel);
  showValues(panel);
  listen(panel, stage);
  const open = () => {
    panel.seedlings = model.get('seedlings');
    if (!panel.seedlings.length) return;
    model.off('change:seedlings', open);
    listSeedlings(panel);
    begin(panel, model.get('playing') || model.get('over')); // a further view of what has grown, unless it was paused
  };
  model.on('change:seedlings', open);
  model.on('msg:custom', ({ type, error }) => {
    if (type === 'seedlings') panel.refuse(error);
  });
  if (!model.get('seedlings').length) model.send({ type: 'load', file: 'seedlings' });
  open();
  return () => {
    stage.stop();
    worker.terminate();
  };
}

export default { render };
