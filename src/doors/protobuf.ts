// How is a protobuf message read without code that somebody generated?
//
// A cursor that the reader of a message drives: it asks for the next tag, takes the fields it knows and skips the rest, so what
// nobody here needs is never made an object or a string. Whatever is not well-formed is this file's own error and nothing else;
// nothing is read beyond the message that a length names.

/** The bytes are no message. */
export class ProtobufError extends Error {
  override readonly name = 'ProtobufError';
}

/** The tag of a field that holds a string, bytes or a message. */
export function lengthTag(field: number): number {
  return (field << 3) | 2;
}

/** The tag of a field that holds a number. */
export function varintTag(field: number): number {
  return field << 3;
}

export class Reader {
  at = 0;
  readonly bytes: Buffer;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /** The next field's number and kind in one, as `lengthTag` has it. */
  tag(end: number): number {
    const tag = this.varint(end);
    if (tag > 0xffff_ffff || tag < 8) throw new ProtobufError('no such field number');
    return tag;
  }

  /** Of more than 53 bits only the size is right: nothing that is read here has as many. */
  varint(end: number): number {
    if (this.at < end && this.bytes[this.at]! < 0x80) return this.bytes[this.at++]!; // nearly every one
    let value = 0;
    for (let factor = 1, length = 1; ; factor *= 128, length++) {
      if (this.at >= end || length > 10) throw new ProtobufError('a number without an end');
      const byte = this.bytes[this.at++]!;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  }

  /** Goes into a string or message; its end. */
  enter(end: number): number {
    const length = this.varint(end);
    if (length > end - this.at) throw new ProtobufError('a length beyond the message');
    return this.at + length;
  }

  /** A string, a character for each byte: what headers are at an HTTP door, too. */
  latin1(end: number): string {
    const to = this.enter(end);
    const text = this.bytes.toString('latin1', this.at, to);
    this.at = to;
    return text;
  }

  /** Likewise, if its length and first byte are worth it; else ''. */
  latin1If(end: number, worth: (length: number, first: number) => boolean): string {
    const to = this.enter(end);
    const text = to > this.at && worth(to - this.at, this.bytes[this.at]!) ? this.bytes.toString('latin1', this.at, to) : '';
    this.at = to;
    return text;
  }

  utf8(end: number): string {
    const to = this.enter(end);
    const text = this.bytes.toString('utf8', this.at, to);
    this.at = to;
    return text;
  }

  /** Passes over the value of a field, whatever it is. */
  skip(tag: number, end: number): void {
    // Groups have no length, and stand in one another: counted, for a message of nothing else must not fill the stack.
    for (let depth = 0, kind = tag % 8; ; kind = this.tag(end) % 8) {
      if (kind === 0) this.varint(end);
      else if (kind === 1) this.#pass(8, end);
      else if (kind === 2) this.at = this.enter(end);
      else if (kind === 3) depth++;
      else if (kind === 4) depth--;
      else if (kind === 5) this.#pass(4, end);
      else throw new ProtobufError('no such kind of field');
      if (depth < 0) throw new ProtobufError('the end of a group that did not begin');
      if (depth === 0) return;
    }
  }

  #pass(length: number, end: number): void {
    if (length > end - this.at) throw new ProtobufError('a number beyond the message');
    this.at += length;
  }
}

/** A field that holds bytes, a string (latin1) or a message. */
export function field(number: number, value: string | Buffer): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'latin1') : value;
  const made = new Writer(varintSize(lengthTag(number)) + varintSize(bytes.length) + bytes.length);
  made.varint(lengthTag(number));
  made.varint(bytes.length);
  made.copy(bytes);
  return made.bytes;
}

/** A field that holds a number, written even if it is 0. */
export function number(field: number, value: number): Buffer {
  const made = new Writer(varintSize(varintTag(field)) + varintSize(value));
  made.varint(varintTag(field));
  made.varint(value);
  return made.bytes;
}

const SHORT = 20;

/** Into a buffer whose size was counted before. */
export class Writer {
  readonly bytes: Buffer;
  at = 0;
  constructor(size: number) {
    this.bytes = Buffer.allocUnsafe(size);
  }
  varint(value: number): void {
    let rest = value;
    for (; rest > 0x7f; rest = Math.floor(rest / 128)) this.bytes[this.at++] = (rest % 128) | 0x80;
    this.bytes[this.at++] = rest;
  }
  copy(bytes: Buffer): void {
    this.at += bytes.copy(this.bytes, this.at);
  }
  /** What is short is written here: Node's `write` takes 70 ns for any of it, as long as twenty characters take (`copy` 25). */
  latin1(text: string): void {
    if (text.length > SHORT) this.at += this.bytes.write(text, this.at, 'latin1');
    else for (let i = 0; i < text.length; i++) this.bytes[this.at++] = text.charCodeAt(i);
  }
}

export function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 128)) size++;
  return size;
}
