// How long do a million entities take, in and out, how much memory, and what do checks feel of it?  npm run bench:import [-- --json]
//
// 1 M entities and 200 k users with 300 k memberships, generated; by the real program as processes, on the embedded Postgres, flushing as in service. What came in is counted, exported and
// asked about before a figure of it is told. For a quick look: --entities 100000 --users 20000 --customers 2000; --batch N for another size of batch, or --batch 1000,5000,20000 for one import after the other.

import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { chmod, mkdtemp, rm, stat } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openPool } from 'policy-cache/postgres';
import { startEmbedded } from '../../dist/embedded.js';
import { checksDuringImport } from './living.mjs';
import { grantgate, watchBackends } from './programs.mjs';

/** @typedef {import('../../src/generate/tally.ts').Summary & { bytes: number, seconds: number }} Summary */
/** @typedef {import('../../src/generate/shape.ts').WorldSize} WorldSize */

const { values: given } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    entities: { type: 'string', default: '1000000' },
    users: { type: 'string', default: '200000' },
    customers: { type: 'string', default: '20000' },
    seed: { type: 'string', default: '1' },
    batch: { type: 'string' },
  },
});
const size = { customers: Number(given.customers), users: Number(given.users), entities: Number(given.entities), seed: Number(given.seed) };
const quarter = { ...size, customers: size.customers >> 2, users: size.users >> 2, entities: size.entities >> 2 };
const whole = { ...size, ids: /** @type {const} */ ('names') };
/** Keys in a batch; null: as many as the program takes by itself. */
const batches = given.batch === undefined ? [null] : given.batch.split(',').map(Number);
/** More than the demo's server has, less than one in service. */
const SETTINGS = { shared_buffers: '512MB', max_wal_size: '4GB' };
const GOALS = { million: 90, growth: 1.25, living: 3 };

/** @type {{ name: string, value: number, unit: string, goal: number | null, met: boolean | null }[]} */
const figures = [];
const say = (/** @type {string} */ line) => void (given.json || process.stdout.write(`${line}\n`));

/** @param {string} name @param {number} value @param {{ unit: string, goal?: number }} as */
function figure(name, value, { unit, goal }) {
  figures.push({ name, value: Math.round(value * 100) / 100, unit, goal: goal ?? null, met: goal === undefined ? null : value <= goal });
}

const directory = await mkdtemp(join(tmpdir(), 'grantgate-bench-'));
await chmod(directory, 0o711); // the server's account passes through: so that its files are below, and go with it
const server = await startEmbedded(directory, { settings: SETTINGS });
const admin = openPool({ url: server.url, max: 1 });
try {
  const [{ version } = { version: '' }] = await admin`select current_setting('server_version') as version`;
  say(`${cpus()[0]?.model}, ${cpus().length} cores, node ${process.version}, PostgreSQL ${version}, ${Object.entries(SETTINGS).flat().join(' ')}`);
  await million();
} finally {
  await admin.end({ timeout: 5 });
  await server.stop();
  await rm(directory, { recursive: true, force: true });
}
if (given.json) process.stdout.write(`${JSON.stringify({ figures })}\n`);
else for (const { name, value, unit, goal, met } of figures) if (goal !== null) say(`${met ? 'met    ' : 'NOT met'} ${name}: ${value} ${unit}, goal ${goal}`);

async function million() {
  const small = await imported('quarter', quarter);
  await small.sql.end({ timeout: 5 });
  const large = await imported('whole', whole);
  try {
    figure('import.million', large.run.seconds, { unit: 's', goal: GOALS.million });
    figure('import.rate', large.rows / large.run.seconds, { unit: 'rows/s' });
    figure('import.memory', large.run.peakMb, { unit: 'MB' });
    figure('import.memory.growth', large.run.peakMb / small.run.peakMb, { unit: 'ratio', goal: GOALS.growth });
    const memory = `memory of the program ${large.run.peakMb.toFixed(0)} MB, of a quarter of it ${small.run.peakMb.toFixed(0)} MB`;
    say(`import of ${large.rows} rows: ${large.run.seconds.toFixed(1)} s, ${large.run.cpu.toFixed(1)} s of a processor; ${memory}`);
    if (large.backend) {
      const { anonymousMb, residentMb, cpu } = large.backend;
      figure('import.memory.backend', anonymousMb, { unit: 'MB' });
      figure('import.million.cpu', large.run.cpu + cpu, { unit: 's' });
      say(
        `  its session in Postgres: ${cpu.toFixed(1)} s of a processor, ${anonymousMb.toFixed(0)} MB of its own, ${residentMb.toFixed(0)} MB with shared buffers`,
      );
    }
    await exported(large);
    for (const [i, batch] of batches.entries()) await living(large, { batch, seed: size.seed + 1 + i });
  } finally {
    await large.sql.end({ timeout: 5 });
  }
}

/** Generated, imported into a database of its own, and counted. @param {string} name @param {WorldSize} world */
async function imported(name, world) {
  const { file, summary } = await generated(name, world);
  await admin.unsafe(`create database ${name}`);
  const url = Object.assign(new URL(server.url), { pathname: `/${name}` }).href;
  await grantgate(['migrate'], { env: { OWNER_DATABASE_URL: url } });
  const sql = openPool({ url, max: 2 });
  const load = loadavg()[0] ?? 0;
  if (load > 1) say(`  the machine is busy: a load of ${load.toFixed(1)} on ${cpus().length} cores`);
  const backends = watchBackends(sql);
  const run = await grantgate(['import', file, '--json'], { env: { ADMIN_DATABASE_URL: url } });
  const backend = await backends.stop();
  await rm(file);

  const twice = 2 * (summary.counts.tenants + summary.counts.customers); // predefined groups, roles, grants
  const { counts } = summary;
  const expected = {
    ...{ tenant: counts.tenants, customer: counts.customers, user: counts.users, entity: counts.entities },
    ...{ group: counts.groups + twice, role: counts.roles + twice, grant: counts.grants + twice },
  };
  const stored = await sql`select kind, count(*)::int as n from grantgate.object group by kind`;
  assert.deepEqual(Object.fromEntries(stored.map((row) => [row['kind'], row['n']])), expected);
  const [{ members } = { members: 0 }] = await sql`select count(*)::int as members from grantgate.membership`;
  assert.equal(
    members,
    Object.values(summary.memberships).reduce((sum, count) => sum + count, 0),
  );
  const rows = Object.values(expected).reduce((sum, count) => sum + count, 0);
  return { url, sql, run, backend, rows };
}

/** @param {string} name @param {WorldSize} world */
async function generated(name, world) {
  const file = join(directory, `${name}.ndjson`);
  const numbers = Object.entries(world).flatMap(([flag, value]) => [`--${flag}`, String(value)]);
  const { stderr, seconds, peakMb } = await grantgate(['generate', '--json', ...numbers], { stdout: file });
  const summary = /** @type {Summary} */ (JSON.parse(stderr));
  assert.equal((await stat(file)).size, summary.bytes);
  say(`generated ${summary.rows} rows, ${(summary.bytes / 1e6).toFixed(0)} MB, in ${seconds.toFixed(1)} s with ${peakMb.toFixed(0)} MB of memory`);
  return { file, summary };
}

/** As many lines as rows are stored, a head and an end. @param {{ url: string, rows: number }} database */
async function exported({ url, rows }) {
  const file = join(directory, 'export.ndjson');
  const { seconds, peakMb } = await grantgate(['export', '--format', 'ndjson'], { env: { ADMIN_DATABASE_URL: url }, stdout: file });
  let lines = 0;
  for await (const part of createReadStream(file)) for (const byte of /** @type {Buffer} */ (part)) if (byte === 10) lines++;
  assert.equal(lines, rows + 2);
  const { size: bytes } = await stat(file);
  await rm(file);
  say(`export of ${rows} rows, ${(bytes / 1e6).toFixed(0)} MB: ${seconds.toFixed(1)} s; memory of the program ${peakMb.toFixed(0)} MB`);
  figure('export.million', seconds, { unit: 's' });
  figure('export.memory', peakMb, { unit: 'MB' });
}

/**
 * Another world comes into a database that has the first one: no id twice, and in no order, as ThingsBoard's.
 * @param {{ url: string, sql: ReturnType<typeof openPool> }} database @param {{ batch: number | null, seed: number }} run
 */
async function living({ url, sql }, { batch, seed }) {
  const more = { ...size, seed, ids: /** @type {const} */ ('uuid') };
  const { file } = await generated('more', more);
  const { calm, during, run, revision, keys, resets, ratio, unexpected, checked } = await checksDuringImport(
    { url, sql, batch },
    { living: whole, imported: more, file },
  );
  const spread = (/** @type {import('../support/load.mjs').Figures} */ { p50, p99, max, slowest, counts }) =>
    `p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms, max ${Math.max(max, slowest).toFixed(1)} ms; answers ${JSON.stringify(counts)}`;
  const average = Math.round(keys.reduce((sum, n) => sum + n, 0) / keys.length);
  say(`checks at a door, calm:             ${spread(calm)}`);
  say(`checks at a door, during an import: ${spread(during)}`);
  say(`  ratio of p99 ${ratio.toFixed(2)}; ${resets} resets; ${unexpected} answers that were not the right one; ${checked} questions asked alone, all right`);
  say(
    `  the import: ${run.seconds.toFixed(1)} s, ${keys.length} batches${batch === null ? '' : ` of ${batch}`}, keys in each: ${average} on average, ${Math.max(...keys)} at most; last revision ${revision}; memory ${run.peakMb.toFixed(0)} MB`,
  );
  const name = batches.length === 1 ? 'import.living' : `import.living.${batch}`;
  figure(`${name}.p99`, ratio, { unit: 'ratio', goal: GOALS.living });
  figure(`${name}.p99.calm`, calm.p99, { unit: 'ms' });
  figure(`${name}.p99.during`, during.p99, { unit: 'ms' });
  figure(`${name}.unexpected`, unexpected, { unit: 'answers', goal: 0 });
  figure(`${name}.resets`, resets, { unit: 'resets', goal: 0 });
  figure(`${name}.seconds`, run.seconds, { unit: 's' });
  figure(`${name}.keys`, Math.max(...keys), { unit: 'keys' });
}
