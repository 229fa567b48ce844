// How does a test say on a connection of HTTP/2 what no client would? Frame by frame, over a bare socket; and what comes back is read likewise.

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { CHECK } from './grpc.ts';
import { until } from './until.ts';

export const KIND = { data: 0, headers: 1, priority: 2, reset: 3, settings: 4, push: 5, ping: 6, goaway: 7, window: 8, continuation: 9 } as const;
export const CODES = ['NO_ERROR', 'PROTOCOL_ERROR', 'INTERNAL_ERROR', 'FLOW_CONTROL_ERROR', 'SETTINGS_TIMEOUT', 'STREAM_CLOSED', 'FRAME_SIZE_ERROR'].concat([
  'REFUSED_STREAM',
  'CANCEL',
  'COMPRESSION_ERROR',
  'CONNECT_ERROR',
  'ENHANCE_YOUR_CALM',
]);
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const NOTHING = Buffer.alloc(0);

export interface Frame {
  readonly kind: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function http2Frame(kind: number, { flags = 0, stream = 0, payload = NOTHING }: Partial<Frame> = {}): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(kind, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

export function uint32(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) bytes.writeUInt32BE(value, 4 * i);
  return bytes;
}

/** Fields that enter no table, whatever letters they are of. */
export function fieldsOf(fields: readonly (readonly [name: string, value: string])[]): Buffer {
  const text = (value: string): Buffer[] => {
    const bytes = Buffer.from(value, 'latin1');
    const length: number[] = bytes.length < 0x7f ? [bytes.length] : [0x7f];
    let rest = bytes.length - 0x7f;
    for (; rest >= 0x80; rest >>= 7) length.push((rest & 0x7f) | 0x80);
    if (bytes.length >= 0x7f) length.push(rest);
    return [Buffer.from(length), bytes];
  };
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.of(0), ...text(name), ...text(value)]));
}

export const LINES: readonly (readonly [string, string])[] = [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':authority', 'door'],
  [':path', CHECK],
  ['content-type', 'application/grpc'],
  ['te', 'trailers'],
];

/** The head of a call, or of what is nearly one. */
export function headers(stream: number, { more = [], fields = [...LINES, ...more], flags = 4 }: HeadersOptions = {}): Buffer {
  return http2Frame(KIND.headers, { flags, stream, payload: fieldsOf(fields) });
}
export interface HeadersOptions {
  readonly more?: readonly (readonly [string, string])[];
  readonly fields?: readonly (readonly [string, string])[];
  /** Default: END_HEADERS; 5: and END_STREAM. */
  readonly flags?: number;
}

export function data(stream: number, payload: Buffer, flags = 1): Buffer {
  return http2Frame(KIND.data, { flags, stream, payload });
}

export interface RawConnection {
  readonly socket: Socket;
  readonly frames: readonly Frame[];
  send(...frames: readonly Buffer[]): void;
  /** What came of a kind, of one stream if that is said. */
  came(kind: number, stream?: number): readonly Frame[];
  /** In words: `goaway PROTOCOL_ERROR`, `closed`; what became of the connection, once that is known. */
  readonly end: string | null;
  /** Likewise of a stream: `reset CANCEL`, `answered`. */
  outcome(stream: number): string | null;
  ended(ms?: number): Promise<string>;
}

/** Says the preface and empty settings at once, unless it is told what else. */
export async function connectRaw(port: number, first: Buffer = Buffer.concat([PREFACE, http2Frame(KIND.settings)])): Promise<RawConnection> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  const frames: Frame[] = [];
  let rest = NOTHING;
  let closed = false;
  socket.on('close', () => (closed = true));
  socket.on('end', () => (closed = true));
  socket.on('data', (part: Buffer) => {
    rest = Buffer.concat([rest, part]);
    for (let length = 0; rest.length >= 9 && rest.length >= (length = 9 + rest.readUIntBE(0, 3)); rest = rest.subarray(length))
      frames.push({ kind: rest.readUInt8(3), flags: rest.readUInt8(4), stream: rest.readUInt32BE(5), payload: rest.subarray(9, length) });
  });
  if (first.length > 0) socket.write(first);
  const codeOf = (payload: Buffer, at: number): string => CODES[payload.readUInt32BE(at)] ?? 'unknown';
  const raw: RawConnection = {
    socket,
    frames,
    send: (...all) => void socket.write(Buffer.concat(all)),
    came: (kind, stream) => frames.filter((frame) => frame.kind === kind && (stream === undefined || frame.stream === stream)),
    get end() {
      const goaway = frames.findLast(({ kind }) => kind === KIND.goaway);
      if (goaway !== undefined && goaway.payload.readUInt32BE(4) !== 0) return `goaway ${codeOf(goaway.payload, 4)}`;
      return closed ? 'closed' : null;
    },
    outcome(stream) {
      const reset = frames.find((frame) => frame.kind === KIND.reset && frame.stream === stream);
      if (frames.some((frame) => frame.stream === stream && (frame.flags & 1) !== 0 && frame.kind <= KIND.headers)) return 'answered';
      return reset === undefined ? null : `reset ${codeOf(reset.payload, 0)}`;
    },
    async ended(ms) {
      await until(() => raw.end !== null, 'the end of the connection', ms);
      return raw.end ?? '';
    },
  };
  return raw;
}
