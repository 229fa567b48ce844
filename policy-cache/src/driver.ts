// Who carries out what a step asks for: attachments, pulls, loads, fills, timers?
//
// The asynchronous half around `step` (follower.ts). It knows no check: whoever waits is told by `settled` and `moved`.

import { FLIGHT_LIMITS, wantName } from './flights.ts';
import { newFollower, step } from './follower.ts';
import type { Effect, FollowerEvent, FollowerSettings, FollowerState } from './follower.ts';
import type { CacheObserver } from './observer.ts';
import type { Attachment, Clock, Source } from './source.ts';

export interface DriverSettings {
  readonly follower: FollowerSettings;
  readonly source: Source;
  readonly clock: Clock;
  /** 0 ≤ random() < 1, for the jitter of the back-off. */
  readonly random: () => number;
  readonly observer?: CacheObserver | undefined;
  /** These misses have been filled, or given up; `failed`: the source could not tell. */
  settled(names: readonly string[], failed: boolean): void;
  /** A pull was applied; `newWorld`: and from now on another world answers, or none. */
  moved(newWorld: boolean): void;
}

const BEAT_MS = 250;
/** 20 ms doubling to 2 s, each with jitter down to its half; begun again by a successful pull only (coherence 3.5). */
const BACK_OFF = { first: 20, longest: 2_000 };

export class Driver {
  readonly state: FollowerState = newFollower();
  /** What is wrong with the connection, in a sentence; null if nothing is. */
  cause: string | null = 'not started';
  readonly #settings: DriverSettings;
  #attachment: { session: number; attachment: Attachment } | null = null;
  /** Cancels of all timers that wait: none may outlive `close`. */
  readonly #timers = new Set<() => void>();
  #started = false;
  #closed = false;

  constructor(settings: DriverSettings) {
    this.#settings = settings;
  }

  /** Once; not after `close`. */
  start(): void {
    if (this.#started || this.#closed) return;
    this.#started = true;
    this.send({ kind: 'start' });
    this.#beat();
  }

  close(): void {
    this.#closed = true;
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
    this.#attachment?.attachment.close();
    this.#attachment = null;
    this.state.current = null;
    this.cause = 'closed';
  }

  /** @throws PolicyError `overload` for a `want` that finds the queue full */
  send(event: FollowerEvent): void {
    if (this.#closed) return;
    for (const effect of step(this.#settings.follower, this.state, event, this.#settings.clock.now())) this.#carryOut(effect);
  }

  #carryOut(effect: Effect): void {
    switch (effect.kind) {
      case 'attach':
        return void this.#after(this.#delay(effect.failures), () => this.#attach(effect.session));
      case 'close':
        return this.#close(effect.session, effect.why);
      case 'pull':
        return this.#call(
          effect.session,
          (attachment) => attachment.pull(effect.request),
          (reply) => this.send({ kind: 'pulled', session: effect.session, pull: effect.pull, reply }),
        );
      case 'load':
        return this.#call(
          effect.session,
          (attachment) => attachment.load(),
          (reply) => this.send({ kind: 'loaded', load: effect.load, reply }),
        );
      case 'fill':
        return this.#fill(effect);
      case 'beat-in':
        return void this.#after(effect.ms, () => this.send({ kind: 'beat' }));
      case 'settled':
        return this.#settings.settled(effect.names, effect.failed);
      case 'moved':
        return this.#settings.moved(effect.newWorld);
      case 'applied':
        // An upper bound without a common clock: commit to the pull's snapshot by the server's, and the pull's whole round trip by ours.
        return this.#tell((observer) => {
          const { lagMs, queueUsage } = effect.reply;
          if (lagMs !== null) observer.applied?.(lagMs + this.#settings.clock.now() - effect.sent);
          if (queueUsage !== null) observer.queue?.(queueUsage);
        });
      case 'note':
        return this.#tell((observer) => observer.event?.({ kind: effect.event, detail: effect.detail }));
      default:
        effect satisfies never;
    }
  }

  #beat(): void {
    this.#after(BEAT_MS, () => {
      this.#beat();
      this.send({ kind: 'beat' });
    });
  }

  #after(ms: number, f: () => void): () => void {
    const cancel = this.#settings.clock.after(ms, () => {
      this.#timers.delete(cancel);
      f();
    });
    this.#timers.add(cancel);
    return () => {
      this.#timers.delete(cancel);
      cancel();
    };
  }

  /** What an observer throws is dropped: in the middle of a step it would take the effects that follow with it, the next pull among them. */
  #tell(what: (observer: CacheObserver) => unknown): void {
    try {
      if (this.#settings.observer) what(this.#settings.observer);
    } catch {
      return;
    }
  }

  #delay(failures: number): number {
    return failures === 0 ? 0 : Math.min(BACK_OFF.longest, BACK_OFF.first * 2 ** (failures - 1)) * (0.5 + this.#settings.random() / 2);
  }

  #attach(session: number): void {
    if (this.#closed || session !== this.state.session) return;
    const attaching = this.#settings.source.attach({
      ring: () => this.send({ kind: 'ring', session }),
      closed: (cause) => this.#lost(session, cause),
    });
    attaching.then(
      (attachment) => {
        if (this.#closed || session !== this.state.session) return attachment.close();
        this.#attachment = { session, attachment };
        this.cause = null;
        this.send({ kind: 'attached', session });
      },
      (error: unknown) => this.#lost(session, error),
    );
  }

  #lost(session: number, cause: unknown): void {
    if (session !== this.state.session) return;
    this.cause = cause instanceof Error ? cause.message : String(cause);
    this.send({ kind: 'closed', session, why: this.cause });
  }

  #close(session: number, why: string): void {
    this.cause = why;
    if (this.#attachment?.session !== session) return;
    this.#attachment.attachment.close();
    this.#attachment = null;
  }

  /** An error of a pull or a load is doubt about the whole session. */
  #call<R>(session: number, call: (attachment: Attachment) => Promise<R>, reply: (value: R) => void): void {
    if (this.#attachment?.session !== session) return;
    call(this.#attachment.attachment).then(reply, (error: unknown) => this.#lost(session, error));
  }

  #fill({ session, batch, wants, of }: Effect & { kind: 'fill' }): void {
    if (this.#attachment?.session !== session) return;
    const { clock, follower } = this.#settings;
    const { attachment } = this.#attachment;
    const sent = clock.now();
    const names = wants.map(wantName);
    // Not cancelled by the answer: an answer that is ahead of the cursor still waits, and must not wait for ever.
    const cancelExpiry = this.#after(FLIGHT_LIMITS.life, () => this.send({ kind: 'fill-failed', batch, names }));
    const landed = (event: FollowerEvent): void => {
      this.#tell((observer) => observer.filled?.(clock.now() - sent));
      this.send(event);
    };
    const failed = (): void => {
      cancelExpiry();
      follower.stats.fillErrors++;
      this.send({ kind: 'fill-failed', batch, names });
    };
    // Single flight is per name; an id may fly as a subject and as a target, yet is asked for once.
    if (of === 'object')
      attachment
        .objects([...new Set(wants.flatMap((want) => (want.kind === 'object' ? [want.id] : [])))])
        .then((reply) => landed({ kind: 'objects', batch, reply }), failed);
    else
      attachment
        .classes(wants.flatMap((want) => (want.kind === 'class' ? [want.cell.key] : [])))
        .then((reply) => landed({ kind: 'classes', batch, reply }), failed);
  }
}
