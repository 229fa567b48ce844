// What changes with a hundred times as much?  npm run bench:scale [-- --json] [--size small|medium|full] [--directory DIR] [--only start,growth,herd]
//
// From spawn to ready, memory, fills, what a check costs, and what an edit of a role does that everybody has: with worlds of the generator, a hundredth and a
// tenth and the whole of the size, imported once into a directory that is kept where it is named. `full` is a million customers, a million users and
// five million entities: an hour and 10 GB; `medium`, the default, a tenth of it. On the embedded Postgres, beside whatever else this machine does.

import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import postgres from 'postgres';
import { assertAll, decided, openClient, requestOf } from './checks.mjs';
import { benchmark, median, refuse } from './figures.mjs';
import { herd } from './herd.mjs';
import { cpuNs, temporaryDirectory } from './processes.mjs';
import { bareStart, serve } from './served.mjs';
import { PROGRAM, startServer, worldOf } from './worlds.mjs';

/** As `npx grantgate` runs in a checkout: it looks whether the build is in step first. */
const CHECKOUT = fileURLToPath(new URL('../src/grantgate.mjs', import.meta.url));
const SIZES = /** @type {const} */ ({ small: 10_000, medium: 100_000, full: 1_000_000 });
const MILLION = 1_000_000;
/** What a start reads of the hot set at the most (cache.hotSet). */
const HOT = { users: 20_000, targets: 80_000 };
const STARTS = 5;
const HOT_PAIRS = 1_000;
const HOT_SECONDS = 3;

const { given, listed, say, figure, finish } = benchmark('scale', {
  size: { type: 'string', default: 'medium' },
  directory: { type: 'string' },
  only: { type: 'string' },
});
const size = String(given['size']);
if (!Object.hasOwn(SIZES, size)) refuse(`--size: ${size} is none of ${Object.keys(SIZES).join(', ')}`);
const whole = SIZES[/** @type {keyof typeof SIZES} */ (size)];
const only = listed('only', ['start', 'growth', 'herd']);
const kept = typeof given['directory'] === 'string';
const directory = kept ? String(given['directory']) : temporaryDirectory('scale');
const server = await startServer(directory);
let version = '';
try {
  const sql = postgres(server.url, { max: 1 });
  [{ version }] = /** @type {[{ version: string }]} */ (
    /** @type {unknown} */ (await sql`select split_part(current_setting('server_version'), ' ', 1) as version`)
  );
  await sql.end();
  if (only.includes('start')) await starts();
  if (only.includes('growth')) await growth();
  if (!only.includes('growth') || whole !== MILLION)
    figure('start.million', Number.NaN, { unit: 's', most: 3, of: 'value', note: '`npm run bench:scale -- --size full` measures it, in an hour and 10 GB' });
  if (only.includes('herd')) await herds();
} finally {
  await server.stop();
}
finish({ PostgreSQL: version });

/** A small world: as most first starts are. */
async function starts() {
  const { url } = await worldOf(server, { customers: 100, users: 1_000, entities: 10_000, seed: 1 }, say);
  const [floors, built, checkout] = [/** @type {number[]} */ ([]), /** @type {number[]} */ ([]), /** @type {number[]} */ ([])];
  for (let i = 0; i < STARTS; i++) {
    floors.push(await bareStart());
    built.push(await startOf(PROGRAM, url));
    checkout.push(await startOf(CHECKOUT, url));
  }
  const note = 'the floor: Node with a bare server of one line, from its spawn to its first answer';
  figure('start.small', median(built), { unit: 's', floor: median(floors), most: 0.5, of: 'value', spread: rangeOf(built), note });
  figure('start.checkout', median(checkout), {
    unit: 's',
    floor: median(floors),
    spread: rangeOf(checkout),
    note: '`src/grantgate.mjs serve`: the same, after a look whether the build is in step',
  });
}

/** @param {string} program @param {string} url */
async function startOf(program, url) {
  const service = await serve(program, url);
  await service.stop();
  return service.seconds;
}

async function growth() {
  /** @type {Record<string, number>[]} */ const table = [];
  for (const customers of [whole / 100, whole / 10, whole]) table.push(await grown(customers));
  const [first, , last] = table;
  if (first === undefined || last === undefined) return;
  for (const [name, value] of Object.entries(last)) {
    const [, what = '', unit = ''] = /^(\S+) \((.+)\)$/.exec(name) ?? [];
    const note = `with ${table.map((row, i) => `${whole / 10 ** (2 - i)} customers and users, ${(5 * whole) / 10 ** (2 - i)} entities: ${Number((row[name] ?? 0).toPrecision(3))}`).join('; ')} ${unit}`;
    if (what === 'start' && whole === MILLION) figure('start.million', value, { unit, most: 3, of: 'value', note });
    figure(`growth.${what}`, value, { unit, floor: first[name] ?? 0, note });
    if (what === 'warm') figure('warm.time', value, { unit, note: `${last['ids (ids)']} ids of a file` });
    if (what === 'fills') figure('fills.rate', value, { unit, note: 'of a warm-up: users, their classes, targets' });
  }
}

/** One size: the same kinds of questions. @param {number} customers */
async function grown(customers) {
  const { url, name } = await worldOf(server, { customers, users: customers, entities: 5 * customers, seed: 1 }, say);
  const hotSet = join(directory, `${name}.ids`);
  await rm(hotSet, { force: true });
  const settings = { 'cache.hotSet': hotSet, 'cache.warmUp': '2m' };
  const { right, denied } = await questions(url);
  const first = await serving(url, settings, (service) => asked(service, right, denied));
  const second = await serving(url, settings, async (service) => {
    const [, users = 0, targets = 0, ms = 0] = (/(\d+) of \d+ users and (\d+) of \d+ targets in (\d+) ms/.exec(service.said()) ?? []).map(Number);
    assert.ok(ms > 0, `it says nothing of a warm-up: ${service.said()}`);
    return { ids: users + targets, ms, start: service.seconds, memory: service.memoryMb() };
  });
  const row = {
    ...first,
    'ids (ids)': second.ids,
    'warm (s)': second.ms / 1000,
    'warm.start (s)': second.start,
    'warm.memory (MB)': second.memory,
    'fills (ids/s)': second.ids / (second.ms / 1000),
  };
  const text = Object.entries(row).map(([what, value]) => `${what} ${Number(value.toPrecision(3))}`);
  say(`${customers} customers: ${text.join(', ')}`);
  return row;
}

/** @typedef {Awaited<ReturnType<typeof serve>>} Service */

/** @template T @param {string} url @param {Readonly<Record<string, string | number>>} settings @param {(service: Service) => Promise<T>} use */
async function serving(url, settings, use) {
  const service = await serve(PROGRAM, url, settings);
  try {
    return await use(service);
  } finally {
    await service.stop();
  }
}

/** What a process that was just started costs: every question once, then a few of them again and again. @param {Service} service @param {readonly string[]} right @param {readonly string[]} denied */
async function asked(service, right, denied) {
  const memory = service.memoryMb();
  const client = await openClient(service.port, 16);
  const usedFor = async (/** @type {() => Promise<import('./checks.mjs').Answer[]>} */ ask) => {
    const before = cpuNs(service.pid);
    const answers = await ask();
    return { answers, us: (cpuNs(service.pid) - before) / answers.length / 1000 };
  };
  const cold = await usedFor(() => decided(client, right));
  assertAll(cold.answers, 200, 'asked for the first time');
  if (denied.length > 0) assertAll(await decided(client, denied), 403, 'of another tenant');
  const hot = await usedFor(() => client.flood(right.slice(0, HOT_PAIRS), { seconds: HOT_SECONDS }));
  assertAll(hot.answers, 200, 'asked again and again');
  client.close();
  return { 'start (s)': service.seconds, 'memory (MB)': memory, 'memory.full (MB)': service.memoryMb(), 'hit (us)': hot.us, 'miss (us)': cold.us };
}

/** Of administrators about devices of their own owner, whom the predefined role lets read; and about those of another tenant, which nobody may. @param {string} url */
async function questions(url) {
  const sql = postgres(url, { max: 1 });
  const [{ entities }] = /** @type {[{ entities: number }]} */ (
    /** @type {unknown} */ (await sql`select reltuples::float8 as entities from pg_class where oid = 'grantgate.object'::regclass`)
  );
  const share = Math.min(100, (100 * 4 * HOT.targets) / Math.max(1, entities));
  const pairs = await sql.unsafe(`
    with d as materialized (
      select o.id, o.owner, o.tenant from grantgate.object o tablesample system (${share}) repeatable (1) where o.kind = 'entity' and o.type = 'DEVICE' limit ${2 * HOT.targets})
    select u.id as user, d.id as target, d.tenant from d cross join lateral (
      select m.member_id as id from grantgate.membership m join grantgate.user_account a on a.id = m.member_id and a.enabled where m.group_id = 'admins:' || d.owner limit 1) u
    order by md5(d.id) limit ${HOT.targets}`);
  await sql.end();
  /** @type {Set<string>} */ const users = new Set();
  const chosen = pairs.filter(({ user }) => users.has(user) || (users.size < HOT.users && users.add(user)));
  assert.ok(chosen.length > 100, `${chosen.length} questions`);
  const denied = chosen.slice(0, 500).flatMap(({ user, tenant }, i) => {
    const other = chosen[(i * 7 + 1) % chosen.length];
    return other === undefined || other['tenant'] === tenant ? [] : [requestOf({ user, target: other['target'], operation: 'READ' })];
  });
  assert.ok(denied.length > 20 || new Set(chosen.map(({ tenant }) => tenant)).size === 1);
  return { right: chosen.map(({ user, target }) => requestOf({ user, target, operation: 'READ' })), denied };
}

/** All users of one tenant, and a role that all of them have. */
async function herds() {
  const users = whole;
  const world = await worldOf(server, { tenants: 1, customers: users / 20, users, entities: users / 2, seed: 1 }, say);
  const rate = 1_000;
  const { p99, calm, asked, classes, fillsOfUsers, refills, statements, unavailable, wrong } = await herd(world, { users, rate, say });
  const note = `${rate} checks a second, drawn from ${asked} users of as many classes, ${users} users in ${classes} classes in memory; in the second after an edit ${refills.toFixed(0)} checks had to read, ${statements.toFixed(0)} statements; the floor is its calm p99`;
  figure('herd.p99', p99, { unit: 'ms', floor: calm, note });
  figure('herd.fills', refills, { unit: 'checks/s', note: 'checks in the second after an edit that had to read' });
  figure('herd.statements', statements, { unit: 'statements/s' });
  if (wrong > 0) process.exitCode = 1;
  figure('herd.wrong', wrong, { unit: 'answers', most: 0, of: 'value' });
  figure('herd.unavailable', unavailable, { unit: 'answers', most: 0, of: 'value' });
  figure('herd.users', fillsOfUsers, { unit: 'users/s', note: 'asked about for the first time, 64 at once: user and class' });
}

/** @param {readonly number[]} values @returns {readonly [number, number]} */
function rangeOf(values) {
  return [Math.min(...values), Math.max(...values)];
}
