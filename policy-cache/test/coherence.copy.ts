// How is the real state of a follower copied, so that a search can go back to it?

import { newFlights } from '../src/flights.ts';
import type { FollowerState } from '../src/follower.ts';
import type { World } from '../src/world.ts';

export function copyWorld(world: World): World {
  return {
    ...world,
    tree: world.tree.copy(),
    last: { ...world.last },
    floor: { ...world.floor },
    touched: { o: new Map(world.touched.o), g: new Map(world.touched.g), r: new Map(world.touched.r) },
    ids: new Map(world.ids),
    answers: new Map(world.answers),
    groupNumbers: new Map(world.groupNumbers),
    placements: new Map(world.placements),
    subjects: new Map(),
    classes: new Map(),
    absent: new Map(),
    targets: new Map([...(world.targets as Map<string, { at: number; value: null; cell: null }>)].map(([id, entry]) => [id, { ...entry }])),
  };
}

/** Counters that only bound load (tries, tokens of the bucket, deadlines) are put back, or no two states would ever be the same. */
export function copyFollower(state: FollowerState): FollowerState {
  const worlds = new Map<World, World>();
  const copied = <W extends World | null>(world: W): W => {
    if (world === null) return world;
    if (!worlds.has(world)) worlds.set(world, copyWorld(world));
    return worlds.get(world) as W;
  };
  return {
    ...state,
    asks: new Set(),
    bucket: { tokens: 10, at: 0, waits: false },
    current: copied(state.current),
    reset: state.reset && { ...state.reset, world: copied(state.reset.world) },
    inFlight: state.inFlight && { ...state.inFlight, world: copied(state.inFlight.world) },
    flights: {
      ...newFlights(),
      out: new Map([...state.flights.out].map(([name, flight]) => [name, { ...flight, tries: 0 }])),
      queue: new Map([...state.flights.queue].map(([name, waiting]) => [name, { ...waiting, tries: 0, until: Infinity }])),
      queued: new Map(state.flights.queued),
      batches: new Map(state.flights.batches),
    },
  };
}
