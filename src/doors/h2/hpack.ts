// Which header fields does a compressed block hold? (RFC 7541)
//
// Of a block that comes again byte by byte, as a proxy's do, nothing is remembered: it would save a tenth of a check (measured), and what it says
// hangs on the table as it is then.

import { decodeHuffman } from './huffman.ts';

export interface Field {
  readonly name: string;
  /** A character for each byte. */
  readonly value: string;
  /**
   * May it stand in a message? Found by whoever reads it (head.ts); null: nobody has looked. A field of the table is looked at once: a byte stands for all of
   * it, and to look at 60 KiB again for each head of 35 bytes took 62 µs, twenty-five times what another head takes.
   */
  isSound: boolean | null;
}

/** The block is none, and with it the table is lost: the connection must end. */
export class CompressionError extends Error {}

const NOTHING = Buffer.alloc(0);
/** What our settings leave at its default. */
const TABLE_SIZE = 4096;
/** What a field takes beside its letters, in the table and in the size of a list (section 4.1). */
const OVERHEAD = 32;

/** Appendix A, from index 1 on. */
const STATIC: readonly Field[] = [
  [':authority', ''],
  [':method', 'GET'],
  [':method', 'POST'],
  [':path', '/'],
  [':path', '/index.html'],
  [':scheme', 'http'],
  [':scheme', 'https'],
  ...['200', '204', '206', '304', '400', '404', '500'].map((status) => [':status', status] as const),
  ['accept-charset', ''],
  ['accept-encoding', 'gzip, deflate'],
  ...['accept-language', 'accept-ranges', 'accept', 'access-control-allow-origin', 'age', 'allow', 'authorization', 'cache-control'].map(
    (name) => [name, ''] as const,
  ),
  ...['content-disposition', 'content-encoding', 'content-language', 'content-length', 'content-location', 'content-range', 'content-type'].map(
    (name) => [name, ''] as const,
  ),
  ...['cookie', 'date', 'etag', 'expect', 'expires', 'from', 'host', 'if-match', 'if-modified-since', 'if-none-match', 'if-range'].map(
    (name) => [name, ''] as const,
  ),
  ...['if-unmodified-since', 'last-modified', 'link', 'location', 'max-forwards', 'proxy-authenticate', 'proxy-authorization'].map(
    (name) => [name, ''] as const,
  ),
  ...['range', 'referer', 'refresh', 'retry-after', 'server', 'set-cookie', 'strict-transport-security', 'transfer-encoding'].map(
    (name) => [name, ''] as const,
  ),
  ...['user-agent', 'vary', 'via', 'www-authenticate'].map((name) => [name, ''] as const),
].map(([name = '', value = '']) => ({ name, value, isSound: null }));

export class HpackDecoder {
  /** The newest last. */
  readonly #table: Field[] = [];
  #size = 0;
  #most = TABLE_SIZE;
  readonly #mostFields: number;
  #bytes: Buffer = NOTHING;
  #at = 0;
  #end = 0;

  /** @param mostFields of a list that is handed out, as SETTINGS_MAX_HEADER_LIST_SIZE counts it */
  constructor(mostFields: number) {
    this.#mostFields = mostFields;
  }

  /**
   * The fields; null: more than are read, while the table is in order all the same.
   * @throws CompressionError
   */
  decode(bytes: Buffer, from: number, to: number): readonly Field[] | null {
    this.#bytes = bytes;
    this.#at = from;
    this.#end = to;
    const fields: Field[] = [];
    let size = 0;
    let isFirst = true;
    while (this.#at < this.#end) {
      const byte = this.#bytes[this.#at]!;
      if ((byte & 0xe0) === 0x20) {
        if (!isFirst) throw new CompressionError('the size of the table changes behind a field');
        this.#resize(this.#integer(0x1f));
        continue;
      }
      isFirst = false;
      let field: Field;
      if (byte >= 0x80) field = this.#indexed(this.#integer(0x7f));
      else if (byte >= 0x40) this.#add((field = this.#literal(this.#integer(0x3f))));
      else field = this.#literal(this.#integer(0x0f));
      size += sizeOf(field);
      // Counted, and no longer kept: a byte can stand for all that the table holds.
      if (size <= this.#mostFields) fields.push(field);
    }
    this.#bytes = NOTHING; // what was read is not kept
    return size <= this.#mostFields ? fields : null;
  }

  #indexed(index: number): Field {
    const field = index <= STATIC.length ? STATIC[index - 1] : this.#table[this.#table.length + STATIC.length - index];
    if (field === undefined) throw new CompressionError('an index that nothing stands at');
    return field;
  }

  #literal(index: number): Field {
    const name = index === 0 ? this.#string() : this.#indexed(index).name;
    return { name, value: this.#string(), isSound: null };
  }

  #string(): string {
    if (this.#at >= this.#end) throw new CompressionError('a block that is cut off');
    const isHuffman = this.#bytes[this.#at]! >= 0x80;
    const length = this.#integer(0x7f);
    const from = this.#at;
    if (length > this.#end - from) throw new CompressionError('a text beyond the block');
    this.#at = from + length;
    if (!isHuffman) return this.#bytes.toString('latin1', from, this.#at);
    const text = decodeHuffman(this.#bytes, from, this.#at);
    if (text === null) throw new CompressionError('a code that is none');
    return text;
  }

  /** Section 5.1, with a prefix of so many ones. Four bytes more reach far beyond any block. */
  #integer(prefix: number): number {
    let value = this.#bytes[this.#at++]! & prefix;
    if (value < prefix) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.#at >= this.#end) throw new CompressionError('a number that is cut off');
      const byte = this.#bytes[this.#at++]!;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new CompressionError('a number without an end');
  }

  #add(field: Field): void {
    const size = sizeOf(field);
    this.#evict(this.#most - size);
    if (size > this.#most) return; // it leaves the table empty (section 4.4)
    this.#table.push(field);
    this.#size += size;
  }

  #resize(size: number): void {
    if (size > TABLE_SIZE) throw new CompressionError('a table larger than it may be');
    this.#most = size;
    this.#evict(size);
  }

  #evict(most: number): void {
    let count = 0;
    while (this.#size > most && count < this.#table.length) this.#size -= sizeOf(this.#table[count++]!);
    if (count > 0) this.#table.splice(0, count);
  }
}

function sizeOf({ name, value }: Field): number {
  return name.length + value.length + OVERHEAD;
}

/** A block of our own: literals that enter no table (section 6.2.2), so that it is the same on each connection. Names and values in ASCII, shorter than 127. */
export function encodeFields(fields: readonly (readonly [name: string, value: string])[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([name, value]) => {
      const index = STATIC.findIndex((field) => field.name === name && field.value === value) + 1;
      return index > 0 ? [Buffer.of(0x80 | index)] : [Buffer.of(0), text(name), text(value)];
    }),
  );
}

function text(value: string): Buffer {
  if (value.length >= 0x7f) throw new RangeError('a text that is too long for its length to be one byte');
  return Buffer.concat([Buffer.of(value.length), Buffer.from(value, 'latin1')]);
}
