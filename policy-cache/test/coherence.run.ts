// What do the two suites of the model share: how far they go, and how they say what they saw?

import { wholeNumber } from './support.ts';

/** `GRANTGATE_MODEL_STATES`: states of each search. */
export const statesEach = (usual: number): number => wholeNumber('GRANTGATE_MODEL_STATES') ?? usual;

export const count = (number: number): string => number.toLocaleString('en');

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Whole numbers below a bound, all of them from the seed. */
export function randomOf(seed: number): (below: number) => number {
  let x = seed >>> 0;
  return (below) => {
    x = (x + 0x6d2b79f5) | 0;
    let t = Math.imul(x ^ (x >>> 15), 1 | x);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** A deep run takes as long as it takes. */
export const TIMEOUT = 12 * 3_600_000;
