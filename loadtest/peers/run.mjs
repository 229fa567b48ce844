// How fast, how dear and how fresh is grantgate beside its peers, on one world, in one run?  npm run bench:peers [-- --json]
//
// A peer is timed only after it has answered every question as expected. Servers on core 0, the client on core 1, Postgres on both. About twelve minutes;
// `--quick` two (slow peers are then asked the first 1,000 questions before they are timed). `--only opa,grantgate`, `--seconds N` of a lane.
// What is missing is installed first, and told if it cannot be had.

import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { benchmark, refuse } from '../figures.mjs';
import { residentMb, temporaryDirectory } from '../processes.mjs';
import { results } from './figures.mjs';
import { commandOf, install, programOf } from './install.mjs';
import { beginWrites, nameOf, openClient } from './lane.mjs';
import { measureLibrary } from './library.mjs';
import { LIBRARIES, PLANS } from './plan.mjs';
import { startPostgres } from './postgres.mjs';
import { createRevokes } from './queries.mjs';
import { reference } from './reference.mjs';
import { createWorld } from './world.mjs';

const SEED = 1;
const SERVER_CORE = 0;
/** Of the revokes the last are proved by a barrier, where there is one. */
const PROVED = 15;
/** What was not begun by then is told as not measured: on a machine that does other work each step takes longer. */
const MOST_MINUTES = 25;
const QUICK = { seconds: 0.5, first: 1_000 };

const bench = benchmark('peers', { quick: { type: 'boolean', default: false }, only: { type: 'string' }, seconds: { type: 'string' } });
const { given, say } = bench;
const quick = given['quick'] === true;
const seconds = given['seconds'] === undefined ? (quick ? QUICK.seconds : 3) : bench.number('seconds', 0.1);
const only = bench.listed('only', [...new Set(PLANS.map(({ peer }) => peer)), ...LIBRARIES]);
if (availableParallelism() < 2) refuse('needs two processors: one for a server, one for its client');

/** What takes minutes is told with `--json` too, beside the object. */
const tell = (/** @type {string} */ line) => void process.stderr.write(`${line}\n`);

const world = createWorld(SEED);
const subject = { world, judge: reference(world) };
const revokes = createRevokes(world, subject.judge).length;
const found = results(bench);
const directory = temporaryDirectory('peers');
/** Started for the first that needs it. @type {{ postgres: Awaited<ReturnType<typeof startPostgres>> | null }} */ const running = { postgres: null };
/** @type {Record<string, string>} */ const versions = {};
const wanted = (/** @type {string} */ name) => only.includes(name);
const plans = PLANS.filter(({ peer }) => wanted(peer));
const libraries = LIBRARIES.filter(wanted);
for (const program of [...plans.flatMap(({ program }) => program ?? []), ...libraries]) install(program, tell);
const begun = performance.now();
const isLate = () => performance.now() - begun > MOST_MINUTES * 60_000;
try {
  for (const plan of plans) {
    const missing = plan.program === null ? null : install(plan.program, tell);
    if (isLate()) for (const { name } of plan.entries) found.late(name, MOST_MINUTES);
    else if (missing !== null) for (const { name } of plan.entries) found.missing(name, { command: commandOf(plan.program ?? ''), why: missing });
    else await measure(plan);
  }
  for (const library of libraries) {
    const missing = install(library, tell);
    if (isLate()) found.late(library, MOST_MINUTES);
    else if (missing !== null) found.missing(library, { command: commandOf(library), why: missing });
    else await inProcess(library).catch((/** @type {unknown} */ error) => failed(library, error));
  }
} finally {
  await running.postgres?.stop();
}
found.goals();
say(`${((performance.now() - begun) / 60_000).toFixed(1)} minutes`);
bench.finish(versions);

/** @param {import('./plan.mjs').Plan} plan */
async function measure({ module, peer: name, start, entries, postgres: needs }) {
  const { [name]: peer } = /** @type {Record<string, import('./peer.mjs').Peer>} */ (await import(`./${module}`));
  if (peer === undefined) throw new Error(`no ${name} in ${module}`);
  const postgres = needs ? (running.postgres ??= await startPostgres(join(directory, 'postgres'))) : null;
  if (postgres !== null) versions['PostgreSQL'] = postgres.version;
  const database = async (/** @type {string} */ wanted) => {
    if (postgres === null) throw new Error('no Postgres');
    return postgres.database(wanted);
  };
  const place = { subject, directory, core: SERVER_CORE, bin: programOf, database };
  const server = await peer.start(place, start).catch((/** @type {unknown} */ error) => entries.forEach((entry) => failed(entry.name, error)));
  if (server === undefined) return;
  if (name !== 'floor') versions[name] = server.version;
  for (const entry of entries) {
    await measureEntry(entry, { module, name, peer, server, database: postgres?.pid ?? null }).catch((/** @type {unknown} */ error) => {
      failed(entry.name, error);
      tell(server.said().slice(-2_000));
    });
  }
  await server.stop();
}

/** One peer that breaks does not take the others' figures away, and the run is no success. @param {string} name @param {unknown} error */
function failed(name, error) {
  process.exitCode = 1;
  const [problem = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
  found.failed(name, problem);
  tell(`${name}: ${error instanceof Error ? error.stack : String(error)}`);
}

/**
 * @param {import('./plan.mjs').Entry} entry
 * @param {{ module: string, name: string, peer: import('./peer.mjs').Peer, server: import('./peer.mjs').Server, database: number | null }} of
 */
async function measureEntry(entry, { module, name, peer, server, database }) {
  const floor = name === 'floor';
  const client = await openClient({
    ...{ module, peer: name, variant: entry.variant, at: server.at, seed: SEED, floor },
    pids: { server: server.pid, database },
  });
  const writing = await peer.writing?.(server.at, subject);
  try {
    // Twice SpiceDB's default revision: the grants of the last revokes of another entry have just been given back.
    await new Promise((resolve) => setTimeout(resolve, (entry.settles ?? 0) * 1000));
    const began = performance.now();
    const { asked, mismatches, examples } = await client.gate(quick && entry.slow ? QUICK.first : undefined);
    if (mismatches > 0) return found.wrong(entry.name, { asked, mismatches, examples });
    say(`        ${entry.name}: ${asked} questions, 0 mismatches, ${((performance.now() - began) / 1000).toFixed(1)} s`);
    // A compiler at run time has seen its questions by then, Node's above all.
    await client.run({ ring: 'wide', concurrency: 16, writes: false }, seconds);
    /** @type {number[]} */ const written = [];
    for (const lane of entry.lanes) {
      const writes = lane.writes && writing !== undefined ? beginWrites(writing) : null;
      try {
        found.lane(entry.name, nameOf(lane), await client.run(lane, seconds));
      } finally {
        if (writes !== null) written.push(await writes.stop());
      }
    }
    found.writes(entry.name, written);
    found.server(entry.name, { load: server.loadSeconds, memory: residentMb(server.pid) });
    if (entry.freshness === undefined) return;
    const watching = { ...entry.freshness, ...(quick ? { rounds: 1 } : {}) };
    const proves = writing?.proof !== undefined;
    const which = { from: 0, to: proves ? revokes - PROVED : revokes };
    const url = peer.follows?.(server.at);
    // Floor, ours, floor: a machine that gets slower meanwhile is no cost of either.
    const { rounds, spreadMs } = watching;
    const listened = async (/** @type {number} */ times) =>
      url === undefined || times === 0 ? [] : client.listened({ ...which, rounds: times, spreadMs, url, core: SERVER_CORE });
    const before = await listened(Math.ceil(rounds / 2));
    const seen = await client.freshness({ ...watching, ...which, proof: false });
    found.freshness(entry.name, seen, [...before, ...(await listened(Math.floor(rounds / 2)))]);
    if (proves) found.proof(entry.name, await client.freshness({ ...watching, from: revokes - PROVED, to: revokes, proof: true }));
  } finally {
    await writing?.close();
    await client.close();
  }
}

/** @param {string} library */
async function inProcess(library) {
  const measured = await measureLibrary(library, { seed: SEED, seconds: quick ? 1 : 5 });
  versions[library] = measured.version;
  if (measured.mismatches > 0) return found.wrong(library, measured);
  say(`        ${library}: ${measured.asked} questions, 0 mismatches`);
  found.library(library, measured);
}
