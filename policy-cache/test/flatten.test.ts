// What do a few grants flatten to, said in full?

import { NONE, flatten } from 'policy-cache';
import { describe, expect, test } from 'vitest';
import { groupMask } from '../src/effective.ts';
import { vocabulary } from './support.ts';
import type { Grant, Permissions } from 'policy-cache';

const nodes = new Map([
  ['t', 0],
  ['c', 1],
]);
const groups = new Map([
  ['g', 0],
  ['h', 1],
]);
const numbers = { group: (id: string) => groups.get(id)!, node: (id: string) => nodes.get(id) ?? NONE };
const generic = (permissions: Permissions, excluded: Permissions = {}): Grant => ({ kind: 'generic', role: 'r', permissions, excluded });
const group = (more: Partial<Extract<Grant, { kind: 'group' }>>): Grant => ({
  kind: 'group',
  role: 's',
  operations: ['READ'],
  shared: false,
  group: 'g',
  type: 'DEVICE',
  owner: 'c',
  ...more,
});
const mask = (...names: readonly string[]): number => names.reduce((bits, name) => bits | (1 << vocabulary.operation(name)), 0);
const on = (resource: string, ...grants: readonly Grant[]): number => flatten(vocabulary, grants, numbers).generic[vocabulary.resource(resource)]!;

describe('generic roles', () => {
  test('ALL, on either side, is gone: every resource and operation by number', () => {
    expect(on('DEVICE', generic({ ALL: ['READ'] }))).toBe(mask('READ'));
    expect(on('AI', generic({ ALL: ['ALL'] }))).toBe(vocabulary.every);
    expect(on('DEVICE', generic({ ALL: ['READ'], DEVICE: ['WRITE'], ASSET: ['DELETE'] }))).toBe(mask('READ', 'WRITE'));
    expect(flatten(vocabulary, [generic({ ALL: ['ALL'] })], numbers).generic.length).toBe(vocabulary.resources.length);
  });
  test('an exclusion subtracts in its own role, from what ALL gives too', () => {
    expect(on('DEVICE', generic({ ALL: ['ALL'] }, { DEVICE: ['DELETE'] }))).toBe(vocabulary.every & ~mask('DELETE'));
    expect(on('DEVICE', generic({ DEVICE: ['READ', 'WRITE'] }, { ALL: ['WRITE'] }))).toBe(mask('READ'));
    expect(on('DEVICE', generic({ DEVICE: ['READ'] }, { ALL: ['ALL'] }))).toBe(0);
  });
  test('and never in another', () => {
    expect(on('DEVICE', generic({ ALL: ['READ'] }, { DEVICE: ['READ'] }), generic({ DEVICE: ['READ'] }))).toBe(mask('READ'));
  });
  test('unknown names match nothing, those of every object included', () => {
    const odd = JSON.parse(
      '{"__proto__": ["ALL"], "constructor": ["ALL"], "DEVICE": ["READ", "__proto__", "toString", "fly", ""], "device": ["ALL"]}',
    ) as Permissions;
    expect([...flatten(vocabulary, [generic(odd)], numbers).generic].filter((bits) => bits !== 0)).toEqual([mask('READ')]);
    expect(on('DEVICE', generic({ DEVICE: ['ALL'] }, odd))).toBe(vocabulary.every & ~mask('READ'));
  });
});

describe('group roles', () => {
  test('go to the group, apart by whether they are shared', () => {
    const { groups, allGroups } = flatten(
      vocabulary,
      [group({}), group({ operations: ['WRITE'] }), group({ shared: true, operations: ['ALL'] }), group({ group: 'h', shared: true })],
      numbers,
    );
    expect([0, 1, 2].map((number) => groupMask(groups, number, true))).toEqual([vocabulary.every | mask('READ', 'WRITE'), mask('READ'), 0]);
    expect([0, 1, 2].map((number) => groupMask(groups, number, false))).toEqual([vocabulary.every, mask('READ'), 0]);
    expect(allGroups).toEqual([]);
  });
  test('of however many groups, each gives its own mask and those between them give none', () => {
    for (const count of [1, 2, 3, 4, 7, 8, 9, 100]) {
      const named = Array.from({ length: count }, (_, i) => group({ group: `${2 * ((i * 37) % count) + 1}`, operations: i % 2 === 0 ? ['READ'] : ['WRITE'] }));
      const { groups } = flatten(vocabulary, named, { ...numbers, group: Number });
      const given = new Map(named.map((grant, i) => [Number(grant.kind === 'group' && grant.group), i % 2 === 0 ? mask('READ') : mask('WRITE')]));
      for (let number = 0; number <= 2 * count; number++) expect(groupMask(groups, number, true)).toBe(given.get(number) ?? 0);
    }
  });
  test('over All groups go by owner and type, and never meet those of another', () => {
    const all = ['t', 'c'].flatMap((owner) => [...vocabulary.groupableTypes].map((type) => group({ group: null, owner, type })));
    const { groups, allGroups } = flatten(vocabulary, [...all, group({ group: null, operations: ['WRITE'], shared: true })], numbers);
    expect([groups.length, allGroups.length]).toEqual([0, 3 * 2 * vocabulary.groupableCount]);
    const both = allGroups.filter((_, i) => i % 3 === 2 && allGroups[i] !== 0);
    expect(both).toEqual([mask('WRITE')]);
  });
  test('by type: every shared mask, and the own ones by owner', () => {
    const { sharedOfType, ownOfType } = flatten(
      vocabulary,
      [group({}), group({ group: null, operations: ['WRITE'] }), group({ group: 'h', owner: 't' }), group({ shared: true, operations: ['DELETE'] })],
      numbers,
    );
    const device = vocabulary.groupable[vocabulary.type('DEVICE')]!;
    expect(sharedOfType[device]).toBe(mask('DELETE'));
    expect([[...ownOfType[device]!.owners], [...ownOfType[device]!.masks]]).toEqual([
      [1, 0],
      [mask('READ', 'WRITE'), mask('READ')],
    ]);
    expect(sharedOfType.filter((bits) => bits !== 0).length).toBe(1);
  });
  test.each<[string, Grant]>([
    ['of an owner that is not there', group({ owner: 'gone', shared: true })],
    ['over the All group of an owner that is not there', group({ owner: 'gone', group: null })],
    ['over a type without groups', group({ type: 'ALARM', group: null })],
    ['over a type that is none', group({ type: '__proto__' })],
    ['of unknown operations', group({ operations: ['fly', '__proto__'] })],
    ['of no operation', group({ operations: [] })],
  ])('%s give nothing', (_, grant) => {
    expect(flatten(vocabulary, [grant], numbers)).toEqual(flatten(vocabulary, [], numbers));
  });
});

test('order and repetition of grants do not matter', () => {
  const grants = [generic({ ALL: ['READ'] }, { DEVICE: ['READ'] }), generic({ DEVICE: ['WRITE'] }), group({}), group({ shared: true }), group({ group: null })];
  const once = flatten(vocabulary, grants, numbers);
  expect(flatten(vocabulary, [...grants, ...grants], numbers)).toEqual(once);
  expect(flatten(vocabulary, grants.toReversed(), numbers)).toEqual(once);
});
