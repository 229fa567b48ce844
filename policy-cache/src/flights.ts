// Which misses are being filled, which wait, and when is a fill's answer let in?
//
// Single flight per key. Misses are batched by themselves: while a few statements are out, what else is missed gathers in one
// FIFO and leaves with the next one (coherence 3.6). Pure bookkeeping over plain state: follower.ts drives it.

import { PolicyError } from './errors.ts';
import type { Grant, Revision } from './model.ts';
import { admitKey } from './keys.ts';
import type { ClassesReply, KeyRow, KeysReply, ObjectRow, ObjectsReply } from './source.ts';
import { admitClass, admitObject, knows } from './world.ts';
import type { ClassCell, World } from './world.ts';
import type { Vocabulary } from './vocabulary.ts';

/** A piece that a check misses. `asker`: the subject of that check, for fairness. `trace`: of its options. */
export type Want =
  | { readonly kind: 'object'; readonly as: 'subject' | 'target'; readonly id: string; readonly asker: string; readonly trace?: object | undefined }
  | { readonly kind: 'class'; readonly cell: ClassCell; readonly asker: string; readonly trace?: object | undefined }
  | { readonly kind: 'key'; readonly hash: string; readonly asker: typeof KEYS_ASKER; readonly trace?: object | undefined };

/** Who asks by a key is not known yet, so all of them are one asker, that no id can be (it has a control character). */
export const KEYS_ASKER = '\0keys';

export interface Flight {
  readonly want: Want;
  readonly tries: number;
  /** Clock reading after which nobody waits for it any more. */
  until: number;
  /** Number of the statement that carries it. */
  readonly batch: number;
  /** What the source read; null while the statement is out. */
  answer: { readonly stamp: Revision; readonly row: ObjectRow | null; readonly grants: readonly Grant[]; readonly key: KeyRow | null } | null;
  /** Of the checks that wait or waited for it, the first that came first; absent where none has one. */
  traces?: object[] | undefined;
}

/** What a source answered to a statement. */
export type FillReply =
  | { readonly kind: 'objects'; readonly batch: number; readonly reply: ObjectsReply }
  | { readonly kind: 'classes'; readonly batch: number; readonly reply: ClassesReply }
  | { readonly kind: 'keys'; readonly batch: number; readonly reply: KeysReply };

export interface Waiting {
  readonly want: Want;
  readonly tries: number;
  /** Clock reading after which nobody waits for it any more. */
  until: number;
  traces?: object[] | undefined;
}

export interface Batch {
  readonly kind: Want['kind'];
  readonly names: readonly string[];
}

export interface Flights {
  readonly out: Map<string, Flight>;
  readonly queue: Map<string, Waiting>;
  /** Misses of API keys, apart: those that may not leave yet must not be gone over for each check that misses something. */
  readonly keyQueue: Map<string, Waiting>;
  /** Keys in the queue, by asker. */
  readonly queued: Map<string, number>;
  /** Statements out, by number. */
  readonly batches: Map<number, Batch>;
}

export const FLIGHT_LIMITS = {
  /** A flight that has not been admitted by then is given up, ms: its key is asked for again, so that one lost answer blocks nobody. */
  life: 250,
  inFlight: 100,
  inFlightOfAsker: 10,
  queue: 10_000,
  queueOfAsker: 200,
  /** Made-up keys cost a statement each, whoever sends them: however many there are, they leave room for the checks of others. */
  inFlightOfKeys: 50,
  queueOfKeys: 5_000,
  statementsOfKeys: 2,
  /** Statements at once: what else comes gathers into the next one. */
  statements: 4,
  /** Refusals and errors in a row after which the askers hear of it. */
  tries: 5,
} as const;

export const newFlights = (): Flights => ({ out: new Map(), queue: new Map(), keyQueue: new Map(), queued: new Map(), batches: new Map() });

/** Unambiguous: the first character tells the kind, class names are numbers. */
export function wantName(want: Want): string {
  switch (want.kind) {
    case 'class':
      return `c${want.cell.name}`;
    case 'key':
      return `k${want.hash}`;
    case 'object':
      return want.as === 'subject' ? `s${want.id}` : `t${want.id}`;
    default:
      return want satisfies never;
  }
}

/** Puts a miss in the queue unless it is there or out. @throws PolicyError `overload` when the queue, or the asker's part of it, is full */
export function enqueue(flights: Flights, want: Want, until: number): void {
  const name = wantName(want);
  const known = flights.out.get(name) ?? queueOf(flights, want).get(name);
  if (known) {
    known.until = Math.max(known.until, until);
    if (want.trace !== undefined) (known.traces ??= []).push(want.trace);
    return;
  }
  const full = want.kind === 'key' ? flights.keyQueue.size >= FLIGHT_LIMITS.queueOfKeys : flights.queue.size >= FLIGHT_LIMITS.queue;
  if (full || (want.kind !== 'key' && (flights.queued.get(want.asker) ?? 0) >= FLIGHT_LIMITS.queueOfAsker))
    throw new PolicyError('overload', 'too many permissions are waiting to be read');
  push(flights, name, { want, tries: 0, until, traces: want.trace === undefined ? undefined : [want.trace] });
}

/** Takes from the queue what may leave now: at most one batch of each kind. */
export function depart(flights: Flights, now: number, nextNumber: () => number): readonly { number: number; kind: Want['kind']; wants: readonly Want[] }[] {
  if (flights.queue.size + flights.keyQueue.size === 0 || flights.batches.size >= FLIGHT_LIMITS.statements || flights.out.size >= FLIGHT_LIMITS.inFlight)
    return [];
  const ofAsker = new Map<string, number>();
  for (const flight of flights.out.values()) count(ofAsker, flight.want.asker, 1);
  const numbers = { object: nextNumber(), class: nextNumber(), key: nextNumber() };
  const leaving = { object: [] as Want[], class: [] as Want[], key: [] as Want[] };
  for (const queue of keysMayLeave(flights) ? [flights.queue, flights.keyQueue] : [flights.queue]) {
    for (const [name, waiting] of queue) {
      if (flights.out.size >= FLIGHT_LIMITS.inFlight) break;
      const { want } = waiting;
      if (waiting.until < now) {
        drop(flights, name, want);
        continue;
      }
      const others = ofAsker.get(want.asker) ?? 0;
      if (want.kind === 'key' && others >= FLIGHT_LIMITS.inFlightOfKeys) break; // they are all of one asker
      if (want.kind !== 'key' && others >= FLIGHT_LIMITS.inFlightOfAsker) continue;
      count(ofAsker, want.asker, 1);
      drop(flights, name, want);
      flights.out.set(name, { want, tries: waiting.tries, until: waiting.until, batch: numbers[want.kind], answer: null, traces: waiting.traces });
      leaving[want.kind].push(want);
    }
  }
  return (['object', 'class', 'key'] as const)
    .filter((kind) => leaving[kind].length > 0)
    .map((kind) => {
      flights.batches.set(numbers[kind], { kind, names: leaving[kind].map(wantName) });
      return { number: numbers[kind], kind, wants: leaving[kind] };
    });
}

function keysMayLeave({ batches }: Flights): boolean {
  let out = 0;
  for (const { kind } of batches.values()) if (kind === 'key') out++;
  return out < FLIGHT_LIMITS.statementsOfKeys;
}

/** What each flight of a batch is answered. */
export function answersOf({ kind, reply }: FillReply): (want: Want, index: number) => NonNullable<Flight['answer']> {
  const nothing = { stamp: reply.stamp, row: null, grants: [], key: null };
  switch (kind) {
    case 'objects': {
      const rows = new Map(reply.rows.map((row) => [row.id, row]));
      return (want) => ({ ...nothing, row: (want.kind === 'object' && rows.get(want.id)) || null });
    }
    case 'classes':
      return (_, index) => ({ ...nothing, grants: reply.grants[index] ?? [] });
    case 'keys': {
      const rows = new Map(reply.rows.map((row) => [row.hash, row]));
      return (want) => ({ ...nothing, key: (want.kind === 'key' && rows.get(want.hash)) || null });
    }
    default:
      return kind satisfies never;
  }
}

/** A batch's answer has come: its flights hold it until the cursor has reached the stamp. Unknown numbers are late: ignored. */
export function land(flights: Flights, number: number, answer: (want: Want, index: number) => NonNullable<Flight['answer']>): void {
  const batch = flights.batches.get(number);
  flights.batches.delete(number);
  batch?.names.forEach((name, index) => {
    const flight = flights.out.get(name);
    if (flight?.batch === number) flight.answer = answer(flight.want, index);
  });
}

/**
 * Lets in what may be let in; refused answers go back to the queue, a few times.
 * @returns names whose askers can go on (`failed`: with an error)
 */
export function admitAll(
  world: World,
  flights: Flights,
  to: { vocabulary: Vocabulary; refused(): void },
): { settled: string[]; failed: string[]; waits: boolean } {
  const outcome = { settled: [] as string[], failed: [] as string[], waits: false };
  for (const [name, flight] of flights.out) {
    const { want, answer } = flight;
    if (answer === null) continue;
    if (answer.stamp.version > world.head.version) {
      outcome.waits = true;
      continue;
    }
    flights.out.delete(name);
    if (knows(world, answer.stamp) && admit(world, to.vocabulary, want, answer)) outcome.settled.push(name);
    else {
      to.refused();
      if (!again(flights, name, flight)) outcome.failed.push(name);
    }
  }
  return outcome;
}

function admit(world: World, vocabulary: Vocabulary, want: Want, answer: NonNullable<Flight['answer']>): boolean {
  const { stamp } = answer;
  switch (want.kind) {
    case 'class':
      return admitClass(world, vocabulary, { cell: want.cell, grants: answer.grants, stamp });
    case 'key':
      return admitKey(world, { hash: want.hash, row: answer.key, stamp });
    case 'object':
      return admitObject(world, vocabulary, { id: want.id, as: want.as, row: answer.row, stamp });
    default:
      return want satisfies never;
  }
}

/**
 * A statement failed, or it is over its life: whatever of it is still out (`names`: of a batch that has landed, too) is asked for
 * again, a few times. @returns names whose askers hear of it
 */
export function giveUp(flights: Flights, number: number, names: readonly string[]): string[] {
  flights.batches.delete(number);
  return names.filter((name) => {
    const flight = flights.out.get(name);
    if (flight?.batch !== number) return false;
    flights.out.delete(name);
    return !again(flights, name, flight);
  });
}

/** The connections are gone: everything out goes back to the queue, for the next attachment if somebody still waits then. */
export function ground(flights: Flights): void {
  for (const [name, { want, tries, until, traces }] of flights.out) push(flights, name, { want, tries, until, traces });
  flights.out.clear();
  flights.batches.clear();
}

function again(flights: Flights, name: string, flight: Flight): boolean {
  if (flight.tries + 1 >= FLIGHT_LIMITS.tries) return false;
  push(flights, name, { want: flight.want, tries: flight.tries + 1, until: flight.until, traces: flight.traces });
  return true;
}

function push(flights: Flights, name: string, waiting: Waiting): void {
  const queue = queueOf(flights, waiting.want);
  if (!queue.has(name)) count(flights.queued, waiting.want.asker, 1);
  queue.set(name, waiting);
}

function drop(flights: Flights, name: string, want: Want): void {
  queueOf(flights, want).delete(name);
  count(flights.queued, want.asker, -1);
}

function queueOf(flights: Flights, want: Want): Map<string, Waiting> {
  return want.kind === 'key' ? flights.keyQueue : flights.queue;
}

function count(map: Map<string, number>, key: string, by: number): void {
  const next = (map.get(key) ?? 0) + by;
  if (next === 0) map.delete(key);
  else map.set(key, next);
}
