// QR codes of short texts: ISO/IEC 18004, bytes, error correction level L, versions 1 to 10.

// By version: bytes of data, bytes of error correction per block, blocks, places of alignment patterns.
const VERSIONS = [
  [19, 7, 1, []],
  [34, 10, 1, [6, 18]],
  [55, 15, 1, [6, 22]],
  [80, 20, 1, [6, 26]],
  [108, 26, 1, [6, 30]],
  [136, 18, 2, [6, 34]],
  [156, 20, 2, [6, 22, 38]],
  [194, 24, 2, [6, 24, 42]],
  [232, 30, 2, [6, 26, 46]],
  [274, 18, 4, [6, 28, 50]],
];
const LEVEL = 1; // L, as the format writes it

/** Bytes of the longest text. */
export const longest = 271;

// Powers and logarithms of the field of 256 elements.
const EXP = new Uint8Array(512);
const LOG = new Uint8Array(256);
for (let i = 0, x = 1; i < 255; i++, x = (x << 1) ^ (x & 0x80 ? 0x11d : 0)) {
  EXP[i] = x;
  EXP[i + 255] = x;
  LOG[x] = i;
}
const times = (a, b) => (a && b ? EXP[LOG[a] + LOG[b]] : 0);

/** The bytes of error correction of a block: the remainder by Reed and Solomon's polynomial. */
function correction(block, count) {
  let generator = [1];
  for (let i = 0; i < count; i++) {
    const next = [...generator, 0];
    for (let k = 0; k < generator.length; k++) next[k + 1] ^= times(generator[k], EXP[i]);
    generator = next;
  }
  const rest = [...block, ...new Array(count).fill(0)];
  for (let i = 0; i < block.length; i++) {
    const factor = rest[i];
    for (let k = 0; k < generator.length; k++) rest[i + k] ^= times(generator[k], factor);
  }
  return rest.slice(block.length);
}

/** Text as the bytes of data of a version: mode, length, bytes, padding. */
function dataOf(text, version) {
  const [room] = VERSIONS[version - 1];
  const bytes = [...new TextEncoder().encode(text)];
  const bits = [];
  const write = (value, count) => {
    for (let i = count - 1; i >= 0; i--) bits.push((value >> i) & 1);
  };
  write(4, 4);
  write(bytes.length, version < 10 ? 8 : 16);
  for (const byte of bytes) write(byte, 8);
  write(0, Math.min(4, 8 * room - bits.length));
  write(0, (8 - (bits.length % 8)) % 8);
  const data = [];
  for (let i = 0; i < bits.length; i += 8) data.push(Number.parseInt(bits.slice(i, i + 8).join(''), 2));
  for (let pad = 0xec; data.length < room; pad ^= 0xfd) data.push(pad);
  return data;
}

/** All bytes of a text, in the order in which they are drawn: a byte of each block in turn. */
function codewords(text, version) {
  const [room, corrected, blocks] = VERSIONS[version - 1];
  const data = dataOf(text, version);
  const short = Math.floor(room / blocks);
  const parts = [];
  for (let b = 0, at = 0; b < blocks; b++) {
    const size = short + (b >= blocks - (room % blocks) ? 1 : 0);
    parts.push(data.slice(at, at + size));
    at += size;
  }
  const checks = parts.map((part) => correction(part, corrected));
  const woven = (all, count) =>
    Array.from({ length: count }, (_, i) => all.flatMap((part) => (i < part.length ? [part[i]] : []))).flat();
  return [...woven(parts, short + 1), ...woven(checks, corrected)];
}

/** Patterns that every code of a version has; null where data goes. */
function frame(version) {
  const side = 17 + 4 * version;
  const grid = Array.from({ length: side }, () => new Array(side).fill(null));
  const square = (x, y, reach, dark) => {
    for (let dy = -reach; dy <= reach; dy++) {
      for (let dx = -reach; dx <= reach; dx++) {
        const [row, column] = [y + dy, x + dx];
        if (row >= 0 && column >= 0 && row < side && column < side)
          grid[row][column] = dark(Math.max(Math.abs(dx), Math.abs(dy)));
      }
    }
  };
  for (let i = 0; i < side; i++) {
    grid[6][i] = i % 2 === 0;
    grid[i][6] = i % 2 === 0;
  }
  for (const [x, y] of [
    [3, 3],
    [side - 4, 3],
    [3, side - 4],
  ])
    square(x, y, 4, (far) => far !== 2 && far !== 4);
  const places = VERSIONS[version - 1][3];
  const last = places.at(-1);
  for (const x of places) {
    for (const y of places) {
      const corner = (x === 6 && (y === 6 || y === last)) || (x === last && y === 6);
      if (!corner) square(x, y, 2, (far) => far !== 1);
    }
  }
  return grid;
}

/** A number with the remainder of its division by a polynomial, as format and version are written. */
function guarded(value, polynomial, bits) {
  let rest = value << bits;
  for (let i = 31; i >= bits; i--) if ((rest >>> i) & 1) rest ^= polynomial << (i - bits);
  return (value << bits) | rest;
}

/** Writes mask and version into the frame. */
function label(grid, version, mask) {
  const side = grid.length;
  const format = guarded((LEVEL << 3) | mask, 0x537, 10) ^ 0x5412;
  for (let i = 0; i < 15; i++) {
    const dark = ((format >> i) & 1) === 1;
    const down = i < 6 ? i : i < 8 ? i + 1 : side - 15 + i;
    const across = i < 8 ? side - 1 - i : i < 9 ? 7 : 14 - i;
    grid[down][8] = dark;
    grid[8][across] = dark;
  }
  grid[side - 8][8] = true;
  if (version < 7) return;
  const about = guarded(version, 0x1f25, 12);
  for (let i = 0; i < 18; i++) {
    const dark = ((about >> i) & 1) === 1;
    const [near, far] = [Math.floor(i / 3), side - 11 + (i % 3)];
    grid[near][far] = dark;
    grid[far][near] = dark;
  }
}

const MASKS = [
  (x, y) => (x + y) % 2 === 0,
  (_, y) => y % 2 === 0,
  (x) => x % 3 === 0,
  (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(y / 2) + Math.floor(x / 3)) % 2 === 0,
  (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

/** Fills what is free with the bits, up and down in columns of two from the right. */
function fillIn(grid, bytes, mask) {
  const side = grid.length;
  let bit = 0;
  for (let right = side - 1, up = true; right > 0; right -= 2, up = !up) {
    if (right === 6) right = 5;
    for (let i = 0; i < side; i++) {
      const y = up ? side - 1 - i : i;
      for (const x of [right, right - 1]) {
        if (grid[y][x] !== null) continue;
        const dark = (((bytes[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1) === 1;
        grid[y][x] = dark !== MASKS[mask](x, y);
        bit++;
      }
    }
  }
}

/** How hard a code is to read: runs, squares, false finders, and more dark than light. */
function penalty(grid) {
  const side = grid.length;
  const columns = grid.map((_, x) => grid.map((row) => row[x]));
  let total = 0;
  for (const line of [...grid, ...columns]) {
    const text = line.map(Number).join('');
    for (const run of text.match(/0{5,}|1{5,}/g) ?? []) total += run.length - 2;
    for (let i = 0; i + 11 <= side; i++) {
      const part = text.slice(i, i + 11);
      if (part === '10111010000' || part === '00001011101') total += 40;
    }
  }
  for (let y = 1; y < side; y++) {
    for (let x = 1; x < side; x++) {
      const one = grid[y][x];
      if (one === grid[y - 1][x] && one === grid[y][x - 1] && one === grid[y - 1][x - 1]) total += 3;
    }
  }
  const dark = grid.flat().filter(Boolean).length / side ** 2;
  return total + 10 * Math.floor(Math.abs(dark - 0.5) / 0.05);
}

/** The modules of a text's code, rows of true (dark) and false; the text has at most `longest` bytes. */
export function qrCode(text) {
  const size = new TextEncoder().encode(text).length;
  const version = 1 + VERSIONS.findIndex(([room], i) => size + (i < 9 ? 2 : 3) <= room);
  const bytes = codewords(text, version);
  const codes = MASKS.map((_, mask) => {
    const grid = frame(version);
    label(grid, version, mask);
    fillIn(grid, bytes, mask);
    return grid;
  });
  const costs = codes.map(penalty);
  return codes[costs.indexOf(Math.min(...costs))];
}
