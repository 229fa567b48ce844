// What is in a request and an answer of the administration? One schema each: it checks what comes, and is what the OpenAPI document says.

import { extendZodWithOpenApi } from '@asteasolutions/zod-to-openapi';
import { InputError, isReserved, parseId, utf8Length } from 'policy-cache';
import { z } from 'zod';

extendZodWithOpenApi(z);

/** Bulk variants take so many at once. */
export const MOST_ITEMS = 10_000;
/** Of customers, each of which begins with six other things [measured: 10,000 of them take 18 s, longer than anybody waits]. */
export const MOST_OWNERS = 1_000;
export const mostOf = (list: string): number => (list === 'customers' ? MOST_OWNERS : MOST_ITEMS);
/** Members in one call: their ids alone. */
export const MOST_MEMBERS = 100_000;

/** What is wrong with an id, or null (semantics 1.1). */
function idProblem(id: string): string | null {
  try {
    parseId(id, '');
    return null;
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return error.message.replace(/^: /, '');
  }
}
const anId = (message: (id: string) => string | null) =>
  z
    .string()
    .min(1, 'an id is never empty')
    .max(255, 'an id has 255 bytes at most')
    .superRefine((id, context) => {
      const problem = id.length === 0 || id.length > 255 ? null : message(id);
      if (problem !== null) context.addIssue({ code: 'custom', message: problem });
    });

export const id = anId(idProblem).openapi('Id', {
  description: '1 to 255 bytes of UTF-8 without control characters, compared byte by byte.',
  example: 'tower',
});
/** One segment, percent-encoded. */
export const inPath = z.object({ id });
/** What is wrong with the id of something new, or null. */
function newIdProblem(id: string): string | null {
  if (isReserved(id)) return 'is reserved to the server; choose another id';
  // Every client takes those for a part of the path, in whatever spelling: nobody could read it, change it or take it away.
  return id === '.' || id === '..' ? 'cannot be named in a path: choose another id' : idProblem(id);
}
const newId = anId(newIdProblem).openapi('NewId', {
  description: 'As Id, and not `*`, `.` or `..`, nor beginning with `all:`, `admins:`, `users:` or `role:`. Left out: one is made.',
});
/** What an owner began with may be made again, once it was taken away; that it is this owner's is seen where that is known (create.ts). */
const againId = anId((given) => (/^(?:users|role):/.test(given) ? idProblem(given) : newIdProblem(given))).openapi('NewGroupId', {
  description: 'As NewId, or that of a group or a role that its owner began with and has not any more: `users:<owner>`, `role:user:<owner>`.',
});
const newOwnerId = anId((given) => newIdProblem(given) ?? (utf8Length(given) > 200 ? 'has 200 bytes at most (others are derived from it)' : null)).openapi(
  'NewOwnerId',
  { description: 'As NewId, 200 bytes at most: the ids of predefined groups are derived from it.' },
);

/** Postgres stores no U+0000, and half a character is none. */
// oxlint-disable-next-line no-control-regex
const UNSTORABLE = /\u0000|\p{Surrogate}/u;
/** Every text in it, without the escapes by which JSON writes what cannot be stored. */
function unescaped(given: unknown): string {
  const texts: string[] = [];
  const walk = (value: unknown): void => {
    if (typeof value === 'string') texts.push(value);
    if (typeof value !== 'object' || value === null) return;
    for (const [key, inner] of Object.entries(value)) {
      texts.push(key);
      walk(inner);
    }
  };
  walk(given);
  return texts.join(' ');
}
/** Digits that numbers have beside those that JSON writes of them; of what is none any more, as 1e400, endless ones. */
function digitsBeyond(given: unknown): number {
  if (typeof given === 'number') return Number.isFinite(given) ? Number(/e[+-](\d+)$/.exec(String(given))?.[1] ?? 0) : Infinity;
  if (typeof given !== 'object' || given === null) return 0;
  return Object.values(given).reduce((sum: number, inner: unknown) => sum + digitsBeyond(inner), 0);
}
/** Postgres writes out all of them: 8 MiB of `1e308` would be read as 430 MB. */
const MOST_DIGITS_BEYOND = 1_000_000;
export const name = z
  .string()
  .max(1000, 'has 1,000 bytes at most')
  .refine((given) => utf8Length(given) <= 1000, 'has 1,000 bytes at most')
  .refine((given) => !UNSTORABLE.test(given), 'cannot be stored: it has U+0000 or half a character');
const email = name.openapi({ format: 'email' });
/** What mail can be sent to, and somebody can log in by; whether it is anybody's only a mail shows. */
const newEmail = name.regex(/^[^\s@\p{Cc}]+@[^\s@\p{Cc}]+$/u, 'must be an address, as ada@acme.example').openapi({ format: 'email' });
const details = z
  .record(z.string(), z.unknown())
  .refine((given) => !UNSTORABLE.test(unescaped(given)), 'cannot be stored: it has U+0000 or half a character')
  .refine((given) => digitsBeyond(given) <= MOST_DIGITS_BEYOND, 'has too many numbers that are very large or very small: put them in quotes')
  .openapi({ description: 'What else is known of it; decides nothing.' });
/** Of an operation, a resource, a type: which there are the vocabulary says, and a refusal repeats what was given. */
export const word = z.string().min(1).max(63);
const operations = z.array(word).max(100);
const permissions = z.record(word, operations).openapi('Permissions', { description: 'Resource (or ALL) to operations (or ALL).' });
const groups = z.array(id).max(1000).openapi({ description: 'Explicit groups that it is in. The All group of its owner holds it without being named.' });
const owner = id.openapi({ description: 'A tenant or a customer. Left out: your own owner.' });

const nullable = <T extends z.ZodType>(schema: T) => schema.nullable().optional();

/** As it is stored: what every answer holds. */
export const objects = {
  tenants: z.object({ id, name: name.optional() }).openapi('Tenant'),
  customers: z.object({ id, owner: id, title: name.optional(), groups, details }).openapi('Customer'),
  users: z
    .object({
      id,
      owner: id,
      enabled: z.boolean(),
      groups,
      name: name.optional(),
      email: email.optional(),
      firstName: name.optional(),
      lastName: name.optional(),
      lastLogin: z.string().optional(),
    })
    .openapi('User'),
  groups: z.object({ id, type: z.string(), owner: id, name: name.optional() }).openapi('Group'),
  roles: z
    .object({
      id,
      owner: id,
      type: z.enum(['GENERIC', 'GROUP']),
      permissions: z.union([permissions, operations]),
      excluded: permissions.optional(),
      name: name.optional(),
    })
    .openapi('Role'),
  grants: z.object({ id, userGroup: id, role: id, entityGroup: id.optional(), shared: z.boolean(), name: name.optional() }).openapi('Grant'),
  entities: z.object({ id, type: z.string(), owner: id, groups, name: name.optional() }).openapi('Entity'),
} as const;

const genericRole = z.strictObject({
  id: againId.optional(),
  owner: owner.optional(),
  type: z.literal('GENERIC'),
  permissions,
  excluded: permissions.optional(),
  name: name.optional(),
});
const groupRole = z.strictObject({ id: againId.optional(), owner: owner.optional(), type: z.literal('GROUP'), permissions: operations, name: name.optional() });

/** What may be said of a new one. */
export const created = {
  tenants: z.strictObject({ id: newOwnerId.optional(), name: name.optional() }).openapi('NewTenant'),
  customers: z
    .strictObject({ id: newOwnerId.optional(), owner: owner.optional(), title: name.optional(), groups: groups.optional(), details: details.optional() })
    .openapi('NewCustomer'),
  users: z
    .strictObject({
      id: newId.optional(),
      owner: owner.optional(),
      enabled: z.boolean().optional(),
      groups: groups.optional(),
      name: name.optional(),
      email: newEmail.optional(),
      firstName: name.optional(),
      lastName: name.optional(),
    })
    .openapi('NewUser'),
  groups: z.strictObject({ id: againId.optional(), type: word, owner: owner.optional(), name: name.optional() }).openapi('NewGroup'),
  roles: z.discriminatedUnion('type', [genericRole, groupRole]).openapi('NewRole'),
  grants: z
    .strictObject({ id: newId.optional(), userGroup: id, role: id, entityGroup: id.optional(), name: name.optional() })
    .openapi('NewGrant', { description: 'A GENERIC role takes no entityGroup, a GROUP role must have one. Left out, the id is made of the three.' }),
  entities: z
    .strictObject({ id: newId.optional(), type: word, owner: owner.optional(), groups: groups.optional(), name: name.optional() })
    .openapi('NewEntity'),
} as const;

/** What may be changed: what is left out stays, null takes it away. */
export const changed = {
  tenants: z.strictObject({ name: nullable(name) }).openapi('TenantChange'),
  customers: z.strictObject({ title: nullable(name), details: details.optional() }).openapi('CustomerChange'),
  users: z
    .strictObject({
      enabled: z.boolean().optional(),
      name: nullable(name),
      email: nullable(newEmail),
      firstName: nullable(name),
      lastName: nullable(name),
    })
    .openapi('UserChange'),
  groups: z.strictObject({ name: nullable(name) }).openapi('GroupChange'),
  roles: z
    .strictObject({ name: nullable(name), permissions: z.union([permissions, operations]).optional(), excluded: permissions.optional() })
    .openapi('RoleChange'),
  grants: z.strictObject({ name: nullable(name) }).openapi('GrantChange'),
  entities: z.strictObject({ name: nullable(name) }).openapi('EntityChange'),
} as const;

const tag = z
  .string()
  .max(255, 'has 255 characters at most')
  .regex(/^(?:W\/)?"[^"]*"$/, 'must be a tag as ETag has it: "…"')
  .openapi({ description: 'Only if it has this ETag.', example: '"kOHRVgSnUL-tLL2EuQkrv7VJXW0"' });
/** Two changes of one thing would each be judged, and written down, as if it were the only one. Says where the first of them is, and the second. */
function onlyOnce(ids: readonly string[], context: z.RefinementCtx, more: readonly string[] = []): void {
  const first = new Map<string, number>();
  for (const [i, id] of ids.entries()) {
    const before = first.get(id);
    if (before !== undefined) {
      context.addIssue({ code: 'custom', path: [i, ...more], message: `is that of [${before}] too: each is named once` });
      return;
    }
    first.set(id, i);
  }
}
/** Each with what the change of one takes. */
export const bulkUpdate = (list: keyof typeof changed): z.ZodType<{ readonly items: readonly BulkUpdate[] }> =>
  z.strictObject({
    items: z
      .array(z.strictObject({ id, etag: tag.optional(), ...changed[list].shape }) as z.ZodType as z.ZodType<BulkUpdate>)
      .min(1)
      .max(mostOf(list))
      .superRefine((items, context) => {
        const ids = items.map((item) => item.id);
        onlyOnce(ids, context, ['id']);
      }),
  });
export type BulkUpdate = { readonly id: string; readonly etag?: string | undefined } & Readonly<Record<string, unknown>>;
export const manyChanged = (list: keyof typeof objects) =>
  z.object({ items: z.array(z.union([z.object({ ...objects[list].shape, etag: z.string() }), idAlone])) });
const moved = (most: number) =>
  z.strictObject({
    ids: z
      .array(id)
      .min(1)
      .max(most)
      .superRefine((ids, context) => onlyOnce(ids, context)),
    owner: id,
    groups: groups.optional(),
  });
export const idsMoved = moved(MOST_ITEMS).openapi('IdsMoved');
export const ownersMoved = moved(MOST_OWNERS).openapi('OwnersMoved');
export const ownerChange = z.strictObject({ owner: id, groups: groups.optional() }).openapi('OwnerChange', {
  description: 'It leaves the groups of its old owner, and enters these of its new one. With the owner that it has it stays in its groups, and enters these.',
});
export const membersChange = z
  .strictObject({ add: z.array(id).max(MOST_MEMBERS).optional(), remove: z.array(id).max(MOST_MEMBERS).optional() })
  // Else whoever may do nothing at all would have done something, and it would be in the audit log.
  .refine(({ add = [], remove = [] }) => add.length + remove.length > 0, 'names nobody: give it ids to add or to remove')
  .openapi('MembersChange');
export const membersChanged = z.object({ added: z.int(), removed: z.int() }).openapi('MembersChanged');
export const share = z.strictObject({ userGroup: id, role: id, id: newId.optional(), name: name.optional() }).openapi('Share');
export const administrator = z
  .strictObject({
    id: newId.optional(),
    name: name.optional(),
    email: newEmail.optional(),
    firstName: name.optional(),
    lastName: name.optional(),
    activation: z.boolean().optional().openapi({ description: 'Make a link, too, by which it sets its password (where users log in here).' }),
  })
  .openapi('NewAdministrator');
export const removedIds = z.strictObject({ ids: z.array(id).min(1).max(MOST_ITEMS) }).openapi('RemovedIds');
export const removedOwners = z.strictObject({ ids: z.array(id).min(1).max(MOST_OWNERS) }).openapi('RemovedOwners');
export const idAlone = z.object({ id }).openapi('IdAlone');
export const removedCount = z.object({ removed: z.int() }).openapi('Removed');
export const me = z
  .object({ kind: z.enum(['user', 'operator']), subject: z.string(), actor: z.string(), tenant: z.string(), owner: z.string() })
  .openapi('Caller');

const importProblem = z
  .object({ file: z.string(), line: z.int().nullable(), path: z.string(), field: z.string(), message: z.string(), fix: z.string() })
  .openapi('ImportProblem', { description: 'What is wrong with a field of a row, or odd, and what to do about it.' });
export const imported = z
  .object({
    counts: z.record(z.string(), z.int()).openapi({ description: 'Rows that were given, with the predefined ones.' }),
    created: z.int(),
    updated: z.int(),
    batches: z.int(),
    warnings: z.array(importProblem),
    omittedWarnings: z.int(),
    revision: z.string(),
  })
  .openapi('Imported');

export const problemSchema = z
  .object({
    title: z.string(),
    status: z.int(),
    code: z.string(),
    detail: z.string(),
    reason: z.string().optional().openapi({ description: 'Why it is denied (403).' }),
    rule: z.string().optional().openapi({ description: 'Number of the rule of the access model.' }),
    field: z.string().optional(),
    current: z.record(z.string(), z.unknown()).optional().openapi({ description: 'The object as it is now (412).' }),
    problems: z.array(importProblem).optional().openapi({ description: 'Of an import: the first hundred.' }),
    omitted: z.int().optional().openapi({ description: 'How many more there are.' }),
  })
  .openapi('Problem');

/** Of every list. */
export const page = z.strictObject({
  limit: z.coerce.number().int().min(1).max(1000).default(50),
  cursor: z.string().max(4096, 'is too long').optional().openapi({ description: 'The `next` of the page before, of the same question.' }),
});
export type PageQuery = z.infer<typeof page>;
export const pageOf = <T extends z.ZodType>(item: T) =>
  z.object({ items: z.array(item), next: z.string().optional().openapi({ description: 'The cursor of the next page; left out at the end.' }) });
/** A whole id may be asked for; and a question must fit into a request's head. */
export const search = name
  .min(1, 'is never empty')
  .max(255, 'has 255 characters at most')
  .openapi({ description: 'Beginning of the name, of the id, or of the e-mail of a user, in any case.' });
export const time = z.iso
  .datetime({ offset: true, error: 'must be a time of RFC 3339, as 2026-01-31T12:00:00Z' })
  .regex(/^(?!0000).*(?:Z|[+-](?:0\d|1[0-5]):\d\d)$/, 'is one that Postgres does not know: a year from 0001 on, less than 16 hours from UTC');
export const auditRow = z
  .object({
    id: z.string(),
    at: time,
    revision: z.string(),
    tenant: z.string(),
    owner: z.string().openapi({ description: 'Of the target, at that time.' }),
    actorKind: z.enum(['user', 'operator']),
    actor: z.string().openapi({ description: 'User id; empty for the operator.' }),
    asUser: z.string().openapi({ description: 'Whose permissions were used.' }),
    action: z.string(),
    target: z.string(),
    before: z.unknown(),
    after: z.unknown(),
    requestId: z.string(),
  })
  .openapi('AuditRow');

/** Of a link by which a user sets its password: told here, and never again. */
export const madeLink = z.object({ link: z.string(), expires: time }).openapi('MadeLink');
export const madeAdministrator = objects.users.extend({ activation: madeLink.optional() }).openapi('MadeAdministrator');
export const newKey = z
  .strictObject({ name: name.optional(), expires: time.optional(), lifetime: z.int().min(1).max(315_360_000).optional() })
  .refine((given) => given.expires === undefined || given.lifetime === undefined, {
    message: 'says both when and how long; keep one of them',
    path: ['lifetime'],
  })
  .openapi('NewKey', { description: 'When it ends: at a time (`expires`), or so many seconds from now (`lifetime`); left out, in 90 days.' });
const key = z.object({ id, name: name.optional(), created: time, expires: time, createdBy: z.string() }).openapi('Key');
export const keys = z.object({ items: z.array(key) }).openapi('Keys');
export const madeKey = key.extend({ key: z.string() }).openapi('MadeKey', { description: '`key` is what its user sends: `Authorization: Bearer gg_…`.' });
export const keyInPath = z.object({ id, key: id });
