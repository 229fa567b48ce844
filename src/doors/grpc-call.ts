// What is a gRPC call on HTTP/2: which message came, until when does anybody wait, how is it answered?
//
// One message in, one out; statuses and framing as the protocol's own document has them (PROTOCOL-HTTP2). An error has no message:
// a stream that says `grpc-status: 0` without one is an error at Envoy too (measured), but none is sent.

import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2';

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
const NOTHING = Buffer.alloc(0);
const COMPRESSED: GrpcProblem = { status: GRPC.unimplemented, message: 'compressed messages are not read' };
export const TOO_LONG: GrpcProblem = { status: GRPC.resourceExhausted, message: `a message has at most ${MAX_MESSAGE} bytes` };
const MORE: GrpcProblem = { status: GRPC.invalidArgument, message: 'more than one message' };

/** Of RFC 9113, section 7. */
const NO_ERROR = 0;
const INTERNAL_ERROR = 2;

const ANSWER = { ':status': 200, 'content-type': 'application/grpc' } as const;
const ENCODINGS = { 'grpc-accept-encoding': 'identity' } as const;
// Nobody reads a date.
const WITH_TRAILERS = { waitForTrailers: true, sendDate: false } as const;
const ALONE = { endStream: true, sendDate: false } as const;
const DONE: OutgoingHttpHeaders = { 'grpc-status': '0' };

const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/** Milliseconds of a `grpc-timeout`; null: it is none. */
export function parseTimeout(text: string): number | null {
  // A proxy says one and the same again and again.
  if (text !== parsed.text) parsed = { text, ms: /^\d{1,8}[HMSmun]$/.test(text) ? Number(text.slice(0, -1)) * UNITS[text.slice(-1)]! : null };
  return parsed.ms;
}
let parsed: { readonly text: string; readonly ms: number | null } = { text: '', ms: null };

function isGrpc(contentType: string | undefined): boolean {
  return contentType === ANSWER['content-type'] || (contentType !== undefined && /^application\/grpc(?:\+proto)?(?:;|$)/.test(contentType));
}

/** Why it is no call of ours, before any of its bytes is read: a status of HTTP, for whoever asks speaks no gRPC. */
export function httpProblem(headers: IncomingHttpHeaders): 405 | 415 | null {
  if (headers[':method'] !== 'POST') return 405;
  return isGrpc(headers['content-type']) ? null : 415;
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

/** Puts the one message of a call together. It nearly always comes in one part, and is not copied then. */
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
    if (this.#expected === null) {
      this.#bytes = this.#length === 0 ? part : Buffer.concat([this.#bytes, part]);
      this.#length = this.#bytes.length;
      if (this.#length < PREFIX) return null;
      if (this.#bytes[0] !== 0) return COMPRESSED;
      const length = this.#bytes.readUInt32BE(1);
      if (length > MAX_MESSAGE) return TOO_LONG;
      this.#expected = PREFIX + length;
      if (this.#length < this.#expected) this.#grow(this.#length);
    } else {
      const from = this.#length;
      this.#length += part.length;
      if (this.#length > this.#bytes.length) this.#grow(from);
      part.copy(this.#bytes, from);
    }
    return this.#length > this.#expected ? MORE : null;
  }

  /**
   * Twice what has come, for parts of a byte each must not be copied again and again. Not what the prefix announces: five bytes on each
   * stream of one connection would then have 256 MB laid out.
   */
  #grow(filled: number): void {
    this.#bytes = Buffer.concat([this.#bytes.subarray(0, filled)], Math.min(this.#expected ?? 0, 2 * this.#length));
  }

  /** Once the call is sent; null: its message is not all there. */
  whole(): Buffer | null {
    return this.#length === this.#expected ? this.#bytes.subarray(PREFIX) : null;
  }
}

/** The answer to a call: one framed message, and that it went well. */
export function reply(stream: ServerHttp2Stream, frame: Buffer): void {
  begin(stream);
  finish(stream, frame, DONE);
}

/** An answer whose messages and end are to come. */
export function begin(stream: ServerHttp2Stream): void {
  stream.respond(ANSWER, WITH_TRAILERS);
}

/** Trailers after what was sent; `frame`: what is left to send. */
export function finish(stream: ServerHttp2Stream, frame: Buffer | null, trailers: OutgoingHttpHeaders): void {
  stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  if (frame === null) stream.end();
  else stream.end(frame);
}

/** An error in place of a message, if there is anybody left to tell. Whatever the client still sends is not wanted any more. Never throws. */
export function fail(stream: ServerHttp2Stream, problem: GrpcProblem): void {
  try {
    if (stream.headersSent) stream.close(INTERNAL_ERROR);
    else respondWith(stream, problem);
  } catch {
    stream.destroy(); // its connection has ended meanwhile
  }
}

/** "Send no more, it is answered." Not in the turn of the answer: from Node 26 on what resets a stream overtakes it, and the answer is lost. */
function closeAfter(stream: ServerHttp2Stream): void {
  setImmediate(() => stream.close(NO_ERROR));
}

function respondWith(stream: ServerHttp2Stream, { status, message }: GrpcProblem): void {
  stream.respond({ ...ANSWER, ...trailersOf({ status, message }), ...(status === GRPC.unimplemented ? ENCODINGS : {}) }, ALONE);
  closeAfter(stream);
}

export function trailersOf({ status, message }: GrpcProblem): OutgoingHttpHeaders {
  return { 'grpc-status': String(status), 'grpc-message': message };
}

/** To whoever speaks no gRPC. */
export function refuse(stream: ServerHttp2Stream, status: number): void {
  stream.respond({ ':status': status }, ALONE);
  closeAfter(stream);
}
