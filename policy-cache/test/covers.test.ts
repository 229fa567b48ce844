// What is covered, clause by clause; and is whoever asks what somebody holds never shown what another one does?

import { PolicyCache, compileWorld, parseWorldFile, requestOf, uncovered, withHeld } from 'policy-cache';
import { MemorySource } from 'policy-cache/memory';
import type { CheckStatus, Grant, Held, Uncovered } from 'policy-cache';
import { describe, expect, test } from 'vitest';
import { FakeClock } from './fakeclock.ts';
import { vocabulary } from './support.ts';

const { world } = parseWorldFile({
  defaults: false,
  tenants: [{ id: 't' }, { id: 'other' }],
  customers: [
    { id: 'c', owner: 't' },
    { id: 'cc', owner: 'c' },
    { id: 'd', owner: 't' },
  ],
  groups: [
    { id: 'keepers', type: 'USER', owner: 'c' },
    { id: 'sharers', type: 'USER', owner: 'c' },
    { id: 'owners', type: 'USER', owner: 'c' },
    { id: 'of-c', type: 'DEVICE', owner: 'c' },
    { id: 'of-d', type: 'DEVICE', owner: 'd' },
  ],
  users: [
    { id: 'keeper', owner: 'c', groups: ['keepers'] },
    { id: 'sharer', owner: 'c', groups: ['sharers'] },
    { id: 'owner', owner: 'c', groups: ['owners'] },
    { id: 'nothing', owner: 'c', groups: [] },
    { id: 'off', owner: 'c', enabled: false, groups: ['keepers'] },
    { id: 'far', owner: 'd', groups: [] },
  ],
  roles: [
    {
      id: 'keep',
      owner: 't',
      type: 'GENERIC',
      permissions: { DEVICE: ['READ', 'WRITE'], DEVICE_GROUP: ['READ'], ALARM: ['ALL'] },
      excluded: { ALARM: ['DELETE'] },
    },
    { id: 'share', owner: 't', type: 'GROUP', permissions: ['READ', 'DELETE', 'CREATE'] },
    { id: 'own', owner: 't', type: 'GROUP', permissions: ['ALL'] },
  ],
  grants: [
    { id: 'g1', userGroup: 'keepers', role: 'keep' },
    { id: 'g2', userGroup: 'sharers', role: 'share', entityGroup: 'of-d', shared: true },
    { id: 'g3', userGroup: 'owners', role: 'own', entityGroup: 'of-c' },
    { id: 'g4', userGroup: 'owners', role: 'own', entityGroup: 'of-d' },
    { id: 'g5', userGroup: 'owners', role: 'own', entityGroup: 'all:ASSET:cc' },
  ],
});
const compiled = compileWorld(vocabulary, world);

function heldBy(subject: string): Held {
  const ask = { subject, operation: 0, resource: 0, target: '*' };
  const { tree, subject: placement, effective } = compiled.facts(ask);
  return { tree, scope: placement!.owner, effective, group: (id) => compiled.facts({ ...ask, groups: [id] }).groups[0]!.groups[0]!, groupId: String };
}
const lacking = (subject: string, grant: Grant, userOwner = 'c'): Uncovered | null => uncovered(vocabulary, heldBy(subject), { grant, userOwner });
const generic = (permissions: Readonly<Record<string, readonly string[]>>, excluded = {}): Grant => ({ kind: 'generic', role: 'r', permissions, excluded });
const over = (group: string | null, operations: readonly string[], more: Partial<Extract<Grant, { kind: 'group' }>> = {}): Grant => {
  const owner = group === null ? 'cc' : group.slice(3);
  return { kind: 'group', role: 'r', operations, shared: false, group, type: group === null ? 'ASSET' : 'DEVICE', owner, ...more };
};

describe('a generic role', () => {
  test('is covered resource by resource, with what it excludes', () => {
    expect(lacking('keeper', generic({ DEVICE: ['READ'] }))).toBe(null);
    expect(lacking('keeper', generic({ DEVICE: ['READ', 'DELETE'] }))).toEqual({
      lacks: 'operations',
      operations: ['DELETE'],
      resource: 'DEVICE',
      group: null,
    });
    expect(lacking('keeper', generic({ ALARM: ['ALL'] }))).toMatchObject({ operations: ['DELETE'], resource: 'ALARM' });
    expect(lacking('keeper', generic({ ALL: ['ALL'] }, { ALL: ['ALL'] }))).toBe(null);
    expect(lacking('keeper', generic({ ALL: ['READ'] }))).toMatchObject({ operations: ['READ'], resource: 'PROFILE' });
  });
  test('and only for users of the own subtree, were it to give nothing', () => {
    expect(lacking('keeper', generic({ DEVICE: ['READ'] }), 'cc')).toBe(null);
    for (const owner of ['t', 'd', 'other', 'nobody']) expect(lacking('keeper', generic({}), owner)).toEqual({ lacks: 'scope', owner });
  });
  test('of names that nobody knows gives nothing', () => {
    expect(lacking('nothing', generic({ NO_SUCH: ['ALL'], DEVICE: ['NO_SUCH'], __proto__: ['READ'], constructor: ['ALL'] }))).toBe(null);
    expect(lacking('nothing', generic({ DEVICE: ['READ'] }))).not.toBe(null);
  });
});

describe('a group role', () => {
  test('by generic permissions needs the group in scope, and both resources', () => {
    expect(lacking('keeper', over('of-c', ['READ']))).toBe(null);
    expect(lacking('keeper', over('of-c', ['WRITE']))).toEqual({ lacks: 'operations', operations: ['WRITE'], resource: 'DEVICE_GROUP', group: 'of-c' });
    expect(lacking('keeper', over('of-d', ['READ']))).toMatchObject({ operations: ['READ'], group: 'of-d' });
    expect(lacking('keeper', over(null, ['READ']))).toMatchObject({ resource: 'ASSET_GROUP', group: 'all:ASSET:cc' });
  });
  test('by what is held over the very group, which sleeps where a grant is out of scope and no share', () => {
    expect(lacking('owner', over('of-c', ['ALL']))).toBe(null);
    expect(lacking('owner', over(null, ['READ', 'WRITE']))).toBe(null);
    expect(lacking('owner', over('of-d', ['READ']))).not.toBe(null);
    expect(lacking('sharer', over('of-d', ['READ', 'NO_SUCH']))).toBe(null);
    expect(lacking('sharer', over('of-d', ['READ', 'WRITE']))).toMatchObject({ operations: ['WRITE'] });
    expect(lacking('sharer', over('of-c', ['READ']))).not.toBe(null);
  });
  test('what a share gives and only an owner may use is not handed back to those around the group', () => {
    expect(lacking('sharer', over('of-d', ['READ', 'DELETE', 'CREATE']), 'c')).toBe(null);
    for (const owner of ['d', 't'])
      expect(lacking('sharer', over('of-d', ['READ', 'DELETE', 'CREATE']), owner)).toMatchObject({ operations: ['CREATE', 'DELETE'] });
    expect(lacking('sharer', over('of-d', ['READ']), 'd')).toBe(null);
  });
  test('over a type that has no groups, or an owner that is not there, nobody covers it', () => {
    expect(lacking('owner', over(null, ['READ'], { type: 'ALARM' }))).toMatchObject({ operations: ['READ'], resource: 'ALARM' });
    expect(lacking('owner', over(null, ['READ'], { owner: 'nobody' }))).not.toBe(null);
  });
});

describe('what is shown of a user', () => {
  async function started() {
    const clock = new FakeClock();
    const memory = new MemorySource({ world, newId: () => '00000000-0000-4000-8000-000000000000' });
    const cache = new PolicyCache({ vocabulary, source: memory, clock, random: () => 0.5 });
    cache.start();
    await clock.advance(1);
    await cache.ready(0);
    const shown: number[] = [];
    const status = (): CheckStatus => ({
      tenant: '',
      customer: '',
      revision: null,
      hit: true,
      seen: (held) => void shown.push(held.effective.generic.reduce((a, b) => a + (b === 0 ? 0 : 1), 0)),
    });
    return { cache, clock, shown, status };
  }
  const ask = (user: string, resource = 'DEVICE', operation = 'READ') => requestOf(vocabulary, { user, operation, resource, target: '*' });

  test('is its own, in the deciding turn; of nobody that is not there or is disabled', async () => {
    const { cache, clock } = await started();
    const see = async (subject: string) => {
      const seen = withHeld(cache, { vocabulary, subject }, ({ tree, scope, effective }) => [tree.id(scope), effective.generic[vocabulary.resource('DEVICE')]]);
      await clock.advance(1);
      return seen;
    };
    const mask = (1 << vocabulary.operation('READ')) | (1 << vocabulary.operation('WRITE'));
    for (let turn = 0; turn < 2; turn++) {
      expect(await see('keeper')).toEqual(['c', mask]);
      expect(await see('nothing')).toEqual(['c', 0]);
      for (const nobody of ['off', 'of-c', 'c', 'stranger']) expect(await see(nobody), nobody).toBe(null);
    }
  });

  test('nothing by a check that is decided without it, whoever asked before', async () => {
    const { cache, clock, shown, status } = await started();
    const checked = async (request: ReturnType<typeof ask>): Promise<string> => {
      const answer = Promise.resolve(cache.check(request, status()));
      await clock.advance(1);
      return (await answer).rule;
    };
    const without = [
      ['0', ask('keeper', 'NO_SUCH')],
      ['0', ask('stranger', 'NO_SUCH')],
      ['0', ask('keeper', 'DEVICE', 'ALL')],
      ['1', ask('off')],
      ['1', ask('stranger')],
      ['2', ask('keeper', 'RULE_CHAIN')],
    ] as const;
    for (const [rule, request] of [...without, ...without]) {
      expect(await checked(ask('keeper'))).toBe('3');
      expect(shown.splice(0)).toEqual([3]);
      expect(await checked(request)).toBe(rule);
      expect(shown).toEqual([]);
      expect(await checked(ask('far'))).toBe('3');
      expect(shown.splice(0)).toEqual([0]);
    }
  });
});
