// What does the decision log hear of a request to the administration? What decided it, in one line like that of a check.

import type { MiddlewareHandler } from 'hono';
import { PolicyError } from 'policy-cache';
import type { Clock } from 'policy-cache';
import type { CheckReport } from '../../report.ts';
import { Forbidden, Throttled, Unauthenticated } from './refusals.ts';
import type { AdminEnv } from './route.ts';

export interface ReportParts {
  readonly clock: Pick<Clock, 'now'>;
  readonly nextId: () => string;
  readonly report: (check: CheckReport) => void;
}

/** Outermost: it tells of whoever is nobody, too. */
export function reported({ clock, nextId, report }: ReportParts): MiddlewareHandler<AdminEnv> {
  return async (c, next) => {
    const started = clock.now();
    await next();
    const who = c.get('who');
    const { operation = '', resource = '', target = '', ruling = null } = who?.judgement ?? {};
    const caller = who?.caller;
    const status = ruling?.status;
    const check: CheckReport = {
      decisionId: nextId(),
      requestId: c.req.header('x-request-id') ?? '',
      ...outcomeOf(c.res.status, c.error, ruling?.decision ?? null, caller?.kind === 'operator'),
      revision: status?.revision ?? null,
      protocol: 'admin',
      method: c.req.method,
      route: '',
      ...{ operation, resource, target },
      subject: caller?.kind === 'user' ? caller.subject : '',
      actor: caller?.kind === 'user' && caller.actor !== caller.subject ? caller.actor : '',
      tenant: who?.tenant ?? '',
      cache: status === undefined ? 'none' : status.hit ? 'hit' : 'miss',
      durationMs: clock.now() - started,
    };
    try {
      report(check);
    } catch {
      // It is answered. A line or a count that is lost must not turn a change that is made into an error.
    }
  };
}

type Outcome = Pick<CheckReport, 'verdict' | 'reason' | 'rule'>;

/** A refusal of a rule that is no decision (a conflict, a violation) leaves standing what was decided before. */
function outcomeOf(status: number, error: Error | undefined, decision: Outcome | Omit<Outcome, 'verdict'> | null, isOperator: boolean): Outcome {
  if (error instanceof Forbidden) return { verdict: 'deny', reason: error.reason, rule: error.rule };
  if (error instanceof Unauthenticated || error instanceof Throttled) return { verdict: 'unauthenticated', reason: error.reason, rule: '' };
  if (error instanceof PolicyError) return { verdict: 'unavailable', reason: error.code, rule: '' };
  if (decision !== null) return { verdict: 'permit', reason: decision.reason, rule: decision.rule };
  if (status === 401) return { verdict: 'unauthenticated', reason: 'bad-credential', rule: '' };
  if (status >= 500) return { verdict: 'unavailable', reason: status === 503 ? 'unconfirmed' : 'internal', rule: '' };
  if (status >= 400) return { verdict: 'unmapped', reason: status === 404 ? 'not-found' : 'bad-request', rule: '' };
  return isOperator ? { verdict: 'permit', reason: 'operator', rule: '1.6' } : { verdict: 'permit', reason: 'known-subject', rule: '1' };
}
