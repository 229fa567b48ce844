// What does a check cost in a library, with no door and no database? A process of its own: every question once, then round and round.

import { fileURLToPath } from 'node:url';
import { start } from '../processes.mjs';
import { INSTALLATIONS } from './install.mjs';
import { createQueries } from './queries.mjs';
import { reference } from './reference.mjs';
import { createWorld } from './world.mjs';

/** With the world in it. @typedef {(subject: import('./peer.mjs').Subject) => Promise<(question: import('./queries.mjs').Question) => boolean>} Engine */
/** @typedef {{ asked: number, mismatches: number, examples: string[], rate: number, p50: number, p99: number, load: number, memory: number }} Measured */

const PROGRAM = fileURLToPath(import.meta.url);
const CORE = 1;

/** @param {string} library @param {{ seed: number, seconds: number }} run @returns {Promise<Measured & { version: string }>} */
export async function measureLibrary(library, { seed, seconds }) {
  const child = start(process.execPath, [PROGRAM, library, String(seed), String(seconds)], { core: CORE });
  await child.exited;
  if (child.child.exitCode !== 0) throw new Error(`${library}: ${child.said()}`);
  const measured = /** @type {Measured} */ (JSON.parse(child.said()));
  return { ...measured, version: INSTALLATIONS[library]?.version ?? '' };
}

/** @param {string} library @param {number} seed @param {number} seconds @returns {Promise<Measured>} */
async function measure(library, seed, seconds) {
  const world = createWorld(seed);
  const judge = reference(world);
  const queries = createQueries(world, judge, seed);
  const { [library]: engine } = /** @type {Record<string, Engine>} */ (await import(`./${library}.mjs`));
  if (engine === undefined) throw new Error(`no such library: ${library}`);
  const began = performance.now();
  const allowed = await engine({ world, judge });
  const load = (performance.now() - began) / 1000;
  const wrong = queries
    .filter((query) => allowed(query) !== query.allow)
    .map(({ user, operation, device, allow }) => `${user} ${operation} ${device}: ${allow ? 'denied' : 'allowed'}`);
  /** @type {number[]} */ const latencies = [];
  const first = performance.now();
  for (let at = first; at < first + seconds * 1000;) {
    const query = /** @type {(typeof queries)[number]} */ (queries[latencies.length % queries.length]);
    if (allowed(query) !== query.allow) wrong.push('another answer than before');
    const now = performance.now();
    latencies.push(now - at);
    at = now;
  }
  const sorted = Float64Array.from(latencies).sort();
  const share = (/** @type {number} */ of) => sorted[Math.floor(sorted.length * of)] ?? Number.NaN;
  const rate = latencies.length / ((performance.now() - first) / 1000);
  return {
    asked: queries.length,
    mismatches: wrong.length,
    examples: wrong.slice(0, 3),
    rate,
    p50: share(0.5),
    p99: share(0.99),
    load,
    memory: process.memoryUsage.rss() / 2 ** 20,
  };
}

const [, program, library = '', seed, seconds] = process.argv;
if (program === PROGRAM) process.stdout.write(JSON.stringify(await measure(library, Number(seed), Number(seconds))));
