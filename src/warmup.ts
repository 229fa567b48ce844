// How do the ids of a former process get into memory, before the first check asks for them?
//
// By checks: they take the ways of every other check, single flight, the bounds for one asker, a change that overtakes a fill, a lost session; so a
// warm-up can do nothing to the cache that a client could not, and what is kept is proved like anything else. Fewer are under way at once than
// the flights have room for: a client's check leaves with the next statement.

import { ANY, PolicyError, type Clock, type Decision, type HotIds, type PolicyCache, type Vocabulary } from 'policy-cache';

export interface WarmUpParts {
  readonly cache: Pick<PolicyCache, 'check'>;
  readonly vocabulary: Vocabulary;
  readonly clock: Clock;
  /** Milliseconds for all of it. */
  readonly ms: number;
}

export interface WarmUp {
  /** Ids asked about that are in memory now, those that no longer exist included. */
  readonly subjects: number;
  readonly targets: number;
  /** Why it ended before its end; null: it did not. */
  readonly cause: string | null;
}

/** Checks under way: 100 keys may be at the database at once. */
const AT_ONCE = 64;

/** Never rejects. */
export async function warmUp(ids: HotIds, { cache, vocabulary, clock, ms }: WarmUpParts): Promise<WarmUp> {
  const end = clock.now() + ms;
  const resource = openToAll(vocabulary);
  const ask = (subject: string, target: string): Decision | Promise<Decision> =>
    cache.check({ subject, operation: 0, resource, target }, undefined, { deadline: Math.max(1, end - clock.now()) });
  let cause: string | null = null;
  /** How many were answered. */
  const each = async (list: readonly string[], one: (id: string, i: number) => Decision | Promise<Decision>): Promise<number> => {
    let next = 0;
    let answered = 0;
    const lane = async (): Promise<void> => {
      while (cause === null && next < list.length) {
        const i = next++;
        try {
          await one(list[i]!, i);
          answered++;
        } catch (error) {
          if (!(error instanceof PolicyError)) throw error;
          cause = error.code === 'deadline' || clock.now() >= end ? `not within ${ms} ms` : error.message;
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
    return answered;
  };
  // Only for somebody who is let further than to the door of a decision does a check look at its target.
  const askers: string[] = [];
  const subjects = await each(ids.subjects, async (subject) => {
    const decision = await ask(subject, ANY);
    if (decision.rule > '2') askers.push(subject);
    return decision;
  });
  const targets = askers.length === 0 ? 0 : await each(ids.targets, (target, i) => ask(askers[i % askers.length]!, target));
  return { subjects, targets, cause };
}

/** A resource that no authority is kept from: the answer is open until the target is looked at. */
function openToAll(vocabulary: Vocabulary): number {
  return vocabulary.resources.findIndex(
    (_, resource) =>
      vocabulary.closedToTenantAdmins[resource] !== 1 && vocabulary.closedToCustomerUsers[resource] !== 1 && resource !== vocabulary.tenantResource,
  );
}
