// What must be done so that what is there is what a world file says? Pure: two worlds in, steps out.
//
// As an import does with what is there: a field that a row leaves out stays as it is. What no file can change (the type of a thing, the owner of a
// group or a role) is a problem, not a step. Things are removed only where the file names their owner, and only if asked (`prune`).

import { isReserved, parseAllGroup, predefinedOf } from 'policy-cache';
import type { ImportRow } from 'policy-cache/postgres';

/** In the order in which they are made: each refers to earlier ones only. Removed backwards. */
export const LISTS = ['tenants', 'customers', 'groups', 'roles', 'users', 'entities', 'grants'] as const;
export type List = (typeof LISTS)[number];
export type Row = Readonly<Record<string, unknown>>;
/** By list, then by id, as the administration lists them. */
export type StoredWorld = Readonly<Record<List, ReadonlyMap<string, Row>>>;

export type Step =
  | { readonly kind: 'create'; readonly list: List; readonly id: string; readonly row: Row }
  | { readonly kind: 'share'; readonly list: 'grants'; readonly id: string; readonly row: Row }
  | { readonly kind: 'move'; readonly list: List; readonly id: string; readonly owner: string; readonly from: string; readonly groups: readonly string[] }
  | { readonly kind: 'update'; readonly list: List; readonly id: string; readonly change: Row; readonly before: Row }
  | { readonly kind: 'members'; readonly list: 'groups'; readonly id: string; readonly add: readonly string[]; readonly remove: readonly string[] }
  | {
      readonly kind: 'delete';
      readonly list: List;
      readonly id: string;
      /** Grants that go with it: whoever may remove a thing need not be allowed to remove those one by one. */
      readonly with?: readonly string[];
    };
type Removal = Extract<Step, { kind: 'delete' }>;

export interface PlanProblem {
  readonly row: ImportRow;
  readonly field: string;
  readonly message: string;
}

export interface Plan {
  readonly steps: readonly Step[];
  readonly problems: readonly PlanProblem[];
}

const LIST_OF: Readonly<Record<ImportRow['kind'], List>> = {
  tenant: 'tenants',
  customer: 'customers',
  group: 'groups',
  role: 'roles',
  user: 'users',
  entity: 'entities',
  grant: 'grants',
};

export interface PlanOptions {
  /** What the file does not have, of the owners that it names, goes. */
  readonly prune: boolean;
  /** Whoever applies it: nobody removes himself in passing. */
  readonly caller?: string;
}

export function planOf(wanted: readonly ImportRow[], stored: StoredWorld, { prune, caller }: PlanOptions): Plan {
  const problems: PlanProblem[] = [];
  const made: Step[] = [];
  const changed: Step[] = [];
  const members = new Map<string, { add: string[]; remove: string[] }>();
  const removed: Removal[] = [];
  const rows = wanted.filter((row) => row.implied !== true).map(named(stored));
  const here = withPredefined(stored, rows);

  for (const row of inOrder(rows)) {
    const list = LIST_OF[row.kind];
    const before = here[list].get(row.id);
    if (before === undefined) {
      made.push(creation(row));
      // Its groups are made after it, for some of them may be of customers.
      if (row.kind === 'customer') noteMembers(members, row.id, row.groups ?? [], []);
      continue;
    }
    for (const [field, message] of fixedProblems(row, before)) problems.push({ row, field, message });
    if (row.kind === 'grant') {
      // A grant is what it gives: another one takes its place.
      if (!isSameGrant(row, before)) {
        removed.push({ kind: 'delete', list, id: row.id });
        made.push(creation(row));
        continue;
      }
    }
    const moves = 'owner' in row && (row.kind === 'customer' || row.kind === 'user' || row.kind === 'entity') && row.owner !== before['owner'];
    if (moves) changed.push({ kind: 'move', list, id: row.id, owner: row.owner, from: textOf(before['owner']), groups: row.groups ?? [] });
    const change = changeOf(row, before);
    if (Object.keys(change).length > 0) changed.push({ kind: 'update', list, id: row.id, change, before });
    if (!moves && 'groups' in row && row.groups !== undefined) noteMembers(members, row.id, row.groups, (before['groups'] ?? []) as readonly string[]);
  }
  const pruned = prune ? prunedOf(rows, stored).filter(({ id }) => id !== caller) : [];
  const gone = goneBy(pruned);
  if (gone.size > 0) for (const row of rows) for (const [field, message] of lostProblems(row, gone)) problems.push({ row, field, message });
  removed.push(...withHanging(pruned, { stored, gone: new Set(removed.map(({ id }) => id)) }));
  const entered = [...members].map(([id, { add, remove }]): Step => ({ kind: 'members', list: 'groups', id, add, remove }));
  const order = (a: Step, b: Step): number => LISTS.indexOf(b.list) - LISTS.indexOf(a.list);
  // Grants that are replaced go first, for no two give the same; whatever else is removed goes when nothing refers to it any more.
  const replaced = new Set(made.filter(({ kind }) => kind === 'create' || kind === 'share').map(({ id }) => id));
  const last = removed.toSorted(order);
  return { steps: [...last.filter(({ id }) => replaced.has(id)), ...made, ...changed, ...entered, ...last.filter(({ id }) => !replaced.has(id))], problems };
}

/** A grant that was given no id of its own is the stored one of the same three. */
function named(stored: StoredWorld): (row: ImportRow) => ImportRow {
  const byThree = new Map([...stored.grants.values()].map((grant) => [three(grant), textOf(grant['id'])]));
  return (row) => (row.kind === 'grant' && row.derived === true ? { ...row, id: byThree.get(three({ ...row })) ?? row.id } : row);
}

function three(grant: Row): string {
  return JSON.stringify([grant['userGroup'], grant['role'], grant['entityGroup'] ?? null]);
}

/** A new customer comes with what it begins with (semantics 1.2). */
function withPredefined(stored: StoredWorld, rows: readonly ImportRow[]): StoredWorld {
  const groups = new Map(stored.groups);
  const roles = new Map(stored.roles);
  const grants = new Map(stored.grants);
  for (const row of rows) {
    if ((row.kind !== 'tenant' && row.kind !== 'customer') || stored[LIST_OF[row.kind]].has(row.id)) continue;
    const made = predefinedOf(row.id, row.kind);
    for (const group of made.groups) groups.set(group.id, { ...group });
    for (const role of made.roles) roles.set(role.id, { ...role });
    for (const grant of made.grants) grants.set(grant.id, { ...grant });
  }
  return { ...stored, groups, roles, grants };
}

/** Lists in their order, customers below those that own them. */
function inOrder(rows: readonly ImportRow[]): readonly ImportRow[] {
  const customers = new Map(rows.flatMap((row) => (row.kind === 'customer' ? [[row.id, row.owner] as const] : [])));
  const depth = (id: string): number => {
    let steps = 0;
    for (let at = customers.get(id); at !== undefined && steps <= customers.size; at = customers.get(at)) steps++;
    return steps;
  };
  const rank = (row: ImportRow): number => LISTS.indexOf(LIST_OF[row.kind]) * 10_000 + (row.kind === 'customer' ? Math.min(depth(row.id), 9_999) : 0);
  return rows.map((row) => ({ row, at: rank(row) })).toSorted((a, b) => a.at - b.at).map(({ row }) => row); // prettier-ignore
}

function creation(row: ImportRow): Step {
  const list = LIST_OF[row.kind];
  const { id } = row;
  if (row.kind === 'grant' && row.shared === true) return { kind: 'share', list: 'grants', id, row: fieldsOf(row) };
  return { kind: 'create', list, id, row: fieldsOf(row) };
}

/** A row as the administration takes it. */
function fieldsOf(row: ImportRow): Row {
  const name = row.label === undefined ? {} : { [row.kind === 'customer' ? 'title' : 'name']: row.label };
  const sent = ([field, value]: readonly [string, unknown]): boolean =>
    value !== undefined && !NOT_SENT.has(field) && !(row.kind === 'customer' && field === 'groups');
  const more = Object.fromEntries(Object.entries(row).filter(sent));
  return { ...more, ...name };
}
const NOT_SENT: ReadonlySet<string> = new Set(['kind', 'file', 'line', 'path', 'label', 'implied', 'lastLogin', 'derived', 'shared']);

const FIXED: Readonly<Partial<Record<ImportRow['kind'], readonly string[]>>> = { group: ['type', 'owner'], entity: ['type'], role: ['type', 'owner'] };

function fixedProblems(row: ImportRow, before: Row): readonly (readonly [string, string])[] {
  return (FIXED[row.kind] ?? []).flatMap((field) => {
    const [is, was] = [(row as unknown as Row)[field], before[field]];
    return is === was
      ? []
      : [[field, `is ${JSON.stringify(was)} and never changes: give it another id, or remove what has this one (got ${JSON.stringify(is)})`] as const];
  });
}

function isSameGrant(row: Extract<ImportRow, { kind: 'grant' }>, before: Row): boolean {
  return three({ ...row }) === three(before) && (row.shared === undefined || row.shared === before['shared']);
}

/** Fields that are said, and differ. */
function changeOf(row: ImportRow, before: Row): Row {
  const fields = fieldsOf(row);
  const change: Record<string, unknown> = {};
  for (const field of CHANGEABLE[row.kind]) {
    const value = fields[field];
    if (value !== undefined && canonical(value) !== canonical(before[field])) change[field] = value;
  }
  return change;
}
const CHANGEABLE: Readonly<Record<ImportRow['kind'], readonly string[]>> = {
  tenant: ['name'],
  customer: ['title', 'details'],
  group: ['name'],
  role: ['name', 'permissions', 'excluded'],
  user: ['name', 'enabled', 'email', 'firstName', 'lastName'],
  entity: ['name'],
  grant: ['name'],
};

/** Two texts are equal if two values mean the same: the order of operations, groups and fields means nothing. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) => {
    if (Array.isArray(inner) && inner.every((item) => typeof item === 'string')) return [...new Set(inner)].toSorted();
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return inner;
    return Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  });
}

function noteMembers(members: Map<string, { add: string[]; remove: string[] }>, id: string, is: readonly string[], was: readonly string[]): void {
  const of = (group: string): { add: string[]; remove: string[] } => {
    const known = members.get(group) ?? { add: [], remove: [] };
    members.set(group, known);
    return known;
  };
  for (const group of is) if (!was.includes(group)) of(group).add.push(id);
  for (const group of was) if (!is.includes(group)) of(group).remove.push(id);
}

/** What is stored of the owners that the file names, and not in it; with a customer, whatever hangs below it. */
function prunedOf(rows: readonly ImportRow[], stored: StoredWorld): readonly Removal[] {
  const kept = new Set(rows.map(({ id }) => id));
  const owners = new Set(rows.flatMap(({ kind, id }) => (kind === 'tenant' || kind === 'customer' ? [id] : [])));
  const gone: string[] = [];
  for (let found = true; found;) {
    found = false;
    for (const [id, { owner }] of stored.customers) {
      if (kept.has(id) || owners.has(id) || !owners.has(textOf(owner))) continue;
      owners.add(id); // and what it owns
      gone.push(id);
      found = true;
    }
  }
  const predefined = new Set(
    [...owners].flatMap((owner) => (['tenant', 'customer'] as const).flatMap((kind) => predefinedOf(owner, kind).grants.map(({ id }) => id))),
  );
  const steps: Removal[] = [];
  for (const list of ['grants', 'entities', 'users', 'roles', 'groups'] as const) {
    for (const [id, row] of stored[list]) {
      const owner = list === 'grants' ? ownerOfGroup(textOf(row['userGroup']), stored) : row['owner'];
      if (!owners.has(textOf(owner)) || kept.has(id) || isReserved(id) || predefined.has(id)) continue;
      steps.push({ kind: 'delete', list, id });
    }
  }
  // The deepest first: they were found from the top.
  return [...steps, ...gone.toReversed().map((id): Removal => ({ kind: 'delete', list: 'customers', id }))];
}

/** What goes by which step: with a customer what it began with. */
function goneBy(pruned: readonly Removal[]): ReadonlyMap<string, Removal> {
  const begunWith = (id: string): readonly string[] => {
    const { groups, roles, grants } = predefinedOf(id, 'customer');
    return [...groups, ...roles, ...grants].map((row) => row.id);
  };
  return new Map(pruned.flatMap((step) => [step.id, ...(step.list === 'customers' ? begunWith(step.id) : [])].map((id) => [id, step] as const)));
}

/** Each grant that no step removes, with the first step that takes it along. */
function withHanging(pruned: readonly Removal[], { stored, gone }: { readonly stored: StoredWorld; readonly gone: ReadonlySet<string> }): readonly Removal[] {
  const by = goneBy(pruned);
  const at = new Map(pruned.map((step, i) => [step, i]));
  const hanging = new Map<Removal, string[]>();
  for (const [id, { role, userGroup, entityGroup }] of stored.grants) {
    if (gone.has(id) || by.has(id)) continue;
    const on = [role, userGroup, entityGroup, parseAllGroup(textOf(entityGroup))?.owner].flatMap((each) => by.get(textOf(each)) ?? []);
    const [first] = on.toSorted((a, b) => at.get(a)! - at.get(b)!);
    if (first === undefined) continue;
    const along = hanging.get(first) ?? [];
    along.push(id);
    hanging.set(first, along);
  }
  return pruned.map((step) => {
    const along = hanging.get(step);
    return along === undefined ? step : { ...step, with: along };
  });
}

const REFERENCES: ReadonlySet<string> = new Set(['owner', 'groups', 'userGroup', 'role', 'entityGroup']);

/** What a row of the file needs, and the file has not: to remove it would take the row along, or be refused. */
function* lostProblems(row: ImportRow, gone: ReturnType<typeof goneBy>): Generator<readonly [field: string, message: string]> {
  const named = Object.entries(row).filter(([field]) => REFERENCES.has(field));
  const fields = named.flatMap(([field, value]: readonly [string, unknown]) =>
    Array.isArray(value) ? value.map((id: unknown, i) => [`${field}[${i}]`, id] as const) : [[field, value] as const],
  );
  for (const [field, id] of fields)
    if (gone.has(parseAllGroup(textOf(id))?.owner ?? textOf(id)))
      yield [field, `${JSON.stringify(id)} is in no file, so prune would remove it, and this with it: add it, or leave --prune out`];
}

function ownerOfGroup(id: string, stored: StoredWorld): string {
  return parseAllGroup(id)?.owner ?? textOf(stored.groups.get(id)?.['owner']);
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
