// Do changes of many wait for each other in one order, and how much may one of them be?

import { requestOf } from 'policy-cache';
import { lockObjects } from 'policy-cache/postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { clientOver } from '../../src/adminclient.ts';
import { makeInParts } from '../../src/commands/apply.ts';
import type { AdminAnswer } from '../support/admin.ts';
import { startBulk, type Bulk } from '../support/bulk.ts';
import { vocabulary } from '../support/doors.ts';
import { until } from '../support/until.ts';

const MANY = 5_000;

let bulk: Bulk;
let admin: Bulk['admin'];
let sql: Bulk['sql'];
let writer: Bulk['writer'];
let done: Bulk['done'];
let refused: Bulk['refused'];
let ringsOf: Bulk['ringsOf'];
let audited: Bulk['audited'];
beforeAll(async () => {
  bulk = await startBulk();
  ({ admin, sql, writer, done, refused, ringsOf, audited } = bulk);
});
afterAll(() => bulk?.close());

test('rows are locked in one order, whichever way each is: nobody waits with one that a change of both has to lock first', async () => {
  for (const [locks, free] of [
    [{ update: ['u1'], share: ['m1'] }, 'u1'],
    [{ update: ['u1', 'm1'], share: [] }, 'u1'],
    [{ update: [], share: ['u1', 'm1'] }, 'u1'],
  ] as const) {
    let waiting: Promise<void> = Promise.resolve();
    await sql.begin(async (holder) => {
      await holder`select from grantgate.object where id = 'm1' for update`;
      waiting = writer.write((db) => lockObjects(db, locks));
      await until(
        async () => (await sql`select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`).length > 0,
        'the lock that is waited for',
      );
      expect(await holder`select id from grantgate.object where id = ${free} for update nowait`, JSON.stringify(locks)).toHaveLength(1);
    });
    await waiting;
  }
});

test('an owner that goes is locked with what goes with it, in the same order', async () => {
  await done('ada', 'POST /v1/customers', { id: 'zoo' });
  let gone: Promise<AdminAnswer> | null = null;
  await sql.begin(async (holder) => {
    await holder`select from grantgate.object where id = 'users:zoo' for share`;
    gone = admin.ask('ada', 'DELETE /v1/customers/zoo');
    await until(
      async () => (await sql`select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`).length > 0,
      'the lock that is waited for',
    );
    expect(await holder`select id from grantgate.object where id = 'zoo' for share nowait`).toHaveLength(1);
  });
  expect(await gone).toMatchObject({ status: 200 });
});

test('whoever puts things into a group, moves them or removes them waits for each other in one order, however each names them', async () => {
  const waiting = async (): Promise<number> => (await sql`select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`).length;
  const ids = ['da', 'db', 'dc'];
  await done('ada', 'POST /v1/groups', { id: 'ring', type: 'DEVICE', owner: 'tower' });
  await done('ada', 'POST /v1/entities/bulk', { items: ids.map((id) => ({ id, type: 'DEVICE', owner: 'tower' })) });
  const add = (...members: readonly string[]) => ['POST /v1/groups/ring/members', { add: members }] as const;
  for (const [held, other] of [
    ['membership', add('da', 'db')],
    ['object', ['POST /v1/entities/bulk-owner', { ids: ['da', 'db'], owner: 'cafe' }]],
    ['object', ['POST /v1/entities/bulk-delete', { ids: ['da', 'db'] }]],
  ] as const) {
    await done('ada', 'POST /v1/entities/bulk-owner', { ids, owner: 'tower' });
    await done('ada', 'POST /v1/groups/ring/members', { remove: ids });
    const asking: Promise<AdminAnswer>[] = [];
    await sql.begin(async (holder) => {
      if (held === 'object') await holder`select from grantgate.object where id = 'dc' for update`;
      else await holder`insert into grantgate.membership (tenant, group_id, member_id, type, owner) values ('acme', 'ring', 'dc', 'DEVICE', 'tower')`;
      for (const [request, body] of [add('db', 'dc', 'da'), other]) {
        asking.push(admin.ask('ada', request, body));
        await until(async () => (await waiting()) === asking.length, `${asking.length} that wait`);
      }
    });
    expect(
      (await Promise.all(asking)).map(({ status }) => status),
      other[0],
    ).toEqual([200, 200]);
    // One that was ended for another is made again, a second later: nobody is told.
    expect(await sql`select deadlocks::int from pg_stat_database where datname = current_database()`, other[0]).toEqual([{ deadlocks: 0 }]);
  }
});

test('what is in very many groups is not changed in one go: one request took the memory, and the time, of all', { timeout: 60_000 }, async () => {
  const groups = Array.from({ length: 80 }, (_, i) => `n-group-${i}`.padEnd(250, 'x'));
  const ids = Array.from({ length: 1_000 }, (_, i) => `n-held-${i}`);
  await done('ada', 'POST /v1/groups/bulk', { items: groups.map((id) => ({ id, type: 'DEVICE', owner: 'tower' })) });
  await done('ada', 'POST /v1/entities/bulk', { items: ids.map((id) => ({ id, type: 'DEVICE', owner: 'tower' })) });
  const tooLarge = { status: 413, body: { code: 'too-large', detail: expect.stringContaining('name fewer') as string } };
  // From a small body.
  await refused('ada', 'POST /v1/entities/bulk-owner', { ids, owner: 'tower', groups }, tooLarge);
  await sql`insert into grantgate.membership (tenant, group_id, member_id, type, owner)
    select 'acme', g, m, 'DEVICE', 'tower' from unnest(${groups}::text[]) g, unnest(${ids}::text[]) m`;
  await refused('ada', 'POST /v1/entities/bulk-update', { items: ids.map((id) => ({ id, name: 'x' })) }, tooLarge);
  await refused('ada', 'POST /v1/entities/bulk-owner', { ids, owner: 'tower' }, tooLarge);
  await refused('ada', 'POST /v1/entities/bulk-delete', { ids }, tooLarge);
  // Of whoever applies a file, who cannot know it, in parts.
  const authorization = `Bearer ${Buffer.from('ada').toString('base64url')}`;
  const client = clientOver({
    name: 'the administration',
    async send(path, { headers, ...init }) {
      const response = await admin.routes.request(path, { ...init, headers: { ...headers, authorization } });
      return { response, text: await response.text() };
    },
  });
  const steps = ids.map((id) => ({ kind: 'update', list: 'entities', id, change: { name: 'x' }, before: {} }) as const);
  const parts: number[] = [];
  for await (const { count } of makeInParts(client, steps)) parts.push(count);
  expect(parts).toEqual([500, 500]);
});

test('a page of what is large ends early, and the next ones have the rest', { timeout: 60_000 }, async () => {
  const ids = Array.from({ length: 4 }, (_, i) => `n-large-${i}`);
  await done('ada', 'POST /v1/customers', { id: 'warehouse' });
  for (const id of ids) await done('ada', 'POST /v1/customers', { id, owner: 'warehouse', details: { x: 'x'.repeat(6 * 1024 * 1024) } });
  for (const [list, field] of [
    ['customers?limit=1000&owner=warehouse', 'id'],
    ['audit?limit=1000&action=customer.create', 'target'],
  ] as const) {
    const pages: string[][] = [];
    for (let next: string | undefined = ''; next !== undefined;) {
      const page = (await done('ada', `GET /v1/${list}${next === '' ? '' : `&cursor=${next}`}`)).body as { items: Record<string, string>[]; next?: string };
      pages.push(page.items.map((item) => item[field]!));
      ({ next } = page);
    }
    expect(
      pages
        .flat()
        .filter((id) => id.startsWith('n-large'))
        .toSorted(),
      list,
    ).toEqual(ids);
    expect(Math.max(...pages.map((page) => page.filter((id) => id.startsWith('n-large')).length)), list).toBe(3);
  }
  await refused('ada', 'POST /v1/customers/bulk-update', { items: ids.map((id) => ({ id, title: 'x' })) }, { status: 413 });
});

test(`${MANY} at once: one transaction, one ring`, { timeout: 120_000 }, async () => {
  const ids = Array.from({ length: MANY }, (_, i) => `n${i}`);
  await done('ada', 'POST /v1/customers', { id: 'mill' });
  await done('ada', 'POST /v1/groups', { id: 'many', type: 'USER', owner: 'mill' });
  await done('ada', 'POST /v1/users/bulk', { items: ids.map((id) => ({ id, owner: 'tower' })) });
  // As the server does by itself within a minute: [measured] by what it knew of a table of 30 rows, each check of a foreign key reads all 5,000.
  await sql`analyze`;
  // Seen before, as by whoever works with them: this is about the change, not about so many places that are filled on a machine short of a processor.
  const read = (target: string) => requestOf(vocabulary, { user: 'ada', operation: 'READ', resource: 'USER', target });
  for (let from = 0; from < MANY; from += 100)
    await Promise.all(ids.slice(from, from + 100).map((id) => admin.cache.check(read(id), undefined, { deadline: 20_000 })));
  const spent: string[] = [];
  for (const [what, body] of [
    ['bulk-update', { items: ids.map((id, i) => ({ id, name: `Name ${i}`, enabled: i % 2 === 0 })) }],
    ['bulk-owner', { ids, owner: 'mill', groups: ['many'] }],
  ] as const) {
    const began = performance.now();
    const change = async (): Promise<void> => {
      const { items } = (await done('ada', `POST /v1/users/${what}`, body)).body as { readonly items: readonly object[] };
      expect(items.at(-1)).toMatchObject({ id: ids.at(-1), name: `Name ${MANY - 1}`, enabled: false });
    };
    expect(await ringsOf(change)).toBe(1);
    spent.push(`${what} ${(performance.now() - began).toFixed(0)} ms`);
    expect(await audited()).toHaveLength(what === 'bulk-owner' ? 2 * MANY : MANY);
  }
  expect((await done('ada', `GET /v1/users/n${MANY - 1}`)).body).toMatchObject({ name: `Name ${MANY - 1}`, owner: 'mill', groups: ['many'] });
  console.log(`bulk: ${MANY} users: ${spent.join(', ')}, one ring each`);
});
