// Reads what a link to a page asks the live panel for.

// The numbers of a link: the trait, from, to.
const NUMBERS = {
  mutation: ['mutation_rate', 0, 1],
  fire: ['fire_rate', 0.05, 1],
  seed: ['seed', 0, 2 ** 32 - 1],
  mix: ['mix', 0, 1],
  side: ['side', 1, 256],
};
const WHOLE = ['seed', 'side'];

const KEYS = ['emoji', 'partner', 'code', 'regime'];

/** What is wrong with a number of the link, in words; '' if nothing is. */
function wrong(key, text) {
  const [, from, to] = NUMBERS[key];
  const [value, kind] = [Number(text), WHOLE.includes(key) ? 'a whole number ' : ''];
  if (text.trim() && value >= from && value <= to && (!kind || Number.isInteger(value))) return '';
  return `${key}=${text.slice(0, 20)} (it must be ${kind}from ${from} to ${to})`;
}

/** Sets what the link says, the rest back to how the page began; a link to a heading changes nothing. One that cannot
 *  be followed is not followed by half: `complaint` says why. */
export function follow(set, initial) {
  const link = new URLSearchParams(location.hash.slice(1));
  const given = Object.keys(NUMBERS).filter((key) => link.has(key));
  if (!given.length && !KEYS.some((key) => link.has(key))) return;
  const faults = given.map((key) => wrong(key, link.get(key))).filter(Boolean);
  if (faults.length) {
    set('complaint', `This link cannot be followed: ${faults.join(', ')}. Choose an emoji to grow.`);
    return;
  }
  for (const [key, [trait]] of Object.entries(NUMBERS))
    set(trait, given.includes(key) ? Number(link.get(key)) : initial[trait]);
  for (const key of KEYS) set(key, link.get(key) ?? initial[key]);
  set('complaint', '');
}
