// What does the api answer that is no decision? One form for every error (RFC 9457), with a code that programs may rely on.
//
// Bodies are bytes: Node writes headers and a text body as one string, and would re-encode an X-Request-ID that is not ASCII.

import { STATUS_CODES } from 'node:http';
import type { Unavailable } from '../problem.ts';

export type ProblemCode =
  | 'bad-request'
  /** A token that is neither a revision nor `latest`, or came twice. */
  | 'bad-revision'
  | 'bad-timeout'
  | 'media-type'
  /** Administration: the caller may not; is nobody here; there is no such thing; its id is used; it is another by now; a rule is against it. */
  | 'forbidden'
  | 'bad-credential'
  | 'not-found'
  | 'exists'
  | 'changed'
  | 'violation'
  /** Done, and not yet seen here: the receipt says when it is. */
  | 'unconfirmed'
  /** The server for mail did not take it. */
  | 'mail'
  /** Too often: a wrong password, or from one address. */
  | 'throttled'
  | 'too-large'
  | 'too-slow'
  | 'no-key'
  | 'bad-key'
  | 'method'
  | 'no-path'
  /** The history of this database has no such revision, or its log no longer. */
  | 'unknown-revision'
  /** A barrier was not reached within the time that the caller gave it. */
  | 'timeout'
  | Unavailable;

const ENCODER = new TextEncoder();

export interface Problem {
  readonly status: number;
  readonly code: ProblemCode;
  readonly detail: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Further members of the body. */
  readonly more?: object;
}

export function problem({ status, code, detail, headers, more }: Problem): Response {
  return reply({ title: STATUS_CODES[status], status, code, detail, ...more }, { status, headers: { 'content-type': 'application/problem+json', ...headers } });
}

/** JSON that nobody may keep. */
export function reply(body: object, { status = 200, headers = {} }: { status?: number; headers?: Readonly<Record<string, string>> } = {}): Response {
  return new Response(ENCODER.encode(JSON.stringify(body)), {
    status,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers },
  });
}
