import type { Clock } from 'policy-cache';
import { openPool } from 'policy-cache/postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startUpkeep, trimChangeLog } from '../../src/upkeep.ts';
import { cli } from '../support/cli.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startPostgres('embedded18');
});
afterAll(() => server.close());

/** A clock whose one timer the test rings. */
function handClock(): { clock: Clock; due: { ms: number; ring: () => void }[] } {
  const due: { ms: number; ring: () => void }[] = [];
  return {
    due,
    clock: {
      now: () => 0,
      after(ms, f) {
        const one = { ms, ring: f };
        due.push(one);
        return () => void due.splice(due.indexOf(one), 1);
      },
    },
  };
}
const settled = () => new Promise((resolve) => setImmediate(resolve));

test('soon after the start, then every hour or so, also after a failure, until it is stopped', async () => {
  const { clock, due } = handClock();
  const events: string[] = [];
  let calls = 0;
  const trim = (): Promise<number> => (++calls === 2 ? Promise.reject(new Error('no connection')) : Promise.resolve(7));
  const stop = startUpkeep({ trim, clock, random: () => 0.5, log: (level, event, detail) => events.push(`${level} ${event} ${detail}`) });
  expect(due.map(({ ms }) => ms)).toEqual([150_000]);
  for (let i = 0; i < 3; i++) {
    due.shift()!.ring();
    await settled();
    expect(due.map(({ ms }) => ms)).toEqual([3_600_000]);
  }
  expect(events).toEqual([
    'debug trimmed 7 old versions taken out of the change log',
    'warn trim the change log was not trimmed: no connection',
    'debug trimmed 7 old versions taken out of the change log',
  ]);
  due.shift()!.ring();
  stop(); // while one is under way
  await settled();
  expect(due).toEqual([]);
  startUpkeep({ trim, clock, random: () => 0.5, log: () => undefined })();
  expect(due).toEqual([]);
});

test('a reader trims what is older than asked, as a prefix, and never the newest', async () => {
  const database = await server.database();
  const world = { 'w.yaml': 'tenants: [{ id: t }]' };
  for (const id of ['t', 'u', 'v'])
    expect(
      await cli(['import', 'w.yaml'], { env: { DATABASE_URL: database.url }, files: { 'w.yaml': world['w.yaml'].replace('id: t', `id: ${id}`) } }),
    ).toMatchObject({ code: 0 });
  const reader = { url: await database.urlAs('grantgate_reader') };
  expect(await trimChangeLog(reader, 86_400_000)).toBe(0);
  const sql = openPool({ url: database.url, max: 1 });
  try {
    await sql`update grantgate.change set at = at - interval '3 hours'`;
    const [{ before }] = await sql<[{ before: number }]>`select count(*)::int as before from grantgate.change`;
    expect(before).toBeGreaterThan(3);
    expect(await trimChangeLog(reader, 4 * 3_600_000)).toBe(0);
    expect(await trimChangeLog(reader, 2 * 3_600_000)).toBe(before - 1);
    expect(await sql`select version = (select max(version) from grantgate.change) as newest from grantgate.change`).toEqual([{ newest: true }]);
  } finally {
    await sql.end();
  }
}, 60_000);
