// Read your own write, over HTTP against a real Postgres: right after the commit is acknowledged, with the doorbell and without.

import { PolicyCache, parseRevision } from 'policy-cache';
import type { Source } from 'policy-cache';
import { openPool, postgresSource } from 'policy-cache/postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hostClock } from '../../src/clock.ts';
import { importWorlds } from '../../src/worldimport.ts';
import { startApi, type Api } from '../support/api.ts';
import { vocabulary } from '../support/doors.ts';
import { startProxy, type FreezableProxy } from '../support/frozen-link.ts';
import { startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';

const WRITES = 200;
const numbers = Array.from({ length: WRITES }, (_, i) => i);
const world = JSON.stringify({
  tenants: [{ id: 't' }],
  groups: [{ id: 'group', type: 'USER', owner: 't' }],
  users: numbers.map((i) => ({ id: `user-${i}`, owner: 't', groups: ['group'] })),
  entities: [{ id: 'device', type: 'DEVICE', owner: 't' }],
  roles: [{ id: 'reader', owner: 't', type: 'GENERIC', permissions: { DEVICE: ['READ'] } }],
  grants: [{ userGroup: 'group', role: 'reader' }],
});

let server: TestServer;
beforeAll(async () => void (server = await startPostgres('embedded18')));
afterAll(async () => server?.close());

describe.each([
  ['with the doorbell', true],
  ['with every ring lost', false],
])('%s', (_, rings) => {
  let database: TestDatabase;
  let sql: ReturnType<typeof openPool>;
  let cache: PolicyCache;
  let link: FreezableProxy;
  let api: Api;
  beforeAll(async () => {
    database = await server.database();
    sql = openPool({ url: database.url, max: 2 });
    expect(await importWorlds(sql, [{ file: 'world', text: world }], vocabulary)).toMatchObject({ ok: true });
    link = await startProxy({ port: Number(new URL(database.url).port) });
    const postgres = postgresSource({ url: link.through(await database.urlAs('grantgate_reader')) });
    const source: Source = rings ? postgres : { attach: (on) => postgres.attach({ ...on, ring: () => undefined }) };
    cache = new PolicyCache({ vocabulary, source, clock: hostClock(), random: Math.random, maxStaleness: 10_000 });
    cache.start();
    await cache.ready(10_000);
    api = await startApi({ cache, deadline: 5_000 });
  });
  afterAll(async () => {
    await api?.close();
    cache?.close();
    await link?.close();
    await sql?.end({ timeout: 5 });
  });

  /** Lets the user in, or shuts it out; the transaction's own revision, when its commit is acknowledged. */
  const write = (i: number, enabled: boolean): Promise<string> =>
    sql.begin(async (tx) => {
      await tx`update grantgate.user_account set enabled = ${enabled} where id = ${`user-${i}`}`;
      await tx`set constraints all immediate`;
      const [row] = await tx<[{ revision: string }]>`select grantgate.revision() as revision`;
      return row.revision;
    });
  const ask = async (i: number, token?: string) => {
    const { status, headers, body } = await api.evaluate(
      { subject: { type: 'user', id: `user-${i}` }, action: { name: 'READ' }, resource: { type: 'DEVICE', id: 'device' } },
      token === undefined ? {} : { headers: { 'x-authz-at-least': token } },
    );
    const { decision, code } = JSON.parse(body) as { decision?: boolean; code?: string };
    return { answer: `${status} ${decision ?? code}`, at: headers['x-authz-revision'] };
  };

  test(`${WRITES} writes, each asked about at once with its revision: never the old answer`, { timeout: 60_000 }, async () => {
    for (const i of numbers) expect((await ask(i)).answer).toBe('200 true');
    const answers = new Map<string, number>();
    const times: number[] = [];
    let earlier = 0;
    for (const i of numbers) {
      const revision = await write(i, false);
      const started = performance.now();
      const { answer, at } = await ask(i, revision);
      times.push(performance.now() - started);
      answers.set(answer, (answers.get(answer) ?? 0) + 1);
      if (parseRevision(String(at)).version < parseRevision(revision).version) earlier++;
    }
    times.sort((a, b) => a - b);
    console.log(
      `tokens at the api, ${rings ? 'rings heard' : 'rings lost'}: ${[...answers].map(([answer, count]) => `${count} × ${answer}`).join(', ')}; ` +
        `p50 ${times[WRITES >> 1]!.toFixed(2)} ms, max ${times.at(-1)!.toFixed(2)} ms`,
    );
    expect(Object.fromEntries(answers)).toEqual({ '200 false': WRITES });
    expect(earlier, 'answers of an earlier revision').toBe(0);
  });

  test('`latest` needs no revision, and what is given is there as what is taken', async () => {
    for (const i of numbers.slice(0, 50)) {
      await write(i, true);
      expect((await ask(i, 'latest')).answer).toBe('200 true');
      await write(i, false);
      expect((await ask(i, 'latest')).answer).toBe('200 false');
    }
  });

  test('without a token the old answer may come: that the rings are lost is no fiction', async () => {
    let old = 0;
    for (const i of numbers.slice(50, 100)) {
      await write(i, true);
      if ((await ask(i)).answer === '200 false') old++;
    }
    console.log(`without a token, ${rings ? 'rings heard' : 'rings lost'}: ${old} old answers of 50`);
    if (!rings) expect(old).toBeGreaterThan(0);
  });

  test('a made-up id, and a version that nobody committed: 503, history', async () => {
    const { version } = parseRevision(await write(150, true));
    const id = 'ffffffff-ffff-4fff-8fff-ffffffffffff';
    expect((await ask(150, `${version}-${id}`)).answer).toBe('503 history');
    expect((await ask(150, `${version - 1}-${id}`)).answer).toBe('503 history');
    expect((await ask(150, `${version + 1_000}-${id}`)).answer).toBe('503 history');
    expect((await ask(150, 'latest')).answer).toBe('200 true');
    expect(cache.stats.resets).toMatchObject({ start: 1, history: 0 });
  });

  test('a revision that is not reached in time: 503, deadline; then it is', async () => {
    const hasty = await startApi({ cache, deadline: 50 });
    expect((await ask(160)).answer).toBe('200 false');
    link.freeze();
    const revision = await write(160, true);
    const started = performance.now();
    const answer = await hasty.evaluate(
      { subject: { type: 'user', id: 'user-160' }, action: { name: 'READ' }, resource: { type: 'DEVICE', id: 'device' } },
      { headers: { 'x-authz-at-least': revision } },
    );
    const took = performance.now() - started;
    link.thaw();
    expect([answer.status, (JSON.parse(answer.body) as { code: string }).code]).toEqual([503, 'deadline']);
    expect(took).toBeGreaterThan(45);
    expect((await ask(160, revision)).answer).toBe('200 true');
    await hasty.close();
  });
});
