// The DNA strip: one column per gene, one row per letter. It is drawn, painted on, and edited from the keyboard.

import { LETTERS } from './letters.mjs';
import { pointerOn } from './panel.mjs';

const GENES = 512;
// Of the letters C, G, A, T and of "none", as [red, green, blue].
const COLOURS = [
  [0x2a, 0x78, 0xb5],
  [0xe0, 0x80, 0x20],
  [0x4c, 0x9f, 0x70],
  [0xc4, 0x4e, 0x8a],
  [0xd8, 0xd8, 0xd8],
];
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const clamp = (value, count) => Math.min(count - 1, Math.max(0, value));
const isOn = (gene, letter) => gene === clamp(gene, GENES) && letter === clamp(letter, LETTERS);

/** Draws letters on the strip. */
export function drawDNA(panel, letters) {
  const context = panel.find('.dna').getContext('2d');
  const image = context.createImageData(GENES, LETTERS);
  image.data.fill(255);
  letters.forEach((letter, i) => {
    image.data.set(COLOURS[letter], 4 * (GENES * (i % LETTERS) + Math.floor(i / LETTERS)));
  });
  context.putImageData(image, 0, 0);
}

/** Puts a letter in a place; the model hears of it. */
function write(panel, place, letter) {
  panel.letters[place] = letter;
  panel.set('code', panel.code);
}

/** Painting writes one letter, the one after that where it begins; `mutated` and `express` as in growth.mjs. */
export function listenToBrush(panel, mutated, express) {
  const strip = panel.find('.dna');
  let brush = null;
  const paint = (event) => {
    const [gene, letter] = pointerOn(strip, event, GENES, LETTERS).map(Math.floor);
    if (!isOn(gene, letter)) return;
    const place = LETTERS * gene + letter;
    brush ??= (panel.letters[place] + 1) & 3;
    write(panel, place, brush);
    drawDNA(panel, mutated(panel, panel.letters));
  };
  strip.addEventListener('pointerdown', (event) => {
    brush = null;
    paint(event);
    strip.setPointerCapture(event.pointerId);
  });
  strip.addEventListener('pointermove', (event) => {
    if (brush !== null) paint(event);
  });
  strip.addEventListener('pointerup', () => {
    if (brush === null) return;
    brush = null;
    express(panel);
  });
}

/** Arrow keys move a cursor that is read out, space writes the next letter there. */
export function listenToKeys(panel, express) {
  let [gene, letter] = [0, 0];
  panel.find('.dna').addEventListener('keydown', (event) => {
    const move = MOVES[event.key];
    if (!move && event.key !== ' ') return;
    event.preventDefault();
    if (move) [gene, letter] = [clamp(gene + move[0], GENES), clamp(letter + move[1], LETTERS)];
    const place = LETTERS * gene + letter;
    if (!move) {
      write(panel, place, (panel.letters[place] + 1) & 3);
      express(panel);
    }
    panel.say(`gene ${gene + 1}, letter ${letter + 1}: ${'CGAT'[panel.letters[place]]}`);
  });
}
