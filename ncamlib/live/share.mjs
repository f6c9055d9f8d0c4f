// A link to what grows, as text and as a QR code.

import { element } from './panel.mjs';
import { longest, qrCode } from './qr.mjs';

const SIDE = 320; // of the QR code, in pixels
const MARGIN = 4; // modules around it

// What LiveManifold begins with; fire rate and side are the model's.
const BEGINNING = { partner: '', mutation_rate: 0, mix: 0, seed: 0, code: '' };

/** What is seen, as traits: only what is not as in the beginning, DNA only if it was edited, or is of the reader's own
 *  picture. */
function traitsOf(panel, beginning) {
  const { model, partner } = panel;
  const seen = { emoji: panel.chosen?.emoji ?? model.get('emoji'), partner: partner?.emoji ?? '' };
  for (const trait of ['mutation_rate', 'mix', 'seed', 'fire_rate', 'side']) seen[trait] = model.get(trait);
  seen.code = panel.edited || panel.own ? panel.code : '';
  const told = ([trait, value]) => trait === 'emoji' || value !== beginning[trait];
  return Object.fromEntries(Object.entries(seen).filter(told));
}

/** A link to what is seen. */
export function linkOf(panel) {
  const link = new URL(location.href.split('#')[0]);
  const { initial } = panel.model;
  const names = { mutation_rate: 'mutation', fire_rate: 'fire' };
  const seen = Object.entries(traitsOf(panel, initial)).map(([trait, value]) => [names[trait] ?? trait, value]);
  const asked = new URLSearchParams(seen);
  if (panel.regime !== panel.trained(initial.regime)) asked.set('regime', panel.regime.name);
  link.hash = asked;
  return link.href;
}

/** The line of Python that shows the same in a notebook. */
export function lineOf(panel) {
  const given = Object.entries(traitsOf(panel, BEGINNING)).map(
    ([trait, value]) => `, ${trait}=${JSON.stringify(value)}`,
  );
  return `LiveManifold(${JSON.stringify(panel.regime.experiment)}${given.join('')})`;
}

/** Copies the link, and shows it with its QR code; in a notebook, which follows no links, a line of Python. */
export async function share(panel) {
  const inPage = panel.model.initial !== undefined;
  const link = inPage ? linkOf(panel) : lineOf(panel);
  const what = inPage ? 'link' : 'line of Python';
  const said = await navigator.clipboard?.writeText(link).then(
    () => `The ${what} is copied.`,
    () => null,
  );
  const parts = [element('p', { textContent: said ?? `Copy this ${what}:` })];
  parts.push(element('textarea', { value: link, readOnly: true, rows: 3, ariaLabel: 'What to share' }));
  if (inPage) parts.push(qrOf(link));
  panel.open('Share', parts);
  panel.say(said ?? `The ${what} is shown.`);
}

/** The link as a QR code, or why there is none. */
function qrOf(link) {
  const size = new TextEncoder().encode(link).length;
  if (!location.protocol.startsWith('http'))
    return element('p', { textContent: 'It leads to a file on this machine, so there is no QR code.' });
  if (size <= longest) return drawing(qrCode(link));
  return element('p', { textContent: 'It holds DNA, which is too long for a QR code.' });
}

function drawing(modules) {
  const side = modules.length + 2 * MARGIN;
  const canvas = element('canvas', { width: side, height: side, className: 'qr' });
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', 'QR code of the link');
  canvas.style.width = `${SIDE}px`;
  const context = canvas.getContext('2d');
  context.fillStyle = '#fff';
  context.fillRect(0, 0, side, side);
  context.fillStyle = '#000';
  modules.forEach((row, y) => {
    row.forEach((dark, x) => {
      if (dark) context.fillRect(x + MARGIN, y + MARGIN, 1, 1);
    });
  });
  return canvas;
}
