// How large an automaton is, and what its rule may be. Names follow ncamlib.

/** Numbers that a cell holds: red, green, blue, alpha and twelve hidden ones. */
export const CHANNELS = 16;
/** Hidden units of the update rule. */
export const HIDDEN = 128;
/** What a cell perceives: its channels, and two Sobel filters of each. */
export const MAPS = 3 * CHANNELS;
/** How many numbers each part of the weights has; they lie one after another, [w1 | b1 | w2 | b2]. */
export const SIZES = { w1: HIDDEN * MAPS, b1: HIDDEN, w2: CHANNELS * HIDDEN, b2: CHANNELS };
/** How many numbers all weights of one automaton have. */
export const WEIGHTS = SIZES.w1 + SIZES.b1 + SIZES.w2 + SIZES.b2;
/** Which of the maps may be normalised; a rule's `norm` is one of them, and the kernel's its place here. */
export const NORMS = ['none', 'all', 'sobel'];
