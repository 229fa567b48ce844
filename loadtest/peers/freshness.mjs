// How long is a permission that was taken away still given? From the acknowledgement of the write to the first refusal, asked all the time on a
// connection of its own; whether an allow came back after that; and whether a user who never asked before is let in by its first check.

import { fork } from 'node:child_process';
import { on, once } from 'node:events';
import { fileURLToPath } from 'node:url';

/**
 * @typedef {object} Watching
 * @property {number} rounds the first-timers are asked in the first one only
 * @property {boolean} atOnce all revokes side by side: for peers that take seconds
 * @property {number} everyMs pause between two checks of one asker; 0: back to back
 * @property {number} spreadMs the writes are spread over so long: at any moment of whatever the server does in turns
 * @property {number} watchMs so long it is asked on after the first refusal
 * @property {boolean} proof the acknowledgement is the server's own, not the database's
 * @property {import('./peer.mjs').Writing} writing
 * @property {(question: import('./peer.mjs').Question) => Buffer} request
 * @property {() => Promise<{ ask: import('./client.mjs').Question, close: () => void }>} connect
 */
/** @typedef {{ rounds: number, spreadMs: number, url: string, core: number, writing: import('./peer.mjs').Writing }} Listening `core`: where the listener runs, as the server does */
/** @typedef {{ late: number[], cameBack: number, first: number, letIn: number, stale: number }} Found `stale`: a check that was sent after the acknowledgement was allowed, in so many revokes */

const LISTENER = fileURLToPath(new URL('listener.mjs', import.meta.url));
const LIMIT_MS = 60_000;
const pause = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** @param {readonly import('./peer.mjs').Revoke[]} revokes @param {Watching} watching @returns {Promise<Found>} */
export async function freshness(revokes, watching) {
  /** @type {Found} */ const found = { late: [], cameBack: 0, first: 0, letIn: 0, stale: 0 };
  const { rounds, atOnce, connect } = watching;
  for (let round = 0; round < rounds; round++) {
    const one = async (/** @type {import('./peer.mjs').Revoke} */ revoke) => {
      const [asker, first] = await Promise.all([connect(), connect()]);
      try {
        await revocation(revoke, { watching, asker: asker.ask, first: round === 0 ? first.ask : null, found });
      } finally {
        asker.close();
        first.close();
      }
    };
    if (atOnce) await Promise.all(revokes.map(one));
    else for (const revoke of revokes) await one(revoke);
  }
  return found;
}

/**
 * @param {import('./peer.mjs').Revoke} revoke
 * @param {{ watching: Watching, asker: import('./client.mjs').Question, first: import('./client.mjs').Question | null, found: Found }} run
 */
async function revocation(revoke, { watching, asker, first, found }) {
  const { writing, request, everyMs, spreadMs, watchMs, proof } = watching;
  const bytes = request(revoke.asker);
  await allowedAgain(asker, bytes);
  const end = performance.now() + LIMIT_MS;
  const seen = { acknowledged: Infinity, refused: Infinity, cameBack: false, stale: false, failed: false };
  const write = async () => {
    await pause(2 + Math.random() * spreadMs);
    await (proof ? (writing.proof ?? writing.revoke) : writing.revoke)(revoke);
    seen.acknowledged = performance.now();
    if (first === null) return;
    found.first++;
    const bytes = request(revoke.first);
    let allow = await first(bytes);
    while (allow === null) allow = await first(bytes);
    if (allow) found.letIn++;
  };
  const writes = write();
  writes.catch(() => void (seen.failed = true)); // told where it is awaited
  while (!seen.failed && (seen.acknowledged === Infinity || performance.now() <= seen.refused + watchMs)) {
    if (performance.now() > end) throw new Error(`not refused within ${LIMIT_MS} ms`);
    const sent = performance.now();
    const allow = await asker(bytes);
    if (allow === false) seen.refused = Math.min(seen.refused, performance.now());
    if (allow && seen.refused < Infinity) seen.cameBack = true;
    if (allow && sent > seen.acknowledged) seen.stale = true;
    if (everyMs > 0) await pause(everyMs);
  }
  await writes;
  found.late.push(Math.max(0, seen.refused - seen.acknowledged));
  if (seen.cameBack) found.cameBack++;
  if (seen.stale) found.stale++;
  await writing.restore(revoke);
}

/**
 * The floor: milliseconds from the same acknowledgement to the answer of one `select` of a bare listener (listener.mjs), which decides nothing. Nobody asks meanwhile.
 * @param {readonly import('./peer.mjs').Revoke[]} revokes @param {Listening} listening @returns {Promise<number[]>}
 */
export async function listened(revokes, { rounds, spreadMs, url, core, writing }) {
  const child = fork(LISTENER, [url], { execPath: 'taskset', execArgv: ['-c', String(core), process.execPath] });
  const inbox = on(child, 'message', { close: ['exit'] });
  const message = async () => /** @type {unknown} */ ((await inbox.next()).value?.[0]);
  /** @type {number[]} */ const late = [];
  try {
    await message();
    for (const revoke of Array.from({ length: rounds }, () => revokes).flat()) {
      await pause(2 + Math.random() * spreadMs);
      await writing.revoke(revoke);
      const acknowledged = Number(process.hrtime.bigint()) / 1e6;
      late.push(Math.max(0, Number(await message()) - acknowledged));
      await writing.restore(revoke);
      await message();
    }
  } finally {
    child.disconnect();
    await once(child, 'exit');
  }
  if (late.some(Number.isNaN)) throw new Error('the listener has ended');
  return late;
}

/** @param {import('./client.mjs').Question} ask @param {Buffer} bytes */
async function allowedAgain(ask, bytes) {
  for (const end = performance.now() + LIMIT_MS; !(await ask(bytes)); await pause(10))
    if (performance.now() > end) throw new Error('is not allowed before the revoke');
}
