// How does a CheckRequest of Envoy's become a check? As a subrequest does at an HTTP door (http.ts), from other fields.
//
// The client's own method, path and headers stand in fields that Envoy alone fills, so no header says them here: a client's
// `X-Original-URI` is any header. What the route says itself (`context_extensions`) is the form with parameters.
// A message may hold a body, whole or cut off (`x-envoy-auth-partial-body`): nothing here is decided by one, so none is read.

import type { Authorize, DoorRequest, Outcome } from '../authorize.ts';
import { parseAtLeast } from '../pdp.ts';
import type { RequestProblem } from '../problem.ts';
import type { CheckSpan, TraceCheck } from '../report.ts';
import { readCheckRequest } from './check-request.ts';
import type { CheckRequest } from './check-request.ts';
import { readHeaders, readerOf } from './headers.ts';
import type { Headers } from './headers.ts';

/** Who names the subject: a token, the client's certificate, or a header (lower case) that the proxy writes over the client's. */
export type Asserts = 'none' | 'principal' | { readonly header: string };

export interface EnvoyCheckSettings {
  readonly authorize: Authorize;
  readonly refuseMethodOverride: boolean;
  readonly atLeast: boolean;
  readonly asserts: Asserts;
  /** Default: no check is traced. */
  readonly trace?: TraceCheck | null;
}

/** How the call itself came. */
export interface CallMetadata {
  /** Milliseconds that the client still waits; null: not said. */
  readonly timeout: number | null;
  readonly traceparent: string;
  readonly tracestate: string;
}

export interface EnvoyCheck {
  readonly outcome: Outcome | Promise<Outcome>;
  /** Names of the client's headers that are to be taken away on an allow. */
  readonly aliases: readonly string[];
}

/** @throws ProtobufError if the bytes are no message */
export type CheckEnvoy = (message: Buffer, call: CallMetadata) => EnvoyCheck;

export function createEnvoyCheck({ authorize, refuseMethodOverride, atLeast: reads, asserts, trace = null }: EnvoyCheckSettings): CheckEnvoy {
  const header = typeof asserts === 'object' ? asserts.header : null;
  const reader = readerOf({ origin: { kind: 'request-line' }, target: null, atLeast: reads ? 'x-authz-at-least' : null }, header, trace !== null);
  /** Envoy's own span is of the call; where it has none, the client's is of the request. */
  const spanOf = (call: CallMetadata, headers: Headers): CheckSpan | null =>
    trace === null ? null : call.traceparent === '' ? trace(headers.traceparent, headers.tracestate) : trace(call.traceparent, call.tracestate);

  return (message, call) => {
    const said = readCheckRequest(message, reader);
    const headers = readHeaders(reader, said.headers);
    // Empty is none, as at an HTTP door.
    const atLeast = headers.atLeast === '' ? null : parseAtLeast(headers.atLeast);
    const { resource, operation, target } = said;
    const request: DoorRequest = {
      protocol: 'envoy_grpc',
      method: said.method,
      uri: said.path,
      preflight: headers.preflight,
      requestId: headers.requestId,
      span: spanOf(call, headers),
      credential: headers.credential,
      credentials: headers.credentials,
      cookies: headers.cookies,
      origin: headers.origin,
      asserted: asserts === 'none' ? null : asserts === 'principal' ? said.principal : headers.asserted,
      timeout: call.timeout,
      atLeast,
      parameters:
        resource === null && operation === null && target === null ? null : { resource: resource ?? '', operation: operation ?? '', target: target ?? '' },
      problem: problemOf(said, headers, { badToken: headers.atLeast !== '' && atLeast === null, refuseMethodOverride }),
    };
    return { outcome: authorize(request), aliases: said.aliases };
  };
}

function problemOf(
  { twice, method, path, resource, operation, target }: CheckRequest,
  headers: Headers,
  { badToken, refuseMethodOverride }: { badToken: boolean; refuseMethodOverride: boolean },
): RequestProblem | null {
  if (headers.repeated || twice) return 'repeated-header';
  // Rule 3: never a default. A context that names one of the three must name them all.
  if (method === '' || path === '') return 'missing-header';
  if ((resource ?? operation ?? target) !== null && !(resource && operation && target)) return 'missing-header';
  if (badToken) return 'bad-revision';
  return headers.override && refuseMethodOverride ? 'method-override' : null;
}
