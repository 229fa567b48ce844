// Whose is an API key, or the token of a session, as far as a world knows?
//
// Either is a key here: a secret that somebody has. A key is an entry like any other (coherence 3.6): found by its hash, with the tag `k`, so that its end reaches every cache as every
// change does. The key itself never comes in here. Whether its time is over is for whoever has a wall clock.

import type { Revision } from './model.ts';
import type { KeyRow } from './source.ts';
import type { KeyEntry, World } from './world.ts';

/** Whoever presents a key is this user, up to that time. */
export interface KeyHolder {
  readonly user: string;
  /** Who has logged in as the user: it must itself be allowed to (semantics 5), at each check. '': nobody else has. */
  readonly actor: string;
  /** Milliseconds since 1970. */
  readonly expires: number;
}

/** A proved entry of the hash, be it a key or the absence of one; null if there is none. `marks`: it answers from memory, and stays longer for it. */
export function lookUpKey(world: World, hash: string, marks: boolean): KeyEntry | null {
  const entry = world.keys.get(hash) ?? world.absentKeys.get(hash);
  if (entry === undefined || !provedKey(world, hash, entry)) return null;
  if (marks && !entry.used) entry.used = true;
  return entry;
}

/** What a proved entry says; null: it is nobody's key. */
export function holderIn(entry: KeyEntry): KeyHolder | null {
  return entry.user === '' ? null : entry;
}

function provedKey(world: World, hash: string, entry: Pick<KeyEntry, 'at'>): boolean {
  if (entry.at >= world.last.k) return true;
  if (entry.at < world.floor.k || (world.touched.k.get(hash) ?? 0) > entry.at) return false;
  entry.at = world.head.version;
  return true;
}

/**
 * Admits what a fill read of one key, if nothing has touched it since the stamp. The caller has seen that the world knows the stamp.
 * @returns false: refused, fill again
 */
export function admitKey(world: World, { hash, row, stamp }: { readonly hash: string; readonly row: KeyRow | null; readonly stamp: Revision }): boolean {
  const draft = { at: stamp.version };
  if (!provedKey(world, hash, draft)) return false;
  const [into, other] = row === null ? [world.absentKeys, world.keys] : [world.keys, world.absentKeys];
  other.delete(hash);
  into.set(hash, { at: draft.at, used: false, user: row?.user ?? '', actor: row?.actor ?? '', expires: row?.expires ?? 0 });
  return true;
}
