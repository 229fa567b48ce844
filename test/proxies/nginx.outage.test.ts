// What do nginx's clients get while Postgres, or the sidecar, is away, and afterwards?
//
// Answers from memory until the lease ends (2 s since the last proof), then none: 503 at the door, 500 at nginx. Never an allow that
// nobody vouches for. When the database is back, so are the answers, from what was kept in memory.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { askDecided, startClient, type Client } from '../support/ask.ts';
import { startOwnPostgres, type OwnServer } from '../support/postgres.ts';
import { requirePart } from '../support/require.ts';
import { startSidecar, tokenFor } from '../support/sidecar.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { until } from '../support/until.ts';

requirePart('embedded18');

const LEASE_MS = 2000;
const devices = Array.from({ length: 50 }, (_, i) => `device-${i}`);
const world = JSON.stringify({
  defaults: true,
  tenants: [{ id: 't' }],
  customers: [{ id: 'c', owner: 't' }],
  users: [
    { id: 'ann', owner: 'c', groups: ['users:c'] },
    { id: 'new', owner: 'c', groups: ['users:c'] },
    { id: 'late', owner: 'c', groups: ['admins:c'] },
  ],
  entities: [...devices.map((id) => ({ id, type: 'DEVICE', owner: 'c' })), { id: 'foreign', type: 'DEVICE', owner: 't' }],
});
const OWN = '/api/device/device-0',
  FOREIGN = '/api/device/foreign',
  PUBLIC = '/api/noauth/userPasswordPolicy';

let server: OwnServer;
let stack: Stack;
let door: Client;
let ann: string;
beforeAll(async () => {
  server = await startOwnPostgres('embedded18');
  stack = await startStack({ server, world, connections: 50 });
  door = startClient(stack.sidecar.doors);
  ann = await tokenFor('ann', { scope: 'CUSTOMER_USER' });
});
afterAll(async () => {
  door?.close();
  await server?.thaw().catch(() => undefined); // the server may be gone
  await stack?.close();
  await server?.close();
});

const status = async (path: string, token?: string): Promise<number> => (await stack.client.ask({ path, ...(token === undefined ? {} : { token }) })).status;
/** Refused, and by somebody. */
const decidedStatus = async (path: string, token: string): Promise<number> => (await askDecided(stack.client, { path, token })).status;
const resets = async (): Promise<Record<string, number | undefined>> => {
  const metrics = await stack.sidecar.metrics();
  return Object.fromEntries(['start', 'history', 'backlog', 'everything'].map((cause) => [cause, metrics.value('authz_resets_total', { cause })]));
};

/**
 * Asks back to back from the moment on at which the database is taken away. Between that and the last question that was answered, ms; and
 * that the answers ended for good. A single 500 before is of a machine that stood still for longer than nginx waits.
 */
async function answersUntil(away: () => Promise<void>): Promise<number> {
  await until(async () => (await status(OWN, ann)) === 200 && (await status(FOREIGN, ann)) === 403, 'answers from memory');
  let since = performance.now();
  let last = since;
  // At the latest: what was renewed while it went away is renewed until then.
  const gone = away().then(() => (since = performance.now()));
  void gone.catch(() => undefined); // waited for below, unless this fails first
  for (let refused = 0; refused < 20;) {
    const asked = performance.now();
    const [own, foreign] = await Promise.all([status(OWN, ann), status(FOREIGN, ann)]);
    expect([200, 500]).toContain(own);
    expect([403, 500]).toContain(foreign);
    refused = own === 500 && foreign === 500 ? refused + 1 : 0;
    if (refused === 0) last = asked;
    if (asked - since > 5 * LEASE_MS) throw new Error('answers do not end');
  }
  await gone;
  return Math.max(0, last - since);
}

async function nothingIsVouchedFor(): Promise<void> {
  const requestId = `stale-${performance.now()}`;
  const atDoor = await door.ask({ path: '/auth/nginx', token: ann, requestId, headers: { 'X-Original-Method': 'GET', 'X-Original-URI': OWN } });
  expect(atDoor).toMatchObject({ status: 503, body: '' });
  expect(atDoor.headers['content-length']).toBe('0');
  expect(Object.keys(atDoor.headers).filter((name) => name.startsWith('x-auth'))).toEqual([]);
  expect(await stack.sidecar.line(requestId)).toMatchObject({ decision: 'unavailable', reason: 'stale' });
  const ready = await stack.sidecar.readyz();
  expect(ready.status).toBe(503);
  expect(ready.cause).toMatch(/\w{3}/);
  console.log(`outage: /readyz says state ${ready.state}, ${ready.cause}`);
  // What needs no database is answered as ever.
  expect((await askDecided(stack.client, { path: OWN })).status).toBe(401);
  expect(await decidedStatus(OWN, 'garbage')).toBe(401);
  expect(await decidedStatus('/api/nowhere', ann)).toBe(403);
  expect((await askDecided(stack.client, { path: PUBLIC })).status).toBe(200);
}

/** Waits for the answers to come back by themselves. What was in memory before must have been kept. */
async function resumes(since: number): Promise<void> {
  await until(async () => (await stack.sidecar.readyz()).status === 200, '/readyz after the outage', 20_000);
  console.log(`outage: ready again ${(performance.now() - since).toFixed(0)} ms later`);
  const requestId = `resumed-${since}`;
  const { status, requestId: decided } = await askDecided(stack.client, { path: OWN, token: ann, requestId });
  expect(status).toBe(200);
  expect((await stack.sidecar.line(decided)).cache).toBe('hit');
  expect(await decidedStatus(FOREIGN, ann)).toBe(403);
}

describe('Postgres', () => {
  test('stopped: answers until the lease ends, then none; started: they resume, the cache kept', async () => {
    const before = await resets();
    const ended = await answersUntil(() => server.stop('fast'));
    console.log(`outage: Postgres stopped: answers ended ${ended.toFixed(0)} ms after (lease ${LEASE_MS} ms)`);
    expect(ended).toBeGreaterThan(LEASE_MS / 4);
    expect(ended).toBeLessThan(LEASE_MS + 100);
    await nothingIsVouchedFor();
    await server.start();
    await resumes(performance.now());
    expect(await resets()).toEqual(before);
    expect((await stack.sidecar.metrics()).value('authz_attaches_total')).toBeGreaterThan(1);
  });

  test('frozen, connections and all: the same; a user who is not in memory does not wait for ever', async () => {
    const before = await resets();
    const late = tokenFor('late');
    const ended = await answersUntil(() => server.freeze());
    console.log(`outage: Postgres frozen: answers ended ${ended.toFixed(0)} ms after (lease ${LEASE_MS} ms)`);
    expect(ended).toBeGreaterThan(LEASE_MS / 4);
    expect(ended).toBeLessThan(LEASE_MS + 100);
    await nothingIsVouchedFor();
    const asked = performance.now();
    expect(await status(OWN, await late)).toBe(500);
    expect(performance.now() - asked).toBeLessThan(5_000);
    const thawed = performance.now();
    await server.thaw();
    await resumes(thawed);
    expect(await resets()).toEqual(before);
    expect(await decidedStatus(OWN, await late)).toBe(200);
  });

  test('what was revoked while the sidecar could not hear of it is refused once /readyz shows it', async () => {
    expect(await decidedStatus(OWN, ann)).toBe(200);
    await server.stop('fast');
    await server.start();
    const revision = await stack.sql.begin(async (tx) => {
      await tx`delete from grantgate.membership where member_id = 'ann'`;
      await tx`set constraints all immediate`;
      const [row] = await tx<[{ revision: string }]>`select grantgate.revision() as revision`;
      return row.revision;
    });
    await stack.sidecar.reached(revision);
    expect(await decidedStatus(OWN, ann)).toBe(403);
    await stack.sql`insert into grantgate.membership (tenant, group_id, member_id, type, owner) values ('t', 'users:c', 'ann', 'USER', 'c')`;
    await until(async () => (await status(OWN, ann)) === 200, 'the membership given again');
  });
});

test('50 parallel first checks of one user after everything was thrown away are all answered', async () => {
  const token = await tokenFor('new');
  const before = (await resets())['everything']!;
  for (let round = 0, again = 0; round < 3; round++) {
    // Not the count of resets: a load that is under way from the touch before takes this one in.
    const [row] = await stack.sql<[{ revision: string }]>`select grantgate.touch('*') as revision`;
    await stack.sidecar.reached(row.revision);
    const statuses = await Promise.all(devices.map((id) => status(`/api/device/${id}`, token)));
    // A machine that stands still for longer than nginx waits makes 500 of all that is under way, and not three times.
    if (statuses.includes(500) && again++ < 2) round--;
    else expect(statuses).toEqual(devices.map(() => 200));
  }
  expect((await resets())['everything']).toBeGreaterThan(before);
  console.log('outage: 3 times 50 parallel first checks after a RESET: all answered');
});

describe('the sidecar', () => {
  test('hangs: nginx refuses within its time limit, and asks again afterwards', async () => {
    process.kill(stack.sidecar.pid, 'SIGSTOP');
    const asked = performance.now();
    const statuses = await Promise.all([status(OWN, ann), status(FOREIGN, ann), status(PUBLIC)]);
    const ms = performance.now() - asked;
    process.kill(stack.sidecar.pid, 'SIGCONT');
    expect(statuses).toEqual([500, 500, 500]);
    expect(ms).toBeLessThan(10_000);
    await until(async () => (await status(OWN, ann)) === 200, 'an answer of the sidecar that goes on');
  });

  test('is killed under load: refusals only, and a new one on the same socket takes over', async () => {
    const counts: Record<string, number> = {};
    let over = false;
    const load = [OWN, FOREIGN].flatMap((path) =>
      Array.from({ length: 2 }, async () => {
        while (!over) {
          const key = `${path} ${await status(path, ann)}`;
          counts[key] = (counts[key] ?? 0) + 1;
        }
      }),
    );
    await until(() => (counts[`${OWN} 200`] ?? 0) > 20, 'load');
    process.kill(stack.sidecar.pid, 'SIGKILL');
    await until(() => (counts[`${OWN} 500`] ?? 0) > 20, 'refusals');
    const second = await startSidecar({
      databaseUrl: await stack.database.urlAs('grantgate_reader'),
      set: { 'doors.socket': stack.sidecar.doors, 'doors.deadline': '450ms' },
    });
    try {
      const allowed = counts[`${OWN} 200`] ?? 0;
      await until(() => (counts[`${OWN} 200`] ?? 0) > allowed + 20, 'answers of the second one');
      over = true;
      await Promise.all(load);
    } finally {
      over = true;
      await second.stop();
    }
    console.log(
      `outage: sidecar killed under load: ${Object.entries(counts)
        .map(([key, count]) => `${key}: ${count}`)
        .join(', ')}`,
    );
    expect(Object.keys(counts).sort()).toEqual([`${OWN} 200`, `${OWN} 500`, `${FOREIGN} 403`, `${FOREIGN} 500`].sort());
  });
});
