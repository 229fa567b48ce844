// Who holds connections open and says next to nothing on them? So many, each a byte a second of a header that never ends (`http`), or
// of the words that an HTTP/2 connection begins with (`grpc`), made again as soon as the other side ends it.
//
// Started with the socket's path, a number and the protocol. Each line on stdin: what came of them so far, as a line of JSON. It ends with its stdin.

import { connect } from 'node:net';
import { createInterface } from 'node:readline';

/**
 * @typedef {object} Held
 * @property {number} open at this moment
 * @property {number} closed by the other side
 * @property {number} oldest age at which one was closed, or that an open one has, ms
 */

const [, , path = '', count = '0', protocol = 'http'] = process.argv;
const begin = protocol === 'http' ? 'GET /auth/nginx HTTP/1.1\r\nHost: door\r\nX-Slow: ' : '';
const rest = protocol === 'http' ? 'x'.repeat(60) : 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
/** When each connection that is open was. @type {Map<import('node:net').Socket, number>} */
const open = new Map();
let closed = 0;
let oldest = 0;

function hold() {
  const socket = connect(path);
  socket.on('error', () => undefined);
  socket.on('connect', () => {
    open.set(socket, performance.now());
    socket.write(begin);
  });
  socket.on('close', () => {
    const since = open.get(socket);
    if (since !== undefined) {
      open.delete(socket);
      closed++;
      oldest = Math.max(oldest, performance.now() - since);
    }
    setTimeout(hold, 20);
  });
  socket.resume();
}
for (let i = 0; i < Number(count); i++) hold();
setInterval(() => open.forEach((since, socket) => socket.write(rest[Math.floor((performance.now() - since) / 1000)] ?? 'x')), 1000);

const input = createInterface({ input: process.stdin });
input.on('line', () => {
  const now = performance.now();
  process.stdout.write(`${JSON.stringify({ open: open.size, closed, oldest: Math.max(oldest, ...[...open.values()].map((since) => now - since)) })}\n`);
});
input.on('close', () => process.exit(0));
