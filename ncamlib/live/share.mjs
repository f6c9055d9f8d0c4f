// A link to what grows, as text and as a QR code.

import { element } from './panel.mjs';
import { longest, qrCode } from './qr.mjs';

const SIDE = 320; // of the QR code, in pixels
const MARGIN = 4; // modules around it

/** A link to what is seen: only what is not as the page begins with, DNA only if it was edited. */
export function linkOf(panel) {
  const { model, partner } = panel;
  const link = new URL(location.href.split('#')[0]);
  const asked = new URLSearchParams({ emoji: panel.chosen?.emoji ?? model.get('emoji') });
  if (panel.regime.name !== panel.initial.regime) asked.set('regime', panel.regime.name);
  if (partner) asked.set('partner', partner.emoji);
  if (panel.rate > 0) asked.set('mutation', panel.rate);
  if (model.get('fire_rate') !== panel.initial.fire_rate) asked.set('fire', model.get('fire_rate'));
  if (model.get('seed')) asked.set('seed', model.get('seed'));
  if (panel.edited) asked.set('code', panel.code);
  link.hash = asked;
  return link.href;
}

/** Copies the link, and shows it with its QR code. */
export async function share(panel) {
  const link = linkOf(panel);
  const said = await navigator.clipboard?.writeText(link).then(
    () => 'The link is copied.',
    () => null,
  );
  const parts = [element('p', { textContent: said ?? 'Copy this link:' })];
  parts.push(element('textarea', { value: link, readOnly: true, rows: 3, ariaLabel: 'Link to what grows' }));
  const size = new TextEncoder().encode(link).length;
  if (!location.protocol.startsWith('http'))
    parts.push(element('p', { textContent: 'It leads to a file on this machine, so there is no QR code.' }));
  else if (size <= longest) parts.push(drawing(qrCode(link)));
  else parts.push(element('p', { textContent: 'It holds edited DNA, which is too long for a QR code.' }));
  panel.open('Share', parts);
  panel.say(said ?? 'The link is shown.');
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
