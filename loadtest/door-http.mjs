// How does a proxy ask a door over HTTP? Over kept connections, each asking again when it is answered; from bytes that were made before.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';

/** @typedef {{ readonly port?: number, readonly path?: string }} Place */

const CONNECTIONS = 16;

/** @param {Place} place */
async function open({ port, path }) {
  const socket = (path === undefined ? connect(port ?? 0, '127.0.0.1').setNoDelay() : connect(path)).setEncoding('latin1');
  await once(socket, 'connect');
  return socket;
}

/** One request, and what it is answered. @param {Place} place @param {string} request */
export async function ask(place, request) {
  const socket = await open(place);
  socket.write(request);
  let text = '';
  while (!text.endsWith('\r\n\r\n')) text += /** @type {[string]} */ (await once(socket, 'data'))[0];
  socket.destroy();
  const [line = '', ...rest] = text.slice(0, -4).split('\r\n');
  const headers = rest.map((each) => /** @type {[string, string]} */ ([each.slice(0, each.indexOf(':')), each.slice(each.indexOf(':') + 1).trim()]));
  return { status: Number(line.split(' ')[1]), headers };
}

/**
 * So many checks over all connections, the requests in turn.
 * @param {Place} place @param {readonly string[]} requests @param {{ checks: number, status: number }} expected
 */
export async function askAll(place, requests, { checks, status }) {
  let left = checks;
  const begin = `HTTP/1.1 ${status} `;
  const one = async () => {
    const socket = await open(place);
    await new Promise((resolve, reject) => {
      const next = () => void (left-- > 0 ? socket.write(requests[left % requests.length] ?? '', 'latin1') : resolve(null));
      socket.on('error', reject);
      socket.on('data', (/** @type {string} */ answer) => {
        if (answer.startsWith(begin) && answer.endsWith('\r\n\r\n')) next();
        else reject(new assert.AssertionError({ message: `not ${status}: ${answer}` }));
      });
      next();
    });
    socket.destroy();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, one));
}
