// May this subject do these things? One question to the cache, or several of which all must pass.

import { InputError, PolicyError, parseRevision } from 'policy-cache';
import type { AccessRequest, CheckOptions, CheckStatus, Decision, PolicyCache, Revision } from 'policy-cache';

/** From when on an answer must be: the state of a revision or a later one, or whatever was newest when the check came. */
export type AtLeast = Revision | 'latest';

export interface Ruling {
  /** Of the first check that was denied, else of the last one. */
  readonly decision: Decision;
  /** Which of the requests that was. */
  readonly index: number;
  /** Tenant, customer and revision in the turn of that decision. `hit`: no check waited for a fill. */
  readonly status: Readonly<CheckStatus>;
}

export interface Pdp {
  /**
   * All requests must pass, in one state of the database, of `atLeast` or later; they are asked in order, up to the first deny.
   * `trace`: of CheckOptions. `now`: what the clock says in this turn, from whoever has read it.
   * Returns a value, not a promise, when every check hit.
   * @throws PolicyError, or rejects with it, where it cannot decide; RangeError for no request at all, which must never be an allow
   */
  check(requests: readonly AccessRequest[], atLeast?: AtLeast, trace?: object, now?: number): Ruling | Promise<Ruling>;
}

/** How often all is asked again because something changed while one of the checks waited. */
const ROUNDS = 4;

interface Progress {
  readonly from: number;
  readonly waited: boolean;
  /** State of the checks before `from`; undefined: there are none. */
  readonly at: Revision | null | undefined;
  /** They were not all of that state. */
  readonly mixed: boolean;
  readonly round: number;
}

const START: Progress = { from: 0, waited: false, at: undefined, mixed: false, round: 1 };

export interface PdpSettings {
  /** Milliseconds that one check may wait; default 100. */
  readonly deadline?: number;
  /** Asked before a check waits, with how many wait; what it throws is how that check ends. */
  readonly admit?: (waiting: number) => void;
}

export function createPdp(cache: Pick<PolicyCache, 'check'>, { deadline = 100, admit }: PdpSettings = {}): Pdp {
  let waiting = 0;
  const begin = (): void => admit?.(waiting);
  const plain: CheckOptions = { deadline, admit: begin };
  /** A literal: on Node 20 the spread of another object costs 1.5 µs, four times the check. */
  const optionsOf = (atLeast: AtLeast | undefined, trace: object | undefined): CheckOptions => ({ deadline, atLeast, admit: begin, trace });
  /** `latest` is a pull of its own for each check that asks so: once one is answered, the state that it was answered at will do for the others. */
  const after = (options: CheckOptions, { revision }: CheckStatus): CheckOptions =>
    options.atLeast === 'latest' && revision !== null ? optionsOf(revision, options.trace) : options;
  const decide = (requests: readonly AccessRequest[], options: CheckOptions, { from, waited, at, mixed, round }: Progress): Ruling | Promise<Ruling> => {
    // One status for each turn of this loop: two calls may wait for fills at the same time.
    const status: CheckStatus = { tenant: '', customer: '', revision: null, hit: true };
    let missed = waited;
    let first = at;
    let differ = mixed;
    const settled = (decision: Decision, index: number): Ruling | Promise<Ruling> | null => {
      missed ||= !status.hit;
      if (first === undefined) first = status.revision;
      differ ||= !isSame(first, status.revision);
      if (decision.allow && index < requests.length - 1) return null;
      // Allowed then, and something else allowed now: there may have been no moment at which both were. A deny is looked at likewise: on a route
      // for whoever is authenticated it may still be an answer, and then what was allowed before it counts.
      if (differ) {
        if (round >= ROUNDS) throw new PolicyError('overload', 'permissions change faster than they can be read');
        return decide(requests, after(options, status), { ...START, waited: missed, round: round + 1 });
      }
      status.hit = !missed;
      return { decision, index, status };
    };
    for (let i = from; ; i++) {
      const answer = cache.check(requests[i]!, status, options);
      if (answer instanceof Promise)
        return answer.then(
          (decision) => settled(decision, i) ?? decide(requests, after(options, status), { from: i + 1, waited: true, at: first, mixed: differ, round }),
        );
      const ruling = settled(answer, i);
      if (ruling) return ruling;
    }
  };
  /** Nearly every question: in one turn there is one state, so nothing is compared and no closure is made. */
  const decideOne = (request: AccessRequest, options: CheckOptions, now: number | undefined): Ruling | Promise<Ruling> => {
    const status: CheckStatus = { tenant: '', customer: '', revision: null, hit: true };
    const answer = cache.check(request, status, options, now);
    return answer instanceof Promise ? answer.then((decision) => ({ decision, index: 0, status })) : { decision: answer, index: 0, status };
  };
  return {
    check(requests, atLeast, trace, now) {
      if (requests.length === 0) throw new RangeError('no check to decide');
      const options = atLeast === undefined && trace === undefined ? plain : optionsOf(atLeast, trace);
      const ruling = requests.length === 1 ? decideOne(requests[0]!, options, now) : decide(requests, options, START);
      if (!(ruling instanceof Promise)) return ruling;
      waiting++;
      return ruling.finally(() => waiting--);
    },
  };
}

function isSame(a: Revision | null, b: Revision | null): boolean {
  return a === b || (a !== null && b !== null && a.version === b.version && a.id === b.id);
}

/** The text of a token: a revision, or `latest`; null if it is neither. */
export function parseAtLeast(text: string): AtLeast | null {
  if (text === 'latest') return text;
  try {
    return parseRevision(text);
  } catch (error) {
    if (error instanceof InputError) return null;
    throw error;
  }
}
