// Which number has an id, when there are a million of them?
//
// Ids as dense numbers, in the order in which they came; none is ever taken out. An id that is a UUID as Postgres writes it takes 22 bytes in
// typed arrays, where a Map from string to number takes 100 and doubles in one go [measured: 170 ms at a million]. Linear hashing, which
// grows by one bucket with every second id, so no insertion pays for all. Other ids are kept as strings.

import { NONE } from './model.ts';

/** Ids in a bucket on the average. */
const LOAD = 2;
/** A full array grows by an eighth: for a tree that is there at the start, the rest would be lost. */
const GROWTH = 1.125;
const FIRST = 16;
/** Ids remembered as strings, so that whoever asks for the same again allocates nothing. */
const SHOWN = 4_096;

export class IdTable {
  /** Four words of each UUID, by number. */
  #words = new Uint32Array(4 * FIRST);
  /** The next number in the same bucket; `NONE` ends it. */
  #next = new Int32Array(FIRST);
  /** The first number of each bucket. */
  #heads = new Int32Array(FIRST).fill(NONE);
  #buckets = 1;
  /** UUIDs in the buckets. */
  #hashed = 0;
  #size = 0;
  readonly #others = new Map<string, number>();
  readonly #otherIds = new Map<number, string>();
  #shown = new Map<number, string>();

  get size(): number {
    return this.#size;
  }

  /** The number of an id; `NONE` if it has none. */
  number(id: string): number {
    return isUuid(id) ? this.#find() : (this.#others.get(id) ?? NONE);
  }

  /** The number of an id, a new one if it has none. */
  add(id: string): number {
    const uuid = isUuid(id);
    const known = uuid ? this.#find() : (this.#others.get(id) ?? NONE);
    if (known !== NONE) return known;
    const number = this.#size++;
    if (!uuid) {
      this.#others.set(id, number);
      this.#otherIds.set(number, id);
      return number;
    }
    this.#reserve(number + 1);
    this.#words.set(parsed, 4 * number);
    this.#link(number);
    if (++this.#hashed > LOAD * this.#buckets) this.#split();
    return number;
  }

  /** @param number one that `add` gave */
  id(number: number): string {
    const other = this.#otherIds.get(number) ?? this.#shown.get(number);
    if (other !== undefined) return other;
    if (this.#shown.size >= SHOWN) this.#shown = new Map();
    const id = formatUuid(this.#words, 4 * number);
    this.#shown.set(number, id);
    return id;
  }

  /** Gives back the room that nothing was put into. */
  trim(): void {
    const rows = Math.max(FIRST, this.#size);
    if (this.#next.length > rows) {
      this.#words = this.#words.slice(0, 4 * rows);
      this.#next = this.#next.slice(0, rows);
    }
    if (this.#heads.length > this.#buckets + 1) this.#heads = this.#heads.slice(0, this.#buckets + 1);
  }

  copy(): IdTable {
    const table = new IdTable();
    table.#words = this.#words.slice();
    table.#next = this.#next.slice();
    table.#heads = this.#heads.slice();
    table.#buckets = this.#buckets;
    table.#hashed = this.#hashed;
    table.#size = this.#size;
    for (const [id, number] of this.#others) {
      table.#others.set(id, number);
      table.#otherIds.set(number, id);
    }
    return table;
  }

  /** Of the UUID that was parsed last. */
  #find(): number {
    const words = this.#words;
    for (let at = this.#heads[this.#bucketOf(parsed, 0)]!; at !== NONE; at = this.#next[at]!) {
      const from = 4 * at;
      if (words[from] === parsed[0] && words[from + 1] === parsed[1] && words[from + 2] === parsed[2] && words[from + 3] === parsed[3]) return at;
    }
    return NONE;
  }

  #link(number: number): void {
    const bucket = this.#bucketOf(this.#words, 4 * number);
    this.#next[number] = this.#heads[bucket]!;
    this.#heads[bucket] = number;
  }

  /** One bucket more: it takes what is its own from the bucket that held it until now. */
  #split(): void {
    if (this.#buckets === this.#heads.length) this.#heads = grown(this.#heads, 0);
    const added = this.#buckets++;
    this.#heads[added] = NONE;
    const from = added - powerOfTwo(added);
    let at = this.#heads[from]!;
    this.#heads[from] = NONE;
    while (at !== NONE) {
      const next = this.#next[at]!;
      this.#link(at);
      at = next;
    }
  }

  #bucketOf(words: Uint32Array, from: number): number {
    const hash = mixed(words, from);
    const power = powerOfTwo(this.#buckets);
    const bucket = hash & (2 * power - 1);
    return bucket < this.#buckets ? bucket : bucket - power;
  }

  #reserve(rows: number): void {
    if (rows <= this.#next.length) return;
    this.#next = grown(this.#next, rows);
    const words = new Uint32Array(4 * this.#next.length);
    words.set(this.#words);
    this.#words = words;
  }
}

/** The greatest power of two that is not above it. */
function powerOfTwo(number: number): number {
  return 1 << (31 - Math.clz32(number));
}

function grown(array: Int32Array<ArrayBuffer>, least: number): Int32Array<ArrayBuffer> {
  const more = new Int32Array(Math.max(least, Math.ceil(array.length * GROWTH)));
  more.set(array);
  return more;
}

/** All 122 random bits count: of UUIDs that a clock or a counter made, few differ. (Murmur3's constants.) */
function mixed(words: Uint32Array, from: number): number {
  let hash = words[from]!;
  for (let i = 1; i < 4; i++) hash = Math.imul(hash ^ (hash >>> 15) ^ words[from + i]!, 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) & 0x3fff_ffff;
}

// One id is parsed at a time and used in the same turn: an object for each would be garbage of every look-up.
const parsed = new Uint32Array(4);
/** By UTF-16 code unit: a smaller table would take a letter of another script for a digit. */
const DIGIT = new Int8Array(65_536).fill(-1);
for (let digit = 0; digit < 16; digit++) DIGIT[digit.toString(16).charCodeAt(0)] = digit;
const DASH = 45;
/** Below 0: something that is no digit was met. */
let digits = 0;

/** Is it a UUID in lower case with its dashes? Then its words are in `parsed`. */
function isUuid(id: string): boolean {
  if (id.length !== 36 || id.charCodeAt(8) !== DASH || id.charCodeAt(13) !== DASH || id.charCodeAt(18) !== DASH || id.charCodeAt(23) !== DASH) return false;
  digits = 0;
  parsed[0] = (half(id, 0) << 16) | half(id, 4);
  parsed[1] = (half(id, 9) << 16) | half(id, 14);
  parsed[2] = (half(id, 19) << 16) | half(id, 24);
  parsed[3] = (half(id, 28) << 16) | half(id, 32);
  return digits >= 0;
}

/** Four digits. */
function half(id: string, at: number): number {
  const a = DIGIT[id.charCodeAt(at)]!;
  const b = DIGIT[id.charCodeAt(at + 1)]!;
  const c = DIGIT[id.charCodeAt(at + 2)]!;
  const d = DIGIT[id.charCodeAt(at + 3)]!;
  digits |= a | b | c | d;
  return (a << 12) | (b << 8) | (c << 4) | d;
}

function formatUuid(words: Uint32Array, from: number): string {
  const [a, b, c, d] = [0, 1, 2, 3].map((word) => words[from + word]!.toString(16).padStart(8, '0')) as [string, string, string, string];
  return `${a}-${b.slice(0, 4)}-${b.slice(4)}-${c.slice(0, 4)}-${c.slice(4)}${d}`;
}
