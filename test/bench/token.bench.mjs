// Is a check with a token that is reached as fast as one without, and one by an API key or a session as one by a signed token?  npm run bench:token [-- --json]
//
// At the cache and through the door over HTTP, beside what neither can beat: a bare Map look-up, and the door's answer on a public
// route. Variants take turns in short rounds and are compared within each round, so that a machine that does other work slows all of
// them. Every answer is checked before anything is timed.

import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { PolicyCache, compileVocabulary, formatRevision, parseRevision, parseWorldFile, requestOf } from 'policy-cache';
import { MemorySource } from 'policy-cache/memory';
import { parse } from 'yaml';
import { createOpaqueTokens, newAccessToken, newApiKey } from '../../dist/opaque.js';
import { createAuthorize, decisionIds } from '../../dist/authorize.js';
import { hostClock } from '../../dist/clock.js';
import { createHttpDoors } from '../../dist/doors/http.js';
import { createAuthenticator } from '../../dist/identity.js';
import { createThingsBoardIssuer, signToken } from '../../dist/issuers/thingsboard.js';
import { listen } from '../../dist/listen.js';
import { createPdp } from '../../dist/pdp.js';
import { compileRoutes } from '../../dist/routes.js';

const HISTORY = 900; // what one pull brings
const AT_CACHE = { calls: 20_000, rounds: 101 };
const AT_DOOR = { calls: 200, rounds: 151 };
const DEPTH = 16; // mean depth of the trees that the coherence figures were measured on
// No wait, no pull, no allocation: what is left is to look one revision up (60 ns of 300), and to read and parse a header (0.5 µs of 17).
const GOALS = { cache: 1.5, door: 1.15 };

/** Of every process of this bench. */
const API_KEY = newApiKey();
const SESSION = newAccessToken();
const vocabulary = compileVocabulary(parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));
const { world, problems } = parseWorldFile({
  tenants: [{ id: 't' }],
  customers: Array.from({ length: DEPTH }, (_, i) => ({ id: `c${i}`, owner: i === 0 ? 't' : `c${i - 1}` })),
  groups: [{ id: 'staff', type: 'USER', owner: 't' }],
  users: [{ id: 'reader', owner: 't', groups: ['staff'] }],
  entities: [{ id: 'd', type: 'DEVICE', owner: `c${DEPTH - 1}` }],
  roles: [{ id: 'role', owner: 't', type: 'GENERIC', permissions: { DEVICE: ['READ'] } }],
  grants: [{ userGroup: 'staff', role: 'role' }],
});
assert.deepEqual(problems, []);

/** A cache that has seen some history, and the revisions that a client may hold. */
async function warmCache() {
  const source = new MemorySource({ world, newId: () => randomUUID() });
  const cache = new PolicyCache({ vocabulary, source, clock: hostClock(), random: Math.random });
  cache.start();
  await cache.ready(10_000);
  source.commit((tables) => tables.setKey({ hash: API_KEY.hash, user: 'reader', actor: '', expires: Date.now() + 3_600_000 }));
  source.commit((tables) => tables.setKey({ hash: SESSION.hash, user: 'reader', actor: '', expires: Date.now() + 3_600_000 }));
  const revisions = Array.from({ length: HISTORY }, (_, i) =>
    formatRevision(source.commit((tables) => (i % 2 === 0 ? tables.addEntity({ id: 'e', type: 'DEVICE', owner: 't', groups: [] }) : tables.remove('e')))),
  );
  while (cache.state().revision !== revisions.at(-1)) await turn();
  return { cache, newest: revisions.at(-1) ?? '', older: revisions[HISTORY >> 1] ?? '' };
}

if (process.argv[2] === 'door') await serve();
else await measure();

async function serve() {
  const { cache, newest, older } = await warmCache();
  const key = Buffer.alloc(64, 7).toString('base64');
  const { table } = compileRoutes(vocabulary, {
    routes: [
      { method: 'GET', path: '/api/device/{id}', resource: 'DEVICE', operation: 'READ', target: '{id}' },
      { method: 'GET', path: '/public', public: true },
    ],
  });
  const wall = () => Date.now();
  const issuer = createThingsBoardIssuer({ name: 'thingsboard', tenants: '*', signingKeys: [key] });
  const authenticator = createAuthenticator({ issuers: [issuer], wall, tokens: 100 });
  const clock = hostClock();
  const opaque = createOpaqueTokens({ cache, wall, kinds: { key: true, session: true } });
  const authorize = createAuthorize({ table, authenticator, opaque, pdp: createPdp(cache, { deadline: 1_000 }), nextId: decisionIds('bench'), clock });
  const doors = createHttpDoors({ authorize, clock, report: () => undefined, atLeast: true });
  const address = await listen(doors.server(), { host: '127.0.0.1', port: 0 });
  const token = await signToken(key, { userId: 'reader', scope: 'TENANT_ADMIN', issuedAt: Math.floor(wall() / 1000), lifetime: 3_600 });
  process.on('disconnect', () => process.exit(0));
  process.send?.({ port: Number(address.split(':').at(-1)), token, key: API_KEY.key, session: SESSION.text, newest, older });
}

async function measure() {
  const json = process.argv.includes('--json');
  const say = (/** @type {string} */ line) => void (json || process.stdout.write(`${line}\n`));
  say(`${cpus()[0]?.model}, ${cpus().length} cores, node ${process.version}; a history of ${HISTORY} revisions, a tree ${DEPTH} deep`);

  const { cache, newest, older } = await warmCache();
  const map = new Map(Array.from({ length: 100_000 }, (_, i) => [`device-${i}`, i]));
  const request = requestOf(vocabulary, { user: 'reader', operation: 'READ', resource: 'DEVICE', target: 'd' });
  const options = { deadline: 100 };
  const expected = await cache.check(request);
  assert.equal(`${expected.reason} ${expected.rule}`, 'generic 6a');
  /** @param {import('policy-cache').CheckOptions} asked */
  const check = (asked) => {
    assert.equal(cache.check(request, undefined, asked), expected, 'answered in the turn that asks');
    return () => cache.check(request, undefined, asked) === expected;
  };
  const holder = await cache.key(API_KEY.hash);
  assert.equal(holder?.user, 'reader');
  // Parsed, as a door does: another string than the one that the cache holds.
  const atCache = await rounds(AT_CACHE, {
    floor: inLoop(() => map.get('device-77777') === 77_777),
    without: inLoop(check(options)),
    newest: inLoop(check({ ...options, atLeast: parseRevision(newest) })),
    older: inLoop(check({ ...options, atLeast: parseRevision(older) })),
    key: inLoop(() => cache.key(API_KEY.hash, options) === holder),
  });
  cache.close();
  say(`at the cache, ns:        ${row(atCache.medians, 1)}`);

  const child = fork(fileURLToPath(import.meta.url), ['door']);
  const [at] = /** @type {[{ port: number, token: string, key: string, session: string, newest: string, older: string }]} */ (await once(child, 'message'));
  const socket = connect(at.port, '127.0.0.1').setNoDelay();
  await once(socket, 'connect');
  /** @param {string} path @param {readonly string[]} more */
  const asking = async (path, more = [], credential = at.token) => {
    const lines = ['GET /auth/nginx HTTP/1.1', 'Host: door', `Authorization: Bearer ${credential}`, 'X-Original-Method: GET', `X-Original-URI: ${path}`];
    const one = [...lines, ...more, '', ''].join('\r\n');
    const few = await answers(socket, one, 20);
    assert.equal(few.allowed, 20);
    return async (/** @type {number} */ calls) => {
      const { allowed, ns } = await answers(socket, one, calls);
      assert.equal(allowed, calls);
      return ns;
    };
  };
  const atDoor = await rounds(AT_DOOR, {
    floor: await asking('/public'),
    without: await asking('/api/device/d'),
    unread: await asking('/api/device/d', [`X-Authz-At-Lease: ${at.newest}`]), // the same bytes, under a name that no door reads
    newest: await asking('/api/device/d', [`X-Authz-At-Least: ${at.newest}`]),
    older: await asking('/api/device/d', [`X-Authz-At-Least: ${at.older}`]),
    key: await asking('/api/device/d', [], at.key),
    session: await asking('/api/device/d', [], at.session),
  });
  socket.destroy();
  child.disconnect();
  say(`through the door, µs:    ${row(atDoor.medians, 1_000)}`);

  const figures = [...toFigures('cache', atCache, { unit: 'ns', goal: GOALS.cache }), ...toFigures('door', atDoor, { unit: 'ns', goal: GOALS.door })];
  if (json) process.stdout.write(`${JSON.stringify({ figures })}\n`);
  else for (const { name, value, goal, met } of figures) if (goal !== null) say(`${met ? 'met    ' : 'NOT met'} ${name}: ${value}, goal ${goal}`);
}

/** @typedef {(calls: number) => Promise<number> | number} Timed Nanoseconds of so many calls. */
/** @typedef {'floor' | 'without' | 'unread' | 'newest' | 'older' | 'key' | 'session'} Variant `key`: at the cache, whose it is; through the door, a check by it. */

/** @param {() => boolean} call @returns {Timed} */
function inLoop(call) {
  return (calls) => {
    let wrong = 0;
    const begun = process.hrtime.bigint();
    for (let i = 0; i < calls; i++) if (!call()) wrong++;
    const took = Number(process.hrtime.bigint() - begun);
    assert.equal(wrong, 0);
    return took;
  };
}

/**
 * Medians per call, and of the ratios to `without` within each round.
 * @param {{ calls: number, rounds: number }} run @param {Readonly<Partial<Record<Variant, Timed>> & { without: Timed }>} variants
 */
async function rounds({ calls, rounds: count }, variants) {
  const names = /** @type {Variant[]} */ (Object.keys(variants));
  /** @type {Record<Variant, number[]>} */
  const times = { floor: [], without: [], unread: [], newest: [], older: [], key: [], session: [] };
  for (let round = -5; round < count; round++) {
    await turn(); // for pulls, which the cache must have to go on answering
    // In another order each time: whoever comes next pays for what the last one left to be collected.
    for (const name of shuffled(names)) {
      const ns = (await (variants[name] ?? variants.without)(calls)) / calls;
      if (round >= 0) times[name].push(ns);
    }
  }
  const ratio = (/** @type {Variant} */ name) => median(times[name].map((ns, i) => ns / (times.without[i] ?? NaN)));
  return {
    medians: names.map((name) => /** @type {const} */ ([name, median(times[name])])),
    ratios: names.filter((name) => name !== 'floor' && name !== 'without').map((name) => /** @type {const} */ ([name, ratio(name)])),
  };
}

/** The same request so many times, in one write; every answer of this door has `200` in its first line, or it is none. @param {import('node:net').Socket} socket @param {string} one @param {number} count */
async function answers(socket, one, count) {
  const text = one.repeat(count);
  const begun = process.hrtime.bigint();
  socket.write(text);
  let got = '';
  let seen = 0;
  let allowed = 0;
  while (seen < count) {
    const [part] = /** @type {[Buffer]} */ (await once(socket, 'data'));
    got += part.toString('latin1');
    const parts = got.split('\r\n\r\n');
    got = parts.pop() ?? '';
    seen += parts.length;
    for (const head of parts) if (head.startsWith('HTTP/1.1 200 ')) allowed++;
  }
  return { allowed, ns: Number(process.hrtime.bigint() - begun) };
}

function turn() {
  return new Promise((resolve) => setImmediate(resolve));
}

/** @template T @param {readonly T[]} list */
function shuffled(list) {
  return list
    .map((value) => ({ value, key: Math.random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ value }) => value);
}

/** @param {readonly number[]} values */
function median(values) {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}

/** @param {readonly (readonly [string, number])[]} medians @param {number} unit */
function row(medians, unit) {
  return medians.map(([name, ns]) => `${name} ${(ns / unit).toFixed(1)}`).join('  ');
}

/** @param {string} where @param {Awaited<ReturnType<typeof rounds>>} measured @param {{ unit: string, goal: number }} as */
function toFigures(where, { medians, ratios }, { unit, goal }) {
  return [
    ...medians.map(([name, value]) => ({ name: `token.${where}.${name}`, value: Math.round(value * 10) / 10, unit, goal: null, met: null })),
    ...ratios.map(([name, value]) => ({
      name: `token.${where}.ratio.${name}`,
      value: Math.round(value * 1000) / 1000,
      unit: 'ratio',
      goal,
      met: value <= goal,
    })),
  ];
}
