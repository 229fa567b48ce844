// What do checks feel of an import of a million things beside them?
//
// A sidecar of its own over the database that is imported into, asked through its door by a process of its own at a fixed rate (load.mjs:
// times are from when a question was due, so a stall counts for each that waited). First calm, then during the import.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { grantgate, startService } from './programs.mjs';
import { SIGNING_KEY, questions } from './questions.mjs';

const RATE = 300;
const CONNECTIONS = 16;
const COLD_SHARE = 0.1;
const CALM_S = 20;
const WARM_UP_S = 5;
const CHECKED = 300;
/** So that a check that waits is waited for, and counts with its time: by default it would be a 503 after 100 ms. */
const SETTINGS = { 'doors.deadline': '2s' };

/** @typedef {import('../support/load.mjs').Figures} Figures */
/** @typedef {{ url: string, sql: ReturnType<typeof import('policy-cache/postgres').openPool>, batch: number | null }} Database */
/** @typedef {import('../../src/generate/shape.ts').WorldSize} WorldSize */

/**
 * @param {Database} database @param {{ living: WorldSize, imported: WorldSize, file: string }} worlds `living` is in it, `imported` in the file
 */
export async function checksDuringImport({ url, sql, batch }, { living, imported, file }) {
  const { hot, cold } = await questions(living, { hot: 1_000, cold: 10_000 });
  const service = await startService(SETTINGS, { DATABASE_URL: url, GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY: SIGNING_KEY });
  try {
    await allAnswered(service.door, hot);
    const load = await startLoad({ to: service.door, door: true, connections: CONNECTIONS, rate: RATE, asks: hot, fresh: cold, share: COLD_SHARE, tick: 1 });
    try {
      await after(WARM_UP_S);
      await load.period();
      await after(CALM_S);
      const calm = await load.period();
      const [before] = await sql`select max(version)::int as version from grantgate.change`;
      const resets = await service.metric('authz_resets_total');
      const run = await grantgate(['import', file, '--mode', 'create', '--batch', ...(batch === null ? [] : ['--batch-keys', String(batch)]), '--json'], {
        env: { ADMIN_DATABASE_URL: url },
      });
      const during = await load.period();
      const result = /** @type {{ batches: number, revision: string }} */ (JSON.parse(run.stdout));
      const last = Number.parseInt(result.revision, 10);
      for (const limit = performance.now() + 10_000; (await service.version()) < last; await after(0.02))
        assert(performance.now() < limit, 'the sidecar follows');
      const keys = await keysOf(sql, before?.['version'], last);
      assert.equal(keys.length, result.batches);
      // What came in is decided as the library decides it over the file's rows.
      const { hot: news } = await questions(imported, { hot: CHECKED, cold: 0 });
      await allAnswered(service.door, news);
      return {
        calm,
        during,
        run,
        ...result,
        keys,
        resets: (await service.metric('authz_resets_total')) - resets,
        ratio: during.p99 / calm.p99,
        // Of the calm period too: they would mean that the comparison is with something broken.
        unexpected: unexpected(calm) + unexpected(during),
        checked: hot.length + news.length,
      };
    } finally {
      await load.stop();
    }
  } finally {
    await service.stop();
  }
}

/** Answers that are not the right one of 200 and 403, and questions without any. @param {Figures} figures */
function unexpected({ counts, wrong }) {
  return Object.entries(counts).reduce((sum, [what, count]) => (what === '200' || what === '403' ? sum : sum + count), wrong);
}

/** Keys of each commit, which has a version for each of its statements that changed some. @param {Database['sql']} sql @param {number} from @param {number} to @returns {Promise<readonly number[]>} */
async function keysOf(sql, from, to) {
  const rows = await sql`
    select sum(keys)::int as keys from (
      select c.xmin::text as transaction, c.version,
        (select coalesce(sum(t.size), 0) from grantgate.touched t
          where t.n <= c.n and t.n > (select max(p.n) from grantgate.change p where p.version < c.version)) as keys
      from grantgate.change c where c.version > ${from} and c.version <= ${to}) x
    group by transaction order by min(version)`;
  return rows.map((row) => row['keys']);
}

/** One after the other, until one pass had no "cannot decide" (a busy machine); a wrong answer there is in none. @param {number} port @param {readonly import('./questions.mjs').Ask[]} asks */
async function allAnswered(port, asks) {
  for (let pass = 1; ; pass++) {
    const load = await startLoad({ to: port, door: true, connections: 1, rate: 0, asks, most: asks.length });
    for (const limit = performance.now() + 60_000; !(await load.look()).done; await after(0.05))
      assert(performance.now() < limit, 'all questions are answered');
    const { wrong, counts } = await load.look();
    await load.stop();
    assert.equal(wrong, 0);
    const [allowed = 0, denied = 0] = [counts['200'], counts['403']];
    assert(allowed > 0 && denied > 0, 'some may and some may not');
    if (allowed + denied === asks.length) return;
    assert(pass < 5, `no pass without a question that was not decided: ${JSON.stringify(counts)}`);
  }
}

/** @param {Omit<import('../support/load.mjs').Plan, 'seconds'>} plan */
async function startLoad(plan) {
  const child = spawn(process.execPath, [fileURLToPath(new URL('../support/load.mjs', import.meta.url))], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => /** @type {unknown} */ (JSON.parse((await lines.next()).value ?? 'null'));
  const told = async (/** @type {'look' | 'period'} */ word) => {
    child.stdin.write(`${word}\n`);
    return /** @type {Figures} */ (await next());
  };
  child.stdin.write(`${JSON.stringify({ seconds: 3_600, ...plan })}\n`);
  assert.equal(await next(), 'begun');
  return {
    look: () => told('look'),
    period: () => told('period'),
    async stop() {
      const ended = once(child, 'close');
      child.stdin.end();
      await ended;
    },
  };
}

function after(/** @type {number} */ seconds) {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}
