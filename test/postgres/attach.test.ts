// Does an attach find out what would make a follower deaf or blind: a pooler, a right that is missing?

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PolicyError } from 'policy-cache';
import { openPool, postgresSource, type PostgresSourceOptions } from 'policy-cache/postgres';
import { cli } from '../support/cli.ts';
import { startPooler, type Pooler, type PoolerOptions } from '../support/pgbouncer.ts';
import { servers, startOwnPostgres, startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { startSidecar } from '../support/sidecar.ts';
import { until } from '../support/until.ts';
import { entity, seed } from './fixture.ts';

const POOLER = 'a transaction pooler stands between, through which no notification comes: lead the URL to the server itself, or to a pool in session mode';
const silent = { ring: () => undefined, closed: () => undefined };

/** Why the attach is refused; null if it is not. */
async function refusal(url: string, options: Partial<PostgresSourceOptions> = {}): Promise<string | null> {
  try {
    (await postgresSource({ url, ...options }).attach(silent)).close();
    return null;
  } catch (error) {
    expect(error).toBeInstanceOf(PolicyError);
    return (error as Error).message;
  }
}

describe.each(servers)('on %s', (kind) => {
  let server: TestServer;
  let database: TestDatabase;
  let reader: string;
  let sql: ReturnType<typeof openPool>;
  const poolers: Pooler[] = [];
  beforeAll(async () => {
    server = await startPostgres(kind);
    database = await server.database();
    reader = await database.urlAs('grantgate_reader');
    sql = openPool({ url: database.url, max: 1 });
    await seed(sql);
  });
  afterAll(async () => {
    for (const pooler of poolers) await pooler.stop();
    await sql.end({ timeout: 5 });
    await server.close();
  });
  async function pooled(options: PoolerOptions, url = reader): Promise<string> {
    const pooler = await startPooler([url], options);
    poolers.push(pooler);
    return pooler.through(url);
  }

  describe('behind PgBouncer', () => {
    test.each(['transaction', 'statement'] as const)('in %s mode it is refused, each time', async (mode) => {
      const url = await pooled({ mode });
      const refusals = await Promise.all(Array.from({ length: 10 }, () => refusal(url)));
      for (let i = 0; i < 10; i++) refusals.push(await refusal(url));
      for (const sentence of refusals) expect(sentence).toContain(POOLER);
    });
    test('in transaction mode with one server process, and with processes by turns', async () => {
      const turns = [2, 3, 5, 6].map((size) => ({ server_round_robin: 1, default_pool_size: size }));
      for (const settings of [{ default_pool_size: 1 }, ...turns, { server_round_robin: 1, min_pool_size: 10 }]) {
        const url = await pooled({ mode: 'transaction', settings });
        for (let i = 0; i < 5; i++) expect(await refusal(url)).toContain(POOLER);
      }
    });
    test('the doctor says so', async () => {
      const env = { DATABASE_URL: await pooled({ mode: 'transaction' }), OWNER_DATABASE_URL: database.url };
      const { code, stdout } = await cli(['doctor'], { env });
      expect([code, stdout]).toEqual([1, expect.stringMatching(new RegExp(`^problem +attach +a sidecar is refused: .*${POOLER}$`, 'm'))]);
    });
    test('in session mode it works: rings come, and answers', async () => {
      let rings = 0;
      const attachment = await postgresSource({ url: await pooled({ mode: 'session' }) }).attach({ ...silent, ring: () => void rings++ });
      try {
        await sql.unsafe(entity('pooled', 'DEVICE', 'a'));
        await until(() => rings > 0, 'a ring');
        const { head } = await attachment.pull({ cursor: 0, limit: null, ask: [] });
        expect(await attachment.objects(['pooled'])).toMatchObject({ stamp: head, rows: [{ id: 'pooled' }] });
        expect((await attachment.load()).tree).toHaveLength(5);
      } finally {
        attachment.close();
      }
    });
    test('the service is not ready, and /readyz says why', async () => {
      const sidecar = await startSidecar({ databaseUrl: await pooled({ mode: 'transaction' }), ready: false });
      try {
        await until(async () => (await sidecar.readyz()).cause?.includes(POOLER) === true, 'the cause');
        // It is tried again and again, and never ready in between.
        const attempts = (): number => sidecar.log().split(POOLER).length;
        const before = attempts();
        await until(async () => {
          expect(await sidecar.readyz()).toMatchObject({ status: 503, state: 'starting' });
          return attempts() > before + 3;
        }, 'more attempts');
      } finally {
        await sidecar.stop();
      }
    });
  });

  describe('a right that is missing is named, with the way to it', () => {
    const READS = ['object', 'role', 'membership', 'group_permission', 'change', 'touched', 'fleet', 'migration'].map(
      (table) => `select on grantgate.${table}`,
    );
    test.each([...READS, 'select (enabled) on grantgate.user_account', 'execute on function grantgate.broken_triggers()'])('%s', async (right) => {
      await sql.unsafe(`revoke ${right} from grantgate_reader`);
      try {
        expect(await refusal(reader)).toContain(`lacks ${right}: run grantgate migrate, which grants them to grantgate_reader`);
      } finally {
        await sql.unsafe('select grantgate.grant_roles()');
      }
      expect(await refusal(reader)).toBe(null);
    });
    test('of a login that is no reader', async () => {
      const url = await database.urlAs('pg_monitor');
      const login = new URL(url).username;
      await sql.unsafe(`grant usage on schema grantgate to "${login}"`);
      expect(await refusal(url)).toMatch(new RegExp(`"${login}" lacks select on grantgate.object, .*: run: grant grantgate_reader to "${login}"$`));
      await sql.unsafe(`grant grantgate_reader to "${login}"`);
      expect(await refusal(url)).toBe(null);
    });
  });

  test('the service is not ready for any of it, says why at /readyz, and is ready once it is mended', async () => {
    const faults = [
      ['revoke select on grantgate.touched from grantgate_reader', 'select grantgate.grant_roles()', 'lacks select on grantgate.touched'],
      [
        'alter table grantgate.membership enable trigger log_insert',
        'alter table grantgate.membership enable always trigger log_insert',
        'not ENABLE ALWAYS: membership.log_insert',
      ],
    ] as const;
    for (const [fault] of faults) await sql.unsafe(fault);
    const sidecar = await startSidecar({ databaseUrl: reader, ready: false });
    try {
      for (const [, mend, sentence] of faults) {
        await until(async () => (await sidecar.readyz()).cause?.includes(sentence) === true, sentence);
        expect((await sidecar.readyz()).status).toBe(503);
        await sql.unsafe(mend);
      }
      await until(async () => (await sidecar.readyz()).status === 200, 'ready');
    } finally {
      for (const [, mend] of faults) await sql.unsafe(mend);
      await sidecar.stop();
    }
  });

  test('on a standby the service is not ready, and is once it has been promoted', async () => {
    const own = await startOwnPostgres(kind);
    try {
      const url = await (await own.database()).urlAs('grantgate_reader');
      await own.stop();
      await writeFile(join(own.directory, 'standby.signal'), '');
      await own.start();
      const sidecar = await startSidecar({ databaseUrl: url, ready: false });
      try {
        await until(async () => (await sidecar.readyz()).cause?.includes('it is a standby, and only a primary can be listened to: name') === true, 'the cause');
        expect((await sidecar.readyz()).status).toBe(503);
        const { code, stdout } = await cli(['doctor'], { env: { DATABASE_URL: url } });
        expect([code, stdout]).toEqual([1, expect.stringMatching(/^problem +primary +it is a standby/m)]);
        const admin = openPool({ url: own.url, max: 1 });
        await admin`select pg_promote()`;
        await admin.end({ timeout: 5 });
        await until(async () => (await sidecar.readyz()).status === 200, 'ready');
      } finally {
        await sidecar.stop();
      }
    } finally {
      await own.close();
    }
  });
});
