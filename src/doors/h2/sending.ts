// How do answers get to a client: in one write where its windows have room, else as it makes room?
//
// What is said in one turn leaves in one write. An answer that fits, and nearly every one does, is one buffer of three frames: its head, its message, its
// trailers. What does not fit waits, within bounds: a client that makes no room, or does not read, is no reason to keep its answers.

import type { Socket } from 'node:net';
import { ConnectionError } from './errors.ts';
import { CODE, FIRST_WINDOW, FLAG, FRAME, HEAD, MOST_PAYLOAD, MOST_WINDOW, copyOf, frameOf, putHead } from './frames.ts';
import type { Answering, Stream } from './stream.ts';

/** Bytes of answers that wait for windows, of one connection. */
const MOST_UNSENT = 1024 * 1024;
/** Bytes that the socket has and the kernel does not take. */
const MOST_UNWRITTEN = 1024 * 1024;
/** What our table for header fields comes down to, for we have none, where the client says that its own is smaller (RFC 7541, 4.2). */
const NO_TABLE = Buffer.of(0x20);
const DEFAULT_TABLE = 4096;

export interface SendingListener {
  /** All of an answer is sent. */
  answered(stream: Stream): void;
  /** More waits for the client than is kept. */
  overflowed(): void;
}

export class Sending implements Answering {
  /** What the client has room for, on the connection and on each stream from its beginning. */
  #window = FIRST_WINDOW;
  #streamWindow = FIRST_WINDOW;
  #clientTable = DEFAULT_TABLE;
  #tableShrank = false;
  readonly #waiting: Stream[] = [];
  #unsent = 0;
  #out: Buffer[] = [];
  #inTurn = false;
  #isOver = false;
  readonly #socket: Socket;
  readonly #told: SendingListener;

  constructor(socket: Socket, told: SendingListener) {
    this.#socket = socket;
    this.#told = told;
  }

  /** Nothing is written before the turn ends. */
  begin(): void {
    this.#inTurn = true;
  }

  end(): void {
    this.#inTurn = false;
    this.flush();
  }

  write(frame: Buffer): void {
    if (this.#isOver) return;
    this.#out.push(frame);
    if (this.#inTurn || this.#out.length > 1) return;
    // What is answered later is often answered together.
    queueMicrotask(() => this.flush());
  }

  flush(): void {
    const out = this.#out;
    if (out.length === 0) return;
    this.#out = [];
    this.#socket.write(out.length === 1 ? out[0]! : Buffer.concat(out));
    const { writableLength } = this.#socket;
    if (writableLength > MOST_UNWRITTEN)
      this.#socket.destroy(); // he reads nothing, and would not read why
    else if (writableLength >= this.#socket.writableHighWaterMark) this.#socket.pause(); // and is not read until he has: `drain`
  }

  /** The last words, and then nothing more. */
  over(last: Buffer): void {
    if (this.#isOver) return;
    if (last.length > 0) this.#out.push(last);
    this.flush();
    this.#isOver = true;
    this.#socket.end();
    this.#socket.resume(); // no `drain` comes any more; and what is never read of a client makes a reset of the end
  }

  answer(stream: Stream, head: Buffer, { message, trailers }: { readonly message: Buffer; readonly trailers: Buffer }): void {
    if (stream.closed) return;
    const { length } = message;
    if (length > MOST_PAYLOAD || length > this.#window || length > this.#room(stream) || this.#waiting.length > 0 || this.#tableShrank) {
      this.head(stream, head, false);
      return this.data(stream, message, trailers);
    }
    const { id } = stream;
    const bytes = Buffer.allocUnsafe(3 * HEAD + head.length + length + trailers.length);
    let at = putHead(bytes, 0, { type: FRAME.headers, flags: FLAG.endHeaders, stream: id, length: head.length });
    at += head.copy(bytes, at);
    at = putHead(bytes, at, { type: FRAME.data, stream: id, length });
    at += message.copy(bytes, at);
    at = putHead(bytes, at, { type: FRAME.headers, flags: FLAG.endHeaders | FLAG.endStream, stream: id, length: trailers.length });
    trailers.copy(bytes, at);
    this.#window -= length;
    stream.credit -= length;
    stream.responded = true;
    stream.localEnded = true;
    this.write(bytes);
    this.#told.answered(stream);
  }

  head(stream: Stream, block: Buffer, end: boolean): void {
    if (stream.closed) return;
    stream.responded = true;
    this.#block(stream, block, end);
  }

  data(stream: Stream, bytes: Buffer, trailers: Buffer | null): void {
    if (stream.closed || stream.localEnded || (stream.unsent?.trailers ?? null) !== null) return; // nothing comes behind trailers
    this.#unsent += bytes.length;
    if (this.#unsent > MOST_UNSENT) return this.#told.overflowed();
    if (stream.unsent === null) {
      stream.unsent = { bytes, trailers };
      this.#waiting.push(stream);
    } else {
      stream.unsent.bytes = Buffer.concat([stream.unsent.bytes, bytes]);
      stream.unsent.trailers = trailers;
    }
    this.#send(stream);
    if (stream.unsent !== null) stream.unsent.bytes = copyOf(stream.unsent.bytes);
  }

  /** What waits of it is not sent any more. */
  drop(stream: Stream): void {
    if (stream.unsent === null) return;
    this.#unsent -= stream.unsent.bytes.length;
    stream.unsent = null;
    const place = this.#waiting.indexOf(stream);
    if (place >= 0) this.#waiting.splice(place, 1);
  }

  /** The client has more room. @throws ConnectionError */
  widen(by: number): void {
    const wasOpen = this.#window > 0;
    this.#window += by;
    if (this.#window > MOST_WINDOW) throw new ConnectionError(CODE.flowControlError, 'a window beyond its bound');
    // Where it was open, what waits has no room of its own: not looked at for each word of a client, who has many.
    if (!wasOpen) this.pump();
  }

  /** Likewise for one stream; false: beyond its bound. */
  widenStream(stream: Stream, by: number): boolean {
    stream.credit += by;
    if (this.#room(stream) > MOST_WINDOW) return false;
    this.#send(stream);
    return true;
  }

  /** What each stream has room for from its beginning, those that are open too. @throws ConnectionError */
  setStreamWindow(size: number, open: readonly Stream[]): void {
    this.#streamWindow = size;
    if (open.some((stream) => this.#room(stream) > MOST_WINDOW)) throw new ConnectionError(CODE.flowControlError, 'a window beyond its bound');
  }

  setTable(size: number): void {
    if (size < this.#clientTable) this.#tableShrank = true;
    this.#clientTable = size;
  }

  #room(stream: Stream): number {
    return this.#streamWindow + stream.credit;
  }

  #block(stream: Stream, block: Buffer, end: boolean): void {
    const whole = this.#tableShrank ? Buffer.concat([NO_TABLE, block]) : block;
    this.#tableShrank = false;
    this.write(frameOf({ type: FRAME.headers, flags: FLAG.endHeaders | (end ? FLAG.endStream : 0), stream: stream.id }, whole));
    if (!end) return;
    stream.localEnded = true;
    this.#told.answered(stream);
  }

  /** Sends of what waits, the oldest first, what there is room for. */
  pump(): void {
    // A copy: what is sent goes out of it meanwhile.
    for (const stream of [...this.#waiting]) {
      if (this.#window <= 0) return;
      this.#send(stream);
    }
  }

  #send(stream: Stream): void {
    const { unsent } = stream;
    if (unsent === null) return;
    while (unsent.bytes.length > 0) {
      const length = Math.min(unsent.bytes.length, MOST_PAYLOAD, this.#window, this.#room(stream));
      if (length <= 0) return;
      this.write(frameOf({ type: FRAME.data, stream: stream.id }, unsent.bytes.subarray(0, length)));
      unsent.bytes = unsent.bytes.subarray(length);
      this.#unsent -= length;
      this.#window -= length;
      stream.credit -= length;
    }
    this.drop(stream);
    if (unsent.trailers !== null) this.#block(stream, unsent.trailers, true);
  }
}
