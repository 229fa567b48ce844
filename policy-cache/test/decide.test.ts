// What does a decision do with facts that no well-formed world gives it, and with numbers that count nothing?

import { ANY, DECISIONS, NONE, OwnerTree, decide, decideSubject, flatten, virtualGroup } from 'policy-cache';
import { describe, expect, test } from 'vitest';
import { triple, vocabulary } from './support.ts';
import type { AccessRequest, Facts, Placement } from 'policy-cache';

const tree = new OwnerTree();
tree.apply([
  ['t', [null]],
  ['c', ['t']],
  ['z', [null]],
]);
const everything = flatten(vocabulary, [{ kind: 'generic', role: 'r', permissions: { ALL: ['ALL'] }, excluded: {} }], {
  group: () => 0,
  node: (id) => tree.node(id),
});
const thing = (type: string, owner: number, more: Partial<Placement> = {}): Placement => ({
  group: false,
  type: vocabulary.type(type),
  owner,
  node: NONE,
  enabled: true,
  groups: [],
  ...more,
});
const user = thing('USER', tree.node('t'));
const facts = (more: Partial<Facts>): Facts => ({ tree, subject: user, effective: everything, target: thing('DEVICE', tree.node('c')), groups: [], ...more });
const request = (more: Partial<AccessRequest> = {}): AccessRequest => ({
  subject: 'u',
  operation: vocabulary.operation('READ'),
  resource: vocabulary.resource('DEVICE'),
  target: 'd',
  ...more,
});
const asked = (more: Partial<Facts>, of: Partial<AccessRequest> = {}): string => triple(decide(vocabulary, facts(more), request(of)));

test('the facts as they should be', () => expect(asked({})).toBe('6a allow generic'));

describe('a subject that is no user is unknown', () => {
  test.each<[string, Placement | null]>([
    ['no such id', null],
    ['a device', thing('DEVICE', tree.node('t'))],
    ['a group of users', thing('USER', tree.node('t'), { group: true, groups: [0] })],
    ['a user of nobody, though its target is nobody’s too', thing('USER', NONE)],
    ['a tenant', thing('TENANT', NONE, { node: tree.node('t') })],
  ])('%s', (_, subject) => {
    expect(asked({ subject, target: thing('DEVICE', NONE) })).toBe('1 deny unknown-subject');
    expect(asked({ subject }, { target: ANY })).toBe('1 deny unknown-subject');
  });
});

describe('what belongs to nobody belongs to no tenant', () => {
  test('a target without an owner in the tree', () => expect(asked({ target: thing('DEVICE', NONE) })).toBe('4 deny other-tenant'));
  test('one of a type that the vocabulary does not name', () => expect(asked({ target: thing('NO_SUCH', tree.node('c')) })).toBe('4 deny type-mismatch'));
  test('a group of such a type', () => expect(asked({ target: thing('NO_SUCH', tree.node('c'), { group: true, groups: [0] }) })).toBe('4 deny type-mismatch'));
});

test.each([
  -1,
  20.5,
  0.5,
  NaN,
  Infinity,
  -Infinity,
  2 ** 32,
  2 ** 32 + 1,
  53,
  '0' as unknown as number,
  null as unknown as number,
  undefined as unknown as number,
])('%s is no operation and no resource', (number) => {
  expect(asked({}, { operation: number })).toBe('0 deny unknown-vocabulary');
  expect(asked({}, { resource: number })).toBe('0 deny unknown-vocabulary');
});

test('the first number beyond the operations is none', () => expect(asked({}, { operation: vocabulary.operations.length })).toBe('0 deny unknown-vocabulary'));

test('steps 0 to 2 need no target: the same answer, or an open question', () => {
  const chain = request({ resource: vocabulary.resource('RULE_CHAIN') });
  const below = thing('USER', tree.node('c'));
  expect(decideSubject(vocabulary, tree, below, chain)).toBe(decide(vocabulary, facts({ subject: below, target: null }), chain));
  expect(decideSubject(vocabulary, tree, user, chain)).toBeNull();
});

test('nothing is allowed with nothing', () => {
  const nothing = flatten(vocabulary, [], { group: () => 0, node: () => NONE });
  for (const operation of vocabulary.operations.keys()) {
    for (const resource of vocabulary.resources.keys()) {
      for (const target of [ANY, 'd']) expect(asked({ effective: nothing }, { operation, resource, target }).split(' ')[1]).toBe('deny');
    }
  }
});

test('an All group: of a groupable type and an owner that is there', () => {
  expect(virtualGroup(vocabulary, tree, 'all:DEVICE:c')).toEqual({
    group: true,
    type: vocabulary.type('DEVICE'),
    owner: tree.node('c'),
    node: NONE,
    enabled: true,
    groups: [],
  });
  for (const id of [
    'all:ALARM:c',
    'all:NO_SUCH:c',
    'all:__proto__:c',
    'all:DEVICE:nobody',
    'all:DEVICE:',
    'all:DEVICE',
    'all::c',
    'ALL:DEVICE:c',
    ' all:DEVICE:c',
    'd',
  ]) {
    expect(virtualGroup(vocabulary, tree, id), id).toBeNull();
  }
});

test('a type without groups is in no All group, not even the one whose number is next to it', () => {
  const grants = [...vocabulary.groupableTypes].flatMap((type) =>
    ['t', 'c', 'z'].map((owner) => ({ kind: 'group', role: 'r', operations: ['ALL'], shared: true, group: null, type, owner }) as const),
  );
  const effective = flatten(vocabulary, grants, { group: () => 0, node: (id) => tree.node(id) });
  for (const type of ['ALARM', 'ROLE', 'RULE_CHAIN']) {
    expect(asked({ effective, target: thing(type, tree.node('c')) }, { resource: vocabulary.resource(type) })).toBe('6e deny no-grant');
  }
  expect(asked({ effective })).toBe('6b allow group');
});

test('every answer is one frozen constant', () => {
  expect(DECISIONS.length).toBe(29);
  expect(new Set(DECISIONS.map(triple)).size).toBe(29);
  expect(DECISIONS.every(Object.isFrozen) && Object.isFrozen(DECISIONS)).toBe(true);
});
