// Who asks, when the client must cost less than the checks? Kept connections, answers read by their status line and length alone.

import assert from 'node:assert/strict';
import { connect } from 'node:net';

/** @typedef {{ user: string, target: string, operation: string }} Question */
/** @typedef {{ begun: number, ms: number, status: number, question: number }} Answer */

/** A request at the door that takes parameters, of a path that no route has; the user stands in `X-User`. @param {Question} question */
export function requestOf({ user, target, operation }) {
  return `GET /auth/nginx/DEVICE/${operation} HTTP/1.1\r\nHost: sidecar\r\nX-Original-Method: GET\r\nX-Original-URI: /things\r\nX-User: ${user}\r\nX-Authz-Target: ${target}\r\n\r\n`;
}

/** @param {number} port @param {number} connections */
export async function openClient(port, connections) {
  const all = await Promise.all(Array.from({ length: connections }, () => lane(port)));
  return {
    /**
     * Every request once, as fast as answers come. @param {readonly string[]} requests @param {{ seconds?: number }} [until] again and again for so long
     * @returns {Promise<Answer[]>}
     */
    async flood(requests, { seconds } = {}) {
      /** @type {Answer[]} */ const answers = [];
      const end = seconds === undefined ? Infinity : performance.now() + seconds * 1000;
      let next = 0;
      const ask = async (/** @type {(typeof all)[number]} */ one) => {
        for (;;) {
          if (seconds === undefined ? next >= requests.length : performance.now() > end) return;
          const question = next++ % requests.length;
          const begun = performance.now();
          const status = await one(requests[question] ?? '');
          answers.push({ begun, ms: performance.now() - begun, status, question });
        }
      };
      await Promise.all(all.map(ask));
      return answers;
    },
    /**
     * So many a second whatever the answers do: one that finds no free connection waits, and its time runs. Those asked about are drawn by `draw`.
     * @param {readonly string[]} requests @param {{ rate: number, seconds: number, draw: () => number }} how @returns {Promise<Answer[]>}
     */
    async paced(requests, { rate, seconds, draw }) {
      /** @type {Answer[]} */ const answers = [];
      const free = [...all];
      /** @type {{ question: number, begun: number }[]} */ const waiting = [];
      const began = performance.now();
      let sent = 0;
      const go = async (/** @type {(typeof all)[number]} */ one) => {
        for (let first = waiting.shift(); first !== undefined; first = waiting.shift()) {
          const status = await one(requests[first.question] ?? '');
          answers.push({ ...first, ms: performance.now() - first.begun, status });
        }
        free.push(one);
      };
      /** @type {Promise<void>[]} */ const going = [];
      while (performance.now() - began < seconds * 1000) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        const now = performance.now();
        const due = Math.floor((Math.min(now - began, seconds * 1000) * rate) / 1000);
        for (; sent < due; sent++) waiting.push({ question: Math.floor(draw() * requests.length), begun: now });
        for (let n = Math.min(free.length, waiting.length); n > 0; n--) {
          const one = free.pop();
          if (one) going.push(go(one));
        }
      }
      await Promise.all(going);
      return answers;
    },
    close() {
      for (const one of all) one.end();
    },
  };
}

/**
 * Every request until it is decided: a process that is behind refuses to begin what it cannot end in time (503), on a machine with other work to do.
 * @param {Pick<Awaited<ReturnType<typeof openClient>>, 'flood'>} client @param {readonly string[]} requests @returns {Promise<Answer[]>} one for each
 */
export async function decided(client, requests) {
  /** @type {Answer[]} */ const all = [];
  for (let left = requests.map((_, i) => i), round = 0; left.length > 0; round++) {
    assert.ok(round < 100, `${left.length} checks are not decided`);
    const asked = left;
    const answers = await client.flood(asked.map((i) => requests[i] ?? ''));
    const at = (/** @type {Answer} */ { question }) => asked[question] ?? 0;
    // One by one: a million arguments are more than a call can have.
    for (const answer of answers) if (answer.status !== 503) all.push({ ...answer, question: at(answer) });
    left = answers.filter(({ status }) => status === 503).map(at);
  }
  return all;
}

/** Fails if one of them was answered otherwise; a few may not have been decided in time. @param {readonly Answer[]} answers @param {number} status @param {string} what */
export function assertAll(answers, status, what) {
  const late = answers.filter((answer) => answer.status === 503).length;
  const wrong = answers.filter((answer) => answer.status !== status && answer.status !== 503).length;
  assert.ok(answers.length > 0 && wrong === 0, `${what}: ${wrong} of ${answers.length} answers are not ${status}`);
  assert.ok(late <= answers.length / 100, `${what}: ${late} of ${answers.length} were not decided`);
}

/** One connection: a request at a time, resolved with its status; 0: it was lost. @param {number} port */
async function lane(port) {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true });
  await new Promise((resolve, reject) => void socket.once('connect', resolve).once('error', reject));
  let text = '';
  /** @type {((status: number) => void) | null} */ let answered = null;
  const give = (/** @type {number} */ status) => {
    const give = answered;
    answered = null;
    give?.(status);
  };
  socket.setEncoding('latin1').on('data', (/** @type {string} */ part) => {
    text += part;
    const head = text.indexOf('\r\n\r\n');
    if (head < 0) return;
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(text.slice(0, head + 2))?.[1] ?? 0);
    if (text.length < head + 4 + length) return;
    const status = Number(text.slice(9, 12));
    text = '';
    give(status);
  });
  socket.on('error', () => give(0)).on('close', () => give(0));
  const ask = (/** @type {string} */ request) =>
    new Promise((/** @type {(status: number) => void} */ resolve) => {
      answered = resolve;
      if (socket.writable) socket.write(request);
      else give(0);
    });
  return Object.assign(ask, { end: () => socket.destroy() });
}
