// Two calls at once on the same things: is what comes of it what some order of them would have given, each judged by the rules then?
//
// Each order is played, one call after the other, in a copy of the world, and both at once in others; answers and all that is stored must
// be those of one of the orders. So a role that is widened while it is given away, say, must be refused to one of the two.

import { PolicyError, type WorldFile } from 'policy-cache';
import { openWriter, type Writer } from 'policy-cache/postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createPerformer, type Action } from '../../src/api/admin/perform.ts';
import { Forbidden, Violation } from '../../src/api/admin/refusals.ts';
import { insertWorld, prefixed, readWorld } from '../support/admin-worlds.ts';
import { startTestAdministration, type TestAdministration } from '../support/admin.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { withOffice } from './escalation.world.ts';

/** Copies in which both are made at once. */
const ROUNDS = 12;

let server: TestServer;
let admin: TestAdministration;
let writer: Writer;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  const database = await server.database();
  admin = await startTestAdministration(database);
  writer = openWriter({ url: await database.urlAs('grantgate_writer') });
});
afterAll(async () => {
  admin?.close();
  writer?.close();
  await server?.close();
});

const empty: WorldFile = { defaults: false, tenants: [{ id: 't0' }], customers: [], groups: [], users: [], entities: [], roles: [], grants: [], checks: [] };
const office = withOffice(empty, 0);
const world: WorldFile = {
  ...office,
  customers: [...office.customers, { id: 'c1', owner: 't0', groups: [] }, { id: 'c2', owner: 't0', groups: [] }],
  groups: [...office.groups, { id: 'crew', type: 'USER', owner: 't0' }, { id: 'boxes', type: 'DEVICE', owner: 't0' }],
  users: [...office.users, { id: 'joe', owner: 't0', enabled: true, groups: [] }],
  entities: [...office.entities, { id: 'box', type: 'DEVICE', owner: 't0', groups: [] }],
  roles: [...office.roles, { id: 'r-new', owner: 't0', type: 'GENERIC', permissions: { DEVICE: ['READ'] }, excluded: {} }],
};

interface Call {
  readonly by: string;
  /** Ids of the world begin with a `~`. */
  readonly request: string;
  readonly body?: object;
  /** The tag of what stands there. */
  readonly tagOf?: string;
  /** The same, where the body says `~tag`. */
  readonly tagged?: string;
}
const call = (by: string, request: string, body?: object): Call => ({ by, request, ...(body === undefined ? {} : { body }) });

const SCENES: readonly (readonly [string, readonly Call[]])[] = [
  [
    'a role is widened while it is given',
    [call('clerk', 'PATCH /v1/roles/~r-new', { permissions: { DEVICE: ['ALL'] } }), call('clerk', 'POST /v1/grants', { userGroup: '~office', role: '~r-new' })],
  ],
  [
    'a group is given more while somebody joins it',
    [call('chief', 'POST /v1/grants', { userGroup: '~crew', role: '~r-chief' }), call('clerk', 'POST /v1/groups/~crew/members', { add: ['~joe'] })],
  ],
  [
    'a group is given more while a user is made into it',
    [
      call('chief', 'POST /v1/grants', { userGroup: '~crew', role: '~r-chief' }),
      call('clerk', 'POST /v1/users', { id: '~new', owner: '~t0', groups: ['~crew'] }),
    ],
  ],
  [
    'all users of an owner are given more while one is made',
    [call('chief', 'POST /v1/grants', { userGroup: 'all:USER:~c1', role: '~r-chief' }), call('clerk', 'POST /v1/users', { id: '~new', owner: '~c1' })],
  ],
  [
    'a user comes into a group while its e-mail is changed',
    [call('chief', 'POST /v1/groups/~chiefs/members', { add: ['~joe'] }), call('clerk', 'PATCH /v1/users/~joe', { email: 'joe@example.com' })],
  ],
  [
    'two owner changes that make a circle',
    [call('chief', 'PUT /v1/customers/~c1/owner', { owner: '~c2' }), call('chief', 'PUT /v1/customers/~c2/owner', { owner: '~c1' })],
  ],
  [
    'a group goes while something comes into it',
    [call('chief', 'DELETE /v1/groups/~boxes'), call('chief', 'POST /v1/groups/~boxes/members', { add: ['~box'] })],
  ],
  [
    'something moves while it is put into a group',
    [call('chief', 'PUT /v1/entities/~box/owner', { owner: '~c1' }), call('chief', 'POST /v1/groups/~boxes/members', { add: ['~box'] })],
  ],
  ['a user goes while it is changed', [call('chief', 'DELETE /v1/users/~joe'), call('chief', 'PATCH /v1/users/~joe', { enabled: false })]],
  [
    'an owner goes while something is made for it',
    [call('chief', 'DELETE /v1/customers/~c1'), call('chief', 'POST /v1/entities', { id: '~new', type: 'DEVICE', owner: '~c1' })],
  ],
  [
    'two make the same id',
    [call('chief', 'POST /v1/users', { id: '~new', owner: '~t0' }), call('chief', 'POST /v1/groups', { id: '~new', type: 'DEVICE', owner: '~t0' })],
  ],
  [
    'two changes of what both have seen',
    [
      { ...call('chief', 'PATCH /v1/groups/~boxes', { name: 'One' }), tagOf: '/v1/groups/~boxes' },
      { ...call('chief', 'PATCH /v1/groups/~boxes', { name: 'Other' }), tagOf: '/v1/groups/~boxes' },
    ],
  ],
  [
    'many are changed while one of them goes',
    [
      call('chief', 'POST /v1/users/bulk-update', { items: ['~joe', '~clerk', '~aide'].map((id) => ({ id, name: 'Named' })) }),
      call('chief', 'POST /v1/users/bulk-delete', { ids: ['~joe', '~aide-too'] }),
    ],
  ],
  [
    'many roles are widened while one of them is given',
    [
      call('clerk', 'POST /v1/roles/bulk-update', { items: ['~r-unused', '~r-new'].map((id) => ({ id, permissions: { DEVICE: ['ALL'] } })) }),
      call('clerk', 'POST /v1/grants', { userGroup: '~office', role: '~r-new' }),
    ],
  ],
  [
    'many users are taken over while one of them comes into a group',
    [
      call('chief', 'POST /v1/groups/~chiefs/members', { add: ['~joe'] }),
      call('clerk', 'POST /v1/users/bulk-update', { items: ['~aide', '~joe'].map((id) => ({ id, enabled: false })) }),
    ],
  ],
  [
    'many change that both have seen',
    [
      { ...call('chief', 'PATCH /v1/groups/~boxes', { name: 'One' }), tagOf: '/v1/groups/~boxes' },
      {
        ...call('chief', 'POST /v1/groups/bulk-update', {
          items: [
            { id: '~crew', name: 'Crew' },
            { id: '~boxes', etag: '~tag', name: 'Other' },
          ],
        }),
        tagged: '/v1/groups/~boxes',
      },
    ],
  ],
  [
    'many customers come below one that goes below one of them',
    [call('chief', 'POST /v1/customers/bulk-owner', { ids: ['~side', '~c1'], owner: '~c2' }), call('chief', 'PUT /v1/customers/~c2/owner', { owner: '~c1' })],
  ],
  [
    'many come to an owner that goes',
    [
      call('chief', 'POST /v1/entities/bulk-owner', { ids: ['~box', '~one-of-meters'], owner: '~c1' }),
      call('chief', 'POST /v1/customers/bulk-delete', { ids: ['~c2', '~c1'] }),
    ],
  ],
  [
    'many move while one of them is put into a group',
    [
      call('chief', 'POST /v1/entities/bulk-owner', { ids: ['~one-of-meters', '~box'], owner: '~c1' }),
      call('chief', 'POST /v1/groups/~boxes/members', { add: ['~box'] }),
    ],
  ],
  [
    'three at once in one group',
    [
      call('clerk', 'POST /v1/groups/~crew/members', { add: ['~joe'] }),
      call('chief', 'POST /v1/grants', { userGroup: '~crew', role: '~r-new' }),
      call('clerk', 'PATCH /v1/roles/~r-new', { permissions: { DEVICE: ['ALL'] } }),
    ],
  ],
];

let copies = 0;
/** In a copy of the world: what is answered, call by call, and what is stored in the end. */
async function played(calls: readonly Call[], order: readonly number[] | 'at once'): Promise<string> {
  const prefix = `v${copies++}.`;
  await writer.write((db) => insertWorld(db, prefixed(world, prefix)));
  const named = (text: string): string => text.replaceAll('~', prefix);
  const tags = await Promise.all(
    calls.map(async ({ by, tagOf, tagged }) => {
      const of = tagOf ?? tagged;
      return of === undefined ? null : (await admin.ask(`${prefix}${by}`, `GET ${named(of)}`)).headers.get('etag');
    }),
  );
  const statuses = calls.map(() => 0);
  const make = async (i: number): Promise<void> => {
    const { by, request, body, tagOf } = calls[i]!;
    const tag = tags[i] ?? '';
    const headers = tagOf === undefined ? {} : { 'if-match': tag };
    const said = body === undefined ? undefined : named(JSON.stringify(body).replaceAll('"~tag"', JSON.stringify(tag)));
    const { status } = await admin.ask(`${prefix}${by}`, named(request), said, {
      'content-type': 'application/json',
      ...headers,
    });
    statuses[i] = status;
  };
  if (order === 'at once') await Promise.all(calls.map((_, i) => make(i)));
  else for (const i of order) await make(i);
  const { ...stored } = await writer.read((db) => readWorld(db, [`${prefix}t0`]));
  return `${statuses.join(' ')} ${JSON.stringify(stored).replaceAll(prefix, '')}`;
}

const orders = (count: number): number[][] =>
  count === 1 ? [[0]] : orders(count - 1).flatMap((order) => Array.from({ length: count }, (_, i) => order.toSpliced(i, 0, count - 1)));

test.each(SCENES)('%s', { timeout: 120_000 }, async (what, calls) => {
  const possible = new Map<string, string>();
  for (const order of orders(calls.length)) possible.set(await played(calls, order), order.join(' before '));
  const seen = new Map<string, number>();
  const began = performance.now();
  for (let round = 0; round < ROUNDS; round += 3) {
    for (const outcome of await Promise.all([0, 1, 2].map(() => played(calls, 'at once')))) {
      expect([...possible.keys()]).toContain(outcome);
      seen.set(outcome.split(' {')[0]!, (seen.get(outcome.split(' {')[0]!) ?? 0) + 1);
    }
  }
  const counts = [...seen].map(([statuses, times]) => `${times} × ${statuses}`).join(', ');
  console.log(`at once, ${what}: ${counts}; ${((performance.now() - began) / ROUNDS).toFixed(0)} ms each`);
});

test('what goes after it was read, and before it is judged, is missing and not forbidden', async () => {
  await writer.write((db) => db.rows("insert into grantgate.object (id, tenant, kind, type) values ('going', 'going', 'tenant', 'TENANT')"));
  const goes = async (): Promise<never> => {
    await writer.write((db) => db.rows("delete from grantgate.object where id = 'going'"));
    throw new Forbidden('out-of-scope', '7', 'of an owner that is in no chain any more');
  };
  const performer = createPerformer({ writer, authority: { require: goes }, applied: () => Promise.resolve() });
  const action: Action<readonly unknown[], null> = {
    name: 'nothing',
    read: (db) => db.rows("select from grantgate.object where id = 'going'"),
    locks: () => ({ update: [], share: [] }),
    needs(found) {
      if (found.length === 0) throw new Violation('owner', '1', 'there is no such owner');
      return [];
    },
    apply: () => Promise.resolve({ value: null, effects: [] }),
  };
  const who = { caller: { kind: 'operator' }, tenant: '', owner: '' } as const;
  await expect(performer.perform({ who, ifMatch: null, requestId: '' }, action)).rejects.toBeInstanceOf(Violation);
});

test('what somebody else holds, or keeps changing, cannot be done now: no rule is against it', async () => {
  const performer = createPerformer({ writer, authority: { require: () => Promise.resolve() }, applied: () => Promise.resolve() });
  const asked = { who: { caller: { kind: 'operator' }, tenant: '', owner: '' }, ifMatch: null, requestId: '' } as const;
  const nothing = { name: 'nothing', locks: () => ({ update: [], share: [] }), needs: () => [], apply: () => Promise.resolve({ value: null, effects: [] }) };
  const changing: Action<unknown, null> = { ...nothing, read: (db) => db.rows('select gen_random_uuid()') };
  await expect(performer.perform(asked, changing)).rejects.toMatchObject({ code: 'overload' });

  await writer.write((db) => db.rows("insert into grantgate.object (id, tenant, kind, type) values ('held', 'held', 'tenant', 'TENANT')"));
  const row = "select from grantgate.object where id = 'held' for update";
  await writer.write(async (holder) => {
    await holder.rows(row);
    const held: Action<null, null> = {
      ...nothing,
      read: () => Promise.resolve(null),
      async apply(db) {
        await db.rows("set local lock_timeout = '50ms'");
        await db.rows(row);
        return nothing.apply();
      },
    };
    const refused: unknown = await performer.perform(asked, held).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(PolicyError);
    expect(refused).toHaveProperty('code', 'deadline');
  });
});
