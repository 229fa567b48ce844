// The followers of revoke.bench.mjs: a process with so many policy caches, which tells at what time each of them refused a user.
//
// Apart from the writer, so that neither waits for the other's turn. Times are of the clock that all processes of a machine share.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { PolicyCache, compileVocabulary, requestOf } from 'policy-cache';
import { postgresSource } from 'policy-cache/postgres';
import { parse } from 'yaml';
import { hostClock } from '../../dist/clock.js';

const [url = '', count = '1'] = process.argv.slice(2);
const vocabulary = compileVocabulary(parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));
/** What each cache does when it has applied a change. @type {(() => void)[]} */
const applied = [];
const caches = Array.from(
  { length: Number(count) },
  (_, i) =>
    new PolicyCache({
      vocabulary,
      source: postgresSource({ url, fillConnections: 1 }),
      clock: hostClock(),
      random: Math.random,
      observer: { applied: () => queueMicrotask(() => applied[i]?.()) }, // after the whole turn
    }),
);
for (const cache of caches) cache.start();
await Promise.all(caches.map((cache) => cache.ready(60_000)));

/** @param {number} user */
const request = (user) => requestOf(vocabulary, { user: `u${user}`, operation: 'READ', resource: 'DEVICE', target: 'd' });
const now = () => Number(process.hrtime.bigint()) / 1e6;

/**
 * Asks one cache whenever it has applied something, for between two pulls its answer cannot change: when its allow was no longer served, and
 * when it refused. (Asking all the time would take one of two cores from the database.)
 * @param {PolicyCache} cache @param {number} i @param {number} user
 * @returns {Promise<{ unserved: number, refused: number }>}
 */
function watch(cache, i, user) {
  return new Promise((resolve, reject) => {
    const ask = async () => {
      const answer = cache.check(request(user), undefined, { deadline: 10_000 });
      const unserved = now();
      const { allow } = await answer;
      if (allow && !(answer instanceof Promise)) return; // as before
      applied[i] = () => undefined;
      assert.equal(allow, false, 'it was allowed once more by the database itself'); // it was cached, so only a touched entry is read again
      resolve({ unserved, refused: now() });
    };
    applied[i] = () => void ask().catch(reject);
  });
}

/** @param {number} user */
async function revoked(user) {
  for (const cache of caches) assert.equal((await cache.check(request(user), undefined, { deadline: 10_000 })).allow, true);
  const watching = caches.map((cache, i) => watch(cache, i, user));
  process.send?.('watching');
  process.send?.(await Promise.all(watching));
}
process.on('message', (/** @type {number} */ user) => void revoked(user)); // what fails ends the process, and the bench with it
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
