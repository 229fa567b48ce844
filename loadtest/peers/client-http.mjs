// What does an HTTP/1.1 check cost whoever asks? A keep-alive connection over node:net, one question at a time, its bytes made beforehand.
//
// Node's own client would cost more than most of the servers that are measured. It reads what these servers write: a stated length,
// or chunks.

import { once } from 'node:events';
import { createConnection } from 'node:net';

const END = Buffer.from('\r\n\r\n');

/** @typedef {{ readonly status: number, readonly body: Buffer }} HttpReply */
/** Asks, and is called back with the reply; null: the connection is gone. @template R @typedef {(bytes: Buffer, done: (reply: R | null) => void) => void} Ask */

/** @param {number} port @returns {Promise<{ ask: Ask<HttpReply>, close: () => void }>} */
export async function connectHttp(port) {
  const socket = createConnection({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  /** @type {((reply: HttpReply | null) => void) | null} */ let waiting = null;
  let buffer = Buffer.alloc(0);
  const settle = (/** @type {HttpReply | null} */ reply) => {
    const done = waiting;
    waiting = null;
    done?.(reply);
  };
  socket.on('data', (part) => {
    buffer = buffer.length === 0 ? part : Buffer.concat([buffer, part]);
    const reply = readReply(buffer);
    if (reply === null) return;
    buffer = Buffer.alloc(0); // one question at a time: nothing of another reply can be here
    settle(reply);
  });
  socket.on('error', () => undefined);
  socket.on('close', () => settle(null));
  return {
    ask(bytes, done) {
      if (socket.destroyed) return done(null);
      waiting = done;
      socket.write(bytes);
    },
    close: () => void socket.destroy(),
  };
}

/** Null: not all of it is there. @param {Buffer} buffer @returns {HttpReply | null} */
function readReply(buffer) {
  const end = buffer.indexOf(END);
  if (end < 0) return null;
  const head = buffer.toString('latin1', 0, end);
  const status = Number(head.slice(9, 12));
  const rest = buffer.subarray(end + 4);
  const [, length] = /\r\ncontent-length: *(\d+)/i.exec(head) ?? [];
  if (length !== undefined) return rest.length < Number(length) ? null : { status, body: rest.subarray(0, Number(length)) };
  if (/\r\ntransfer-encoding: *chunked/i.test(head)) return unchunked(status, rest);
  return { status, body: rest };
}

/** @param {number} status @param {Buffer} rest @returns {HttpReply | null} */
function unchunked(status, rest) {
  const parts = [];
  for (let at = 0; ;) {
    const line = rest.indexOf('\r\n', at);
    if (line < 0) return null;
    const size = Number.parseInt(rest.toString('latin1', at, line), 16);
    if (rest.length < line + 4 + size) return null;
    if (size === 0) return { status, body: Buffer.concat(parts) };
    parts.push(rest.subarray(line + 2, line + 2 + size));
    at = line + 4 + size;
  }
}

/** The bytes of a request. @param {string} method @param {string} path @param {Readonly<Record<string, string>>} headers @param {string} [body] */
export function httpRequest(method, path, headers, body) {
  const all = {
    host: 'authz.example',
    ...headers,
    ...(body === undefined ? {} : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) }),
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body ?? ''}`);
}
