// One automaton on a grid: seed, step, wound, and its picture.

import { PlainKernel } from './kernel.mjs';
import { ALL, limitOf } from './random.mjs';
import { CHANNELS, NORMS, WEIGHTS } from './sizes.mjs';

/** Runs in WebAssembly, or in plain JavaScript if `module` is null. The state is [(H+2)*(W+2)][16] with a border. */
export class Automaton {
  constructor(module, side) {
    this.kernel = module ? new WebAssembly.Instance(module).exports : new PlainKernel();
    this.side = side;
    this.kernel.init(side, side);
    this.seed();
  }

  view(at, count) {
    return new Float32Array(this.kernel.memory.buffer, at, count);
  }

  /** The numbers of all cells, border included. */
  get state() {
    return this.view(this.kernel.state(), (this.side + 2) ** 2 * CHANNELS);
  }

  /** A copy of the visible channels of all cells. */
  get colours() {
    return this.state.filter((_, i) => i % CHANNELS < 4);
  }

  /** The rule, as decoder.mjs predicts it. */
  set weights(values) {
    this.view(this.kernel.weights(), WEIGHTS).set(values);
  }

  /** Where a cell begins in the state. */
  at(x, y) {
    return ((y + 1) * (this.side + 2) + x + 1) * CHANNELS;
  }

  /** A blank grid, without a seed. */
  clear() {
    this.state.fill(0);
    this.time = 0;
  }

  /** A blank grid whose centre has alpha and hidden channels 1. */
  seed() {
    this.clear();
    this.plant(this.side >> 1, this.side >> 1);
    this.time = 0;
  }

  /** A seed in one cell, whatever grows around it. */
  plant(x, y) {
    if (x < 0 || y < 0 || x >= this.side || y >= this.side) return;
    const at = this.at(x, y);
    this.state.fill(1, at + 3, at + CHANNELS);
  }

  /** Kill all channels within a circle. */
  wound(x, y, radius) {
    const { state, side } = this;
    for (let j = Math.max(0, Math.ceil(y - radius)); j <= Math.min(side - 1, y + radius); j++) {
      for (let i = Math.max(0, Math.ceil(x - radius)); i <= Math.min(side - 1, x + radius); i++) {
        const at = this.at(i, j);
        if ((i - x) ** 2 + (j - y) ** 2 <= radius ** 2) state.fill(0, at, at + CHANNELS);
      }
    }
  }

  /**
   * n steps of a rule { leak, wrap, norm, size }; which cells fire depends on the seed, the step and the cell only.
   * On another grid than the rule's own the leak factor is scaled: Growing.leak_scale of the library.
   */
  step({ leak, wrap, norm, size }, fireRate, seed, n = 1) {
    const maps = NORMS.indexOf(norm);
    if (maps < 0) throw new Error(`no such norm: ${norm}`);
    const limit = fireRate >= 1 ? ALL : Math.min(limitOf(fireRate), ALL - 1);
    const factor = (leak * size) / this.side;
    for (let i = 0; i < n; i++) this.kernel.step(factor, seed, limit, this.time++, wrap ? 1 : 0, maps);
  }

  /** The picture, premultiplied RGBA over a background -> RGBA bytes. */
  paint(out, background = [255, 255, 255]) {
    const { state, side } = this;
    for (let y = 0, o = 0; y < side; y++) {
      for (let x = 0; x < side; x++, o += 4) {
        const at = this.at(x, y);
        const rest = 1 - state[at + 3];
        for (let c = 0; c < 3; c++) out[o + c] = 255 * state[at + c] + rest * background[c];
        out[o + 3] = 255;
      }
    }
    return out;
  }

  /** One channel, red where positive and blue where negative -> RGBA bytes. */
  paintChannel(out, channel) {
    const { state, side } = this;
    let bound = 1e-6;
    for (let i = channel; i < state.length; i += CHANNELS) bound = Math.max(bound, Math.abs(state[i]));
    for (let y = 0, o = 0; y < side; y++) {
      for (let x = 0; x < side; x++, o += 4) {
        const value = state[this.at(x, y) + channel] / bound;
        const fade = 255 * (1 - Math.abs(value));
        out[o] = value > 0 ? 255 : fade;
        out[o + 1] = fade;
        out[o + 2] = value < 0 ? 255 : fade;
        out[o + 3] = 255;
      }
    }
    return out;
  }

  /** All channels as a mosaic of four by four -> RGBA bytes of a picture four times as wide. */
  paintMosaic(out) {
    const { side } = this;
    const tile = new Uint8ClampedArray(4 * side * side);
    for (let c = 0; c < CHANNELS; c++) {
      this.paintChannel(tile, c);
      for (let y = 0; y < side; y++) {
        const row = tile.subarray(4 * side * y, 4 * side * (y + 1));
        out.set(row, 4 * (((c >> 2) * side + y) * 4 * side + (c & 3) * side));
      }
    }
    return out;
  }
}
