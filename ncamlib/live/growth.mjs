// Growing: tells the worker what to grow, how fast and how long.

import { loadManifold } from './loading.mjs';
import { showDNA } from './strip.mjs';

/** Steps that a growth takes; Infinity if the reader wants it without end. */
export function lifetime(panel) {
  if (panel.endless || panel.input('endless').checked) return Infinity;
  const steps = panel.manifold?.header.steps ?? panel.model.get('steps');
  // A picture twice as large takes twice as many steps to grow.
  return Math.round((steps * panel.side) / panel.seedlings[0].rule.size);
}

/** Grows from one pixel with the weights that the worker has. */
export function grow(panel) {
  if (panel.waiting) return;
  const { model } = panel;
  panel.wounded = false;
  panel.endless = false;
  setEnded(panel, false);
  panel.post({
    type: 'set',
    side: panel.side,
    fireRate: model.get('fire_rate'),
    seed: model.get('seed'),
    speed: model.get('steps_per_second'),
    until: lifetime(panel),
  });
  panel.post({ type: 'restart' });
  if (matchMedia('(prefers-reduced-motion: reduce)').matches) {
    panel.post({ type: 'step', n: Math.min(lifetime(panel), 4 * panel.side) });
    finish(panel);
  } else play(panel, true);
  describe(panel);
}

const damageOf = ({ rate }) => (rate > 0 ? ` with ${Math.round(100 * rate)}% of its DNA replaced at random` : '');

/** Says what grows, also to those who do not see it. */
function describe(panel) {
  const damage = damageOf(panel);
  panel.find('.picture').setAttribute('aria-label', `${panel.name}${damage}, grown from one pixel`);
  if (!panel.ended) panel.say(`Growing ${panel.name}${damage}.`);
}

/** The growth is over; `left` is the share of a wound that is still seen, if what was grown had been wounded. */
export function finish(panel, left) {
  setEnded(panel, true);
  play(panel, false);
  if (!panel.wounded)
    panel.say(`${sentence(panel.name)}${damageOf(panel)} is grown. Tap the picture to wound it, or move Mutation.`);
  else if (panel.regime.name === 'regenerating') panel.say(healing(left));
  else {
    const trained = panel.lasting
      ? 'stay as it has grown, not to repair'
      : 'grow: what goes on burns out, wounded or not';
    const other = panel.model.get('regimes').some(({ name }) => name === 'regenerating');
    const next = other ? 'Another one heals: choose it under “Trained to”.' : 'Grow it again?';
    panel.say(`It does not heal: this model was trained to ${trained}. ${next}`);
  }
}

function healing(left) {
  if (left === null) return 'This model was trained to heal. Wound it again, or press Play: it lives on.';
  const done = Math.max(0, Math.round(100 * (1 - left)));
  return `${done}% of the wound has healed. Wound it again, or press Play: it lives on.`;
}

function setEnded(panel, ended) {
  panel.ended = ended;
  panel.set('over', ended);
  panel.root.dataset.state = ended ? 'grown' : 'growing';
}

const sentence = (text) => text[0].toUpperCase() + text.slice(1);

/** Lets the growth go on, or stop. */
export function play(panel, on) {
  panel.running = on;
  panel.set('playing', on);
  if (on) panel.epoch++;
  panel.post({ type: 'set', playing: on && panel.visible, epoch: panel.epoch });
  labelPlay(panel, on);
}

/** The reader holds the growth; what still waits to grow is held, too. */
export function pause(panel) {
  panel.held = true;
  play(panel, false);
}

/** The button says what pressing it does. */
export function labelPlay(panel, on) {
  panel.find('[data-do=play]').textContent = on ? 'Pause' : panel.ended && !panel.lasting ? 'Grow again' : 'Play';
}

/** Lets what has grown live on until the reader stops it. */
export function liveOn(panel) {
  panel.endless = true;
  goOn(panel);
  panel.say(`${sentence(panel.name)}${damageOf(panel)} lives on. Tap the picture to wound it.`);
}

/** Lets the growth go on for another lifetime. */
export function goOn(panel) {
  setEnded(panel, false);
  panel.post({ type: 'set', more: lifetime(panel) });
  play(panel, true);
}

/** Grows these letters from now on, changed as `surgery` says; the model hears of them. */
export function useLetters(panel, letters, surgery = '') {
  panel.letters = letters;
  panel.surgery = surgery;
  panel.unmix();
  panel.set('code', panel.code);
  express(panel);
}

/** Letters -> weights -> growth; between the letters and the partner's where the slider says so. */
export async function express(panel) {
  if (!panel.letters) return;
  if (panel.stuck) panel.settle(); // and try again
  if (panel.waiting) return;
  const turn = ++panel.turn;
  panel.held = false;
  showDNA(panel);
  panel.pending = null;
  const share = panel.partner ? panel.mix : 0;
  const { weights, rule } = panel.chosen;
  if (weights && panel.rate === 0 && share === 0 && panel.untouched) {
    panel.post({ type: 'weights', weights, rule });
    grow(panel);
    return;
  }
  const there = panel.manifold || (await loadManifold(panel));
  if (turn !== panel.turn) return; // something newer grows
  if (!there) {
    panel.wait(); // rather than show what the DNA does not say
    panel.stuck = true;
    return;
  }
  const { held } = panel;
  const { header } = panel.manifold;
  const letters = panel.mutated(share > 0 ? panel.chosen.letters : panel.letters);
  if (share === 0) decode(panel, { type: 'letters', letters, rule: header });
  else decode(panel, { type: 'mix', one: letters, two: panel.mutated(panel.partner.letters), share, rule: header });
  if (held) pause(panel);
}

/** Has the worker turn letters into weights, and grows them. While it is at it, only the newest letters wait: a slider
 *  moves faster than it.
 */
async function decode(panel, message) {
  if (panel.decoding) {
    panel.pending = message;
    return;
  }
  panel.decoding = true;
  const done = panel.ask(message).catch((error) => panel.stopped(error.message));
  grow(panel);
  await done;
  panel.decoding = false;
  const { pending, held } = panel;
  panel.pending = null;
  if (!pending) return;
  decode(panel, pending);
  if (held) pause(panel);
}
