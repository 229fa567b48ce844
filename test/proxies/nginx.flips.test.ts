// Does each kind of change in the database flip the right answers, and no other, in a process that goes on running?
//
// The whole matrix of users, operations and targets before and after, at the door, against the executable specification; what
// flipped is asked through nginx too.

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { reference, type Answer, type Names, type World } from '../../policy-cache/test/reference.ts';
import { askDecided, startClient, type Client } from '../support/ask.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { tokenFor } from '../support/sidecar.ts';
import { checkPath, checkRoutes, startStack, vocabulary, type Stack } from '../support/stack.ts';

const names = parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')) as Names;

// t has customers a (with a1 below it) and b; z is somebody else's.
const start: World = {
  tenants: [{ id: 't' }, { id: 'z' }],
  customers: [
    { id: 'a', owner: 't' },
    { id: 'a1', owner: 'a', groups: ['a-customers'] },
    { id: 'b', owner: 't' },
  ],
  groups: [
    { id: 't-all', type: 'USER', owner: 't' },
    { id: 'a-admins', type: 'USER', owner: 'a' },
    { id: 'a-ops', type: 'USER', owner: 'a' },
    { id: 'a1-views', type: 'USER', owner: 'a1' },
    { id: 'b-ops', type: 'USER', owner: 'b' },
    { id: 'z-all', type: 'USER', owner: 'z' },
    { id: 'a-devices', type: 'DEVICE', owner: 'a' },
    { id: 'a1-devices', type: 'DEVICE', owner: 'a1' },
    { id: 'a-customers', type: 'CUSTOMER', owner: 'a' },
  ],
  users: [
    { id: 'tom', owner: 't', groups: ['t-all'] },
    { id: 'ada', owner: 'a', groups: ['a-admins'] },
    { id: 'amy', owner: 'a', groups: ['a-ops'] },
    { id: 'art', owner: 'a' },
    { id: 'al', owner: 'a1', groups: ['a1-views'] },
    { id: 'ben', owner: 'b', groups: ['b-ops'] },
    { id: 'off', owner: 'a', enabled: false, groups: ['a-admins'] },
  ],
  entities: [
    { id: 'device-t', type: 'DEVICE', owner: 't' },
    { id: 'device-a', type: 'DEVICE', owner: 'a' },
    { id: 'device-g', type: 'DEVICE', owner: 'a', groups: ['a-devices'] },
    { id: 'device-a1', type: 'DEVICE', owner: 'a1', groups: ['a1-devices'] },
    { id: 'asset-a', type: 'ASSET', owner: 'a' },
    { id: 'device-z', type: 'DEVICE', owner: 'z' },
  ],
  roles: [
    { id: 'everything', owner: 't', type: 'GENERIC', permissions: { ALL: ['ALL'] } },
    { id: 'careful', owner: 't', type: 'GENERIC', permissions: { ALL: ['ALL'] }, excluded: { DEVICE: ['DELETE'] } },
    { id: 'look', owner: 't', type: 'GENERIC', permissions: { ALL: ['READ', 'READ_TELEMETRY'] } },
    { id: 'operate', owner: 't', type: 'GROUP', permissions: ['READ', 'WRITE', 'RPC_CALL', 'ADD_TO_GROUP'] },
    { id: 'z-everything', owner: 'z', type: 'GENERIC', permissions: { ALL: ['ALL'] } },
  ],
  grants: [
    { id: 'grant-1', userGroup: 't-all', role: 'everything' },
    { id: 'grant-2', userGroup: 'a-admins', role: 'careful' },
    { id: 'grant-3', userGroup: 'a-ops', role: 'operate', entityGroup: 'a-devices' },
    { id: 'grant-4', userGroup: 'a-ops', role: 'operate', entityGroup: 'a1-devices' },
    { id: 'grant-5', userGroup: 'a1-views', role: 'look' },
    { id: 'grant-6', userGroup: 'b-ops', role: 'operate', entityGroup: 'a-devices', shared: true },
    { id: 'grant-7', userGroup: 'z-all', role: 'z-everything' },
    { id: 'grant-8', userGroup: 'all:USER:a', role: 'operate', entityGroup: 'all:ASSET:a' },
    { id: 'grant-9', userGroup: 'b-ops', role: 'look' },
  ],
};
const TARGETS = [
  ['DEVICE', 'device-t'],
  ['DEVICE', 'device-a'],
  ['DEVICE', 'device-g'],
  ['DEVICE', 'device-a1'],
  ['DEVICE', 'device-z'],
  ['ASSET', 'asset-a'],
  ['DEVICE', '*'],
  ['CUSTOMER', 'a'],
  ['CUSTOMER', 'a1'],
  ['DEVICE_GROUP', 'a-devices'],
  ['DEVICE_GROUP', 'all:DEVICE:a1'],
  ['PROFILE', 'al'],
  ['ROLE', 'look'],
  ['GROUP_PERMISSION', 'grant-3'],
  ['RULE_CHAIN', '*'],
] as const;

let server: TestServer;
let stack: Stack;
let door: Client;
const tokens = new Map<string, string>();
beforeAll(async () => {
  server = await startPostgres('embedded18');
  // Before the door is no nginx that would give up; and a machine that does other work is no news here.
  const set = { 'doors.deadline': '10s' };
  stack = await startStack({ server, world: JSON.stringify(start), routes: checkRoutes(), set });
  door = startClient(stack.sidecar.doors, 32);
  for (const { id } of start.users) tokens.set(id, await tokenFor(id));
});
afterAll(async () => {
  door?.close();
  await stack?.close();
  await server?.close();
});

interface Cell {
  readonly user: string;
  readonly operation: string;
  readonly resource: string;
  readonly target: string;
}
const cells: readonly Cell[] = start.users.flatMap(({ id: user }) =>
  vocabulary.operations.flatMap((operation) => TARGETS.map(([resource, target]) => ({ user, operation, resource, target }))),
);
const show = ({ user, operation, resource, target }: Cell): string => `${user} ${operation} ${resource} ${target}`;

/** Every cell's answer, by status and decision log. */
async function matrix(): Promise<ReadonlyMap<string, string>> {
  const answers = new Map<string, string>();
  await Promise.all(
    cells.map(async (cell, i) => {
      const requestId = `cell-${i}`;
      const { status } = await door.ask({
        path: '/auth/nginx',
        token: tokens.get(cell.user)!,
        requestId,
        headers: { 'X-Original-Method': 'GET', 'X-Original-URI': checkPath(cell) },
      });
      const { reason, rule } = await stack.sidecar.line(requestId);
      answers.set(show(cell), written({ allow: status === 200, reason, rule }));
      if (status !== 200) expect(status).toBe(403);
    }),
  );
  return answers;
}
function specified(world: World): ReadonlyMap<string, string> {
  const ask = reference(names, world);
  return new Map(cells.map((cell) => [show(cell), written(ask(cell))]));
}
function written({ allow, reason, rule }: Answer): string {
  return `${allow ? 'allow' : 'deny'} ${reason} ${rule}`;
}
const allowed = (answer: string | undefined): boolean => answer?.startsWith('allow') ?? false;

const without = <T>(list: readonly T[] | undefined, ...gone: readonly T[]): readonly T[] => (list ?? []).filter((one) => !gone.includes(one));
const edit = <T extends { readonly id: string }>(list: readonly T[], id: string, change: (row: T) => T): readonly T[] =>
  list.map((row) => (row.id === id ? change(row) : row));

/** SQL, and the same thing done to the world of the specification. */
const CHANGES: readonly { readonly name: string; readonly sql: string; readonly world: (world: World) => World }[] = [
  {
    name: 'moving a customer',
    sql: `update grantgate.object set owner = 'b' where id = 'a1'`,
    world: (world) => ({ ...world, customers: edit(world.customers, 'a1', (row) => ({ ...row, owner: 'b', groups: [] })) }),
  },
  {
    name: 'editing a role',
    sql: `update grantgate.role set permissions = '["READ", "DELETE"]' where id = 'operate'`,
    world: (world) => ({ ...world, roles: edit(world.roles, 'operate', (row) => ({ ...row, permissions: ['READ', 'DELETE'] })) }),
  },
  {
    name: 'changing an owner',
    sql: `update grantgate.object set owner = 'b' where id = 'device-g'`,
    world: (world) => ({ ...world, entities: edit(world.entities, 'device-g', (row) => ({ ...row, owner: 'b', groups: [] })) }),
  },
  {
    name: 'disabling a user',
    sql: `update grantgate.user_account set enabled = false where id = 'ada'`,
    world: (world) => ({ ...world, users: edit(world.users, 'ada', (row) => ({ ...row, enabled: false })) }),
  },
  {
    name: 'enabling another',
    sql: `update grantgate.user_account set enabled = true where id = 'off'`,
    world: (world) => ({ ...world, users: edit(world.users, 'off', (row) => ({ ...row, enabled: true })) }),
  },
  {
    name: 'removing a membership',
    sql: `delete from grantgate.membership where group_id = 'a1-views' and member_id = 'al'`,
    world: (world) => ({ ...world, users: edit(world.users, 'al', (row) => ({ ...row, groups: without(row.groups, 'a1-views') })) }),
  },
  {
    name: 'deleting a group',
    sql: `delete from grantgate.object where id = 'a-devices'`,
    world: (world) => ({
      ...world,
      groups: world.groups.filter(({ id }) => id !== 'a-devices'),
      grants: world.grants.filter(({ entityGroup }) => entityGroup !== 'a-devices'),
      entities: world.entities.map((row) => ({ ...row, groups: without(row.groups, 'a-devices') })),
    }),
  },
  {
    name: 'deleting a role',
    sql: `delete from grantgate.role where id = 'operate'`,
    world: (world) => ({ ...world, roles: world.roles.filter(({ id }) => id !== 'operate'), grants: world.grants.filter(({ role }) => role !== 'operate') }),
  },
];

test('every change flips what it must and nothing else, without a restart', { timeout: 120_000 }, async () => {
  let world = start;
  let before = await matrix();
  expect(before).toEqual(specified(world));
  const figures = [`flips: ${cells.length} cells, ${[...before.values()].filter(allowed).length} allowed at first`];
  for (const { name, sql, world: next } of CHANGES) {
    const revision = await stack.sql.begin(async (tx) => {
      await tx.unsafe(sql);
      await tx`set constraints all immediate`;
      const [row] = await tx<[{ revision: string }]>`select grantgate.revision() as revision`;
      return row.revision;
    });
    await stack.sidecar.reached(revision);
    world = next(world);
    const after = await matrix();
    expect(after, name).toEqual(specified(world));
    const flipped = cells.filter((cell) => allowed(before.get(show(cell))) !== allowed(after.get(show(cell))));
    for (const cell of flipped) {
      const { status } = await askDecided(stack.client, { path: checkPath(cell), token: tokens.get(cell.user)! });
      expect(status, `${name}: ${show(cell)} through nginx`).toBe(allowed(after.get(show(cell))) ? 200 : 403);
    }
    const gained = flipped.filter((cell) => allowed(after.get(show(cell)))).length;
    figures.push(`  ${name}: ${flipped.length - gained} taken away, ${gained} given, ${cells.length - flipped.length} as before`);
    expect(flipped.length, `${name} flips something`).toBeGreaterThan(0);
    before = after;
  }
  console.log(figures.join('\n'));
  const metrics = await stack.sidecar.metrics();
  for (const cause of ['history', 'backlog', 'everything']) expect(metrics.value('authz_resets_total', { cause }), cause).toBe(0);
  expect(metrics.value('authz_resets_total', { cause: 'start' })).toBe(1);
});
