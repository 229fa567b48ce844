// What are the nouns: who asks for what on what, and what is the answer?
//
// Names of resources, operations and types are small integers here (vocabulary.ts translates at the edge, -1 = unknown), so
// that a decision compares integers only. Ids stay strings. Section numbers are those of the access model ("semantics").

import { InputError } from './errors.ts';

/** The target of a check that asks "any of this resource" (semantics 4, step 3). Never a default. */
export const ANY = '*';

/** "No node": the owner of a tenant, the own node of anything that owns nothing. */
export const NONE = -1;

/** One question: may `subject` do `operation` on `target`, a thing of `resource`? */
export interface AccessRequest {
  /** User id. */
  readonly subject: string;
  /** Operation number of the vocabulary; -1: unknown, or the wildcard ALL. */
  readonly operation: number;
  /** Resource number of the vocabulary; -1: unknown, or the wildcard ALL. */
  readonly resource: number;
  /** Id of an entity or a group, or `ANY`. */
  readonly target: string;
  /** CREATE with `ANY` only: the owner of the thing to be made; the subject's own owner when absent (semantics 4, step 7). */
  readonly owner?: string;
  /** CREATE with `ANY` only: groups that the thing is to be put into. */
  readonly groups?: readonly string[];
}

/**
 * What is known of an id that exists: everything of it that a decision reads.
 * Numbers belong to one world: a placement never crosses a RESET.
 */
export interface Placement {
  /** True for an entity group, whose `type` is the type of its members. */
  readonly group: boolean;
  /** Type number of the vocabulary; -1: a type that the vocabulary does not name. */
  readonly type: number;
  /** Tree node of the owner; `NONE` for a tenant. */
  readonly owner: number;
  /** Tree node of the thing itself when it is a tenant or a customer, else `NONE`. */
  readonly node: number;
  /** False only for a disabled user. */
  readonly enabled: boolean;
  /** Numbers of the explicit groups it is a member of and that count (semantics 1.3), ascending. For a group: its own number alone. */
  readonly groups: readonly number[];
}

/** Why, as a closed union. The first three are allows. */
export type Reason =
  | 'generic'
  | 'group'
  | 'self'
  | 'unknown-vocabulary'
  | 'unknown-subject'
  | 'subject-disabled'
  | 'authority'
  | 'no-grant'
  | 'unknown-target'
  | 'other-tenant'
  | 'type-mismatch'
  | 'owner-only'
  | 'out-of-scope';

/** The step of semantics 4 that decided. */
export type Rule = '0' | '1' | '2' | '3' | '4' | '5' | '6a' | '6b' | '6c' | '6d' | '6e' | '7';

/** The answer. Frozen constants, one per (decision, reason, rule): comparing by identity is fine. */
export interface Decision {
  readonly allow: boolean;
  readonly reason: Reason;
  readonly rule: Rule;
}

/**
 * What one grant (GPE) gives, as the source reports it: role and target side joined.
 * Unknown names in a stored role match nothing (semantics 2).
 */
export type Grant =
  | { readonly kind: 'generic'; readonly role: string; readonly permissions: Permissions; readonly excluded: Permissions }
  | {
      readonly kind: 'group';
      readonly role: string;
      readonly operations: readonly string[];
      readonly shared: boolean;
      /** Null: the All group of `owner` and `type`. */
      readonly group: string | null;
      readonly type: string;
      readonly owner: string;
    };

/** Resource name (or ALL) to operation names (or ALL). */
export type Permissions = Readonly<Record<string, readonly string[]>>;

/** A point in the history of the database: `<version>-<id>` in text, opaque to clients. */
export interface Revision {
  readonly version: number;
  readonly id: string;
}

const REVISION = /^(0|[1-9][0-9]{0,15})-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;

/** @throws InputError when the text is not `<version>-<id>` */
export function parseRevision(text: string, field = 'revision'): Revision {
  const match = REVISION.exec(text);
  const version = Number(match?.[1]);
  if (!match || !Number.isSafeInteger(version)) throw new InputError(field, `expected <version>-<uuid>, got ${JSON.stringify(text.slice(0, 80))}`);
  return { version, id: match[2]! };
}

export function formatRevision(revision: Revision): string {
  return `${revision.version}-${revision.id}`;
}

const ALL_GROUP = /^all:([^:]+):(.+)$/s;

/** The id of an owner's virtual All group (semantics 1), taken apart; null if the id is not of that form. */
export function parseAllGroup(id: string): { type: string; owner: string } | null {
  if (!id.startsWith('all:')) return null;
  const match = ALL_GROUP.exec(id);
  return match ? { type: match[1]!, owner: match[2]! } : null;
}

export function formatAllGroup(type: string, owner: string): string {
  return `all:${type}:${owner}`;
}

// Control characters (C0, DEL, C1) and lone surrogates; ids are well-formed UTF-8.
// oxlint-disable-next-line no-control-regex
const FORBIDDEN = /[\u0000-\u001f\u007f-\u009f]|\p{Surrogate}/u;

/**
 * An id of semantics 1.1: 1 to 255 bytes of well-formed UTF-8 without control characters.
 * @throws InputError
 */
export function parseId(id: unknown, field = 'id'): string {
  if (typeof id !== 'string') throw new InputError(field, `expected a string, got ${id === null ? 'null' : Array.isArray(id) ? 'a list' : typeof id}`);
  if (id.length === 0) throw new InputError(field, 'an id is never empty');
  if (FORBIDDEN.test(id)) throw new InputError(field, `an id has no control characters and no lone surrogates, got ${JSON.stringify(id.slice(0, 80))}`);
  if (id.length > 255 || (id.length > 63 && utf8Length(id) > 255)) throw new InputError(field, `an id has at most 255 bytes, got ${utf8Length(id)}`);
  return id;
}

/** Bytes of a well-formed string in UTF-8 (no TextEncoder: the core has no host types). */
export function utf8Length(text: string): number {
  let bytes = 0;
  for (const character of text) {
    const point = character.codePointAt(0)!;
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
  }
  return bytes;
}
