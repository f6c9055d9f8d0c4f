// What automaton.wasm exports, in plain JavaScript, for browsers without WebAssembly SIMD.

import { ALL, GOLDEN, mix } from './random.mjs';
import { CHANNELS, HIDDEN, MAPS, NORMS, SIZES, WEIGHTS } from './sizes.mjs';

/** The automaton's steps on one grid; memory, init, weights, state and step as WebAssembly exports them. */
export class PlainKernel {
  /** Memory for a grid; called once. A state is [(H+2)*(W+2)][CHANNELS], with a border. */
  init(height, width) {
    const size = (height + 2) * (width + 2) * CHANNELS;
    const buffer = new ArrayBuffer(4 * (2 * size + WEIGHTS));
    this.height = height;
    this.width = width;
    this.memory = { buffer };
    this.states = [new Float32Array(buffer, 0, size), new Float32Array(buffer, 4 * size, size)];
    this.parameters = new Float32Array(buffer, 8 * size, WEIGHTS);
    this.maps = new Float32Array(height * width * MAPS);
    this.hidden = new Float32Array(HIDDEN); // of the cell at hand
  }

  /** Where the weights begin in memory, in bytes. */
  weights() {
    return this.parameters.byteOffset;
  }

  /** Where the state begins in memory, in bytes; another place after every step. */
  state() {
    return this.states[0].byteOffset;
  }

  /**
   * One step; a cell fires if its random word is below `limit`. `wrap`: whether the grid wraps round; `norm`: the place
   * in NORMS.
   */
  step(leak, seed, limit, time, wrap, norm) {
    const [before, after] = this.states;
    if (wrap) this.wrapRound(before);
    this.perceive(before);
    const [mean, scale] = this.statistics(NORMS[norm]);
    const key = mix((seed + Math.imul(time, GOLDEN)) >>> 0);
    after.set(before);
    for (let cell = 0; cell < this.height * this.width; cell++) {
      if (limit !== ALL && mix(key ^ mix(cell)) >= limit) continue;
      this.update(after, cell, leak, mean, scale);
    }
    this.states.reverse();
  }

  /** Where a cell begins in a state. */
  at(y, x) {
    return ((y + 1) * (this.width + 2) + x + 1) * CHANNELS;
  }

  /** Makes the border the opposite side. */
  wrapRound(x) {
    const { height, width } = this;
    const row = (width + 2) * CHANNELS;
    for (let y = 0; y < height; y++) {
      x.copyWithin(this.at(y, -1), this.at(y, width - 1), this.at(y, width));
      x.copyWithin(this.at(y, width), this.at(y, 0), this.at(y, 1));
    }
    x.copyWithin(0, height * row, (height + 1) * row);
    x.copyWithin((height + 1) * row, row, 2 * row);
  }

  /** Fills the maps: every cell's channels, and what the two Sobel filters see of them. */
  perceive(x) {
    const { height, width, maps } = this;
    const [c, r] = [CHANNELS, (width + 2) * CHANNELS]; // one cell on, one row on
    for (let j = 0, m = 0; j < height; j++) {
      for (let k = 0; k < width; k++, m += MAPS - c) {
        for (let o = this.at(j, k), end = o + c; o < end; o++, m++) {
          maps[m] = x[o];
          maps[m + c] = (x[o - r + c] - x[o - r - c] + x[o + r + c] - x[o + r - c] + 2 * (x[o + c] - x[o - c])) / 8;
          maps[m + 2 * c] = (x[o + r - c] - x[o - r - c] + x[o + r + c] - x[o - r + c] + 2 * (x[o + r] - x[o - r])) / 8;
        }
      }
    }
  }

  /** Mean and reciprocal deviation of every map over the grid; 0 and 1 of those that are not normalised. */
  statistics(norm) {
    const { maps } = this;
    const cells = this.height * this.width;
    const mean = new Float64Array(MAPS);
    const square = new Float64Array(MAPS);
    for (let i = 0; i < maps.length; i++) mean[i % MAPS] += maps[i] / cells;
    for (let i = 0; i < maps.length; i++) square[i % MAPS] += (maps[i] - mean[i % MAPS]) ** 2 / cells;
    const scale = square.map((value) => 1 / Math.sqrt(value + 1e-5));
    const first = { all: 0, sobel: CHANNELS, none: MAPS }[norm]; // of the normalised maps
    return [mean.fill(0, 0, first), scale.fill(1, 0, first)];
  }

  /** Adds to one cell what the rule makes of its maps. */
  update(after, cell, leak, mean, scale) {
    const { parameters: w, hidden, width } = this;
    const [b1, w2, b2] = [SIZES.w1, SIZES.w1 + SIZES.b1, WEIGHTS - SIZES.b2];
    const p = this.maps.subarray(cell * MAPS, (cell + 1) * MAPS);
    for (let q = 0; q < MAPS; q++) p[q] = (p[q] - mean[q]) * scale[q];
    for (let h = 0; h < HIDDEN; h++) {
      let sum = w[b1 + h];
      for (let q = 0; q < MAPS; q++) sum += w[h * MAPS + q] * p[q];
      hidden[h] = Math.max(sum, 0);
    }
    const at = this.at(Math.floor(cell / width), cell % width);
    for (let q = 0; q < CHANNELS; q++) {
      let sum = w[b2 + q];
      for (let h = 0; h < HIDDEN; h++) sum += w[w2 + q * HIDDEN + h] * hidden[h];
      after[at + q] += leak * sum;
    }
  }
}
