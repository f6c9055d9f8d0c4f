// A picture of the reader's own: read, encoded as DNA by the worker, and grown.

import { express } from './growth.mjs';
import { loadFile } from './loading.mjs';

/** The picture of a file, fitted into a square, as premultiplied planes (4, side, side) in [0, 1]. */
async function readPicture(file, side) {
  const bitmap = await createImageBitmap(file);
  const context = new OffscreenCanvas(side, side).getContext('2d');
  const scale = side / Math.max(bitmap.width, bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  context.imageSmoothingQuality = 'high';
  context.drawImage(bitmap, (side - width) / 2, (side - height) / 2, width, height);
  const pixels = context.getImageData(0, 0, side, side).data;
  const cells = side * side;
  const out = new Float32Array(4 * cells);
  for (let i = 0; i < cells; i++) {
    const alpha = pixels[4 * i + 3] / 255;
    for (let k = 0; k < 3; k++) out[k * cells + i] = (pixels[4 * i + k] / 255) * alpha;
    out[3 * cells + i] = alpha;
  }
  return out;
}

/** Reads a picture; the first one makes the encoder be loaded. */
export async function upload(panel, file) {
  try {
    panel.image = await readPicture(file, panel.manifold.header.size);
  } catch {
    panel.say('This file is not a picture that the browser can read: choose a PNG or JPEG.');
    return;
  }
  panel.say('Reading the picture...');
  if (panel.encoder) {
    encodePicture(panel);
    return;
  }
  try {
    panel.encoder = await loadFile(panel.model, 'encoder', () => {});
    panel.post({ type: 'encoder', buffer: panel.encoder }, [panel.encoder]);
  } catch (error) {
    panel.encoder = null;
    panel.say(error.message);
  }
}

/** Has the worker write the picture's DNA; it must have the encoder. */
export function encodePicture(panel) {
  panel.post({ type: 'encode', image: panel.image, side: panel.manifold.header.size });
}

/** Grows the picture from the letters that the worker has written. */
export function adoptPicture(panel, letters) {
  panel.settle();
  panel.own = letters;
  panel.name = 'your picture';
  panel.input('mix').value = 0;
  panel.useLetters(panel.ownLetters(), '');
  express(panel);
}
