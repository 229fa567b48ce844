// How is a state copied, so that a search can go back to it?
//
// A copy shares what the next step cannot change.

import { newFlights } from '../src/flights.ts';
import type { Flights, Want } from '../src/flights.ts';
import type { FollowerState } from '../src/follower.ts';
import type { Store } from '../src/source.ts';
import type { ClassCell, KeyEntry, ObjectEntry, SubjectEntry, World } from '../src/world.ts';

/** What patched code keeps from one turn to the next, where the intact code keeps nothing; immutable. */
export type Follower = FollowerState & { kept?: unknown };

type Cells = Map<ClassCell, ClassCell>;

/** What a step may change beside the session's own fields: nothing, entries, all of a world but its tree, or everything. */
export type Depth = 'session' | 'entries' | 'world' | 'tree';

/** Tries and the bucket bound load alone: they are put back. */
export function copyFollower(state: Follower, depth: Depth): Follower {
  const copy: Follower = { ...state, asks: new Set(state.asks), bucket: { tokens: 10, at: 0, waits: false } };
  if (depth === 'session') {
    copy.flights = copyFlights(state.flights, null);
    return copy;
  }
  const cells: Cells = new Map();
  const { current, reset, inFlight } = state;
  copy.current = current && copyWorld(current, cells, depth);
  if (reset?.world) copy.reset = { load: reset.load, world: copyWorld(reset.world, cells, depth) };
  if (inFlight) {
    const world = inFlight.world === current ? copy.current! : inFlight.world === reset?.world ? copy.reset!.world! : copyWorld(inFlight.world, cells, depth);
    copy.inFlight = { ...inFlight, world };
  }
  copy.flights = copyFlights(state.flights, cells);
  return copy;
}

function copyFlights({ out, queue, keyQueue, queued, batches }: Flights, cells: Cells | null): Flights {
  const copy = newFlights();
  for (const [name, flight] of out) copy.out.set(name, { ...flight, want: copyWant(flight.want, cells), tries: 0 });
  for (const [name, waiting] of queue) copy.queue.set(name, { ...waiting, want: copyWant(waiting.want, cells), tries: 0 });
  for (const [name, waiting] of keyQueue) copy.keyQueue.set(name, { ...waiting, tries: 0 });
  for (const [asker, count] of queued) copy.queued.set(asker, count);
  for (const [number, batch] of batches) copy.batches.set(number, batch);
  return copy;
}

function copyWant(want: Want, cells: Cells | null): Want {
  return cells === null || want.kind !== 'class' ? want : { ...want, cell: copyCell(want.cell, cells) };
}

function copyCell(cell: ClassCell, cells: Cells): ClassCell {
  let copy = cells.get(cell);
  if (copy === undefined) cells.set(cell, (copy = { ...cell }));
  return copy;
}

/** Tables of interned names only ever grow, and are shared: a number that another branch gave out stands for the same name there. */
function copyWorld(world: World, cells: Cells, depth: Depth): World {
  const classes = new Map<string, ClassCell>();
  for (const [name, cell] of entriesOf(world.classes)) classes.set(name, copyCell(cell, cells));
  const entries = {
    ...world,
    subjects: copyEntries(world.subjects, cells),
    targets: copyEntries(world.targets, cells),
    absent: copyEntries(world.absent, cells),
    classes,
    keys: copyKeys(world.keys),
    absentKeys: copyKeys(world.absentKeys),
  };
  if (depth === 'entries') return entries;
  return {
    ...entries,
    tree: depth === 'tree' ? world.tree.copy() : world.tree,
    last: { ...world.last },
    floor: { ...world.floor },
    touched: { o: new Map(world.touched.o), g: new Map(world.touched.g), r: new Map(world.touched.r), k: new Map(world.touched.k) },
    ids: new Map(world.ids),
    answers: new Map(world.answers),
  };
}

function copyEntries(store: Store<ObjectEntry & Partial<SubjectEntry>>, cells: Cells): Map<string, SubjectEntry> {
  const copy = new Map<string, SubjectEntry>();
  for (const [id, { at, used, group, type, owner, groups, node, enabled, cell = null }] of entriesOf(store))
    copy.set(id, { at, used, group, type, owner, groups, node, enabled, cell: cell && copyCell(cell, cells) });
  return copy;
}

function copyKeys(store: Store<KeyEntry>): Map<string, KeyEntry> {
  const copy = new Map<string, KeyEntry>();
  for (const [hash, entry] of entriesOf(store)) copy.set(hash, { ...entry });
  return copy;
}

/** The stores of the model are plain maps. */
export const entriesOf = <V>(store: Store<V>): Map<string, V> => store as Map<string, V>;

/** Runs `use` and puts back what it may have proved anew: to look must not change the state that is looked at. */
export function unchanged<T>(world: World | null, use: () => T): T {
  if (world === null) return use();
  const things: { at: number }[] = [];
  for (const store of [world.subjects, world.targets, world.absent])
    for (const entry of entriesOf<ObjectEntry & Partial<SubjectEntry>>(store).values()) {
      things.push(entry);
      if (entry.cell) things.push(entry.cell);
    }
  for (const cell of entriesOf(world.classes).values()) things.push(cell);
  for (const store of [world.keys, world.absentKeys]) for (const entry of entriesOf(store).values()) things.push(entry);
  const before = things.map(({ at }) => at);
  const result = use();
  for (let i = 0; i < things.length; i++) things[i]!.at = before[i]!;
  return result;
}
