// Is the change log kept short by whoever follows it, and is nobody harmed where that cannot be?

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openPool, postgresSource, type PostgresSourceOptions } from 'policy-cache/postgres';
import { servers, startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';

const HOUR = 3_600_000;

describe.each(servers)('on %s', (kind) => {
  let server: TestServer;
  let database: TestDatabase;
  let reader: string;
  let sql: ReturnType<typeof openPool>;
  const ends: (() => void)[] = [];
  beforeAll(async () => {
    server = await startPostgres(kind);
    database = await server.database();
    reader = await database.urlAs('grantgate_reader');
    sql = openPool({ url: database.url, max: 2 });
    await sql`insert into grantgate.object (id, tenant, kind, type) values ('t', 't', 'tenant', 'TENANT')`;
    for (let i = 0; i < 5; i++) await sql`insert into grantgate.object (id, tenant, kind, type, owner) values (${`d${i}`}, 't', 'entity', 'DEVICE', 't')`;
  });
  afterAll(async () => {
    for (const end of ends) end();
    await sql.end({ timeout: 5 });
    await server.close();
  });

  async function attach(options: Partial<PostgresSourceOptions> = {}) {
    const seen = { trimmed: [] as number[], failed: [] as string[], closed: 0 };
    const observer = { trimmed: (versions: number) => void seen.trimmed.push(versions), trimFailed: (cause: Error) => void seen.failed.push(cause.message) };
    const source = postgresSource({ url: reader, observer, trim: { keepMs: 2 * HOUR, everyMs: 30, random: () => 0.5 }, ...options });
    const attachment = await source.attach({ ring: () => undefined, closed: () => void seen.closed++ });
    ends.push(() => attachment.close());
    return { ...attachment, seen };
  }
  const versions = async (): Promise<number> => (await sql`select 1 from grantgate.change`).length;
  const age = (): Promise<unknown> => sql`update grantgate.change set at = at - interval '3 hours'`;

  test('a reader that follows takes what is older than asked, as a prefix, and never the newest', async () => {
    const { seen, close } = await attach();
    await until(() => seen.trimmed.length > 1, 'trims that find nothing');
    expect(new Set(seen.trimmed)).toEqual(new Set([0]));
    const before = await versions();
    expect(before).toBeGreaterThan(5);
    await age();
    await until(() => seen.trimmed.some((gone) => gone > 0), 'a trim that finds something');
    expect(seen.trimmed.filter((gone) => gone > 0)).toEqual([before - 1]);
    expect(await sql`select version = (select max(version) from grantgate.change) as newest from grantgate.change`).toEqual([{ newest: true }]);
    expect(seen.failed).toEqual([]);
    close();
    const told = seen.trimmed.length;
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(seen.trimmed.length).toBe(told);
  });

  test('a trim that may not, or that hangs, is told and tried again; pulls and fills go on beside it', async () => {
    await sql`revoke execute on function grantgate.trim(interval) from grantgate_reader`;
    const { seen, pull, objects, close } = await attach({ limits: { loadMs: 150 } });
    try {
      await until(() => seen.failed.length > 1, 'refusals');
      expect(seen.failed[0]).toMatch(/permission denied for function trim/);
      await sql`grant execute on function grantgate.trim(interval) to grantgate_reader`;
      await until(() => seen.trimmed.length > 0, 'a trim');
      for (let i = 0; i < 5; i++) await sql`delete from grantgate.object where id = ${`d${i}`}`;
      await sql.begin(async (holder) => {
        await age();
        await holder`select 1 from grantgate.change for update`;
        await until(() => seen.failed.some((message) => message.includes('no answer within 150 ms')), 'a trim that hangs');
        await Promise.all([pull({ cursor: 0, limit: null, ask: [] }), objects(['d1'])]);
      });
      await until(async () => (await versions()) === 1, 'the log to be short');
      expect(seen.closed).toBe(0);
    } finally {
      close();
    }
  });

  test('an attachment that ends by itself trims no more', async () => {
    const { seen } = await attach();
    await until(() => seen.trimmed.length > 0, 'a trim');
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where usename = ${new URL(reader).username}`;
    await until(() => seen.closed === 1, 'the end');
    const told = seen.trimmed.length + seen.failed.length;
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(seen.trimmed.length + seen.failed.length).toBe(told);
  });
});
