// The emoji as thumbnails: the first few, which grow at once, then all of them; search, and what a tap does.

import { toBytes } from './base64.mjs';
import { useLetters } from './growth.mjs';
import { crossLetters, genesOf, harden, recognise, unpackLetters, withLevels, writeGenes } from './letters.mjs';
import { loadManifold } from './loading.mjs';
import { element } from './panel.mjs';
import { SIZES, WEIGHTS } from './sizes.mjs';
import { indexOf, meant, spaced } from './spelling.mjs';

/** Weights in 8 bits, each part with a scale of its own -> numbers. */
function scaled(bytes, scales) {
  const small = new Int8Array(bytes.buffer);
  const out = new Float32Array(WEIGHTS);
  let at = 0;
  for (const [part, size] of Object.values(SIZES).entries()) {
    for (const end = at + size; at < end; at++) out[at] = small[at] * scales[part];
  }
  return out;
}

/** One of the first emoji, whose letters and weights travel with the page; `i` counts them. */
function seedling(panel, i) {
  const { emoji, title, weights, scales, rule, genes, letters, picture } = panel.seedlings[i];
  const own = withLevels(unpackLetters(toBytes(letters)), toBytes(genes));
  return { emoji, name: spaced(title), letters: own, weights: scaled(toBytes(weights), scales), rule, picture };
}

/** What is known of an emoji, given as itself or by its name: { emoji, name, letters, … }; null if there is none. */
export function lookUp(panel, key) {
  const first = panel.seedlings.map(({ emoji }) => emoji);
  const early = indexOf(
    key,
    first,
    panel.seedlings.map(({ title }) => title),
  );
  if (early >= 0 && panel.early) return seedling(panel, early);
  if (!panel.manifold) return null;
  const { header, genes, spellings } = panel.manifold;
  const index = indexOf(key, header.emoji, header.names);
  if (index < 0) return null;
  return {
    emoji: header.emoji[index],
    name: spaced(header.names[index]),
    letters: writeGenes(genesOf(genes, index), spellings),
    index,
  };
}

/** The same, loading the manifold where it must; null if no such emoji is there, after saying so. */
export async function find(panel, key) {
  const known = lookUp(panel, key);
  if (known || panel.manifold || !(await loadManifold(panel))) return known;
  return lookUp(panel, key);
}

/** Says that the manifold has no such emoji. */
export function refuseEmoji(panel, key) {
  panel.refuse(`“${key.slice(0, 40)}” is none of the emoji that this model grows. Choose one that is.`);
}

/** Grows an emoji, or its child with the partner that was chosen. */
export function choose(panel, known) {
  panel.decide();
  panel.chosen = known;
  panel.set('emoji', known.emoji);
  breed(panel);
}

/** Chooses the other parent, or none. */
export function pair(panel, known) {
  if (!panel.ready()) return;
  panel.decide();
  panel.partner = known;
  panel.set('partner', known?.emoji ?? '');
  breed(panel);
}

/** Grows the emoji as it is, or the child: every gene from one parent or the other, as the seed decides. */
export function breed(panel) {
  if (!panel.ready()) return;
  const { chosen, partner } = panel;
  showParents(panel);
  panel.bred = partner ? crossLetters(chosen.letters, partner.letters, panel.model.get('seed')) : chosen.letters;
  useLetters(panel, panel.bred.slice(), partner ? ` crossed with ${partner.name}` : '');
}

/** Other random letters for a child that was edited: its letters stay, but what they differ from is the child of this
 *  seed, as it is for whoever follows a link. */
export function recross(panel) {
  const { chosen, partner } = panel;
  panel.bred = crossLetters(chosen.letters, partner.letters, panel.model.get('seed'));
  panel.letters = recognise(panel.letters.map(harden), panel.bred);
}

/** Nothing is chosen any more. */
export function forget(panel) {
  panel.turn++;
  panel.settle();
  panel.chosen = null;
  panel.partner = null;
  panel.letters = null;
  panel.set('partner', '');
  panel.set('code', '');
  showParents(panel);
}

/** Shows both parents, and marks them among the thumbnails. */
function showParents(panel) {
  const { chosen, partner, aim } = panel;
  panel.find('.cross').hidden = partner !== null;
  for (const [slot, known] of Object.entries({ first: chosen, second: partner })) {
    const button = panel.find(`[data-slot=${slot}]`);
    button.replaceChildren(known ? thumbnail(panel, known) : element('span', { textContent: '+' }));
    button.setAttribute('aria-label', known ? `Parent: ${known.name}` : 'Choose the other parent');
    button.setAttribute('aria-pressed', String(slot === aim));
  }
  panel.find('[data-do=single]').hidden = !partner;
  panel.find('[data-do=breed]').hidden = !partner;
  panel.find('.child').hidden = !partner;
  for (const button of panel.findAll('.thumbs button')) {
    const { emoji } = button.dataset;
    button.setAttribute('aria-pressed', String(emoji === chosen?.emoji || emoji === partner?.emoji));
  }
}

/** Which parent the next tap chooses: 'first', 'second', or '' for none. */
export function aimAt(panel, slot) {
  panel.aim = panel.aim === slot ? '' : slot;
  showParents(panel);
  if (panel.aim) panel.say(panel.partner ? 'Tap another parent.' : 'Tap the emoji to cross it with.');
}

/** A small picture of an emoji, the one that the model was trained on, or of a picture of the reader's own. */
export function thumbnail(panel, { emoji, picture, index }) {
  const look = element('span', { className: 'thumb' });
  const early = picture ?? panel.seedlings.find((one) => one.emoji === emoji)?.picture;
  if (early) look.style.backgroundImage = `url(${early})`;
  else if (!emoji)
    look.textContent = '🖼️'; // a picture of which the link has the DNA only
  else if (panel.manifold) {
    const { sprite, header } = panel.manifold;
    const [columns, rows] = header.sprite;
    const [x, y] = [index % columns, Math.floor(index / columns)];
    const share = (at, count) => (count > 1 ? (100 * at) / (count - 1) : 0);
    look.style.backgroundImage = `url(${sprite})`;
    look.style.backgroundPosition = `${share(x, columns)}% ${share(y, rows)}%`;
    look.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
  }
  return look;
}

function thumbButton(panel, known) {
  const button = element('button', { type: 'button', title: known.name }, { emoji: known.emoji });
  button.setAttribute('aria-label', known.name);
  button.setAttribute('aria-pressed', 'false');
  button.append(thumbnail(panel, known));
  button.onclick = () => tap(panel, known.emoji);
  return button;
}

/** Gives the first parent another; where it is still to come, as its model is being loaded, both grow then. */
function join(panel, known) {
  if (panel.waiting && !panel.stuck) {
    panel.set('partner', ''); // so that it is news
    panel.set('partner', known.emoji);
  } else pair(panel, known);
}

/** A thumbnail was tapped: it becomes the parent whose slot was pressed, or grows for itself. */
async function tap(panel, key) {
  const choice = ++panel.choices;
  const known = await find(panel, key);
  if (!known || choice !== panel.choices) return;
  const { aim } = panel;
  panel.aim = '';
  const refused = panel.waiting && panel.kept && !panel.stuck;
  if (aim === 'second' && panel.chosen && !refused) join(panel, known);
  else {
    if (!aim) panel.partner = null; // whoever taps without a slot wants this one
    panel.set('partner', panel.partner?.emoji ?? '');
    choose(panel, known);
  }
}

/** Fills the first row. */
export function listSeedlings(panel) {
  panel
    .find('.seedlings')
    .append(
      ...panel.seedlings.map(({ emoji, title, picture }) =>
        thumbButton(panel, { emoji, name: spaced(title), picture }),
      ),
    );
}

/** Fills the gallery of all. */
export function listAll(panel) {
  const { emoji, names } = panel.manifold.header;
  const all = emoji.map((one, index) => thumbButton(panel, { emoji: one, name: spaced(names[index]), index }));
  panel.find('.all').replaceChildren(...all);
  search(panel, panel.input('search').value); // typed before they were there
  showParents(panel);
}

/** Shows those of the gallery that were meant. */
export function search(panel, text) {
  if (!panel.manifold) return;
  const { emoji, names } = panel.manifold.header;
  const found = new Set(text.trim() ? meant(text, emoji, names) : names.keys());
  const first = Math.min(...found); // it takes the focus, arrow keys go on
  panel.findAll('.all button').forEach((button, i) => {
    button.hidden = !found.has(i);
    button.tabIndex = i === first ? 0 : -1;
  });
  panel.find('.none').hidden = found.size > 0;
}

/** Grows the first emoji that was found. */
export function chooseFound(panel) {
  panel.find('.all button:not([hidden])')?.click();
}

/** Arrow keys, Home and End move through the gallery. */
export function listenToGallery(panel) {
  panel.find('.all').addEventListener('keydown', (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    const shown = panel.findAll('.all button:not([hidden])');
    if (!move || !shown.length) return;
    event.preventDefault();
    const to = shown[Math.min(shown.length - 1, Math.max(0, shown.indexOf(event.target) + move))];
    for (const button of shown) button.tabIndex = button === to ? 0 : -1;
    to.focus();
  });
}

/** Two parents by chance, and a child of theirs. */
export async function surprise(panel) {
  const choice = ++panel.choices;
  if (!panel.manifold && !(await loadManifold(panel))) return;
  if (choice !== panel.choices) return;
  const { emoji } = panel.manifold.header;
  const any = () => lookUp(panel, emoji[Math.floor(Math.random() * emoji.length)]);
  panel.decide();
  panel.chosen = any();
  panel.partner = any();
  panel.set('seed', Math.floor(Math.random() * 1e6));
  panel.set('emoji', panel.chosen.emoji);
  panel.set('partner', panel.partner.emoji);
  breed(panel);
}
