// What does the real cache answer in a state, and is that what it promises?
//
// Nothing of the cache is read to judge it: only decisions, and the revision that comes with them. A decision tells one bit, so each part
// is asked about bit by bit; a set of answers given in one state is the truth of a revision, or it is not. Asked in every new state:
//   I1  every answer is the truth at the revision it claims
//   I2  and the truth of one single revision (the worse way to break I1)
//   I3  (G2) the revision that answers lacks no commit acknowledged longer ago than the bound
//   I4  (G1) none that was reported before
//   I5  (G3) not that of the token it was asked with, and none that was there when `latest` was asked for
//   I7  (G4) none for which a barrier has returned
// (I6, that a check is answered in the end, is asked in coherence.model.ts.) A check that waits is asked anew in every state; that it is
// woken when it can be answered is not seen here, but by cache.test.ts. Where there is a key, whose it is belongs to the answers of a state;
// and what a service answers to a request by it is judged in the turn in which it is given.

import type { CheckDriver, PolicyCache } from '../src/cache.ts';
import type { Effect, FollowerEvent, FollowerSettings } from '../src/follower.ts';
import { PolicyError } from '../src/errors.ts';
import type { KeyHolder } from '../src/keys.ts';
import type { AccessRequest, Decision } from '../src/model.ts';
import type { CheckOptions, CheckStatus } from '../src/options.ts';
import type { Code } from './coherence.code.ts';
import { BITS, PARTS, VOCABULARY, classValues, contains, headOf, historyOf, keyRow, touches } from './coherence.database.ts';
import type { Commit, Database, Faults, Kind, Part } from './coherence.database.ts';
import { unchanged } from './coherence.copy.ts';
import type { Follower } from './coherence.copy.ts';
import { NO_DEADLINE, WAITS } from './coherence.request.ts';
import type { Said } from './coherence.request.ts';
import type { State } from './coherence.state.ts';

export interface Judged {
  readonly kinds: readonly Kind[];
  readonly commits: number;
  readonly faults: Faults;
  /** Ticks that the lease lasts. */
  readonly lease: number;
  /** Milliseconds of a tick. */
  readonly tick: number;
  readonly barriers: boolean;
  readonly tokens: boolean;
  /** There is a key, and it is asked for. */
  readonly keyed: boolean;
  readonly gaps: boolean;
  /** Keys that are remembered as touched, per kind of tag. */
  readonly touched: number;
  /** Promises that do not hold in this configuration, and are not asked for. */
  readonly unasked: readonly ('I3' | 'I4')[];
}

interface Question {
  readonly part: Part;
  readonly bit: number;
  readonly request: AccessRequest;
}

export function newCheck(code: Code, judged: Judged) {
  const vocabulary = code.compileVocabulary(VOCABULARY);
  const settings: FollowerSettings = {
    vocabulary,
    touchedLimit: judged.touched,
    maxStaleness: judged.lease * judged.tick,
    follower: judged.barriers ? 'the follower' : null,
    stats: code.newStats(),
    newStores: () => ({ subjects: new Map(), targets: new Map(), absent: new Map(), classes: new Map(), keys: new Map(), absentKeys: new Map() }),
  };
  let state: Follower = code.newFollower();
  let now = 0;
  let heard: ((event: FollowerEvent) => void) | null = null;
  let answers = 0;
  const driver: CheckDriver = {
    get state() {
      return state;
    },
    cause: null,
    start: () => undefined,
    close: () => undefined,
    send: (event) => {
      heard?.(event);
      throw WAITS;
    },
  };
  const cache = new code.PolicyCache(
    {
      vocabulary,
      source: { attach: () => Promise.reject(new Error('the model has no source')) },
      clock: { now: () => now, after: () => () => undefined },
      random: () => 0,
      maxStaleness: judged.lease * judged.tick,
    },
    () => driver,
  );

  const request = (operation: string, target: string, owner?: string): AccessRequest => ({
    subject: 'u',
    operation: vocabulary.operation(operation),
    resource: vocabulary.resource('DEVICE'),
    target,
    ...(owner === undefined ? {} : { owner }),
  });
  /** Needs no entry at all: what its answer says is that the world answers, and at which revision. */
  const anything: AccessRequest = { ...request('A0', '*'), operation: -1 };
  const everything: AccessRequest = judged.kinds.some((kind) => touches(kind, 'x')) ? request('X0', 'x') : request('A0', '*');
  const questions = questionsOf(judged, request);

  const status: CheckStatus = { tenant: '', customer: '', revision: null, hit: false };
  const ask = (what: AccessRequest, options?: CheckOptions): Decision | null => {
    try {
      const decision = cache.check(what, status, options);
      if (decision instanceof Promise) throw new Error('a check waits that asked for nothing');
      if (heard === null) answers++;
      return decision;
    } catch (error) {
      if (error instanceof PolicyError || (error instanceof Error && error.name === 'PolicyError')) return null;
      throw error;
    }
  };

  /** Whose the key is; null: that is not known. */
  const askKey = (options?: CheckOptions): string | null => {
    try {
      const holder = cache.key('h', options);
      if (holder instanceof Promise) throw new Error('a key waits that was not asked for');
      if (heard === null) answers++;
      return holderText(holder);
    } catch (error) {
      if (error instanceof PolicyError || (error instanceof Error && error.name === 'PolicyError')) return null;
      throw error;
    }
  };

  /** Lets whoever asks the cache itself do so, of a copy of the state; what it asks for is carried out there. */
  function asked<T>(follower: Follower, at: number, use: (cache: Pick<PolicyCache, 'check' | 'key'>) => T): { value: T; effects: readonly Effect[] } {
    const effects: Effect[] = [];
    state = follower;
    now = at;
    heard = (event) => effects.push(...code.step(settings, follower, event, at));
    const value = use(cache);
    heard = null;
    return { value, effects };
  }

  /** Lets a check look at a copy of the state, and carries out what it asks for there. */
  function look(follower: Follower, at: { now: number; latest: boolean }): { decision: Decision | null; effects: readonly Effect[] } {
    const { value, effects } = asked(follower, at.now, () => {
      if (at.latest) return ask(anything, { atLeast: 'latest', deadline: NO_DEADLINE });
      // By a key, as whoever has one: it must be known first.
      if (judged.keyed && askKey({ deadline: NO_DEADLINE }) === null) return null;
      return ask(everything, { deadline: NO_DEADLINE });
    });
    return { decision: value, effects };
  }

  function judge(of: State): string | null {
    const { follower, database } = of;
    const { current } = follower;
    if (of.wrong !== null) return of.wrong;
    if (current === null) return null;
    state = follower;
    now = of.now;
    if (ask(anything) === null) return judged.keyed ? unchanged(current, () => keyAlone(of)) : null;
    const head = commitOf(database, status.revision!.id);
    return (
      recency(of, head, judged.lease) ??
      confirmed(of) ??
      (judged.tokens ? token(database) : null) ??
      (of.latest === null ? null : latest(of, of.latest)) ??
      unchanged(current, () => content(database, head))
    );
  }

  /** A key must not be known where no check is answered. */
  function keyAlone(of: State): string | null {
    return askKey() === null ? null : recency(of, headIn(of.database), judged.lease);
  }

  function recency({ database, reported, barred }: State, head: Commit, bound: number): string | null {
    for (const { number } of historyOf(database, headOf(database))) {
      if (contains(database, head.number, number)) continue;
      if (database.ages[number]! > bound && !judged.unasked.includes('I3'))
        return `I3: #${number} was acknowledged more than ${bound} ticks ago, and the answer of ${nameOf(head)} lacks it`;
      if ((reported & (1 << number)) !== 0 && !judged.unasked.includes('I4')) return `I4: #${number} was reported, and the answer of ${nameOf(head)} lacks it`;
      if ((barred & (1 << number)) !== 0) return `I7: a barrier for #${number} has returned, and the answer of ${nameOf(head)} lacks it`;
    }
    return null;
  }

  /** A check may ask for a smaller bound than the cache's own: here, for one that was confirmed since the last tick. */
  function confirmed(of: State): string | null {
    if (ask(anything, { maxStaleness: 0, deadline: NO_DEADLINE }) === null) return null;
    return recency(of, commitOf(of.database, status.revision!.id), 0);
  }

  /** Every revision ever given out, those of lost commits too. */
  function token(database: Database): string | null {
    for (const { number, version, id } of database.commits) {
      if (ask(anything, { atLeast: { version, id }, deadline: NO_DEADLINE }) === null) continue;
      const answered = commitOf(database, status.revision!.id);
      if (!contains(database, answered.number, number)) return `I5: the token of #${number} is answered by ${nameOf(answered)}, a history that lacks it`;
    }
    return null;
  }

  /** Asked anew in every state, as the check that waits is; the pulls are those of the time it came. */
  function latest({ database, follower }: State, { pulls, inFlight, commit }: NonNullable<State['latest']>): string | null {
    state = { ...follower, pulls, inFlight };
    const decision = ask(anything, { atLeast: 'latest', deadline: NO_DEADLINE });
    state = follower;
    if (decision === null) return null;
    const answered = commitOf(database, status.revision!.id);
    const lacks = contains(database, headOf(database), commit) && !contains(database, answered.number, commit);
    return lacks ? `I5: 'latest' is answered by ${nameOf(answered)}, and #${commit} was there when it was asked for` : null;
  }

  /** The commit that the cache says it stands at. */
  const headIn = ({ commits }: Database): Commit => {
    const { revision } = cache.state();
    return commits.find(({ version, id }) => `${version}-${id}` === revision)!;
  };

  /** The answer to a request is the truth in the turn in which it is given, by a key that is good in that turn. */
  function judgeRequest(of: State, said: Said): string | null {
    const { database } = of;
    if (said.answer === 'unavailable') return null;
    answers++;
    state = of.follower;
    now = of.now;
    const head = headIn(database);
    if (judged.gaps) return judgeLate(of, said);
    const old = recency(of, head, judged.lease);
    if (old !== null) return old;
    if (said.revision !== null && said.revision.id !== head.id)
      return `I1: the answer to a request claims ${said.revision.id}, and is given at ${nameOf(head)}`;
    const answer = requestTruth(of, head);
    return answer === said.answer ? null : `I1: a request is answered ${said.answer} at ${nameOf(head)}, and the truth is ${answer}`;
  }

  /** Where other things happen in between, it is the truth of the state that it claims, or of any if it claims none. */
  function judgeLate(of: State, { answer, revision }: Said): string | null {
    const claimed = of.database.commits.filter(({ id }) => revision === null || id === revision.id);
    return claimed.some((commit) => requestTruth(of, commit) === answer)
      ? null
      : `I1: a request is answered ${answer} at ${revision?.id ?? 'no state'}, and that is not the truth`;
  }

  function requestTruth({ database, now }: State, at: Commit): string {
    const key = keyRow(database, at);
    if (key === null) return 'ended-session';
    if (now >= key.expires) return 'expired-token';
    const { u, a } = at.values;
    const kindOf = (value: number): string => database.commits[value]!.kind;
    const isUser = (id: string): boolean => (id === 'u' ? kindOf(u) !== 'u off' && kindOf(u) !== 'k, u gone' : kindOf(a) !== 'a off');
    const acts = key.actor === '' || (isUser(key.actor) && kindOf(u) !== 'k, u gone' && kindOf(u) !== 'u moved');
    return acts && isUser(key.user) ? 'permit' : 'deny';
  }

  function content(database: Database, head: Commit): string | null {
    const given: [Question, string][] = [];
    let missing: string | null = null;
    for (const question of questions) {
      // A question about the same pieces as one that was not answered is not answered either.
      const pieces = question.request.target;
      if (pieces === missing) continue;
      const decision = ask(question.request);
      if (decision === null) missing = pieces;
      else given.push([question, said(decision)]);
    }
    const key = judged.keyed ? askKey() : null;
    const isTruth = (commit: Commit): boolean =>
      given.every(([question, answer]) => answer === truth(database, commit, question)) && (key === null || key === holderText(keyRow(database, commit)));
    if (isTruth(head)) return null;
    const parts = [...new Set([...given.map(([{ part }]) => part), ...(key === null ? [] : ['k'])])].join(', ');
    const other = database.commits.find(isTruth);
    return other === undefined
      ? `I2: the answer (${parts}) at ${nameOf(head)} is the truth of no revision`
      : `I1: the answer (${parts}) is the truth of ${nameOf(other)}, not of ${nameOf(head)}`;
  }

  function truth(database: Database, at: Commit, { part, bit }: Question): string {
    const { values } = at;
    const { kind } = database.commits[values.u]!;
    if (kind === 'u off') return 'subject-disabled';
    if (kind === 'k, u gone') return 'unknown-subject';
    if (part === 'x' && database.commits[values.x]!.kind === 'x gone') return 'unknown-target';
    const value = part === 'A' || part === 'B' || part === 'R' ? classValues(at, judged.faults)[part] : values[part];
    // A node hangs below one owner or below the other, and so does the subject.
    const elsewhere = kind === 'u moved' && (part === 'n' || part === 'm');
    return ((value & (1 << bit)) === 0) === elsewhere ? 'allow' : 'deny';
  }

  return { settings, look, asked, judge, judgeRequest, answers: () => answers };
}
function questionsOf({ kinds, commits }: Judged, request: (operation: string, target: string, owner?: string) => AccessRequest): Question[] {
  const parts = PARTS.filter((part) => part !== 'k' && part !== 'a' && kinds.some((kind) => touches(kind, part)));
  const bits = BITS.filter((bit) => commits >= 1 << bit);
  const about = (part: Part, bit: number): AccessRequest => {
    if (part === 'n' || part === 'm') return request('CREATE', '*', `${part}${bit}`);
    return request(`${part.toUpperCase()}${bit}`, part === 'x' ? 'x' : '*');
  };
  return parts.flatMap((part) => bits.map((bit) => ({ part, bit, request: about(part, bit) })));
}

function holderText(holder: KeyHolder | null): string {
  return holder === null ? 'nobody' : `${holder.user} ${holder.actor} ${holder.expires}`;
}

function said({ allow, reason }: Decision): string {
  if (reason === 'subject-disabled' || reason === 'unknown-subject' || reason === 'unknown-target') return reason;
  return allow ? 'allow' : 'deny';
}

const commitOf = ({ commits }: Database, id: string): Commit => commits.find((commit) => commit.id === id)!;
const nameOf = ({ number, version }: Commit): string => `#${number} (version ${version})`;
