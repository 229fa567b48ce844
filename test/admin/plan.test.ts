// Does a plan lead from any world to any other, and leave nothing to do? And is what it removes, moves and refuses what a person would expect?

import fc from 'fast-check';
import { expandDefaults, grantId, predefinedOf } from 'policy-cache';
import type { WorldFile } from 'policy-cache';
import type { ImportRow } from 'policy-cache/postgres';
import { expect, test } from 'vitest';
import { worlds } from '../../policy-cache/test/arbitraries.ts';
import { LISTS, planOf, type List, type Row, type Step, type StoredWorld } from '../../src/applyplan.ts';
import { batchesOf } from '../../src/commands/apply.ts';
import { parse } from 'yaml';
import { readFileSync } from 'node:fs';

const names = parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')) as Parameters<typeof worlds>[0];
const seed = Number(process.env['GRANTGATE_SEED'] ?? (Date.now() ^ (process.pid << 15)) & 0x7fffffff);
const PLACE = { file: 'world.yaml', line: 1, path: '' };

/** The rows of a file. */
function rowsOf(world: WorldFile): readonly ImportRow[] {
  const label = (name: string | undefined) => (name === undefined ? {} : { label: name });
  return [
    ...world.tenants.map(({ id, name }): ImportRow => ({ ...PLACE, kind: 'tenant', id, ...label(name) })),
    ...world.customers.map(({ id, owner, title, groups, details }): ImportRow => ({ ...PLACE, kind: 'customer', id, owner, groups, details, ...label(title) })),
    ...world.groups.map(({ name, ...row }): ImportRow => ({ ...PLACE, kind: 'group', ...row, ...label(name) })),
    ...world.roles.map(({ name, ...row }): ImportRow => ({ ...PLACE, kind: 'role', ...row, ...label(name) })),
    ...world.users.map(({ name, ...row }): ImportRow => ({ ...PLACE, kind: 'user', ...row, ...label(name) })),
    ...world.entities.map(({ name, ...row }): ImportRow => ({ ...PLACE, kind: 'entity', ...row, ...label(name) })),
    ...world.grants.map(({ name, ...row }): ImportRow => ({ ...PLACE, kind: 'grant', ...row, derived: row.id === grantId(row), ...label(name) })),
  ];
}

/** What the administration would list of it. */
function storedOf(world: WorldFile): Record<List, Map<string, Row>> {
  const mapped = (rows: readonly { readonly id: string }[]): Map<string, Row> => new Map(rows.map((row) => [row.id, { ...row }]));
  const { tenants, customers, groups, roles, users, entities, grants } = world;
  return {
    tenants: mapped(tenants),
    customers: mapped(customers),
    groups: mapped(groups),
    roles: mapped(roles),
    users: mapped(users),
    entities: mapped(entities),
    grants: mapped(grants),
  };
}

/** As the administration would do it, as far as lists show. */
function perform(stored: Record<List, Map<string, Row>>, step: Step): void {
  const at = stored[step.list];
  const edit = (list: List, id: string, change: Row): void => void stored[list].set(id, { ...stored[list].get(id), ...change });
  switch (step.kind) {
    case 'create':
    case 'share': {
      expect(at.has(step.id), `${step.id} is made twice`).toBe(false);
      at.set(step.id, { groups: [], ...(step.list === 'users' ? { enabled: true } : {}), shared: step.kind === 'share', ...step.row, id: step.id });
      if (step.list !== 'customers') return;
      const { groups, roles, grants } = predefinedOf(step.id, 'customer');
      for (const group of groups) stored.groups.set(group.id, { ...group });
      for (const role of roles) stored.roles.set(role.id, { ...role });
      for (const grant of grants) stored.grants.set(grant.id, { ...grant });
      return;
    }
    case 'move':
      return edit(step.list, step.id, { owner: step.owner, groups: step.groups });
    case 'update':
      return edit(step.list, step.id, step.change);
    case 'members':
      for (const list of ['customers', 'users', 'entities'] as const)
        for (const [id, row] of stored[list]) {
          const groups = (row['groups'] ?? []) as readonly string[];
          const left = groups.filter((group) => group !== step.id || !step.remove.includes(id));
          const joined = step.add.includes(id) && !left.includes(step.id) ? [...left, step.id] : left;
          edit(list, id, { groups: joined });
        }
      return;
    case 'delete': {
      expect(at.delete(step.id), `${step.id} is there to be removed`).toBe(true);
      // What goes with it, of grants as the step says, but for those that an owner began with.
      const begunWith = step.list === 'customers' ? predefinedOf(step.id, 'customer') : { groups: [], roles: [], grants: [] };
      const ids = [step.id, ...[...begunWith.groups, ...begunWith.roles].map(({ id }) => id)];
      const ownerOfAll = (group: unknown): string | undefined => /^all:[^:]+:(.+)$/.exec(String(group))?.[1];
      const along = [...stored.grants].filter(([, { userGroup, role, entityGroup }]) =>
        [userGroup, role, entityGroup, ...(step.list === 'customers' ? [ownerOfAll(entityGroup)] : [])].some((id) => ids.includes(String(id))),
      );
      const untold = new Set(begunWith.grants.map(({ id }) => id));
      expect(along.flatMap(([id]) => (untold.has(id) ? [] : id)).toSorted()).toEqual((step.with ?? []).toSorted());
      for (const [id] of along) stored.grants.delete(id);
      for (const list of ['groups', 'roles'] as const)
        if (step.list === 'customers') for (const [id, { owner }] of stored[list]) if (owner === step.id) stored[list].delete(id);
      if (step.list === 'customers') for (const [id, grant] of stored.grants) if (String(grant['userGroup']).endsWith(`s:${step.id}`)) stored.grants.delete(id);
      return;
    }
    default:
      step satisfies never;
  }
}

/** What never changes of a thing is in its id, so that of two worlds no thing is in the way of the other's. Memberships that do not count are left out. */
function distinct(world: WorldFile): WorldFile {
  const group = new Map(world.groups.map(({ id, type, owner }) => [id, `${id}|${type}|${owner}`]));
  const role = new Map(world.roles.map(({ id, type, owner }) => [id, `${id}|${type}|${owner}`]));
  const joined = (type: string, owner: string, groups: readonly string[]): readonly string[] =>
    world.groups.filter((each) => each.type === type && each.owner === owner && groups.includes(each.id)).map(({ id }) => group.get(id)!);
  const renamed = expandDefaults({
    ...world,
    defaults: true,
    groups: world.groups.map((row) => ({ ...row, id: group.get(row.id)! })),
    roles: world.roles.map((row) => ({ ...row, id: role.get(row.id)! })),
    customers: world.customers.map((row) => ({ ...row, groups: joined('CUSTOMER', row.owner, row.groups), details: {} })),
    users: world.users.map((row) => ({ ...row, groups: joined('USER', row.owner, row.groups) })),
    entities: world.entities.map((row) => ({ ...row, id: `${row.id}|${row.type}`, groups: joined(row.type, row.owner, row.groups) })),
    grants: world.grants.map((row) => ({
      ...row,
      userGroup: group.get(row.userGroup) ?? row.userGroup,
      role: role.get(row.role) ?? row.role,
      ...(row.entityGroup === undefined ? {} : { entityGroup: group.get(row.entityGroup) ?? row.entityGroup }),
    })),
  });
  const byId = new Map(renamed.grants.map((row) => [grantId(row), { ...row, id: grantId(row) }]));
  return { ...renamed, grants: [...byId.values()] };
}

test('from any world to any other with nothing left to do, and with prune nothing else is there', () => {
  const kinds = new Map<string, number>();
  const report = fc.check(
    fc.property(worlds(names), worlds(names), (from, to) => {
      const before = distinct({ ...from, tenants: [{ id: 't0' }, { id: 't1' }] });
      const after = distinct({ ...to, tenants: before.tenants });
      const stored = storedOf(before);
      const wanted = rowsOf(after);
      const plan = planOf(wanted, stored, { prune: true });
      expect(plan.problems).toEqual([]);
      for (const step of plan.steps) {
        perform(stored, step);
        kinds.set(step.kind, (kinds.get(step.kind) ?? 0) + 1);
      }
      expect(planOf(wanted, stored, { prune: true }).steps).toEqual([]);
      for (const list of LISTS) expect([...stored[list].keys()].toSorted(), list).toEqual(after[list].map(({ id }) => id).toSorted());
    }),
    { seed, numRuns: 100 },
  );
  console.log(`plans: GRANTGATE_SEED=${seed}, ${report.numRuns} pairs of worlds, ${[...kinds].map(([kind, count]) => `${count} ${kind}`).join(', ')}`);
  expect(report.failed, report.failed ? fc.defaultReportMessage(report) : '').toBe(false);
  expect([...kinds.keys()].toSorted()).toEqual(['create', 'delete', 'members', 'move', 'share', 'update']);
});

test('of one owner: what others were given over what goes is told of', () => {
  let told = 0;
  const report = fc.check(
    fc.property(worlds(names), (drawn) => {
      const world = distinct(drawn);
      for (const { id, owner } of world.customers) {
        const stored = storedOf(world);
        const { steps, problems } = planOf([{ ...PLACE, kind: 'customer', id, owner }], stored, { prune: true });
        expect(problems).toEqual([]);
        for (const step of steps) {
          perform(stored, step);
          if (step.kind === 'delete') told += step.with?.length ?? 0;
        }
      }
    }),
    { seed, numRuns: 50 },
  );
  console.log(`plans: GRANTGATE_SEED=${seed}, ${report.numRuns} worlds, each customer of them emptied: ${told} grants of others go with something`);
  expect(report.failed, report.failed ? fc.defaultReportMessage(report) : '').toBe(false);
  expect(told).toBeGreaterThan(0);
});

const T = { ...PLACE, kind: 'tenant', id: 't' } as const;
const EMPTY: StoredWorld = storedOf({
  defaults: false,
  tenants: [{ id: 't' }],
  customers: [],
  groups: [],
  users: [],
  entities: [],
  roles: [],
  grants: [],
  checks: [],
});

test('owners before what they own, groups before members, and a customer enters its groups when they are there', () => {
  const rows: ImportRow[] = [
    T,
    { ...PLACE, kind: 'entity', id: 'd', type: 'DEVICE', owner: 'b', groups: ['g'] },
    { ...PLACE, kind: 'customer', id: 'b', owner: 'a', groups: ['cg'] },
    { ...PLACE, kind: 'group', id: 'cg', type: 'CUSTOMER', owner: 'a' },
    { ...PLACE, kind: 'group', id: 'g', type: 'DEVICE', owner: 'b' },
    { ...PLACE, kind: 'customer', id: 'a', owner: 't' },
  ];
  expect(planOf(rows, EMPTY, { prune: false }).steps.map(({ kind, id }) => `${kind} ${id}`)).toEqual([
    'create a',
    'create b',
    'create cg',
    'create g',
    'create d',
    'members cg',
  ]);
});

test('what a row leaves out stays, what it says is changed, and a type is a problem', () => {
  const stored = {
    ...EMPTY,
    users: new Map([['u', { id: 'u', owner: 't', enabled: true, groups: ['users:t'], email: 'u@t.example' }]]),
    groups: new Map([['g', { id: 'g', type: 'DEVICE', owner: 't' }]]),
  };
  const user = { ...PLACE, kind: 'user', id: 'u', owner: 't' } as const;
  expect(planOf([T, user], stored, { prune: false }).steps).toEqual([]);
  expect(planOf([T, { ...user, enabled: false, groups: [] }], stored, { prune: false }).steps).toMatchObject([
    { kind: 'update', change: { enabled: false } },
    { kind: 'members', id: 'users:t', remove: ['u'] },
  ]);
  const { steps, problems } = planOf([T, { ...PLACE, kind: 'group', id: 'g', type: 'ASSET', owner: 't' }], stored, { prune: false });
  expect(steps).toEqual([]);
  expect(problems).toMatchObject([{ field: 'type' }]);
});

test('rows that are large are sent by fewer at once', () => {
  const steps = Array.from({ length: 2500 }, (_, i) => {
    const id = `r${i}`;
    return { kind: 'create', list: 'roles', id, row: { id, permissions: i < 500 ? Array.from({ length: 1000 }, () => 'READ_ATTRIBUTES') : [] } } as const;
  });
  const batches = [...batchesOf(steps)];
  expect(batches.flat()).toEqual(steps);
  expect(Math.max(...batches.map((batch) => JSON.stringify(batch.map(({ id }) => id)).length + JSON.stringify(batch).length))).toBeLessThan(2_000_000);
  expect(batches.length).toBeLessThan(15);
});

test('what is alike is one change: a move to the same place, another name, but no e-mail that another may give up', () => {
  const moved = (id: string, owner: string, groups: readonly string[] = []) => ({ kind: 'move', list: 'users', id, owner, from: 't', groups }) as const;
  const changed = (id: string, change: object, list: 'users' | 'entities' | 'customers' = 'users') =>
    ({ kind: 'update', list, id, change: { ...change }, before: {} }) as const;
  const batches = batchesOf([
    ...[changed('a', { name: 'A' }), changed('b', { enabled: false })],
    ...[changed('c', { email: 'b@x.example' }), changed('d', { email: 'c@x.example', name: 'D' }), changed('e', { name: 'E' })],
    ...[changed('f', { name: 'F' }, 'entities'), changed('g', { title: 'G' }, 'customers'), changed('h', { title: 'H' }, 'customers')],
    ...[moved('i', 'x'), moved('j', 'x'), moved('k', 'y'), moved('l', 'y', ['m']), moved('n', 'y', ['m'])],
    { kind: 'members', list: 'groups', id: 'o', add: ['a'], remove: [] },
    { kind: 'members', list: 'groups', id: 'p', add: ['a'], remove: [] },
  ]);
  expect([...batches].map((batch) => batch.map(({ id }) => id).join(''))).toEqual(['ab', 'c', 'd', 'e', 'f', 'g', 'h', 'ij', 'k', 'ln', 'o', 'p']);
});

test('without prune nothing goes; with it, what the named owners have beside, and nothing of others', () => {
  const stored = storedOf({
    ...{ defaults: false, users: [], roles: [], grants: [], groups: [], checks: [], tenants: [{ id: 't' }] },
    customers: [
      { id: 'kept', owner: 't', groups: [] },
      { id: 'gone', owner: 't', groups: [] },
      { id: 'below', owner: 'gone', groups: [] },
    ],
    entities: [
      { id: 'of-kept', type: 'DEVICE', owner: 'kept', groups: [] },
      { id: 'of-below', type: 'DEVICE', owner: 'below', groups: [] },
    ],
  });
  const kept = { ...PLACE, kind: 'customer', id: 'kept', owner: 't' } as const;
  expect(planOf([T, kept], stored, { prune: false }).steps).toEqual([]);
  expect(planOf([kept], stored, { prune: true }).steps.map(({ id }) => id)).toEqual(['of-kept']);
  expect(planOf([T, kept], stored, { prune: true }).steps.map(({ id }) => id)).toEqual(['of-kept', 'of-below', 'below', 'gone']);
});

test('a grant that goes with something is told of, and what the file needs does not go', () => {
  const role = { id: 'look', type: 'GROUP', permissions: ['READ'] };
  const stored = storedOf({
    ...{ defaults: false, users: [], entities: [], checks: [], tenants: [{ id: 't' }] },
    customers: [{ id: 'c', owner: 't', groups: [] }],
    groups: [
      { id: 'of-c', type: 'USER', owner: 'c' },
      { id: 'meters', type: 'DEVICE', owner: 't' },
    ],
    roles: [{ ...role, owner: 't', type: 'GROUP' }],
    grants: [{ id: 'p', userGroup: 'of-c', role: 'look', entityGroup: 'meters', shared: true }],
  });
  const c = { ...PLACE, kind: 'customer', id: 'c', owner: 't' } as const;
  const ofC = { ...PLACE, kind: 'group', id: 'of-c', type: 'USER', owner: 'c' } as const;
  expect(planOf([T, c, ofC], stored, { prune: true }).steps.filter(({ list }) => list !== 'grants')).toMatchObject([{ id: 'look' }, { id: 'meters' }]);
  // The grant is of an owner that the file does not name: it goes all the same, and with what.
  expect(planOf([T], { ...stored, customers: new Map() }, { prune: true }).steps).toEqual([
    { kind: 'delete', list: 'roles', id: 'look', with: ['p'] },
    { kind: 'delete', list: 'groups', id: 'meters' },
  ]);
  const kept = { ...PLACE, kind: 'grant', id: 'p', userGroup: 'of-c', role: 'look', entityGroup: 'meters', derived: false, shared: true } as const;
  const { problems } = planOf([T, c, ofC, kept], stored, { prune: true });
  expect(problems.map(({ row, field }) => `${row.id}.${field}`)).toEqual(['p.role', 'p.entityGroup']);
  expect(planOf([T, c, ofC, kept], stored, { prune: false })).toEqual({ steps: [], problems: [] });
  // One that is given by another role now is made anew, and does not go with the old one.
  const anew = [
    T,
    c,
    ofC,
    { ...PLACE, kind: 'role', id: 'see', owner: 't', type: 'GENERIC', permissions: {}, excluded: {} },
    { ...PLACE, kind: 'grant', id: 'p', userGroup: 'of-c', role: 'see', derived: false },
  ] as const;
  expect(planOf(anew, stored, { prune: true }).steps.map(({ kind, id, ...more }) => [kind, id, 'with' in more])).toEqual([
    ['delete', 'p', false],
    ['create', 'see', false],
    ['create', 'p', false],
    ['delete', 'look', false],
    ['delete', 'meters', false],
  ]);
});
