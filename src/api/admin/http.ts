// How does a refusal become an answer, and a request's words become what an action takes?

import type { Context } from 'hono';
import { HTTPException } from 'hono/http-exception';
import { PolicyError, formatRevision } from 'policy-cache';
import { Oversized, type StoredObject } from 'policy-cache/postgres';
import { problem, reply } from '../problems.ts';
import { etagOf, type Done } from './perform.ts';
import { Changed, Exists, Forbidden, MailFailed, Malformed, NotFound, Throttled, Unauthenticated, Unconfirmed, Violation } from './refusals.ts';

/** What was thrown on the way, as an answer; null: it is nobody's refusal. */
export function refusalAnswer(error: unknown): Response | null {
  if (error instanceof Forbidden) return problem({ status: 403, code: 'forbidden', detail: error.message, more: { reason: error.reason, rule: error.rule } });
  if (error instanceof Unauthenticated)
    return problem({ status: 401, code: 'bad-credential', detail: error.message, headers: CHALLENGE, more: { reason: error.reason } });
  if (error instanceof NotFound) return problem({ status: 404, code: 'not-found', detail: error.message });
  if (error instanceof Exists) return problem({ status: 409, code: 'exists', detail: error.message });
  if (error instanceof Changed) {
    const { current, field } = error;
    const more = { ...(field === '' ? {} : { field }), ...(current === null ? {} : { current: { etag: etagOf(current), ...current.row } }) };
    return problem({ status: 412, code: 'changed', detail: error.message, more });
  }
  if (error instanceof Violation)
    return problem({
      status: 422,
      code: 'violation',
      detail: error.message,
      more: { rule: error.rule, ...(error.field === '' ? {} : { field: error.field }) },
    });
  if (error instanceof Unconfirmed)
    return problem({ status: 503, code: 'unconfirmed', detail: error.message, headers: { 'x-authz-revision': formatRevision(error.revision) } });
  if (error instanceof Throttled) {
    const headers = { 'retry-after': String(error.seconds) };
    return problem({ status: 429, code: 'throttled', detail: error.message, headers, more: { reason: error.reason } });
  }
  if (error instanceof MailFailed) return problem({ status: 503, code: 'mail', detail: error.message });
  if (error instanceof Oversized) return problem({ status: 413, code: 'too-large', detail: 'what this names is too much to be read at once: name fewer' });
  if (error instanceof PolicyError)
    return problem({ status: 503, code: error.code, detail: error.message, headers: error.code === 'overload' ? { 'retry-after': '1' } : {} });
  if (error instanceof Malformed) return problem({ status: 400, code: 'bad-request', detail: error.message, more: { field: error.field } });
  if (error instanceof HTTPException) {
    const { status } = error;
    return problem({ status, code: status === 415 ? 'media-type' : 'bad-request', detail: error.message });
  }
  return null;
}

export const CHALLENGE = { 'www-authenticate': 'Bearer realm="grantgate"' };

/** An object as it is stored now. */
export function objectAnswer(
  object: StoredObject,
  { status = 200, done, location, more = {} }: { status?: 200 | 201; done?: Done<unknown>; location?: string; more?: object } = {},
): Response {
  return reply(
    { ...object.row, ...more },
    {
      status,
      headers: {
        etag: etagOf(object),
        ...(done === undefined ? {} : { 'x-authz-revision': formatRevision(done.revision) }),
        ...(location === undefined ? {} : { location }),
      },
    },
  );
}

/** What a change answers that is no object. */
export function changeAnswer(body: object, { revision }: Done<unknown>, status: 200 | 201 | 202 = 200): Response {
  return reply(body, { status, headers: { 'x-authz-revision': formatRevision(revision) } });
}

/**
 * The tags of `If-Match`; null where there is none, or `*`, which whatever is there matches (RFC 9110, 13.1.1).
 * @throws Malformed: taken for a tag that matches nothing, a misspelt one would be a puzzle
 */
export function ifMatchOf(c: Context): readonly string[] | null {
  const given = c.req.header('if-match');
  if (given === undefined || given.trim() === '*') return null;
  // A tag of somebody else's may have a comma in it.
  if (!/^\s*(?:W\/)?"[^"]*"(?:\s*,\s*(?:W\/)?"[^"]*")*\s*$/.test(given)) throw new Malformed('If-Match', 'must be * or tags as ETag has them: "…"');
  return given.match(/(?:W\/)?"[^"]*"/g) ?? [];
}
