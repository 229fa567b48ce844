// May this user…? Answered from memory, or not at all.
//
// `PolicyCache` is the shell of promises, timers and LRU maps around `step` (follower.ts). A hit is decided in the turn that asks,
// without a promise. A miss waits for its pieces and asks again: only a synchronous turn that finds every piece proved decides,
// a value handed over by a fill is never used directly (coherence 3.6).

import { LRUCache } from 'lru-cache';
import { decide, decideSubject, virtualGroup } from './decide.ts';
import type { Facts } from './decide.ts';
import { PolicyError } from './errors.ts';
import { FLIGHT_LIMITS, wantName } from './flights.ts';
import type { Want } from './flights.ts';
import { newFollower, step } from './follower.ts';
import type { Effect, FollowerEvent, FollowerSettings, FollowerState } from './follower.ts';
import { ANY, formatRevision } from './model.ts';
import type { AccessRequest, Decision, Placement, Revision } from './model.ts';
import { newStats } from './observer.ts';
import type { CacheObserver, CacheStats } from './observer.ts';
import type { Attachment, Clock, Source } from './source.ts';
import { provedClass, provedObject } from './world.ts';
import type { ObjectEntry, Stores, World } from './world.ts';
import type { Vocabulary } from './vocabulary.ts';

/** Filled in by a check in its deciding turn, for the caller who needs more than the decision. Reusable, by one check at a time. */
export interface CheckStatus {
  /** Tenant of the subject; '' if the subject is unknown or was not looked at. */
  tenant: string;
  /** Customer that owns the subject; '' for a tenant's own users. */
  customer: string;
  /** Revision at which the decision is true. */
  revision: Revision | null;
  /** False if the check had to wait. */
  hit: boolean;
}

export interface CheckOptions {
  /** Refuse an answer that may be older than this, ms; only ever smaller than the cache's own bound. */
  readonly maxStaleness?: number;
  /** Answer at this revision or later; `latest`: by a pull sent after the request came. */
  readonly atLeast?: Revision | 'latest';
  /** Milliseconds until `deadline`; default 100. */
  readonly deadline?: number;
}

export interface CacheState {
  /** `starting`: no world yet. `following`: the session is up. `detached`: it is not, the world answers until its lease ends. */
  readonly state: 'starting' | 'following' | 'detached';
  /** Could a check be answered now? */
  readonly fresh: boolean;
  /** The revision that answers are true at. */
  readonly revision: string | null;
  /** How long ago the last applied pull was sent. */
  readonly ageMs: number | null;
  /** What is wrong, in a sentence; null if nothing is. */
  readonly cause: string | null;
}

export interface CacheSizes {
  readonly subjects: number;
  readonly targets: number;
  readonly absent: number;
  readonly classes: number;
  readonly nodes: number;
}

/** Entries kept at most (coherence 3.6); `touched`: keys remembered per kind of tag. */
export interface CacheLimits {
  readonly subjects: number;
  readonly targets: number;
  readonly absent: number;
  readonly classes: number;
  readonly touched: number;
}

export interface CacheSettings {
  readonly vocabulary: Vocabulary;
  readonly source: Source;
  readonly clock: Clock;
  /** 0 ≤ random() < 1, for the jitter of the back-off. */
  readonly random: () => number;
  /** Older than this, nothing is answered, ms; default 2,000. */
  readonly maxStaleness?: number;
  readonly observer?: CacheObserver;
  readonly limits?: Partial<CacheLimits>;
}

const LIMITS: CacheLimits = { subjects: 100_000, targets: 1_000_000, absent: 20_000, classes: 50_000, touched: 200_000 };
const BEAT_MS = 250;
const DEADLINE_MS = 100;
/** Turns of a check in one world: subject, class and target, decide, and one more for something touched meanwhile. */
const TURNS = 4;
const BACK_OFF = { first: 20, longest: 2_000 };

/** A check that waits. */
interface Pending {
  readonly request: AccessRequest;
  readonly status: CheckStatus | undefined;
  readonly options: CheckOptions;
  /** Number of the newest pull that was out or done when the check came. */
  readonly mark: number;
  readonly until: number;
  resolve(decision: Decision): void;
  reject(error: PolicyError): void;
  world: World | null;
  turns: number;
  waited: boolean;
  /** What it waits for: flights by name; both empty and false while it runs. */
  readonly names: Set<string>;
  pull: boolean;
  cancelDeadline: () => void;
}

export class PolicyCache {
  readonly stats: CacheStats = newStats();
  readonly #settings: CacheSettings;
  readonly #maxStaleness: number;
  readonly #clock: Clock;
  readonly #vocabulary: Vocabulary;
  readonly #follower: FollowerSettings;
  readonly #state: FollowerState = newFollower();
  /** Reused by every turn: nothing of it outlives one. */
  readonly #facts: Facts;
  readonly #pending = new Set<Pending>();
  readonly #byName = new Map<string, Set<Pending>>();
  readonly #readyWaiters = new Set<() => void>();
  #attachment: { session: number; attachment: Attachment } | null = null;
  #cancelBeat: () => void = () => undefined;
  #cause: string | null = 'not started';
  #closed = false;

  constructor(settings: CacheSettings) {
    const limits = { ...LIMITS, ...settings.limits };
    this.#settings = settings;
    this.#maxStaleness = settings.maxStaleness ?? 2_000;
    this.#clock = settings.clock;
    this.#vocabulary = settings.vocabulary;
    this.#follower = {
      vocabulary: settings.vocabulary, stats: this.stats, touchedLimit: limits.touched,
      newStores: (): Stores => ({
        subjects: bounded(limits.subjects), targets: bounded(limits.targets), absent: bounded(limits.absent), classes: bounded(limits.classes),
      }),
    };
    this.#facts = { tree: null!, subject: null, effective: null!, target: null, groups: [] };
  }

  /** Begins to attach. Never throws: failures show in `state()` and are tried again. */
  start(): void {
    this.#send({ kind: 'start' });
    this.#beat();
  }

  /** Resolves when checks can be answered. @throws PolicyError `starting` after `ms` */
  ready(ms: number): Promise<void> {
    if (this.#state.current !== null) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const cancel = this.#clock.after(ms, () => {
        this.#readyWaiters.delete(done);
        reject(new PolicyError('starting', `not ready after ${ms} ms: ${this.#cause ?? 'the first world is loading'}`));
      });
      const done = (): void => {
        cancel();
        resolve();
      };
      this.#readyWaiters.add(done);
    });
  }

  /**
   * A hit is answered in this turn, without a promise.
   * @throws PolicyError (thrown or as a rejection) where it cannot decide
   */
  check(request: AccessRequest, status?: CheckStatus, options?: CheckOptions): Decision | Promise<Decision> {
    const world = this.#state.current;
    if (options === undefined && world !== null && this.#clock.now() - world.freshAsOf <= this.#maxStaleness) {
      const decision = this.#turn(world, request);
      if (decision !== null) {
        this.stats.hits++;
        if (status !== undefined) this.#report(world, status, true);
        return decision;
      }
    }
    return this.#slowly(request, status, options ?? {});
  }

  state(): CacheState {
    const { current, phase } = this.#state;
    const ageMs = current === null ? null : this.#clock.now() - current.freshAsOf;
    return {
      state: current === null ? 'starting' : phase === 'following' ? 'following' : 'detached',
      fresh: ageMs !== null && ageMs <= this.#maxStaleness,
      revision: current === null ? null : formatRevision(current.head),
      ageMs,
      cause: this.#cause,
    };
  }

  sizes(): CacheSizes {
    const { current } = this.#state;
    return {
      subjects: current?.subjects.size ?? 0, targets: current?.targets.size ?? 0, absent: current?.absent.size ?? 0,
      classes: current?.classes.size ?? 0, nodes: current?.tree.size ?? 0,
    };
  }

  /** Ends the session and drops everything; whatever is asked from then on is refused with `starting`. */
  close(): void {
    this.#closed = true;
    this.#cancelBeat();
    this.#attachment?.attachment.close();
    this.#attachment = null;
    this.#state.current = null;
    this.#cause = 'closed';
    for (const pending of [...this.#pending]) this.#run(pending);
  }

  // ---- the deciding turn -------------------------------------------------------------------------------------------------

  /** Decides if every piece is there and proved; null if something is missing. */
  #turn(world: World, request: AccessRequest): Decision | null {
    const facts = this.#facts;
    facts.tree = world.tree;
    facts.subject = null;
    if (request.operation < 0 || request.resource < 0) return decideSubject(this.#vocabulary, world.tree, null, request);
    const subject = lookUp(world, world.subjects, request.subject);
    if (subject === null) return null;
    facts.subject = subject.value;
    const early = decideSubject(this.#vocabulary, world.tree, subject.value, request);
    if (early !== null) return early;
    const { cell } = subject;
    if (cell === null || !provedClass(world, cell)) return null;
    facts.effective = cell.effective!;
    facts.target = null;
    if (request.target !== ANY) {
      const target = this.#target(world, request.target);
      if (target === undefined) return null;
      facts.target = target;
    }
    facts.groups = NO_GROUPS;
    if (request.groups !== undefined) {
      const groups: (Placement | null)[] = [];
      for (const id of request.groups) {
        const group = this.#target(world, id);
        if (group === undefined) return null;
        groups.push(group);
      }
      facts.groups = groups;
    }
    return decide(this.#vocabulary, facts, request);
  }

  /** Undefined: not known. Null: known to be absent. An All group has no row: the tree knows whether it exists. */
  #target(world: World, id: string): Placement | null | undefined {
    const entry = lookUp(world, world.targets, id);
    if (entry !== null) return entry.value;
    return id.startsWith('all:') ? virtualGroup(this.#vocabulary, world.tree, id) : undefined;
  }

  /** What a turn that gave null lacked: the subject first, so that a stranger causes no fill of a target. */
  #missing(world: World, request: AccessRequest): Want[] {
    const asker = request.subject;
    const subject = lookUp(world, world.subjects, asker);
    if (subject === null) return [{ kind: 'object', as: 'subject', id: asker, asker }];
    const wants: Want[] = [];
    if (subject.cell !== null && !provedClass(world, subject.cell)) wants.push({ kind: 'class', cell: subject.cell, asker });
    for (const id of new Set([request.target, ...(request.groups ?? [])]))
      if (id !== ANY && this.#target(world, id) === undefined) wants.push({ kind: 'object', as: 'target', id, asker });
    return wants;
  }

  #report(world: World, status: CheckStatus, hit: boolean): void {
    const { tree } = world;
    const owner = this.#facts.subject?.owner ?? -1;
    status.tenant = owner < 0 ? '' : tree.id(tree.tenant(owner));
    status.customer = owner < 0 || tree.isTenant(owner) ? '' : tree.id(owner);
    status.revision = world.head;
    status.hit = hit;
  }

  // ---- checks that wait --------------------------------------------------------------------------------------------------

  #slowly(request: AccessRequest, status: CheckStatus | undefined, options: CheckOptions): Decision | Promise<Decision> {
    const now = this.#clock.now();
    const deadline = options.deadline ?? DEADLINE_MS;
    let answer: Decision | undefined;
    let failure: PolicyError | undefined;
    const pending: Pending = {
      request, status, options, mark: this.#state.pulls, until: now + deadline,
      resolve: (decision) => (answer = decision), reject: (error) => (failure = error),
      world: null, turns: 0, waited: false, names: new Set(), pull: false, cancelDeadline: () => undefined,
    };
    this.#run(pending);
    if (failure !== undefined) throw failure;
    if (answer !== undefined) {
      this.stats.hits++;
      return answer;
    }
    this.stats.misses++;
    pending.waited = true;
    return new Promise((resolve, reject) => {
      pending.resolve = resolve;
      pending.reject = reject;
      pending.cancelDeadline = this.#clock.after(deadline, () => this.#refuse(pending, new PolicyError('deadline', `no answer within ${deadline} ms`)));
    });
  }

  /** One turn of a waiting check: it ends, or waits for something again. */
  #run(pending: Pending): void {
    this.#forget(pending);
    try {
      const now = this.#clock.now();
      const world = this.#state.current;
      if (world === null) throw new PolicyError('starting', this.#cause ?? 'no world is loaded yet');
      const bound = Math.min(this.#maxStaleness, pending.options.maxStaleness ?? Infinity);
      const age = now - world.freshAsOf;
      if (age > bound) throw new PolicyError('stale', `the last confirmed state is ${Math.round(age)} ms old, the bound is ${bound} ms`);
      if (pending.world !== world) {
        pending.world = world;
        pending.turns = 0;
      }
      if (!this.#reached(pending, world)) return;
      const decision = this.#turn(world, pending.request);
      if (decision !== null) {
        if (pending.status !== undefined) this.#report(world, pending.status, !pending.waited);
        this.#end(pending);
        return pending.resolve(decision);
      }
      if (++pending.turns >= TURNS) throw new PolicyError('overload', 'permissions change faster than they can be read');
      const wants = this.#missing(world, pending.request);
      for (const want of wants) this.#await(pending, wantName(want));
      this.#send({ kind: 'want', wants, until: pending.until });
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      this.#refuse(pending, error);
    }
  }

  /** Is the world at the revision that the check asks for? False: it waits for a pull. @throws PolicyError `history` */
  #reached(pending: Pending, world: World): boolean {
    const { atLeast } = pending.options;
    if (atLeast === undefined) return true;
    if (atLeast === 'latest') return world.pulled > pending.mark || this.#awaitPull(pending, null);
    const known = world.ids.get(atLeast.version) ?? world.answers.get(atLeast.version);
    if (atLeast.version <= world.head.version && known === atLeast.id) return true;
    const tooHigh = atLeast.version > world.head.version;
    if (tooHigh ? world.pulled <= pending.mark : known === undefined) return this.#awaitPull(pending, atLeast.version);
    this.#send({ kind: 'doubt' });
    throw new PolicyError('history', `revision ${formatRevision(atLeast)} is not of the history that is followed here`);
  }

  #awaitPull(pending: Pending, ask: number | null): false {
    this.#pending.add(pending);
    pending.pull = true;
    this.#send({ kind: 'await-pull', ask });
    return false;
  }

  #await(pending: Pending, name: string): void {
    this.#pending.add(pending);
    pending.names.add(name);
    const others = this.#byName.get(name);
    if (others) others.add(pending);
    else this.#byName.set(name, new Set([pending]));
  }

  #forget(pending: Pending): void {
    pending.pull = false;
    for (const name of pending.names) {
      const others = this.#byName.get(name);
      others?.delete(pending);
      if (others?.size === 0) this.#byName.delete(name);
    }
    pending.names.clear();
  }

  #end(pending: Pending): void {
    this.#forget(pending);
    this.#pending.delete(pending);
    pending.cancelDeadline();
  }

  #refuse(pending: Pending, error: PolicyError): void {
    this.stats.unavailable[error.code]++;
    this.#end(pending);
    pending.reject(error);
  }

  // ---- events and effects ------------------------------------------------------------------------------------------------

  #send(event: FollowerEvent): void {
    if (this.#closed) return;
    for (const effect of step(this.#follower, this.#state, event, this.#clock.now())) this.#carryOut(effect);
  }

  #carryOut(effect: Effect): void {
    switch (effect.kind) {
      case 'attach': return void this.#clock.after(this.#delay(effect.failures), () => this.#attach(effect.session));
      case 'close': return this.#close(effect.session, effect.why);
      case 'pull': return this.#call(effect.session, (attachment) => attachment.pull(effect.request), (reply) => this.#send({ kind: 'pulled', session: effect.session, pull: effect.pull, reply }));
      case 'load': return this.#call(effect.session, (attachment) => attachment.load(), (reply) => this.#send({ kind: 'loaded', load: effect.load, reply }));
      case 'fill': return this.#fill(effect);
      case 'beat-in': return void this.#clock.after(effect.ms, () => this.#send({ kind: 'beat' }));
      case 'settled': return this.#settled(effect.names, effect.failed);
      case 'moved': return this.#moved(effect.newWorld);
      case 'applied': {
        const { lagMs } = effect.reply;
        // An upper bound without a common clock: commit to the pull's snapshot by the server's, plus the pull's whole round trip by ours.
        if (lagMs !== null) this.#settings.observer?.applied?.(lagMs + this.#clock.now() - effect.sent);
        return;
      }
      case 'note': return this.#settings.observer?.event?.({ kind: effect.event, detail: effect.detail });
      default: effect satisfies never;
    }
  }

  #beat(): void {
    this.#cancelBeat = this.#clock.after(BEAT_MS, () => {
      this.#beat();
      this.#send({ kind: 'beat' });
    });
  }

  #delay(failures: number): number {
    return failures === 0 ? 0 : Math.min(BACK_OFF.longest, BACK_OFF.first * 2 ** (failures - 1)) * (0.5 + this.#settings.random() / 2);
  }

  #attach(session: number): void {
    if (this.#closed || session !== this.#state.session) return;
    const attaching = this.#settings.source.attach({
      ring: () => this.#send({ kind: 'ring', session }),
      closed: (cause) => this.#lost(session, cause),
    });
    attaching.then(
      (attachment) => {
        if (this.#closed || session !== this.#state.session) return attachment.close();
        this.#attachment = { session, attachment };
        this.#cause = null;
        this.#send({ kind: 'attached', session });
      },
      (error: unknown) => this.#lost(session, error),
    );
  }

  #lost(session: number, cause: unknown): void {
    if (session !== this.#state.session) return;
    this.#cause = cause instanceof Error ? cause.message : String(cause);
    this.#send({ kind: 'closed', session, why: this.#cause });
  }

  #close(session: number, why: string): void {
    this.#cause = why;
    if (this.#attachment?.session !== session) return;
    this.#attachment.attachment.close();
    this.#attachment = null;
  }

  /** Calls the attachment of that session; an error of it is doubt about the whole session. */
  #call<R>(session: number, call: (attachment: Attachment) => Promise<R>, reply: (value: R) => void): void {
    if (this.#attachment?.session !== session) return;
    call(this.#attachment.attachment).then(reply, (error: unknown) => this.#lost(session, error));
  }

  #fill({ session, batch, wants, of }: Effect & { kind: 'fill' }): void {
    if (this.#attachment?.session !== session) return;
    const { attachment } = this.#attachment;
    const sent = this.#clock.now();
    const names = wants.map(wantName);
    const expiry = this.#clock.after(FLIGHT_LIMITS.life, () => this.#send({ kind: 'fill-expired', batch, names }));
    const landed = (event: FollowerEvent): void => {
      this.#settings.observer?.filled?.(this.#clock.now() - sent);
      this.#send(event);
    };
    const failed = (): void => {
      expiry();
      this.stats.fillErrors++;
      this.#send({ kind: 'fill-failed', batch });
    };
    // Single flight is per name; one id may fly as a subject and as a target, yet is asked for once.
    if (of === 'object') attachment.objects([...new Set(wants.flatMap((want) => (want.kind === 'object' ? [want.id] : [])))]).then((reply) => landed({ kind: 'objects', batch, reply }), failed);
    else attachment.classes(wants.flatMap((want) => (want.kind === 'class' ? [want.cell.key] : []))).then((reply) => landed({ kind: 'classes', batch, reply }), failed);
  }

  #settled(names: readonly string[], failed: boolean): void {
    for (const name of names)
      for (const pending of [...(this.#byName.get(name) ?? [])]) {
        if (failed) {
          this.#refuse(pending, new PolicyError('source', 'the database does not answer, or its answers do not belong to the history that is followed'));
          continue;
        }
        pending.names.delete(name);
        this.#byName.get(name)?.delete(pending);
        if (pending.names.size === 0) this.#run(pending);
      }
  }

  #moved(newWorld: boolean): void {
    if (this.#state.current !== null) {
      for (const done of this.#readyWaiters) done();
      this.#readyWaiters.clear();
    }
    for (const pending of [...this.#pending]) if (newWorld || pending.pull) this.#run(pending);
  }
}

const NO_GROUPS: readonly never[] = [];

/** An LRU of so many entries. By `maxSize`, not `max`, which lays out all slots at once: a RESET would block for 120 ms at a million. */
function bounded<V extends object>(entries: number): LRUCache<string, V> {
  return new LRUCache<string, V>({ maxSize: entries, sizeCalculation: () => 1 });
}

/** A proved entry of the id, be it a thing or an absence; null if there is none. */
function lookUp(world: World, store: World['subjects'], id: string): ObjectEntry | null {
  const entry = store.get(id) ?? world.absent.get(id);
  return entry !== undefined && provedObject(world, id, entry) ? entry : null;
}

