// What happens to the cache when something happens: a ring, a beat, a reply, a lost connection?
//
// The protocol of coherence 3.5 and 3.6 as one synchronous function: `step(follower, event) → effects`. It holds no timer and no
// promise; cache.ts is the shell that carries the effects out. `FollowerState` is one plain object that a test can copy and hash.

import { PolicyError } from './errors.ts';
import { admitAll, answersOf, depart, enqueue, giveUp, ground, land, newFlights } from './flights.ts';
import type { FillReply, Flight, Flights, Want } from './flights.ts';
import type { CacheStats, PullCause, ResetCause } from './observer.ts';
import type { FollowerReport, PullReply, PullRequest } from './source.ts';
import type { Vocabulary } from './vocabulary.ts';
import { applyFirstPull, applyPull, newWorld } from './world.ts';
import type { Loaded, Stores, World } from './world.ts';

export interface FollowerState {
  phase: 'detached' | 'attaching' | 'following';
  /** Number of the newest attachment; what older ones say is not heard. */
  session: number;
  /** Attachments that failed since the last successful pull: the step of the back-off. */
  failures: number;
  /** Why another pull is wanted than the one in flight; null if none is. */
  due: PullCause | null;
  /** One has come since the last pull was applied: for the metric alone. */
  heard: boolean;
  /** Pulls sent so far; the newest one's number. */
  pulls: number;
  inFlight: InFlight | null;
  /** When the newest report that this session's server has kept was sent, and its version (0: none). Null: none is kept. */
  reported: { readonly sent: number; readonly version: number } | null;
  /** Versions whose ids somebody waits to hear. */
  asks: Set<number>;
  /** Highest timeline of a server seen. */
  timeline: string | null;
  /** Answers checks; null until the first RESET is done, or after a history was lost. */
  current: World | null;
  /** The RESET under way: `world` null while its tree loads. */
  reset: { readonly load: number; readonly world: World | null } | null;
  loads: number;
  /** Misses of the current world. */
  flights: Flights;
  batchesMade: number;
  /** Pulls that may be sent, and when that was last reckoned; `waits`: a beat is ordered for when there is one again. */
  bucket: { tokens: number; at: number; waits: boolean };
  /** When a token last made it re-attach. */
  doubtedAt: number;
}

interface InFlight {
  readonly number: number;
  readonly sent: number;
  readonly world: World;
  /** Version in the report that goes with it; null: it carries none. */
  readonly report: number | null;
}

export type FollowerEvent =
  | { readonly kind: 'start' }
  | { readonly kind: 'attached'; readonly session: number }
  | { readonly kind: 'closed'; readonly session: number; readonly why: string }
  | { readonly kind: 'ring'; readonly session: number }
  | { readonly kind: 'beat' }
  | { readonly kind: 'pulled'; readonly session: number; readonly pull: number; readonly reply: PullReply }
  | { readonly kind: 'loaded'; readonly load: number; readonly reply: Loaded }
  | FillReply
  /** A statement failed, or what it carried has not been admitted within its life. */
  | { readonly kind: 'fill-failed'; readonly batch: number; readonly names: readonly string[] }
  /** A check misses these, until its deadline. */
  | { readonly kind: 'want'; readonly wants: readonly Want[]; readonly until: number }
  /** A check waits for a pull sent from now on; `ask`: for the id of that version, too. */
  | { readonly kind: 'await-pull'; readonly ask: number | null }
  /** A token contradicts the history that is followed. */
  | { readonly kind: 'doubt' };

export type Effect =
  | { readonly kind: 'attach'; readonly session: number; readonly failures: number }
  | { readonly kind: 'close'; readonly session: number; readonly why: string }
  | { readonly kind: 'pull'; readonly session: number; readonly pull: number; readonly request: PullRequest; readonly cause: PullCause }
  | { readonly kind: 'load'; readonly session: number; readonly load: number }
  | { readonly kind: 'fill'; readonly session: number; readonly batch: number; readonly wants: readonly Want[]; readonly of: Want['kind'] }
  /** Askers of these names go on; `failed`: with the error. */
  | { readonly kind: 'settled'; readonly names: readonly string[]; readonly failed: boolean }
  /** A pull was applied, or another world answers now: whoever waits for that looks again. */
  | { readonly kind: 'moved'; readonly newWorld: boolean }
  /** The bucket is empty: beat again in so many milliseconds. */
  | { readonly kind: 'beat-in'; readonly ms: number }
  | { readonly kind: 'applied'; readonly reply: PullReply; readonly sent: number }
  | { readonly kind: 'note'; readonly event: 'attached' | 'closed' | 'reset'; readonly detail: string };

/** What a step needs besides state and event; nothing of it changes in a run. */
export interface FollowerSettings {
  readonly vocabulary: Vocabulary;
  readonly newStores: () => Stores;
  readonly touchedLimit: number;
  /** Older than this, nothing is answered, ms. */
  readonly maxStaleness: number;
  /** The name that it reports under; null: it reports to nobody. */
  readonly follower: string | null;
  readonly stats: CacheStats;
}

/** Commits of one pull at most; beyond, a RESET is cheaper (coherence 3.4). */
const PULL_LIMIT = 1_001;
const BUCKET = { size: 10, perMs: 0.2 };
/** Versions asked for in one pull; whoever comes after that asks again when it is applied. */
const ASKS = 1_000;
/** A token from another history may make the follower re-attach once in so many ms: the longest step of the back-off. */
const DOUBT_EVERY = 2_000;
/**
 * No pull is sent later than this after the last report without one of its own. What it proves is answered for `maxStaleness`, so a
 * report that promises both together covers every answer (coherence 3.7, G4).
 */
const REPORT_EVERY = 1_000;
/** A beat's pull takes it along when it is nearly due: with a ring's, a revocation would wait for it. Beats are 250 ms apart. */
const REPORT_WITH_BEAT = 700;

export function newFollower(): FollowerState {
  return {
    phase: 'detached',
    session: 0,
    failures: 0,
    due: null,
    heard: false,
    pulls: 0,
    inFlight: null,
    reported: null,
    asks: new Set(),
    timeline: null,
    current: null,
    reset: null,
    loads: 0,
    flights: newFlights(),
    batchesMade: 0,
    bucket: { tokens: BUCKET.size, at: 0, waits: false },
    doubtedAt: -Infinity,
  };
}

/** @throws PolicyError `overload` for a `want` that finds the queue full; never for another event */
export function step(settings: FollowerSettings, state: FollowerState, event: FollowerEvent, now: number): Effect[] {
  const turn = new Turn(settings, state, now);
  switch (event.kind) {
    case 'start':
      turn.attach();
      break;
    case 'attached':
      if (event.session === state.session && state.phase === 'attaching') turn.attached();
      break;
    case 'closed':
      if (event.session === state.session) turn.detach(event.why);
      break;
    case 'ring':
      if (event.session === state.session && state.phase === 'following') turn.ring();
      break;
    case 'beat':
      state.bucket.waits = false;
      turn.pull('beat');
      break;
    case 'pulled':
      if (event.session === state.session && event.pull === state.inFlight?.number) turn.pulled(event.reply, state.inFlight);
      break;
    case 'loaded':
      if (event.load === state.reset?.load && state.reset.world === null) turn.loaded(event.reply);
      break;
    case 'objects':
    case 'classes':
    case 'keys':
      turn.landed(event.batch, answersOf(event));
      break;
    case 'fill-failed':
      turn.settle(giveUp(state.flights, event.batch, event.names), true);
      turn.depart();
      break;
    case 'want':
      for (const want of event.wants) enqueue(state.flights, want, event.until);
      turn.depart();
      break;
    case 'await-pull':
      if (event.ask !== null && state.asks.size < ASKS) state.asks.add(event.ask);
      state.due ??= 'wait';
      turn.pull('wait');
      break;
    case 'doubt':
      turn.doubt();
      break;
    default:
      event satisfies never;
  }
  return turn.effects;
}

/** One event being handled: state, time, and the effects so far. */
class Turn {
  readonly effects: Effect[] = [];
  readonly #settings: FollowerSettings;
  readonly #state: FollowerState;
  readonly #now: number;

  constructor(settings: FollowerSettings, state: FollowerState, now: number) {
    this.#settings = settings;
    this.#state = state;
    this.#now = now;
  }

  attach(): void {
    const state = this.#state;
    state.phase = 'attaching';
    state.session++;
    this.effects.push({ kind: 'attach', session: state.session, failures: state.failures });
  }

  attached(): void {
    const state = this.#state;
    state.phase = 'following';
    this.#settings.stats.attaches++;
    this.effects.push({ kind: 'note', event: 'attached', detail: `session ${state.session}` });
    if (state.reset?.world === null || (state.reset === null && state.current === null)) this.#load(state.reset === null ? 'start' : null);
    this.pull('wait');
    this.depart();
  }

  /** Any doubt ends the session: its connections go, the world stays, and only its own lease decides how long it answers. */
  detach(why: string): void {
    const state = this.#state;
    if (state.phase === 'detached') return;
    this.effects.push({ kind: 'close', session: state.session, why }, { kind: 'note', event: 'closed', detail: why });
    state.inFlight = null;
    state.due = null;
    state.reported = null; // the next server may not know of it
    ground(state.flights);
    // A load that was under way is given up: its answer, should it come, is for nobody.
    if (state.reset?.world === null) state.reset = { load: 0, world: null };
    state.failures++;
    this.attach();
  }

  doubt(): void {
    const state = this.#state;
    if (state.phase !== 'following' || this.#now - state.doubtedAt < DOUBT_EVERY) return;
    state.doubtedAt = this.#now;
    this.detach('a token names another history');
  }

  ring(): void {
    this.#settings.stats.rings++;
    this.#state.due = 'ring';
    this.#state.heard = true;
    this.pull('ring');
  }

  /** Sends a pull if there is a session, a world to pull for, none in flight and a token in the bucket. */
  pull(cause: PullCause): void {
    const state = this.#state;
    const world = state.reset ? state.reset.world : state.current;
    if (state.phase !== 'following' || state.inFlight !== null || world === null) return;
    const { bucket } = state;
    bucket.tokens = Math.min(BUCKET.size, bucket.tokens + (this.#now - bucket.at) * BUCKET.perMs);
    bucket.at = this.#now;
    if (bucket.tokens < 1) {
      if (!bucket.waits) this.effects.push({ kind: 'beat-in', ms: Math.ceil((1 - bucket.tokens) / BUCKET.perMs) });
      bucket.waits = true;
      return;
    }
    bucket.tokens--;
    const reason = state.due ?? cause;
    state.due = null;
    const report = this.#report(reason);
    state.inFlight = { number: ++state.pulls, sent: this.#now, world, report: report === null ? null : (report.head?.version ?? 0) };
    this.#settings.stats.pulls[reason]++;
    const request = { cursor: world.head.version, limit: state.reset ? null : PULL_LIMIT, ask: [...state.asks], report };
    state.asks.clear();
    this.effects.push({ kind: 'pull', session: state.session, pull: state.pulls, request, cause: reason });
  }

  /** The report that must go with a pull sent now. */
  #report(reason: PullCause): FollowerReport | null {
    const { follower, maxStaleness } = this.#settings;
    const { reported, current } = this.#state;
    const every = reason === 'beat' ? REPORT_WITH_BEAT : REPORT_EVERY;
    if (follower === null || (reason !== 'report' && reported !== null && this.#now - reported.sent < every)) return null;
    return { follower, head: current?.head ?? null, leaseMs: Math.ceil(maxStaleness) + REPORT_EVERY };
  }

  pulled(reply: PullReply, { number, sent, world, report }: InFlight): void {
    const state = this.#state;
    state.inFlight = null;
    if (report !== null) {
      state.reported = { sent, version: report };
      this.#settings.stats.reports++;
    }
    if (reply.timeline !== null && state.timeline !== null && reply.timeline < state.timeline)
      return this.detach(
        'the server was deposed: its timeline is older than one already seen (after pg_upgrade or a restore, where timelines begin anew: restart this process)',
      );
    state.timeline = reply.timeline ?? state.timeline;
    const first = world === state.reset?.world;
    const everything = reply.changes.some(([, , tag, keys]) => tag === '*' || (tag === 'n' && keys.length === 0));

    if (reply.cursorId !== world.head.id) this.#resetFrom('history');
    else if (reply.over || everything) this.#resetFrom(reply.over ? 'backlog' : 'everything');
    else if (this.#apply(reply, world, first)) {
      world.freshAsOf = sent;
      world.pulled = number;
      state.failures = 0;
      if (reply.changes.length > 0 && !state.heard) this.#settings.stats.changesWithoutRing += reply.changes.length;
      state.heard = false;
      this.effects.push({ kind: 'applied', reply, sent });
      if (first) this.#becomeCurrent(world);
      this.effects.push({ kind: 'moved', newWorld: first });
      const { awaited } = reply;
      if (state.reported !== null && awaited !== null && world.head.version >= awaited && state.reported.version < awaited) state.due = 'report';
    }
    this.#admit();
    if (state.due !== null) this.pull(state.due);
  }

  /** False: the rows broke the tree, so the world is not usable. */
  #apply(reply: PullReply, world: World, first: boolean): boolean {
    try {
      if (first) applyFirstPull(world, reply);
      else applyPull(world, reply, this.#settings.touchedLimit);
      return true;
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      this.#resetFrom('history');
      return false;
    }
  }

  #becomeCurrent(world: World): void {
    const state = this.#state;
    state.current = world;
    state.reset = null;
    state.flights = newFlights();
  }

  /** A new world is to be made. After `history` the old one never answers again; else it answers until its lease ends. */
  #resetFrom(cause: ResetCause): void {
    const state = this.#state;
    if (cause === 'history') {
      state.current = null;
      state.flights = newFlights();
      this.effects.push({ kind: 'moved', newWorld: true });
    }
    this.#load(cause);
  }

  #load(cause: ResetCause | null): void {
    const state = this.#state;
    if (cause !== null) {
      this.#settings.stats.resets[cause]++;
      this.effects.push({ kind: 'note', event: 'reset', detail: cause });
    }
    state.reset = { load: ++state.loads, world: null };
    this.effects.push({ kind: 'load', session: state.session, load: state.loads });
  }

  loaded(reply: Loaded): void {
    const state = this.#state;
    try {
      state.reset = { load: state.reset!.load, world: newWorld(reply.stamp, reply.tree, this.#settings.newStores()) };
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      return this.detach(error.message);
    }
    this.pull('wait');
  }

  landed(batch: number, answer: (want: Want, index: number) => NonNullable<Flight['answer']>): void {
    if (!this.#state.flights.batches.has(batch)) return;
    this.#settings.stats.fills++;
    land(this.#state.flights, batch, answer);
    this.#admit();
    this.depart();
  }

  #admit(): void {
    const state = this.#state;
    if (state.current === null) return;
    const { stats, vocabulary } = this.#settings;
    const { settled, failed, waits } = admitAll(state.current, state.flights, { vocabulary, refused: () => stats.fillsRefused++ });
    this.settle(settled, false);
    this.settle(failed, true);
    if (waits) this.pull('wait');
    this.depart();
  }

  settle(names: readonly string[], failed: boolean): void {
    if (names.length > 0) this.effects.push({ kind: 'settled', names, failed });
  }

  depart(): void {
    const state = this.#state;
    if (state.phase !== 'following' || state.current === null) return;
    for (const { number, kind, wants } of depart(state.flights, this.#now, () => ++state.batchesMade))
      this.effects.push({ kind: 'fill', session: state.session, batch: number, wants, of: kind });
  }
}
