// What does one event do to a state of the model?
//
// The real `step`, and the real cache for a check that looks; what they ask for is kept as statements under way. A pull runs when it is
// sent (an earlier sending would only shorten its lease), a fill when it is asked for, at either server; what is delayed is the answer.

import type { Effect, FollowerEvent } from '../src/follower.ts';
import { newFlights, wantName } from '../src/flights.ts';
import type { Want } from '../src/flights.ts';
import { newCheck } from './coherence.check.ts';
import type { Code } from './coherence.code.ts';
import { copyFollower } from './coherence.copy.ts';
import type { Depth, Follower } from './coherence.copy.ts';
import { classesReply, headOf, historyOf, keysReply, loadReply, newDatabase, objectsReply, primaryOf, pullReply, touches } from './coherence.database.ts';
import type { Database, Faults, Kind, Snapshot } from './coherence.database.ts';
import { NO_FLEET, listed, passed } from './coherence.fleet.ts';
import { newRequests } from './coherence.request.ts';
import type { Service } from './coherence.request.ts';
import { keyOf, numberOf } from './coherence.state.ts';
import type { Fill, Load, Pull, State } from './coherence.state.ts';

/** Kinds of things that happen, each of which a configuration can do without. */
export type Chance = 'commit' | 'fault' | 'tick' | 'close' | 'link' | 'answer' | 'loss' | 'look' | 'evict' | 'request';

export interface Configuration {
  readonly kinds: readonly Kind[];
  readonly commits: number;
  /** What is there where the search begins: no world (`cold`), a world without entries, subject and class, the target (or the key) too, or what a request needs. */
  readonly start?: 'cold' | 'empty' | 'subject' | 'all' | 'request';
  /** Whoever has the key has logged in as its user. */
  readonly acting?: boolean;
  /** Between an answer and what a request does with it, other things happen. */
  readonly gaps?: boolean;
  /** Ticks after which the key's time is over. */
  readonly ends?: number;
  readonly failOver?: 'keeps' | 'loses' | 'both';
  readonly trims?: boolean;
  /** Answers that nobody waits for any more arrive all the same, one of each kind. */
  readonly late?: boolean;
  /** Loads take their time; else one runs and is answered in one step. */
  readonly slowLoads?: boolean;
  readonly evicts?: boolean;
  readonly latest?: boolean;
  readonly tokens?: boolean;
  /** No fencing: the old primary answers pulls, too. */
  readonly unfenced?: boolean;
  /** And takes commits. */
  readonly splitBrain?: boolean;
  /** The follower reports, barriers are waited for, and the primary may crash. */
  readonly barriers?: boolean;
  /** Ticks of `maxStaleness`, and milliseconds of a tick. */
  readonly lease?: number;
  readonly tick?: number;
  readonly touched?: number;
  readonly without?: readonly Chance[];
  readonly unasked?: readonly ('I3' | 'I4')[];
  readonly faults?: Faults;
}

export function newSteps(code: Code, configuration: Configuration, service: Service | null) {
  const { kinds, commits, faults = {}, lease = 1, tick = 1_000, touched = 1, unasked = [] } = configuration;
  const gaps = configuration.gaps === true;
  const [tokens, barriers] = [configuration.tokens === true, configuration.barriers === true];
  const unfenced = configuration.unfenced === true || faults.unfenced === true;
  const cap = lease + 1;
  const keyed = service !== null || kinds.some((kind) => touches(kind, 'k') && kind !== '*');
  const check = newCheck(code, { kinds, commits, faults, lease, tick, tokens, barriers, keyed, gaps, touched, unasked });
  const keys = { actor: configuration.acting === true ? 'a' : '', ends: configuration.ends === undefined ? NEVER : configuration.ends * tick };
  const requests = service === null ? null : newRequests(check.asked, { vocabulary: check.settings.vocabulary, service, gaps });
  const nowhere: State = {
    follower: code.newFollower(),
    database: newDatabase(cap, keys),
    server: -1,
    pulls: [],
    loads: [],
    fills: [],
    latest: null,
    reported: 0,
    fleet: NO_FLEET,
    request: null,
    wrong: null,
    barred: 0,
    now: 0,
  };

  const answersPulls = (server: number, database: Database): boolean => server === primaryOf(database) || unfenced;

  function carryOut(state: State, follower: Follower, effects: readonly Effect[]): State {
    const { database } = state;
    let { server, pulls, loads, fills, fleet } = state;
    if (effects.length === 0 && pulls.length + loads.length + fills.length === 0) return { ...state, follower };
    for (const effect of effects) {
      if (effect.kind === 'close' || effect.kind === 'attach') server = -1;
      else if (effect.kind === 'load') loads = [...loads, { number: effect.load, seen: null }];
      else if (effect.kind === 'fill') fills = [...fills, { batch: effect.batch, wants: effect.wants, seen: null }];
      else if (effect.kind === 'pull' && answersPulls(server, database)) {
        const { request } = effect;
        const seen = { server, head: database.heads[server]!, kept: database.kept[server]!, hole: database.hole, request };
        pulls = [...pulls, { session: effect.session, number: effect.pull, seen }];
        if (request.report && faults.lateReports !== true) fleet = listed(fleet, database, { report: request.report, tick, faults });
      }
    }
    return heard({ ...state, follower, server, pulls, loads, fills, fleet });
  }

  const isHeard = {
    pull: ({ follower }: State, { session, number }: Pull): boolean => session === follower.session && number === follower.inFlight?.number,
    load: ({ follower }: State, { number }: Load): boolean => number === follower.reset?.load && follower.reset.world === null,
    fill: ({ follower }: State, { batch }: Fill): boolean => follower.flights.batches.has(batch),
  };

  /** Without the statements that nobody waits for any more: all of them, or all but the last of each kind. */
  function heard(state: State): State {
    if (state.pulls.length + state.loads.length + state.fills.length === 0) return state;
    const keep = <S>(statements: readonly S[], live: (state: State, one: S) => boolean): readonly S[] => {
      if (statements.every((one) => live(state, one))) return statements;
      const last = configuration.late === true ? statements.findLast((one) => !live(state, one)) : undefined;
      return statements.filter((one) => live(state, one) || one === last);
    };
    return { ...state, pulls: keep(state.pulls, isHeard.pull), loads: keep(state.loads, isHeard.load), fills: keep(state.fills, isHeard.fill) };
  }

  /** As if a check with each token ever given out were waiting: the next pull asks for those whose answer is not known. */
  function asking(follower: Follower, database: Database): void {
    if (!tokens) return;
    const world = follower.reset ? follower.reset.world : follower.current;
    for (const { version } of database.commits) if (world?.answers.has(version) !== true) follower.asks.add(version);
  }

  function send(state: State, event: FollowerEvent, depth: Depth): State {
    const follower = copyFollower(state.follower, code.intact ? depth : event.kind === 'pulled' || event.kind === 'beat' ? 'tree' : 'world');
    asking(follower, state.database);
    return carryOut(state, follower, code.step(check.settings, follower, event, state.now));
  }

  // ---- events --------------------------------------------------------------------------------------------------------------------

  const start = (): State => send(nowhere, { kind: 'start' }, 'session');
  const close = (state: State): State => send(state, { kind: 'closed', session: state.follower.session, why: 'lost' }, 'session');
  const attach = (state: State, server: number): State => send({ ...state, server }, { kind: 'attached', session: state.follower.session }, 'session');
  const beat = (state: State): State => send(state, { kind: 'beat' }, 'session');

  function look(state: State, latest: boolean): { state: State; answered: boolean } {
    const follower = copyFollower(state.follower, !code.intact ? 'world' : latest ? 'session' : 'entries');
    asking(follower, state.database);
    const { decision, effects } = check.look(follower, { now: state.now, latest });
    return { state: carryOut(state, follower, effects), answered: decision !== null };
  }

  /** A request comes, or the one that waits looks again. */
  function asked(state: State): { state: State; answered: boolean } {
    const follower = copyFollower(state.follower, code.intact ? 'entries' : 'world');
    const at = { ...state, follower };
    const { request, effects, said } = requests!(at);
    const wrong = said === null ? null : check.judgeRequest(at, said);
    return { state: { ...carryOut(at, follower, effects), request, wrong }, answered: said !== null };
  }

  function pulled(state: State, pull: Pull): State {
    const reply = pullReply(state.database, pull.seen, faults);
    const { report } = pull.seen.request;
    const fleet = report && faults.lateReports === true ? listed(state.fleet, state.database, { report, tick, faults }) : state.fleet;
    const rest = { ...state, fleet, pulls: state.pulls.filter((one) => one !== pull) };
    return send(rest, { kind: 'pulled', session: pull.session, pull: pull.number, reply }, reply.tree.length > 0 ? 'tree' : 'world');
  }

  function loaded(state: State, { number, seen }: { number: number; seen: Snapshot }): State {
    const rest = { ...state, loads: state.loads.filter((one) => one.number !== number) };
    return send(rest, { kind: 'loaded', load: number, reply: loadReply(state.database, seen, faults) }, 'session');
  }

  function filled(state: State, { batch, wants, seen }: { batch: number; wants: readonly Want[]; seen: Snapshot }): State {
    const rest = { ...state, fills: state.fills.filter((one) => one.batch !== batch) };
    const at = { ...seen, faults };
    const keys = wants.flatMap((want) => (want.kind === 'class' ? [want.cell.key] : []));
    if (keys.length > 0) return send(rest, { kind: 'classes', batch, reply: classesReply(state.database, keys, at) }, 'entries');
    if (wants.some(({ kind }) => kind === 'key')) return send(rest, { kind: 'keys', batch, reply: keysReply(state.database, at) }, 'entries');
    const ids = [...new Set(wants.flatMap((want) => (want.kind === 'object' ? [want.id] : [])))];
    return send(rest, { kind: 'objects', batch, reply: objectsReply(state.database, ids, at) }, 'entries');
  }

  function failed(state: State, batch: number, names: readonly string[]): State {
    return send({ ...state, fills: state.fills.filter((fill) => fill.batch !== batch) }, { kind: 'fill-failed', batch, names }, 'session');
  }

  function evicted(state: State, from: Evictable, key: string): State {
    const follower = copyFollower(state.follower, 'entries');
    follower.current?.[from].delete(key);
    return { ...state, follower };
  }

  // ---- what follows from an event at once --------------------------------------------------------------------------------------------

  /** The states that an event leads to: one for each server and snapshot that the fills it asked for may run at. */
  function* outcomes(state: State): Generator<[where: string, next: State]> {
    const waiting = state.fills.filter(({ seen }) => seen === null);
    if (waiting.length === 0) return yield ['', shown(state)];
    const names = waiting.flatMap(({ wants }) => wants.map(wantName)).join(', ');
    for (const [server, head] of state.database.heads.entries())
      for (const seen of snapshots(state.database, head, faults.fillStamp)) {
        const fills = state.fills.map((fill): Fill => (fill.seen === null ? { ...fill, seen } : fill));
        yield [` [fill of ${names} runs${placeOf(state, server)}${tornOf(seen)}]`, shown({ ...state, fills })];
      }
  }

  /** What a head that answers shows is shown with its whole history; and what a barrier has returned for stays so. */
  function shown(state: State): State {
    const barred = barriers ? state.barred | passed(state.fleet, state.database) : 0;
    let { reported } = state;
    const { current } = state.follower;
    const number = current === null ? 0 : numberOf(current.head.id);
    if ((reported & (1 << number)) === 0) for (const one of historyOf(state.database, number)) reported |= 1 << one.number;
    return barred === state.barred && reported === state.reported ? state : { ...state, barred, reported };
  }

  const counted = { tick, cap, tokens, barriers, keys: keyed, wall: configuration.ends === undefined ? 0 : configuration.ends + 2 };
  const steps = { start, close, attach, beat, look, asked, pulled, loaded, filled, failed, evicted };
  return { ...steps, keyed, unfenced, answersPulls, isHeard, outcomes, cap, check, key: (state: State) => keyOf(state, counted) };
}
/** Milliseconds that the wall clock of the model never comes to. */
const NEVER = 1e12;

export type Evictable = 'subjects' | 'targets' | 'absent' | 'classes' | 'keys' | 'absentKeys';

/** What a statement may see: the head, and with a fault a stamp and a value of two different moments. */
export function snapshots(database: Database, head: number, fault: 'before' | 'after' | undefined): Snapshot[] {
  const whole = { stamp: head, value: head };
  if (fault === undefined) return [whole];
  const earlier = [...historyOf(database, head)].slice(1).map(({ number }) => number);
  return [whole, ...earlier.map((number) => (fault === 'before' ? { stamp: number, value: head } : { stamp: head, value: number }))];
}

export const placeOf = (state: State, server: number): string => (server < primaryOf(state.database) ? ' at the old primary' : '');
export const tornOf = ({ stamp, value }: Snapshot): string => (stamp === value ? '' : `, stamp #${stamp}, content of #${value}`);
export const wholeOf = (database: Database): Snapshot => ({ stamp: headOf(database), value: headOf(database) });
export const withoutFlights = (state: State): State => ({ ...state, fills: [], follower: { ...state.follower, flights: newFlights() } });
