// The layers of which the networks are made. `tensors` is what safetensors.mjs read, `name` a layer's name in it.

/** W x + b for one vector; W (rows, columns) may be int8 with a scale per row, and one per column. */
export function linear(tensors, name, given) {
  const columnScale = tensors[`${name}.weight.columns`]?.data;
  const x = columnScale ? given.map((value, i) => value * columnScale[i]) : given;
  const weight = tensors[`${name}.weight`];
  const [rows, columns] = weight.shape;
  const w = weight.data;
  const scale = tensors[`${name}.weight.scale`]?.data;
  const bias = tensors[`${name}.bias`].data;
  const out = new Float32Array(rows);
  for (let r = 0, i = 0; r < rows; r++) {
    let [a, b, c, d] = [0, 0, 0, 0]; // four sums: none need wait for the one before
    let k = 0;
    for (; k + 4 <= columns; k += 4, i += 4) {
      a += w[i] * x[k];
      b += w[i + 1] * x[k + 1];
      c += w[i + 2] * x[k + 2];
      d += w[i + 3] * x[k + 3];
    }
    for (; k < columns; k++, i++) a += w[i] * x[k];
    out[r] = (a + b + (c + d)) * (scale ? scale[r] : 1) + bias[r];
  }
  return out;
}

/** max(x, 0), in place. */
export function relu(x) {
  for (let i = 0; i < x.length; i++) if (x[i] < 0) x[i] = 0;
  return x;
}

/** x + leak * update: a residual block adds a small change to what it gets; `leak` is learned. */
function addLeaky(tensors, name, x, update) {
  const leak = Math.exp(tensors[`${name}.leak.log`].data[0]);
  return x.map((value, i) => value + leak * update[i]);
}

/** A residual block of two linear layers: FCB of the library, and CB1 on one gene. */
export function residual(tensors, name, x) {
  const inner = relu(linear(tensors, `${name}.inner`, x));
  return addLeaky(tensors, name, x, linear(tensors, `${name}.outer`, inner));
}

/** A residual block of two convolutions. */
export function convolvedResidual(tensors, name, x, side) {
  const inner = relu(convolve(tensors, `${name}.inner`, x, side));
  return addLeaky(tensors, name, x, convolve(tensors, `${name}.outer`, inner, side));
}

/** A convolution that keeps the size, zero padded; x is (inputs, side, side). */
export function convolve(tensors, name, x, side) {
  const weight = tensors[`${name}.weight`];
  const [outputs, inputs, size] = weight.shape;
  const bias = tensors[`${name}.bias`].data;
  const cells = side * side;
  const reach = size >> 1;
  const out = new Float32Array(outputs * cells);
  for (let o = 0, w = 0; o < outputs; o++) {
    const to = out.subarray(o * cells, (o + 1) * cells).fill(bias[o]);
    for (let c = 0; c < inputs; c++) {
      const from = x.subarray(c * cells, (c + 1) * cells);
      for (let dy = -reach; dy <= reach; dy++) {
        for (let dx = -reach; dx <= reach; dx++) addShifted(to, from, weight.data[w++], dx, dy, side);
      }
    }
  }
  return out;
}

/** to += weight * from, `from` moved by (dx, dy); what lies beyond the edge is zero. */
function addShifted(to, from, weight, dx, dy, side) {
  for (let y = Math.max(0, -dy); y < Math.min(side, side - dy); y++) {
    const at = y * side;
    const source = (y + dy) * side + dx;
    for (let i = Math.max(0, -dx); i < Math.min(side, side - dx); i++) to[at + i] += weight * from[source + i];
  }
}
