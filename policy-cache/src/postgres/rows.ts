// Is what the database answered what we asked for? JSON becomes the types of the ports, or an error: never a guess.

import { PolicyError } from '../errors.ts';
import type { Grant, Permissions, Revision } from '../model.ts';
import type { Change, ClassesReply, KeysReply, ObjectKind, ObjectRow, ObjectsReply, PullReply, TreeRow } from '../source.ts';

/** `select json_build_object('pid', …)` of the pull. */
export function parsePull(json: unknown, queueUsage: number | null): PullReply {
  const reply = record(json, 'pull');
  return {
    pid: integer(reply['pid'], 'pull.pid'),
    timeline: nullable(reply['timeline'], 'pull.timeline', text),
    head: parseStamp(reply['head'], 'pull.head'),
    over: boolean(reply['over'], 'pull.over'),
    cursorId: nullable(reply['cursorId'], 'pull.cursorId', text),
    changes: optionalList(reply['changes'], 'pull.changes', parseChange),
    tree: optionalList(reply['tree'], 'pull.tree', parseTreeRow),
    answers: optionalList(reply['answers'], 'pull.answers', (row, field) => {
      const [version, id] = tuple(row, 2, field);
      return [integer(version, field), nullable(id, field, text)] as const;
    }),
    awaited: nullable(reply['awaited'], 'pull.awaited', integer),
    queueUsage,
    lagMs: nullable(reply['lagMs'], 'pull.lagMs', number),
  };
}

/** What a report says of the server: see `PullReply.queueUsage`. */
export function parseReport(row: unknown): number {
  return number(record(row, 'report')['r'], 'report');
}

/** What `grantgate.barrier` knows: `known` false says that the log has no such revision. */
export interface BarrierRow {
  readonly known: boolean;
  readonly lostMs: number;
  readonly replicas: readonly {
    readonly id: string;
    readonly login: string;
    readonly head: Revision | null;
    readonly ageMs: number;
    readonly leaseMs: number;
  }[];
}

export function parseBarrier(json: unknown): BarrierRow {
  const reply = record(json, 'barrier');
  const known = boolean(reply['known'], 'barrier.known');
  if (!known) return { known, lostMs: 0, replicas: [] };
  return {
    known,
    lostMs: number(reply['lost_ms'], 'barrier.lost_ms'),
    replicas: optionalList(reply['replicas'], 'barrier.replicas', (row, field) => {
      const replica = record(row, field);
      const version = nullable(replica['version'], `${field}.version`, integer);
      return {
        id: text(replica['id'], `${field}.id`),
        login: text(replica['login'], `${field}.login`),
        head: version === null ? null : { version, id: text(replica['change_id'], `${field}.change_id`) },
        ageMs: number(replica['age_ms'], `${field}.age_ms`),
        leaseMs: number(replica['lease_ms'], `${field}.lease_ms`),
      };
    }),
  };
}

export function parseStamp(json: unknown, field = 'stamp'): Revision {
  const [version, id] = tuple(json, 2, field);
  return { version: integer(version, field), id: text(id, field) };
}

export function parseTimeline(json: unknown): string {
  return text(json, 'timeline');
}

export function parseObjects(json: unknown): ObjectsReply {
  const reply = record(json, 'objects');
  return { stamp: parseStamp(reply['stamp']), rows: optionalList(reply['rows'], 'objects.rows', parseObject) };
}

export function parseClasses(json: unknown): ClassesReply {
  const reply = record(json, 'classes');
  return {
    stamp: parseStamp(reply['stamp']),
    grants: optionalList(reply['grants'], 'classes.grants', (grants, field) => optionalList(grants, field, parseGrant)),
  };
}

export function parseKeys(json: unknown): KeysReply {
  const reply = record(json, 'keys');
  return {
    stamp: parseStamp(reply['stamp']),
    rows: optionalList(reply['rows'], 'keys.rows', (row, field) => {
      const [hash, user, actor, expires] = tuple(row, 4, field);
      return { hash: text(hash, field), user: text(user, field), actor: text(actor, field), expires: integer(expires, field) };
    }),
  };
}

/** Which version of the schema it was. */
export function parseSchema(json: unknown): number {
  return integer(record(json, 'keys')['schema'], 'keys.schema');
}

/** `[id, owner]` of a tenant (no owner) or a customer. */
export function parseNode(row: unknown): TreeRow {
  const [id, owner] = tuple(row, 2, 'tree');
  return [text(id, 'tree.id'), [nullable(owner, 'tree.owner', text)]];
}

function parseChange(row: unknown, field: string): Change {
  const [version, id, tag, keys] = tuple(row, 4, field);
  return [integer(version, field), text(id, field), text(tag, field), optionalList(keys, field, text)];
}

function parseTreeRow(row: unknown, field: string): TreeRow {
  const [id, parent] = tuple(row, 2, field);
  return [text(id, field), nullable(parent, field, (value) => [nullable(tuple(value, 1, field)[0], field, text)] as const)];
}

const KINDS: ReadonlySet<string> = new Set<ObjectKind>(['tenant', 'customer', 'user', 'group', 'role', 'grant', 'entity']);

function parseObject(row: unknown, field: string): ObjectRow {
  const [id, kind, type, owner, enabled, groups] = tuple(row, 6, field);
  if (typeof kind !== 'string' || !KINDS.has(kind)) throw unexpected(field, 'a known kind', kind);
  return {
    id: text(id, field),
    kind: kind as ObjectKind,
    type: text(type, field),
    owner: nullable(owner, field, text),
    enabled: boolean(enabled, field),
    groups: optionalList(groups, field, text),
  };
}

function parseGrant(row: unknown, field: string): Grant {
  const [role, kind, permissions, excluded, shared, group, type, owner] = tuple(row, 8, field);
  if (kind === 'GENERIC')
    return { kind: 'generic', role: text(role, field), permissions: parsePermissions(permissions, field), excluded: parsePermissions(excluded, field) };
  if (kind !== 'GROUP') throw unexpected(field, 'GENERIC or GROUP', kind);
  return {
    kind: 'group',
    role: text(role, field),
    operations: optionalList(permissions, field, text),
    shared: boolean(shared, field),
    group: nullable(group, field, text),
    type: text(type, field),
    owner: text(owner, field),
  };
}

function parsePermissions(value: unknown, field: string): Permissions {
  const permissions = record(value, field);
  for (const operations of Object.values(permissions)) optionalList(operations, field, text);
  return permissions as Permissions;
}

function unexpected(field: string, expected: string, got: unknown): PolicyError {
  return new PolicyError('source', `the database's answer: ${field}: expected ${expected}, got ${(JSON.stringify(got) ?? 'nothing').slice(0, 80)}`);
}

function record(value: unknown, field: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw unexpected(field, 'an object', value);
  return value as Readonly<Record<string, unknown>>;
}

function tuple(value: unknown, length: number, field: string): readonly unknown[] {
  if (!Array.isArray(value) || value.length !== length) throw unexpected(field, `${length} values`, value);
  return value as unknown[];
}

/** An aggregate over no rows is null. */
function optionalList<T>(value: unknown, field: string, parse: (item: unknown, field: string) => T): readonly T[] {
  if (value === null || value === undefined) return [];
  if (!Array.isArray(value)) throw unexpected(field, 'a list', value);
  return value.map((item) => parse(item, field));
}

function nullable<T>(value: unknown, field: string, parse: (value: unknown, field: string) => T): T | null {
  return value === null || value === undefined ? null : parse(value, field);
}

function text(value: unknown, field: string): string {
  if (typeof value !== 'string') throw unexpected(field, 'text', value);
  return value;
}

function boolean(value: unknown, field: string): boolean {
  if (typeof value !== 'boolean') throw unexpected(field, 'true or false', value);
  return value;
}

function number(value: unknown, field: string): number {
  if (typeof value !== 'number') throw unexpected(field, 'a number', value);
  return value;
}

/** A version beyond 2^53 would be rounded, and two commits would look like one. */
function integer(value: unknown, field: string): number {
  if (!Number.isSafeInteger(value)) throw unexpected(field, 'a safe integer', value);
  return value as number;
}
