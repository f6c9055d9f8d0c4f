// DNA as letters: a Uint16Array of genes x 16. The lowest three bits are the letter: 0 to 3 for C, G, A, T, or 4 for
// "none". Above them is the level of the gene, plus 1, where the model wrote the letter: it has the probabilities that
// this level's word has there. A letter that was drawn at random is hard, as is one that was painted or injected,
// unless it reads as the one that was there before: nothing is above it.

import { limitOf, mix } from './random.mjs';

/** Letters of one gene. */
export const LETTERS = 16;
/** The bits that are the letter. */
export const LETTER_BITS = 7;
/** The letter that says nothing. */
export const NONE = 4;
/** How letters 0 to 3 are written. */
export const ALPHABET = 'CGAT';

/** The level of a gene of which the model wrote this letter. */
export const levelOf = (letter) => (letter >> 3) - 1;

/** dna.seeded_mutation of the library: the same letters for the same seed, and more of them at a higher rate.
 *  `hits`, a Uint8Array as long, becomes 1 where a letter was drawn anew. */
export function mutate(letters, rate, seed, hits = null) {
  const limit = limitOf(rate);
  const key = mix(seed >>> 0);
  const out = new Uint16Array(letters);
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

/** Bytes -> letters, all hard. */
export function unpackLetters(bytes) {
  return Uint16Array.from({ length: 4 * bytes.length }, (_, i) => (bytes[i >> 2] >> (2 * (i & 3))) & 3);
}

/** The most probable letters of every level's word, one after the other; `words` has four parts for each letter. */
export function likeliest(words) {
  return Uint8Array.from({ length: words.length / 4 }, (_, i) => {
    const four = words.subarray(4 * i, 4 * i + 4);
    return four.indexOf(Math.max(...four));
  });
}

/** Letters as the model wrote them for these levels of genes. */
export const withLevels = (letters, genes) =>
  letters.map((letter, i) => letter | ((genes[Math.floor(i / LETTERS)] + 1) << 3));

/** The levels of genes -> their letters, as the model writes them; `spellings` as `likeliest` gives them. */
export function writeGenes(genes, spellings) {
  const letters = new Uint16Array(LETTERS * genes.length);
  genes.forEach((level, gene) => {
    letters.set(spellings.subarray(LETTERS * level, LETTERS * (level + 1)), LETTERS * gene);
  });
  return withLevels(letters, genes);
}

/** The genes of one image out of the tensor (N, genes). */
export function genesOf({ shape, data }, image) {
  return data.subarray(image * shape[1], (image + 1) * shape[1]);
}

/** Whether two letters read the same, hard or soft. */
export const isSame = (one, two) => ((one ^ two) & LETTER_BITS) === 0;

/** A letter without what stands above it. */
export const harden = (letter) => letter & LETTER_BITS;

/** Letters as given; where they are the same as known ones, these, with their probabilities. */
export const recognise = (letters, known) => letters.map((letter, i) => (isSame(letter, known[i]) ? known[i] : letter));

/** The letters whose probability, averaged over a group, exceeds `threshold` (0.5 or more), else NONE. `group` has the
 *  levels of each one's genes, `words` four parts for each letter of every level's word. */
export function sharedLetters(group, words, threshold) {
  const chances = Float32Array.from(words, (part, i) => {
    const first = i - (i % 4);
    return part / (words[first] + words[first + 1] + words[first + 2] + words[first + 3]);
  });
  const out = new Uint16Array(LETTERS * group[0].length).fill(NONE);
  const sums = new Float64Array(4);
  for (let i = 0; i < out.length; i++) {
    sums.fill(0);
    for (const genes of group) {
      const at = 4 * (LETTERS * genes[Math.floor(i / LETTERS)] + (i % LETTERS));
      for (let letter = 0; letter < 4; letter++) sums[letter] += chances[at + letter];
    }
    const kept = sums.findIndex((sum) => sum > threshold * group.length);
    if (kept >= 0) out[i] = kept;
  }
  return out;
}

/** Every gene from one parent or the other, as the seed decides. */
export function crossLetters(one, two, seed) {
  const key = mix(seed >>> 0);
  return one.map((letter, i) => (mix(key ^ mix(Math.floor(i / LETTERS))) & 1 ? two[i] : letter));
}
