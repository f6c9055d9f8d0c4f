// The manifold in the browser: DNA -> embedding -> weights -> automaton. No imports, no DOM.
// Letters are a Uint8Array of genes x 16, each 0 to 3, or 4 for "none". Names follow ncamlib.

export const CHANNELS = 16, HIDDEN = 128, MAPS = 3 * CHANNELS;
export const SIZES = { w1: HIDDEN * MAPS, b1: HIDDEN, w2: CHANNELS * HIDDEN, b2: CHANNELS };
export const WEIGHTS = SIZES.w1 + SIZES.b1 + SIZES.w2 + SIZES.b2;
export const NONE = 4;
const ALL = 0xffffffff, GOLDEN = 0x9e3779b9;

/** fire.mix of the library: a bijection of 32-bit words. */
export function mix(x) {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/** The limit below which a word has probability `rate`. */
export const limitOf = (rate) => Math.min(Math.round(rate * 2 ** 32), ALL) >>> 0;

/** dna.seeded_mutation of the library: the same letters for the same seed, and more of them at a higher rate. */
export function mutate(letters, rate, seed) {
  const limit = limitOf(rate), key = mix(seed >>> 0), out = new Uint8Array(letters);
  if (rate <= 0) return out;
  for (let i = 0; i < out.length; i++) {
    const word = mix(key ^ mix(i));
    if (word < limit || rate >= 1) out[i] = mix(word) >>> 30;
  }
  return out;
}

const HALF = new Float32Array(65536);
for (let h = 0; h < 65536; h++) {
  const sign = h & 0x8000 ? -1 : 1, e = (h >> 10) & 31, m = h & 1023;
  HALF[h] = sign * (e === 0 ? m * 2 ** -24 : e === 31 ? (m ? NaN : Infinity) : (1 + m / 1024) * 2 ** (e - 15));
}

/** Half precision, little endian -> Float32Array. */
export function fromHalf(buffer, offset, count) {
  const words = new Uint16Array(buffer.slice(offset, offset + 2 * count)), out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = HALF[words[i]];
  return out;
}

/** A .safetensors file -> { header, tensors: { name: { shape, data: Float32Array | Int8Array } } }. */
export function parse(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const table = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const tensors = {};
  for (const [name, about] of Object.entries(table)) {
    if (name === '__metadata__') continue;
    const [from, to] = about.data_offsets, at = 8 + length + from, bytes = to - from;
    const data = about.dtype === 'F16' ? fromHalf(buffer, at, bytes / 2)
      : about.dtype === 'F32' ? new Float32Array(buffer.slice(at, at + bytes))
      : about.dtype === 'I8' ? new Int8Array(buffer, at, bytes)
      : new Uint8Array(buffer, at, bytes);
    tensors[name] = { shape: about.shape, data };
  }
  return { header: table.__metadata__ ? JSON.parse(table.__metadata__.ncam) : {}, tensors };
}

/** out = W x + b for one vector; W (M, N) may be int8 with a scale per row. */
function linear(tensors, name, x) {
  const { shape: [rows, columns], data } = tensors[`${name}.weight`];
  const scale = tensors[`${name}.weight.scale`]?.data, bias = tensors[`${name}.bias`].data;
  const out = new Float32Array(rows);
  for (let r = 0, i = 0; r < rows; r++) {
    let a = 0, b = 0, c = 0, d = 0;
    let k = 0;
    for (; k + 4 <= columns; k += 4, i += 4) {
      a += data[i] * x[k]; b += data[i + 1] * x[k + 1]; c += data[i + 2] * x[k + 2]; d += data[i + 3] * x[k + 3];
    }
    for (; k < columns; k++, i++) a += data[i] * x[k];
    out[r] = (a + b + (c + d)) * (scale ? scale[r] : 1) + bias[r];
  }
  return out;
}

const relu = (x) => { for (let i = 0; i < x.length; i++) if (x[i] < 0) x[i] = 0; return x; };

/** x + leak * outer(relu(inner(x))): FCB, and CB1 on one gene. */
function residual(tensors, name, x) {
  const update = linear(tensors, `${name}.outer`, relu(linear(tensors, `${name}.inner`, x)));
  const leak = Math.exp(tensors[`${name}.leak.log`].data[0]);
  return x.map((v, i) => v + leak * update[i]);
}

/** Letters -> embedding, gene by gene: DNACode.decode of the library. */
export function decodeGenes(tensors, letters) {
  const genes = letters.length / 16, out = new Float32Array(genes), one = new Float32Array(64);
  for (let g = 0; g < genes; g++) {
    one.fill(0);
    for (let l = 0; l < 16; l++) {
      const letter = letters[16 * g + l];
      if (letter === NONE) one.fill(0.25, 4 * l, 4 * l + 4);
      else one[4 * l + letter] = 1;
    }
    let x = linear(tensors, 'code.from_letters', one);
    for (let block = 0; block < 4; block++) x = residual(tensors, `code.from_gene.${block}`, x);
    out[g] = linear(tensors, 'code.from_gene.4', x)[0];
  }
  return out;
}

/** Embedding -> all weights of one automaton, [w1 | b1 | w2 | b2]: the parameter predictor. */
export function predict(tensors, embedding) {
  let x = embedding;
  for (let block = 0; tensors[`predictor.body.${block}.inner.weight`]; block++) {
    x = residual(tensors, `predictor.body.${block}`, x);
  }
  const unit = x.length ** -0.5, out = linear(tensors, 'predictor', x.map((v) => v * unit));
  const first = MAPS ** -0.5, second = HIDDEN ** -0.5;
  return out.map((v, i) => v * (i < SIZES.w1 + SIZES.b1 ? first : second));
}

/** A convolution that keeps the size, zero padded; x is (inputs, side, side). */
function convolve(tensors, name, x, side) {
  const { shape: [outputs, inputs, size], data } = tensors[`${name}.weight`], bias = tensors[`${name}.bias`].data;
  const cells = side * side, out = new Float32Array(outputs * cells), reach = size >> 1;
  for (let o = 0, w = 0; o < outputs; o++) {
    const to = out.subarray(o * cells, (o + 1) * cells).fill(bias[o]);
    for (let c = 0; c < inputs; c++) for (let dy = -reach; dy <= reach; dy++) for (let dx = -reach; dx <= reach; dx++) {
      const weight = data[w++];
      for (let y = Math.max(0, -dy); y < Math.min(side, side - dy); y++) {
        const from = c * cells + (y + dy) * side + dx, at = y * side;
        for (let i = Math.max(0, -dx); i < Math.min(side, side - dx); i++) to[at + i] += weight * x[from + i];
      }
    }
  }
  return out;
}

/** Premultiplied RGBA (4, side, side) in [0, 1] -> embedding: the continuous encoder. */
export function embed(tensors, image, side) {
  let x = convolve(tensors, 'encoder.stem', image, side);
  for (let block = 0; tensors[`encoder.body.${block}.inner.weight`]; block++) {
    const name = `encoder.body.${block}`, leak = Math.exp(tensors[`${name}.leak.log`].data[0]);
    const update = convolve(tensors, `${name}.outer`, relu(convolve(tensors, `${name}.inner`, x, side)), side);
    x = x.map((v, i) => v + leak * update[i]);
  }
  const filters = x.length / side / side, n = side;
  const means = new Float32Array(filters + 2 * filters * n + n * n), rows = filters, columns = rows + filters * n, cells = columns + filters * n;
  for (let c = 0, i = 0; c < filters; c++) for (let y = 0; y < n; y++) for (let j = 0; j < n; j++, i++) {
    means[c] += x[i] / n / n; means[rows + c * n + j] += x[i] / n; means[columns + c * n + y] += x[i] / n; means[cells + y * n + j] += x[i] / filters;
  }
  const centre = tensors['encoder.project.centre'].data, gain = tensors['encoder.project.gain'].data[0];
  let e = linear(tensors, 'encoder.project', means.map((v, i) => (v - centre[i]) * gain));
  for (let block = 0; tensors[`encoder.head.${block}.inner.weight`]; block++) e = residual(tensors, `encoder.head.${block}`, e);
  return e;
}

/** Embedding -> the most probable letters: DNACode.encode of the library, made hard. */
export function writeGenes(tensors, embedding) {
  const out = new Uint8Array(16 * embedding.length);
  embedding.forEach((value, g) => {
    let x = linear(tensors, 'code.to_gene.0', [value]);
    for (let block = 1; block <= 4; block++) x = residual(tensors, `code.to_gene.${block}`, x);
    const logits = linear(tensors, 'code.to_logits', x);
    for (let l = 0; l < 16; l++) for (let a = 1; a < 4; a++) if (logits[4 * l + a] > logits[4 * l + out[16 * g + l]]) out[16 * g + l] = a;
  });
  return out;
}

/** What automaton.wasm exports, in plain JavaScript, for browsers without WebAssembly SIMD. */
export function plainKernel() {
  let height, width, cells, row, states, weights, buffer, maps;
  const at = (y, x) => ((y + 1) * row + x + 1) * CHANNELS;
  return {
    get memory() { return { buffer }; },
    init(h, w) {
      height = h; width = w; cells = h * w; row = w + 2;
      const size = (h + 2) * row * CHANNELS;
      buffer = new ArrayBuffer(4 * (2 * size + WEIGHTS));
      states = [new Float32Array(buffer, 0, size), new Float32Array(buffer, 4 * size, size)];
      weights = new Float32Array(buffer, 8 * size, WEIGHTS);
      maps = new Float32Array(cells * MAPS);
    },
    weights: () => weights.byteOffset,
    state: () => states[0].byteOffset,
    step(leak, seed, limit, t, wrap) {
      const [x, y] = states, r = row * CHANNELS, c = CHANNELS;
      if (wrap) {  // the border is the opposite side
        for (let j = 0; j < height; j++) {
          x.copyWithin(at(j, -1), at(j, width - 1), at(j, width));
          x.copyWithin(at(j, width), at(j, 0), at(j, 1));
        }
        x.copyWithin(0, height * r, (height + 1) * r);
        x.copyWithin((height + 1) * r, r, 2 * r);
      }
      const mean = new Float64Array(MAPS), square = new Float64Array(MAPS), hidden = new Float32Array(HIDDEN);
      for (let j = 0, i = 0; j < height; j++) for (let k = 0; k < width; k++, i++) for (let q = 0; q < c; q++) {
        const o = at(j, k) + q, m = i * MAPS + q;
        maps[m] = x[o];
        maps[m + c] = (x[o - r + c] - x[o - r - c] + x[o + r + c] - x[o + r - c] + 2 * (x[o + c] - x[o - c])) / 8;
        maps[m + 2 * c] = (x[o + r - c] - x[o - r - c] + x[o + r + c] - x[o - r + c] + 2 * (x[o + r] - x[o - r])) / 8;
      }
      for (let i = 0; i < maps.length; i++) mean[i % MAPS] += maps[i] / cells;
      for (let i = 0; i < maps.length; i++) square[i % MAPS] += (maps[i] - mean[i % MAPS]) ** 2 / cells;
      const scale = square.map((v) => 1 / Math.sqrt(v + 1e-5));
      y.set(x);
      const key = mix((seed + Math.imul(t, GOLDEN)) >>> 0), [b1, w2, b2] = [SIZES.w1, SIZES.w1 + SIZES.b1, WEIGHTS - SIZES.b2];
      for (let i = 0; i < cells; i++) {
        if (limit !== ALL && mix(key ^ mix(i)) >= limit) continue;
        const p = maps.subarray(i * MAPS, (i + 1) * MAPS);
        for (let q = 0; q < MAPS; q++) p[q] = (p[q] - mean[q]) * scale[q];
        for (let h = 0; h < HIDDEN; h++) {
          let sum = weights[b1 + h];
          for (let q = 0, w = h * MAPS; q < MAPS; q++) sum += weights[w + q] * p[q];
          hidden[h] = sum > 0 ? sum : 0;
        }
        const o = at(Math.floor(i / width), i % width);
        for (let q = 0; q < c; q++) {
          let sum = weights[b2 + q];
          for (let h = 0, w = w2 + q * HIDDEN; h < HIDDEN; h++) sum += weights[w + h] * hidden[h];
          y[o + q] += leak * sum;
        }
      }
      states.reverse();
    },
  };
}

/** One automaton on a grid, in WebAssembly, or in plain JavaScript if `module` is null; `state` is [(H+2)*(W+2)][16] with a border. */
export class Automaton {
  constructor(module, side) {
    this.wasm = module ? new WebAssembly.Instance(module).exports : plainKernel();
    this.side = side;
    this.wasm.init(side, side);
    this.seed();
  }
  view(at, count) { return new Float32Array(this.wasm.memory.buffer, at, count); }
  get state() { return this.view(this.wasm.state(), (this.side + 2) ** 2 * CHANNELS); }
  set weights(values) { this.view(this.wasm.weights(), WEIGHTS).set(values); }

  /** A blank grid whose centre has alpha and hidden channels 1. */
  seed() {
    this.state.fill(0);
    this.plant(this.side >> 1, this.side >> 1);
    this.time = 0;
  }
  plant(x, y) {
    if (x < 0 || y < 0 || x >= this.side || y >= this.side) return;
    const at = ((y + 1) * (this.side + 2) + x + 1) * CHANNELS;
    this.state.fill(1, at + 3, at + CHANNELS);
  }
  /** Kill all channels within a circle. */
  wound(x, y, radius) {
    const { state, side } = this;
    for (let j = Math.max(0, Math.ceil(y - radius)); j <= Math.min(side - 1, y + radius); j++) {
      for (let i = Math.max(0, Math.ceil(x - radius)); i <= Math.min(side - 1, x + radius); i++) {
        const at = ((j + 1) * (side + 2) + i + 1) * CHANNELS;
        if ((i - x) ** 2 + (j - y) ** 2 <= radius ** 2) state.fill(0, at, at + CHANNELS);
      }
    }
  }
  /** n steps of a rule { leak, wrap, size }; which cells fire depends on the seed, the step and the cell only.
   *  On another grid than the rule's own the leak factor is scaled: Grower.leak_scale of the library. */
  step({ leak, wrap, size }, fireRate, seed, n = 1) {
    const limit = fireRate >= 1 ? ALL : Math.min(limitOf(fireRate), ALL - 1), factor = leak * size / this.side;
    for (let i = 0; i < n; i++) this.wasm.step(factor, seed, limit, this.time++, wrap ? 1 : 0);
  }
  /** All channels as a mosaic of four by four -> RGBA bytes of a picture four times as wide. */
  mosaic(out) {
    const { side } = this, tile = new Uint8ClampedArray(4 * side * side);
    for (let c = 0; c < CHANNELS; c++) {
      this.paint(tile, c);
      for (let y = 0; y < side; y++) out.set(tile.subarray(4 * side * y, 4 * side * (y + 1)), 4 * (((c >> 2) * side + y) * 4 * side + (c & 3) * side));
    }
    return out;
  }
  /** Premultiplied RGBA over a background, or one channel on a diverging scale -> RGBA bytes. */
  paint(out, channel = -1, background = [255, 255, 255]) {
    const { state, side } = this;
    let bound = 1e-6;
    if (channel >= 0) for (let i = channel; i < state.length; i += CHANNELS) bound = Math.max(bound, Math.abs(state[i]));
    for (let y = 0, o = 0; y < side; y++) {
      for (let x = 0; x < side; x++, o += 4) {
        const at = ((y + 1) * (side + 2) + x + 1) * CHANNELS;
        if (channel < 0) {
          const rest = 1 - state[at + 3];
          for (let c = 0; c < 3; c++) out[o + c] = 255 * state[at + c] + rest * background[c];
        } else {
          const v = state[at + channel] / bound, fade = 255 * (1 - Math.abs(v));
          out[o] = v > 0 ? 255 : fade; out[o + 1] = fade; out[o + 2] = v < 0 ? 255 : fade;
        }
        out[o + 3] = 255;
      }
    }
    return out;
  }
}

/** The letters of one image out of the packed tensor (N, bytes), four to a byte. */
export function unpackLetters({ shape, data }, image) {
  const out = new Uint8Array(4 * shape[1]);
  for (let i = 0; i < out.length; i++) out[i] = (data[image * shape[1] + (i >> 2)] >> (2 * (i & 3))) & 3;
  return out;
}
