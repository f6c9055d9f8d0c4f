// What a group of emoji shares: groups are words of the names, and their shared letters are written into the DNA.

import { thumbnail } from './gallery.mjs';
import { useLetters } from './growth.mjs';
import { genesOf, NONE, recognise, sharedLetters } from './letters.mjs';
import { element } from './panel.mjs';
import { plain, spaced } from './spelling.mjs';

const FEWEST = 4; // members of a group
const MOST = 24; // groups that are offered
const WORDS = 3; // that may name a group
const SHOWN = 3; // thumbnails of each

/** Words, and words in a row, that names share -> the members: [word, [place, …]], large groups first. */
export function groupsOf(names) {
  const members = new Map();
  for (const [i, name] of names.entries()) {
    const words = plain(spaced(name)).split(' ');
    const said = new Set();
    for (let from = 0; from < words.length; from++) {
      for (let to = from + 1; to <= Math.min(words.length, from + WORDS); to++)
        said.add(words.slice(from, to).join(' '));
    }
    for (const word of said) members.set(word, [...(members.get(word) ?? []), i]);
  }
  const named = new Map(); // of those with the same members, the longest name
  for (const [word, of] of members) {
    const key = of.join();
    if (
      of.length >= FEWEST &&
      of.length <= names.length / 2 &&
      word.length > 1 &&
      !(named.get(key)?.[0].length > word.length)
    )
      named.set(key, [word, of]);
  }
  return [...named.values()].sort((a, b) => b[1].length - a[1].length);
}

/** Fills the gallery of groups, that of a word first if one is asked for. */
export function listGroups(panel, asked = '') {
  const { names } = panel.manifold.header;
  const word = plain(asked);
  const all = groupsOf(names);
  const found = word ? all.filter(([name]) => ` ${name}`.includes(` ${word}`)) : all;
  const shown = found.length ? found : all;
  panel.find('.groups').replaceChildren(...shown.slice(0, MOST).map(([name, of]) => groupButton(panel, name, of)));
}

function groupButton(panel, name, members) {
  const { header } = panel.manifold;
  const title = `Write in the letters that “${name}” emoji share`;
  const button = element('button', { type: 'button', title }, { group: name });
  const few = members.filter((_, i) => i % Math.ceil(members.length / SHOWN) === 0);
  const pictures = few.map((index) => thumbnail(panel, { emoji: header.emoji[index], index }));
  button.append(...pictures, element('span', { textContent: `${name} (${members.length})` }));
  button.onclick = () => inject(panel, name, members);
  return button;
}

/** Writes the letters that a group shares into the DNA. */
export function inject(panel, name, members) {
  if (!panel.ready() || !panel.manifold) return; // of another model, which is loading
  panel.decide();
  const { genes, words } = panel.manifold;
  const group = members.map((index) => genesOf(genes, index));
  const shared = sharedLetters(group, words, Number(panel.input('threshold').value));
  const count = shared.filter((letter) => letter !== NONE).length;
  const injected = panel.letters.map((letter, i) => (shared[i] === NONE ? letter : shared[i]));
  const written = `${count.toLocaleString('en')} letters that “${name}” emoji share`;
  useLetters(panel, recognise(injected, panel.bred), `${panel.surgery} with ${written}`);
}
