// What does a door or the api hand over when a check is finished? One value, read by the metrics and by the decision log.
//
// It is filled in once per check and passed to one function; no reader keeps it. (Where the check is traced, its span is the third.)

import type { Revision } from 'policy-cache';

export interface CheckReport {
  /** The id that the upstream gets as `X-Authz-Decision-Id`. */
  readonly decisionId: string;
  /** `X-Request-Id` of the proxy's request; '' if there was none. */
  readonly requestId: string;
  readonly verdict: 'permit' | 'deny' | 'unauthenticated' | 'unmapped' | 'unavailable';
  /** Why, as a stable word: a `Reason` of the model, a `PolicyErrorCode`, or the door's own word for a refusal. */
  readonly reason: string;
  /** The step of semantics 4 that decided; '' where none did. */
  readonly rule: string;
  /** The state of the database that the decision is true for; null where there is none. */
  readonly revision: Revision | null;
  /** Who was asked, as a metric label: `nginx`, `envoy_http`, …, `authzen`. */
  readonly protocol: string;
  /** The client's method, as the proxy named it; '' if unknown. */
  readonly method: string;
  /** The row of the route table that matched (its pattern, never the path); '' if none did. */
  readonly route: string;
  /** Names, as asked for; '' if unknown. */
  readonly resource: string;
  readonly operation: string;
  readonly target: string;
  /** User id that the credential proved; '' if it proved none. At the api: that the application asked for. */
  readonly subject: string;
  /** Who has logged in as the subject; '' or absent where nobody else has. */
  readonly actor?: string;
  readonly tenant: string;
  /** Did the check wait for the database? `none`: it never reached the cache. */
  readonly cache: 'hit' | 'miss' | 'none';
  /** From the request's arrival to the answer, in milliseconds. */
  readonly durationMs: number;
  /** Null or absent: it is not traced. */
  readonly span?: CheckSpan | null;
}

/** One check in somebody's trace. */
export interface CheckSpan {
  /** It is answered. */
  end(check: CheckReport): void;
}

/** From `traceparent` and `tracestate` (W3C Trace Context; '' where there is none), when the check comes. Null: nobody traces this request. */
export type TraceCheck = (traceparent: string, tracestate: string) => CheckSpan | null;
