// Is a transaction pooler found out, and left alone by a follower from then on? With a real PgBouncer.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openPool, postgresSource } from 'policy-cache/postgres';
import { cli } from '../support/cli.ts';
import { startPooler, type Pooler, type PoolerOptions } from '../support/pgbouncer.ts';
import { PATIENT, servers, startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { startSidecar } from '../support/sidecar.ts';
import { until } from '../support/until.ts';
import { entity, seed } from './fixture.ts';
import { attachRefusal } from './following.ts';

const POOLER = 'a transaction pooler stands between, through which no notification comes: lead the URL to the server itself, or to a pool in session mode';
const silent = { ring: () => undefined, closed: () => undefined };

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

  test.each(['transaction', 'statement'] as const)('in %s mode it is refused, each time', async (mode) => {
    const url = await pooled({ mode });
    const refusals = await Promise.all(Array.from({ length: 10 }, () => attachRefusal(url)));
    for (let i = 0; i < 10; i++) refusals.push(await attachRefusal(url));
    for (const sentence of refusals) expect(sentence).toContain(POOLER);
  });
  test('in transaction mode with one server process, and with processes by turns', async () => {
    const turns = [2, 3, 5, 6].map((size) => ({ server_round_robin: 1, default_pool_size: size }));
    for (const settings of [{ default_pool_size: 1 }, ...turns, { server_round_robin: 1, min_pool_size: 10 }]) {
      const url = await pooled({ mode: 'transaction', settings });
      for (let i = 0; i < 5; i++) expect(await attachRefusal(url)).toContain(POOLER);
    }
  });
  test('the doctor says so', async () => {
    const env = { DATABASE_URL: await pooled({ mode: 'transaction' }), OWNER_DATABASE_URL: database.url };
    const { code, stdout } = await cli(['doctor'], { env });
    expect([code, stdout]).toEqual([1, expect.stringMatching(new RegExp(`^problem +attach +a sidecar is refused: .*${POOLER}$`, 'm'))]);
  });
  test('in session mode it works: rings come, and answers', async () => {
    let rings = 0;
    const attachment = await postgresSource({ url: await pooled({ mode: 'session' }), limits: PATIENT }).attach({ ...silent, ring: () => void rings++ });
    try {
      await sql.unsafe(entity('pooled', 'DEVICE', 'a'));
      await until(() => rings > 0, 'a ring');
      const { head } = await attachment.pull({ cursor: 0, limit: null, ask: [] });
      expect(await attachment.objects(['pooled'])).toMatchObject({ stamp: head, rows: [{ id: 'pooled' }] });
      let rows = 0;
      await attachment.load((part) => (rows += part.length));
      expect(rows).toBe(5);
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
