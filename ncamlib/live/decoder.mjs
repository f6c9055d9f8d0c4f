// From DNA to an automaton: letters -> embedding -> weights. Names follow ncamlib.

import { linear, residual } from './layers.mjs';
import { LETTER_BITS, LETTERS, levelOf, NONE } from './letters.mjs';
import { HIDDEN, MAPS, SIZES } from './sizes.mjs';

/** The letters of one gene as probabilities: four numbers each, a quarter each for "none"; `words` has those of letters
 *  that the model wrote. */
function spell(letters, words, out) {
  out.fill(0);
  for (let l = 0; l < LETTERS; l++) {
    const letter = letters[l] & LETTER_BITS;
    if (letter === NONE) out.fill(0.25, 4 * l, 4 * l + 4);
    else if (letters[l] === letter) out[4 * l + letter] = 1;
    else {
      const at = 4 * (LETTERS * levelOf(letters[l]) + l);
      const [c, g, a, t] = words.subarray(at, at + 4);
      for (let k = 0; k < 4; k++) out[4 * l + k] = words[at + k] / (c + g + a + t);
    }
  }
  return out;
}

/** Letters -> embedding, one number per gene: DNACode.decode of the library. */
export function decodeGenes(tensors, letters) {
  const out = new Float32Array(letters.length / LETTERS);
  const spelled = new Float32Array(4 * LETTERS);
  for (let gene = 0; gene < out.length; gene++) {
    const own = letters.subarray(LETTERS * gene, LETTERS * (gene + 1));
    let x = linear(tensors, 'code.from_letters', spell(own, tensors.words.data, spelled));
    for (let block = 0; block < 4; block++) x = residual(tensors, `code.from_gene.${block}`, x);
    out[gene] = linear(tensors, 'code.from_gene.4', x)[0];
  }
  return out;
}

/** Embedding -> all weights of one automaton, [w1 | b1 | w2 | b2]: the parameter predictor. */
export function predict(tensors, embedding) {
  let x = embedding;
  for (let block = 0; tensors[`predictor.body.${block}.inner.weight`]; block++) {
    x = residual(tensors, `predictor.body.${block}`, x);
  }
  const unit = x.length ** -0.5;
  const first = MAPS ** -0.5;
  const second = HIDDEN ** -0.5;
  const out = linear(
    tensors,
    'predictor',
    x.map((value) => value * unit),
  );
  return out.map((value, i) => value * (i < SIZES.w1 + SIZES.b1 ? first : second));
}
