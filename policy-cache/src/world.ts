// What is cached, and when may a piece of it be used?
//
// A world is all cached state of one history of the database, from one RESET on (coherence 3.5, 3.6). Its invariant: every
// entry that `proved` lets through equals the truth at `head`, so a decision made of several entries and the tree in one
// synchronous turn is a decision of one database state. Nothing here waits, reads a clock or does I/O.

import { NONE, formatAllGroup } from './model.ts';
import type { EffectivePermissions } from './effective.ts';
import { flatten } from './flatten.ts';
import type { Numbers } from './flatten.ts';
import { IdTable } from './idtable.ts';
import type { Grant, Placement, Revision } from './model.ts';
import { placementOf } from './placement.ts';
import type { Recent } from './recent.ts';
import type { ClassKey, ObjectRow, PullReply, Store } from './source.ts';
import type { OwnerTree } from './tree.ts';
import type { Vocabulary } from './vocabulary.ts';

/** Tag kinds that entries carry. The tree (`n`) is not an entry: it stands at the head, always. */
export type EntryTag = 'o' | 'g' | 'r' | 'k';
type Marks = Record<EntryTag, number>;

/**
 * A subject, a target or an absent id. It is its own placement, though most are like thousands of others: what a check reads of an id then lies
 * in one place of the memory. `NONE` for owner and node: the database has no such id.
 */
export interface ObjectEntry extends Recent, Placement {
  /** Version at which it was last known true. */
  at: number;
}

export interface SubjectEntry extends ObjectEntry {
  /** The permission class of a user; null for anything else. */
  readonly cell: ClassCell | null;
}

/** One permission class, shared by every subject with this owner and these groups; refilled in place. */
export interface ClassCell {
  readonly name: string;
  readonly key: ClassKey;
  /** The user groups whose grants it is made of, the owner's All group included: its `g` tags, granted or not. */
  readonly groups: readonly string[];
  at: number;
  /** Null until it is filled. */
  effective: EffectivePermissions | null;
  /** The roles that were met: its `r` tags. */
  roles: readonly string[];
}

/** An API key, or the token of a session, by its hash. */
export interface KeyEntry extends Recent {
  at: number;
  /** Whose it is; '' if there is no such key. */
  readonly user: string;
  /** Who has logged in as the user; '' where nobody else has. */
  readonly actor: string;
  /** When it ends, in milliseconds since 1970. */
  readonly expires: number;
}

export interface Stores {
  readonly subjects: Store<SubjectEntry>;
  readonly targets: Store<ObjectEntry>;
  readonly absent: Store<SubjectEntry>;
  readonly classes: Store<ClassCell>;
  readonly keys: Store<KeyEntry>;
  /** Of made-up keys: they must not push out real ones. */
  readonly absentKeys: Store<KeyEntry>;
}

export interface World extends Stores {
  /** The cursor: everything up to here is applied. */
  head: Revision;
  /** Clock reading at which the last applied pull was *sent*: the lease runs from there. */
  freshAsOf: number;
  /** Number of the last pull applied to this world. */
  pulled: number;
  readonly tree: OwnerTree;
  /** Newest version that touched any key of the tag; an entry at least as young needs no look-up. */
  readonly last: Marks;
  /** Entries below are not provable: bulk touches, and keys that fell out of `touched`. Never above `last`. */
  readonly floor: Marks;
  readonly touched: Readonly<Record<EntryTag, Map<string, number>>>;
  /** Pairs of this history: the RESET stamp, every change pulled, every head. A fill's stamp must be among them. */
  readonly ids: Map<number, string>;
  /** What the log said when asked for the id of a version (tokens): '' if it had no such row. */
  readonly answers: Map<number, string>;
  readonly groupNumbers: IdTable;
  /** The groups of entries, by content. */
  readonly groupLists: Map<string, readonly number[]>;
  /** What generic roles give, by content. */
  readonly generics: Map<string, Int32Array>;
}

const IDS_KEPT = 65_536;
const ANSWERS_KEPT = 10_000;
const LISTS_INTERNED = 100_000;
const GENERICS_INTERNED = 10_000;

/** A whole tree as it was read, and of when. */
export interface Loaded {
  readonly stamp: Revision;
  readonly tree: OwnerTree;
}

/** A world as a RESET begins it: the tree of the stamp, no entry. @throws PolicyError `source` if the tree's rows are not of one snapshot */
export function newWorld(stamp: Revision, tree: OwnerTree, stores: Stores): World {
  tree.seal();
  const { version } = stamp;
  const mark = { o: version, g: version, r: version, k: version };
  return {
    ...stores,
    head: stamp,
    freshAsOf: -Infinity,
    pulled: 0,
    tree,
    last: { ...mark },
    floor: { ...mark },
    touched: { o: new Map(), g: new Map(), r: new Map(), k: new Map() },
    ids: new Map([[stamp.version, stamp.id]]),
    answers: new Map(),
    groupNumbers: new IdTable(),
    groupLists: new Map(),
    generics: new Map(),
  };
}

/** A proved entry of the id, be it a thing or an absence; null if there is none. */
export function lookUp<E extends ObjectEntry>(world: World, store: Store<E>, id: string): E | SubjectEntry | null {
  return served(world, id, find(world, store, id));
}

/** What there is of the id, proved or not: for whoever has more to look for before looking at it. */
export function find<E extends ObjectEntry>(world: World, store: Store<E>, id: string): E | SubjectEntry | undefined {
  return store.get(id) ?? world.absent.get(id);
}

/** What was found, if it is proved. */
export function served<E extends ObjectEntry>(world: World, id: string, entry: E | undefined): E | null {
  return entry !== undefined && provedObject(world, id, entry) ? entry : null;
}

/** What a proved entry says; null: the database has no such id. */
export function placementIn(entry: ObjectEntry): Placement | null {
  return entry.owner === NONE && entry.node === NONE ? null : entry;
}

/** The first so many ids of a store. */
export function idsOf(store: Store<unknown> | undefined, most: number): readonly string[] {
  const ids: string[] = [];
  for (const id of store?.keys() ?? []) {
    if (ids.length >= most) break;
    ids.push(id);
  }
  return ids;
}

export function provedObject(world: World, id: string, entry: Pick<ObjectEntry, 'at'>): boolean {
  if (entry.at >= world.last.o) return true;
  if (entry.at < world.floor.o || (world.touched.o.get(id) ?? 0) > entry.at) return false;
  entry.at = world.head.version;
  return true;
}

export function provedClass(world: World, cell: ClassCell): boolean {
  if (cell.effective === null) return false;
  if (cell.at >= world.last.g && cell.at >= world.last.r) return true;
  if (!untouched(world, cell)) return false;
  cell.at = world.head.version;
  return true;
}

function untouched({ floor, touched }: World, { groups, roles, at }: ClassCell): boolean {
  if (at < floor.g || at < floor.r) return false;
  for (const group of groups) if ((touched.g.get(group) ?? 0) > at) return false;
  for (const role of roles) if ((touched.r.get(role) ?? 0) > at) return false;
  return true;
}

/** What one applied reply changes, in one turn. Bulk `n` and `*` are not for here: they lead to a RESET. @throws PolicyError `source`: the world is broken then */
export function applyPull(world: World, reply: PullReply, touchedLimit: number): void {
  world.tree.apply(reply.tree);
  for (const [version, id, tag, keys] of reply.changes) {
    remember(world.ids, version, id, IDS_KEPT);
    if (tag !== 'o' && tag !== 'g' && tag !== 'r' && tag !== 'k') continue;
    world.last[tag] = version;
    if (keys.length === 0) world.floor[tag] = version;
    else for (const key of keys) touch(world, { tag, key, version, limit: touchedLimit });
  }
  remember(world.ids, reply.head.version, reply.head.id, IDS_KEPT);
  for (const [version, id] of reply.answers) if (version <= reply.head.version) remember(world.answers, version, id ?? '', ANSWERS_KEPT);
  world.head = reply.head;
}

/** The first pull of a new world carries tree rows and head alone: nothing is cached yet, so every mark goes to the head. */
export function applyFirstPull(world: World, reply: PullReply): void {
  applyPull(world, { ...reply, changes: [] }, 0);
  for (const tag of ['o', 'g', 'r', 'k'] as const) world.last[tag] = world.floor[tag] = reply.head.version;
}

function touch(world: World, at: { tag: EntryTag; key: string; version: number; limit: number }): void {
  const touched = world.touched[at.tag];
  touched.delete(at.key); // so that a key touched again moves to the end
  touched.set(at.key, at.version);
  if (touched.size <= at.limit) return;
  for (const version of forgotten(touched, at.limit)) world.floor[at.tag] = Math.max(world.floor[at.tag], version);
}

function remember(map: Map<number, string>, version: number, id: string, limit: number): void {
  map.set(version, id);
  if (map.size > limit) for (const _ of forgotten(map, limit));
}

/**
 * Takes the oldest tenth out of a map that is over its limit. Not one by one: to find the oldest, a Map goes over the holes that those before
 * it left. [measured] At 200,000 keys a pull of 5,000 held the event loop for 500 ms; so it takes 4, and 12 when it drops some.
 */
function* forgotten<K, V>(map: Map<K, V>, limit: number): Generator<V> {
  const kept = Math.ceil(limit * 0.9);
  for (const [oldest, value] of map) {
    if (map.size <= kept) return;
    map.delete(oldest);
    yield value;
  }
}

/** Is the stamp of a fill a point of this world's own history, at or before its head? */
export function knows(world: World, stamp: Revision): boolean {
  return world.ids.get(stamp.version) === stamp.id;
}

/** Is the state of this world that of the revision, or a later one? A version alone proves nothing: another history has the same numbers. */
export function isReached(world: World, { version, id }: Revision): boolean {
  return version <= world.head.version && idOf(world, version) === id;
}

/** The id that this history has for a version, as far as is known; '' if the log had no such row. */
export function idOf(world: World, version: number): string | undefined {
  return world.ids.get(version) ?? world.answers.get(version);
}

/**
 * Admits what a fill read of one id, if nothing has touched it since the stamp. The caller has seen that the world knows the stamp.
 * @returns false: refused, fill again
 */
export function admitObject(
  world: World,
  vocabulary: Vocabulary,
  fill: { id: string; as: 'subject' | 'target'; row: ObjectRow | null; stamp: Revision },
): boolean {
  const { id, row } = fill;
  const draft = { at: fill.stamp.version };
  if (!provedObject(world, id, draft)) return false;
  const { at } = draft;
  if (row === null) {
    world.subjects.delete(id);
    world.targets.delete(id);
    world.absent.set(apart(id), { at, used: false, ...NOWHERE, cell: null });
    return true;
  }
  const { group, type, owner, groups, node, enabled } = placementOf(vocabulary, row, numbersOf(world));
  // Its owner is not in the tree, so the row is not of the head's state (an owner that went away touches what it owned).
  if (owner === NONE && (row.kind !== 'tenant' || node === NONE)) return false;
  world.absent.delete(id);
  const list = listed(world, groups);
  // By the row's own string: the request's may be a slice of its whole URL, and would keep that.
  if (fill.as === 'target') world.targets.set(row.id, { at, used: false, group, type, owner, groups: list, node, enabled });
  else {
    const cell = row.kind === 'user' ? cellOf(world, { owner: row.owner!, groups: row.groups }) : null;
    world.subjects.set(row.id, { at, used: false, group, type, owner, groups: list, node, enabled, cell });
  }
  return true;
}

/** The same for a permission class: into the cell that asked, which goes back into the store (it may have been evicted meanwhile). */
export function admitClass(world: World, vocabulary: Vocabulary, fill: { cell: ClassCell; grants: readonly Grant[]; stamp: Revision }): boolean {
  const { cell, grants } = fill;
  const roles = [...new Set(grants.map((grant) => grant.role))];
  const draft = { ...cell, at: fill.stamp.version, roles, effective: NOTHING };
  if (!provedClass(world, draft)) return false;
  cell.effective = interned(world, flatten(vocabulary, grants, numbersOf(world)));
  cell.roles = roles;
  cell.at = draft.at;
  world.classes.set(cell.name, cell);
  return true;
}

/** Roles are few, so what they give together is: most classes share it, and with it the memory that a check looks at. */
function interned(world: World, effective: EffectivePermissions): EffectivePermissions {
  const content = effective.generic.join();
  const known = world.generics.get(content);
  if (known !== undefined) return { ...effective, generic: known };
  if (world.generics.size >= GENERICS_INTERNED) world.generics.clear();
  world.generics.set(content, effective.generic);
  return effective;
}

/** A copy of an id that may be a slice of a request's whole URL, which it would keep: no engine has a word for that, but a joined text is cut from itself. */
function apart(id: string): string {
  return ` ${id}`.slice(1);
}

const NOTHING = {} as EffectivePermissions; // stands for "filled" in a draft that is never read

const NO_GROUPS: readonly number[] = [];
const NOWHERE: Placement = { group: false, type: NONE, owner: NONE, groups: NO_GROUPS, node: NONE, enabled: false };

/** Interned: things of one owner are in the same groups. */
function listed(world: World, groups: readonly number[]): readonly number[] {
  if (groups.length === 0) return NO_GROUPS;
  const content = groups.join();
  const known = world.groupLists.get(content);
  if (known) return known;
  // Interned lists live on in their entries: when the table is full it is simply begun again.
  if (world.groupLists.size >= LISTS_INTERNED) world.groupLists.clear();
  world.groupLists.set(content, groups);
  return groups;
}

function numbersOf(world: World): Numbers {
  return { group: (id) => groupNumber(world, id), node: (id) => world.tree.node(id) };
}

function cellOf(world: World, key: ClassKey): ClassCell {
  // Numbers, so that no id can be made to look like two.
  const name = `${world.tree.node(key.owner)}:${key.groups
    .map((id) => groupNumber(world, id))
    .toSorted((a, b) => a - b)
    .join()}`;
  const known = world.classes.get(name);
  if (known) return known;
  const cell: ClassCell = { name, key, groups: [...key.groups, formatAllGroup('USER', key.owner)], at: 0, effective: null, roles: [] };
  world.classes.set(name, cell);
  return cell;
}

function groupNumber(world: World, id: string): number {
  return world.groupNumbers.add(id);
}
