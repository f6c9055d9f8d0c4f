// DNA as letters: a Uint8Array of genes x 16, each 0 to 3 for C, G, A, T, or 4 for "none".

import { limitOf, mix } from './random.mjs';

/** Letters of one gene. */
export const LETTERS = 16;
/** The letter that says nothing. */
export const NONE = 4;
/** How letters 0 to 3 are written. */
export const ALPHABET = 'CGAT';

/** dna.seeded_mutation of the library: the same letters for the same seed, and more of them at a higher rate.
 *  `hits`, a Uint8Array as long, becomes 1 where a letter was drawn anew. */
export function mutate(letters, rate, seed, hits = null) {
  const limit = limitOf(rate);
  const key = mix(seed >>> 0);
  const out = new Uint8Array(letters);
  hits?.fill(0);
  if (rate <= 0) return out;
  for (let i = 0; i < out.length; i++) {
    const word = mix(key ^ mix(i));
    if (word >= limit && rate < 1) continue;
    out[i] = mix(word) >>> 30;
    if (hits) hits[i] = 1;
  }
  return out;
}

/** Letters -> bytes, four letters to a byte; "none" cannot be written and becomes letter 0. */
export function packLetters(letters) {
  const out = new Uint8Array(letters.length / 4);
  for (let i = 0; i < letters.length; i++) out[i >> 2] |= (letters[i] & 3) << (2 * (i & 3));
  return out;
}

/** The letters of one image out of the packed tensor (N, bytes). */
export function unpackLetters({ shape, data }, image) {
  const out = new Uint8Array(4 * shape[1]);
  for (let i = 0; i < out.length; i++) out[i] = (data[image * shape[1] + (i >> 2)] >> (2 * (i & 3))) & 3;
  return out;
}

/** The letters that more than `threshold` of a group share, else NONE. */
export function sharedLetters(group, threshold) {
  const out = new Uint8Array(group[0].length).fill(NONE);
  const count = new Uint16Array(4);
  for (let i = 0; i < out.length; i++) {
    count.fill(0);
    for (const letters of group) count[letters[i]]++;
    for (let letter = 0; letter < 4; letter++) if (count[letter] > threshold * group.length) out[i] = letter;
  }
  return out;
}

/** Every gene from one parent or the other, as the seed decides. */
export function crossLetters(one, two, seed) {
  const key = mix(seed >>> 0);
  return one.map((letter, i) => (mix(key ^ mix(Math.floor(i / LETTERS))) & 1 ? two[i] : letter));
}
