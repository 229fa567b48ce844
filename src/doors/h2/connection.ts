// What does a client say on a connection of HTTP/2, as far as a server of unary calls has to know? (RFC 9113)
//
// Over node:net, because node:http2 costs more than the check that is asked over it: three native calls an answer, and an object with its listeners for
// each stream. No push, no priorities, cleartext with prior knowledge alone. Whatever breaks a rule ends its call or the connection, and
// whatever costs more than it says is counted (allowance.ts).

import type { Socket } from 'node:net';
import { Allowance } from './allowance.ts';
import { HeaderBlock } from './block.ts';
import { ConnectionError, protocolError, sizeError } from './errors.ts';
import { CODE, FLAG, FRAME, LAST_STREAM, frameOf, wordsFrame } from './frames.ts';
import type { Code } from './frames.ts';
import { areTrailers, readHead } from './head.ts';
import type { Head } from './head.ts';
import { CompressionError, HpackDecoder } from './hpack.ts';
import type { Field } from './hpack.ts';
import { Patience } from './patience.ts';
import { FrameReader } from './reader.ts';
import { Sending } from './sending.ts';
import { MOST_FIELDS, MOST_STREAMS, SETTINGS, STREAM_WINDOW, WINDOW, applySettings } from './settings.ts';
import { OverStreams, Stream, StreamTable } from './stream.ts';

export interface ConnectionListener {
  /** The client's first settings came. */
  greeted(connection: Connection): void;
  /** A call begins: its receiver is to be set, or it is to be answered. */
  opened(stream: Stream, head: Head): void;
  /** The client says that it will ask no more. */
  left(connection: Connection): void;
  /** Nothing was said for so many seconds. */
  quiet(connection: Connection, seconds: number): void;
  /** It broke a rule, and has been told so. */
  failed(connection: Connection): void;
  /** It is gone, and so are its streams. */
  closed(connection: Connection): void;
}

const NOTHING = Buffer.alloc(0);

const SETTINGS_ACK = frameOf({ type: FRAME.settings, flags: FLAG.ack }, NOTHING);
const PING = Buffer.from('on a way');

export class Connection {
  readonly sending: Sending;
  readonly #socket: Socket;
  readonly #told: ConnectionListener;
  readonly #reader = new FrameReader(() => this.#frame());
  readonly #hpack = new HpackDecoder(MOST_FIELDS);
  readonly #allowance = new Allowance();
  readonly #patience = new Patience();
  readonly #streams = new StreamTable();
  readonly #over = new OverStreams();
  #block: HeaderBlock | null = null;
  #greeted = false;
  /** The greatest id so far. */
  #last = 0;
  /** Ids above it are not answered. */
  #lastTaken = LAST_STREAM;
  /** It ends with its last stream. */
  #closing = false;
  #isOver = false;
  #uncredited = 0;
  #pinged: (() => void) | null = null;

  constructor(socket: Socket, told: ConnectionListener) {
    this.#socket = socket;
    this.#told = told;
    this.sending = new Sending(socket, { answered: (stream) => this.#answered(stream), overflowed: () => this.#fail(CODE.enhanceYourCalm) });
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('drain', () => socket.resume());
    socket.on('error', () => undefined); // `close` follows
    socket.on('end', () => this.#left());
    socket.on('close', () => this.#closed());
  }

  /** "Ask no more, while I take what comes" (section 6.8). */
  notice(): void {
    this.sending.write(wordsFrame({ type: FRAME.goaway }, LAST_STREAM, CODE.noError));
  }

  /** Asks for a sign that all has come that was said before. */
  ping(answered: () => void): void {
    this.#pinged = answered;
    this.sending.write(frameOf({ type: FRAME.ping }, PING));
  }

  /** "This was the last call", and the end when all are answered. */
  close(): void {
    if (this.#closing || this.#isOver) return;
    if (!this.#greeted) return this.destroy();
    this.#closing = true;
    this.#lastTaken = this.#last;
    this.sending.write(wordsFrame({ type: FRAME.goaway }, this.#last, CODE.noError));
    this.#endIfDone();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  reset(stream: Stream, code: Code): void {
    if (stream.closed) return;
    this.sending.write(wordsFrame({ type: FRAME.reset, stream: stream.id }, code));
    this.#close(stream, true);
  }

  abandon(stream: Stream): void {
    this.reset(stream, CODE.cancel);
    if (!this.#allowance.spare()) this.#fail(CODE.enhanceYourCalm);
  }

  /** Once a second. */
  second(): void {
    if (this.#isOver) return this.#patience.afterTheEnd(this.#socket.writableLength) ? undefined : this.destroy();
    this.#allowance.second();
    const { count, isPartial } = this.#reader;
    switch (
      this.#patience.second({
        frames: count,
        isPartial,
        inBlock: this.#block !== null,
        unread: this.#socket.writableLength,
        read: this.#socket.bytesWritten - this.#socket.writableLength,
      })
    ) {
      case 'unfinished':
        return this.#fail(CODE.enhanceYourCalm);
      case 'unread':
        return this.destroy();
      case null:
        if (this.#patience.quiet > 0) this.#told.quiet(this, this.#patience.quiet);
    }
  }

  #read(chunk: Buffer): void {
    if (this.#isOver) return;
    this.sending.begin();
    try {
      this.#reader.read(chunk);
    } catch (thrown) {
      this.#fail(thrown instanceof ConnectionError ? thrown.code : thrown instanceof CompressionError ? CODE.compressionError : CODE.internalError);
    }
    this.sending.end();
  }

  #frame(): void {
    if (this.#isOver) return; // within what was read
    const { type, flags, stream, from, to } = this.#reader;
    const length = to - from;
    if (this.#block !== null && (type !== FRAME.continuation || stream !== this.#block.stream)) protocolError('a frame within a header block');
    if (!this.#greeted && (type !== FRAME.settings || (flags & FLAG.ack) !== 0)) protocolError('no settings at the beginning');
    switch (type) {
      case FRAME.data:
        return this.#data();
      case FRAME.headers:
        return this.#headers();
      case FRAME.continuation:
        return this.#continuation();
      case FRAME.priority:
        this.#allowance.frame();
        if (stream === 0) protocolError('the priority of no stream');
        if (length !== 5) return this.#refuse(stream, CODE.frameSizeError);
        return this.#reader.word() === stream ? this.#refuse(stream, CODE.protocolError) : undefined;
      case FRAME.reset:
        return this.#reset(stream, length);
      case FRAME.settings:
        return this.#settings();
      case FRAME.pushPromise:
        return protocolError('a client does not push');
      case FRAME.ping:
        return this.#ping();
      case FRAME.goaway:
        this.#allowance.frame();
        if (stream !== 0) protocolError('the end of a stream, as if of the connection');
        if (length < 8) sizeError();
        return this.#left();
      case FRAME.windowUpdate:
        return this.#windowUpdate(stream, length);
      default:
        return this.#allowance.frame(); // section 5.5: passed over
    }
  }

  #data(): void {
    const reader = this.#reader;
    const { stream: id, flags } = reader;
    const length = reader.to - reader.from;
    const isLast = (flags & FLAG.endStream) !== 0;
    if (id === 0 || id % 2 === 0 || id > this.#last) protocolError('a message for a stream that was never opened');
    reader.unpad();
    this.#uncredited += length;
    if (this.#uncredited >= WINDOW / 2) {
      this.sending.write(wordsFrame({ type: FRAME.windowUpdate }, this.#uncredited));
      this.#uncredited = 0;
    }
    const size = reader.to - reader.from;
    if (size === 0 && !isLast) this.#allowance.frame();
    const stream = this.#streams.get(id);
    if (stream === null) return this.#stray(id);
    if (stream.remoteEnded) return this.#break(stream, CODE.streamClosed);
    if (stream.promised !== null) {
      stream.promised -= size;
      if (stream.promised < 0 || (isLast && stream.promised > 0)) return this.#break(stream, CODE.protocolError);
    }
    if (isLast) stream.remoteEnded = true;
    else {
      stream.uncredited += length;
      if (stream.uncredited >= STREAM_WINDOW / 2) {
        this.sending.write(wordsFrame({ type: FRAME.windowUpdate, stream: id }, stream.uncredited));
        stream.uncredited = 0;
      }
    }
    stream.receiver?.data(reader.bytes.subarray(reader.from, reader.to), isLast);
  }

  #headers(): void {
    const reader = this.#reader;
    const { stream, flags } = reader;
    if (stream % 2 === 0) protocolError('not a stream of a client');
    reader.unpad();
    let dependsOnItself = false;
    if ((flags & FLAG.priority) !== 0) {
      if (reader.to - reader.from < 5) sizeError();
      dependsOnItself = reader.word() === stream;
      reader.from += 5;
    }
    const block = { stream, endStream: (flags & FLAG.endStream) !== 0, dependsOnItself };
    if ((flags & FLAG.endHeaders) !== 0) this.#fieldsOf(block, this.#hpack.decode(reader.bytes, reader.from, reader.to));
    else {
      this.#block = new HeaderBlock(block);
      this.#block.add(reader.bytes.subarray(reader.from, reader.to));
    }
  }

  #continuation(): void {
    const reader = this.#reader;
    const block = this.#block;
    if (block === null) return protocolError('the rest of no header block');
    block.add(reader.bytes.subarray(reader.from, reader.to));
    if ((reader.flags & FLAG.endHeaders) === 0) return;
    this.#block = null;
    const bytes = block.bytes();
    this.#fieldsOf(block, this.#hpack.decode(bytes, 0, bytes.length));
  }

  #fieldsOf({ stream: id, endStream, dependsOnItself }: Pick<HeaderBlock, 'stream' | 'endStream' | 'dependsOnItself'>, fields: readonly Field[] | null): void {
    if (id <= this.#last) return this.#trailers(id, endStream, fields);
    this.#last = id;
    if (id > this.#lastTaken) return; // it was told that none is taken any more, and may ask again elsewhere
    if (fields === null) return this.#refuse(id, CODE.enhanceYourCalm);
    const head = readHead(fields);
    if (head === null || dependsOnItself || (endStream && (head.contentLength ?? 0) > 0)) return this.#refuse(id, CODE.protocolError);
    if (this.#streams.size >= MOST_STREAMS) return this.#refuse(id, CODE.refusedStream);
    const stream = new Stream(id, this, head.contentLength);
    stream.remoteEnded = endStream;
    this.#streams.add(stream);
    this.#allowance.call();
    this.#told.opened(stream, head);
    if (endStream && !stream.closed) stream.receiver?.data(NOTHING, true);
  }

  #trailers(id: number, endStream: boolean, fields: readonly Field[] | null): void {
    const stream = this.#streams.get(id);
    if (stream === null) {
      this.#allowance.frame();
      if (id > this.#lastTaken || this.#over.wasReset(id)) return;
      throw new ConnectionError(this.#over.wasAnswered(id) ? CODE.streamClosed : CODE.protocolError, 'the head of a stream that is over, or was passed by');
    }
    if (stream.remoteEnded) return this.#break(stream, CODE.streamClosed);
    if (!endStream || fields === null || !areTrailers(fields) || (stream.promised ?? 0) > 0) return this.#break(stream, CODE.protocolError);
    stream.remoteEnded = true;
    stream.receiver?.data(NOTHING, true);
  }

  #reset(id: number, length: number): void {
    if (length !== 4) sizeError();
    if (id === 0 || id > this.#last) protocolError('the reset of a stream that was never opened');
    const stream = this.#streams.get(id);
    if (stream !== null) this.#close(stream);
    this.#allowance.reset(); // where it is answered already, too: a client that resets all it asks is not saved by our being quick
  }

  #settings(): void {
    const { flags, stream, from, to } = this.#reader;
    if (stream !== 0) protocolError('settings of a stream');
    if ((flags & FLAG.ack) !== 0) {
      this.#allowance.frame();
      return from === to ? undefined : sizeError();
    }
    if ((to - from) % 6 !== 0) sizeError();
    // Each may be a look at all streams.
    this.#allowance.frame(20 + (to - from));
    applySettings(this.#reader, this.sending, this.#streams);
    const isFirst = !this.#greeted;
    this.#greeted = true;
    this.sending.write(isFirst ? Buffer.concat([SETTINGS, SETTINGS_ACK]) : SETTINGS_ACK);
    this.sending.pump(); // what the settings made room for, behind the word that they are in force
    if (isFirst) this.#told.greeted(this);
  }

  #ping(): void {
    const { flags, stream, bytes, from, to } = this.#reader;
    if (stream !== 0) protocolError('a ping of a stream');
    if (to - from !== PING.length) sizeError();
    this.#allowance.frame();
    const payload = bytes.subarray(from, to);
    if ((flags & FLAG.ack) === 0) return this.sending.write(frameOf({ type: FRAME.ping, flags: FLAG.ack }, payload));
    if (this.#pinged === null || !PING.equals(payload)) return;
    const pinged = this.#pinged;
    this.#pinged = null;
    pinged();
  }

  #windowUpdate(id: number, length: number): void {
    if (length !== 4) sizeError();
    this.#allowance.frame();
    const by = this.#reader.word();
    if (id === 0) return by === 0 ? protocolError('a window wider by nothing') : this.sending.widen(by);
    if (id > this.#last || id % 2 === 0) protocolError('the window of a stream that was never opened');
    const stream = this.#streams.get(id);
    if (stream === null) return;
    if (by === 0) this.#break(stream, CODE.protocolError);
    else if (!this.sending.widenStream(stream, by)) this.#break(stream, CODE.flowControlError);
  }

  /** A message for a stream that is over. */
  #stray(id: number): void {
    this.#allowance.frame();
    if (id <= this.#lastTaken && !this.#over.wasReset(id)) this.sending.write(wordsFrame({ type: FRAME.reset, stream: id }, CODE.streamClosed));
  }

  /** No call comes of it, by the client's fault. */
  #refuse(id: number, code: Code): void {
    const stream = this.#streams.get(id);
    if (stream !== null) return this.#break(stream, code);
    this.sending.write(wordsFrame({ type: FRAME.reset, stream: id }, code));
    this.#over.add(id, true);
    this.#allowance.reset();
  }

  #break(stream: Stream, code: Code): void {
    this.reset(stream, code);
    this.#allowance.reset();
  }

  #answered(stream: Stream): void {
    // What the client still sends is not wanted any more (section 8.1).
    if (stream.remoteEnded) this.#close(stream);
    else this.reset(stream, CODE.noError);
  }

  #close(stream: Stream, wasReset = false): void {
    if (stream.closed) return;
    stream.closed = true;
    this.#over.add(stream.id, wasReset);
    this.#streams.remove(stream);
    this.sending.drop(stream);
    stream.receiver?.closed();
    this.#endIfDone();
  }

  #endIfDone(): void {
    if (!this.#closing || this.#isOver || this.#streams.size > 0) return;
    this.#isOver = true;
    this.sending.over(NOTHING);
  }

  #fail(code: Code): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const stream of this.#streams.all()) this.#close(stream);
    this.sending.over(this.#greeted ? wordsFrame({ type: FRAME.goaway }, Math.min(this.#last, this.#lastTaken), code) : NOTHING); // who speaks no HTTP/2 hears none
    this.#told.failed(this);
  }

  /** It asks no more: what it has asked is answered, if all of that came, and there is room for the answer. */
  #left(): void {
    if (this.#isOver) return;
    if (!this.#closing) this.#told.left(this);
    if (!this.#socket.readableEnded) return;
    for (const stream of this.#streams.all()) if (!stream.remoteEnded || stream.unsent !== null) this.#close(stream);
  }

  #closed(): void {
    this.#isOver = true;
    for (const stream of this.#streams.all()) this.#close(stream);
    this.#told.closed(this);
  }
}
