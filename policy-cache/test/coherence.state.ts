// What is one state of the model, and when are two the same?
//
// The follower's own state, the database, and the statements under way. The key of a state leaves out what no later step can tell:
// counters, absolute times (ages are kept, up to one tick past the lease), numbers of interned names, and whatever waits for nobody.
// Every part of a key says how long it is, and keys are kept whole, never hashed: two states are one only if they are the same.

import type { Flights, Want } from '../src/flights.ts';
import type { FollowerState } from '../src/follower.ts';
import type { EffectivePermissions } from '../src/effective.ts';
import type { PullRequest } from '../src/source.ts';
import type { OwnerTree } from '../src/tree.ts';
import type { ClassCell, ObjectEntry, World } from '../src/world.ts';
import { placementIn } from '../src/world.ts';
import { entriesOf } from './coherence.copy.ts';
import type { Follower } from './coherence.copy.ts';
import type { Database, PullSnapshot, Snapshot } from './coherence.database.ts';
import type { Fleet } from './coherence.fleet.ts';
import type { Request } from './coherence.request.ts';

export interface Pull {
  readonly session: number;
  readonly number: number;
  readonly seen: PullSnapshot;
}
export interface Load {
  readonly number: number;
  /** Null until it runs. */
  readonly seen: Snapshot | null;
}
export interface Fill {
  readonly batch: number;
  readonly wants: readonly Want[];
  readonly seen: Snapshot | null;
}

export interface State {
  readonly follower: Follower;
  readonly database: Database;
  /** That the session is at; -1: there is no session. */
  readonly server: number;
  readonly pulls: readonly Pull[];
  readonly loads: readonly Load[];
  readonly fills: readonly Fill[];
  /** A check with `latest` that came: the pulls of then, and the newest commit of then. */
  readonly latest: (Pick<FollowerState, 'pulls' | 'inFlight'> & { readonly commit: number }) | null;
  /** Commits that a head has shown to those who ask, as bits. */
  readonly reported: number;
  readonly fleet: Fleet;
  /** One that came and is not answered yet. */
  readonly request: Request | null;
  /** How the last answer to a request breaks a promise; null: it does not. */
  readonly wrong: string | null;
  /** Commits for which a barrier has returned, as bits. */
  readonly barred: number;
  readonly now: number;
}

// ---- keys --------------------------------------------------------------------------------------------------------------------------

const bytes = Buffer.alloc(4_096);
let length = 0;
/** A number from -1 to 254, or so many bytes of a larger one. */
function put(value: number): void {
  bytes[length++] = value + 1;
}
function put16(value: number): void {
  bytes[length++] = value >> 8;
  bytes[length++] = value;
}

const ids = new Map<string, number>();
for (let number = 0; number < 16; number++) {
  ids.set(`c${number}`, number);
  ids.set(`c${number}.1`, number + 16);
}
/** The commit of an id, that of its inner rows included. */
export const numberOf = (id: string): number => ids.get(id)! % 16;
const keyCodes = new Map(['u', 'x', 'A', 'B', 'R', 'all:USER:s', 'n0', 'n1', 'n2', 'm0', 'm1', 'm2', 'a', 'h'].map((key, i) => [key, i]));
const phases = { detached: 0, attaching: 1, following: 2 } as const;

/** What is counted in a configuration: ticks to a lease, and what else must tell states apart. */
export interface Counted {
  readonly tick: number;
  readonly cap: number;
  readonly tokens: boolean;
  readonly barriers: boolean;
  readonly keys: boolean;
  /** Ticks from the start on, within which the wall clock still matters. */
  readonly wall: number;
}

export function keyOf(state: State, counted: Counted): string {
  length = 0;
  const { follower, database } = state;
  const age = (since: number): number => Math.min(counted.cap, (state.now - since) / counted.tick);
  put(database.hole + (database.resumed ? 64 : 0) + (database.heads.length > 1 ? 128 : 0));
  put(database.commits.length);
  for (let i = 1; i < database.commits.length; i++) {
    const { kind, version, parent } = database.commits[i]!;
    put(kindCode(kind));
    put(version);
    put(parent);
    put(database.ages[i]!);
  }
  for (const head of database.heads) put(head);
  for (const kept of database.kept) put(kept);
  put(phases[follower.phase] + 4 * (state.server + 1) + (follower.due === null ? 0 : 16));
  put(follower.timeline === null ? 0 : Number(follower.timeline) + 1);
  put16(state.reported);
  putWorld(follower.current, age, counted);
  put(follower.reset === null ? 0 : follower.reset.world === null ? 1 : 2);
  if (follower.reset?.world) putWorld(follower.reset.world, age, counted);
  const { inFlight } = follower;
  put(inFlight === null ? -1 : age(inFlight.sent));
  if (inFlight !== null) put(inFlight.world === follower.current ? -1 : inFlight.world === follower.reset?.world ? 100 : numberOf(inFlight.world.head.id));
  if (counted.barriers) putReports(state, counted);
  putStatements(state);
  putFlights(follower.flights, state);
  if (state.latest) {
    const { pulls, commit } = state.latest;
    put(commit + (state.latest.inFlight === null ? 0 : 16));
    put(order(follower.current?.pulled ?? 0, pulls));
    put(order(inFlight?.number ?? 0, pulls));
  }
  if (counted.wall > 0) put(Math.min(counted.wall, state.now / counted.tick));
  let key = bytes.toString('latin1', 0, length);
  if (state.request !== null || state.wrong !== null) key += `${state.request?.code ?? ''}\n${state.wrong ?? ''}`;
  return follower.kept === undefined ? key : `${key}\n${JSON.stringify(follower.kept, stable)}`;
}

const order = (pull: number, mark: number): number => (pull < mark ? 0 : pull === mark ? 1 : 2);

function putReports({ follower, fleet, barred, now }: State, { tick }: Counted): void {
  const { reported, inFlight } = follower;
  put16(barred);
  put(fleet.lost);
  put(fleet.listed === null ? -1 : fleet.listed.lease);
  if (fleet.listed !== null) put(fleet.listed.commit);
  put(reported === null ? -1 : Math.min(8, (now - reported.sent) / tick));
  if (reported !== null) put(reported.version);
  put(inFlight?.report ?? -1);
}

const kindCodes = new Map<string, number>();
function kindCode(kind: string): number {
  let code = kindCodes.get(kind);
  if (code === undefined) kindCodes.set(kind, (code = kindCodes.size));
  return code;
}

function stable(_: string, value: unknown): unknown {
  if (value instanceof Map) return [...value];
  return value instanceof Set ? [...value] : value;
}

const MARKS = ['o', 'g', 'r', 'k'] as const;
const MARKS_WITHOUT_KEYS = ['o', 'g', 'r'] as const;

function putWorld(world: World | null, age: (since: number) => number, { tokens, keys }: Counted): void {
  if (world === null) return put(-1);
  const { head, last, floor, touched } = world;
  put(ids.get(head.id)!);
  put(age(world.freshAsOf));
  for (const tag of keys ? MARKS : MARKS_WITHOUT_KEYS) {
    put(last[tag]);
    put(floor[tag]);
    put(touched[tag].size);
    for (const [key, version] of touched[tag]) {
      put(keyCodes.get(key) ?? 64);
      put(version);
    }
  }
  let known = 0;
  for (const id of world.ids.values()) known |= 1 << ids.get(id)!;
  put16(known & 0xffff);
  put16(known >>> 16);
  if (tokens) {
    let code = 0;
    for (const [version, id] of world.answers) code += (id === '' ? 1 : 2 + (ids.get(id)! % 16)) * 16 ** version;
    for (let i = 0; i < 6; i++, code = Math.floor(code / 256)) put((code % 256) - 1);
  }
  put(treeCode(world.tree));
  putEntries(world);
  if (keys) putKeys(world);
}

function putKeys(world: World): void {
  const actor = world.subjects.get('a');
  const user = world.targets.get('u');
  const others = [actor, user, world.keys.get('h'), world.absentKeys.get('h')];
  put(others.reduce((bits, entry, i) => bits | (entry === undefined ? 0 : 1 << i), 0));
  for (const entry of others) if (entry !== undefined) put16('user' in entry ? entry.at * 16 + keyCode(entry) : entry.at);
  if (user !== undefined) put(valueCode(user, world));
  if (actor === undefined) return;
  const shared = actor.cell === world.subjects.get('u')?.cell;
  put((actor.enabled ? 1 : 0) + (shared ? 2 : 0));
  if (!shared) putCell(actor.cell, world);
}

/** The commit of a key; 15: it is nobody's. What else is in it is what that commit made of it. */
const keyCode = ({ user, expires }: { readonly user: string; readonly expires: number }): number => (user === '' ? 15 : expires % 500);

function putEntries(world: World): void {
  const subject = world.subjects.get('u') ?? world.absent.get('u');
  put(subject === undefined ? 0 : 1);
  if (subject !== undefined) {
    put(subject.at);
    put(valueCode(subject, world));
    putCell(subject.cell, world);
  }
  const target = world.targets.get('x') ?? world.absent.get('x');
  put(target === undefined ? 0 : 1);
  if (target !== undefined) {
    put(target.at);
    put(valueCode(target, world));
  }
  put(world.classes.size);
  const actor = world.subjects.get('a');
  const cells = [...entriesOf(world.classes).values()].filter((cell) => cell !== subject?.cell && cell !== actor?.cell);
  for (const cell of cells.length > 1 ? cells.toSorted((a, b) => classCode(a) - classCode(b)) : cells) putCell(cell, world);
}

function putCell(cell: ClassCell | null, world: World): void {
  if (cell === null) return put(-1);
  put(classCode(cell) + (world.classes.get(cell.name) === cell ? 16 : 0));
  if (cell.effective === null) return put(-1);
  put(cell.at);
  put(cell.roles.length);
  put16(effectiveCode(cell.effective));
}

/** The groups `u0` to `u2` of a class, and whether it is of those who were moved: what else is in its key is always there. */
function classCode({ key }: ClassCell): number {
  let code = key.owner === 's' ? 0 : 8;
  for (const group of key.groups) if (group.length === 2) code |= 1 << Number(group[1]);
  return code;
}

const DEVICE = 0;
/** Bit 0 is CREATE; the questions about a class are bits 1 to 12. */
const effectiveCode = ({ generic }: EffectivePermissions): number => generic[DEVICE]! & 0xffff;

const lists = new WeakMap<readonly number[], number>();
function valueCode(entry: ObjectEntry, world: World): number {
  if (placementIn(entry) === null) return 32;
  let code = lists.get(entry.groups);
  if (code === undefined) {
    code = 0;
    for (const number of entry.groups) {
      const name = world.groupNumbers.id(number);
      if (name.length === 2) code |= 1 << Number(name[1]);
    }
    lists.set(entry.groups, code);
  }
  return code | (entry.enabled ? 0 : 16);
}

const trees = new WeakMap<OwnerTree, number>();
function treeCode(tree: OwnerTree): number {
  let code = trees.get(tree);
  if (code !== undefined) return code;
  code = 0;
  const inside = tree.node('s');
  ['n0', 'n1', 'n2', 'm0', 'm1', 'm2'].forEach((id, i) => {
    if (tree.parent(tree.node(id)) === inside) code! |= 1 << i;
  });
  trees.set(tree, code);
  return code;
}

/** Pulls and loads; what nobody waits for any more is there only where late answers are let in. */
function putStatements({ pulls, loads, follower }: State): void {
  put(pulls.length * 4 + loads.length);
  for (const { session, number, seen } of pulls) {
    put(session === follower.session && number === follower.inFlight?.number ? 1 : 0);
    putPull(seen.request, seen);
  }
  for (const { number, seen } of loads) {
    put(number === follower.reset?.load && follower.reset.world === null ? 1 : 0);
    put(seen === null ? 254 : seen.stamp);
    put(seen === null ? 254 : seen.value);
  }
}

function putPull({ cursor, limit }: PullRequest, { server, head, kept, hole }: PullSnapshot): void {
  put(cursor);
  put(server + 2 * (limit === null ? 1 : 0));
  put(head);
  put(kept);
  put(hole);
}

function wantCode(want: Want): number {
  if (want.kind === 'class') return 2 + classCode(want.cell);
  if (want.kind === 'key') return 18;
  return want.as === 'subject' ? (want.id === 'u' ? 0 : 19) : want.id === 'x' ? 1 : 20;
}

/** Which cell is wanted: the subject's, the actor's, the one in the map, or one that none has. */
function cellPlace(want: Want, { current }: Follower): number {
  if (want.kind !== 'class' || current === null) return 0;
  const { subjects } = current;
  const whose = (subjects.get('u')?.cell === want.cell ? 1 : 0) + (subjects.get('a')?.cell === want.cell ? 4 : 0);
  return whose + (current.classes.get(want.cell.name) === want.cell ? 2 : 0);
}

function putFlights({ out, queue, keyQueue, batches }: Flights, { fills, follower }: State): void {
  const rows: number[][] = [];
  for (const { want, answer, batch } of out.values()) {
    const row = [wantCode(want), cellPlace(want, follower), batches.has(batch) ? 1 : 0];
    const fill = fills.find((one) => one.batch === batch);
    if (answer !== null)
      row.push(ids.get(answer.stamp.id)!, want.kind === 'key' ? keyCode(answer.key ?? NOBODYS) : rowCode(answer.row), grantsCode(answer.grants));
    else if (fill?.seen) row.push(fill.seen.stamp, fill.seen.value, fills.indexOf(fill));
    rows.push(row);
  }
  for (const { want } of queue.values()) rows.push([wantCode(want), cellPlace(want, follower), 2]);
  for (const { want } of keyQueue.values()) rows.push([wantCode(want), 0, 2]);
  const dead = fills.filter(({ batch }) => !batches.has(batch));
  put(rows.length * 8 + dead.length);
  for (const row of rows.toSorted((a, b) => a[0]! - b[0]!)) {
    put(row.length);
    for (const value of row) put16(value);
  }
  for (const { wants, seen } of dead) for (const want of wants) put16(wantCode(want) * 64 + (seen === null ? 0 : seen.stamp * 8 + seen.value));
}

const NOBODYS = { user: '', expires: 0 };

function rowCode(row: { readonly enabled: boolean; readonly groups: readonly string[] } | null): number {
  if (row === null) return 32;
  let code = row.enabled ? 0 : 16;
  for (const group of row.groups) if (group.length === 2) code |= 1 << Number(group[1]);
  return code;
}

/** The operations of generic roles as bits, and whether R was met. */
function grantsCode(grants: readonly { readonly role: string; readonly kind: string }[]): number {
  let code = 0;
  for (const grant of grants) {
    if (grant.role === 'R') code |= 1;
    if (grant.kind === 'generic') for (const operation of operationsOf(grant)) code |= 1 << (1 + operation);
  }
  return code;
}

const partBits: ReadonlyMap<string, number> = new Map(
  ['A', 'B', 'R', 'U'].flatMap((part, p) => [0, 1, 2].map((bit) => [`${part}${bit}`, 3 * p + bit] as const)),
);
function operationsOf(grant: object): number[] {
  const permissions = (grant as { permissions?: Record<string, readonly string[]> }).permissions ?? {};
  return (permissions['DEVICE'] ?? []).flatMap((operation) => partBits.get(operation) ?? []);
}
