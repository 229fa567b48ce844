// How long does an HTTP/2 connection of a proxy last, and how does it end without losing a call?
//
// Envoy keeps one for each worker whatever the load, so a replica that is new gets nothing until old ones end: each ends by age, at a
// moment of its own. It ends in two steps (RFC 9113 6.8): first "no new calls, but I take what comes", then, when that must have
// arrived, "this was the last one". One step alone loses calls that were on their way.

import type { ServerHttp2Session } from 'node:http2';
import type { Clock } from 'policy-cache';

export interface SessionsSettings {
  readonly clock: Clock;
  /** 0 ≤ random() < 1 */
  readonly random: () => number;
  /** Milliseconds after which a connection is renewed, a tenth more or less; 0: never. */
  readonly age: number;
  /** Told before a connection takes its last call: what has no end of its own is to be ended. */
  readonly closing: (session: ServerHttp2Session) => void;
  /** Told of a connection that never said a word of HTTP/2. */
  readonly silent: () => void;
}

export interface Sessions {
  add(session: ServerHttp2Session): void;
  /** Asks every proxy for no new calls on what is open, while those that come are answered. */
  drain(): void;
  /** Ends all: when their calls are answered, the rest after `ms`. */
  close(ms: number): Promise<void>;
}

/** The greatest stream id: "none of your calls is refused". */
const ALL = 2 ** 31 - 1;
/** In which what was on its way must have arrived. */
const ON_THE_WAY_MS = 1000;
/** For the first words of a connection. */
const PREFACE_MS = 5000;
/** For its last calls to be answered and read. */
const LAST_CALLS_MS = 10_000;
/** In which nothing was said on it. Whoever needs it again opens another. */
const IDLE_MS = 300_000;
const JITTER = 0.1;

export function createSessions({ clock, random, age, closing, silent }: SessionsSettings): Sessions {
  /** Each with the timer of its next step. */
  const open = new Map<ServerHttp2Session, () => void>();
  const retiring = new WeakSet<ServerHttp2Session>();
  let emptied: (() => void) | null = null;

  const next = (session: ServerHttp2Session, ms: number, step: () => void): void => {
    open.get(session)?.();
    open.set(session, clock.after(ms, step));
  };
  const retire = (session: ServerHttp2Session): void => {
    if (retiring.has(session) || session.destroyed) return;
    retiring.add(session);
    session.goaway(0, ALL);
    next(session, ON_THE_WAY_MS, () => {
      closing(session);
      session.close();
      next(session, LAST_CALLS_MS, () => session.destroy());
    });
  };

  return {
    add(session) {
      open.set(session, () => undefined);
      next(session, PREFACE_MS, () => {
        silent();
        session.destroy();
      });
      session.once('remoteSettings', () => {
        if (age > 0) next(session, age * (1 - JITTER + 2 * JITTER * random()), () => retire(session));
        else open.get(session)?.();
      });
      session.setTimeout(IDLE_MS, () => retire(session));
      session.on('error', () => undefined); // it is over then, and `close` says so
      session.once('close', () => {
        open.get(session)?.();
        open.delete(session);
        if (open.size === 0) emptied?.();
      });
    },
    drain() {
      for (const session of open.keys()) retire(session);
    },
    async close(ms) {
      if (open.size === 0) return;
      for (const session of open.keys()) retire(session);
      const cancel = clock.after(ms, () => {
        for (const session of open.keys()) session.destroy();
      });
      await new Promise<void>((resolve) => (emptied = resolve));
      cancel();
    },
  };
}
