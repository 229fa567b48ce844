// What can a database be, for the model of the protocol: which commits, which servers, and what do they answer?
//
// A tree of commits: each has a version, an id of its own and a parent. One fail-over, which may lose the newest commit; the old server
// lives on. What a thing is worth at a commit is the number of the newest commit up to there that touched it: two values are equal only
// if nothing touched it in between, which is the most discriminating content there is. Everything here is immutable.

import type { Change, ClassKey, ClassesReply, KeyRow, KeysReply, ObjectRow, ObjectsReply, PullReply, PullRequest, TreeRow } from '../src/source.ts';
import type { Grant, Revision } from '../src/model.ts';
import { OwnerTree } from '../src/tree.ts';
import type { Loaded } from '../src/world.ts';

/** What the values are kept of: subject, target, two user groups (A granted at first, B not), a role, two nodes of the owner tree, a key, who may act as its user. */
export const PARTS = ['u', 'x', 'A', 'B', 'R', 'n', 'm', 'k', 'a'] as const;
export type Part = (typeof PARTS)[number];
const EVERYTHING: readonly Part[] = PARTS;

export type Kind =
  | ('u' | 'u off' | 'u moved' | 'a off' | 'x' | 'x gone' | 'A' | 'B' | 'R' | 'n' | 'm')
  /** A key is made, or its end changes; it ends; its user is another one; whoever has it has logged in as its user, or has not any more; it ends with its user. */
  | ('k' | 'k gone' | 'k other' | 'k actor' | 'k, u gone')
  | ('every o' | 'every g' | 'every r' | 'every n' | 'every k' | '*' | 'x, n');
type Row = readonly [tag: string, keys: readonly string[]];
/** A node stands for as many as a number has bits, so that its place can tell the number. */
export const BITS = [0, 1, 2];
const node = (part: 'n' | 'm'): Row => ['n', BITS.map((bit) => `${part}${bit}`)];
const KINDS: Readonly<Record<Kind, { readonly touches: readonly Part[]; readonly rows: readonly Row[] }>> = {
  u: { touches: ['u'], rows: [['o', ['u']]] },
  'u off': { touches: ['u'], rows: [['o', ['u']]] },
  'u moved': { touches: ['u'], rows: [['o', ['u']]] },
  'a off': { touches: ['a'], rows: [['o', ['a']]] },
  x: { touches: ['x'], rows: [['o', ['x']]] },
  'x gone': { touches: ['x'], rows: [['o', ['x']]] },
  A: { touches: ['A'], rows: [['g', ['A']]] },
  B: { touches: ['B'], rows: [['g', ['B']]] },
  R: { touches: ['R'], rows: [['r', ['R']]] },
  n: { touches: ['n'], rows: [node('n')] },
  m: { touches: ['m'], rows: [node('m')] },
  k: { touches: ['k'], rows: [['k', ['h']]] },
  'k gone': { touches: ['k'], rows: [['k', ['h']]] },
  'k other': { touches: ['k'], rows: [['k', ['h']]] },
  'k actor': { touches: ['k'], rows: [['k', ['h']]] },
  'k, u gone': {
    touches: ['k', 'u'],
    rows: [
      ['k', ['h']],
      ['o', ['u']],
    ],
  },
  'every o': { touches: ['u', 'x', 'a'], rows: [['o', []]] },
  'every g': { touches: ['A', 'B'], rows: [['g', []]] },
  'every r': { touches: ['R'], rows: [['r', []]] },
  'every n': { touches: ['n', 'm'], rows: [['n', []]] },
  'every k': { touches: ['k'], rows: [['k', []]] },
  '*': { touches: EVERYTHING, rows: [['*', []]] },
  'x, n': { touches: ['x', 'n'], rows: [['o', ['x']], node('n')] },
};

export interface Commit {
  readonly kind: Kind | 'genesis';
  readonly number: number;
  readonly parent: number;
  /** Of its last row: the revision. */
  readonly version: number;
  readonly id: string;
  readonly values: Readonly<Record<Part, number>>;
  /** Does A have the grant that meets the role R? Every touch of A adds it or takes it away. */
  readonly granted: boolean;
}

export interface Database {
  readonly commits: readonly Commit[];
  /** Ticks since each was acknowledged, up to one more than matters. */
  readonly ages: readonly number[];
  /** Newest commit of the old primary and, after a fail-over, of the new one. */
  readonly heads: readonly number[];
  /** By server: the oldest commit whose rows the log still has. */
  readonly kept: readonly number[];
  /** Has the new primary taken a commit? Its first number may jump. */
  readonly resumed: boolean;
  /** A commit whose row is missing in the middle of the log (0: none): a fault. */
  readonly hole: number;
  readonly keys: Keys;
}

/** What is so of keys from the start on. */
export interface Keys {
  /** Who has logged in as its user; '': nobody has. */
  readonly actor: string;
  /** By the wall clock, in milliseconds; how much later tells which commit touched it. A whole number of half seconds. */
  readonly ends: number;
}

/** Rules that the database and its SQL keep, each of which can be broken. */
export interface Faults {
  /** A fill is two snapshots: the stamp taken before the value, or after it. */
  readonly fillStamp?: 'before' | 'after';
  /** The same for the rows of a RESET load. */
  readonly loadStamp?: 'before' | 'after';
  /** Trimming takes a row from the middle. */
  readonly holes?: boolean;
  /** Versions are given out before the latch: they do not follow the order of the commits. */
  readonly unordered?: boolean;
  /** Grants that sleep are left out of the class, by a look at the tree. */
  readonly deadGrants?: boolean;
  /** Nobody fences the old primary: it answers pulls after the promotion, too. */
  readonly unfenced?: boolean;
  /** The log says nothing of keys. */
  readonly silentKeys?: boolean;
  /** Fills and loads stay at the old primary, whatever the session is attached to. */
  readonly stuckFills?: boolean;
  /** A report is kept only when its pull is answered. */
  readonly lateReports?: boolean;
  /** A report is kept whatever history its revision is of. */
  readonly blindReports?: boolean;
  /** After a crash or a promotion, a barrier does not wait for those that may have been forgotten. */
  readonly noMarker?: boolean;
}

/** One that a statement saw; `stamp` and `value` differ only by a fault. */
export interface Snapshot {
  readonly stamp: number;
  readonly value: number;
}

const ZERO: Commit['values'] = { u: 0, x: 0, A: 0, B: 0, R: 0, n: 0, m: 0, k: 0, a: 0 };
const GENESIS: Commit = { kind: 'genesis', number: 0, parent: -1, version: 0, id: 'c0', values: ZERO, granted: true };
export function newDatabase(cap: number, keys: Keys): Database {
  return { commits: [GENESIS], ages: [cap], heads: [0], kept: [0], resumed: false, hole: 0, keys };
}

export const primaryOf = (database: Database): number => database.heads.length - 1;
export const headOf = (database: Database): number => database.heads[primaryOf(database)]!;
export const touches = (kind: Kind, part: Part): boolean => KINDS[kind].touches.includes(part);
export const rowsOf = (kind: Kind): number => KINDS[kind].rows.length;

/** The commits of a history, newest first. */
export function* historyOf({ commits }: Database, from: number): Generator<Commit> {
  for (let at = from; at >= 0; at = commits[at]!.parent) yield commits[at]!;
}

/** Is `commit` in the history that ends at `head`? */
export function contains({ commits }: Database, head: number, commit: number): boolean {
  let at = head;
  while (at > commit) at = commits[at]!.parent;
  return at === commit;
}

export function commit(database: Database, to: { server: number; kind: Kind; version: number; age: number }): Database {
  const parent = database.commits[database.heads[to.server]!]!;
  const number = database.commits.length;
  const { touches } = KINDS[to.kind];
  const values = { ...parent.values };
  for (const part of touches) values[part] = number;
  const granted = touches.includes('A') ? !parent.granted : parent.granted;
  const made: Commit = { kind: to.kind, number, parent: parent.number, version: to.version, id: `c${number}`, values, granted };
  return {
    ...database,
    commits: [...database.commits, made],
    ages: [...database.ages, to.age],
    heads: database.heads.with(to.server, number),
    resumed: database.resumed || to.server === 1,
  };
}

/** The revision of a history: with the numbers in order, its newest commit. */
export function revisionOf(database: Database, head: number, { unordered }: Faults): Commit {
  const newest = database.commits[head]!;
  if (unordered !== true) return newest;
  return [...historyOf(database, head)].reduce((highest, one) => (one.version > highest.version ? one : highest), newest);
}

export function failOver(database: Database, loses: boolean, cap: number): Database {
  const old = database.heads[0]!;
  const head = loses ? database.commits[old]!.parent : old;
  const kept = database.kept[0]!;
  // After a loss nobody was promised the lost commit any more; a log cannot have been trimmed beyond what it has.
  const ages = loses ? database.ages.with(old, cap) : database.ages;
  return { ...database, heads: [old, head], kept: [kept, kept > head ? 0 : kept], ages };
}

// ---- what a server answers -----------------------------------------------------------------------------------------------------

/** A pull that ran: what it asked for, and what it saw. */
export interface PullSnapshot {
  readonly server: number;
  readonly head: number;
  readonly kept: number;
  readonly hole: number;
  readonly request: PullRequest;
}

export function pullReply(database: Database, seen: PullSnapshot, faults: Faults): PullReply {
  const { cursor, limit, ask } = seen.request;
  const changes: Change[] = [];
  let cursorId: string | null = null;
  const answers = new Map<number, string | null>(ask.map((version) => [version, null]));
  for (const one of historyOf(database, seen.head)) {
    if (one.number < seen.kept || (one.number > 0 && one.number === seen.hole)) continue;
    const all = one.kind === 'genesis' ? [] : KINDS[one.kind].rows;
    const rows = faults.silentKeys === true ? all.filter(([tag]) => tag !== 'k') : all;
    if (one.version === cursor) cursorId = one.id;
    if (answers.has(one.version)) answers.set(one.version, one.id);
    if (one.version > cursor) changes.push(...rows.map(([tag, keys], row): Change => change(one, tag, keys, rows.length - 1 - row)));
  }
  changes.sort(([a], [b]) => a - b);
  const wanted = limit === null ? changes.filter(([, , tag]) => tag === 'n' || tag === '*') : changes;
  const nodes = new Set(wanted.flatMap(([, , tag, keys]) => (tag === 'n' ? keys : [])));
  const { version, id } = revisionOf(database, seen.head, faults);
  return {
    pid: seen.server,
    timeline: String(seen.server),
    head: { version, id },
    over: false,
    cursorId,
    changes: wanted,
    tree: nodes.size === 0 ? NO_ROWS : treeOf(database.commits[seen.head]!).filter(([key]) => nodes.has(key)),
    answers: [...answers],
    // As if a barrier for the newest commit waited at all times.
    awaited: version,
    queueUsage: null,
    lagMs: null,
  };
}
const NO_ROWS: readonly TreeRow[] = [];

function change({ version, id }: Commit, tag: string, keys: readonly string[], before: number): Change {
  return before === 0 ? [version, id, tag, keys] : [version - before, `${id}.${before}`, tag, keys];
}

export function loadReply(database: Database, { stamp, value }: Snapshot, faults: Faults): Loaded {
  const tree = new OwnerTree();
  tree.load(treeOf(database.commits[value]!));
  return { stamp: stampOf(database, stamp, faults), tree };
}

export function objectsReply(database: Database, ids: readonly string[], seen: Snapshot & { readonly faults: Faults }): ObjectsReply {
  const at = database.commits[seen.value]!;
  const rows = ids.map((id) => (id === 'u' ? subjectRow(database, at) : id === 'a' ? actorRow(database, at) : targetRow(database, at)));
  return { stamp: stampOf(database, seen.stamp, seen.faults), rows: rows.filter((row) => row !== null) };
}

/** There is one hash. */
export function keysReply(database: Database, seen: Snapshot & { readonly faults: Faults }): KeysReply {
  const row = keyRow(database, database.commits[seen.value]!);
  return { stamp: stampOf(database, seen.stamp, seen.faults), rows: row === null ? [] : [row] };
}

export function classesReply(database: Database, keys: readonly ClassKey[], seen: Snapshot & { readonly faults: Faults }): ClassesReply {
  const at = database.commits[seen.value]!;
  return { stamp: stampOf(database, seen.stamp, seen.faults), grants: keys.map((key) => grantsOf(at, key, seen.faults)) };
}

function stampOf(database: Database, head: number, faults: Faults): Revision {
  const { version, id } = revisionOf(database, head, faults);
  return { version, id };
}

// ---- content that tells the commit it is of ---------------------------------------------------------------------------------------

const isSet = (value: number, bit: number): boolean => (value & (1 << bit)) !== 0;
const named = (prefix: string, value: number): string[] => BITS.filter((bit) => isSet(value, bit)).map((bit) => `${prefix}${bit}`);

/** A node hangs below the subject's owner `s` if its bit is set, elsewhere (`e`) if not. */
function treeOf({ values }: Commit): TreeRow[] {
  const place = (part: 'n' | 'm', bit: number): TreeRow => [`${part}${bit}`, [isSet(values[part], bit) ? 's' : 'e']];
  return [['t', [null]], ['s', ['t']], ['e', ['t']], ...BITS.map((bit) => place('n', bit)), ...BITS.map((bit) => place('m', bit))];
}

/** Of the key with the hash `h`; null: it is nobody's. */
export function keyRow({ commits, keys }: Database, { values }: Commit): KeyRow | null {
  const { kind } = commits[values.k]!;
  if (kind === 'k gone' || kind === 'k, u gone') return null;
  const other = kind === 'k other';
  const acts = (keys.actor !== '') !== (kind === 'k actor') && !other;
  return { hash: 'h', user: other ? 'a' : 'u', actor: acts ? 'a' : '', expires: keys.ends + values.k };
}

function subjectRow({ commits }: Database, { values }: Commit): ObjectRow | null {
  const { kind } = commits[values.u]!;
  if (kind === 'k, u gone') return null;
  const owner = kind === 'u moved' ? 'e' : 's';
  return { id: 'u', kind: 'user', type: 'USER', owner, enabled: kind !== 'u off', groups: ['A', 'B', ...named('u', values.u)] };
}

function actorRow({ commits }: Database, { values }: Commit): ObjectRow {
  return { id: 'a', kind: 'user', type: 'USER', owner: 's', enabled: commits[values.a]!.kind !== 'a off', groups: ['A', 'B'] };
}

function targetRow({ commits }: Database, { values }: Commit): ObjectRow | null {
  if (commits[values.x]!.kind === 'x gone') return null;
  return { id: 'x', kind: 'entity', type: 'DEVICE', owner: 's', enabled: true, groups: named('x', values.x) };
}

/** Roles named after a commit never change; R does. The All group holds what the questions about target and tree need. */
function grantsOf(at: Commit, key: ClassKey, faults: Faults): Grant[] {
  const { A, B, R } = classValues(at, faults);
  const generic = (role: string, operations: readonly string[]): Grant => ({ kind: 'generic', role, permissions: { DEVICE: operations }, excluded: {} });
  const grants: Grant[] = [{ kind: 'generic', role: 'K', permissions: { DEVICE: ['CREATE'], USER: ['IMPERSONATE'] }, excluded: {} }];
  for (const bit of BITS) grants.push({ kind: 'group', role: 'K', operations: [`X${bit}`], shared: true, group: `x${bit}`, type: 'DEVICE', owner: 's' });
  for (const group of key.groups) {
    if (group === 'A') grants.push(generic(`A${A}`, named('A', A)));
    else if (group !== 'B') grants.push(generic(`U${group}`, [group.toUpperCase()]));
    else if (B > 0) grants.push(generic(`B${B}`, named('B', B)));
    if (group === 'A' && at.granted) grants.push(generic('R', named('R', R)));
  }
  return grants;
}

/** What a class of A and B is worth. */
export function classValues({ values, granted }: Commit, { deadGrants }: Faults): { A: number; B: number; R: number } {
  return { A: deadGrants === true ? Math.max(values.A, values.n) : values.A, B: values.B, R: granted ? values.R : 0 };
}

const operations = ['CREATE', ...['A', 'B', 'R', 'U', 'X'].flatMap((part) => BITS.map((bit) => `${part}${bit}`)), 'IMPERSONATE'];
/** Just enough words for the questions: one operation per bit of a part. */
export const VOCABULARY = {
  operations,
  resources: ['DEVICE', 'DEVICE_GROUP', 'USER', 'TENANT', 'CUSTOMER'],
  groupResource: { DEVICE: 'DEVICE_GROUP' },
};
