// Where does chance come from? One stream per part of a run, all from the printed seed.

/**
 * mulberry32.
 * @param {number} seed
 * @returns {() => number} 0 ≤ x < 1
 */
export function stream(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

/**
 * @template T
 * @param {() => number} random
 * @param {readonly T[]} from
 * @returns {T}
 */
export function pick(random, from) {
  return /** @type {T} */ (from[Math.floor(random() * from.length)]);
}
