// What do honest clients see of a sidecar that is abused, and what does it cost? Printed as a table, asserted with much room.
//
// The load comes from processes of its own, on the socket of the doors. The honest ones ask 200 times a second for what is in memory;
// their time counts from when a request was due, so that one which had to wait for another is not counted as quick.

import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startChild } from '../support/child.ts';
import type { Figures } from '../support/load.mjs';
import { startLoad, type Load } from '../support/load.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { tokenFor } from '../support/sidecar.ts';
import { startBehind, type Behind } from '../support/stack.ts';
import { until } from '../support/until.ts';
import type { Held } from './slow.mjs';

/** How long each abuse goes on. */
const SECONDS = Number(process.env['GRANTGATE_ABUSE_SECONDS'] ?? 2);
const USERS = 50;
const DEVICES = 500;
const RATE = 200;
const UNKNOWN = 100_000;
const MIB = 1024 * 1024;
/** Node looks once a second for connections that are over their time. */
const HEADERS_LIMIT_MS = 5000 + 1000;

const users = Array.from({ length: USERS }, (_, i) => `user-${i}`);
const devices = Array.from({ length: DEVICES }, (_, i) => `device-${i}`);
const world = JSON.stringify({
  defaults: true,
  tenants: [{ id: 't' }],
  users: users.map((id) => ({ id, owner: 't', groups: ['admins:t'] })),
  entities: devices.map((id) => ({ id, type: 'DEVICE', owner: 't' })),
});

interface Ask {
  readonly token: string;
  readonly path: string;
  readonly expect: number;
}

let server: TestServer;
let behind: Behind;
/** All of it is in memory before anything is measured. */
let hot: Ask[];
const rows: Record<string, string>[] = [];
beforeAll(async () => {
  server = await startPostgres('embedded18');
  behind = await startBehind({ server, world, set: { 'doors.deadline': '100ms', 'overload.delay': '50ms', 'log.allowSample': 0 } });
  const tokens = await Promise.all(users.map((id) => tokenFor(id)));
  hot = devices.map((id, i) => ({ token: tokens[i % USERS]!, path: `/api/device/${id}`, expect: 200 }));
  // Twice: what was not read within its deadline the first time is by then.
  for (const most of [DEVICES, 4 * DEVICES]) await once(most);
});
afterAll(async () => {
  await behind?.close();
  await server?.close();
  if (rows.length > 0) console.log(tableOf(rows));
});

/** Asks for the hot set, some at a time, so often. */
async function once(most: number): Promise<void> {
  const load = await startLoad({ to: behind.sidecar.doors, door: true, connections: 4, rate: 0, asks: hot, most });
  try {
    await load.finished(30_000);
  } finally {
    await load.stop();
  }
}

interface Counts {
  readonly hits: number;
  readonly shed: number;
  readonly rss: number;
}

async function counted(): Promise<Counts> {
  const metrics = await behind.sidecar.metrics();
  const shed = metrics.get('authz_shed_total')?.samples.filter(({ labels }) => ['delay', 'inflight'].includes(labels['cause'] ?? '')) ?? [];
  return {
    hits: metrics.value('authz_cache_requests_total', { cache: 'policy', result: 'hit' }) ?? 0,
    shed: shed.reduce((sum, { value }) => sum + value, 0),
    rss: (metrics.value('process_resident_memory_bytes') ?? 0) / MIB,
  };
}

interface Seen {
  readonly before: Figures;
  readonly during: Figures;
  readonly after: Figures;
  /** Share of the hot set that is in memory when it is over. */
  readonly hot: number;
  readonly shed: number;
  readonly grown: number;
}

const asBefore = (before: Figures): number => Math.max(100, 10 * before.p99);

/** The honest ones before, during and after; a row of the table. */
async function abused(name: string, abuse: () => Promise<string>): Promise<Seen> {
  const honest = await startLoad({ to: behind.sidecar.doors, door: true, connections: 16, rate: RATE, asks: hot });
  try {
    await answered(honest, RATE / 2);
    await honest.period();
    await answered(honest, 1.5 * RATE);
    const before = await honest.period();
    const at = await counted();
    const said = await abuse();
    const during = await honest.period();
    const then = await counted();
    await once(DEVICES);
    const kept = (await counted()).hits;
    // That they are served as before once more, and not that the machine stood still for no moment of the one period that was looked at.
    await honest.period();
    let after: Figures;
    let looks = 0;
    do {
      await answered(honest, RATE);
      after = await honest.period();
    } while (after.p99 >= asBefore(before) && ++looks < 4);
    const seen = { before, during, after, hot: Math.min(1, hotShare(kept - then.hits)), shed: then.shed - at.shed, grown: then.rss - at.rss };
    rows.push({
      abuse: name,
      'p99 before': ms(before.p99),
      'p99 during': ms(during.p99),
      'p99 after': ms(after.p99),
      'honest served': `${share(during)} of ${total(during)}`,
      'work refused': String(seen.shed),
      'memory, MiB': `${at.rss.toFixed(0)} → ${then.rss.toFixed(0)}`,
      'hot set kept': `${(100 * seen.hot).toFixed(1)} %`,
      'what came of it': said,
    });
    return seen;
  } finally {
    await honest.stop();
  }
}

/** The honest ones go on meanwhile, and hit the same set: at least the whole set's worth of hits must come on top of no misses. */
function hotShare(hits: number): number {
  return hits / DEVICES;
}

async function answered(load: Load, more: number): Promise<void> {
  const before = total(await load.look());
  await until(async () => total(await load.look()) >= before + more, `${more} more answers`, 30_000);
}

function total({ counts }: Figures): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

function share(figures: Figures): string {
  return `${((100 * (figures.counts[200] ?? 0)) / total(figures)).toFixed(1)} %`;
}

const ms = (time: number): string => `${time.toFixed(1)} ms`;
const list = ({ counts }: Figures): string =>
  Object.entries(counts)
    .map(([status, count]) => `${count} × ${status}`)
    .join(', ');

function tableOf(table: readonly Record<string, string>[]): string {
  const names = Object.keys(table[0] ?? {});
  const widths = names.map((name) => Math.max(name.length, ...table.map((row) => row[name]?.length ?? 0)));
  const line = (cells: readonly string[]): string => cells.map((cell, i) => cell.padEnd(widths[i]!)).join('  ');
  return [line(names), ...table.map((row) => line(names.map((name) => row[name] ?? '')))].join('\n');
}

/** Somebody else's load for as long as an abuse goes on, or until all of it is answered. */
async function attacked(plan: Omit<Parameters<typeof startLoad>[0], 'to' | 'door'>, seconds = SECONDS): Promise<Figures> {
  const attack = await startLoad({ to: behind.sidecar.doors, door: true, ...plan });
  try {
    if (plan.most !== undefined) return await attack.finished(20 * seconds * 1000);
    await untilPassed(seconds);
    return await attack.period();
  } finally {
    await attack.stop();
  }
}

function untilPassed(seconds: number): Promise<void> {
  const end = performance.now() + seconds * 1000;
  return until(() => performance.now() >= end, 'the time of the abuse', 2 * seconds * 1000 + 5000);
}

/** Answered, rightly, all of them, and as before when it is over. */
function expectHonest({ before, during, after, grown }: Seen): void {
  expect(during.wrong + after.wrong, 'wrong decisions').toBe(0);
  expect(Object.keys(during.counts), 'answers during').toEqual(['200']);
  expect(Object.keys(after.counts), 'answers after').toEqual(['200']);
  expect(after.p99).toBeLessThan(asBefore(before));
  expect(grown, 'MiB').toBeLessThan(300);
}

test.each(['http', 'grpc'] as const)('500 connections that say a byte a second: %s', { timeout: 120_000 }, async (protocol) => {
  const { doors, grpcSocket } = behind.sidecar;
  let held: Held = { open: 0, closed: 0, oldest: 0 };
  const seen = await abused(`500 slow connections, ${protocol}`, async () => {
    const args = [fileURLToPath(new URL('slow.mjs', import.meta.url)), protocol === 'http' ? doors : grpcSocket, '500', protocol];
    const slow = startChild(process.execPath, args, { listens: true, line: (text, from) => void (from === 'stdout' && (held = JSON.parse(text) as Held)) });
    try {
      const looked = (): Held => (slow.say('look'), held);
      await until(() => looked().open === 500, '500 connections', 20_000);
      await until(() => looked().closed >= 500, 'the end of each', 4 * HEADERS_LIMIT_MS);
      await untilPassed(Math.max(0, SECONDS - HEADERS_LIMIT_MS / 1000));
    } finally {
      await slow.stop('SIGKILL');
    }
    return `${held.closed} ended, the oldest after ${(held.oldest / 1000).toFixed(1)} s`;
  });
  expectHonest(seen);
  expect(seen.during.p99).toBeLessThan(Math.max(250, 20 * seen.before.p99));
  expect(held.oldest).toBeLessThan(HEADERS_LIMIT_MS + 4000);
});

test(`${UNKNOWN} ids that do not exist`, { timeout: 300_000 }, async () => {
  const tokens = hot.slice(0, USERS).map(({ token }) => token);
  const seen = await abused(`${UNKNOWN} unknown ids`, async () =>
    list(
      await attacked({
        connections: 64,
        rate: 0,
        asks: [],
        fresh: tokens.map((token) => ({ token, path: '/api/device/nobody-#', expect: 403 })),
        share: 1,
        most: UNKNOWN,
      }),
    ),
  );
  expectHonest(seen);
  expect(seen.during.p99).toBeLessThan(Math.max(500, 50 * seen.before.p99));
  expect(seen.hot).toBeGreaterThan(0.95);
});

test('ten times the load', { timeout: 120_000 }, async () => {
  const tokens = hot.slice(0, USERS).map(({ token }) => token);
  const fresh = tokens.map((token) => ({ token, path: '/api/device/other-#', expect: 403 }));
  const one = await attacked({ connections: 100, rate: 0, asks: hot, fresh, share: 0.2 }, SECONDS / 2);
  const seen = await abused('10 × load (1000 connections)', async () => {
    const ten = await attacked({ connections: 1000, rate: 0, asks: hot, fresh, share: 0.2 });
    const rate = ({ counts, seconds }: Figures): string => `${Math.round(((counts[200] ?? 0) + (counts[403] ?? 0)) / seconds)} decided/s`;
    return `${rate(one)} at 1 ×, ${rate(ten)} at 10 ×: ${list(ten)}, p99 ${ms(ten.p99)}`;
  });
  expect(seen.during.wrong + seen.after.wrong).toBe(0);
  expect(Object.keys(seen.after.counts)).toEqual(['200']);
  expect(seen.after.p99).toBeLessThan(asBefore(seen.before));
  expect(seen.hot).toBeGreaterThan(0.95);
  expect(seen.grown).toBeLessThan(300);
});

test('forged tokens, each another one', { timeout: 120_000 }, async () => {
  const good = hot[0]!.token;
  // As many who ask as fast, and for nothing that costs anything: what the flood itself does to everybody else.
  const nowhere = [{ token: good, path: '/nowhere', expect: 403 }];
  const plain = await abused('200 connections, no route', async () => list(await attacked({ connections: 200, rate: 0, asks: nowhere })));
  const forged = { token: `${good.slice(0, -16)}#${good.slice(-10)}`, path: '/api/device/device-0', expect: 401 };
  const fresh = await Promise.all(Array.from({ length: 20 * SECONDS }, (_, i) => tokenFor(users[i % USERS]!, { email: `new-${i}` })));
  const seen = await abused('200 connections, forged tokens', async () => {
    const asks = fresh.map((token) => ({ token, path: '/api/device/device-0', expect: 200 }));
    const beginners = await startLoad({ to: behind.sidecar.doors, door: true, connections: 16, rate: 20, asks, most: asks.length });
    try {
      const attack = await attacked({ connections: 200, rate: 0, asks: [], fresh: [forged], share: 1 });
      return `${list(attack)}; of good tokens never seen before: ${list(await beginners.period())}`;
    } finally {
      await beginners.stop();
    }
  });
  expectHonest(seen);
  expect(seen.during.p99).toBeLessThan(Math.max(250, 8 * plain.during.p99));
});
