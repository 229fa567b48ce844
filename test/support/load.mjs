// Who asks while a suite looks at what is asked? A process of its own, so that the time of the one is not taken from the other.
//
// The first line on its stdin is `Plan` as JSON, too long for an argument. `look`: the figures of this period go out as one line of JSON; `period`: they do,
// and the next one begins. It ends with its stdin, and in any case after the plan's seconds.

import { connect } from 'node:net';
import { createInterface } from 'node:readline';

/**
 * @typedef {object} Plan
 * @property {number | string} to port of loopback, or a Unix socket
 * @property {boolean} door true: asks a door as nginx does; false: asks a proxy as a client does
 * @property {number} connections
 * @property {number} rate requests a second, whatever is answered; 0: each connection asks again when it is answered
 * @property {readonly { token: string, path: string, expect: number }[]} asks in turn
 * @property {readonly { token: string, path: string, expect: number }[]} [fresh] in turn, with a number in place of `#` that never comes again
 * @property {number} [share] of those
 * @property {number} [most] requests
 * @property {number} [tick] ms between looks at what is due; a request is sent so much late at the most
 * @property {string} [ids] of its requests: these letters and a number
 * @property {number} seconds
 */

/**
 * @typedef {object} Figures
 * @property {number} seconds
 * @property {Readonly<Record<string, number>>} counts by status; `refused`: no connection, `cut`: a connection that ended before the answer
 * @property {number} wrong decisions that are not the expected one
 * @property {number} sent since the start
 * @property {boolean} done all that was to be sent is answered
 * @property {number} p50 of what was decided (200, 401, 403), ms
 * @property {number} p99
 * @property {number} max
 * @property {number} gap longest time without a decision, ms
 * @property {number} slowest of all answers, whatever they said, ms
 */

const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const plan = /** @type {Plan} */ (JSON.parse((await input.next()).value ?? ''));
const { fresh = [], share = 0, most = Infinity, ids = '', tick = 2 } = plan;
const DECIDED = [200, 401, 403];
/** Each is 2 % above the one before; from 1 µs on. */
const BUCKETS = 1200;
const STEP = Math.log(1.02);
/** Behind by more than this, a paced client says so instead of remembering. */
const MOST_DUE = 20_000;

let sent = 0;
let answered = 0;
let number = 0;
let period = newPeriod();

function newPeriod() {
  const now = performance.now();
  return {
    from: now,
    counts: /** @type {Record<string, number>} */ ({}),
    wrong: 0,
    times: new Uint32Array(BUCKETS),
    decided: 0,
    max: 0,
    slowest: 0,
    gap: 0,
    last: now,
  };
}

/** @param {string} what */
function count(what) {
  period.counts[what] = (period.counts[what] ?? 0) + 1;
}

/** @param {number} share of the decided */
function percentile(share) {
  let left = Math.ceil(period.decided * share);
  for (let i = 0; i < BUCKETS; i++) if ((left -= period.times[i] ?? 0) <= 0) return Math.exp(i * STEP) / 1000;
  return period.max;
}

/** @returns {Figures} */
function figures() {
  const now = performance.now();
  const { from, counts, wrong, max, slowest, gap, last } = period;
  const [p50 = 0, p99 = 0] = period.decided === 0 ? [] : [percentile(0.5), percentile(0.99)];
  return { seconds: (now - from) / 1000, counts, wrong, sent, done: sent >= most && answered >= sent, p50, p99, max, slowest, gap: Math.max(gap, now - last) };
}

/** @param {number} status @param {number} expect @param {number} ms */
function record(status, expect, ms) {
  count(String(status));
  period.slowest = Math.max(period.slowest, ms);
  if (!DECIDED.includes(status)) return;
  if (status !== expect) period.wrong++;
  const now = performance.now();
  period.gap = Math.max(period.gap, now - period.last);
  period.last = now;
  period.decided++;
  period.max = Math.max(period.max, ms);
  const bucket = Math.max(0, Math.min(BUCKETS - 1, Math.round(Math.log(ms * 1000) / STEP)));
  period.times[bucket] = (period.times[bucket] ?? 0) + 1;
}

/** @returns {{ text: string, expect: number }} */
function nextAsk() {
  const n = sent++;
  const isFresh = fresh.length > 0 && (share >= 1 || Math.random() < share);
  const from = isFresh ? fresh : plan.asks;
  const { token, path, expect } = /** @type {{ token: string, path: string, expect: number }} */ (from[n % from.length]);
  const unique = isFresh ? (++number).toString(36).padStart(6, '0') : '';
  const uri = path.replace('#', unique);
  const headers = [`Authorization: Bearer ${token.replace('#', unique)}`, ...(ids === '' ? [] : [`X-Request-Id: ${ids}${n}`])];
  const lines = plan.door
    ? ['GET /auth/nginx HTTP/1.1', 'Host: door', 'X-Original-Method: GET', `X-Original-URI: ${uri}`, ...headers]
    : [`GET ${uri} HTTP/1.1`, 'Host: app', ...headers];
  return { text: `${lines.join('\r\n')}\r\n\r\n`, expect };
}

/** When requests that nobody has sent yet were due. @type {number[]} */
const due = [];
/** @type {(() => void)[]} */
const idle = [];

/** One connection, made again whenever it ends. */
function open() {
  let got = '';
  /** @type {{ since: number, expect: number } | null} */
  let asked = null;
  let over = false;
  const socket = typeof plan.to === 'number' ? connect(plan.to, '127.0.0.1') : connect(plan.to);
  socket.setNoDelay().setEncoding('latin1');

  const ask = () => {
    if (over) return;
    const since = plan.rate === 0 ? performance.now() : due.shift();
    if (since === undefined) return void idle.push(ask);
    if (sent >= most) return;
    const { text, expect } = nextAsk();
    asked = { since, expect };
    socket.write(text);
  };
  socket.on('connect', ask);
  socket.on('data', (/** @type {string} */ part) => {
    got += part;
    const head = got.indexOf('\r\n\r\n');
    if (head < 0 || asked === null) return;
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(got.slice(0, head))?.[1] ?? 0);
    if (got.length < head + 4 + length) return;
    const last = /\r\nconnection: *close/i.test(got.slice(0, head));
    record(Number(got.slice(9, 12)), asked.expect, performance.now() - asked.since);
    answered++;
    asked = null;
    got = got.slice(head + 4 + length);
    if (last) socket.end();
    else ask();
  });
  let refused = false;
  socket.on('error', (/** @type {NodeJS.ErrnoException} */ error) => void (refused = error.syscall === 'connect'));
  socket.on('close', () => {
    over = true;
    if (refused) count('refused');
    if (asked !== null) {
      count('cut');
      answered++;
    }
    if (refused) setTimeout(open, 20);
    else open();
  });
}

for (let i = 0; i < plan.connections; i++) open();
if (plan.rate > 0) {
  const from = performance.now();
  let scheduled = 0;
  setInterval(() => {
    for (const now = performance.now(); from + (scheduled * 1000) / plan.rate <= now; scheduled++) {
      if (due.length >= MOST_DUE) count('unsent');
      else due.push(from + (scheduled * 1000) / plan.rate);
    }
    while (due.length > 0 && idle.length > 0) idle.shift()?.();
  }, tick);
}

setTimeout(() => process.exit(0), plan.seconds * 1000);
process.stdout.write('"begun"\n');
for await (const word of input) {
  process.stdout.write(`${JSON.stringify(figures())}\n`);
  if (word === 'period') period = newPeriod();
}
process.exit(0);
