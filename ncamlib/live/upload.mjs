// A picture of the reader's own: read, encoded as DNA by the worker, and grown.

import { choose } from './gallery.mjs';
import { writeGenes } from './letters.mjs';
import { loadFile, loadManifold } from './loading.mjs';

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

/** Reads a picture and grows it from its DNA; the first one makes the encoder be loaded. */
export async function upload(panel, file) {
  const { size } = panel.seedlings[0].rule;
  let image;
  try {
    image = await readPicture(file, size);
  } catch {
    panel.say('This file is not a picture that the browser can read: choose a PNG or JPEG.');
    return;
  }
  const choice = ++panel.choices;
  if (!(await loadManifold(panel))) return;
  panel.say('Reading the picture…');
  try {
    panel.encoder ??= loadEncoder(panel);
    await panel.encoder;
    const { genes } = await panel.ask({ type: 'encode', image, side: size });
    if (choice !== panel.choices) return; // the reader chose something else by now
    choose(panel, { ...pictured(panel, genes), name: 'your picture', picture: URL.createObjectURL(file) });
  } catch (error) {
    panel.encoder = null;
    panel.warn(error.message);
  }
}

/** What is known of a picture by its genes. */
export function pictured(panel, genes) {
  return { emoji: '', name: 'a picture', genes, letters: writeGenes(genes, panel.manifold.spellings) };
}

async function loadEncoder(panel) {
  const buffer = await loadFile(panel, 'encoder', () => {});
  await panel.ask({ type: 'encoder', buffer }, [buffer]);
}
