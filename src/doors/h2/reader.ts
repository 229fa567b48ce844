// Which frames are in these bytes, wherever they were cut?
//
// Nearly always a read holds whole frames, and they are read where they stand. Only what is cut off is copied, into the room that its own head asks for.

import { ConnectionError, protocolError, sizeError } from './errors.ts';
import { CODE, FLAG, HEAD, MOST_PAYLOAD, PREFACE } from './frames.ts';

const NOTHING = Buffer.alloc(0);

export class FrameReader {
  // The frame that was read last.
  type = 0;
  flags = 0;
  stream = 0;
  bytes: Buffer = NOTHING;
  /** Where its payload is. */
  from = 0;
  to = 0;
  /** Frames so far. */
  count = 0;
  readonly #frame: () => void;
  #greeting = 0;
  #part: Buffer = NOTHING;
  #filled = 0;

  /** @param frame told of each frame, which stands in the fields of the reader */
  constructor(frame: () => void) {
    this.#frame = frame;
  }

  /** Is there the beginning of a frame, whose end is to come? */
  get isPartial(): boolean {
    return this.#filled > 0;
  }

  /** @throws ConnectionError, and whatever the listener throws */
  read(chunk: Buffer): void {
    let at = this.#greeting < PREFACE.length ? this.#greet(chunk) : 0;
    while (at < chunk.length) {
      if (this.#filled > 0) at = this.#complete(chunk, at);
      else if (chunk.length - at < HEAD) at = this.#keep(chunk, at, HEAD);
      else {
        const end = at + HEAD + this.#head(chunk, at);
        if (end > chunk.length) at = this.#keep(chunk, at, end - at);
        else {
          this.#tell(chunk, at + HEAD, end);
          at = end;
        }
      }
    }
  }

  /** Of 31 bits, at the beginning of the payload. */
  word(): number {
    return this.bytes.readUInt32BE(this.from) & 0x7fff_ffff;
  }

  /** Takes the padding away. @throws ConnectionError */
  unpad(): void {
    if ((this.flags & FLAG.padded) === 0) return;
    if (this.from >= this.to) sizeError();
    const padding = this.bytes[this.from++]!;
    if (padding > this.to - this.from) protocolError('more padding than there is');
    this.to -= padding;
  }

  #greet(chunk: Buffer): number {
    const length = Math.min(chunk.length, PREFACE.length - this.#greeting);
    for (let i = 0; i < length; i++) if (chunk[i] !== PREFACE[this.#greeting + i]) throw new ConnectionError(CODE.protocolError, 'not the preface of HTTP/2');
    this.#greeting += length;
    return length;
  }

  /** Length of the payload. */
  #head(bytes: Buffer, at: number): number {
    const length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
    if (length > MOST_PAYLOAD) throw new ConnectionError(CODE.frameSizeError, 'a frame longer than frames are');
    this.type = bytes[at + 3]!;
    this.flags = bytes[at + 4]!;
    this.stream = ((bytes[at + 5]! & 0x7f) << 24) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 8) | bytes[at + 8]!;
    return length;
  }

  #keep(chunk: Buffer, at: number, length: number): number {
    // Not of the pool: a byte would keep all of it.
    this.#part = Buffer.allocUnsafeSlow(length);
    this.#filled = chunk.copy(this.#part, 0, at);
    return chunk.length;
  }

  #complete(chunk: Buffer, from: number): number {
    const copied = chunk.copy(this.#part, this.#filled, from);
    this.#filled += copied;
    if (this.#filled === this.#part.length) {
      const length = HEAD + this.#head(this.#part, 0);
      const part = this.#part;
      if (length > part.length) {
        this.#part = Buffer.allocUnsafeSlow(length);
        part.copy(this.#part);
      } else {
        this.#part = NOTHING;
        this.#filled = 0;
        this.#tell(part, HEAD, length);
      }
    }
    return from + copied;
  }

  #tell(bytes: Buffer, from: number, to: number): void {
    this.bytes = bytes;
    this.from = from;
    this.to = to;
    this.count++;
    this.#frame();
    this.bytes = NOTHING;
  }
}
