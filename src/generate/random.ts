// Where does the chance of a generated world come from, so that a seed gives the same bytes everywhere?
//
// 32-bit integer steps alone: `Math.imul`, shifts, and products below 2^53, which every engine computes alike (`Math.pow`, `Math.log`
// and their kin may differ in the last bit between engines). Mixing: the steps of MurmurHash3 (Austin Appleby, public domain).
// The stream: mulberry32 (Tommy Ettinger, public domain). Neither is for secrets.

/** A whole number, 0 ≤ n < bound ≤ 2^21. */
export type Roll = (bound: number) => number;

/** One stream of chance for one part of the world: what another part draws, or how large it is, changes nothing here. */
export function rolls(seed: number, part: number): Roll {
  let state = finished(absorbed(seed, part));
  return (bound) => {
    state = (state + 0x6d2b79f5) | 0;
    let word = Math.imul(state ^ (state >>> 15), state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return Math.floor((((word ^ (word >>> 14)) >>> 0) * bound) / 0x1_0000_0000);
  };
}

/** State with one more word in it. */
export function absorbed(state: number, word: number): number {
  const scrambled = Math.imul(word, 0xcc9e2d51);
  const mixed = state ^ Math.imul((scrambled << 15) | (scrambled >>> 17), 0x1b873593);
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}

/** The state as 32 well-mixed bits, 0 to 2^32 - 1. */
export function finished(state: number): number {
  let word = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return (word ^ (word >>> 16)) >>> 0;
}

const FINE = 1 << 20;

/** A rank below `count`: rank r with weight 1/((r+1)(r+2)), so half of all draws are the first, a sixth the second. */
export function ranked(roll: Roll, count: number): number {
  return (Math.floor(FINE / (1 + roll(FINE))) - 1) % count;
}

/** A size of 1 to `most`: it is s or more once in s draws. */
export function sized(roll: Roll, most: number): number {
  return Math.floor(most / (1 + roll(most)));
}

export function pick<T>(roll: Roll, from: readonly [T, ...T[]]): T {
  return from[roll(from.length)] ?? from[0];
}
