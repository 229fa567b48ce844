// How soon is a revoked permission refused, and what does that cost whoever writes?  npm run bench:revoke [-- --json]
//
// From the acknowledgement of the revoking commit to the refusal, for 1, 10 and 40 followers, beside the floor (as many bare listeners
// that make two round trips) and beside a cache that polls once a second; and commits a second with and without the triggers that feed the change log. On the embedded Postgres, flushing as in service.

import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { on, once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { readFileSync, readdirSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { migrate, openPool, postgresSource } from 'policy-cache/postgres';
import { startEmbedded } from '../../dist/embedded.js';

const FOLLOWERS = [
  { followers: 1, revokes: 500, goal: 2 },
  { followers: 10, revokes: 200, goal: null },
  { followers: 40, revokes: 200, goal: 15 },
];
const POLLERS = { count: 40, everyMs: 1_000, revokes: 8 };
const WRITERS = [1, 8, 32];
const WRITING_MS = 3_000;
const WARM_UP = 20;

/** @typedef {{ name: string, value: number, unit: string, goal: number | null, met: boolean | null }} Figure */
/** @type {Figure[]} */
const figures = [];
const json = process.argv.includes('--json');
const say = (/** @type {string} */ line) => void (json || process.stdout.write(`${line}\n`));
const now = () => Number(process.hrtime.bigint()) / 1e6;

/** @param {string} name @param {number} value @param {string} unit @param {number | null} goal */
function figure(name, value, unit, goal = null) {
  figures.push({ name, value: Math.round(value * 1000) / 1000, unit, goal, met: goal === null ? null : value <= goal });
}

/** @param {readonly number[]} values @param {number} share */
const quantile = (values, share) => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? NaN;
/** @param {readonly number[]} values */
const spread = (values) => `p50 ${quantile(values, 0.5).toFixed(2)} ms, p99 ${quantile(values, 0.99).toFixed(2)} ms, max ${quantile(values, 1).toFixed(2)} ms`;

const directory = await mkdtemp(join(tmpdir(), 'grantgate-bench-'));
const server = await startEmbedded(directory, { settings: { max_connections: 400 } });
try {
  const sql = openPool({ url: server.url, max: 1 });
  const sources = new URL('../../deploy/sql/', import.meta.url);
  const files = readdirSync(sources).filter((name) => name.endsWith('.sql'));
  await migrate(
    sql,
    files.map((name) => ({ name, text: readFileSync(new URL(name, sources), 'utf8') })),
  );
  const [{ version } = { version: '' }] = await sql`select current_setting('server_version') as version`;
  say(`${cpus()[0]?.model}, ${cpus().length} cores, node ${process.version}, PostgreSQL ${version}`);
  const users = FOLLOWERS.reduce((sum, { revokes }) => sum + 2 * (revokes + WARM_UP), 0) + POLLERS.revokes;
  await fillDatabase(sql, users);
  let next = 0;
  for (const { followers, revokes, goal } of FOLLOWERS) {
    const floor = await revocations(sql, { program: 'listeners.mjs', followers, from: next, revokes });
    next += revokes + WARM_UP;
    const { slowest, unserved } = await revocations(sql, { program: 'followers.mjs', followers, from: next, revokes });
    next += revokes + WARM_UP;
    const ratio = (/** @type {number} */ share) => quantile(slowest, share) / quantile(floor.slowest, share);
    say(
      `revoke, ${followers} followers, ${revokes} times, acknowledged to refused by the slowest: ${spread(slowest)}; floor ${spread(floor.slowest)}; ratio p50 ${ratio(0.5).toFixed(2)}, p99 ${ratio(0.99).toFixed(2)}`,
    );
    say(`  until its allow was no longer served: ${spread(unserved)}; floor ${spread(floor.unserved)}`);
    figure(`revoke.p50.${followers}`, quantile(slowest, 0.5), 'ms');
    figure(`revoke.p99.${followers}`, quantile(slowest, 0.99), 'ms', goal);
    figure(`revoke.unserved.p99.${followers}`, quantile(unserved, 0.99), 'ms');
    figure(`revoke.floor.p99.${followers}`, quantile(floor.slowest, 0.99), 'ms');
    figure(`revoke.ratio.p50.${followers}`, ratio(0.5), 'ratio');
  }
  const polled = await polling(sql, next);
  say(`polling every ${POLLERS.everyMs} ms: acknowledged to read: ${spread(polled)}`);
  figure('polling.p50', quantile(polled, 0.5), 'ms');
  figure('polling.p99', quantile(polled, 0.99), 'ms');
  for (const writers of WRITERS) {
    await sql`alter table grantgate.user_account disable trigger log_update`;
    const plain = await commits(writers);
    await sql`alter table grantgate.user_account enable always trigger log_update`;
    const logged = await commits(writers);
    say(`${writers} writers: ${plain.toFixed(0)} commits/s without the triggers, ${logged.toFixed(0)} with them (${(logged / plain).toFixed(2)})`);
    figure(`commits.plain.${writers}`, plain, '1/s');
    figure(`commits.logged.${writers}`, logged, '1/s');
    figure(`commits.ratio.${writers}`, logged / plain, 'ratio');
  }
  await sql.end({ timeout: 5 });
} finally {
  await server.stop();
  await rm(directory, { recursive: true, force: true });
}
if (json) process.stdout.write(`${JSON.stringify({ figures })}\n`);
else for (const { name, value, unit, goal, met } of figures) if (goal !== null) say(`${met ? 'met    ' : 'NOT met'} ${name}: ${value} ${unit}, goal ${goal}`);

/** Everybody reads the device by a group and a grant of their own. @param {ReturnType<typeof openPool>} sql @param {number} users */
async function fillDatabase(sql, users) {
  await sql.unsafe(`begin;
    insert into grantgate.object (id, tenant, kind, type) values ('t', 't', 'tenant', 'TENANT');
    insert into grantgate.object (id, tenant, kind, type, owner) values ('d', 't', 'entity', 'DEVICE', 't'), ('r', 't', 'role', 'ROLE', 't');
    insert into grantgate.role (id, tenant, type, permissions) values ('r', 't', 'GENERIC', '{"DEVICE": ["READ"]}');
    insert into grantgate.object (id, tenant, kind, type, owner)
      select k.p || i, 't', k.kind, k.type, 't' from generate_series(0, ${users - 1}) i, (values ('u', 'user', 'USER'), ('ug', 'group', 'USER'), ('p', 'grant', 'GROUP_PERMISSION')) k (p, kind, type);
    insert into grantgate.user_account (id, tenant) select 'u' || i, 't' from generate_series(0, ${users - 1}) i;
    insert into grantgate.membership (tenant, group_id, member_id, type, owner) select 't', 'ug' || i, 'u' || i, 'USER', 't' from generate_series(0, ${users - 1}) i;
    insert into grantgate.group_permission (id, tenant, user_owner, user_group, role, role_type) select 'p' || i, 't', 't', 'ug' || i, 'r', 'GENERIC' from generate_series(0, ${users - 1}) i;
    commit`);
  await sql.unsafe('analyze');
}

/**
 * Milliseconds from the acknowledgement, of the slowest follower.
 * @param {ReturnType<typeof openPool>} sql
 * @param {{ program: string, followers: number, from: number, revokes: number }} run
 */
async function revocations(sql, { program, followers, from, revokes }) {
  const child = fork(fileURLToPath(new URL(program, import.meta.url)), [server.url, String(followers)]);
  const inbox = on(child, 'message', { close: ['exit'] });
  const message = async () => /** @type {unknown} */ ((await inbox.next()).value?.[0]);
  /** @type {number[]} */ const slowest = [];
  /** @type {number[]} */ const unserved = [];
  try {
    await message();
    for (let i = 0; i < WARM_UP + revokes; i++) {
      child.send(from + i);
      assert.equal(await message(), 'watching');
      const refusals = message();
      await sql`delete from grantgate.object where id = ${`p${from + i}`}`;
      const acknowledged = now();
      const times = /** @type {{ unserved: number, refused: number }[]} */ (await refusals);
      if (i < WARM_UP) continue;
      const late = times.map(({ refused }) => Math.max(0, refused - acknowledged));
      slowest.push(Math.max(...late));
      unserved.push(Math.max(...times.map((time) => Math.max(0, time.unserved - acknowledged))));
    }
  } finally {
    child.disconnect();
    await once(child, 'exit');
  }
  return { slowest, unserved };
}

/** The same pulls without a doorbell, once a second, at all moments of the second. @param {ReturnType<typeof openPool>} sql @param {number} from */
async function polling(sql, from) {
  /** @type {number[]} */ const delays = [];
  /** @type {number[]} */ let heard = [];
  const source = postgresSource({ url: server.url, fillConnections: 1 });
  const pollers = await Promise.all(
    Array.from({ length: POLLERS.count }, async (_, i) => {
      const attachment = await source.attach({ ring: () => undefined, closed: () => undefined });
      let { head } = await attachment.pull({ cursor: 0, limit: null, ask: [] });
      const poll = async () => {
        const reply = await attachment.pull({ cursor: head.version, limit: 1_001, ask: [] });
        if (reply.changes.length > 0) heard.push(now());
        head = reply.head;
      };
      let timer = setTimeout(
        () => {
          void poll();
          timer = setInterval(() => void poll(), POLLERS.everyMs);
        },
        (i * POLLERS.everyMs) / POLLERS.count,
      );
      return { close: () => (clearInterval(timer), attachment.close()) };
    }),
  );
  for (let i = 0; i < POLLERS.revokes; i++) {
    heard = [];
    await sql`delete from grantgate.object where id = ${`p${from + i}`}`;
    const acknowledged = now();
    while (heard.length < POLLERS.count) await new Promise((resolve) => setTimeout(resolve, 5));
    delays.push(...heard.map((at) => Math.max(0, at - acknowledged)));
  }
  for (const { close } of pollers) close();
  return delays;
}

/** Commits a second of so many writers, each with a row of its own. @param {number} writers */
async function commits(writers) {
  const pool = openPool({ url: server.url, max: writers });
  let done = 0;
  const until = now() + WRITING_MS;
  const write = async (/** @type {number} */ writer) => {
    for (; now() < until; done++) {
      await pool`update grantgate.user_account set enabled = not enabled where id = ${`u${writer}`}`;
    }
  };
  await Promise.all(Array.from({ length: writers }, (_, i) => pool`select ${i}::int`));
  const started = now();
  done = 0;
  await Promise.all(Array.from({ length: writers }, (_, i) => write(i)));
  const took = (now() - started) / 1000;
  await pool.end({ timeout: 5 });
  return done / took;
}
