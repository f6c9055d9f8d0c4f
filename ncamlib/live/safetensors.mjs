// Reads the models' files: tensors by name, and the header that describes the model.

// Every number of half precision, by its sixteen bits.
const HALF = new Float32Array(65536);
for (let h = 0; h < 65536; h++) {
  const sign = h & 0x8000 ? -1 : 1;
  const exponent = (h >> 10) & 31;
  const fraction = h & 1023;
  if (exponent === 0) HALF[h] = sign * fraction * 2 ** -24;
  else if (exponent === 31) HALF[h] = fraction ? Number.NaN : sign * Infinity;
  else HALF[h] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Numbers of half precision, little endian -> Float32Array. */
export function fromHalf(buffer, offset, count) {
  const words = new Uint16Array(buffer.slice(offset, offset + 2 * count));
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = HALF[words[i]];
  return out;
}

function numbers(buffer, type, at, bytes) {
  if (type === 'F16') return fromHalf(buffer, at, bytes / 2);
  if (type === 'F32') return new Float32Array(buffer.slice(at, at + bytes));
  if (type === 'I8') return new Int8Array(buffer, at, bytes);
  return new Uint8Array(buffer, at, bytes);
}

/** A .safetensors file -> { header, tensors: { name: { shape, data } } }; data is an array of numbers. */
export function parse(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const table = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const tensors = {};
  for (const [name, about] of Object.entries(table)) {
    if (name === '__metadata__') continue;
    const [from, to] = about.data_offsets;
    const data = numbers(buffer, about.dtype, 8 + length + from, to - from);
    tensors[name] = { shape: about.shape, data };
  }
  return { header: table.__metadata__ ? JSON.parse(table.__metadata__.ncam) : {}, tensors };
}
