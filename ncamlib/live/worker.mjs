// The worker: holds networks and automaton, steps at the asked rate, paints on request.
// It is told what to do by messages { type, ... }; the table `handlers` lists them.

import { Automaton } from './automaton.mjs';
import { decodeGenes, predict } from './decoder.mjs';
import { embed, nearest } from './encoder.mjs';
import { parse } from './safetensors.mjs';

const TURN = 10; // milliseconds of steps before other messages, frames above all, have theirs
const MOST = 16; // steps that may be owed after a pause
const ALL_CHANNELS = -2;
const PICTURE = -1;

// What was loaded, and the automaton that grows. rule: leak factor, wrap, size of the images.
const life = { module: null, decoder: null, encoder: null, automaton: null, weights: null, rule: null };
// How it grows: until which step, and which growth this is, by the page's count.
const pace = { fireRate: 1, seed: 0, speed: 30, playing: false, until: Infinity, epoch: 0 };
// What was wounded: the picture before the first wound, which of its values were hurt, and how far off that left them.
const wounds = { before: null, hurt: new Set(), most: 0 };
// Times in milliseconds: steps owed since `last`, steps taken since `since`.
const clock = { last: 0, owed: 0, since: 0, taken: 0 };
const tick = new MessageChannel(); // a timer that does not wait

function useGrid(side) {
  if (life.automaton?.side === side) return;
  forgetWounds();
  life.automaton = new Automaton(life.module, side);
  if (life.weights) life.automaton.weights = life.weights;
}

function useWeights(weights, rule) {
  life.rule = rule;
  life.weights = weights;
  life.automaton.weights = weights;
}

function forgetWounds() {
  wounds.before = null;
  wounds.hurt.clear();
  wounds.most = 0;
}

/** How far what was hurt is from what it was: the sum of squared differences. Elsewhere the picture lives on. */
function distance(colours) {
  let sum = 0;
  for (const i of wounds.hurt) sum += (colours[i] - wounds.before[i]) ** 2;
  return sum;
}

/** Keeps what one wound has changed. */
function hurt(before, after) {
  for (let i = 0; i < after.length; i++) if (after[i] !== before[i]) wounds.hurt.add(i);
  wounds.most = Math.max(wounds.most, distance(after));
}

/** The share of the wounds that is still seen, 0 to 1 or more; null if what was wounded was not grown. What they did
 *  is forgotten: the next wound is one of the picture as it is then.
 */
function leftOfWounds() {
  const left = wounds.most > 0 ? distance(life.automaton.colours) / wounds.most : null;
  forgetWounds();
  return left;
}

function wake() {
  clock.last = performance.now();
  clock.owed = 0;
  tick.port2.postMessage(0);
}

/** As many steps as are owed, as far as a turn allows; how many were taken. */
function takeSteps(now) {
  clock.owed = Math.min(clock.owed + ((now - clock.last) * pace.speed) / 1000, MOST);
  clock.last = now;
  const asked = Math.min(Math.floor(clock.owed), pace.until - life.automaton.time);
  let n = 0;
  for (; n < asked && performance.now() - now < TURN; n++) life.automaton.step(life.rule, pace.fireRate, pace.seed);
  clock.taken += n;
  clock.owed -= n;
  return n;
}

tick.port1.onmessage = () => {
  if (!pace.playing) return;
  const n = takeSteps(performance.now());
  if (life.automaton.time >= pace.until) {
    pace.playing = false;
    postMessage({ type: 'done', time: life.automaton.time, epoch: pace.epoch, left: leftOfWounds() });
  } else if (n > 0) tick.port2.postMessage(0);
  else setTimeout(() => tick.port2.postMessage(0), 3);
};

/** Steps per second since this was last known, or null where that is too short ago to tell. */
function rate() {
  const now = performance.now();
  const passed = now - clock.since;
  if (passed <= 400) return null;
  const perSecond = (1000 * clock.taken) / passed;
  clock.taken = 0;
  clock.since = now;
  return perSecond;
}

function paint(channel, background) {
  const { automaton } = life;
  const side = channel === ALL_CHANNELS ? 4 * automaton.side : automaton.side;
  const pixels = new Uint8ClampedArray(4 * side * side);
  if (channel === ALL_CHANNELS) automaton.paintMosaic(pixels);
  else if (channel === PICTURE) automaton.paint(pixels, background);
  else automaton.paintChannel(pixels, channel);
  return { pixels, side };
}

/** The step at which growth ends: `until` itself, `more` steps from now, or `again` as many if the end is reached. */
function setEnd({ until, more, again }) {
  const { time } = life.automaton;
  if (again !== undefined && time >= pace.until) pace.until = time + again;
  if (until !== undefined) pace.until = until;
  if (more !== undefined) pace.until = time + more;
}

const handlers = {
  start({ wasm }) {
    life.module = wasm && new WebAssembly.Module(wasm);
    useGrid(64);
    clock.since = performance.now();
  },
  manifold({ buffer }) {
    const { header, tensors } = parse(buffer);
    life.decoder = tensors;
    return { header, genes: tensors.genes, words: tensors.words.data, sprite: tensors.sprite.data };
  },
  encoder({ buffer }) {
    life.encoder = parse(buffer).tensors;
    return {};
  },
  encode({ image, side }) {
    return { genes: nearest(life.decoder.levels.data, embed(life.encoder, image, side)) };
  },
  weights({ weights, rule }) {
    useWeights(weights, rule);
  },
  letters({ letters, rule }) {
    useWeights(predict(life.decoder, decodeGenes(life.decoder, letters)), rule);
    return {};
  },
  mix({ one, two, share, rule }) {
    const [a, b] = [one, two].map((letters) => decodeGenes(life.decoder, letters));
    const between = a.map((value, i) => (1 - share) * value + share * b[i]);
    useWeights(predict(life.decoder, between), rule);
    return {};
  },
  set(values) {
    for (const name of ['fireRate', 'speed', 'epoch']) if (name in values) pace[name] = values[name];
    if ('seed' in values) pace.seed = values.seed >>> 0;
    setEnd(values);
    if ('side' in values) useGrid(values.side);
    if ('playing' in values && values.playing !== pace.playing) {
      pace.playing = values.playing && life.rule !== null;
      if (pace.playing) wake();
    }
  },
  restart() {
    forgetWounds();
    life.automaton.seed();
  },
  clear() {
    pace.playing = false;
    life.rule = null; // nothing to step by
    life.automaton.clear();
  },
  step({ n }) {
    if (life.rule) life.automaton.step(life.rule, pace.fireRate, pace.seed, n);
  },
  wound({ x, y, radius, whole }) {
    const { colours } = life.automaton;
    if (whole) wounds.before ??= colours;
    life.automaton.wound(x, y, radius);
    if (wounds.before) hurt(colours, life.automaton.colours);
  },
  frame({ channel, background }) {
    const { pixels, side } = paint(channel, background);
    postMessage({ type: 'frame', pixels, side, time: life.automaton.time, rate: rate() }, [pixels.buffer]);
  },
};

globalThis.onmessage = ({ data }) => {
  try {
    const answer = handlers[data.type](data);
    if (answer) postMessage({ type: 'answer', id: data.id, ...answer });
  } catch (error) {
    const text = String(error.message ?? error);
    if (data.id) postMessage({ type: 'answer', id: data.id, error: text });
    else postMessage({ type: 'error', text });
  }
};
