// What does the cache need from the world outside? Ports: types only.
//
// A `Source` opens an `Attachment`: one listening session and the fill connections that belong to it, all at one server.
// Everything an attachment answers is data of one database snapshot with that snapshot's stamp.

import type { Grant, Revision } from './model.ts';

/** Time, as the only way in: `now` in milliseconds, never going back, and running on while the machine is suspended. */
export interface Clock {
  now(): number;
  /** Calls `f` once after `ms`; returns the cancel. */
  after(ms: number, f: () => void): () => void;
}

/** A map that may be bounded: `set` may evict other keys. A `Map` is one, and so is an `LRUCache`. */
export interface Store<V> {
  get(key: string): V | undefined;
  set(key: string, value: V): unknown;
  delete(key: string): boolean;
  /** Those that are in use before others, as far as the map knows. */
  keys(): Iterable<string>;
  readonly size: number;
}

/**
 * One numbered commit, by tag: o(bject), g(roup of users), r(ole), n(ode of the owner tree), k(ey); `*` is everything.
 * `keys` empty: every key of that tag. A tag this version does not know concerns no entry of it.
 */
export type Change = readonly [version: number, id: string, tag: string, keys: readonly string[]];

/** The present state of one owner-tree node: null = gone, [null] = a tenant, [owner] = a customer. */
export type TreeRow = readonly [id: string, parent: readonly [owner: string | null] | null];

export interface PullRequest {
  readonly cursor: number;
  /** Commits wanted at most, plus one; null for a world that is not current yet: tree rows and head alone, in one piece. */
  readonly limit: number | null;
  /** Versions whose ids the asker wants to know (tokens). */
  readonly ask: readonly number[];
  /** Kept before the pull's snapshot is taken; null or absent: none is due. */
  readonly report?: FollowerReport | null;
}

/** A follower's word to whoever waits for all of them (coherence 3.7, G4). */
export interface FollowerReport {
  /** Its name, of this process alone. */
  readonly follower: string;
  /** What its answers are true at; null: it gives none. */
  readonly head: Revision | null;
  /** From its arrival at the server on, so long may the follower answer without another report, ms. */
  readonly leaseMs: number;
}

export interface PullReply {
  /** Backend pid: one that changes within a session betrays a transaction pooler. */
  readonly pid: number;
  /** Timeline of the server, as a fixed-width hex string (so it compares as text); null where it cannot be read. */
  readonly timeline: string | null;
  readonly head: Revision;
  /** More than the pull may carry: RESET. */
  readonly over: boolean;
  /** The id that the log has for the asked cursor; null if that row is gone. */
  readonly cursorId: string | null;
  readonly changes: readonly Change[];
  readonly tree: readonly TreeRow[];
  /** For each asked version its id, or null if there is no such row. */
  readonly answers: readonly (readonly [version: number, id: string | null])[];
  /** The highest version that somebody waits for at this moment until all followers have reported it; null: nobody does. */
  readonly awaited: number | null;
  /** How full the server's notification queue is, 0 to 1; null where no report was sent. At 1 no authorization can be changed any more. */
  readonly queueUsage: number | null;
  /** Commit time of the newest change in this pull by the server's clock, and the server's clock at the pull, in ms: for the lag metric only. */
  readonly lagMs: number | null;
}

/** One id as the database has it. `groups`: the explicit groups that count (semantics 1.3). */
export interface ObjectRow {
  readonly id: string;
  readonly kind: ObjectKind;
  readonly type: string;
  readonly owner: string | null;
  readonly enabled: boolean;
  readonly groups: readonly string[];
}
export type ObjectKind = 'tenant' | 'customer' | 'user' | 'group' | 'role' | 'grant' | 'entity';

/** Rows of the ids that exist; an asked id without a row is absent. */
export interface ObjectsReply {
  readonly stamp: Revision;
  readonly rows: readonly ObjectRow[];
}

/** A permission class: an owner and the explicit user groups, ascending by code unit (semantics 3). */
export interface ClassKey {
  readonly owner: string;
  readonly groups: readonly string[];
}

/** For each asked class, in order, every grant of its groups and of the owner's All group of users. */
export interface ClassesReply {
  readonly stamp: Revision;
  readonly grants: readonly (readonly Grant[])[];
}

/** An API key as the database has it. */
export interface KeyRow {
  /** SHA-256 of the key, or of a session's token, in hexadecimal digits. */
  readonly hash: string;
  readonly user: string;
  /** Who has logged in as the user; '' where nobody else has. */
  readonly actor: string;
  /** Milliseconds since 1970, a whole number. */
  readonly expires: number;
}

/** Rows of the keys that exist; an asked hash without a row is nobody's. */
export interface KeysReply {
  readonly stamp: Revision;
  readonly rows: readonly KeyRow[];
}

export interface Attachment {
  pull(request: PullRequest): Promise<PullReply>;
  /**
   * The whole owner tree, by one REPEATABLE READ READ ONLY transaction on a fill connection.
   * @param take is given every tenant and customer, in any order, part by part: a million rows are never there at once
   * @returns the stamp
   */
  load(take: (rows: readonly TreeRow[]) => void): Promise<Revision>;
  /** One statement, one snapshot. */
  objects(ids: readonly string[]): Promise<ObjectsReply>;
  /** One statement, one snapshot. */
  classes(keys: readonly ClassKey[]): Promise<ClassesReply>;
  /** One statement, one snapshot. */
  keys(hashes: readonly string[]): Promise<KeysReply>;
  /** Drops every connection at once, frozen ones too. Pending calls reject. Never throws, may be called again. */
  close(): void;
}

export interface Source {
  /**
   * Connects, checks that the log is complete (triggers), LISTENs. Rejects if any of that fails; nothing is left open then.
   * `ring`: a notification came. `closed`: the listening session ended by itself (at most once, never after `close()`).
   */
  attach(on: { ring(): void; closed(cause: Error): void }): Promise<Attachment>;
}
