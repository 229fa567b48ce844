// What do clients of a proxy see while the sidecar behind it is replaced, or dies? A steady load, and sidecars that follow each other.

import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Figures } from './load.mjs';
import { startLoad, type Load } from './load.ts';
import type { TestServer } from './postgres.ts';
import { startSidecar, tokenFor, type ServedSidecar } from './sidecar.ts';
import { startBehind, type Behind } from './stack.ts';
import { until } from './until.ts';

const world = JSON.stringify({
  defaults: true,
  tenants: [{ id: 't' }],
  customers: [{ id: 'c', owner: 't' }],
  users: [{ id: 'ann', owner: 'c', groups: ['users:c'] }],
  entities: [
    { id: 'own', type: 'DEVICE', owner: 'c' },
    { id: 'foreign', type: 'DEVICE', owner: 't' },
  ],
});

/** Long enough for each connection of a pool to be used once more, and so to be told that it is its last time. */
const DELAY_MS = 500;
const RATE = 200;
/** What the clients of `underLoad` are to get, and nothing else. */
export const ALL_DECIDED = ['200', '401', '403'];

export interface Restartable extends Behind {
  /** A directory for sockets, which proxies may pass through. */
  readonly directory: string;
  /** Another sidecar on the same database, ready. */
  another(set: Readonly<Record<string, string | number>>): Promise<ServedSidecar>;
}

/** `set`: of the first sidecar. Its sockets are in that directory; the next one may take them over. */
export async function startRestartable(server: TestServer, set: Readonly<Record<string, string | number>> = {}): Promise<Restartable> {
  const directory = await mkdtemp(join(tmpdir(), 'grantgate-restart-'));
  await chmod(directory, 0o711);
  // A restart on a busy machine is no matter of speed: whoever waits for a first check or a turn of the loop is not to fail for that.
  const common = { 'doors.takeOver': 'true', 'shutdown.delay': DELAY_MS, 'doors.deadline': '4s' };
  try {
    const behind = await startBehind({
      server,
      world,
      set: { ...common, 'doors.socket': join(directory, 'doors.sock'), 'grpc.socket': join(directory, 'grpc.sock'), ...set },
    });
    const databaseUrl = await behind.database.urlAs('grantgate_reader');
    return {
      ...behind,
      directory,
      another: (more) => startSidecar({ databaseUrl, set: { ...common, ...more } }),
      async close() {
        await behind.close();
        await rm(directory, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

/** Clients of the proxy on this port, at a constant rate, who may, who may not and who prove nothing; their figures when `during` is done. */
export async function underLoad(port: number, during: (load: Load) => Promise<void>): Promise<Figures> {
  const token = await tokenFor('ann', { scope: 'CUSTOMER_USER' });
  const forged = await tokenFor('ann', { scope: 'CUSTOMER_USER', key: Buffer.alloc(64, 'a key of nobody').toString('base64') });
  const load = await startLoad({
    to: port,
    door: false,
    connections: 16,
    rate: RATE,
    asks: [
      { token, path: '/api/device/own', expect: 200 },
      { token, path: '/api/device/foreign', expect: 403 },
      { token, path: '/api/device/own', expect: 200 },
      { token: forged, path: '/api/device/own', expect: 401 },
    ],
  });
  try {
    await answered(load, 50);
    await load.period(); // the first checks read the database, and the proxy connects
    await during(load);
    await answered(load, 50);
    return await load.period();
  } finally {
    await load.stop();
  }
}

/** Waits until so many more of this period were allowed. */
export async function answered(load: Load, more: number): Promise<void> {
  const before = (await load.look()).counts[200] ?? 0;
  await until(async () => ((await load.look()).counts[200] ?? 0) >= before + more, `${more} more allowed requests`, 20_000);
}

export function inWords({ counts, seconds, p50, p99, max, gap }: Figures): string {
  const all = Object.entries(counts).map(([status, count]) => `${count} × ${status}`);
  return `${all.join(', ')} in ${seconds.toFixed(1)} s; p50 ${p50.toFixed(1)}, p99 ${p99.toFixed(1)}, max ${max.toFixed(0)} ms; longest time without an answer ${gap.toFixed(0)} ms`;
}
