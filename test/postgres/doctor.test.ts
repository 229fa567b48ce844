// Does the doctor find what is planted, say what to do, and mend what it may?

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { examine, openPool, type Finding } from 'policy-cache/postgres';
import { cli, type CliRun } from '../support/cli.ts';
import { servers, startOwnPostgres, startPostgres, type OwnServer, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';
import { changesSince, customer, entity, genericRole, grant, group, groupRole, headOf, member, seed, user, WORLD, type Sql } from './fixture.ts';

interface Report {
  readonly code: number;
  readonly problems: number;
  readonly findings: readonly Finding[];
}

describe.each(servers)('on %s', (kind) => {
  let server: TestServer;
  let database: TestDatabase;
  let sql: Sql;
  let env: Readonly<Record<string, string>>;
  beforeAll(async () => void (server = await startPostgres(kind)));
  afterAll(() => server.close());
  beforeEach(async () => {
    database = await server.database();
    sql = openPool({ url: database.url, max: 1 });
    env = { DATABASE_URL: await database.urlAs('grantgate_reader'), OWNER_DATABASE_URL: database.url };
    await seed(sql);
    return () => sql.end({ timeout: 5 });
  });

  const doctor = (...flags: readonly string[]): Promise<CliRun> => cli(['doctor', ...flags], { env });
  async function report(...flags: readonly string[]): Promise<Report> {
    const { code, stdout, stderr } = await doctor('--json', ...flags);
    if (stdout === '') throw new Error(stderr);
    return { code, ...(JSON.parse(stdout) as Omit<Report, 'code'>) };
  }
  /** Everything that is not well. */
  const wrong = ({ findings }: Report): readonly Finding[] => findings.filter(({ state }) => state !== 'ok');
  /** The one thing that is not well, by name. */
  async function only(check: string, code = 1): Promise<Finding> {
    const found = await report();
    expect(wrong(found).map((finding) => finding.check)).toEqual([check]);
    expect(found.code).toBe(code);
    return wrong(found)[0]!;
  }
  /** Repaired once, and well from then on. */
  async function repaired(check: string): Promise<Finding> {
    const found = await report('--repair');
    expect(wrong(found).map((finding) => [finding.check, finding.state])).toEqual([[check, 'repaired']]);
    expect(found.code).toBe(0);
    expect((await report()).findings.every(({ state }) => state === 'ok')).toBe(true);
    return wrong(found)[0]!;
  }

  test('all is well: every check is told, and the exit is 0', async () => {
    const { code, stdout, stderr } = await doctor();
    expect([code, stderr]).toEqual([0, '']);
    const lines = stdout.trimEnd().split('\n');
    expect(lines.map((line) => line.split(/ +/).slice(0, 2).join(' '))).toEqual(
      [
        'schema',
        'primary',
        'triggers',
        'rights',
        'sequence',
        'numbered',
        'attach',
        'log',
        'lease',
        'queue',
        'latch',
        'transactions',
        'timeouts',
        'roles',
        'dormant',
        'memberships',
      ].map((check) => `ok ${check}`),
    );
    expect(stdout).toContain('the notification queue is 0 % full');
    expect(stdout).toMatch(/timeouts {6}(.*; )?no idle_in_transaction_session_timeout \(/);
    expect((await report('--repair')).findings.map(({ state }) => state)).toEqual(lines.map(() => 'ok'));
  });

  test('a lease that nobody asks for any more: what a barrier would wait for after a crash, and how to lower it', async () => {
    await sql`update grantgate.lease set longest_ms = 3600000`;
    const { text, fix } = await only('lease');
    expect(text).toBe('after a crash or a promotion a barrier waits for 3600 s, the longest lease that was ever asked for; sidecars that live ask for 3 s');
    await sql.unsafe(/update .*/.exec(fix ?? '')![0]);
    expect((await report()).code).toBe(0);
  });

  test('a sequence behind the log: writes are refused until --repair sets it', async () => {
    const head = await headOf(sql);
    await sql`select setval('grantgate.version', 2)`;
    expect(await only('sequence')).toMatchObject({ text: `grantgate.version would give 3 and the log is at ${head}: every write is refused` });
    await expect(sql.unsafe(entity('late', 'DEVICE', 'a'))).rejects.toMatchObject({ code: '55000', hint: 'grantgate doctor --repair' });
    expect((await repaired('sequence')).text).toContain(`set to ${head}`);
    await sql.unsafe(entity('late', 'DEVICE', 'a'));
    expect((await changesSince(sql, head)).map(({ version, keys }) => [Number(version), keys])).toEqual([[head + 1, ['late']]]);
  });

  test('a trigger that does not always fire is enabled, and what was missed meanwhile makes everybody begin anew', async () => {
    await sql`alter table grantgate.user_account disable trigger log_update`;
    await sql`update grantgate.user_account set enabled = false where id = 'u'`;
    const from = await headOf(sql);
    const found = await report();
    expect(wrong(found).map(({ check }) => check)).toEqual(['triggers', 'attach']);
    expect(wrong(found)[0]).toMatchObject({ text: 'not ENABLE ALWAYS: user_account.log_update', fix: 'grantgate doctor --repair' });
    expect(await repaired('triggers')).toMatchObject({ text: expect.stringContaining('enabled 1, and told every sidecar to begin anew') as string });
    expect((await changesSince(sql, from)).map(({ tag }) => tag)).toEqual(['*']);
  });

  test('a repair that would have to wait for a writer is given up, for the others would wait behind it', async () => {
    await sql`alter table grantgate.user_account disable trigger log_update`;
    const open = await sql.reserve();
    try {
      await open`begin`;
      await open`update grantgate.user_account set enabled = enabled where id = 'u'`;
      const found = (await report('--repair')).findings.find(({ check }) => check === 'triggers');
      expect(found).toMatchObject({ state: 'problem', text: expect.stringMatching(/that could not be mended: .*lock timeout/) as string });
    } finally {
      await open`rollback`;
      open.release();
    }
    await repaired('triggers');
  });

  test('a trigger that is gone is told, and not made up', async () => {
    await sql`drop trigger log_update on grantgate.user_account`;
    const found = await report('--repair');
    expect(found.code).toBe(1);
    expect(found.findings.find(({ check }) => check === 'triggers')).toMatchObject({
      state: 'problem',
      text: expect.stringContaining('missing: user_account.log_update') as string,
    });
  });

  test('changes that were logged and never numbered', async () => {
    await sql.unsafe(
      `alter table grantgate.touched disable trigger seal; ${entity('lost', 'DEVICE', 'a')}; alter table grantgate.touched enable always trigger seal`,
    );
    const from = await headOf(sql);
    expect((await only('numbered')).text).toMatch(/no sidecar has heard of them: 1$/);
    await repaired('numbered');
    expect((await changesSince(sql, from)).map(({ tag }) => tag)).toEqual(['*']);
  });

  test('rights that are missing, or that everybody has', async () => {
    await sql`revoke select on grantgate.change from grantgate_writer`;
    await sql`revoke select (enabled) on grantgate.user_account from grantgate_reader`;
    await sql`grant execute on function grantgate.touch(text, text[]) to public`;
    const found = await report();
    expect(wrong(found).map(({ check }) => check)).toEqual(['rights', 'attach']);
    for (const name of ['change', 'user_account', 'grantgate.touch(text,text[])']) expect(wrong(found)[0]!.text).toContain(name);
    await repaired('rights');
    const writer = openPool({ url: await database.urlAs('grantgate_writer'), max: 1 });
    expect(await writer`select 1 from grantgate.change limit 1`).toHaveLength(1);
    await writer.end({ timeout: 5 });
  });

  test('a log that nobody trims, and what it holds', async () => {
    await sql`update grantgate.change set at = at - interval '3 days'`;
    const { text, fix } = await only('log');
    expect(text).toMatch(/^\d+ versions, the oldest 3 days 00:0\d:\d\d old; \d+ keys, at most 1 in a row; .*B; \d+ of them older than what is to be kept/);
    expect(fix).toMatch(/^grantgate trim; /);
    expect((await cli(['trim'], { env })).code).toBe(0);
    expect((await report()).code).toBe(0);
  });

  test('a writer that holds up the others', async () => {
    const holder = openPool({ url: `${database.url}?application_name=stuck`, max: 1 });
    const waiter = openPool({ url: database.url, max: 1 });
    try {
      await holder.unsafe(`begin; ${entity('held', 'DEVICE', 'a')}; set constraints all immediate`);
      const [{ pid }] = await holder<[{ pid: number }]>`select pg_backend_pid() as pid`;
      const waiting = waiter.unsafe(entity('waits', 'DEVICE', 'a')).then(() => 'written');
      await until(async () => (await report()).code === 1, 'a latch held for a second');
      const { text, fix } = await only('latch');
      expect(text).toMatch(new RegExp(`^held by ${pid} \\(postgres, stuck, idle in transaction, .*\\); writers that wait: 1$`));
      const cure = /select pg_terminate_backend\(\d+\)/.exec(fix ?? '')?.[0];
      await sql.unsafe(cure!);
      expect(await waiting).toBe('written');
      expect((await report()).code).toBe(0);
    } finally {
      await Promise.all([holder.end({ timeout: 5 }).catch(() => undefined), waiter.end({ timeout: 5 })]);
    }
  });

  test('a transaction that was left open', async () => {
    const open = openPool({ url: `${database.url}?application_name=forgotten`, max: 1 });
    try {
      await open`begin`;
      const pool = openPool({ url: database.url, max: 1 });
      const findings = await examine(pool, { source: null, keepMs: 86_400_000, forgottenMs: 0, repair: true });
      await pool.end({ timeout: 5 });
      expect(findings.find(({ check }) => check === 'transactions')).toMatchObject({
        state: 'problem',
        text: expect.stringMatching(/^left open: \d+ \(postgres, forgotten, idle in transaction, for 00:00:0\d\)$/) as string,
        fix: expect.stringMatching(/^select pg_terminate_backend\(\d+\); and set idle_in_transaction_session_timeout$/) as string,
      });
      expect(findings.find(({ check }) => check === 'attach')).toMatchObject({ state: 'unknown', text: 'database.url is not set' });
    } finally {
      await open.end({ timeout: 5 });
    }
  });

  test('grants of roles from elsewhere, dormant grants, memberships that do not count: with their ids', async () => {
    const more = [
      customer('c', 't'),
      group('cu', 'USER', 'c'),
      groupRole('of-a', 'a'),
      genericRole('gen-a', 'a'),
      grant('strange', ['c', 'USER', 'cu'], ['gen-a', 'GENERIC']),
      grant('asleep', ['c', 'USER', 'cu'], ['grp', 'GROUP'], ['a', 'DEVICE', 'dg']),
      grant('shared', ['c', 'USER'], ['grp', 'GROUP'], ['a', 'DEVICE', 'dg']),
      `update grantgate.group_permission set shared = true where id = 'shared'`,
      // below and at the owner of the role and of the entities: nothing to tell
      grant('well', ['b', 'USER'], ['of-a', 'GROUP'], ['b', 'DEVICE', 'bg']),
    ];
    await sql.unsafe(`begin; ${more.join(';')}; commit`);
    await sql.unsafe(`begin; set local session_replication_role = replica; ${member('d', 'bg', { type: 'DEVICE', owner: 'b' })}; commit`);
    const found = await report('--repair');
    expect(found.code).toBe(1);
    expect(wrong(found).map(({ check, state, ids, omitted }) => [check, state, ids, omitted])).toEqual([
      ['roles', 'problem', ['strange'], 0],
      ['dormant', 'problem', ['asleep'], 0],
      ['memberships', 'problem', ['d in bg'], 0],
    ]);
    const { stdout } = await doctor();
    expect(stdout).toMatch(/problem   dormant .*\n {24}to do: .*\n {24}asleep\n/);
    // the same by a customer's move
    await sql`update grantgate.object set owner = 'c' where id = 'b'`;
    expect(wrong(await report()).map(({ check, ids }) => [check, ids])).toEqual([
      ['roles', ['strange', 'well']],
      ['dormant', ['asleep']],
      ['memberships', ['d in bg']],
    ]);
  });

  test('of many rows the first hundred, and the number of the rest', async () => {
    const members = Array.from({ length: 130 }, (_, i) => member(`gone${String(i).padStart(3, '0')}`, 'dg', { type: 'DEVICE', owner: 'a' }));
    await sql.unsafe(`begin; set local session_replication_role = replica; ${members.join(';')}; commit`);
    const { ids, omitted } = await only('memberships');
    expect([ids?.length, ids?.[0], omitted]).toEqual([100, 'gone000 in dg', 30]);
    expect((await doctor()).stdout).toContain('… and 30 more\n');
  });

  test('what cannot be looked at is no pass', async () => {
    env = { DATABASE_URL: env['DATABASE_URL']! };
    const found = await report();
    expect(found.code).toBe(2);
    expect(wrong(found).map(({ check, state }) => [check, state])).toEqual([
      ['rights', 'unknown'],
      ['sequence', 'unknown'],
    ]);
    expect(wrong(found)[0]).toMatchObject({ fix: 'set database.ownerUrl to the login that runs grantgate migrate' });
    env = { DATABASE_URL: `${database.url}_not` };
    expect(await doctor()).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('does not exist') as string });
    const empty = await server.database('empty');
    env = { DATABASE_URL: empty.url };
    expect(await report()).toMatchObject({ code: 1, findings: [{ check: 'schema', state: 'problem', fix: 'grantgate migrate' }] });
  });
});

describe('a full queue', () => {
  // Where the queue can be made small; before PostgreSQL 17 it takes 800 MB of notifications.
  const kind = servers.find((each) => each === 'embedded18');
  let server: OwnServer;
  beforeAll(async () => {
    if (kind) server = await startOwnPostgres(kind, { settings: { max_notify_queue_pages: 64 } });
  });
  afterAll(() => server?.close());

  test.skipIf(!kind)('is told with whoever holds it, and is well when that one is ended', async () => {
    const database = await server.database();
    const sql = openPool({ url: database.url, max: 1 });
    const listener = openPool({ url: `${database.url}?application_name=deaf`, max: 1 });
    try {
      await seed(sql, [...WORLD.split(';\n'), user('u3', 'a')].join(';\n'));
      await listener.unsafe('listen grantgate');
      await listener.unsafe('begin; select 1');
      for (let i = 0; i < 20; i++) await sql`select pg_notify('other', repeat('x', 7000) || ${i}::text)`;
      const env = { DATABASE_URL: await database.urlAs('grantgate_reader'), OWNER_DATABASE_URL: database.url };
      await until(async () => (await cli(['doctor'], { env })).stdout.includes('deaf'), 'the listener among the suspects');
      const { code, stdout } = await cli(['doctor'], { env });
      expect(code).toBe(1);
      expect(stdout).toMatch(/problem   queue {9}the notification queue is [23]\d(\.\d)? % full; once full, every write is refused\. .*deaf/);
      await sql.unsafe(/select pg_terminate_backend\(\d+\)/.exec(stdout)![0]);
      await until(async () => (await cli(['doctor'], { env })).code === 0, 'the queue to be empty');
    } finally {
      await Promise.all([sql.end({ timeout: 5 }), listener.end({ timeout: 5 }).catch(() => undefined)]);
    }
  });
});
