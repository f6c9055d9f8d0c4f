// Emoji in any usual spelling: itself with and without selectors, :name:, U+1F600, parts of a name.

const SELECTORS = /[\ufe0e\ufe0f]/g;
const CODES = /^(?:(?:u\+|\\u|0x)\{?[0-9a-f]{2,6}\}?[\s,]*)+$/i;

/** A name of the data as people write it. */
export const spaced = (name) => name.replaceAll('_', ' ');

/** A name or what was typed, so that spellings of the same are equal. */
export function plain(text) {
  const said = text
    .normalize('NFKD')
    .replace(SELECTORS, '')
    .replace(/[\u0300-\u036f]/g, '')
    .toLowerCase();
  return said.replace(/[\s_:\-–’'.,()]+/g, ' ').trim();
}

/** An emoji without what only decides how it is drawn. */
export const bare = (emoji) => emoji.replace(SELECTORS, '');

/** U+1F600 and the like as the characters they stand for; other text as it is. */
export function spelledOut(text) {
  if (!CODES.test(text.trim())) return text;
  const codes = [...text.matchAll(/[0-9a-f]{2,6}/gi)].map(([digits]) => Number.parseInt(digits, 16));
  return codes.every((code) => code <= 0x10ffff) ? String.fromCodePoint(...codes) : text;
}

/** The places of those that were meant: the emoji itself, else names that hold all the words. */
export function meant(text, emoji, names) {
  const wanted = bare(spelledOut(text).trim());
  const itself = emoji.flatMap((one, i) => (wanted && bare(one) === wanted ? [i] : []));
  if (itself.length) return itself;
  const words = plain(text).split(' ');
  return names.flatMap((name, i) => {
    const has = ` ${plain(name)}`;
    return words.every((word) => has.includes(word)) ? [i] : [];
  });
}

/** The place of an emoji that is given as itself or by its whole name; -1 if it is none of them. */
export function indexOf(key, emoji, names) {
  const wanted = bare(spelledOut(key).trim());
  if (!wanted) return -1;
  const itself = emoji.findIndex((one) => bare(one) === wanted);
  return itself >= 0 ? itself : names.findIndex((name) => plain(name) === plain(key) && plain(key) !== '');
}
