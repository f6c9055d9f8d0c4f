// The worker: holds decoder and automaton, steps at the asked rate, paints on request. Engine comes first.

let module, automaton, tensors, encoder, rule;  // rule: leak factor, wrap, size of the images
let fireRate = 1, seed = 0, speed = 30, playing = false, until = Infinity, steps = 0, epoch = 0, since = 0, owed = 0, last = 0;
const tick = new MessageChannel(), TURN = 10;  // milliseconds of steps before other messages, frames above all, have theirs

function ensure(side) {
  if (automaton?.side === side) return;
  const before = automaton?.kept;
  automaton = new Automaton(module, side);
  if (before) { automaton.weights = before; automaton.kept = before; }
}

function use(weights) { automaton.weights = weights; automaton.kept = weights; }

function wake() { last = performance.now(); owed = 0; tick.port2.postMessage(0); }

tick.port1.onmessage = () => {
  if (!playing) return;
  const now = performance.now();
  owed = Math.min(owed + (now - last) * speed / 1000, 16);
  last = now;
  const asked = Math.min(Math.floor(owed), until - automaton.time);
  let n = 0;
  for (; n < asked && performance.now() - now < TURN; n++) automaton.step(rule, fireRate, seed, 1);
  steps += n; owed -= n;
  if (automaton.time >= until) { playing = false; postMessage({ type: 'done', time: automaton.time, epoch }); return; }
  if (n > 0) tick.port2.postMessage(0);
  else setTimeout(() => tick.port2.postMessage(0), 3);
};

const handlers = {
  start({ wasm }) { module = wasm && new WebAssembly.Module(wasm); ensure(64); since = performance.now(); },
  manifold({ buffer }) {
    const parsed = parse(buffer);
    tensors = parsed.tensors;
    postMessage({ type: 'loaded', header: parsed.header, letters: tensors.letters });
  },
  encoder({ buffer }) { encoder = parse(buffer).tensors; postMessage({ type: 'encoder' }); },
  encode({ image, side }) { postMessage({ type: 'encoded', letters: writeGenes(encoder, embed(encoder, image, side)) }); },
  weights(message) { rule = message.rule; use(message.weights); },
  letters({ letters, id, ...message }) {
    rule = message.rule;
    use(predict(tensors, decodeGenes(tensors, letters)));
    postMessage({ type: 'decoded', id });
  },
  mix({ one, two, share, ...message }) {
    const a = decodeGenes(tensors, one), b = decodeGenes(tensors, two);
    rule = message.rule;
    use(predict(tensors, a.map((v, i) => (1 - share) * v + share * b[i])));
  },
  set(values) {
    if ('fireRate' in values) fireRate = values.fireRate;
    if ('seed' in values) seed = values.seed >>> 0;
    if ('speed' in values) speed = values.speed;
    if ('epoch' in values) epoch = values.epoch;
    if ('wake' in values && automaton.time >= until) until = automaton.time + values.wake;  // go on after the end
    if ('until' in values) until = values.until;
    if ('more' in values) until = automaton.time + values.more;
    if ('side' in values) ensure(values.side);
    if ('playing' in values && values.playing !== playing) { playing = values.playing; if (playing) wake(); }
  },
  restart() { automaton.seed(); },
  step({ n }) { automaton.step(rule, fireRate, seed, n); },
  wound({ x, y, radius }) { automaton.wound(x, y, radius); },
  plant({ x, y }) { automaton.plant(x, y); },
  frame({ channel, background }) {
    const side = automaton.side, now = performance.now();
    const all = channel === -2, shown = all ? 4 * side : side, bytes = new Uint8ClampedArray(4 * shown * shown);
    const pixels = all ? automaton.mosaic(bytes) : automaton.paint(bytes, channel, background);
    const rate = now - since > 400 ? 1000 * steps / (now - since) : null;
    if (rate !== null) { steps = 0; since = now; }
    postMessage({ type: 'frame', pixels, side: shown, time: automaton.time, rate }, [pixels.buffer]);
  },
};

onmessage = ({ data }) => {
  try { handlers[data.type](data); } catch (error) { postMessage({ type: 'error', text: String(error.message ?? error) }); }
};
