// Why is a change not made? Each as an error of its own, which the listener answers with the problem that it stands for.

import type { Reason, Revision } from 'policy-cache';
import type { StoredObject } from 'policy-cache/postgres';

/** A rule of the access model, by its number there. */
export type RuleNumber = string;

/** 403: the caller may not. */
export class Forbidden extends Error {
  override readonly name = 'Forbidden';
  readonly reason: Reason | 'not-covered' | 'tenant-admin-only' | 'operator-only' | 'users-only' | 'acting' | 'not-a-session';
  readonly rule: RuleNumber;
  constructor(reason: Forbidden['reason'], rule: RuleNumber, message: string) {
    super(message);
    this.reason = reason;
    this.rule = rule;
  }
}

/** Of a tenant the operator sees nothing (semantics 1.6). */
export function usersOnly(): Forbidden {
  return new Forbidden('users-only', '1.6', 'this is for users: the operator sees and changes nothing inside of a tenant');
}

/** 400: it means nothing. */
export class Malformed extends Error {
  override readonly name = 'Malformed';
  readonly field: string;
  constructor(field: string, message: string, options?: { cause?: unknown }) {
    super(`${field}: ${message}`, options);
    this.field = field;
  }
}

/** 401: the caller is nobody here (unknown, disabled, of a tenant that its issuer does not speak for), or has shown nothing that opens. */
export class Unauthenticated extends Error {
  override readonly name = 'Unauthenticated';
  readonly reason:
    | 'unknown-subject'
    | 'subject-disabled'
    | 'foreign-tenant'
    /** Where users log in: an e-mail and a password, a refresh token, a link. */
    | 'bad-login'
    | 'ended-session'
    | 'reused-token'
    | 'bad-link';
  constructor(reason: Unauthenticated['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}

/** 404: there is no such thing, as far as the caller can know. */
export class NotFound extends Error {
  override readonly name = 'NotFound';
}

/** 409: the id is used already. */
export class Exists extends Error {
  override readonly name = 'Exists';
}

/** 412: it is not as the caller has seen it. */
export class Changed extends Error {
  override readonly name = 'Changed';
  /** As it is now; null: the caller may not READ it. */
  readonly current: StoredObject | null;
  /** Where in the request its tag was said; '': in `If-Match`. */
  readonly field: string;
  constructor(message: string, current: StoredObject | null, field = '') {
    super(field === '' ? message : `${field}: ${message}`);
    this.current = current;
    this.field = field;
  }
}

/** 422: well formed, and against a rule. */
export class Violation extends Error {
  override readonly name = 'Violation';
  /** Where in the request. */
  readonly field: string;
  readonly rule: RuleNumber;
  constructor(field: string, rule: RuleNumber, message: string) {
    super(field === '' ? message : `${field}: ${message}`);
    this.field = field;
    this.rule = rule;
  }
}

/** 503: it is done, and this process has not seen it yet. */
export class Unconfirmed extends Error {
  override readonly name = 'Unconfirmed';
  readonly revision: Revision;
  constructor(revision: Revision, options: { cause: unknown }) {
    super('the change is made, and this process has not seen it in time: ask the barrier for its revision', options);
    this.revision = revision;
  }
}

/** 503: the mail with the link did not go out. Its words hold nothing of a password or a link. */
export class MailFailed extends Error {
  override readonly name = 'MailFailed';
}

/** 429: not now, whatever is shown. */
export class Throttled extends Error {
  override readonly name = 'Throttled';
  /** `locked`: too many wrong passwords; `rate`: too many requests of one address. */
  readonly reason: 'locked' | 'rate';
  /** Until it may be tried again. */
  readonly seconds: number;
  constructor(reason: Throttled['reason'], seconds: number, message: string) {
    super(message);
    this.reason = reason;
    this.seconds = seconds;
  }
}
