// From a picture to its genes: picture -> embedding -> levels. Names follow ncamlib.

import { convolve, convolvedResidual, linear, residual } from './layers.mjs';

/** The means of the maps (filters, n, n): of each map, of its columns, of its rows, and of each cell over all maps. */
function means(x, filters, n) {
  const columns = filters;
  const rows = columns + filters * n;
  const cells = rows + filters * n;
  const out = new Float32Array(cells + n * n);
  for (let c = 0, i = 0; c < filters; c++) {
    for (let y = 0; y < n; y++) {
      for (let j = 0; j < n; j++, i++) {
        out[c] += x[i] / n / n;
        out[columns + c * n + j] += x[i] / n;
        out[rows + c * n + y] += x[i] / n;
        out[cells + y * n + j] += x[i] / filters;
      }
    }
  }
  return out;
}

/** A picture, premultiplied RGBA (4, side, side) in [0, 1] -> embedding: the continuous encoder. */
export function embed(tensors, image, side) {
  let x = convolve(tensors, 'encoder.stem', image, side);
  for (let block = 0; tensors[`encoder.body.${block}.inner.weight`]; block++) {
    x = convolvedResidual(tensors, `encoder.body.${block}`, x, side);
  }
  const centre = tensors['encoder.project.centre'].data;
  const gain = tensors['encoder.project.gain'].data[0];
  const seen = means(x, x.length / side / side, side).map((value, i) => (value - centre[i]) * gain);
  let embedding = linear(tensors, 'encoder.project', seen);
  for (let block = 0; tensors[`encoder.head.${block}.inner.weight`]; block++) {
    embedding = residual(tensors, `encoder.head.${block}`, embedding);
  }
  return embedding;
}

/** Embedding -> the level of every gene, of levels that are evenly spaced. */
export function nearest(levels, embedding) {
  const last = levels.length - 1;
  const step = (levels[last] - levels[0]) / last;
  return Uint8Array.from(embedding, (value) => Math.min(last, Math.max(0, Math.round((value - levels[0]) / step))));
}
