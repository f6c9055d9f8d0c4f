// Growing: tells the worker what to grow, how fast and how long.

import { mutate } from './letters.mjs';
import { drawDNA } from './strip.mjs';

/** Steps that a growth takes; Infinity if the reader wants it without end. */
export function lifetime(panel) {
  if (panel.input('endless').checked) return Infinity;
  const steps = panel.manifold?.header.steps ?? panel.model.get('steps');
  // A picture twice as large takes twice as many steps to grow.
  return Math.round((steps * panel.side) / panel.seedlings[0].rule.size);
}

/** Grows from one pixel with the weights that the worker has. */
export function grow(panel) {
  if (panel.waiting) return;
  const { model } = panel;
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
    panel.post({ type: 'step', n: Math.min(lifetime(panel), 64) });
    play(panel, false);
  } else play(panel, true);
  describe(panel);
}

/** Says what grows to those who do not see it. */
function describe(panel) {
  const rate = panel.letters ? panel.model.get('mutation_rate') : 0;
  const damage = rate > 0 ? `, ${Math.round(100 * rate)}% of its letters replaced` : '';
  panel.find('.picture').setAttribute('aria-label', `${panel.name}${panel.surgery}, grown from one pixel${damage}`);
}

/** Lets the growth go on, or stop. */
export function play(panel, on) {
  panel.set('playing', on);
  if (on) panel.epoch++;
  panel.post({ type: 'set', playing: on && panel.visible, epoch: panel.epoch });
  labelPlay(panel, on);
}

/** The button says what pressing it does. */
export function labelPlay(panel, on) {
  panel.find('[data-do=play]').textContent = on ? 'Pause' : 'Play';
}

/** Lets the growth go on for another lifetime. */
export function goOn(panel) {
  panel.post({ type: 'set', more: lifetime(panel) });
}

/** The letters with the mutations of now. */
export function mutated(panel, letters) {
  return mutate(letters, panel.model.get('mutation_rate'), panel.model.get('seed'));
}

/** Letters -> weights -> growth; between the letters and the partner's where the slider says so. */
export function express(panel) {
  if (!panel.manifold || panel.waiting) return;
  const rule = panel.manifold.header;
  const one = mutated(panel, panel.letters);
  const share = Number(panel.input('mix').value);
  const partner = share > 0 ? panel.partner() : null;
  if (partner) panel.post({ type: 'mix', one, two: mutated(panel, partner), share, rule });
  else panel.post({ type: 'letters', letters: one, rule });
  drawDNA(panel, one);
  grow(panel);
}
