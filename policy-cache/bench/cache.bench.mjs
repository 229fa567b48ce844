// What does a check from memory cost, and what does it keep there?  npm run bench [-- --json --save]
//
// The floor is what no cache of this model can do without: two Map look-ups by string, one by integer, and the walk up the owners. Floor and
// check take turns in short rounds on the same 1,000 questions, whose ids are strings of their own, as a request's are, not those that the
// cache holds; ratios are of the same round. Every answer is compared with the world's own rule before anything is timed, and counted while it is.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { OwnerTree, PolicyCache, compileVocabulary } from 'policy-cache';
import { parse } from 'yaml';
import { benchmark, median } from '../../loadtest/figures.mjs';
import { entityRow, idOf, mayRead, millionSource, tree, userRow } from './million.mjs';

/** @typedef {import('./million.mjs').Size} Size */

const SMALL = { users: 10_000, entities: 10_000, chains: 200 };
const LARGE = { users: 1_000_000, entities: 5_000_000, chains: 20_000 };
const DEPTHS = [1, 5, 50];
const NODES = 1_000_000;
const HOT = 1_000;
const ROUND = { calls: 50_000, rounds: 31, warm: 8 };
/** Checks that wait at once while the cache is filled. */
const AT_ONCE = 400;
/** As long a fill is remembered in case its answer comes late: it is no part of what is kept. */
const FLIGHT_LIFE_MS = 1_000;

const bench = benchmark('bench', { quick: { type: 'boolean', default: false } });
const quick = bench.given['quick'] === true;
setFlagsFromString('--expose-gc');
const collect = /** @type {() => void} */ (runInNewContext('gc'));
const vocabulary = compileVocabulary(parse(readFileSync(new URL('../vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));
const READ = { operation: vocabulary.operation('READ'), resource: vocabulary.resource('DEVICE') };
const clock = { now: () => performance.now(), after: () => () => undefined };

/** @type {number[]} */
const hotSmall = [];
for (const depth of DEPTHS) await small(depth);
await large();
treeOfAMillion();
bench.finish();

/** @param {number} depth */
async function small(depth) {
  const size = { ...SMALL, depth };
  const cache = await filled(size);
  const pairs = questions(size, HOT);
  const floor = floorOf(size);
  for (const { user, entity, request } of pairs) {
    assert.equal(Number(allowed(cache, request)), Number(mayRead(size, user, entity)));
    assert.equal(floor(request), user % size.chains === entity % size.chains); // it walks; grants are none of its business
  }
  const turns = alternate({ floor: inTurn(pairs, floor), check: inTurn(pairs, (request) => allowed(cache, request)) });
  const name = depth === 5 ? 'check.hot' : `check.hot.depth${depth}`;
  bench.figure(name, turns.check, { unit: 'ns', floor: turns.floor, ratio: turns.ratio, spread: turns.spread, most: 2 });
  if (depth !== 5) return cache.close();
  hotSmall.push(turns.check);
  const every = questions(size, SMALL.users);
  const wide = alternate({ floor: inTurn(every, floor), check: inTurn(every, (request) => allowed(cache, request)) });
  bench.figure('check.wide', wide.check, {
    unit: 'ns',
    floor: wide.floor,
    ratio: wide.ratio,
    spread: wide.spread,
    note: 'every user once: more than the processor caches hold',
  });
  bench.figure(
    'check.allocation',
    growth(() => pairs.forEach(({ request }) => allowed(cache, request))),
    { unit: 'bytes a check', most: 1, of: 'value' },
  );
}

async function large() {
  const size = quick ? { users: 100_000, entities: 500_000, chains: 2_000, depth: 5 } : { ...LARGE, depth: 5 };
  const cache = newCache(size);
  const begun = performance.now();
  const before = heap();
  await fill(cache, { size, count: size.users, ask: (i) => ({ subject: idOf('u', i), target: idOf('e', i % size.chains) }) });
  const withUsers = heap();
  const targets = cache.sizes().targets;
  await fill(cache, { size, count: size.entities, ask: (i) => ({ subject: idOf('u', i % size.chains), target: idOf('e', i) }) });
  const withBoth = heap();
  const seconds = (performance.now() - begun) / 1_000;
  const { subjects, targets: all, classes } = cache.sizes();
  assert.deepEqual([subjects, all, classes], [size.users, size.entities, size.chains]);
  const perEntity = (withBoth - withUsers) / (all - targets);
  bench.say(`filled ${subjects} users in ${classes} permission classes and ${all} entities in ${seconds.toFixed(0)} s`);
  bench.figure('memory.user', (withUsers - before - targets * perEntity) / subjects, { unit: 'bytes', most: 400 });
  bench.figure('memory.entity', perEntity, { unit: 'bytes', most: 200 });
  bench.figure('fill.cold', (seconds * 1e9) / (subjects + all), { unit: 'ns', note: 'a check that misses, over a source that answers at once' });

  const pairs = questions(size, HOT);
  for (const { user, entity, request } of pairs) assert.equal(allowed(cache, request), mayRead(size, user, entity));
  const hot = alternate({ check: inTurn(pairs, (request) => allowed(cache, request)) });
  const [atSmall = Number.NaN] = hotSmall;
  bench.figure('check.large', hot.check, {
    unit: 'ns',
    ratio: hot.check / atSmall,
    spread: hot.spread,
    most: 1.5,
    note: 'ratio to `check.hot`: the same 1,000 questions among 1,000 times as many',
  });
  const many = questions(size, size.users);
  const wide = alternate({ check: inTurn(many, (request) => allowed(cache, request)) });
  cache.close();
  bench.figure('check.large.wide', wide.check, { unit: 'ns', spread: wide.spread, note: 'a million users in turn: every look-up misses the processor caches' });
}

function treeOfAMillion() {
  const size = { users: 0, entities: 0, chains: quick ? 10_000 : NODES / 10, depth: 10 };
  collect();
  const before = heap();
  const owners = new OwnerTree();
  let longest = 0;
  const timed = (/** @type {() => void} */ work) => {
    const begun = performance.now();
    work();
    longest = Math.max(longest, performance.now() - begun);
  };
  tree(size, (rows) => timed(() => owners.load(rows)));
  timed(() => owners.seal());
  assert.equal(owners.tenant(owners.node(idOf('c', 123_456 % (size.chains * 10)))), owners.node(idOf('t', 0)));
  bench.figure('memory.tree', (heap() - before) / owners.size, { unit: 'bytes a node', most: 32, note: 'parent and root 8, id index 24 at the most' });
  bench.figure('tree.pause', longest, { unit: 'ms', most: 50, note: 'the longest turn while a tree of a million is loaded, collections included' });
}

/** @param {Size} size */
function newCache(size) {
  const limits = { subjects: 2_000_000, targets: 6_000_000, classes: 100_000 };
  // The lease is no part of this: nobody pulls while a loop runs.
  const cache = new PolicyCache({
    vocabulary,
    source: millionSource(size),
    clock: { ...clock, after: later },
    random: Math.random,
    maxStaleness: 3_600_000,
    limits,
  });
  cache.start();
  return cache;
}

/** @param {number} ms @param {() => void} f */
function later(ms, f) {
  const timer = setTimeout(f, ms);
  return () => clearTimeout(timer);
}

/** With every user and entity in it. @param {Size} size */
async function filled(size) {
  const cache = newCache(size);
  await fill(cache, { size, count: size.users, ask: (i) => ({ subject: idOf('u', i), target: idOf('e', i) }) });
  return cache;
}

/** By real checks, so many at once. @param {PolicyCache} cache @param {{ size: Size, count: number, ask: (i: number) => { subject: string, target: string } }} what */
async function fill(cache, { count, ask }) {
  await cache.ready(30_000);
  for (let from = 0; from < count; from += AT_ONCE) {
    const some = [];
    for (let i = from; i < Math.min(count, from + AT_ONCE); i++) some.push(cache.check({ ...READ, ...ask(i) }, undefined, { deadline: 60_000 }));
    await Promise.all(some);
  }
  await new Promise((resolve) => setTimeout(resolve, FLIGHT_LIFE_MS));
}

/** Spread over all users; every second one is about an entity of the user's own chain, the others about a stranger's. @param {Size} size @param {number} count */
function questions(size, count) {
  return Array.from({ length: count }, (_, i) => {
    const user = Math.floor((i * size.users) / count);
    const own = (user % size.chains) + size.chains * (i % Math.floor(size.entities / size.chains));
    const entity = i % 2 === 0 ? own : (own + 1) % size.entities;
    return { user, entity, request: { ...READ, subject: idOf('u', user), target: idOf('e', entity) } };
  });
}

/** @param {PolicyCache} cache @param {import('policy-cache').AccessRequest} request */
function allowed(cache, request) {
  const decision = cache.check(request);
  if (decision instanceof Promise) throw new Error('a check that should hit has to wait');
  return decision.allow;
}

/** Two look-ups by string, one by integer, the walk. @param {Size} size @returns {(request: import('policy-cache').AccessRequest) => boolean} */
function floorOf(size) {
  const owners = new OwnerTree();
  tree(size, (rows) => owners.load(rows));
  owners.seal();
  const parent = Int32Array.from({ length: owners.size }, (_, node) => owners.parent(node));
  const users = new Map(Array.from({ length: size.users }, (_, i) => [idOf('u', i), owners.node(userRow(size, i).owner ?? '')]));
  const entities = new Map(Array.from({ length: size.entities }, (_, i) => [idOf('e', i), owners.node(entityRow(size, i).owner ?? '')]));
  const masks = new Map(Array.from({ length: owners.size }, (_, node) => [node, 0xffff]));
  const bit = 1 << READ.operation;
  return ({ subject, target }) => {
    const scope = users.get(subject) ?? -1;
    const mask = masks.get(scope) ?? 0;
    for (let at = entities.get(target) ?? -1; at >= 0; at = parent[at] ?? -1) if (at === scope) return (mask & bit) !== 0;
    return false;
  };
}

/** @typedef {(calls: number) => number} Timed nanoseconds a call */

/** @param {ReturnType<typeof questions>} pairs @param {(request: import("policy-cache").AccessRequest) => boolean} ask @returns {Timed} */
function inTurn(pairs, ask) {
  const requests = pairs.map(({ request }) => request);
  const expected = requests.filter(ask).length;
  assert(expected > 0 && expected < requests.length);
  return (calls) => {
    const laps = Math.max(1, Math.round(calls / requests.length));
    let yes = 0;
    const begun = process.hrtime.bigint();
    for (let lap = 0; lap < laps; lap++) for (const request of requests) if (ask(request)) yes++;
    const took = Number(process.hrtime.bigint() - begun);
    assert.equal(yes, laps * expected);
    return took / (laps * requests.length);
  };
}

/** Medians, and the median of the ratios within a round. @param {{ floor?: Timed, check: Timed }} timed */
function alternate({ floor, check }) {
  /** @type {number[]} */
  const floors = [];
  /** @type {number[]} */
  const checks = [];
  for (let round = -ROUND.warm; round < ROUND.rounds; round++) {
    const [first, second] = round % 2 === 0 ? [floor?.(ROUND.calls), check(ROUND.calls)] : [check(ROUND.calls), floor?.(ROUND.calls)].toReversed();
    if (round < 0) continue;
    floors.push(first ?? Number.NaN);
    checks.push(second ?? Number.NaN);
  }
  const ratio = median(checks.map((ns, i) => ns / (floors[i] ?? Number.NaN)));
  return { floor: median(floors), check: median(checks), ratio, spread: /** @type {const} */ ([Math.min(...checks), Math.max(...checks)]) };
}

/** Heap growth a check, over a million checks. @param {() => void} lap of 1,000 */
function growth(lap) {
  for (let i = 0; i < 100; i++) lap();
  collect();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 1_000; i++) lap();
  return Math.max(0, process.memoryUsage().heapUsed - before) / (1_000 * HOT);
}

/** Bytes in use, those outside of the heap included. */
function heap() {
  collect();
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
