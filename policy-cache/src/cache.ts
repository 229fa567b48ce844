// May this user…? Answered from memory, or not at all.
//
// `PolicyCache` is the shell of promises and LRU maps around `step` (follower.ts, driver.ts). A hit is decided in the turn that asks,
// without a promise. A miss waits for its pieces and asks again: only a synchronous turn that finds every piece proved decides,
// a value handed over by a fill is never used directly (coherence 3.6).

import type { Held } from './covers.ts';
import { decideAny, decideSubject, decideTarget, isAny, virtualGroup, type Terms } from './decide.ts';
import { PolicyError } from './errors.ts';
import { Driver, type DriverSettings } from './driver.ts';
import type { EffectivePermissions } from './effective.ts';
import { flatten } from './flatten.ts';
import { wantName, type Want } from './flights.ts';
import { holderIn, lookUpKey, type KeyHolder } from './keys.ts';
import { ANY, NONE, formatRevision } from './model.ts';
import type { AccessRequest, Decision, Placement } from './model.ts';
import { newStats, type CacheStats } from './observer.ts';
import type { CacheSettings, CacheSizes, CacheState, CheckOptions, CheckStatus, HotIds } from './options.ts';
import type { Clock } from './source.ts';
import { keyQuestion, type Pending, type Question } from './pending.ts';
import { LIMITS, newStores, sizesOf } from './stores.ts';
import { find, idOf, idsOf, isReached, lookUp, placementIn, provedClass, served } from './world.ts';
import type { ObjectEntry, World } from './world.ts';
import type { Vocabulary } from './vocabulary.ts';

const DEADLINE_MS = 100;
/** Turns of a check in one world: subject, class and target, decide, and one more for something touched meanwhile. */
const TURNS = 4;

/** All that the cache knows of its driver. */
export type CheckDriver = Pick<Driver, 'state' | 'cause' | 'start' | 'close' | 'send'>;

export class PolicyCache {
  readonly stats: CacheStats = newStats();
  readonly #maxStaleness: number;
  readonly #clock: Clock;
  readonly #vocabulary: Vocabulary;
  readonly #driver: CheckDriver;
  /** Reused by every turn: nothing of it outlives one. */
  readonly #terms: Terms;
  /** Stands for what the subject holds while nobody has looked. */
  readonly #nothing: EffectivePermissions;
  /** Of the subject of the last turn; `NONE`: it is unknown, or was not looked at. */
  #owner = NONE;
  readonly #pending = new Set<Pending>();
  readonly #byName = new Map<string, Set<Pending>>();
  readonly #readyWaiters = new Set<{ done(): void; closed(): void }>();
  #closed = false;

  /** @param driverOf who holds the follower's state and takes what a check asks for: the model check puts its own in */
  constructor(settings: CacheSettings, driverOf: (settings: DriverSettings) => CheckDriver = (all) => new Driver(all)) {
    const limits = { ...LIMITS, ...settings.limits };
    this.#maxStaleness = settings.maxStaleness ?? 2_000;
    this.#clock = settings.clock;
    this.#vocabulary = settings.vocabulary;
    this.#driver = driverOf({
      source: settings.source,
      clock: settings.clock,
      random: settings.random,
      observer: settings.observer,
      follower: {
        vocabulary: settings.vocabulary,
        stats: this.stats,
        touchedLimit: limits.touched,
        maxStaleness: this.#maxStaleness,
        follower: settings.follower ?? null,
        newStores: () => newStores(limits),
      },
      settled: (names, failed) => this.#settled(names, failed),
      moved: (newWorld) => this.#moved(newWorld),
    });
    this.#nothing = flatten(settings.vocabulary, [], { group: () => NONE, node: () => NONE });
    this.#terms = { vocabulary: settings.vocabulary, tree: null!, effective: this.#nothing };
  }

  /** Begins to attach. Never throws: failures show in `state()` and are tried again. */
  start(): void {
    this.#driver.start();
  }

  /** Resolves when checks can be answered. @throws PolicyError `starting` after `ms`, or when the cache is closed */
  ready(ms: number): Promise<void> {
    if (this.#driver.state.current !== null) return Promise.resolve();
    const refusal = (why: string): PolicyError => new PolicyError('starting', `${why}: ${this.#driver.cause ?? 'the first world is loading'}`);
    if (this.#closed) return Promise.reject(refusal('not ready'));
    return new Promise((resolve, reject) => {
      const cancel = this.#clock.after(ms, () => {
        this.#readyWaiters.delete(waiter);
        reject(refusal(`not ready after ${ms} ms`));
      });
      const waiter = {
        done: () => (cancel(), resolve()),
        closed: () => (cancel(), reject(refusal('not ready'))),
      };
      this.#readyWaiters.add(waiter);
    });
  }

  /**
   * A hit is answered in this turn, without a promise.
   * @param now what the cache's own clock says in this turn, from whoever has read it: of an earlier turn, it would make the world look fresher than it is
   * @throws PolicyError (thrown or as a rejection) where it cannot decide
   */
  check(request: AccessRequest, status?: CheckStatus, options?: CheckOptions, now?: number): Decision | Promise<Decision> {
    const world = this.#driver.state.current;
    if (world !== null && this.#meets(world, options, now)) {
      const decision = this.#turn(world, request, true);
      if (decision !== null) {
        this.stats.hits++;
        if (status !== undefined) this.#report(world, status, true);
        return decision;
      }
    }
    return this.#slowly(request, status, options ?? {});
  }

  /**
   * Whose is the API key, or the token of a session, with this hash (SHA-256, hexadecimal), and until when? Null: nobody's. A hit is answered in this turn.
   * @throws PolicyError (thrown or as a rejection) where it cannot be known
   */
  key(hash: string, options?: CheckOptions): KeyHolder | null | Promise<KeyHolder | null> {
    const world = this.#driver.state.current;
    if (world !== null && this.#meets(world, options, undefined)) {
      const entry = lookUpKey(world, hash, true);
      if (entry !== null) return holderIn(entry);
    }
    const entry = this.#ask(keyQuestion(hash, options?.trace), options ?? {});
    return entry instanceof Promise ? entry.then(holderIn) : holderIn(entry);
  }

  state(): CacheState {
    const { current, phase } = this.#driver.state;
    const ageMs = current === null ? null : this.#clock.now() - current.freshAsOf;
    const fresh = ageMs !== null && ageMs <= this.#maxStaleness;
    const silent = fresh ? null : ageMs === null ? 'the first world is loading' : `no pull was answered for ${Math.round(ageMs)} ms`;
    return {
      state: current === null ? 'starting' : phase === 'following' ? 'following' : 'detached',
      fresh,
      revision: current === null ? null : formatRevision(current.head),
      ageMs,
      cause: this.#driver.cause ?? silent,
    };
  }

  sizes(): CacheSizes {
    return sizesOf(this.#driver.state.current);
  }

  /** Ids in memory, so many of each at the most, those in use first: what a later process may ask about before it is asked. */
  hot(most: HotIds<number>): HotIds {
    const { current } = this.#driver.state;
    return { subjects: idsOf(current?.subjects, most.subjects), targets: idsOf(current?.targets, most.targets) };
  }

  /** Ends the session and drops everything; whatever is asked from then on is refused with `starting`. */
  close(): void {
    this.#closed = true;
    this.#driver.close();
    for (const waiter of this.#readyWaiters) waiter.closed();
    this.#readyWaiters.clear();
    for (const pending of [...this.#pending]) this.#run(pending);
  }

  /** May the world answer in this turn as far as the options go? Nothing is allocated: a token that is reached costs one look-up. */
  #meets(world: World, options: CheckOptions | undefined, now: number | undefined): boolean {
    const age = now === undefined ? this.#clock.now() - world.freshAsOf : now - world.freshAsOf;
    if (!(age <= this.#maxStaleness)) return false;
    if (options === undefined) return true;
    const { atLeast, maxStaleness } = options;
    if (maxStaleness !== undefined && !(age <= maxStaleness)) return false;
    return atLeast === undefined || (atLeast !== 'latest' && isReached(world, atLeast));
  }

  // ---- the deciding turn -------------------------------------------------------------------------------------------------

  /** Decides if every piece is there and proved; null if something is missing. `marks`: the entries answer from memory, and stay longer for it. */
  #turn(world: World, request: AccessRequest, marks: boolean): Decision | null {
    this.#owner = NONE;
    this.#terms.effective = this.#nothing;
    if (request.operation < 0 || request.resource < 0) return decideSubject(this.#vocabulary, world.tree, null, request);
    const any = isAny(request.target);
    // Both are found before either is looked at: the processor then waits for their memory once [measured: a sixth of a check].
    const found = find(world, world.subjects, request.subject);
    const aim = any ? undefined : find(world, world.targets, request.target);
    const subject = served(world, request.subject, found);
    if (subject === null) return null;
    if (marks && !subject.used) subject.used = true; // not without a look: a write costs more
    const asker = placementIn(subject);
    this.#owner = subject.owner;
    const early = decideSubject(this.#vocabulary, world.tree, asker, request);
    if (early !== null) return early;
    const { cell } = subject;
    if (cell === null || !provedClass(world, cell)) return null;
    const terms = this.#terms;
    terms.tree = world.tree;
    terms.effective = cell.effective!;
    if (!any) {
      const target = this.#target(world, request.target, aim, marks);
      return target === undefined ? null : decideTarget(terms, request, subject, target);
    }
    if (request.groups === undefined) return decideAny(terms, request, subject, NO_GROUPS);
    const groups: (Placement | null)[] = [];
    for (const id of request.groups) {
      const group = this.#target(world, id, find(world, world.targets, id), marks);
      if (group === undefined) return null;
      groups.push(group);
    }
    return decideAny(terms, request, subject, groups);
  }

  /** Undefined: not known. Null: known to be absent. An All group has no row: the tree knows whether it exists. */
  #target(world: World, id: string, found: ObjectEntry | undefined, marks: boolean): Placement | null | undefined {
    // Whatever was found: whoever asks as the subject `all:…` leaves it in `absent`.
    if (id.charCodeAt(3) === COLON && id.startsWith('all:')) return virtualGroup(this.#vocabulary, world.tree, id);
    const entry = served(world, id, found);
    if (entry === null) return undefined;
    if (marks && !entry.used) entry.used = true;
    return placementIn(entry);
  }

  /** What a turn that gave null lacked: the subject first, so that a stranger causes no fill of a target. */
  #missing(world: World, request: AccessRequest, trace: object | undefined): Want[] {
    const asker = request.subject;
    const subject = lookUp(world, world.subjects, asker);
    if (subject === null) return [{ kind: 'object', as: 'subject', id: asker, asker, trace }];
    const wants: Want[] = [];
    if (subject.cell !== null && !provedClass(world, subject.cell)) wants.push({ kind: 'class', cell: subject.cell, asker, trace });
    for (const id of new Set([request.target, ...(request.groups ?? [])]))
      if (id !== ANY && this.#target(world, id, find(world, world.targets, id), false) === undefined)
        wants.push({ kind: 'object', as: 'target', id, asker, trace });
    return wants;
  }

  #report(world: World, status: CheckStatus, hit: boolean): void {
    const { tree } = world;
    const owner = this.#owner;
    status.tenant = owner < 0 ? '' : tree.id(tree.tenant(owner));
    status.customer = owner < 0 || tree.isTenant(owner) ? '' : tree.id(owner);
    status.revision = world.head;
    status.hit = hit;
    if (status.seen !== undefined && this.#terms.effective !== this.#nothing) status.seen(this.#held(world, owner));
  }

  #held({ tree, groupNumbers }: World, scope: number): Held {
    return { tree, scope, effective: this.#terms.effective, group: (id) => groupNumbers.number(id), groupId: (number) => groupNumbers.id(number) };
  }

  // ---- questions that wait -----------------------------------------------------------------------------------------------

  #slowly(request: AccessRequest, status: CheckStatus | undefined, options: CheckOptions): Decision | Promise<Decision> {
    const turn = (world: World, waited: boolean): Decision | null => {
      const decision = this.#turn(world, request, false);
      if (decision !== null && status !== undefined) this.#report(world, status, !waited);
      return decision;
    };
    const answer = this.#ask({ turn, missing: (world) => this.#missing(world, request, options.trace) }, options);
    if (answer instanceof Promise) this.stats.misses++;
    else this.stats.hits++;
    return answer;
  }

  #ask<T extends object>(question: Question<T>, options: CheckOptions): T | Promise<T> {
    const now = this.#clock.now();
    const deadline = options.deadline ?? DEADLINE_MS;
    let answer: T | undefined;
    let failure: { readonly error: unknown } | undefined;
    const pending: Pending<T> = {
      ...question,
      options,
      mark: this.#driver.state.pulls,
      until: now + deadline,
      resolve: (found) => (answer = found),
      reject: (error) => (failure = { error }),
      world: null,
      turns: 0,
      waited: false,
      names: new Set(),
      pull: false,
      cancelDeadline: () => undefined,
    };
    this.#run(pending);
    if (failure !== undefined) throw failure.error;
    if (answer !== undefined) return answer;
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
      const world = this.#driver.state.current;
      if (world === null) throw new PolicyError('starting', this.#driver.cause ?? 'no world is loaded yet');
      const bound = Math.min(this.#maxStaleness, pending.options.maxStaleness ?? Infinity);
      const age = now - world.freshAsOf;
      if (!(age <= bound)) throw new PolicyError('stale', `the last confirmed state is ${Math.round(age)} ms old, the bound is ${bound} ms`);
      if (pending.world !== world) {
        pending.world = world;
        pending.turns = 0;
      }
      if (!this.#reached(pending, world)) return;
      const answer = pending.turn(world, pending.waited);
      if (answer !== null) {
        this.#end(pending);
        return pending.resolve(answer);
      }
      if (++pending.turns >= TURNS) throw new PolicyError('overload', 'permissions change faster than they can be read');
      if (!pending.waited) pending.options.admit?.();
      const wants = pending.missing(world);
      for (const want of wants) this.#await(pending, wantName(want));
      this.#driver.send({ kind: 'want', wants, until: pending.until });
    } catch (error) {
      // Of whatever kind: a request that breaks its own decision must not break the step it is decided in.
      this.#refuse(pending, error);
    }
  }

  /** Is the world at the revision that the check asks for? False: it waits for a pull. @throws PolicyError `history` */
  #reached(pending: Pending, world: World): boolean {
    const { atLeast } = pending.options;
    if (atLeast === undefined) return true;
    if (atLeast === 'latest') return world.pulled > pending.mark || this.#awaitPull(pending, null);
    if (isReached(world, atLeast)) return true;
    const tooHigh = atLeast.version > world.head.version;
    if (tooHigh ? world.pulled <= pending.mark : idOf(world, atLeast.version) === undefined) return this.#awaitPull(pending, atLeast.version);
    this.#driver.send({ kind: 'doubt' });
    throw new PolicyError('history', `revision ${formatRevision(atLeast)} is not of the history that is followed here`);
  }

  #awaitPull(pending: Pending, ask: number | null): false {
    if (!pending.waited) pending.options.admit?.();
    this.#pending.add(pending);
    pending.pull = true;
    this.#driver.send({ kind: 'await-pull', ask });
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

  #refuse(pending: Pending, error: unknown): void {
    if (error instanceof PolicyError) this.stats.unavailable[error.code]++;
    this.#end(pending);
    pending.reject(error);
  }

  // ---- what the protocol tells -------------------------------------------------------------------------------------------

  #settled(names: readonly string[], failed: boolean): void {
    for (const name of names) {
      const waiting = this.#byName.get(name) ?? [];
      this.#byName.delete(name); // whoever misses it again waits anew
      for (const pending of waiting) {
        if (!this.#pending.has(pending)) continue; // an observer closed the cache meanwhile
        pending.names.delete(name);
        if (failed)
          this.#refuse(pending, new PolicyError('source', 'the database does not answer, or its answers do not belong to the history that is followed'));
        else if (pending.names.size === 0) this.#run(pending);
      }
    }
  }

  #moved(newWorld: boolean): void {
    if (this.#driver.state.current !== null) {
      for (const waiter of this.#readyWaiters) waiter.done();
      this.#readyWaiters.clear();
    }
    for (const pending of [...this.#pending]) if ((newWorld || pending.pull) && this.#pending.has(pending)) this.#run(pending);
  }
}

const NO_GROUPS: readonly never[] = [];
const COLON = 58;
