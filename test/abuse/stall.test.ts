// What do clients see while the database does not answer for two seconds? Those who are in memory, nothing. The others "cannot decide",
// in time; and no more of them wait than may.

import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Figures } from '../support/load.mjs';
import { startLoad } from '../support/load.ts';
import { startOwnPostgres, type OwnServer } from '../support/postgres.ts';
import { requirePart } from '../support/require.ts';
import { tokenFor } from '../support/sidecar.ts';
import { startBehind, type Behind } from '../support/stack.ts';
import { until } from '../support/until.ts';

requirePart('embedded18');

const STALL_MS = 2000;
const DEADLINE_MS = 100;
const MOST = 50;
const MIB = 1024 * 1024;
const users = Array.from({ length: 50 }, (_, i) => `user-${i}`);
const world = JSON.stringify({
  defaults: true,
  tenants: [{ id: 't' }],
  users: users.map((id) => ({ id, owner: 't', groups: ['admins:t'] })),
  entities: [{ id: 'device', type: 'DEVICE', owner: 't' }],
});

let server: OwnServer;
let behind: Behind;
beforeAll(async () => {
  server = await startOwnPostgres('embedded18');
  // A lease that outlives the stall: what is in memory is answered for as long as it runs, which is another suite's subject.
  const set = { 'doors.deadline': DEADLINE_MS, 'overload.inFlight': MOST, 'cache.maxStaleness': '20s', 'log.allowSample': 0, 'overload.delay': '50ms' };
  behind = await startBehind({ server, world, set });
});
afterAll(async () => {
  await server?.thaw().catch(() => undefined); // the server may be gone
  await behind?.close();
  await server?.close();
});

async function counted(): Promise<{ shed: number; rss: number }> {
  const metrics = await behind.sidecar.metrics();
  return { shed: metrics.value('authz_shed_total', { cause: 'inflight' }) ?? NaN, rss: (metrics.value('process_resident_memory_bytes') ?? NaN) / MIB };
}

const list = ({ counts, p99, slowest }: Figures): string =>
  `${Object.entries(counts)
    .map(([status, count]) => `${count} × ${status}`)
    .join(', ')} (p99 of the decided ${p99.toFixed(1)} ms, slowest answer ${slowest.toFixed(0)} ms)`;

test('the database stands still for 2 s', { timeout: 60_000 }, async () => {
  const tokens = await Promise.all(users.map((id) => tokenFor(id)));
  const to = { to: behind.sidecar.doors, door: true };
  const known = tokens.map((token) => ({ token, path: '/api/device/device', expect: 200 }));
  const honest = await startLoad({ ...to, connections: 16, rate: 200, asks: known });
  const fresh = tokens.map((token) => ({ token, path: '/api/device/nobody-#', expect: 403 }));
  const strangers = await startLoad({ ...to, connections: 1000, rate: 2000, asks: [], fresh, share: 1 });
  try {
    await until(async () => ((await honest.look()).counts[200] ?? 0) > 300, 'all users in memory');
    await until(async () => ((await strangers.look()).counts[403] ?? 0) > 500, 'ids that are read');
    await honest.period();
    const at = await counted();
    await server.freeze();
    await strangers.period();
    const frozen = performance.now();
    await until(() => performance.now() - frozen > STALL_MS, 'the stall');
    const during = { honest: await honest.period(), strangers: await strangers.period() };
    const then = await counted();
    await server.thaw();
    await until(async () => ((await strangers.look()).counts[403] ?? 0) > 100, 'ids that are read again');
    console.log(
      `stall: of 2 s: in memory ${list(during.honest)}; not in memory ${list(during.strangers)}; ` +
        `refused because ${MOST} waited: ${then.shed - at.shed}; memory ${at.rss.toFixed(0)} → ${then.rss.toFixed(0)} MiB`,
    );
    expect(Object.keys(during.honest.counts)).toEqual(['200']);
    const { 503: undecided = 0, 403: decided = 0 } = during.strangers.counts;
    expect(undecided).toBeGreaterThan(10 * decided);
    expect(then.shed - at.shed).toBeGreaterThan(undecided / 2);
    expect(then.rss - at.rss).toBeLessThan(100);
    expect(during.strangers.slowest).toBeLessThan(10 * DEADLINE_MS); // the deadline, and what a busy machine adds
    // Those that may wait, wait for a deadline: so many are through in the time, and not more.
    expect(undecided - (then.shed - at.shed)).toBeLessThan((MOST * (STALL_MS + 1500)) / DEADLINE_MS);
  } finally {
    await honest.stop();
    await strangers.stop();
  }
});
