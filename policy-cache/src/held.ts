// What does a user hold, all of it at once? For whoever must compare it with something, and not ask one question.

import type { PolicyCache } from './cache.ts';
import type { Held } from './covers.ts';
import { ANY } from './model.ts';
import type { CheckOptions, CheckStatus } from './options.ts';
import type { Vocabulary } from './vocabulary.ts';

/**
 * Shows what the user holds, in one synchronous turn, at the revision that the options ask for.
 * @returns what `look` returned; null for a user who is unknown or disabled
 * @throws PolicyError, or rejects with it, where it cannot be known
 */
export async function withHeld<T>(
  cache: Pick<PolicyCache, 'check'>,
  { vocabulary, subject, options }: { readonly vocabulary: Vocabulary; readonly subject: string; readonly options?: CheckOptions },
  look: (held: Held) => T,
): Promise<T | null> {
  let seen: { readonly value: T } | null = null;
  const status: CheckStatus = { tenant: '', customer: '', revision: null, hit: true, seen: (held) => void (seen = { value: look(held) }) };
  const decision = await cache.check({ subject, operation: 0, resource: openResource(vocabulary), target: ANY }, status, options);
  if (decision.rule === '1') return null;
  // Nothing but a turn that had all of it tells of it.
  if (seen === null) throw new Error(`a decision by rule ${decision.rule} did not show what ${subject} holds`);
  return (seen as { readonly value: T }).value;
}

/** A resource that is closed to nobody, so that every question about it is decided by what the user holds. */
function openResource(vocabulary: Vocabulary): number {
  const { resources, closedToTenantAdmins, closedToCustomerUsers, tenantResource } = vocabulary;
  return resources.findIndex((_, i) => closedToTenantAdmins[i] !== 1 && closedToCustomerUsers[i] !== 1 && i !== tenantResource);
}
