// Who changed what? Rows of the audit log, the newest first.
//
// As lists are read (listing.ts): a bound on what one statement reads, and whoever shows a row asks first whether it may be seen.

import { arrayLiteral } from './import-staging.ts';
import type { AuditEntry, Statements } from './writer.ts';

export interface AuditFilter {
  readonly tenant: string;
  readonly target: string | null;
  readonly actor: string | null;
  readonly action: string | null;
  /** RFC 3339: at or after. */
  readonly from: string | null;
  /** Before. */
  readonly to: string | null;
}

export interface AuditScan {
  readonly rows: readonly { readonly id: string; readonly owner: string; readonly matches: boolean }[];
  /** The last that was read; null: there are no more. */
  readonly last: string | null;
}

// Rows are numbered as they are written, a clock may be set back: so rows of an hour before `from` end it, and not the first one.
// Times go there as text: the client makes a Date of what is cast at once, and cuts off the microseconds.
const scan = (by: string): string => `
  select coalesce(json_agg(json_build_array(x.id::text, x.owner, x.matches, x.ends) order by x.id desc), '[]')::text r from (
    select a.id, a.owner, coalesce(a.at < $4::text::timestamptz - interval '1 hour', false) ends,
      ($2::text is null or a.target = $2) and ($3::text is null or a.actor = $3) and ($6::text is null or a.action = $6)
        and ($4::text is null or a.at >= $4::text::timestamptz) and ($5::text is null or a.at < $5::text::timestamptz) matches
    from grantgate.audit a where ${by} and a.id < $7::bigint order by a.id desc limit $8) x`;
const BY_TENANT = scan('a.tenant = $1');
const BY_TARGET = scan('a.target = $2 and a.tenant = $1');

/** The next rows behind an id, at most so many read. */
export async function scanAudit(
  db: Statements,
  filter: AuditFilter,
  { after, window }: { readonly after: string; readonly window: number },
): Promise<AuditScan> {
  const { tenant, target, actor, action, from, to } = filter;
  const [row] = await db.rows<{ r: string }>(target === null ? BY_TENANT : BY_TARGET, [tenant, target, actor, from, to, action, after, window]);
  const all = JSON.parse(row?.r ?? '[]') as readonly (readonly [string, string, boolean, boolean])[];
  const ended = all.length < window || all.at(-1)?.[3] === true;
  return { rows: all.map(([id, owner, matches]) => ({ id, owner, matches })), last: ended ? null : (all.at(-1)?.[0] ?? null) };
}

export interface AuditRow extends AuditEntry {
  readonly id: string;
  /** RFC 3339, UTC, to the microsecond. */
  readonly at: string;
  readonly revision: string;
}

export async function readAuditRows(db: Statements, ids: readonly string[]): Promise<readonly AuditRow[]> {
  if (ids.length === 0) return [];
  return db.rows<AuditRow>(
    `select a.id::text id, to_char(a.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') at, a.revision, a.tenant, a.owner, a.actor_kind "actorKind",
        a.actor, a.as_user "asUser", a.action, a.target, a.before, a.after, a.request_id "requestId"
      from grantgate.audit a where a.id = any ($1::bigint[]) order by a.id desc`,
    [arrayLiteral(ids)],
  );
}

/** Since which row an id is the owner that it is now: an id may be used again. Absent: nothing is known of an earlier one. */
export async function readOwnersBegun(db: Statements, tenant: string, owners: readonly string[]): Promise<ReadonlyMap<string, bigint>> {
  if (owners.length === 0) return new Map();
  const rows = await db.rows<{ owner: string; since: string }>(BEGUN, [tenant, arrayLiteral(owners)]);
  return new Map(rows.map(({ owner, since }) => [owner, BigInt(since)]));
}
// What was made after a row of its end, but not by the administration, has begun behind that row.
const BEGUN = `
  select o.id owner, x.since::text since from unnest($2::text[]) o (id) cross join lateral (
    select a.id + (a.action like '%.delete')::int since from grantgate.audit a
    where a.target = o.id and a.tenant = $1 and a.action in ('tenant.create', 'tenant.delete', 'customer.create', 'customer.delete')
    order by a.id desc limit 1) x`;
