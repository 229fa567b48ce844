// When a barrier says that a revision is in force, is there a sidecar left that answers from before it? (coherence 3.7, G4)

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { PolicyCache, compileVocabulary, formatRevision, parseRevision, requestOf, type CheckStatus, type Revision } from 'policy-cache';
import { barrier, openPool, postgresSource } from 'policy-cache/postgres';
import { parse } from 'yaml';
import { hostClock } from '../../src/clock.ts';
import { cli } from '../support/cli.ts';
import { startProxy, type FreezableProxy } from '../support/frozen-link.ts';
import { servers, startOwnPostgres, type OwnServer, type TestDatabase } from '../support/postgres.ts';
import { startSidecar } from '../support/sidecar.ts';
import { until } from '../support/until.ts';
import { entity, tenant, type Sql } from './fixture.ts';

const vocabulary = compileVocabulary(parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));
const LEASE_MS = 3_000; // maxStaleness and a second
const limits = { fillMs: 2_000 }; // two busy cores

describe.each(servers)('on %s', (kind) => {
  let server: OwnServer;
  let database: TestDatabase;
  let reader: string;
  let sql: Sql;
  beforeAll(async () => {
    server = await startOwnPostgres(kind);
    database = await server.database();
    reader = await database.urlAs('grantgate_reader');
    sql = openPool({ url: database.url, max: 2 });
    await sql.unsafe(`${tenant('t')}; ${entity('d', 'DEVICE', 't')}`);
  });
  afterAll(async () => {
    await sql.end({ timeout: 5 });
    await server.close();
  });

  let commits = 0;
  async function commit(): Promise<Revision> {
    const text = await sql.begin(async (tx) => {
      await tx.unsafe(entity(`e${++commits}`, 'DEVICE', 't'));
      await tx`set constraints all immediate`;
      const [row] = await tx<[{ revision: string }]>`select grantgate.revision() as revision`;
      return row.revision;
    });
    return parseRevision(text);
  }
  const wait = (revision: Revision, timeoutMs = 20_000) => barrier({ url: reader }, revision, { timeoutMs });

  /** A follower in this process, behind a proxy of its own. */
  async function follower(name: string, maxStaleness = 2_000): Promise<{ cache: PolicyCache; proxy: FreezableProxy; answersAt(): Revision | null }> {
    const proxy = await startProxy({ port: Number(new URL(reader).port) });
    const source = postgresSource({ url: proxy.through(reader), limits });
    const cache = new PolicyCache({ vocabulary, source, clock: hostClock(), random: Math.random, follower: name, maxStaleness });
    onTestFinished(async () => {
      cache.close();
      await proxy.close();
    });
    cache.start();
    await cache.ready(10_000);
    const status: CheckStatus = { tenant: '', customer: '', revision: null, hit: false };
    const request = requestOf(vocabulary, { user: 'nobody', operation: 'READ', resource: 'DEVICE', target: 'd' });
    await cache.check(request, status, { deadline: 5_000 });
    return {
      cache,
      proxy,
      /** The state that it answers from now; null: it refuses to. */
      answersAt() {
        try {
          // A fill is no answer yet.
          const answer = cache.check(request, status);
          if (!(answer instanceof Promise)) return status.revision;
          answer.catch(() => undefined);
          return null;
        } catch {
          return null;
        }
      },
    };
  }

  test('100 commits, three followers of which one is cut off now and then: whoever answers after the barrier answers from it or later', async () => {
    const followers = await Promise.all(['a', 'b', 'c'].map((name) => follower(name, 300)));
    await wait(await commit()); // the clone of a template has lost what is unlogged
    const took: number[] = [];
    let older = 0,
      refused = 0,
      expired = 0;
    for (let i = 0; i < 100; i++) {
      const frozen = i % 50 === 25 ? followers[i % 3]! : null;
      frozen?.proxy.freeze();
      const revision = await commit();
      const report = await wait(revision);
      expect(report.outcome).toBe('applied');
      expect(report.replicas).toHaveLength(3);
      for (const { answersAt } of followers) {
        const at = answersAt();
        if (at === null) refused++;
        else if (at.version < revision.version) older++;
      }
      expired += report.replicas.filter(({ state }) => state === 'expired').length;
      if (!frozen) took.push(report.waitedMs);
      frozen?.proxy.thaw();
      if (frozen) await until(() => followers.every(({ cache }) => cache.state().fresh), 'the one that was cut off');
    }
    took.sort((x, y) => x - y);
    console.log(
      `barrier on ${kind}: 100 commits, 3 followers: p50 ${took[took.length >> 1]} ms, p99 ${took[Math.floor(took.length * 0.99)]} ms; ${expired} waits for a lease, ${refused} refusals, ${older} answers from before`,
    );
    expect(older).toBe(0);
    expect(expired).toBeGreaterThan(0);
    // Without being asked, a follower reports once a second.
    expect(took[took.length >> 1]).toBeLessThan(500);
  });

  test('who goes on reporting from before the revision, or begins to, is waited for no longer than the lease it had', async () => {
    const [{ version, id }, revision] = [await commit(), await commit()];
    const leaseMs = 1_000;
    const report = (name: string): Promise<unknown> => sql`select grantgate.report(${name}, ${version}, ${id}, ${leaseMs})`;
    onTestFinished(async () => void (await sql`delete from grantgate.follower where id in ('behind', 'late')`));
    await report('behind');
    let over = false;
    const waiting = wait(revision, 10_000).finally(() => (over = true));
    await until(async () => {
      await report('behind');
      await report('late');
      return over;
    }, 'the barrier');
    const { outcome, waitedMs } = await waiting;
    expect(outcome).toBe('applied');
    expect(waitedMs).toBeGreaterThan(leaseMs / 2);
    expect(waitedMs).toBeLessThan(leaseMs + 3_000);
  });

  test("another login's name is refused, until that row is to be forgotten: a follower whose login was replaced goes on, though nobody else reports", async () => {
    const [before, after] = [openPool({ url: reader, max: 1 }), openPool({ url: await database.urlAs('grantgate_reader'), max: 1 })];
    onTestFinished(async () => {
      await sql`delete from grantgate.follower where id = 'renewed'`;
      await Promise.all([before.end({ timeout: 5 }), after.end({ timeout: 5 })]);
    });
    const asAfter = (): Promise<unknown> => after`select grantgate.report('renewed', null, null, 0)`;
    await before`select grantgate.report('renewed', null, null, 0)`;
    await expect(asAfter()).rejects.toMatchObject({ code: '42501' });
    await sql`update grantgate.follower set lease_until = lease_until - interval '1 minute' where id = 'renewed'`;
    await asAfter();
    await expect(before`select grantgate.report('renewed', null, null, 0)`).rejects.toMatchObject({ code: '42501' });
  });

  test.each([
    ['default_transaction_read_only', 'on'],
    ['default_transaction_isolation', 'repeatable read'],
    ['default_transaction_isolation', 'serializable'],
  ])('of a login whose %s is %s: a follower reports, and barriers at once do not meet', async (setting, value) => {
    const url = await database.urlAs('grantgate_reader');
    const login = new URL(url).username;
    await sql.unsafe(`alter role ${login} set ${setting} = '${value}'`);
    const cache = new PolicyCache({ vocabulary, source: postgresSource({ url, limits }), clock: hostClock(), random: Math.random, follower: login });
    onTestFinished(() => cache.close());
    cache.start();
    await cache.ready(10_000);
    expect(cache.stats.reports).toBeGreaterThan(0);
    cache.close();
    await sql`delete from grantgate.follower`; // of those closed with a lease
    for (let i = 0; i < 5; i++) {
      // Behind, so that every barrier writes what it waits for.
      const behind = sql`select grantgate.report('behind', null, null, 100)`;
      const revisions = [await commit(), await commit(), await commit(), await commit()];
      await behind;
      const reports = await Promise.all(revisions.map((revision) => barrier({ url }, revision, { timeoutMs: 20_000 })));
      expect(reports.map(({ outcome }) => outcome)).toEqual(['applied', 'applied', 'applied', 'applied']);
    }
    await sql`delete from grantgate.follower where id = 'behind'`;
  });

  test('whoever looked within a transaction that is still open holds up nobody', async () => {
    const [before, revision] = [await commit(), await commit()];
    await sql`insert into grantgate.fleet (since) values (now() - interval '1 minute') on conflict do nothing`; // which a clone has lost
    await sql`select grantgate.report('behind', null, null, 1000)`;
    onTestFinished(async () => void (await sql`delete from grantgate.follower where id = 'behind'`));
    const open = await sql.reserve();
    try {
      await open`begin`;
      await open`select grantgate.barrier(${before.version}, ${before.id})`;
      expect(await wait(revision)).toMatchObject({ outcome: 'applied' });
    } finally {
      await open`rollback`;
      open.release();
    }
  });

  test('beside a transaction that has long been open, a report takes little more than one look at the table', { timeout: 60_000 }, async () => {
    const [holder, login] = [openPool({ url: database.url, max: 1 }), openPool({ url: database.url, max: 1 })];
    const open = await holder.reserve();
    onTestFinished(async () => {
      await open`rollback`;
      open.release();
      await sql`delete from grantgate.follower`;
      await Promise.all([holder.end({ timeout: 5 }), login.end({ timeout: 5 })]);
    });
    await open`begin isolation level repeatable read`;
    await open`select from grantgate.object limit 1`;
    for (let i = 0; i < 20; i++) await sql`select grantgate.report(${`old${i}`}, null, null, 3000)`;
    await sql.unsafe(
      `do $$ begin for i in 1..3000 loop update grantgate.follower set lease_until = clock_timestamp() + interval '3 s'; commit; end loop; end $$`,
    );
    // A session that begins now, as link.ts begins it: one that planned while the table was small fares better.
    await login.unsafe(`set enable_seqscan = off; set plan_cache_mode = force_generic_plan; set jit = off`);
    const median = async (once: () => Promise<unknown>): Promise<number> => {
      const took: number[] = [];
      for (let i = 0; i < 15; i++) {
        const from = performance.now();
        await once();
        took.push(performance.now() - from);
      }
      return took.sort((a, b) => a - b)[7]!;
    };
    const report = await median(() => login`select grantgate.report('old0', null, null, 3000)`);
    const look = await median(() => login`select from grantgate.follower where version = 7`);
    console.log(`report on ${kind}, beside 60,000 versions that cannot be vacuumed: ${report.toFixed(1)} ms; one look at the table: ${look.toFixed(1)} ms`);
    expect(report).toBeLessThan(4 * look + 2);
  });

  test('a follower that nobody has heard of is not fresh before its report is kept', async () => {
    await sql`select grantgate.report('mute', null, null, 0)`; // by another login, whose name it is then
    onTestFinished(async () => void (await sql`delete from grantgate.follower where id = 'mute'`));
    const cache = new PolicyCache({ vocabulary, source: postgresSource({ url: reader }), clock: hostClock(), random: Math.random, follower: 'mute' });
    onTestFinished(() => cache.close());
    cache.start();
    await expect(cache.ready(1_000)).rejects.toThrow(/follower "mute" belongs to another login/);
  });

  test('reports lost in a crash: the barrier waits for whoever was cut off before it', async () => {
    const { cache, proxy, answersAt } = await follower('cut-off', 2_000);
    proxy.freeze();
    await server.stop('immediate');
    await server.start();
    await sql.end({ timeout: 5 });
    sql = openPool({ url: database.url, max: 2 });
    expect(await sql`select from grantgate.follower`).toHaveLength(0);
    const revision = await commit();
    const waiting = wait(revision);
    let lastOld = 0;
    const watching = (async () => {
      for (let at = answersAt(); at !== null; at = answersAt()) {
        if (at.version < revision.version) lastOld = performance.now();
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    const first = await barrier({ url: reader }, revision, { timeoutMs: 0 });
    expect(first).toMatchObject({ outcome: 'timeout', replicas: [] });
    expect(first.lostMs).toBeGreaterThan(0);
    const report = await waiting;
    const returned = performance.now();
    await watching;
    expect(lastOld).toBeGreaterThan(0); // it did answer from before, while the barrier waited
    expect(lastOld).toBeLessThan(returned);
    expect(report.outcome).toBe('applied');
    expect(report.waitedMs).toBeLessThan(LEASE_MS + 2_000);
    proxy.thaw();
    await until(() => cache.state().fresh, 'the follower to be back');
  });

  test('the longest lease that was ever asked for is waited for after a crash, and survives it', async () => {
    const login = openPool({ url: reader, max: 1 });
    onTestFinished(() => login.end({ timeout: 5 }));
    await login`select grantgate.report('slow', null, null, 8000)`;
    await login`select grantgate.report('quick', null, null, 10)`;
    const [row] = await sql`select longest_ms from grantgate.lease`;
    expect(row).toEqual({ longest_ms: 8000 });
    await sql`delete from grantgate.fleet`; // as after a crash
    await sql`delete from grantgate.follower`;
    const { lostMs } = await barrier({ url: reader }, await commit(), { timeoutMs: 0 });
    expect(lostMs).toBeGreaterThan(LEASE_MS);
    expect(lostMs).toBeLessThanOrEqual(8_000);
    await sql`update grantgate.lease set longest_ms = 3000`;
    await sql`update grantgate.fleet set since = now() - interval '1 minute'`;
  });

  test('a revision that the log does not have; a signal; nobody to ask', async () => {
    const head = await commit();
    for (const other of [
      { version: head.version, id: '00000000-0000-4000-8000-000000000000' },
      { version: head.version + 1_000, id: head.id },
    ])
      expect(await wait(other)).toMatchObject({ outcome: 'unknown-revision', replicas: [] });
    const login = openPool({ url: reader, max: 1 });
    onTestFinished(() => login.end({ timeout: 5 }));
    await login`select grantgate.report('waiting', null, null, 60000)`;
    const controller = new AbortController();
    const waiting = barrier({ url: reader }, head, { timeoutMs: 60_000, signal: controller.signal });
    await until(async () => (await sql`select from grantgate.fleet where awaited >= ${head.version}`).length === 1, 'the barrier to wait');
    controller.abort(new Error('no longer wanted'));
    await expect(waiting).rejects.toThrow('no longer wanted');
    await sql`delete from grantgate.follower`;
    await expect(barrier({ url: 'postgres://x@127.0.0.1:1/x' }, head, { timeoutMs: 1_000 })).rejects.toMatchObject({ code: 'source' });
  });
});

test('grantgate barrier, with two sidecars of which one is stopped', { timeout: 60_000 }, async () => {
  const server = await startOwnPostgres(servers[0]!);
  const database = await server.database();
  const sql = openPool({ url: database.url, max: 1 });
  onTestFinished(async () => {
    await sql.end({ timeout: 5 });
    await server.close();
  });
  await sql.unsafe(tenant('t'));
  const databaseUrl = await database.urlAs('grantgate_reader');
  const [one, two] = await Promise.all(['one', 'two'].map((name) => startSidecar({ databaseUrl, set: { 'replica.name': name } })));
  onTestFinished(async () => void (await Promise.all([one!.stop('SIGKILL'), two!.stop('SIGKILL')])));
  const revision = async (): Promise<string> => {
    await sql.unsafe(entity(`s${performance.now()}`, 'DEVICE', 't'));
    const [row] = await sql<[{ revision: string }]>`select grantgate.revision() as revision`;
    return row.revision;
  };
  const run = (...args: string[]) => cli(['barrier', ...args], { env: { DATABASE_URL: databaseUrl } });

  const first = await revision();
  const both = await run(first, '--json');
  expect(both.code).toBe(0);
  expect(JSON.parse(both.stdout)).toMatchObject({
    outcome: 'applied',
    revision: first,
    replicas: [
      { id: expect.stringMatching(/^one\/[0-9a-f]{8}$/) as string, state: 'applied', revision: first },
      { id: expect.stringMatching(/^two\/[0-9a-f]{8}$/) as string, state: 'applied', revision: first },
    ],
  });

  process.kill(two!.pid, 'SIGSTOP');
  const second = await revision();
  const early = await run(second, '--timeout', '200ms');
  expect(early.code).toBe(1);
  expect(early.stdout).toMatch(
    new RegExp(
      `^not applied  ${second}  within \\d+ ms  2 sidecars\n  one/.* {2}applied  ${second} .*\n  two/.*waiting  ${first} .*it may answer for \\d+ ms more\n$`,
    ),
  );
  const late = await run(second);
  expect(late.stdout).toMatch(
    new RegExp(
      `^applied  ${second}  after \\d+ ms  2 sidecars, 1 of them with a lease that has run out\n.*\n  two/.*expired  ${first} .*it answers nothing older\n$`,
    ),
  );
  console.log(`barrier with one of two sidecars stopped:\n${late.stdout}`);
  expect(late.code).toBe(0);
  process.kill(two!.pid, 'SIGCONT');
  await two!.reached(second);
  expect((await run(second)).stdout).toMatch(/^applied .* {2}2 sidecars\n/);

  for (const [args, problem] of [
    [['12'], /revision: expected <version>-<uuid>, got "12"/],
    [[formatRevision({ version: 9_999, id: parseRevision(second).id })], /is not in the change log/],
    [[second, '--timeout', 'soon'], /--timeout: must be a time from 0ms to 1h/],
  ] as const) {
    const { code, stderr } = await run(...args);
    expect([code, stderr]).toEqual([2, expect.stringMatching(problem)]);
  }
});
