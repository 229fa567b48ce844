// What is measured of one peer? Its answers first, then its lanes: wide ring and hot set, one and sixteen at once, alone and beside five
// unrelated writes a second; then its freshness.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** @typedef {import('./client.mjs').Measured} Measured */
/** @typedef {{ ring: 'wide' | 'hot', concurrency: number, writes: boolean }} Lane */

const CLIENT = fileURLToPath(new URL('client.mjs', import.meta.url));
const CLIENT_CORE = 1;
export const RINGS = { wide: 10_000, hot: 200 };
const WRITES_A_SECOND = 5;

/** @type {readonly Lane[]} */
export const ALL = [true, false].flatMap((alone) =>
  /** @type {const} */ (['wide', 'hot']).flatMap((ring) => [1, 16].map((concurrency) => ({ ring, concurrency, writes: !alone }))),
);
export const ALONE = ALL.filter(({ writes }) => !writes);
export const WIDE = ALONE.filter(({ ring }) => ring === 'wide');

/** `wide.16`, `hot.1.writes` @param {Lane} lane */
export const nameOf = ({ ring, concurrency, writes }) => `${ring}.${concurrency}${writes ? '.writes' : ''}`;

/** The client, with every question made. @param {import('./client.mjs').Opening} opening */
export async function openClient(opening) {
  const child = fork(CLIENT, [JSON.stringify(opening)], { execPath: 'taskset', execArgv: ['-c', String(CLIENT_CORE), process.execPath] });
  const gone = once(child, 'exit').then(([code, signal]) => ({ error: `the client ended with ${signal ?? code}` }));
  /** @returns {Promise<any>} */
  const reply = async () => {
    const answer = await Promise.race([once(child, 'message').then(([message]) => message), gone]);
    if ('error' in answer) throw new Error(answer.error);
    return answer.result;
  };
  await reply();
  /** @param {object} job */
  const perform = (job) => {
    const answer = reply();
    child.send(job);
    return answer;
  };
  return {
    /** @param {number} [first] @returns {Promise<{ asked: number, mismatches: number, examples: string[] }>} */
    gate: (first) => perform({ job: 'gate', first }),
    /** @param {Lane} lane @param {number} seconds @returns {Promise<Measured>} */
    run: ({ ring, concurrency }, seconds) => perform({ job: 'run', ring: RINGS[ring], concurrency, ms: seconds * 1000, warmMs: Math.min(1000, seconds * 500) }),
    /** @param {Omit<import('./client.mjs').Freshness, 'job'>} watching @returns {Promise<import('./freshness.mjs').Found>} */
    freshness: (watching) => perform({ job: 'freshness', ...watching }),
    /** @param {Omit<import('./client.mjs').Listen, 'job'>} listening @returns {Promise<number[]>} */
    listened: (listening) => perform({ job: 'listen', ...listening }),
    async close() {
      if (child.connected) child.disconnect();
      await gone;
    },
  };
}

/** Unrelated writes, each after the other is acknowledged, until it is stopped. @param {import('./peer.mjs').Writing} writing */
export function beginWrites(writing) {
  const state = { over: false, count: 0, done: 0 };
  const began = performance.now();
  const writes = (async () => {
    for (let due = performance.now(); !state.over || state.count % 2 === 1; due += 1000 / WRITES_A_SECOND) {
      await (state.count++ % 2 === 0 ? writing.join() : writing.leave());
      state.done++;
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, due + 1000 / WRITES_A_SECOND - performance.now())));
    }
  })();
  writes.catch(() => undefined); // told by stop
  return {
    /** How many a second were acknowledged. */
    async stop() {
      const rate = state.done / ((performance.now() - began) / 1000);
      state.over = true;
      await writes;
      return rate;
    },
  };
}
