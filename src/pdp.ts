// May this subject do these things? One question to the cache, or several of which all must pass.

import type { AccessRequest, CheckStatus, Decision, PolicyCache } from 'policy-cache';

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
   * All requests must pass; they are asked in order, up to the first deny. Returns a value, not a promise, when every check hit.
   * @throws PolicyError, or rejects with it, where it cannot decide; RangeError for no request at all, which must never be an allow
   */
  check(requests: readonly AccessRequest[]): Ruling | Promise<Ruling>;
}

export function createPdp(cache: Pick<PolicyCache, 'check'>): Pdp {
  const decide = (requests: readonly AccessRequest[], from: number, waited: boolean): Ruling | Promise<Ruling> => {
    // One status for each turn of this loop: two calls may wait for fills at the same time.
    const status: CheckStatus = { tenant: '', customer: '', revision: null, hit: true };
    let missed = waited;
    const settled = (decision: Decision, index: number): Ruling | null => {
      missed ||= !status.hit;
      if (decision.allow && index < requests.length - 1) return null;
      status.hit = !missed;
      return { decision, index, status };
    };
    for (let i = from; ; i++) {
      const answer = cache.check(requests[i]!, status);
      if (answer instanceof Promise) return answer.then((decision) => settled(decision, i) ?? decide(requests, i + 1, true));
      const ruling = settled(answer, i);
      if (ruling) return ruling;
    }
  };
  return {
    check(requests) {
      if (requests.length === 0) throw new RangeError('no check to decide');
      return decide(requests, 0, false);
    },
  };
}
