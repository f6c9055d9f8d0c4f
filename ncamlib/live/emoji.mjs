// Which emoji grows: the instant row, the list of all, a link's wish.

import { toBytes } from './base64.mjs';
import { express, grow } from './growth.mjs';
import { unpackLetters } from './letters.mjs';
import { loadFile } from './loading.mjs';
import { element, spaced } from './panel.mjs';
import { fromHalf } from './safetensors.mjs';
import { WEIGHTS } from './sizes.mjs';

/** The place of an emoji, given as itself or by its name, in the manifold; -1 where it is not there. */
export function indexOf(panel, key) {
  const { emoji, names } = panel.manifold.header;
  return Math.max(emoji.indexOf(key), names.indexOf(key));
}

/** Grows an emoji of the manifold from its own DNA. */
export function choose(panel, index) {
  const { emoji, names } = panel.manifold.header;
  panel.settle();
  panel.own = panel.lettersOf(index);
  panel.name = spaced(names[index]);
  panel.input('mix').value = 0;
  panel.set('emoji', emoji[index]);
  panel.useLetters(panel.ownLetters(), '');
  for (const button of panel.findAll('.grid button')) {
    button.setAttribute('aria-selected', button.dataset.index === String(index));
  }
  panel.say(panel.name);
  express(panel);
}

/** Fills the instant row. */
export function listSeedlings(panel) {
  panel.seedlings.forEach(({ emoji, title }, i) => {
    const button = element('button', { textContent: emoji, title: spaced(title) }, { i });
    button.setAttribute('aria-label', button.title);
    button.onclick = () => startSeedling(panel, i);
    panel.find('.seedlings').append(button);
  });
}

/** Grows an emoji of the instant row, whose weights travel with the page; `clicked`: the reader wants it. */
export function startSeedling(panel, i, clicked = true) {
  const { emoji, title, weights, rule } = panel.seedlings[i];
  panel.seedling = i;
  for (const button of panel.findAll('.seedlings button')) {
    button.setAttribute('aria-pressed', button.dataset.i === String(i));
  }
  if (panel.manifold) {
    choose(panel, indexOf(panel, emoji));
    return;
  }
  panel.settle();
  panel.name = spaced(title);
  if (clicked) {
    panel.asked = { emoji, code: '' };
    panel.set('code', '');
    panel.set('emoji', emoji);
  }
  panel.post({ type: 'weights', weights: fromHalf(toBytes(weights).buffer, 0, WEIGHTS), rule });
  panel.say(panel.name);
  grow(panel);
}

/** Grows the letters of a code from a link or from Python; '' is the emoji's own. */
export function useCode(panel, code) {
  try {
    panel.useLetters(code ? readCode(code, panel.own.length / 4) : panel.ownLetters(), '');
    express(panel);
  } catch {
    panel.refuse('The DNA in this link is damaged, so nothing grows from it. Choose an emoji to grow.');
  }
}

function readCode(code, length) {
  const data = toBytes(code);
  if (data.length !== length) throw new Error(`${data.length} bytes in place of ${length}`);
  return unpackLetters({ shape: [1, length], data }, 0);
}

/** Loads the letters of all emoji and the decoder, once; the worker answers with the letters. */
export async function loadManifold(panel) {
  const progress = panel.find('progress');
  if (panel.manifold || !progress.hidden) return;
  progress.hidden = false;
  try {
    const buffer = await loadFile(panel.model, 'manifold', (share) => {
      progress.value = share;
    });
    panel.post({ type: 'manifold', buffer }, [buffer]);
  } catch (error) {
    panel.warn(error.message);
    progress.hidden = true;
  }
}

/** The manifold is there: shows all emoji and grows what was asked for. */
export function openManifold(panel, header, letters) {
  panel.manifold = { header, letters };
  panel.find('.load').hidden = true;
  panel.find('.loaded').hidden = false;
  listEmoji(panel);
  growAsked(panel);
}

/** Grows the emoji and the DNA that a link or Python asks for, out of the manifold. */
export function growAsked(panel) {
  const { emoji, code } = panel.asked;
  const index = emoji ? indexOf(panel, emoji) : 0;
  if (index < 0) {
    refuseEmoji(panel, emoji);
    return;
  }
  choose(panel, index);
  if (code) useCode(panel, code);
}

/** Says that the manifold has no such emoji. */
export function refuseEmoji(panel, emoji) {
  panel.refuse(`“${emoji.slice(0, 40)}” is none of the emoji that this model grows. Choose one that is.`);
}

function listEmoji(panel) {
  const { emoji, names } = panel.manifold.header;
  const list = panel.find('datalist');
  list.id = `names-${Math.random().toString(36).slice(2)}`;
  panel.input('partner').setAttribute('list', list.id);
  names.forEach((name, index) => {
    const look = { textContent: emoji[index], title: spaced(name), tabIndex: index ? -1 : 0 };
    const button = element('button', look, { index, name: name.toLowerCase() });
    button.setAttribute('role', 'option');
    button.setAttribute('aria-label', button.title);
    button.onclick = () => choose(panel, index);
    panel.find('.grid').append(button);
    list.append(element('option', { value: name }));
  });
}

/** Shows those emoji of the list that have a text in their names. */
export function search(panel, text) {
  for (const button of panel.findAll('.grid button')) {
    button.hidden = !button.dataset.name.includes(text.toLowerCase());
  }
}

/** Arrow keys, Home and End move through the list. */
export function listenToList(panel) {
  panel.find('.grid').addEventListener('keydown', (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    const shown = panel.findAll('.grid button:not([hidden])');
    if (!move || !shown.length) return;
    event.preventDefault();
    const to = shown[Math.min(shown.length - 1, Math.max(0, shown.indexOf(event.target) + move))];
    for (const button of shown) button.tabIndex = button === to ? 0 : -1;
    to.focus();
  });
}
