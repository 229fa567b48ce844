// Who changed what? Rows of the audit log, the newest first.
//
// As lists are read (listing.ts): a bound on what one statement reads, and whoever shows a row asks first whether it may be seen.

import { arrayLiteral } from './import-staging.ts';
import { MOST_READ_BYTES } from './world-rows.ts';
import type { AuditEntry, Statements } from './writer.ts';

export interface AuditFilter {
  /** Null: whatever tenant it was of. */
  readonly tenant: string | null;
  readonly target: string | null;
  readonly actor: string | null;
  /** Whose permissions were used. */
  readonly asUser: string | null;
  /** True: what somebody did as another. */
  readonly acting: boolean;
  /** Whom it was done to, or who did it, or as whom, or who came into a group or left it. */
  readonly about: string | null;
  readonly action: string | null;
  readonly revision: string | null;
  /** RFC 3339: at or after. */
  readonly from: string | null;
  /** Before. */
  readonly to: string | null;
}

/** Behind it is every row. */
export const NEWEST = '9223372036854775807';

export interface AuditScan {
  /** Those that match. */
  readonly rows: readonly { readonly id: string; readonly owner: string }[];
  /** The last that was read; null: there are no more. */
  readonly last: string | null;
}

// Rows are numbered as they are written, a clock may be set back: so rows of an hour before `from` end it, and not the first one.
// Times go there as text: the client makes a Date of what is cast at once, and cuts off the microseconds.
const ENDS = `coalesce(a.at < $4::text::timestamptz - interval '1 hour', false)`;
const MATCHES = `($2::text is null or a.target = $2) and ($3::text is null or a.actor = $3) and ($6::text is null or a.action = $6)
  and ($4::text is null or a.at >= $4::text::timestamptz) and ($5::text is null or a.at < $5::text::timestamptz)
  and ($9::text is null or a.as_user = $9) and ($10::text is null or a.actor <> a.as_user) and ($11::text is null or a.revision = $11)`;
// Compared together, so that no plan takes another index for them: [measured] of a small tenant behind a million rows of another one, those by
// `tenant = … order by id` were read by the primary key, 1,639 ms for none, and so 0.3 ms.
const BY = {
  tenant: '(a.tenant, a.id) < ($1, $7::bigint) and (a.tenant, a.id) >= ($1, $12::bigint) order by a.tenant desc, a.id desc',
  target: '(a.target, a.id) < ($2, $7::bigint) and (a.target, a.id) >= ($2, $12::bigint) and (a.tenant = $1) is not false order by a.target desc, a.id desc',
  all: '$1::text is null and a.id < $7::bigint and a.id >= $12::bigint order by a.id desc',
} as const;
type By = keyof typeof BY;
const rowsBy = (by: By): string => `from grantgate.audit a where ${BY[by]} limit $8`;
const FOUND = `coalesce(json_agg(json_build_array(x.id::text, x.owner) order by x.id desc) filter (where x.matches), '[]')::text found`;
const scan = (by: By): string => `
  select ${FOUND}, min(x.id)::text last, count(*) < $8 or bool_or(x.ends) ended
  from (select a.id, a.owner, ${ENDS} ends, ${MATCHES} matches ${rowsBy(by)}) x`;

// A change of members names all of them, which is looked into: so many bytes, told without reading them, and one row more.
const MOST_LOOKED_INTO = 2_000_000;
const scanAbout = (by: By): string => `
  select ${FOUND}, min(x.id) filter (where x.fits)::text last, (count(*) < $8 and bool_and(x.fits)) or bool_or(x.ends and x.fits) ended
  from (
    select a.id, a.owner, a.fits, ${ENDS} ends, a.fits and ${MATCHES}
      and (a.target = $13 or a.actor = $13 or a.as_user = $13 or a.members -> 'added' ? $13 or a.members -> 'removed' ? $13) is true matches
    from (
      select a.*, coalesce(sum(pg_column_size(a.members)) over (order by a.id desc rows between unbounded preceding and 1 preceding), 0) <= ${MOST_LOOKED_INTO} fits
      from (
        select a.id, a.at, a.revision, a.owner, a.actor, a.as_user, a.action, a.target, case when a.action = 'group.members' then a.after end members
        ${rowsBy(by)}) a) a) x`;

const SCAN: Readonly<Record<By, string>> = { tenant: scan('tenant'), target: scan('target'), all: scan('all') };
const SCAN_ABOUT: Readonly<Record<By, string>> = { tenant: scanAbout('tenant'), target: scanAbout('target'), all: scanAbout('all') };

/** The next rows behind an id, at most so many read, and none before `since`. */
export async function scanAudit(
  db: Statements,
  filter: AuditFilter,
  { after, since, window }: { readonly after: string; readonly since: string; readonly window: number },
): Promise<AuditScan> {
  const { tenant, target, actor, asUser, acting, about, action, revision, from, to } = filter;
  const by = target !== null ? 'target' : tenant === null ? 'all' : 'tenant';
  const given = [tenant, target, actor, from, to, action, after, window, asUser, acting ? 'true' : null, revision, since];
  const [text, parameters] = about === null ? [SCAN[by], given] : [SCAN_ABOUT[by], [...given, about]];
  const [row] = await db.rows<{ found: string; last: string | null; ended: boolean | null }>(text, parameters);
  const found = JSON.parse(row?.found ?? '[]') as readonly (readonly [string, string])[];
  return { rows: found.map(([id, owner]) => ({ id, owner })), last: row?.ended === false ? row.last : null };
}

/**
 * Behind which id the rows before a time may be: no row from there on is of an hour after it, as far as the clock was set back by less.
 * By halves, or whoever asks for last year would read this one first.
 */
export async function auditIdAt(db: Statements, to: string): Promise<string> {
  const [row] = await db.rows<{ id: string }>(HALVED, [to]);
  return row?.id ?? '0';
}
const HALVED = `
  with recursive b (low, high) as (
    select 0::bigint, coalesce((select max(id) from grantgate.audit), 0) + 1
    union all
    select case when p.at < $1::text::timestamptz + interval '1 hour' then p.id + 1 else b.low end,
      case when p.at < $1::text::timestamptz + interval '1 hour' then b.high else m.id end
    from b cross join lateral (select b.low + (b.high - b.low) / 2 id) m
      left join lateral (select a.id, a.at from grantgate.audit a where a.id >= m.id and a.id < b.high order by a.id limit 1) p on true
    where b.low < b.high)
  select min(high)::text id from b`;

export interface AuditRow extends AuditEntry {
  readonly id: string;
  /** RFC 3339, UTC, to the microsecond. */
  readonly at: string;
  readonly revision: string;
}

/** The newest of these, and as many more as are not too much at once. */
export async function readAuditRows(db: Statements, ids: readonly string[]): Promise<readonly AuditRow[]> {
  if (ids.length === 0) return [];
  return db.rows<AuditRow>(
    `select a.id::text id, to_char(a.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') at, a.revision, a.tenant, a.owner, a.actor_kind "actorKind",
        a.actor, a.as_user "asUser", a.action, a.target, a.before, a.after, a.request_id "requestId"
      from (
        select a.*, coalesce(sum(coalesce(octet_length(a.before::text), 0) + coalesce(octet_length(a.after::text), 0))
          over (order by a.id desc rows between unbounded preceding and 1 preceding), 0) bytes
        from grantgate.audit a where a.id = any ($1::bigint[])) a
      where a.bytes <= ${MOST_READ_BYTES} order by a.id desc`,
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
    where (a.target, a.id) >= (o.id, 0) and (a.target, a.id) < (o.id, ${NEWEST})
      and a.tenant = $1 and a.action in ('tenant.create', 'tenant.delete', 'customer.create', 'customer.delete')
    order by a.target desc, a.id desc limit 1) x`;
