// How is a change made? Read, judged, locked, read again, written with its audit row, and waited for.
//
// An `Action` is what differs from one change to the next. It is judged on what it read; if that is another thing once the rows are
// locked, it is judged again: so two changes that each would not be allowed after the other cannot both be made.

import { createHash } from 'node:crypto';
import { PolicyError, type Revision } from 'policy-cache';
import { Refusal, lockObjects, writeAudit, type Locks, type Statements, type StoredObject, type Writer } from 'policy-cache/postgres';
import type { Authority, Need, Who } from './needs.ts';
import { Changed, Exists, Forbidden, Unconfirmed, Violation } from './refusals.ts';

/** Something that is changed; what it tells the audit log. */
export interface Effect {
  /** What the audit log calls it, where it is not what was asked for: what goes with something else. */
  readonly action?: string;
  readonly tenant: string;
  /** Of the target; for a tenant or where the target has none, the nearest. */
  readonly owner: string;
  readonly target: string;
  readonly before: unknown;
  readonly after: unknown;
}

export interface Action<B, T> {
  /** `customer.create`: what the audit log calls it. */
  readonly name: string;
  /** All that the change is judged on. @throws NotFound, Violation */
  read(db: Statements, who: Who): Promise<B>;
  locks(basis: B): Locks;
  needs(basis: B, who: Who): readonly Need[];
  /** What `If-Match` is about. */
  current?(basis: B): StoredObject;
  /** Of many: the tags that some of them must have. */
  expected?(basis: B): readonly Expected[];
  /** Which of what was given the database would not have: looked for afterwards, so that nobody waits for it where all is well. Null: none of it. */
  misfit?(db: Statements, basis: B): Promise<Violation | null>;
  /** Its value is a secret without which what was before is no good any more: it is told although this process has not seen it yet. */
  readonly toldOnce?: true;
  apply(db: Statements, basis: B): Promise<{ readonly value: T; readonly effects: readonly Effect[] }>;
}

export interface Expected {
  readonly object: StoredObject;
  readonly tag: string;
  /** Where in the request it was said. */
  readonly field: string;
}

export interface Asked {
  readonly who: Who;
  /** Tags, one of which must be the object's; null: any. */
  readonly ifMatch: readonly string[] | null;
  readonly requestId: string;
}

export interface Done<T> {
  readonly value: T;
  readonly revision: Revision;
}

export interface Performer {
  /** @throws what `read` does; Forbidden, Unauthenticated, Changed, Exists, Violation; PolicyError where it cannot be done now */
  perform<B, T>(asked: Asked, action: Action<B, T>): Promise<Done<T>>;
}

export interface PerformerParts {
  readonly writer: Writer;
  readonly authority: Pick<Authority, 'require'>;
  /** Resolves when this process answers at the revision or later. */
  readonly applied: (revision: Revision) => Promise<void>;
}

const ROUNDS = 4;

/** The tag of an object: a hash of what it is. */
export function etagOf({ json }: Pick<StoredObject, 'json'>): string {
  return `"${createHash('sha256').update(json).digest('base64url').slice(0, 27)}"`;
}

export function createPerformer({ writer, authority, applied }: PerformerParts): Performer {
  return {
    async perform(asked, action) {
      const { who } = asked;
      for (let round = 1; ; round++) {
        const basis = await writer.read((db) => action.read(db, who));
        try {
          await authority.require(who, action.needs(basis, who));
        } catch (error) {
          // What was there when it was read, an owner too, and has gone since, is not forbidden but not found.
          if (error instanceof Forbidden && round < ROUNDS && printed(await writer.read((db) => action.read(db, who))) !== printed(basis)) continue;
          throw error;
        }
        const done = await writer
          .write(async (db) => attempt(db, { asked, action, basis }))
          .catch(async (error: unknown) => {
            const isMisfit = error instanceof Refusal && error.code.startsWith('23');
            throw (isMisfit ? await writer.read(async (db) => action.misfit?.(db, basis) ?? null) : null) ?? explained(error);
          });
        if (done !== null) {
          await applied(done.revision).catch((cause: unknown) => {
            if (action.toldOnce !== true) throw new Unconfirmed(done.revision, { cause });
          });
          return done;
        }
        if (round >= ROUNDS) throw new PolicyError('overload', 'what it is judged on keeps changing; ask again');
      }
    },
  };
}

/** Null: it is not any more what was judged. */
async function attempt<B, T>(
  db: Statements,
  { asked, action, basis }: { readonly asked: Asked; readonly action: Action<B, T>; readonly basis: B },
): Promise<Done<T> | null> {
  await lockObjects(db, action.locks(basis));
  const now = await action.read(db, asked.who);
  if (printed(now) !== printed(basis)) return null;
  const current = action.current?.(now);
  if (asked.ifMatch !== null && current !== undefined) {
    const tag = etagOf(current);
    if (!asked.ifMatch.includes(tag)) throw new Changed(`it is ${tag} now, not ${asked.ifMatch.join(', ')}`, current);
  }
  for (const { object, tag, field } of action.expected?.(now) ?? []) {
    const is = etagOf(object);
    if (is !== tag) throw new Changed(`it is ${is} now, not ${tag}`, object, field);
  }
  const { value, effects } = await action.apply(db, now);
  const { caller } = asked.who;
  const by =
    caller.kind === 'user'
      ? ({ actorKind: 'user', actor: caller.actor, asUser: caller.subject } as const)
      : ({ actorKind: 'operator', actor: '', asUser: '' } as const);
  const revision = await writeAudit(
    db,
    effects.map((effect) => ({ action: action.name, ...effect, ...by, requestId: asked.requestId })),
  );
  return { value, revision };
}

/** Everything that was read, maps too, in the order in which it was. */
function printed(basis: unknown): string {
  return JSON.stringify(basis, (_, value: unknown) => (value instanceof Map ? [...(value as ReadonlyMap<unknown, unknown>)] : value));
}

/** What the database would not have, in the words of the model. */
function explained(error: unknown): unknown {
  if (!(error instanceof Refusal)) return error;
  const { constraint, detail, code } = error;
  if (constraint === 'object_pkey') return new Exists(`${idIn(detail)} is used already: create never changes what is there, choose another id`);
  // No rule is against it: whoever asks again may be answered otherwise.
  if (code === '55P03' || code.startsWith('40'))
    return new PolicyError('deadline', 'somebody else is changing the same thing and does not end; ask again', { cause: error });
  // The server's own words show whole rows, and what other rows they clash with: not everybody who may write may read those.
  const [number, words, field = ''] = Object.hasOwn(RULES, constraint) ? RULES[constraint]! : (['1', 'the database cannot store it as it is'] as const);
  return new Violation(field, number, constraint === '' || Object.hasOwn(RULES, constraint) ? words : `${words} (${constraint})`);
}

/** Constraint → rule of the model, its words, and the field that it is about. */
const RULES: Readonly<Record<string, readonly [rule: string, words: string, field?: string]>> = {
  object_id_reserved: ['1.1', 'the id is reserved to the server; choose another one'],
  object_id_bytes: ['1.1', 'the id is too long: 255 bytes at most, 200 of a tenant or customer'],
  object_id_no_control: ['1.1', 'an id has no control characters'],
  object_label_length: ['1', 'a name has 1,000 bytes at most'],
  object_type: ['1', 'there can be no such type'],
  object_owner_fkey: ['1.5', 'an owner that owns anything but its predefined groups, roles and grants cannot be deleted: remove or move that first'],
  object_no_cycle: ['1', 'a customer would be above itself: it cannot go to one that is below it', 'owner'],
  object_not_own_owner: ['1', 'a customer cannot be its own owner', 'owner'],
  object_depth: ['1', 'a customer would be more than 1,000 deep', 'owner'],
  object_fixed: ['1.1', 'tenant and type of an id never change, nor does the owner of a group'],
  membership_group_fkey: ['1.3', 'a group holds only entities of its own type and owner'],
  membership_member_fkey: ['1.3', 'a group holds only entities of its own type and owner'],
  credential_login_key: ['5', 'another user logs in by this e-mail', 'email'],
  credential_login: ['5', 'nobody can log in by an e-mail that is so long: it has more than 1,000 bytes in the spelling that counts (NFC)', 'email'],
  group_permission_unique: ['1', 'this user group has this role on this entity group already'],
};

/** `Key (id)=(x) already exists.` */
function idIn(detail: string): string {
  return /=\((.*)\)/s.exec(detail)?.[1] ?? 'the id';
}
