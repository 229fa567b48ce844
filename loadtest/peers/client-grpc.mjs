// What does a gRPC check cost whoever asks? One HTTP/2 connection over node:net, as many streams as questions under way.
//
// Just what a closed loop of unary calls needs. Node's own http2 client has a tail that would be taken for the server's. The headers are the same bytes for every call (nothing enters
// a table, here or, by our settings, there), so those of a reply are not decoded: a call that ends without a message is no decision, whatever its status.

import { once } from 'node:events';
import { createConnection } from 'node:net';

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const TYPE = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goaway: 7, window: 8, continuation: 9 };
const END_STREAM = 0x1;
const ACK = 0x1;
const END_HEADERS = 0x4;
const PADDED = 0x8;
const LARGEST_FRAME = 16_384;
/** What a call that failed is answered with. */
export const NO_MESSAGE = Buffer.alloc(0);
/** Of the connection; given back each time half of it is used. */
const WINDOW = 2 ** 30;

/** @param {{ type: number, flags?: number, stream?: number }} frame @param {Buffer} payload */
function frameOf({ type, flags = 0, stream = 0 }, payload) {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A length or an index above what the prefix holds goes on in further bytes. @param {number} value */
const rest = (value) => (value < 0x80 ? [value] : [(value & 0x7f) | 0x80, value >> 7]);

/** @param {string} text */
const literal = (text) => [...(text.length < 0x7f ? [text.length] : [0x7f, ...rest(text.length - 0x7f)]), ...Buffer.from(text)];

/** Indexed POST and http, and literals that enter no table (RFC 7541 6.2.2). @param {string} path @param {Readonly<Record<string, string>>} headers */
function headerBlock(path, headers) {
  const all = { 'content-type': 'application/grpc', te: 'trailers', ...headers };
  return Buffer.from([
    ...[0x83, 0x86, 0x04, ...literal(path), 0x01, ...literal('authz.example')],
    ...Object.entries(all).flatMap(([name, value]) => [0x00, ...literal(name), ...literal(value)]),
  ]);
}

/** @param {number} value */
function uint32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** @param {number} port @param {{ path: string, headers?: Readonly<Record<string, string>> }} call @returns {Promise<{ ask: import('./client-http.mjs').Ask<Buffer>, close: () => void }>} */
export async function connectGrpc(port, { path, headers = {} }) {
  const socket = createConnection({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  const block = headerBlock(path, headers);
  // No table for headers (1 = 0), no pushed streams (2 = 0), a large window of a stream (4).
  const settings = Buffer.concat([Buffer.from([0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 4]), uint32(WINDOW)]);
  socket.write(Buffer.concat([Buffer.from(PREFACE), frameOf({ type: TYPE.settings }, settings), frameOf({ type: TYPE.window }, uint32(WINDOW))]));
  /** @type {Map<number, { done: (reply: Buffer | null) => void, parts: Buffer[] }>} */ const calls = new Map();
  let stream = 1;
  let used = 0;
  let buffer = Buffer.alloc(0);

  const settle = (/** @type {number} */ id, /** @type {boolean} */ failed) => {
    const call = calls.get(id);
    calls.delete(id);
    if (call === undefined) return;
    const [part, ...more] = call.parts;
    const bytes = more.length === 0 ? part : Buffer.concat(call.parts);
    // One byte says "not compressed", four how long it is.
    call.done(failed ? null : bytes === undefined || bytes.length < 5 ? NO_MESSAGE : bytes.subarray(5));
  };

  /** @param {number} type @param {number} flags @param {number} id @param {Buffer} payload */
  const received = (type, flags, id, payload) => {
    if (type === TYPE.settings && (flags & ACK) === 0) socket.write(frameOf({ type, flags: ACK }, Buffer.alloc(0)));
    else if (type === TYPE.ping && (flags & ACK) === 0) socket.write(frameOf({ type, flags: ACK }, payload));
    else if (type === TYPE.reset) settle(id, true);
    else if (type === TYPE.goaway) socket.destroy();
    else if (type === TYPE.data || type === TYPE.headers) {
      if (type === TYPE.data) {
        if ((flags & PADDED) !== 0) socket.destroy(new Error('padded: not read here'));
        if (payload.length > 0) calls.get(id)?.parts.push(payload);
        used += payload.length;
        if (used > WINDOW / 2) {
          socket.write(frameOf({ type: TYPE.window }, uint32(used)));
          used = 0;
        }
      }
      if ((flags & END_STREAM) !== 0) settle(id, false);
    }
  };

  socket.on('data', (part) => {
    buffer = buffer.length === 0 ? part : Buffer.concat([buffer, part]);
    let at = 0;
    while (buffer.length - at >= 9) {
      const end = at + 9 + buffer.readUIntBE(at, 3);
      if (end > buffer.length) break;
      received(buffer[at + 3] ?? 0, buffer[at + 4] ?? 0, buffer.readUInt32BE(at + 5) & 0x7fffffff, buffer.subarray(at + 9, end));
      at = end;
    }
    buffer = buffer.subarray(at);
  });
  socket.on('error', () => undefined);
  socket.on('close', () => {
    for (const id of calls.keys()) settle(id, true);
  });
  return {
    ask(bytes, done) {
      if (socket.destroyed) return done(null);
      calls.set(stream, { done, parts: [] });
      const frames = [frameOf({ type: TYPE.headers, flags: END_HEADERS, stream }, block)];
      for (let at = 0; at < bytes.length; at += LARGEST_FRAME)
        frames.push(frameOf({ type: TYPE.data, flags: at + LARGEST_FRAME >= bytes.length ? END_STREAM : 0, stream }, bytes.subarray(at, at + LARGEST_FRAME)));
      stream += 2;
      // What is asked in one turn goes out in one piece.
      if (socket.writableCorked === 0) {
        socket.cork();
        process.nextTick(() => socket.uncork());
      }
      socket.write(Buffer.concat(frames));
    },
    close: () => void socket.destroy(),
  };
}

/** What stands on the wire for a message. @param {Buffer} message */
export function grpcFrame(message) {
  return Buffer.concat([Buffer.from([0]), uint32(message.length), message]);
}
