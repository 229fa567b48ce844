// How long does an HTTP/2 connection of a proxy last, and how does it end without losing a call?
//
// Envoy keeps one for each worker whatever the load, so a replica that is new gets nothing until old ones end: each ends by age, at a
// moment of its own. It ends in two steps (RFC 9113 6.8): first "no new calls, but I take what comes", then, when that has arrived,
// "this was the last one". That it has is shown by the answer to a ping behind it; a second's wait was too short for a busy Envoy.
//
// Measured with Envoy 1.40 under 200 requests a second, where the first step was also the last: 1 to 16 calls lost at 5 of 12 restarts; so, none.

import type { Socket } from 'node:net';
import type { Clock } from 'policy-cache';
import { Connection } from './h2/connection.ts';
import type { Head } from './h2/head.ts';
import type { Stream } from './h2/stream.ts';

export interface ConnectionsSettings {
  readonly clock: Clock;
  /** 0 ≤ random() < 1 */
  readonly random: () => number;
  /** Milliseconds after which a connection is renewed, a tenth more or less; 0: never. */
  readonly age: number;
  /** Told of a call, before its message comes. */
  readonly opened: (stream: Stream, head: Head) => void;
  /** Told before a connection takes its last call: what has no end of its own is to be ended. */
  readonly closing: (connection: Connection) => void;
  /** Told of a connection that was ended: it never said a word of HTTP/2, or said what is none. */
  readonly shed: (cause: 'timeout' | 'malformed') => void;
}

export interface Connections {
  add(socket: Socket): void;
  /** Asks every proxy for no new calls on what is open, while those that come are answered. */
  drain(): void;
  /** Ends all: when their calls are answered, the rest after `ms`. */
  close(ms: number): Promise<void>;
}

/** For the answer to a ping. Whoever gives none is told his last call all the same. */
const ON_THE_WAY_MS = 5000;
/** For the first words of a connection. */
const PREFACE_MS = 5000;
/** For its last calls to be answered and read. */
const LAST_CALLS_MS = 10_000;
/** In which nothing was said on it. Whoever needs it again opens another. */
const QUIET_SECONDS = 300;
const SECOND_MS = 1000;
const JITTER = 0.1;

interface Opened {
  isGreeted: boolean;
  isRetiring: boolean;
  /** Takes the timer of its next step away. */
  cancel: () => void;
}

export function createConnections({ clock, random, age, opened, closing, shed }: ConnectionsSettings): Connections {
  const open = new Map<Connection, Opened>();
  let emptied: (() => void) | null = null;
  let stopSeconds: (() => void) | null = null;

  const next = (connection: Connection, ms: number, step: () => void): void => {
    const state = open.get(connection);
    if (state === undefined) return; // it is gone
    state.cancel();
    state.cancel = clock.after(ms, step);
  };
  const last = (connection: Connection): void => {
    if (!open.has(connection)) return;
    closing(connection);
    connection.close();
    next(connection, LAST_CALLS_MS, () => connection.destroy());
  };
  const retire = (connection: Connection): void => {
    const state = open.get(connection);
    if (state === undefined || state.isRetiring) return;
    state.isRetiring = true;
    if (!state.isGreeted) return; // the first frame must be our settings
    connection.notice();
    next(connection, ON_THE_WAY_MS, () => last(connection));
    connection.ping(() => last(connection));
  };
  const second = (): void => {
    for (const connection of open.keys()) connection.second();
    stopSeconds = open.size > 0 ? clock.after(SECOND_MS, second) : null;
  };

  return {
    add(socket) {
      const connection = new Connection(socket, {
        opened,
        greeted(connection) {
          const state = open.get(connection);
          if (state === undefined) return;
          state.isGreeted = true;
          state.cancel();
          if (state.isRetiring) {
            state.isRetiring = false;
            retire(connection);
          } else if (age > 0) next(connection, age * (1 - JITTER + 2 * JITTER * random()), () => retire(connection));
        },
        left: last,
        quiet: (connection, seconds) => void (seconds >= QUIET_SECONDS && retire(connection)),
        failed: () => shed('malformed'),
        closed(connection) {
          open.get(connection)?.cancel();
          open.delete(connection);
          if (open.size > 0) return;
          stopSeconds?.();
          stopSeconds = null;
          emptied?.();
        },
      });
      open.set(connection, { isGreeted: false, isRetiring: false, cancel: () => undefined });
      next(connection, PREFACE_MS, () => {
        shed('timeout');
        connection.destroy();
      });
      stopSeconds ??= clock.after(SECOND_MS, second);
    },
    drain() {
      for (const connection of open.keys()) retire(connection);
    },
    async close(ms) {
      if (open.size === 0) return;
      for (const connection of open.keys()) retire(connection);
      const cancel = clock.after(ms, () => {
        for (const connection of open.keys()) connection.destroy();
      });
      await new Promise<void>((resolve) => (emptied = resolve));
      cancel();
    },
  };
}
