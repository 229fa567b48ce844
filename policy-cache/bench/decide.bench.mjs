// What does a decision cost, beside a bare Map look-up?  node policy-cache/bench/decide.bench.mjs  (after npm run build)
//
// One world, one question for each allow rule and some denies. Every answer is asserted before anything is timed.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { compileVocabulary, compileWorld, decide, expandDefaults, flatten, parseWorldFile, requestOf } from 'policy-cache';
import { parse } from 'yaml';

const CALLS = 200_000;
const ROUNDS = 15;

const vocabulary = compileVocabulary(parse(readFileSync(new URL('../vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));
const DEPTH = 16; // mean depth of the trees that the coherence figures were measured on
const customers = Array.from({ length: DEPTH }, (_, i) => ({ id: `c${i}`, owner: i === 0 ? 't' : `c${i - 1}` }));
const deepest = `c${DEPTH - 1}`;
const groups = Array.from({ length: 5 }, (_, i) => ({ id: `ug${i}`, type: 'USER', owner: 't' }));
const deviceGroups = Array.from({ length: 20 }, (_, i) => ({ id: `dg${i}`, type: 'DEVICE', owner: deepest }));
const { world, problems } = parseWorldFile({
  tenants: [{ id: 't' }],
  customers,
  groups: [...groups, ...deviceGroups, { id: 'low', type: 'USER', owner: deepest }],
  users: [
    { id: 'reader', owner: 't', groups: ['ug0'] },
    { id: 'operator', owner: 't', groups: groups.map(({ id }) => id) },
    { id: 'customer', owner: deepest, groups: ['low'] },
  ],
  entities: [{ id: 'd', type: 'DEVICE', owner: deepest, groups: ['dg1', 'dg7', 'dg19'] }],
  roles: [
    { id: 'generic', owner: 't', type: 'GENERIC', permissions: { DEVICE: ['READ'], DEVICE_GROUP: ['READ'], CUSTOMER: ['READ'], PROFILE: ['ALL'] } },
    { id: 'write', owner: 't', type: 'GROUP', permissions: ['WRITE', 'CREATE'] },
  ],
  grants: [
    { userGroup: 'ug0', role: 'generic' },
    { userGroup: 'low', role: 'generic' },
    ...deviceGroups.map(({ id }, i) => ({ userGroup: `ug${i % 5}`, role: 'write', entityGroup: id })),
  ],
});
assert.deepEqual(problems, []);
const compiled = compileWorld(vocabulary, world);

/** @type {[string, { user: string, operation: string, resource: string, target: string, owner?: string, groups?: string[] }][]} */
const questions = [
  ['3 generic', { user: 'reader', operation: 'READ', resource: 'DEVICE', target: '*' }],
  ['3 group', { user: 'operator', operation: 'WRITE', resource: 'DEVICE', target: '*' }],
  ['5 generic', { user: 'reader', operation: 'READ', resource: 'DEVICE_GROUP', target: 'dg1' }],
  ['5 group', { user: 'operator', operation: 'WRITE', resource: 'DEVICE_GROUP', target: 'dg1' }],
  ['6a generic', { user: 'reader', operation: 'READ', resource: 'DEVICE', target: 'd' }],
  ['6b group', { user: 'operator', operation: 'WRITE', resource: 'DEVICE', target: 'd' }],
  ['6c self', { user: 'customer', operation: 'READ', resource: 'CUSTOMER', target: deepest }],
  ['6d self', { user: 'reader', operation: 'WRITE', resource: 'PROFILE', target: 'reader' }],
  ['7 generic', { user: 'reader', operation: 'CREATE', resource: 'PROFILE', target: '*' }],
  ['7 group', { user: 'operator', operation: 'CREATE', resource: 'DEVICE', target: '*', owner: deepest, groups: ['dg7'] }],
  ['4 unknown-target', { user: 'reader', operation: 'READ', resource: 'DEVICE', target: 'nothing' }],
  ['6e no-grant', { user: 'reader', operation: 'DELETE', resource: 'DEVICE', target: 'd' }],
];

/** @type {[string, ReturnType<typeof measure>][]} */
const rows = [];
const map = new Map(Array.from({ length: 100_000 }, (_, i) => [`device-${i}`, i]));
rows.push(['a bare Map look-up', measure((i) => (map.get('device-77777') === 77777 ? i : -1))]);
for (const [name, question] of questions) {
  const request = requestOf(vocabulary, question);
  const facts = compiled.facts(request);
  const expected = decide(vocabulary, facts, request);
  assert.equal(`${expected.rule} ${expected.reason}`, name);
  rows.push([`decide ${expected.allow ? 'allow' : 'deny '} ${name}`, measure((i) => (decide(vocabulary, facts, request) === expected ? i : -1))]);
}
/** @type {import('policy-cache').Grant[]} */
const grants = Array.from({ length: 25 }, (_, i) =>
  i < 5
    ? { kind: 'generic', role: `r${i}`, permissions: { ALL: ['READ'], DEVICE: ['WRITE'] }, excluded: { ASSET: ['READ'] } }
    : { kind: 'group', role: `r${i}`, operations: ['READ', 'WRITE'], shared: false, group: `dg${i}`, type: 'DEVICE', owner: 't' },
);
/** @type {import('policy-cache').Numbers} */
const numbers = { group: (id) => Number(id.slice(2)), node: () => 0 };
assert.equal(flatten(vocabulary, grants, numbers).groups.length, 3 * 20);
rows.push(['flatten 25 grants', measure((i) => (flatten(vocabulary, grants, numbers).groups.length === 3 * 20 ? i : -1), CALLS / 100)]);
const large = parseWorldFile({
  defaults: true,
  tenants: [{ id: 't' }],
  customers: Array.from({ length: 1_000 }, (_, i) => ({ id: `x${i}`, owner: 't' })),
}).world;
assert.equal(expandDefaults(large).grants.length, 2 * 1_001);
rows.push(['expand the defaults of 1,000 customers', measure((i) => (expandDefaults(large).grants.length === 2_002 ? i : -1), 5)]);

console.log(`${cpus()[0]?.model}, node ${process.version}, tree ${DEPTH} deep; best and median of ${ROUNDS} rounds`);
for (const [name, { best, median, bytes }] of rows) console.log(`${name.padEnd(40)} ${format(best)} ${format(median)} ns  ${bytes.toFixed(1).padStart(10)} B`);

/**
 * Nanoseconds and heap growth of a call; -1 from it is a wrong answer.
 * @param {(i: number) => number} call
 */
function measure(call, calls = CALLS) {
  let wrong = 0;
  /** @type {number[]} */
  const times = [];
  /** @type {number[]} */
  const bytes = [];
  for (let round = 0; round < ROUNDS + 3; round++) {
    const heap = process.memoryUsage().heapUsed;
    const begun = process.hrtime.bigint();
    for (let i = 0; i < calls; i++) if (call(i) !== i) wrong++;
    const took = Number(process.hrtime.bigint() - begun) / calls;
    if (round < 3) continue; // warm-up
    times.push(took);
    bytes.push(Math.max(0, process.memoryUsage().heapUsed - heap) / calls);
  }
  assert.equal(wrong, 0);
  /** @param {number[]} list */
  const middle = (list) => list.toSorted((a, b) => a - b)[list.length >> 1] ?? 0;
  return { best: Math.min(...times), median: middle(times), bytes: middle(bytes) };
}

/** @param {number} ns */
function format(ns) {
  return ns.toFixed(1).padStart(12);
}
