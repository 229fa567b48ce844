// Who carries out what a step asks for: attachments, pulls, loads, fills, timers?
//
// The asynchronous half around `step` (follower.ts). It knows no check: whoever waits is told by `settled` and `moved`.

import { FLIGHT_LIMITS, wantName } from './flights.ts';
import { newFollower, step } from './follower.ts';
import type { Effect, FollowerEvent, FollowerSettings, FollowerState } from './follower.ts';
import type { CacheObserver, Work } from './observer.ts';
import type { Attachment, Clock, Source } from './source.ts';
import { OwnerTree } from './tree.ts';

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
  /** The RESET under way, for whoever is told of it. */
  #reset: { readonly cause: string; readonly since: number } | null = null;
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
        return this.#pull(effect);
      case 'load':
        return this.#load(effect.session, effect.load);
      case 'fill':
        return this.#fill(effect);
      case 'beat-in':
        return void this.#after(effect.ms, () => this.send({ kind: 'beat' }));
      case 'settled':
        return this.#settings.settled(effect.names, effect.failed);
      case 'moved':
        this.#settings.moved(effect.newWorld);
        return effect.newWorld ? this.#resetDone() : undefined;
      case 'applied':
        // An upper bound without a common clock: commit to the pull's snapshot by the server's, and the pull's whole round trip by ours.
        return this.#tell((observer) => {
          const { lagMs, queueUsage } = effect.reply;
          if (lagMs !== null) observer.applied?.(lagMs + this.#settings.clock.now() - effect.sent);
          if (queueUsage !== null) observer.queue?.(queueUsage);
        });
      case 'note':
        if (effect.event === 'reset') this.#reset ??= { cause: effect.detail, since: this.#settings.clock.now() };
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

  #worked(work: Work): void {
    this.#tell((observer) => observer.worked?.(work));
  }

  #resetDone(): void {
    const { current } = this.state;
    if (current === null || this.#reset === null) return; // after a lost history none answers yet
    const { cause, since } = this.#reset;
    this.#reset = null;
    this.#worked({ kind: 'reset', ms: this.#settings.clock.now() - since, error: null, cause, nodes: current.tree.size });
  }

  #delay(failures: number): number {
    return failures === 0 ? 0 : Math.min(BACK_OFF.longest, BACK_OFF.first * 2 ** (failures - 1)) * (0.5 + this.#settings.random() / 2);
  }

  #attach(session: number): void {
    if (this.#closed || session !== this.state.session) return;
    const begun = this.#settings.clock.now();
    const { failures } = this.state;
    const over = (error: Error | null): void => this.#worked({ kind: 'attach', ms: this.#settings.clock.now() - begun, error, failures });
    const attaching = this.#settings.source.attach({
      ring: () => this.send({ kind: 'ring', session }),
      closed: (cause) => this.#lost(session, cause),
    });
    attaching.then(
      (attachment) => {
        if (this.#closed || session !== this.state.session) return attachment.close();
        this.#attachment = { session, attachment };
        this.cause = null;
        over(null);
        this.send({ kind: 'attached', session });
      },
      (error: unknown) => {
        over(asError(error));
        this.#lost(session, error);
      },
    );
  }

  #lost(session: number, cause: unknown): void {
    if (session !== this.state.session) return;
    this.cause = asError(cause).message;
    this.send({ kind: 'closed', session, why: this.cause });
  }

  #close(session: number, why: string): void {
    this.cause = why;
    if (this.#attachment?.session !== session) return;
    this.#attachment.attachment.close();
    this.#attachment = null;
  }

  #pull({ session, pull, request, cause }: Effect & { kind: 'pull' }): void {
    const begun = this.#settings.clock.now();
    const over = (changes: number, error: Error | null): void =>
      this.#worked({ kind: 'pull', ms: this.#settings.clock.now() - begun, error, cause, cursor: request.cursor, changes });
    this.#call(
      session,
      (attachment) =>
        attachment.pull(request).catch((error: unknown) => {
          over(0, asError(error));
          throw error;
        }),
      (reply) => {
        over(reply.changes.length, null);
        this.send({ kind: 'pulled', session, pull, reply });
      },
    );
  }

  #load(session: number, load: number): void {
    const tree = new OwnerTree();
    this.#call(
      session,
      (attachment) => attachment.load((rows) => tree.load(rows)),
      (stamp) => this.send({ kind: 'loaded', load, reply: { stamp, tree } }),
    );
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
    const { flights } = this.state;
    // The flights themselves: checks that come while the statement is out are added to them.
    const carried = names.flatMap((name) => flights.out.get(name) ?? []);
    const over = (refused: number, error: Error | null): void => {
      const traces = new Set(carried.flatMap((flight) => flight.traces ?? []));
      if (traces.size > 0) this.#worked({ kind: 'fill', ms: clock.now() - sent, error, of, keys: names.length, refused, traces: [...traces] });
    };
    const landed = (event: FollowerEvent): void => {
      this.#tell((observer) => observer.filled?.(clock.now() - sent));
      const { stats } = follower;
      const before = stats.fillsRefused;
      const late = this.state.flights !== flights || !flights.batches.has(batch);
      this.send(event);
      over(late ? names.length : stats.fillsRefused - before, null);
    };
    const failed = (error: unknown): void => {
      cancelExpiry();
      follower.stats.fillErrors++;
      this.send({ kind: 'fill-failed', batch, names });
      over(0, asError(error));
    };
    switch (of) {
      case 'object': {
        // Single flight is per name; an id may fly as a subject and as a target, yet is asked for once.
        const ids = new Set(wants.flatMap((want) => (want.kind === 'object' ? [want.id] : [])));
        return void attachment.objects([...ids]).then((reply) => landed({ kind: 'objects', batch, reply }), failed);
      }
      case 'class': {
        const keys = wants.flatMap((want) => (want.kind === 'class' ? [want.cell.key] : []));
        return void attachment.classes(keys).then((reply) => landed({ kind: 'classes', batch, reply }), failed);
      }
      case 'key': {
        const hashes = wants.flatMap((want) => (want.kind === 'key' ? [want.hash] : []));
        return void attachment.keys(hashes).then((reply) => landed({ kind: 'keys', batch, reply }), failed);
      }
      default:
        of satisfies never;
    }
  }
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
