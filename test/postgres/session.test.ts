// Does the Postgres source hold its session as coherence 1.1, 3.4 and 3.5 ask: rings, pulls, refusals, and links that freeze or die?

import { performance } from 'node:perf_hooks';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PolicyError, type TreeRow } from 'policy-cache';
import { openPool, postgresSource, type PostgresSourceOptions } from 'policy-cache/postgres';
import { startProxy, type FreezableProxy } from '../support/frozen-link.ts';
import { PATIENT, servers, startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';

type Attached = Awaited<ReturnType<typeof attach>>;

async function attach(url: string, options: Partial<PostgresSourceOptions> = {}) {
  const seen = { rings: 0, closed: [] as Error[] };
  const attachment = await postgresSource({ url, limits: PATIENT, ...options }).attach({
    ring: () => void seen.rings++,
    closed: (cause) => void seen.closed.push(cause),
  });
  return { ...attachment, seen };
}

const refused = async (work: Promise<unknown>): Promise<string> => {
  const error = await work.then(
    () => new Error('it was not refused'),
    (cause: unknown) => cause as Error,
  );
  expect(error).toBeInstanceOf(PolicyError);
  return error.message;
};

describe.each(servers)('on %s', (kind) => {
  let server: TestServer;
  let database: TestDatabase;
  let sql: ReturnType<typeof openPool>;
  let proxy: FreezableProxy;
  const open: Attached[] = [];
  const attached = async (...args: Parameters<typeof attach>): Promise<Attached> => {
    const attachment = await attach(...args);
    open.push(attachment);
    return attachment;
  };

  beforeAll(async () => {
    server = await startPostgres(kind);
    database = await server.database();
    sql = openPool({ url: database.url, max: 2 });
    proxy = await startProxy({ port: Number(new URL(database.url).port) });
    await sql`insert into grantgate.object (id, tenant, kind, type) values ('t', 't', 'tenant', 'TENANT')`;
  });
  afterAll(async () => {
    for (const attachment of open) attachment.close();
    await sql.end({ timeout: 5 });
    await proxy.close();
    await server.close();
  });

  const addDevice = (id: string) => sql`insert into grantgate.object (id, tenant, kind, type, owner) values (${id}, 't', 'entity', 'DEVICE', 't')`;

  test('a commit rings, and the pull after it has the change under its number and id', async () => {
    const attachment = await attached(database.url);
    const before = await attachment.pull({ cursor: 0, limit: null, ask: [] });
    await addDevice('ring-1');
    await until(() => attachment.seen.rings > 0, 'a ring');
    const reply = await attachment.pull({ cursor: before.head.version, limit: 1_001, ask: [before.head.version, 999_999] });
    expect(reply.changes).toEqual([[reply.head.version, reply.head.id, 'o', ['ring-1']]]);
    expect(reply.cursorId).toBe(before.head.id);
    expect(reply.answers).toEqual([
      [before.head.version, before.head.id],
      [999_999, null],
    ]);
    expect(reply.timeline).toMatch(/^[0-9A-F]{8}$/);
    expect(reply.lagMs).toBeGreaterThanOrEqual(0);
    expect(reply.lagMs).toBeLessThan(10_000);
    expect(reply.pid).toBe(before.pid);
    expect((await attachment.objects(['ring-1'])).stamp).toEqual(reply.head);
  });

  test('a link that a middlebox froze: pull, fill and load reject within their limits, and close returns at once', async () => {
    const limits = { connectMs: 400, pullMs: 200, firstPullMs: 300, fillMs: 100, loadMs: 300 };
    const attachment = await attached(proxy.through(database.url), { limits });
    await attachment.pull({ cursor: 0, limit: 1_001, ask: [] });
    proxy.freeze();
    try {
      const started = performance.now();
      const took = async (work: Promise<unknown>) => [await refused(work), performance.now() - started] as const;
      const [pull, first, fill, load] = await Promise.all([
        took(attachment.pull({ cursor: 0, limit: 1_001, ask: [] })),
        took(attachment.pull({ cursor: 0, limit: null, ask: [] })),
        took(attachment.objects(['t'])),
        took(attachment.load(() => undefined)),
      ]);
      for (const [[message, ms], limit] of [
        [pull, 200],
        [first, 300],
        [fill, 100],
        [load, 400],
      ] as const) {
        expect(message).toContain(`no answer within ${limit} ms`);
        expect(ms).toBeGreaterThanOrEqual(limit - 5);
        expect(ms).toBeLessThan(limit + 5_000);
      }
      const waiting = refused(attachment.pull({ cursor: 0, limit: null, ask: [] }));
      attachment.close();
      attachment.close();
      expect(await waiting).toContain('given up');
      expect(attachment.seen.closed).toEqual([]);
    } finally {
      proxy.thaw();
    }
  });

  test('a server that accepts and says nothing is given up after connectMs', async () => {
    proxy.freeze();
    const started = performance.now();
    try {
      expect(await refused(attach(proxy.through(database.url), { limits: { connectMs: 200 } }))).toContain('no answer within 200 ms');
      expect(performance.now() - started, 'long before the system gives up').toBeLessThan(10_000);
    } finally {
      proxy.thaw();
    }
  });

  test('a killed backend is told once, ends every call, and leaves no connection behind', async () => {
    const attachment = await attached(database.url);
    const { pid } = await attachment.pull({ cursor: 0, limit: 1_001, ask: [] });
    await sql`select pg_terminate_backend(${pid})`;
    await until(() => attachment.seen.closed.length > 0, 'closed');
    expect(await refused(attachment.pull({ cursor: 0, limit: 1_001, ask: [] }))).toMatch(/closed|terminat/);
    expect(await refused(attachment.objects(['t']))).toContain('the attachment was closed');
    attachment.close();
    expect(attachment.seen.closed).toHaveLength(1);
  });

  test('close is never told as closed, and the server forgets the sessions', async () => {
    const name = `close-${kind}`;
    const attachment = await attached(`${database.url}?application_name=${name}`);
    const mine = async () => Number((await sql`select count(*) from pg_stat_activity where application_name = ${name}`)[0]!['count']);
    expect(await mine()).toBe(5); // one listens, four fill
    attachment.close();
    await until(async () => (await mine()) === 0, 'no session');
    expect(attachment.seen.closed).toEqual([]);
  });

  test('a fill connection that stalls or dies costs a fill, not the attachment', async () => {
    const first = proxy.connections.length;
    const attachment = await attached(proxy.through(database.url), { fillConnections: 2, limits: { fillMs: 150 } });
    const [, one, other] = proxy.connections.slice(first);
    one!.freeze();
    const answers = await Promise.allSettled([attachment.objects(['t']), attachment.objects(['t'])]);
    expect(answers.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
    for (let i = 0; i < 5; i++) expect((await attachment.objects(['t'])).rows).toHaveLength(1); // by the other one
    await until(async () => (await attachment.objects(['t'])).rows.length === 1 && proxy.connections.length > first + 3, 'the stalled connection is replaced');
    other!.freeze();
    await until(async () => (await attachment.objects(['t']).catch(() => null)) !== null, 'a new fill connection');
    await attachment.pull({ cursor: 0, limit: 1_001, ask: [] });
    expect(attachment.seen.closed).toEqual([]);
  });

  test('the reader alone suffices; without the right to read the timeline it is null', async () => {
    const reader = await database.urlAs('grantgate_reader');
    const allowed = await attached(reader);
    expect((await allowed.pull({ cursor: 0, limit: null, ask: [] })).timeline).not.toBeNull();
    await sql`revoke execute on function pg_walfile_name(pg_lsn) from public`;
    try {
      const attachment = await attached(reader);
      expect((await attachment.pull({ cursor: 0, limit: null, ask: [] })).timeline).toBeNull();
    } finally {
      await sql`grant execute on function pg_walfile_name(pg_lsn) to public`;
    }
    const tree: TreeRow[] = [];
    await allowed.load((rows) => tree.push(...rows));
    expect(tree).toContainEqual(['t', [null]]);
    expect((await allowed.objects(['t'])).rows).toHaveLength(1);
    expect((await allowed.classes([{ owner: 't', groups: [] }])).grants).toEqual([[]]);
  });

  describe('the attach is refused, with a sentence', () => {
    test('where a trigger is missing, disabled, or silent under replication', async () => {
      const broken = await server.database();
      const admin = openPool({ url: broken.url, max: 1 });
      try {
        for (const [statement, heal] of [
          ['disable trigger seal', 'enable always trigger seal'],
          ['enable trigger seal', 'enable always trigger seal'],
          ['enable replica trigger seal', 'enable always trigger seal'],
        ] as const) {
          await admin.unsafe(`alter table grantgate.touched ${statement}`);
          expect(await refused(attach(broken.url))).toContain('touched.seal');
          await admin.unsafe(`alter table grantgate.touched ${heal}`);
        }
        await admin.unsafe('drop trigger log_delete on grantgate.membership');
        expect(await refused(attach(broken.url))).toContain('membership.log_delete');
      } finally {
        await admin.end({ timeout: 5 });
      }
    });

    test('where the schema is missing, or of another version', async () => {
      const empty = await server.database('empty');
      expect(await refused(attach(empty.url))).toContain('run grantgate migrate');
      const newer = await server.database();
      const admin = openPool({ url: newer.url, max: 1 });
      try {
        await admin`insert into grantgate.migration (version, name, checksum) values (9999, 'later', '')`;
        expect(await refused(attach(newer.url))).toContain('use a newer grantgate');
        await admin`delete from grantgate.migration where version > 1`;
        expect(await refused(attach(newer.url))).toContain('run grantgate migrate');
      } finally {
        await admin.end({ timeout: 5 });
      }
    });

    test('where the login may not read it, the password is wrong, nobody listens, or there is no such database', async () => {
      expect(await refused(attach(await database.urlAs('pg_monitor')))).toContain('grantgate_reader');
      const wrong = new URL(database.url);
      wrong.password = 'wrong';
      const message = await refused(attach(wrong.href));
      expect(message).toContain('password authentication failed');
      expect(message).not.toContain('wrong');
      expect(await refused(attach('postgres://u:p@127.0.0.1:1/d'))).toMatch(/127\.0\.0\.1:1.*ECONNREFUSED/);
      expect(await refused(attach(`${database.url}_not`))).toContain('does not exist');
    });

    test('and nothing is left open', async () => {
      const name = `refused-${kind}`;
      const empty = await server.database('empty');
      await refused(attach(`${empty.url}?application_name=${name}`));
      await until(async () => (await sql`select 1 from pg_stat_activity where application_name = ${name}`).length === 0, 'no session');
    });
  });

  test('hosts are tried in order, by one URL with several or by several URLs', async () => {
    const { username, password, port, pathname } = new URL(database.url);
    const several = await attached(`postgres://${username}:${password}@127.0.0.1:1,127.0.0.1:${port}${pathname}`);
    expect((await several.objects(['t'])).rows).toHaveLength(1);
    const list = postgresSource({ url: ['postgres://u:p@127.0.0.1:1/d', database.url] });
    const attachment = await list.attach({ ring: () => undefined, closed: () => undefined });
    attachment.close();
    expect(await refused(attach('postgres://u:p@127.0.0.1:1,127.0.0.1:2/d'))).toMatch(/127\.0\.0\.1:1.*; 127\.0\.0\.1:2/);
  });
});
