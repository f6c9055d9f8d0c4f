// Random words by counting, as fire.py of the library makes them: the same everywhere for the same seed.

/** The largest word; as a limit it lets everything happen. */
export const ALL = 0xffffffff;
/** What the key of a step moves on by: 2^32 over the golden ratio. */
export const GOLDEN = 0x9e3779b9;

/** fire.mix of the library: a bijection of 32-bit words. */
export function mix(x) {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/** The limit below which a word lies with probability `rate`. */
export const limitOf = (rate) => Math.min(Math.round(rate * 2 ** 32), ALL) >>> 0;
