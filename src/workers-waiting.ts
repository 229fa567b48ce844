// Who gets the next connection, and where does it wait when nobody has taken the ones before?
//
// Node sends nothing more to a child until it has confirmed the last socket, which takes one or two turns of that child's loop. So whatever
// else is said to a worker waits behind every connection that it was given. Measured with turns of 5 ms and 2,500 connections at once: the
// question how it is was not answered for ten seconds, and one healthy worker after the other was killed for it. So few are on their way
// to each worker, and the others wait here, in the order of their coming; those of each listener in a line of their own, from which one goes
// in turn: who asks whether this process is alive does not wait for thousands that came to a door before.

import type { Held, WorkerProcess } from './workers-process.ts';

/** On their way to one worker. One is enough to keep it busy; with turns of 20 ms it still says how it is in time. */
const MOST_ON_THEIR_WAY = 16;
/** Of one listener: as many as a door has open at the most. */
const MOST_WAITING = 10_000;

type Candidate = Pick<WorkerProcess, 'isReady' | 'missed' | 'onTheirWay' | 'open' | 'give'>;

export interface WaitingParts {
  readonly listeners: number;
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

export function createWaiting({ listeners, up, nobody }: WaitingParts): Waiting {
  const lines = Array.from({ length: listeners }, (): Held[] => []);
  let shed = 0;
  /** The listener whose turn it is. */
  let turn = 0;
  const length = (): number => lines.reduce((all, line) => all + line.length, 0);
  const next = (): void => {
    for (let empty = 0; empty < listeners; turn = (turn + 1) % listeners) {
      const line = lines[turn] ?? [];
      const [held] = line;
      if (held === undefined) {
        empty++;
        continue;
      }
      empty = 0;
      const workers = up();
      const best = bestOf(workers, held.listener);
      if (workers.length > 0 && best === null) return;
      line.shift();
      if (best === null) nobody(held);
      else best.give(held);
    }
  };
  return {
    get shed() {
      return shed;
    },
    get length() {
      return length();
    },
    add(held) {
      const line = lines[held.listener] ?? [];
      if (line.length >= MOST_WAITING) {
        shed++;
        held.socket.destroy();
        return;
      }
      line.push(held);
      if (length() === 1) next(); // else somebody waits already, for whom there was no room
    },
    giveBack(left) {
      for (const held of left.toReversed()) lines[held.listener]?.unshift(held);
      next();
    },
    next: () => next(),
    end() {
      for (const line of lines) for (const { socket } of line.splice(0)) socket.destroy();
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
