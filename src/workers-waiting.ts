// Who gets the next connection, and where does it wait when nobody has taken the ones before?
//
// Node sends nothing more to a child until it has confirmed the last socket, which takes one or two turns of that child's loop. So whatever
// else is said to a worker waits behind every connection that it was given. Measured with turns of 5 ms and 2,500 connections at once: the
// question how it is was not answered for ten seconds, and one healthy worker after the other was killed for it. So few are on their way
// to each worker, and the others wait here, in the order of their coming.

import type { Held, WorkerProcess } from './workers-process.ts';

/** On their way to one worker. One is enough to keep it busy; with turns of 20 ms it still says how it is in time. */
const MOST_ON_THEIR_WAY = 16;
/** As many as a door has open at the most. */
const MOST_WAITING = 10_000;

type Candidate = Pick<WorkerProcess, 'isReady' | 'missed' | 'onTheirWay' | 'open' | 'give'>;

export interface WaitingParts {
  /** Workers that may be given connections. */
  readonly up: () => readonly Candidate[];
  /** For a connection when there is none of them. */
  readonly nobody: (held: Held) => void;
}

export interface Waiting {
  /** Turned away, because too many waited. */
  readonly shed: number;
  readonly length: number;
  /** At the end of the line. */
  add(held: Held): void;
  /** Before all that wait: they have waited already. */
  giveBack(left: readonly Held[]): void;
  /** A worker may have room again, or has come, or gone. */
  next(): void;
  /** Nobody gets those that still wait. */
  end(): void;
}

export function createWaiting({ up, nobody }: WaitingParts): Waiting {
  let line: Held[] = [];
  let shed = 0;
  const next = (): void => {
    let given = 0;
    for (const held of line) {
      const workers = up();
      const best = bestOf(workers, held.listener);
      if (workers.length > 0 && best === null) break;
      given++;
      if (best === null) nobody(held);
      else best.give(held);
    }
    if (given > 0) line.splice(0, given);
  };
  return {
    get shed() {
      return shed;
    },
    get length() {
      return line.length;
    },
    add(held) {
      if (line.length >= MOST_WAITING) {
        shed++;
        held.socket.destroy();
        return;
      }
      line.push(held);
      if (line.length === 1) next(); // else somebody waits already, for whom there was no room
    },
    giveBack(left) {
      line = [...left, ...line];
      next();
    },
    next,
    end() {
      for (const { socket } of line.splice(0)) socket.destroy();
    },
  };
}

/** The one with fewest of this listener. Null: those that can be relied on have enough on their way, or there are none. */
function bestOf(workers: readonly Candidate[], listener: number): Candidate | null {
  // One that has just come has none, and no world yet; one that is missed may never take it.
  const isBehind = ({ isReady, missed }: Candidate): number => (isReady ? 0 : 1) + (missed > 1 ? 2 : 0);
  const least = Math.min(...workers.map(isBehind));
  const [best = null] = workers
    .filter((worker) => isBehind(worker) === least && worker.onTheirWay < MOST_ON_THEIR_WAY)
    .toSorted((a, b) => a.open(listener) - b.open(listener));
  return best;
}
