// The DNA beside the picture: every letter a square, four genes to a row. It is drawn, explained, painted on, and
// edited from the keyboard; letters that mutation replaced flash, stay vivid and are counted.

import { ALPHABET, isSame, LETTER_BITS, LETTERS } from './letters.mjs';
import { pointerOn } from './panel.mjs';

/** Genes beside each other in a row. */
const ACROSS = 4;
const WIDTH = ACROSS * LETTERS;
// Of the letters C, G, A, T and of "none", as [red, green, blue].
const COLOURS = [
  [0x2a, 0x78, 0xb5],
  [0xe0, 0x80, 0x20],
  [0x4c, 0x9f, 0x70],
  [0xc4, 0x4e, 0x8a],
  [0xd8, 0xd8, 0xd8],
];
const PALE = 0.62; // how far a letter that was not replaced fades to white while others are
const FLASH = 900; // milliseconds
const MOVES = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -WIDTH, ArrowDown: WIDTH };

/** The letters with the mutations of now, drawn and counted. */
export function showDNA(panel) {
  const hits = new Uint8Array(panel.letters.length);
  const letters = panel.mutated(panel.letters, hits);
  const fresh = hits.map((hit, i) => (hit && !(panel.hits?.[i] && panel.shown?.[i] === letters[i]) ? 1 : 0));
  panel.shown = letters;
  panel.hits = hits;
  count(panel, letters);
  draw(panel, null);
  if (fresh.includes(1) && !matchMedia('(prefers-reduced-motion: reduce)').matches) flash(panel, fresh);
}

function count(panel, letters) {
  const { hits } = panel;
  const random = hits.reduce((sum, hit) => sum + hit, 0);
  const wrong = letters.reduce((sum, letter, i) => sum + !isSame(letter, panel.letters[i]), 0);
  const changed = panel.letters.reduce((sum, letter, i) => sum + (letter !== panel.bred[i]), 0);
  const all = letters.length.toLocaleString('en');
  const text = random
    ? `${random.toLocaleString('en')} of ${all} letters are random, ${wrong.toLocaleString('en')} of them wrong`
    : `DNA: ${all} letters, ${changed ? `${changed.toLocaleString('en')} changed` : 'as they were learned'}`;
  const between = panel.partner && panel.mix > 0 ? '; what grows lies between the parents' : '';
  panel.find('.counter').textContent = text + between;
  panel.root.dataset.random = random;
}

/** Draws the letters; `lit` (0 to 1 each), if given, is how white they flash. */
function draw(panel, lit) {
  const canvas = panel.find('.dna');
  const { shown, hits } = panel;
  const height = Math.ceil(shown.length / WIDTH);
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext('2d');
  const image = context.createImageData(WIDTH, height);
  const mutating = hits.includes(1);
  shown.forEach((letter, i) => {
    const white = Math.max(mutating && !hits[i] ? PALE : 0, lit?.[i] ?? 0);
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = COLOURS[letter & LETTER_BITS][c] * (1 - white) + 255 * white;
    image.data[4 * i + 3] = 255;
  });
  context.putImageData(image, 0, 0);
}

function flash(panel, fresh) {
  const began = performance.now();
  panel.flashing = began;
  const frame = (now) => {
    if (panel.flashing !== began) return; // another flash began
    const share = Math.min(1, (now - began) / FLASH);
    const light = (1 - share) * (0.5 + 0.5 * Math.cos(6 * Math.PI * share));
    const lit = share < 1 ? Float32Array.from(fresh, (one) => one * light) : null;
    draw(panel, lit);
    if (share < 1) requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}

/** Says what stands in a place. */
function explain(panel, place) {
  const gene = Math.floor(place / LETTERS);
  const text = [...panel.shown.subarray(LETTERS * gene, LETTERS * (gene + 1))]
    .map((letter) => ALPHABET[letter & LETTER_BITS])
    .join('');
  panel.find('.gene').textContent = `gene ${gene + 1}, letter ${(place % LETTERS) + 1}: ${text}`;
  const mark = panel.find('.mark');
  const height = panel.shown.length / WIDTH;
  mark.hidden = false;
  mark.style.left = `${(100 * (gene % ACROSS)) / ACROSS}%`;
  mark.style.top = `${(100 * Math.floor(gene / ACROSS)) / height}%`;
  mark.style.height = `${100 / height}%`;
}

/** Puts a letter in a place, or the one that was bred there if it is the same; the model hears of it. */
function write(panel, place, letter) {
  const bred = panel.bred[place];
  panel.letters[place] = isSame(letter, bred) ? bred : letter;
  panel.shown[place] = panel.letters[place];
  panel.unmix();
  if (!panel.surgery.includes('edited by hand')) panel.surgery += ', edited by hand';
  panel.set('code', panel.code);
  count(panel, panel.shown);
}

/** Painting writes one letter, the one after that where it begins; `express` grows what was written. */
export function listenToBrush(panel, express) {
  const canvas = panel.find('.dna');
  const placeAt = (event) => {
    const [x, y] = pointerOn(canvas, event, WIDTH, canvas.height).map(Math.floor);
    const place = WIDTH * y + x;
    return x >= 0 && x < WIDTH && place >= 0 && place < (panel.shown?.length ?? 0) ? place : -1;
  };
  let brush = null;
  let finger = false; // whether the last touch scrolls where it moves
  const paint = (place) => {
    brush ??= (panel.letters[place] + 1) & 3;
    write(panel, place, brush);
    draw(panel, null);
  };
  canvas.addEventListener('pointermove', (event) => {
    const place = placeAt(event);
    if (place < 0) return;
    explain(panel, place);
    if (brush !== null && event.buttons) paint(place);
  });
  canvas.addEventListener('pointerdown', (event) => {
    const place = placeAt(event);
    finger = event.pointerType === 'touch';
    if (place < 0 || finger || event.button) return;
    canvas.setPointerCapture(event.pointerId);
    paint(place);
  });
  canvas.addEventListener('click', (event) => {
    const place = placeAt(event);
    if (place < 0 || !finger) return; // a tap that did not scroll
    explain(panel, place);
    paint(place);
    brush = null;
    express(panel);
  });
  for (const end of ['pointerup', 'pointercancel']) {
    canvas.addEventListener(end, () => {
      if (brush !== null) express(panel);
      brush = null;
    });
  }
  canvas.addEventListener('pointerleave', () => {
    if (brush === null) panel.find('.mark').hidden = true;
  });
}

/** Arrow keys move a cursor that is read out, space writes the next letter there. */
export function listenToKeys(panel, express) {
  let place = 0;
  panel.find('.dna').addEventListener('keydown', (event) => {
    const move = MOVES[event.key];
    if ((!move && event.key !== ' ') || !panel.shown) return;
    event.preventDefault();
    event.stopPropagation();
    if (move) place = Math.min(panel.shown.length - 1, Math.max(0, place + move));
    else {
      write(panel, place, (panel.letters[place] + 1) & 3);
      express(panel);
    }
    explain(panel, place);
    const gene = Math.floor(place / LETTERS);
    panel.say(`gene ${gene + 1}, letter ${(place % LETTERS) + 1}: ${ALPHABET[panel.letters[place] & LETTER_BITS]}`);
  });
}
