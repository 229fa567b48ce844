// What can happen in a state, where does it begin, and does it always end well?
//
// Commits, lost rings (a beat may come or not), lost connections, delayed and lost answers, evictions, a clock without bound, trimming,
// one fail-over with and without loss, a deposed primary that goes on answering fills and loads.
// Fencing is assumed as far as the promises assume it: once the new primary is promoted, no pull runs at the old one.

import { wantName } from '../src/flights.ts';
import type { Code } from './coherence.code.ts';
import { entriesOf } from './coherence.copy.ts';
import { commit, failOver, headOf, historyOf, primaryOf, revisionOf, rowsOf } from './coherence.database.ts';
import type { Database } from './coherence.database.ts';
import { emptied, older } from './coherence.fleet.ts';
import type { Service } from './coherence.request.ts';
import type { Fill, State } from './coherence.state.ts';
import { newSteps, placeOf, snapshots, tornOf, wholeOf, withoutFlights } from './coherence.steps.ts';
import type { Chance, Configuration, Evictable } from './coherence.steps.ts';

const EVICTABLE = ['subjects', 'targets', 'absent', 'classes', 'keys', 'absentKeys'] as const satisfies readonly Evictable[];

/** Something that can happen; the state after it is made only if it is wanted. */
export type Offer = (chance: Chance, label: string, make: () => State) => void;

/** @param service who asks the cache by a key, and answers requests by what it says; null: there are none */
export function newModel(code: Code, configuration: Configuration, service: Service | null = null) {
  const { kinds, commits, faults = {}, lease = 1, tick = 1_000, barriers = false, without = [], failOver: over } = configuration;
  const steps = newSteps(code, configuration, service);
  const { cap, isHeard, unfenced } = steps;
  const off = new Set<Chance>(without);
  /** The longest lease in ticks: what the follower asks for. */
  const longest = lease + 1_000 / tick;

  function successors(state: State, offer: Offer): void {
    const offered: Offer = (chance, label, make) => {
      if (!off.has(chance)) offer(chance, label, make);
    };
    commitSteps(state, offered);
    serverSteps(state, offered);
    offered('tick', 'tick', () => {
      const ages = state.database.ages.map((age) => Math.min(cap, age + 1));
      return { ...state, now: state.now + tick, fleet: older(state.fleet), database: { ...state.database, ages } };
    });
    sessionSteps(state, offered);
    answerSteps(state, offered);
    cacheSteps(state, offered);
    if (service !== null && state.follower.current !== null)
      offered('request', state.request === null ? 'a request comes' : 'the request looks again', () => steps.asked(state).state);
  }

  function commitSteps(state: State, offer: Offer): void {
    const { database } = state;
    const number = database.commits.length;
    if (number > commits) return;
    const primary = primaryOf(database);
    const head = headOf(database);
    for (const kind of kinds) {
      const next = revisionOf(database, head, faults).version + rowsOf(kind);
      const add = (version: number, server: number): void =>
        offer('commit', `#${number} (version ${version}): ${kind}${placeOf(state, server)}`, () => ({
          ...state,
          database: commit(database, { server, kind, version, age: server === primary ? 0 : cap }),
        }));
      add(next, primary);
      // Numbers are re-issued after a fail-over, or a few are left out.
      if (primary === 1 && !database.resumed) add(next + 1, primary);
      if (primary === 1 && configuration.splitBrain === true) add(revisionOf(database, database.heads[0]!, faults).version + rowsOf(kind), 0);
      if (faults.unordered !== true) continue;
      add(next + 1, primary);
      const open = next - 2;
      if (open > 0 && ![...historyOf(database, head)].some(({ version }) => version === open)) add(open, primary);
    }
  }

  function serverSteps(state: State, offer: Offer): void {
    const { database } = state;
    const primary = primaryOf(database);
    const head = headOf(database);
    const put = (label: string, changed: () => Database): void => offer('fault', label, () => ({ ...state, database: changed() }));
    if (over !== undefined && primary === 0) {
      const promote = (label: string, loses: boolean): void =>
        offer('fault', label, () => ({ ...state, database: failOver(database, loses, cap), fleet: emptied(longest, faults) }));
      if (over !== 'loses') promote('fail-over', false);
      if (over !== 'keeps' && head > 0) promote(`fail-over that loses #${head}`, true);
    }
    if (barriers && state.server === primary) offer('fault', 'the primary crashes', () => ({ ...steps.close(state), fleet: emptied(longest, faults) }));
    const trim = (number: number): void => put(`trimmed below #${number}`, () => ({ ...database, kept: database.kept.with(primary, number) }));
    if (configuration.trims === true && database.kept[primary]! < head) {
      trim(head);
      const { parent } = database.commits[head]!;
      if (parent > database.kept[primary]!) trim(parent);
    }
    if (faults.holes === true && database.hole === 0)
      for (const { number } of [...historyOf(database, head)].slice(1, -1)) put(`the row of #${number} is trimmed`, () => ({ ...database, hole: number }));
  }

  function sessionSteps(state: State, offer: Offer): void {
    const { follower, database } = state;
    if (follower.phase === 'following') {
      offer('close', 'the session closes', () => steps.close(state));
      if (follower.inFlight === null && steps.answersPulls(state.server, database)) offer('link', 'beat, pull runs', () => steps.beat(state));
      return;
    }
    const primary = primaryOf(database);
    for (let server = unfenced ? 0 : primary; server <= primary; server++)
      offer('link', `attached${placeOf(state, server)}, pull runs`, () => steps.attach(state, server));
  }

  function answerSteps(state: State, offer: Offer): void {
    for (const pull of state.pulls)
      offer('answer', isHeard.pull(state, pull) ? 'the pull is answered' : 'a late pull is answered', () => steps.pulled(state, pull));
    for (const load of state.loads) {
      const { number, seen } = load;
      if (seen !== null)
        offer('answer', isHeard.load(state, load) ? 'the load is answered' : 'a late load is answered', () => steps.loaded(state, { number, seen }));
      else if (isHeard.load(state, load)) loadSteps(state, number, offer);
    }
    for (const fill of state.fills) fillSteps(state, fill, offer);
    for (const [name, { answer, batch }] of state.follower.flights.out)
      if (answer !== null) offer('loss', `the flight of ${name} is over its life`, () => steps.failed(state, batch, [name]));
  }

  function loadSteps(state: State, number: number, offer: Offer): void {
    for (const [server, head] of state.database.heads.entries())
      for (const seen of snapshots(state.database, head, faults.loadStamp))
        offer('answer', `the load runs${placeOf(state, server)}${tornOf(seen)}`, () =>
          configuration.slowLoads === true
            ? { ...state, loads: state.loads.map((load) => (load.number === number ? { number, seen } : load)) }
            : steps.loaded(state, { number, seen }),
        );
  }

  function fillSteps(state: State, fill: Fill, offer: Offer): void {
    const { batch, wants, seen } = fill;
    const names = wants.map(wantName);
    const live = isHeard.fill(state, fill);
    if (seen !== null) offer('answer', `${live ? 'the' : 'a late'} fill of ${names.join(', ')} is answered`, () => steps.filled(state, { batch, wants, seen }));
    if (live) offer('loss', `the fill of ${names.join(', ')} is lost`, () => steps.failed(state, batch, names));
  }

  function cacheSteps(state: State, offer: Offer): void {
    const { current, pulls, inFlight } = state.follower;
    if (current !== null) offer('look', 'a check looks', () => steps.look(state, false).state);
    if (configuration.latest === true && state.latest === null)
      offer('look', "a check with 'latest' comes", () => steps.look({ ...state, latest: { pulls, inFlight, commit: headOf(state.database) } }, true).state);
    if (configuration.evicts !== true || current === null) return;
    for (const store of EVICTABLE)
      for (const key of entriesOf<unknown>(current[store]).keys())
        offer('evict', `${key} is evicted from the ${store}`, () => steps.evicted(state, store, key));
  }

  /** I6: with the old primary dead, the link whole and no more commits, is a check answered? */
  function heals(from: State): boolean {
    const primary = primaryOf(from.database);
    const head = from.database.heads[faults.stuckFills === true ? 0 : primary]!;
    const seen = { stamp: head, value: head };
    let state = from.server === -1 || from.server === primary ? from : steps.close(from);
    for (let turn = 0; turn < 60; turn++) {
      const pull = state.pulls.find((one) => isHeard.pull(state, one));
      const load = state.loads.find((one) => isHeard.load(state, one));
      const fill = state.fills.find((one) => isHeard.fill(state, one));
      if (state.follower.phase !== 'following') state = steps.attach(state, primary);
      // A flight that is ahead of the cursor has it pull again and again, until its life is over.
      else if (turn % 8 === 7) state = expired(state);
      else if (turn % 8 === 3 && !pull) state = steps.beat(state);
      else if (pull) state = steps.pulled(state, pull);
      else if (load) state = steps.loaded(state, { number: load.number, seen: load.seen ?? seen });
      else if (fill) state = steps.filled(state, { ...fill, seen: fill.seen ?? seen });
      else {
        const looked = steps.look(state, false);
        if (looked.answered) return true;
        state = looked.state.fills.some((one) => isHeard.fill(looked.state, one)) ? looked.state : steps.beat(looked.state);
      }
    }
    return false;
  }

  function expired(state: State): State {
    let after = state;
    for (const [name, { answer, batch }] of state.follower.flights.out) if (answer !== null) after = steps.failed(after, batch, [name]);
    return after;
  }

  function begin(): State {
    const { start = 'subject' } = configuration;
    let state = steps.start();
    if (start === 'cold') return state;
    const seen = wholeOf(state.database);
    state = steps.attach(state, 0);
    for (const { number } of state.loads) state = steps.loaded(state, { number, seen });
    for (const pull of state.pulls) state = steps.pulled(state, pull);
    if (start === 'empty') return state;
    const fill = (wanted: (fill: Fill) => boolean): void => {
      state = steps.look(state, false).state;
      for (const one of state.fills) if (wanted(one)) state = steps.filled(state, { ...one, seen });
      state = withoutFlights(state);
    };
    if (start === 'request') {
      for (let answered = false; !answered;) {
        ({ state, answered } = steps.asked(state));
        for (const one of state.fills) state = steps.filled(state, { ...one, seen });
      }
      return withoutFlights(state);
    }
    if (steps.keyed) fill(() => true);
    fill(() => true);
    fill(({ wants }) => start === 'all' || wants.every(({ kind }) => kind === 'class'));
    return state;
  }

  const { check, key, outcomes } = steps;
  return { begin: () => [...outcomes(begin())][0]![1], successors, outcomes, heals, key, judge: check.judge, answers: check.answers };
}
export type Model = ReturnType<typeof newModel>;
