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
const caches = Array.from(
  { length: Number(count) },
  () => new PolicyCache({ vocabulary, source: postgresSource({ url, fillConnections: 1 }), clock: hostClock(), random: Math.random }),
);
for (const cache of caches) cache.start();
await Promise.all(caches.map((cache) => cache.ready(60_000)));

/** @param {number} user */
const request = (user) => requestOf(vocabulary, { user: `u${user}`, operation: 'READ', resource: 'DEVICE', target: 'd' });
const now = () => Number(process.hrtime.bigint()) / 1e6;
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Asks one cache until it refuses: when its allow was no longer served, and when it refused. @param {PolicyCache} cache @param {number} user */
async function watch(cache, user) {
  for (const asked = request(user); ; await turn()) {
    const answer = cache.check(asked, undefined, { deadline: 10_000 });
    if (!(answer instanceof Promise)) {
      if (answer.allow) continue;
      const refused = now();
      return { unserved: refused, refused };
    }
    const unserved = now();
    const { allow } = await answer;
    assert.equal(allow, false, 'it was allowed once more by the database itself'); // it was cached, so only a touched entry is read again
    return { unserved, refused: now() };
  }
}

/** @param {number} user */
async function revoked(user) {
  for (const cache of caches) assert.equal((await cache.check(request(user), undefined, { deadline: 10_000 })).allow, true);
  const watching = caches.map((cache) => watch(cache, user));
  process.send?.('watching');
  process.send?.(await Promise.all(watching));
}
process.on('message', (/** @type {number} */ user) => void revoked(user)); // what fails ends the process, and the bench with it
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
