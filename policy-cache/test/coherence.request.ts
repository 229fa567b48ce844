// How does a service answer a request by the cache, in a search that goes back to earlier states?
//
// The real service asks, waits, and goes on when it is answered, with all that it has learnt until then: that cannot be copied. So what it
// was told is kept, and told again: it begins anew in each turn, hears the same, and comes to the question that it waits with. Its promises
// are of a kind that goes on in the turn in which it is answered (coherence.promise.ts), as microtasks do; or, with `gaps`, in a later one.

import { PolicyError } from '../src/errors.ts';
import type { KeyHolder } from '../src/keys.ts';
import type { AccessRequest, Decision, Revision } from '../src/model.ts';
import type { CheckOptions, CheckStatus } from '../src/options.ts';
import type { Vocabulary } from '../src/vocabulary.ts';
import type { Effect } from '../src/follower.ts';
import type { PolicyCache } from '../src/cache.ts';
import type { Follower } from './coherence.copy.ts';

export type Asked = Pick<PolicyCache, 'check' | 'key'>;

/** What was answered: how, and at which state of the database as far as that is said. */
export interface Said {
  readonly answer: string;
  readonly revision: Revision | null;
}

export interface Service {
  /** What was waited for, as a promise of the service's own kind. */
  readonly later: <T>(value: T) => Promise<T>;
  /** What is waited for. */
  readonly never: () => Promise<never>;
  /** What answers one request; null: it waits. What cannot be decided is answered `unavailable`. */
  readonly answering: (vocabulary: Vocabulary, wall: () => number) => (cache: Asked) => Said | null;
}

interface Told {
  /** Not in the turn in which it was asked. */
  readonly waited: boolean;
  readonly value: KeyHolder | Decision | null;
  readonly status: CheckStatus | null;
  /** What the clocks said: the service is not to judge it by those of a later turn. */
  readonly now: number;
}

/** One that waits. */
export interface Request {
  readonly told: readonly Told[];
  /** For an answer; else it was given one, and has yet to go on with it. */
  readonly waits: boolean;
  /** Two requests are the same only if they were told the same. */
  readonly code: string;
}

type Look = (follower: Follower, now: number, use: (cache: Asked) => Said | null) => { value: Said | null; effects: readonly Effect[] };

/** Of a state, what a request sees. */
interface At {
  readonly follower: Follower;
  readonly now: number;
  readonly request: Request | null;
}

export function newRequests(look: Look, of: { readonly vocabulary: Vocabulary; readonly service: Service; readonly gaps: boolean }) {
  const { vocabulary, service, gaps } = of;
  let wall = 0;
  const answer = service.answering(vocabulary, () => wall);
  return ({ follower, now, request }: At): { request: Request | null; effects: readonly Effect[]; said: Said | null } => {
    const told = [...(request?.told ?? [])];
    let at = 0;
    let waits = false;
    let stops = false;
    /** Told what it was told in an earlier turn, or now, or it has to wait. */
    const next = <T extends KeyHolder | Decision | null>(status: CheckStatus | null, ask: () => T | Promise<T>): T | Promise<T> => {
      const known = told[at];
      if (waits || stops) throw new Error('a request asks for two things at once');
      if (known !== undefined) {
        at++;
        wall = known.now;
        Object.assign(status ?? {}, known.status);
        return known.waited ? service.later(known.value as T) : (known.value as T);
      }
      wall = now;
      const waited = request !== null && request.waits && at === request.told.length;
      try {
        const value = ask() as T;
        if (status !== null && waited) status.hit = false;
        told.push({ waited, value: copied(value), status: status && { ...status }, now });
        at++;
        stops = waited && gaps;
        return stops ? service.never() : waited ? service.later(value) : value;
      } catch (error) {
        if (error !== WAITS) throw error;
        waits = true;
        return service.never();
      }
    };
    const { value: said, effects } = look(follower, now, (cache) =>
      answer({
        key: (_: string, options?: CheckOptions) => next(null, () => cache.key('h', { ...options, deadline: NO_DEADLINE })),
        check: (question: AccessRequest, status?: CheckStatus, options?: CheckOptions) =>
          next(status ?? null, () => cache.check(question, status, { ...options, deadline: NO_DEADLINE })),
      }),
    );
    return { request: waits || stops ? { told, waits, code: `${waits ? '?' : ''}${told.map(codeOf).join(';')}` } : null, effects, said };
  };
}

/** Thrown into whoever has to wait, so that it ends in the turn in which it asked. */
export const WAITS = new PolicyError('overload', 'this check would wait');
/** Far behind any time of the model: what ends a check that waits is the model alone. */
export const NO_DEADLINE = 1e12;

/** Entries are changed in place. */
function copied<T extends KeyHolder | Decision | null>(value: T): T {
  return value !== null && 'user' in value ? { ...value } : value;
}

function codeOf({ waited, value, status, now }: Told): string {
  const text =
    value === null
      ? 'nobody'
      : 'user' in value
        ? `${value.user} ${value.actor} ${value.expires} ${now < value.expires ? '' : 'over'}`
        : `${value.rule} ${value.reason}`;
  return `${waited ? 'later ' : ''}${text} ${status?.revision?.id ?? ''}`;
}
