// What is a gRPC call on HTTP/2: which message came, until when does anybody wait, how is it answered?
//
// One message in, one out; statuses and framing as the protocol's own document has them (PROTOCOL-HTTP2). An error has no message:
// a stream that says `grpc-status: 0` without one is an error at Envoy too (measured), but none is sent.

import { CODE } from './h2/frames.ts';
import type { Head } from './h2/head.ts';
import { encodeFields } from './h2/hpack.ts';
import type { Stream } from './h2/stream.ts';

/** google.rpc.Code, as far as a door says it. */
export const GRPC = {
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
} as const;

export interface GrpcProblem {
  readonly status: (typeof GRPC)[keyof typeof GRPC];
  /** Printable ASCII. */
  readonly message: string;
}

/** Of a message: header-only checks are a hundredth of it. */
const MAX_MESSAGE = 256 * 1024;

/** Bytes before a message. */
export const PREFIX = 5;
/** With its prefix. */
const MOST = PREFIX + MAX_MESSAGE;
const NOTHING = Buffer.alloc(0);
const COMPRESSED: GrpcProblem = { status: GRPC.unimplemented, message: 'compressed messages are not read' };
export const TOO_LONG: GrpcProblem = { status: GRPC.resourceExhausted, message: `a message has at most ${MAX_MESSAGE} bytes` };
const MORE: GrpcProblem = { status: GRPC.invalidArgument, message: 'more than one message' };

const TYPE = 'application/grpc';
const ANSWER = encodeFields([
  [':status', '200'],
  ['content-type', TYPE],
]);
const DONE = encodeFields([['grpc-status', '0']]);

const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/** Milliseconds of a `grpc-timeout`; null: it is none. */
export function parseTimeout(text: string): number | null {
  // A proxy says one and the same again and again.
  if (text !== parsed.text) parsed = { text, ms: /^\d{1,8}[HMSmun]$/.test(text) ? Number(text.slice(0, -1)) * UNITS[text.slice(-1)]! : null };
  return parsed.ms;
}
let parsed: { readonly text: string; readonly ms: number | null } = { text: '', ms: null };

function isGrpc(contentType: string | null): boolean {
  return contentType === TYPE || (contentType !== null && /^application\/grpc(?:\+proto)?(?:;|$)/.test(contentType));
}

/** Why it is no call of ours, before any of its bytes is read: a status of HTTP, for whoever asks speaks no gRPC. */
export function httpProblem({ method, contentType }: Head): 405 | 415 | null {
  if (method !== 'POST') return 405;
  return isGrpc(contentType) ? null : 415;
}

/** Writes what stands before a message, its flag (not compressed) and its length; where the message begins. */
export function putPrefix(bytes: Buffer, length: number): number {
  bytes[0] = 0;
  return bytes.writeUInt32BE(length, 1);
}

/** A message behind its prefix. */
export function framed(message: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(PREFIX + message.length);
  message.copy(frame, putPrefix(frame, message.length));
  return frame;
}

/** Puts the one message of a call together, from parts that it copies. One that comes in one part is not put together: `wholeIn`. */
export class Message {
  #bytes: Buffer = NOTHING;
  #length = 0;
  /** With the prefix; not known before that is there. */
  #expected: number | null = null;

  /** Bytes that are kept for it. */
  get held(): number {
    return this.#bytes.length;
  }

  /** What is wrong, as soon as it can be known. */
  add(part: Buffer): GrpcProblem | null {
    const from = this.#length;
    this.#length += part.length;
    if (this.#length > this.#bytes.length) this.#grow(from);
    part.copy(this.#bytes, from);
    if (this.#expected === null) {
      if (this.#length < PREFIX) return null;
      if (this.#bytes[0] !== 0) return COMPRESSED;
      const length = this.#bytes.readUInt32BE(1);
      if (length > MAX_MESSAGE) return TOO_LONG;
      this.#expected = PREFIX + length;
    }
    return this.#length > this.#expected ? MORE : null;
  }

  /**
   * Twice what has come, for parts of a byte each must not be copied again and again. Not what the prefix announces: five bytes on each
   * stream of one connection would then have 256 MB laid out.
   */
  #grow(filled: number): void {
    const grown = Buffer.allocUnsafeSlow(Math.min(this.#expected ?? MOST, 2 * this.#length));
    this.#bytes.copy(grown, 0, 0, filled);
    this.#bytes = grown;
  }

  /** Once the call is sent; null: its message is not all there. */
  whole(): Buffer | null {
    return this.#length === this.#expected ? this.#bytes.subarray(PREFIX, this.#length) : null;
  }
}

/** The message, where it is all there and nothing else; null: else. */
export function wholeIn(part: Buffer): Buffer | null {
  return part.length >= PREFIX && part[0] === 0 && part.readUInt32BE(1) === part.length - PREFIX && part.length <= MOST ? part.subarray(PREFIX) : null;
}

/** The answer to a call: one framed message, and that it went well. */
export function reply(stream: Stream, frame: Buffer): void {
  stream.owner.sending.answer(stream, ANSWER, { message: frame, trailers: DONE });
}

/** An answer whose messages and end are to come. */
export function begin(stream: Stream): void {
  stream.owner.sending.head(stream, ANSWER, false);
}

/** One of its messages. */
export function send(stream: Stream, frame: Buffer): void {
  stream.owner.sending.data(stream, frame, null);
}

/** An error behind what was sent. */
export function finish(stream: Stream, problem: GrpcProblem): void {
  stream.owner.sending.data(stream, NOTHING, encodeFields(trailersOf(problem)));
}

/** An error in place of a message, if there is anybody left to tell. Whatever the client still sends is not wanted any more. */
export function fail(stream: Stream, problem: GrpcProblem): void {
  if (stream.responded) stream.owner.reset(stream, CODE.internalError);
  else stream.owner.sending.head(stream, errorOf(problem), true);
}

const errors = new Map<GrpcProblem, Buffer>();
function errorOf(problem: GrpcProblem): Buffer {
  let block = errors.get(problem);
  if (block === undefined) {
    const encodings = problem.status === GRPC.unimplemented ? [['grpc-accept-encoding', 'identity'] as const] : [];
    errors.set(problem, (block = Buffer.concat([ANSWER, encodeFields([...trailersOf(problem), ...encodings])])));
  }
  return block;
}

function trailersOf({ status, message }: GrpcProblem): (readonly [string, string])[] {
  return [
    ['grpc-status', String(status)],
    ['grpc-message', message],
  ];
}

/** To whoever speaks no gRPC. */
export function refuse(stream: Stream, status: 405 | 415): void {
  stream.owner.sending.head(stream, encodeFields([[':status', String(status)]]), true);
}
