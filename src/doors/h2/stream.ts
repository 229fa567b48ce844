// What is known of one call of a connection, and which calls does it have?

import type { Code } from './frames.ts';

/** What an answer is sent by (sending.ts). Blocks of header fields are of `encodeFields`. */
export interface Answering {
  /** A whole one. */
  answer(stream: Stream, head: Buffer, rest: { readonly message: Buffer; readonly trailers: Buffer }): void;
  /** The head of one whose messages are to come, or of one that has none (`end`). */
  head(stream: Stream, block: Buffer, end: boolean): void;
  /** Part of one; `trailers`: the last. */
  data(stream: Stream, bytes: Buffer, trailers: Buffer | null): void;
}

/** The connection of a stream. */
export interface StreamOwner {
  readonly sending: Answering;
  /** The answer, or what is left of it, is not coming; and nothing of the call is wanted any more. */
  reset(stream: Stream, code: Code): void;
  /** Likewise, by the fault of a client that does not take it. */
  abandon(stream: Stream): void;
}

/** Who takes what comes on a stream. */
export interface Receiver {
  /** The next part, and whether it is the last. It is to be copied if it is kept for longer. */
  data(part: Buffer, last: boolean): void;
  /** It is over: answered and sent, or reset, or its connection has ended. */
  closed(): void;
}

/** Part of an answer that the client's windows have no room for. */
export interface Unsent {
  bytes: Buffer;
  /** Behind them; null: there is more to come. */
  trailers: Buffer | null;
}

export class Stream {
  readonly id: number;
  readonly owner: StreamOwner;
  receiver: Receiver | null = null;
  /** The client has said all. */
  remoteEnded = false;
  /** The head of an answer is sent. */
  responded = false;
  /** All of an answer is sent. */
  localEnded = false;
  closed = false;
  /** Of the client's window, beside what each has at its beginning. */
  credit = 0;
  /** Bytes that came since the client was given more of our window. */
  uncredited = 0;
  /** Bytes that its head promises and that have not come; null: it does not say. */
  promised: number | null;
  unsent: Unsent | null = null;
  /** Of the same place in the table. */
  next: Stream | null = null;

  constructor(id: number, owner: StreamOwner, promised: number | null) {
    this.id = id;
    this.owner = owner;
    this.promised = promised;
  }
}

const PLACES = 128;

/**
 * By place, and not a Map: a Map is copied into a new table again and again as streams come and go, and its old tables, once V8 holds them
 * for old, keep all that came after them (grpc-calls.ts).
 */
export class StreamTable {
  readonly #places: (Stream | null)[] = Array.from({ length: PLACES }, () => null);
  size = 0;

  get(id: number): Stream | null {
    let stream = this.#places[(id >> 1) % PLACES] ?? null;
    while (stream !== null && stream.id !== id) stream = stream.next;
    return stream;
  }

  add(stream: Stream): void {
    const place = (stream.id >> 1) % PLACES;
    stream.next = this.#places[place] ?? null;
    this.#places[place] = stream;
    this.size++;
  }

  remove(stream: Stream): void {
    const place = (stream.id >> 1) % PLACES;
    const first = this.#places[place] ?? null;
    if (first === stream) this.#places[place] = stream.next;
    else {
      let before = first;
      while (before !== null && before.next !== stream) before = before.next;
      if (before === null) return;
      before.next = stream.next;
    }
    stream.next = null;
    this.size--;
  }

  /** A list of its own: it may be removed from meanwhile. */
  all(): readonly Stream[] {
    const streams: Stream[] = [];
    for (const first of this.#places) for (let stream: Stream | null = first; stream !== null; stream = stream.next) streams.push(stream);
    return streams;
  }
}

/** As many as may be on their way to a server that is quick. */
const REMEMBERED = 256;

/** The last streams that are over: what a client has said before it knew is passed over. */
export class OverStreams {
  /** Below zero those that were reset here. */
  readonly #ids = new Int32Array(REMEMBERED);
  #count = 0;

  add(id: number, wasReset: boolean): void {
    this.#ids[this.#count++ % REMEMBERED] = wasReset ? -id : id;
  }

  wasReset(id: number): boolean {
    return this.#ids.includes(-id);
  }

  wasAnswered(id: number): boolean {
    return this.#ids.includes(id);
  }
}
