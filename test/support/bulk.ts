// What does a test of many changes at once need? An administration of its own, with a tenant that has something of everything, and who looks at the tables.

import { randomUUID } from 'node:crypto';
import { openPool, openWriter, type Writer } from 'policy-cache/postgres';
import { expect } from 'vitest';
import { OPERATOR, startTestAdministration, type AdminAnswer, type TestAdministration } from './admin.ts';
import { startPostgres } from './postgres.ts';
import { until } from './until.ts';

export interface Audited {
  readonly target: string;
  readonly owner: string;
  readonly action: string;
  readonly before: object;
  readonly after: object;
}

export interface Bulk {
  readonly admin: TestAdministration;
  readonly sql: ReturnType<typeof openPool>;
  readonly writer: Writer;
  done(by: string, request: string, body?: unknown): Promise<AdminAnswer>;
  /** And nothing is changed by it. */
  refused(by: string, request: string, body: object, as: object): Promise<AdminAnswer>;
  /** How often one change rings. */
  ringsOf(change: () => Promise<unknown>): Promise<number>;
  /** The rows of the last request that was done. */
  audited(): Promise<readonly Audited[]>;
  close(): Promise<void>;
}

export async function startBulk(): Promise<Bulk> {
  const server = await startPostgres('embedded18');
  const database = await server.database();
  const admin = await startTestAdministration(database);
  const writer = openWriter({ url: await database.urlAs('grantgate_writer') });
  const sql = openPool({ url: database.url, max: 2 });
  let rings = 0;
  await sql.listen('grantgate', () => rings++);
  let asked = '';
  /** Of all that is there when it is not of thousands. */
  const stored = async (): Promise<unknown> =>
    sql`select (select count(*) from grantgate.audit) audited, (select max(version) from grantgate.change) version,
      (select json_agg(o order by o.id) from grantgate.object o where o.id not like 'n%') objects, (select json_agg(u order by u.id) from grantgate.user_account u) users,
      (select json_agg(r order by r.id) from grantgate.role r) roles, (select count(*) from grantgate.membership) members`;
  const bulk: Bulk = {
    admin,
    sql,
    writer,
    async done(by, request, body) {
      const answer = await admin.ask(by, request, body, { 'x-request-id': (asked = randomUUID()) });
      expect(answer.status, `${request}: ${JSON.stringify(answer.body).slice(0, 1_000)}`).toBeOneOf([200, 201]);
      return answer;
    },
    async refused(by, request, body, as) {
      const before = await stored();
      const answer = await admin.ask(by, request, body);
      expect(answer, `${request} ${JSON.stringify(body).slice(0, 200)}`).toMatchObject(as);
      expect(await stored(), 'nothing is changed, and nothing written down').toEqual(before);
      return answer;
    },
    async ringsOf(change) {
      // A marker closes it: what of the channel came before it had.
      const settled = async (): Promise<number> => {
        const from = rings;
        await sql`select pg_notify('grantgate', 'marker')`;
        await until(() => rings > from, 'the marker');
        return rings;
      };
      const before = await settled();
      await change();
      return (await settled()) - before - 1;
    },
    audited: async () => sql<Audited[]>`select target, owner, action, before, after from grantgate.audit where request_id = ${asked} order by id`,
    async close() {
      admin.close();
      writer.close();
      await sql.end();
      await server.close();
    },
  };
  const { done } = bulk;
  await done(OPERATOR, 'POST /v1/tenants', { id: 'acme' });
  await done(OPERATOR, 'POST /v1/tenants/acme/administrator', { id: 'ada' });
  await done('ada', 'POST /v1/customers', { id: 'tower' });
  await done('ada', 'POST /v1/customers', { id: 'cafe', owner: 'tower' });
  await done('ada', 'POST /v1/users', { id: 'bob', owner: 'tower', groups: ['admins:tower'] });
  await done('ada', 'POST /v1/users/bulk', { items: ['u1', 'u2', 'u3'].map((id) => ({ id, owner: 'tower' })) });
  await done('ada', 'POST /v1/entities/bulk', { items: ['m1', 'm2', 'm3'].map((id) => ({ id, type: 'DEVICE', owner: 'tower', name: id })) });
  await done('ada', 'POST /v1/entities', { id: 'of-acme', type: 'DEVICE' });
  return bulk;
}
