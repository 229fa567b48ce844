// How is a server asked? A process of its own on its own core, the same for every peer: a closed loop, requests made before the clock starts,
// every reply held against the expected answer. Told what to do by run.mjs, one job after the other.

import { cpuNs, family } from '../processes.mjs';
import { NO_MESSAGE, connectGrpc } from './client-grpc.mjs';
import { connectHttp } from './client-http.mjs';
import { freshness, listened } from './freshness.mjs';
import { createQueries, createRevokes } from './queries.mjs';
import { reference } from './reference.mjs';
import { createWorld } from './world.mjs';

/** @typedef {{ module: string, peer: string, variant: string, at: import('./peer.mjs').At, seed: number, floor: boolean, pids: { server: number, database: number | null } }} Opening */
/** @typedef {{ job: 'gate', first?: number }} Gate every question once, or the first so many */
/** @typedef {{ job: 'run', ring: number, concurrency: number, ms: number, warmMs: number }} Run the first `ring` questions, round and round */
/** @typedef {{ job: 'freshness', from: number, to: number, rounds: number, atOnce: boolean, everyMs: number, spreadMs: number, watchMs: number, proof: boolean }} Freshness of these revokes */
/** @typedef {{ job: 'listen', from: number, to: number, rounds: number, spreadMs: number, url: string, core: number }} Listen the floor of freshness */
/** @typedef {{ rate: number, p50: number, p99: number, checks: number, undecided: number, cpu: number, database: number, client: number }} Measured milliseconds, and microseconds of a processor a check */
/** Null: the server says that it cannot decide now. @typedef {(bytes: Buffer) => Promise<boolean | null>} Question is it allowed? */

/** So long the gate goes on asking a server that cannot decide. */
const PATIENCE_MS = 5_000;

/** @type {Opening} */
const opening = JSON.parse(process.argv[2] ?? '');
const world = createWorld(opening.seed);
const judge = reference(world);
const subject = { world, judge };
const { [opening.peer]: peer } = /** @type {Record<string, import('./peer.mjs').Peer>} */ (await import(`./${opening.module}`));
if (peer === undefined) throw new Error(`no peer ${opening.peer} in ${opening.module}`);
const asking = peer.asking(opening.at, subject, opening.variant);
const items = createQueries(world, judge, opening.seed).map((query) => ({ ...query, bytes: asking.request(query), allow: opening.floor || query.allow }));
const revokes = createRevokes(world, judge);
/** Where the wide ring goes on: begun anew in each lane, a slow peer would be asked what it was asked just before, and its caches would know. */
let position = 0;

process.on('disconnect', () => process.exit(0));
process.on('message', (/** @type {Gate | Run | Freshness | Listen} */ job) => {
  perform(job).then(
    (result) => process.send?.({ result }),
    (/** @type {unknown} */ error) => process.send?.({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  );
});
process.send?.({ result: { queries: items.length, revokes: revokes.length } });

/** @param {Gate | Run | Freshness | Listen} job */
async function perform(job) {
  switch (job.job) {
    case 'gate':
      return gate(items.slice(0, job.first));
    case 'run':
      return closedLoop(job);
    case 'freshness':
    case 'listen': {
      const writing = await peer?.writing?.(opening.at, subject);
      if (writing === undefined) throw new Error(`${opening.peer} cannot be written to`);
      try {
        const asked = revokes.slice(job.from, job.to);
        return job.job === 'listen'
          ? await listened(asked, { ...job, writing })
          : await freshness(asked, { ...job, writing, request: asking.request, connect });
      } finally {
        await writing.close();
      }
    }
    default:
      throw new Error(`no such job: ${JSON.stringify(job)}`);
  }
}

/** As many ways to ask one question at a time: connections of HTTP, streams of one gRPC connection. @param {number} count */
async function slots(count) {
  if (asking.door === 'grpc') {
    const { ask, close } = await connectGrpc(asking.port, asking);
    const judged = answering(ask, asking.allowed);
    return { asks: Array.from({ length: count }, () => judged), close };
  }
  const connections = await Promise.all(Array.from({ length: count }, () => connectHttp(asking.port)));
  return { asks: connections.map(({ ask }) => answering(ask, asking.allowed)), close: () => connections.forEach(({ close }) => close()) };
}

/** @template R @param {import('./client-http.mjs').Ask<R>} ask @param {(reply: R) => boolean | null} allowed @returns {(bytes: Buffer, done: (allow: boolean | null | Error) => void) => void} */
function answering(ask, allowed) {
  return (bytes, done) =>
    ask(bytes, (reply) => {
      /** @type {boolean | null | Error} */ let answer;
      try {
        answer = reply === null ? new Error('no answer: the call failed, or the connection was closed') : reply === NO_MESSAGE ? null : allowed(reply);
      } catch (error) {
        answer = error instanceof Error ? error : new Error(String(error));
      }
      done(answer);
    });
}

/** A way to ask one after the other. @returns {Promise<{ ask: Question, close: () => void }>} */
async function connect() {
  const { asks, close } = await slots(1);
  const [ask] = asks;
  return {
    close,
    ask: (bytes) =>
      new Promise((resolve, reject) => {
        ask?.(bytes, (answer) => (answer instanceof Error ? reject(answer) : resolve(answer)));
      }),
  };
}

/** @param {typeof items} asked */
async function gate(asked) {
  let next = 0;
  /** @type {string[]} */ const wrong = [];
  const lines = await Promise.all(Array.from({ length: asking.door === 'grpc' ? 1 : 16 }, connect));
  const workers = Array.from({ length: 16 }, async (_, i) => {
    for (let item = asked[next++]; item !== undefined; item = asked[next++]) {
      const line = /** @type {(typeof lines)[number]} */ (lines[i % lines.length]);
      let allow = await line.ask(item.bytes);
      for (const end = performance.now() + PATIENCE_MS; allow === null && performance.now() < end; allow = await line.ask(item.bytes))
        await new Promise(setImmediate);
      if (allow !== item.allow) wrong.push(`${item.user} ${item.operation} ${item.device}: ${allow === null ? 'undecided' : allow ? 'allowed' : 'denied'}`);
    }
  });
  await Promise.all(workers);
  for (const { close } of lines) close();
  return { asked: asked.length, mismatches: wrong.length, examples: wrong.slice(0, 3) };
}

/** @param {Run} run @returns {Promise<Measured>} */
async function closedLoop({ ring: size, concurrency, ms, warmMs }) {
  const ring = items.slice(0, size);
  const whole = size >= items.length;
  const { asks, close } = await slots(concurrency);
  /** @type {number[]} */ const latencies = [];
  let next = whole ? position : 0;
  const from = performance.now() + warmMs;
  /** @type {ReturnType<typeof usage>[]} */ const before = [];
  let began = Infinity;
  let undecided = 0;
  await new Promise((/** @type {(value: void) => void} */ resolve, reject) => {
    let working = asks.length;
    const step = (/** @type {(typeof asks)[number]} */ ask) => {
      const sent = performance.now();
      if (began === Infinity && sent >= from && (whole || next >= size)) {
        before.push(usage());
        began = performance.now();
      } else if (sent >= began + ms) {
        if (--working === 0) resolve();
        return;
      }
      const item = /** @type {(typeof ring)[number]} */ (ring[next++ % ring.length]);
      ask(item.bytes, (answer) => {
        if (answer !== null && answer !== item.allow)
          return reject(answer instanceof Error ? answer : new Error(`wrong: ${item.user} ${item.operation} ${item.device} is ${answer}`));
        if (sent >= began) {
          latencies.push(performance.now() - sent);
          if (answer === null) undecided++;
        }
        step(ask);
      });
    };
    for (const ask of asks) step(ask);
  });
  const seconds = (performance.now() - began) / 1000;
  if (whole) position = next % size;
  const after = usage();
  close();
  const sorted = Float64Array.from(latencies).sort();
  const at = (/** @type {number} */ share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  const each = (/** @type {'server' | 'database' | 'client'} */ who) => (after[who] - (before[0]?.[who] ?? 0)) / 1000 / latencies.length;
  return {
    rate: (latencies.length - undecided) / seconds,
    p50: at(0.5),
    p99: at(0.99),
    checks: latencies.length,
    undecided,
    cpu: each('server'),
    database: each('database'),
    client: each('client'),
  };
}

/** Nanoseconds of a processor until now. What a backend of Postgres that ended in between has done is missing: pools keep theirs. */
function usage() {
  const { server, database } = opening.pids;
  const { user, system } = process.cpuUsage();
  return {
    server: cpuNs(server),
    database: database === null ? 0 : family(database).reduce((sum, each) => sum + cpuNsOf(each), 0),
    client: (user + system) * 1000,
  };
}

/** @param {number} pid */
function cpuNsOf(pid) {
  try {
    return cpuNs(pid);
  } catch {
    return 0; // ended in this moment
  }
}
