// What stays in memory when more ids are asked about than fit? Those that were asked about lately.
//
// A bounded map with second chance: a check that is answered from memory marks its entries, and whoever must go is the oldest without a mark.
// (What comes by once, and never again, has none: it must not push out what is in use.) Not lru-cache, which moves an entry in a list at every
// look-up, and leaves 56 bytes on the heap where that is not compiled into its caller. [measured at 5 million UUIDs, Node 20, entries of 56 bytes]
// lru-cache: 205 bytes an entry and 467 ms for the insertion that doubles its map; one Map: 159 and 1,387 ms; this: 159, and 10 ms for a part that
// doubles.

import type { Store } from './source.ts';

/** What an entry carries for its store. */
export interface Recent {
  /** It answered a check since the store last went over it. */
  used: boolean;
}

/** Entries of a part, more or less: a Map doubles in one go, 10 ms at this size. (And none holds more than 2^24.) */
const PART = 131_072;
/** Up to here there is one part, as none has to be chosen then [measured: a seventh of a check]; to spread them takes 5 to 12 ms, once. */
const ALONE = 16_384;
/** More would be looked for in more memory, and be a Map each that is hardly ever in the processor's caches. */
const MOST_PARTS = 1_024;
/** A sixteenth of a part goes at once: to find the oldest one by one, a Map goes over the holes that those before it left. */
const SHARE = 16;
/** For each entry that goes, so many in use are passed over at the most: a store whose every entry is in use must not cost more. */
const CHANCES = 6;
/** Entries that are looked at for those in use. */
const LOOKS = 500_000;

export class RecentStore<V extends Recent> implements Store<V> {
  readonly #limit: number;
  readonly #most: number;
  #parts: readonly Map<string, V>[] = [new Map()];
  #size = 0;
  #hand = 0;

  /** @param limit entries kept at most, a whole number from 64 on */
  constructor(limit: number) {
    this.#limit = limit;
    this.#most = Math.min(MOST_PARTS, 2 ** Math.ceil(Math.log2(Math.max(1, limit / PART))));
  }

  get size(): number {
    return this.#size;
  }

  get(id: string): V | undefined {
    return this.partOf(id).get(id);
  }

  set(id: string, entry: V): void {
    const part = this.partOf(id);
    // Anew, not in the place of the one before: what is refilled would be among the oldest.
    if (!part.delete(id)) this.#size++;
    part.set(id, entry);
    if (this.#size > ALONE && this.#parts.length < this.#most) this.#spread();
    while (this.#size > this.#limit) this.#letGo();
  }

  delete(id: string): boolean {
    const was = this.partOf(id).delete(id);
    if (was) this.#size--;
    return was;
  }

  /** Those in use first, of the entries that can be looked at within some 25 ms: whoever wants a few of five million must not hold up checks. */
  *keys(): Generator<string> {
    let looks = 0;
    const over = new Set<Map<string, V>>();
    for (const part of this.#parts) {
      if (looks > LOOKS) break;
      over.add(part);
      looks += part.size;
      for (const [id, entry] of part) if (entry.used) yield id;
    }
    for (const part of this.#parts) for (const [id, entry] of part) if (!entry.used || !over.has(part)) yield id;
  }

  #spread(): void {
    const [all] = this.#parts;
    this.#parts = Array.from({ length: this.#most }, () => new Map<string, V>());
    for (const [id, entry] of all!) this.partOf(id).set(id, entry);
  }

  /** The next part in turn that is not a small one: what has just been put into a small one would be among its oldest. */
  #letGo(): void {
    let part: Map<string, V>;
    do {
      this.#hand = (this.#hand + 1) % this.#parts.length;
      part = this.#parts[this.#hand]!;
    } while (part.size * this.#parts.length * 2 < this.#size);
    let left = Math.ceil(part.size / SHARE);
    let chances = left * CHANCES;
    for (const [id, entry] of part) {
      part.delete(id);
      if (entry.used && chances > 0) {
        chances--;
        entry.used = false;
        part.set(id, entry); // now the youngest
        continue;
      }
      this.#size--;
      if (--left === 0) return;
    }
  }

  /**
   * The part that an id is in. By three characters at its end, where names and numbers differ, and the three fastest of a UUID made from a clock, as ThingsBoard's are:
   * to look at all would cost as much as the Map does. Ids that are alike there are in one part, which is then a Map as before.
   */
  partOf(id: string): Map<string, V> {
    const parts = this.#parts;
    if (parts.length === 1) return parts[0]!;
    const { length } = id;
    let hash = 0;
    for (let i = Math.max(0, length - 3); i < length; i++) hash = Math.imul(hash, 37) + id.charCodeAt(i);
    for (let i = 5; i < 8 && i < length; i++) hash = Math.imul(hash, 37) + id.charCodeAt(i);
    hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
    return parts[(hash ^ (hash >>> 13)) & (parts.length - 1)]!;
  }
}
