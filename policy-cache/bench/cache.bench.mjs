// What does a check from memory cost, and what does it keep there?  npm run bench [-- --json --save]
//
// The floor is what no cache of this model can do without: two Map look-ups by string, one by integer, and the walk up the owners. Floor and
// check take turns in short rounds on the same 1,000 questions, whose ids are strings of their own, as a request's are, not those that the
// cache holds; ratios are of the same round. Every answer is compared with the world's own rule before anything is timed, and counted while it is.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { OwnerTree, PolicyCache, compileVocabulary, decide } from 'policy-cache';
import { parse } from 'yaml';
import { benchmark, median } from '../../loadtest/figures.mjs';
import { STAMP, entityRow, grantsOf, idOf, mayRead, millionSource, tree, userRow } from './million.mjs';

/** @typedef {import('./million.mjs').Size} Size */
/** @typedef {ReturnType<typeof import('../src/world.ts').newWorld>} World */

// Files of the library itself, as they are built: its public face has no way to fill a cache without asking.
const built = (/** @type {string} */ file) => import(new URL(`../dist/${file}.js`, import.meta.url).href);
/** @type {typeof import('../src/world.ts')} */
const { admitClass, admitObject, newWorld } = await built('world');
/** @type {typeof import('../src/follower.ts')} */
const { newFollower } = await built('follower');
/** @type {typeof import('../src/recent.ts')} */
const { RecentStore } = await built('recent');

const CHAINS = 2_000;
const SMALL = { users: 10_000, entities: 10_000, chains: CHAINS };
const SMALL_5 = { ...SMALL, depth: 5 };
const LARGE = { users: 1_000_000, entities: 5_000_000, chains: CHAINS };
const DEPTHS = [1, 5, 50];
const NODES = 1_000_000;
const HOT = 1_000;
const WIDE = 100_000;
const ROUND = { calls: 50_000, rounds: 31, warm: 8 };
/** Checks that wait at once while a cache is filled. */
const AT_ONCE = 400;
const HIT =
  'the clock has been read, as by a door for the duration that it reports; a reading of its own is 60 ns more (check.hot.clock). Of the rest six tenths find the two entries, where an entry has two lines of the processor caches beside those of its Map, which is all that the floor looks at; two tenths prove them and the permission class; two tenths decide. Twice the floor wants one line for an entry: a row of a typed array whose number the Map holds';

const bench = benchmark('bench', { quick: { type: 'boolean', default: false } });
const quick = bench.given['quick'] === true;
setFlagsFromString('--expose-gc');
const collect = /** @type {() => void} */ (runInNewContext('gc'));
const vocabulary = compileVocabulary(parse(readFileSync(new URL('../vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));
const READ = { operation: vocabulary.operation('READ'), resource: vocabulary.resource('DEVICE') };
const clock = { now: () => performance.now(), after: later };
/** The defaults, which the small world has, and what the large one needs. */
const LIMITS = { subjects: 100_000, targets: 1_000_000 };
const WIDER = { subjects: 2_000_000, targets: 6_000_000 };

for (const depth of DEPTHS) await hits({ ...SMALL, depth });
await large();
treeOfAMillion();
bench.finish();

/** A small world, filled by checks. @param {Size} size */
async function hits(size) {
  const cache = newCache(size);
  await cache.ready(30_000);
  const begun = performance.now();
  for (let from = 0; from < size.users; from += AT_ONCE) {
    const some = [];
    for (let i = from; i < Math.min(size.users, from + AT_ONCE); i++) some.push(cache.check(questionOf(i, i), undefined, { deadline: 60_000 }));
    await Promise.all(some);
  }
  const cold = ((performance.now() - begun) * 1e6) / size.users;
  const hot = questions(HOT);
  const floor = floorOf(size);
  checkAnswers(cache, size, hot);
  for (const { user, entity, request } of hot) assert.equal(floor(request), user % CHAINS === entity % CHAINS); // it walks; grants are none of its business
  const turns = alternate(inTurn(hot, asked(cache)), inTurn(hot, floor));
  bench.figure(size.depth === 5 ? 'check.hot' : `check.hot.depth${size.depth}`, turns.ns, {
    ...turns,
    unit: 'ns',
    most: 2,
    ...(size.depth === 5 ? { note: HIT } : {}),
  });
  if (size.depth === 5) {
    const own = alternate(
      inTurn(hot, (request) => allowed(cache, request)),
      inTurn(hot, floor),
    );
    bench.figure('check.hot.clock', own.ns, { ...own, unit: 'ns', note: 'the same, where each check reads the clock itself: the lease is judged by it' });
    const all = questions(size.users);
    checkAnswers(cache, size, all);
    const wide = alternate(inTurn(all, asked(cache)), inTurn(all, floor));
    bench.figure('check.wide', wide.ns, { ...wide, unit: 'ns', note: 'every user of the small world in turn' });
    bench.figure('check.cold', cold, { unit: 'ns', note: 'a user, a permission class and a target are filled by a source that answers at once' });
    decisions(size, hot, floor);
    allocation(hot, cache);
  }
  cache.close();
}

/** The decision alone, on facts that are at hand. @param {Size} size @param {ReturnType<typeof questions>} hot @param {(request: import('policy-cache').AccessRequest) => boolean} floor */
function decisions(size, hot, floor) {
  const world = filledWorld(size);
  const facts = new Map(
    hot.map(({ request }) => {
      const subject = world.subjects.get(request.subject);
      const target = world.targets.get(request.target);
      const effective = subject?.cell?.effective;
      assert(subject && target && effective);
      return [request, { tree: world.tree, subject, effective, target, groups: [] }];
    }),
  );
  const list = hot.map(({ request }) => ({ request, facts: facts.get(request) }));
  let next = 0;
  const decided = alternate(
    inTurn(hot, (request) => {
      const one = list[next++ % list.length];
      return one?.facts !== undefined && decide(vocabulary, one.facts, request).allow;
    }),
    inTurn(hot, floor),
  );
  bench.figure('decide.hot', decided.ns, { ...decided, unit: 'ns', note: 'a decision on facts that are at hand: no look-up by id' });
}

/**
 * Over laps too short for a collection, beside laps that do nothing, and laps that allocate on purpose: else it would show nothing.
 * The clock says the same each time: what a reading of performance.now() leaves is Node's.
 * @param {ReturnType<typeof questions>} hot @param {PolicyCache} warm
 */
function allocation(hot, warm) {
  assert(warm.sizes().subjects > 0);
  const world = filledWorld(SMALL_5);
  const cache = cacheOf(world, { now: () => 1, after: later });
  // The least of several: until it is compiled, and anew for each question, the loop itself leaves 40 bytes a turn.
  const lap = (/** @type {(request: import('policy-cache').AccessRequest) => unknown} */ each) => Math.min(...[1, 2, 3, 4].map(() => laps(each)));
  const laps = (/** @type {(request: import('policy-cache').AccessRequest) => unknown} */ each) => {
    for (let i = 0; i < 50; i++) for (const { request } of hot) each(request);
    const bytes = Array.from({ length: 101 }, () => {
      const before = process.memoryUsage().heapUsed;
      for (const { request } of hot) each(request);
      return process.memoryUsage().heapUsed - before;
    });
    return median(bytes) / HOT;
  };
  let kept = {};
  const measured = () => ({
    empty: lap(() => undefined),
    control: lap((request) => (kept = { request, kept: null })),
    checked: lap((request) => allowed(cache, request)),
  });
  measured(); // the first question of all would be asked by a loop that is not compiled yet
  const { empty, control, checked } = measured();
  assert(control - empty > 16, `the measure sees an allocation: ${control} bytes, and ${empty} of a loop that does nothing`);
  assert(kept);
  bench.figure('check.allocation', Math.max(0, checked - empty), { unit: 'bytes a check', most: 1, of: 'value' });
}

async function large() {
  const size = quick ? { users: 100_000, entities: 500_000, chains: CHAINS, depth: 5 } : { ...LARGE, depth: 5 };
  const begun = performance.now();
  const empty = filledWorld({ ...size, users: 0, entities: 0 }, WIDER);
  const before = heap();
  fillUsers(empty, size);
  const withUsers = heap();
  fillEntities(empty, size);
  const withBoth = heap();
  const cache = cacheOf(empty, clock);
  const { subjects, targets, classes } = cache.sizes();
  assert.deepEqual([subjects, targets, classes], [size.users, size.entities, CHAINS]);
  bench.say(`${subjects} users in ${classes} permission classes and ${targets} entities, filled in ${((performance.now() - begun) / 1_000).toFixed(0)} s`);
  bench.figure('memory.user', (withUsers - before) / subjects, {
    unit: 'bytes',
    most: 400,
    note: `with the permission classes of all, ${subjects / classes} users to one`,
  });
  bench.figure('memory.entity', (withBoth - withUsers) / targets, {
    unit: 'bytes',
    most: 200,
    note: `placements are shared: ${targets / CHAINS} entities to an owner`,
  });

  const small = cacheOf(filledWorld(SMALL_5), clock);
  const hot = questions(HOT);
  for (const each of [cache, small]) checkAnswers(each, SMALL_5, hot);
  const same = alternate(inTurn(hot, asked(cache)), inTurn(hot, asked(small)));
  const bare = alternate(inTurn(hot, floorOf(size)), inTurn(hot, floorOf(SMALL_5)));
  bench.figure('check.large', same.ns, {
    ...same,
    unit: 'ns',
    most: 1.5,
    note: `floor: the same 1,000 questions in the small world, in turn with the large one. Bare Maps of both sizes, measured so: ${bare.ns.toFixed(0)} by ${bare.floor?.toFixed(0)} ns, ratio ${bare.ratio?.toFixed(2)}. To beat that an id would have to be found without its text, which lies in a page of its own, as do the bucket and the place in the Map`,
  });
  const all = questions(WIDE, size.users / WIDE);
  const wide = alternate(inTurn(all, asked(cache)));
  bench.figure('check.large.wide', wide.ns, {
    unit: 'ns',
    spread: wide.spread,
    note: 'a tenth of the users in turn: every look-up is of memory that no processor cache holds',
  });
}

function treeOfAMillion() {
  const size = { users: 0, entities: 0, chains: NODES / 10, depth: 10 };
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
  // The lease is no part of this: nobody pulls while a loop runs.
  const cache = new PolicyCache({ vocabulary, source: millionSource(size), clock, random: Math.random, maxStaleness: 3_600_000 });
  cache.start();
  return cache;
}

/** A cache around a world that is there, which follows nothing. @param {World} world @param {import('policy-cache').Clock} at */
function cacheOf(world, at) {
  world.freshAsOf = 0;
  const driver = { state: { ...newFollower(), current: world }, cause: null, start: () => undefined, close: () => undefined, send: () => undefined };
  return new PolicyCache({ vocabulary, source: millionSource(SMALL_5), clock: at, random: Math.random, maxStaleness: 3_600_000_000 }, () => driver);
}

/** By the admissions that a fill ends in, without the checks that ask for it: a million in seconds. @param {Size} size */
function filledWorld(size, limits = LIMITS) {
  const owners = new OwnerTree();
  tree(size, (rows) => owners.load(rows));
  /** @type {import('../src/world.ts').Stores} */
  const stores = {
    subjects: new RecentStore(limits.subjects),
    targets: new RecentStore(limits.targets),
    ...{ absent: new Map(), classes: new Map(), keys: new Map(), absentKeys: new Map() },
  };
  const world = newWorld(STAMP, owners, stores);
  fillUsers(world, size);
  fillEntities(world, size);
  return world;
}

/** @param {World} world @param {Size} size */
function fillUsers(world, size) {
  for (let i = 0; i < size.users; i++) {
    const row = userRow(size, i);
    assert(admitObject(world, vocabulary, { id: row.id, as: 'subject', row, stamp: STAMP }));
    const cell = world.subjects.get(row.id)?.cell;
    if (cell?.effective === null) assert(admitClass(world, vocabulary, { cell, grants: row.groups.flatMap((group) => grantsOf(size, group)), stamp: STAMP }));
  }
}

/** @param {World} world @param {Size} size */
function fillEntities(world, size) {
  for (let i = 0; i < size.entities; i++) {
    const row = entityRow(size, i);
    assert(admitObject(world, vocabulary, { id: row.id, as: 'target', row, stamp: STAMP }));
  }
}

/** @param {number} ms @param {() => void} f */
function later(ms, f) {
  const timer = setTimeout(f, ms);
  return () => clearTimeout(timer);
}

/** Of users and entities that both worlds have; every second one is about an entity of the user's own chain, the others about a stranger's. @param {number} count @param {number} [stride] between users; else both worlds have them */
function questions(count, stride) {
  return Array.from({ length: count }, (_, i) => {
    const user = stride === undefined ? (i * 7) % SMALL.users : Math.floor(i * stride);
    const own = (user % CHAINS) + CHAINS * (i % (SMALL.entities / CHAINS));
    const entity = i % 2 === 0 ? own : (own + 1) % SMALL.entities;
    return { user, entity, request: questionOf(user, entity) };
  });
}

/** A literal, as the service has it: what is spread has another shape each time, and each look at it is a look-up then [measured: 400 ns a check]. @param {number} user @param {number} entity */
function questionOf(user, entity) {
  return { subject: idOf('u', user), operation: READ.operation, resource: READ.resource, target: idOf('e', entity) };
}

/** @param {PolicyCache} cache @param {Size} size @param {ReturnType<typeof questions>} asked */
function checkAnswers(cache, size, asked) {
  for (const { user, entity, request } of asked) assert.equal(allowed(cache, request), mayRead(size, user, entity));
}

/** As a door asks, which has read the clock for the duration that it reports. @param {PolicyCache} cache @returns {(request: import('policy-cache').AccessRequest) => boolean} */
function asked(cache) {
  const now = clock.now();
  return (request) => allowed(cache, request, now);
}

/** @param {PolicyCache} cache @param {import('policy-cache').AccessRequest} request @param {number} [now] */
function allowed(cache, request, now) {
  const decision = cache.check(request, undefined, undefined, now);
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

/** In turn, each first every second time; medians, and the median of the ratios within a round. @param {Timed} check @param {Timed} [floor] */
function alternate(check, floor) {
  /** @type {number[]} */
  const floors = [];
  /** @type {number[]} */
  const checks = [];
  for (let round = -ROUND.warm; round < ROUND.rounds; round++) {
    const before = round % 2 === 0 ? floor?.(ROUND.calls) : undefined;
    const ns = check(ROUND.calls);
    const beside = before ?? floor?.(ROUND.calls);
    if (round < 0) continue;
    checks.push(ns);
    if (beside !== undefined) floors.push(beside);
  }
  const spread = /** @type {const} */ ([Math.min(...checks), Math.max(...checks)]);
  if (floors.length === 0) return { ns: median(checks), spread };
  return { ns: median(checks), spread, floor: median(floors), ratio: median(checks.map((ns, i) => ns / (floors[i] ?? Number.NaN))) };
}

/** Bytes in use, those outside of the heap included. */
function heap() {
  collect();
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
