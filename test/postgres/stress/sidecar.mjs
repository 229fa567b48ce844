// What runs beside the test? One cache in a process of its own, asked in a tight loop, every answer recorded.
//
// A process, so that SIGSTOP stops it whole. It is the build that runs (as in production), started with one argument: `Settings` as JSON.
// On stdin: `token REVISION` (ask at least that), `ask USER`, `first USER REVISION` (ask for a user whom nobody has asked for), `stop`.
// On stdout, as lines of JSON: `{ ready }`, `{ reads }` now and then, at the end `Closing`.

import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { DECISIONS, PolicyCache, PolicyError, compileVocabulary, parseRevision } from 'policy-cache';
import { postgresSource } from 'policy-cache/postgres';
import { parse } from 'yaml';
import { NaiveCache } from './naive.mjs';
import { pick, stream } from './random.mjs';
import { ANY_TARGET, LATEST, MAX_STALENESS, OPERATIONS, RECORD_BYTES, deviceId, monotonic, userId, writeRecord } from './record.mjs';

/**
 * @typedef {object} Settings
 * @property {'ours' | 'naive'} engine
 * @property {string} name under which it reports
 * @property {string} url
 * @property {string} file for the records
 * @property {number} seed
 * @property {number} users
 * @property {number} devices
 * @property {number} askersDevice
 * @property {boolean} small a cache that holds next to nothing: every other check is a miss, and the horizon moves all the time
 */

/**
 * @typedef {object} Closing
 * @property {import('policy-cache').CacheStats} [stats]
 * @property {Readonly<Record<string, number>>} refused by code
 * @property {number} firsts
 * @property {number} tokens
 */

/** @typedef {{ user: number, target: number, operation: number, first?: boolean }} Question */

const SMALL = { subjects: 8, targets: 12, absent: 3, classes: 6, touched: 24 };
/** Checks in a row, then everybody else's turn: two cores carry the database and all of this. */
const READS_OF_A_TURN = { ours: 400, naive: 60 };
const TURN_MS = 1;
const WAITING_AT_MOST = 40;
const RESOURCE = 'DEVICE';

const settings = /** @type {Settings} */ (JSON.parse(process.argv[2] ?? ''));
const { hostClock } = /** @type {typeof import('../../../src/clock.ts')} */ (await import(new URL('../../../dist/clock.js', import.meta.url).href));
const vocabulary = compileVocabulary(parse(readFileSync(new URL(import.meta.resolve('policy-cache/vocabulary/thingsboard.yaml')), 'utf8')));
const resource = vocabulary.resource(RESOURCE);
const operations = OPERATIONS.map((name) => vocabulary.operation(name));
const random = stream(settings.seed);

/** The clock's last reading: in a deciding turn, the one that freshness was judged by. */
let reading = 0;
/** Highest version that `state()` has shown. */
let shown = 0;
let reads = 0;
let waiting = 0;
let firsts = 0;
let tokens = 0;
let stopped = false;
const refused = new Map();
/** @type {{ user: number, version: number, until: number }[]} first-time askers who wait until their revocation has been reported here */
let awaited = [];

const source = postgresSource({ url: settings.url });
const clock = hostClock({ monotonic: () => (reading = monotonic()), wall: () => Date.now() });
const cache =
  settings.engine === 'naive'
    ? new NaiveCache({ vocabulary, source })
    : new PolicyCache({
        vocabulary,
        source,
        clock,
        random,
        maxStaleness: MAX_STALENESS,
        follower: settings.name,
        ...(settings.small ? { limits: SMALL } : {}),
      });

/** Told by the cache in its deciding turn: there the answer gets its place among the records, so that they are in the order of the decisions. */
class Note {
  tenant = '';
  customer = '';
  hit = false;
  decided = 0;
  shown = 0;
  at = -1;
  /** @type {import('policy-cache').Revision | null} */
  #revision = null;
  get revision() {
    return this.#revision;
  }
  set revision(revision) {
    this.#revision = revision;
    this.decided = settings.engine === 'naive' ? monotonic() : reading;
    this.shown = shown;
    this.at = filled;
    filled += RECORD_BYTES;
  }
}

const file = openSync(settings.file, 'w');
const bytes = Buffer.alloc(RECORD_BYTES * 4_096);
const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
let filled = 0;

function flush() {
  for (let at = 0; at < filled;) at += writeSync(file, bytes, at, filled - at);
  filled = 0;
}

/** @param {Question} question @param {import('policy-cache').CheckOptions} [options] */
function ask({ user, target, operation, first = false }, options) {
  const asked = monotonic();
  const note = new Note();
  const request = { subject: userId(user), operation: /** @type {number} */ (operations[operation]), resource, target: deviceId(target) };
  const record = (/** @type {import('policy-cache').Decision} */ answer) => {
    const { decided, shown, hit, at, revision } = note;
    if (revision === null) throw new Error('an answer without a revision');
    const atLeast = options?.atLeast === 'latest' ? LATEST : (options?.atLeast?.version ?? 0);
    const bound = options?.maxStaleness ?? MAX_STALENESS;
    const decision = DECISIONS.indexOf(answer);
    const id = Number.parseInt(revision.id.slice(0, 8), 16);
    writeRecord(view, at, { decided, asked, version: revision.version, id, shown, atLeast, bound, user, target, decision, operation, hit, first });
    reads++;
  };
  try {
    const answer = cache.check(request, note, options);
    if (!(answer instanceof Promise)) return record(answer);
    waiting++;
    answer.then(record, refuse).finally(() => waiting--);
  } catch (error) {
    refuse(error);
  }
}

/** @param {unknown} error */
function refuse(error) {
  const code = error instanceof PolicyError ? error.code : settings.engine === 'naive' ? 'failed' : String(error);
  refused.set(code, (refused.get(code) ?? 0) + 1);
}

/** @returns {Question} Half of it about a few ids, so that reads and writes meet. */
function anyQuestion() {
  const some = (/** @type {number} */ count) => Math.floor(random() * (random() < 0.5 ? Math.ceil(count / 6) : count));
  const target = random() < 0.05 ? ANY_TARGET : some(settings.devices);
  return { user: some(settings.users), target, operation: random() < 0.7 ? 0 : 1 };
}

function look() {
  const { revision } = cache.state();
  if (revision !== null) shown = Math.max(shown, Number.parseInt(revision, 10));
}

function turn() {
  if (filled > bytes.length / 2) flush(); // here none is decided that is not written
  look();
  const now = monotonic();
  for (const one of awaited) if (one.version <= shown) firstTime(one.user);
  awaited = awaited.filter((one) => one.version > shown && one.until > now);
  const before = refused.size === 0 ? 0 : total();
  for (let i = 0; i < READS_OF_A_TURN[settings.engine] && waiting < WAITING_AT_MOST; i++) {
    const choice = random();
    ask(anyQuestion(), choice < 0.02 ? { maxStaleness: pick(random, [100, 300, 1_000]) } : choice < 0.021 ? { atLeast: 'latest' } : undefined);
    if (refused.size > 0 && total() > before + 2) break; // it cannot decide now: no use in asking as fast as it can refuse
  }
}

function total() {
  let sum = 0;
  for (const count of refused.values()) sum += count;
  return sum;
}

/** @param {number} user @param {import('policy-cache').Revision} [atLeast] */
function firstTime(user, atLeast) {
  firsts++;
  ask({ user, target: settings.askersDevice, operation: 0, first: true }, atLeast && { atLeast });
}

/** @param {string} line */
function follow(line) {
  const [command, ...rest] = line.split(' ');
  if (command === 'stop') stopped = true;
  if (command === 'token') {
    tokens++;
    ask(anyQuestion(), { atLeast: parseRevision(String(rest[0])) });
  }
  if (command === 'ask') ask({ user: Number(rest[0]), target: settings.askersDevice, operation: 0 });
  if (command === 'first') {
    const atLeast = parseRevision(String(rest[1]));
    if (random() < 0.5) firstTime(Number(rest[0]), atLeast);
    else awaited.push({ user: Number(rest[0]), version: atLeast.version, until: monotonic() + 5_000 });
  }
}

const write = (/** @type {object} */ line) => process.stdout.write(`${JSON.stringify(line)}\n`);

cache.start();
while (cache.state().revision === null) await new Promise((resolve) => setTimeout(resolve, 5));
write({ ready: true });
createInterface({ input: process.stdin }).on('line', follow);
for (let told = 0; !stopped;) {
  turn();
  await new Promise((resolve) => setTimeout(resolve, TURN_MS));
  if (reads - told > 10_000) write({ reads: (told = reads) });
}
while (waiting > 0) await new Promise((resolve) => setTimeout(resolve, 5));
flush();
closeSync(file);
/** @type {Closing} */
const closing = { refused: Object.fromEntries(refused), firsts, tokens, ...(cache instanceof PolicyCache ? { stats: cache.stats } : {}) };
cache.close();
write(closing);
process.exit(0);
