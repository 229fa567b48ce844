// Which statements begin a session, show a user's, and end some?
//
// Called inside a transaction of `Writer`. The caches are told by the schema (deploy/sql/0008_identity_local.sql).

import { rfc3339 } from './times.ts';
import type { Statements } from './writer.ts';

/** What people see of a session. */
export interface StoredSession {
  readonly id: string;
  readonly user: string;
  /** Who has logged in as the user; absent: the user itself. */
  readonly actor?: string;
  /** RFC 3339. */
  readonly created: string;
  readonly renewed?: string;
  /** Of the access token. */
  readonly expires: string;
  /** Of the session, unless it is renewed before. */
  readonly ends: string;
}

export interface NewSession {
  readonly id: string;
  readonly tenant: string;
  readonly user: string;
  /** Who logs in as the user; such a session cannot be renewed. */
  readonly actor?: string | undefined;
  /** SHA-256 of the access token, in hexadecimal digits. */
  readonly hash: string;
  /** Seconds from now, by the clock of the database, that the token is good. */
  readonly lifetime: number;
  /** By what it can be renewed, and for how many seconds from now; absent: it cannot be. */
  readonly renewable?: { readonly family: string; readonly refresh: string; readonly idle: number } | undefined;
}

const SHOWN = `json_strip_nulls(json_build_object('id', s.id, 'user', s.user_id, 'actor', s.actor, 'created', ${rfc3339('s.created')},
  'renewed', ${rfc3339('s.renewed')}, 'expires', ${rfc3339('s.expires')}, 'ends', ${rfc3339('s.ends')})) r`;

/**
 * Whoever disables one of its users while it begins waits for that, and ends it then (the trigger `end_sessions` would not see it). Locked in the order
 * in which a user is removed, before any session is: two of them never wait for each other.
 * @returns null: one of them is disabled, or gone
 */
export async function insertSession(db: Statements, session: NewSession): Promise<StoredSession | null> {
  const { id, tenant, user, actor = null, hash, lifetime, renewable } = session;
  const { family = null, refresh = null, idle = lifetime } = renewable ?? {};
  const [row] = await db.rows<{ r: StoredSession }>(
    `insert into grantgate.session as s (id, tenant, user_id, actor, hash, expires, family, refresh, ends)
      select $1, $2, $3, $4, $5, x.now + $6::float8 * interval '1 second', $7, $8, x.now + greatest($6::float8, $9::float8) * interval '1 second'
      from (select clock_timestamp() now) x
      where num_nonnulls($3::text, $4::text) = (
        select count(*) from (
          select 1 from grantgate.object o join grantgate.user_account u on u.id = o.id
          where o.id in ($3, $4) and u.enabled order by o.id for key share of o for share of u) a)
      returning ${SHOWN}`,
    [id, tenant, user, actor, hash, lifetime, family, refresh, idle],
  );
  return row?.r ?? null;
}

/** By which a user is in, as itself or as another, and by which others are in as it: whoever logs it out ends all of them. Each by its own index. */
const OF_USER = '(s.user_id = $1 or s.actor = $1)';

/** Those of a user that have not ended: the newest first. */
export async function readSessions(db: Statements, user: string, limit: number): Promise<readonly StoredSession[]> {
  const rows = await db.rows<{ r: StoredSession }>(
    `select ${SHOWN} from grantgate.session s where ${OF_USER} and s.ends > clock_timestamp() order by s.created desc, s.id limit $2`,
    [user, limit],
  );
  return rows.map(({ r }) => r);
}

/** @returns what they were; `id`: of this one alone */
export async function removeSessions(db: Statements, user: string, id?: string): Promise<readonly StoredSession[]> {
  const rows = await db.rows<{ r: StoredSession }>(`delete from grantgate.session s where ${OF_USER} and ($2::text is null or s.id = $2) returning ${SHOWN}`, [
    user,
    id ?? null,
  ]);
  return rows.map(({ r }) => r);
}

/** Of those of a user itself, or of one who has logged in as it, ends all but this one and so many: who has not renewed for the longest time goes first. */
export async function endOldestSessions(
  db: Statements,
  { id, user, actor, keep }: { readonly id: string; readonly user: string; readonly actor?: string | undefined; readonly keep: number },
): Promise<void> {
  await db.rows(
    `delete from grantgate.session where id in (
      select id from grantgate.session where user_id = $1 and actor is not distinct from $2::text and id <> $4
      order by coalesce(renewed, created) desc, id offset $3)`,
    [user, actor ?? null, keep, id],
  );
}

/** What a session is found by, and judged on. */
export interface HeldSession {
  readonly id: string;
  readonly user: string;
  readonly tenant: string;
  readonly actor: string | null;
  /** Of the refresh token that is good. */
  readonly refresh: string | null;
  /** Of those before it that are taken a moment longer. */
  readonly lately: readonly string[];
  /** It has not been renewed in time. */
  readonly ended: boolean;
}

/** By the hash of its access token, or of what its refresh tokens begin with. */
export async function findSession(db: Statements, by: { readonly hash: string } | { readonly family: string }): Promise<HeldSession | null> {
  const [column, value] = 'hash' in by ? ['hash', by.hash] : ['family', by.family];
  const [row] = await db.rows<HeldSession>(
    `select id, user_id "user", tenant, actor, refresh, case when leeway > clock_timestamp() then lately else '{}' end lately, ends <= clock_timestamp() ended
      from grantgate.session where ${column} = $1`,
    [value],
  );
  return row ?? null;
}

export interface Renewal {
  readonly id: string;
  /** The refresh token that was shown: the good one, or one that was lately. */
  readonly shown: string;
  /** Of the new access token, and its seconds. */
  readonly hash: string;
  readonly lifetime: number;
  /** Of the new refresh token. */
  readonly refresh: string;
  /** Seconds within which it must be renewed again, and those since it began after which it ends all the same. */
  readonly idle: number;
  readonly most: number;
  /** Seconds for which the refresh token that was good is taken, too: whoever has not got the answer, or asks twice at once, asks by that. */
  readonly leeway: number;
}

/** So often a session is renewed by tokens of before; then they are no good. A browser that opens again may have so many windows. */
const MOST_LATELY = 32;

/**
 * The access token before is no good any more, by whichever refresh token it goes on: there is one pair of a session. The time for those of before begins
 * with the renewal by the good one, and no later one makes it longer.
 * @returns null: it has lasted for as long as it may
 */
export async function renewSession(db: Statements, renewal: Renewal): Promise<StoredSession | null> {
  const { id, shown, hash, lifetime, refresh, idle, most, leeway } = renewal;
  const [row] = await db.rows<{ r: StoredSession }>(
    `update grantgate.session s set hash = $2, refresh = $3, renewed = x.now, expires = x.expires,
        lately = case when s.refresh = $7 then array[s.refresh] else (s.lately || s.refresh)[1:${MOST_LATELY}] end,
        leeway = case when s.refresh = $7 then x.now + $8::float8 * interval '1 second' when cardinality(s.lately) < ${MOST_LATELY} then s.leeway end,
        ends = greatest(x.expires, least(x.now + $5::float8 * interval '1 second', x.most))
      from (
        select y.id, y.now, y.most, least(y.now + $4::float8 * interval '1 second', y.most) expires
        from (select id, clock_timestamp() now, created + $6::float8 * interval '1 second' most from grantgate.session where id = $1) y) x
      where s.id = x.id and x.now < x.most returning ${SHOWN}`,
    [id, hash, refresh, lifetime, idle, most, shown, leeway],
  );
  return row?.r ?? null;
}

/** All of a user but this one. */
export async function removeOtherSessions(db: Statements, user: string, kept: string): Promise<readonly StoredSession[]> {
  const rows = await db.rows<{ r: StoredSession }>(`delete from grantgate.session s where ${OF_USER} and s.id <> $2 returning ${SHOWN}`, [user, kept]);
  return rows.map(({ r }) => r);
}

/** Takes away some that have ended, whosever they were: each log-in a few, so that they do not gather. */
export async function removeEndedSessions(db: Statements, limit: number): Promise<void> {
  await db.rows(
    `delete from grantgate.session where id in (
      select id from grantgate.session where ends < clock_timestamp() order by ends limit $1 for update skip locked)`,
    [limit],
  );
}
