// Changes to the DNA: crossing with a partner, letters that a group shares, and back to its own.
// Each returns whether the letters changed; then they are to be expressed.

import { crossLetters, NONE, sharedLetters } from './letters.mjs';
import { spaced } from './panel.mjs';

function use(panel, letters, surgery) {
  panel.useLetters(letters, surgery);
  panel.say(panel.name + surgery);
  return true;
}

/** Every gene from the emoji or from its partner, as the seed decides. */
export function cross(panel) {
  const partner = panel.partner();
  if (!partner) return false;
  const crossed = crossLetters(panel.letters, partner, panel.model.get('seed'));
  return use(panel, crossed, `${panel.surgery} crossed with ${spaced(panel.input('partner').value)}`);
}

/** Emoji with a word in their name: whole words where there are any, as in the library's chapters, else any part. */
function group(panel, word) {
  const names = panel.manifold.header.names.map((name) => name.toLowerCase());
  const having = (part, around) =>
    names.flatMap((name, i) => (part && `${around}${name}${around}`.includes(part) ? [i] : []));
  const whole = having(word && `_${word}_`, '_');
  return (whole.length ? whole : having(word, '')).map((i) => panel.lettersOf(i));
}

/** Writes the letters that a group shares into the DNA. */
export function inject(panel) {
  const word = panel.input('group').value.trim().toLowerCase().replaceAll(' ', '_');
  const members = group(panel, word);
  if (!members.length) {
    panel.say(`No emoji has '${word}' in its name.`);
    return false;
  }
  const shared = sharedLetters(members, Number(panel.input('threshold').value));
  const injected = panel.letters.map((letter, i) => (shared[i] === NONE ? letter : shared[i]));
  const count = shared.filter((letter) => letter !== NONE).length;
  return use(panel, injected, `${panel.surgery} with ${count} letters shared by ${members.length} emoji`);
}

/** The emoji's own DNA again, and no mixing. */
export function clean(panel) {
  panel.input('mix').value = 0;
  return use(panel, panel.ownLetters(), '');
}
