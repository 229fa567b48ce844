// Which statements begin a session, show a user's, and end some?
//
// Called inside a transaction of `Writer`. The caches are told by the schema (deploy/sql/0008_identity_local.sql).

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

const TIME = `'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'`;
const at = (column: string): string => `to_char(s.${column} at time zone 'UTC', ${TIME})`;
const SHOWN = `json_strip_nulls(json_build_object('id', s.id, 'user', s.user_id, 'actor', s.actor,
  'created', ${at('created')}, 'renewed', ${at('renewed')}, 'expires', ${at('expires')}, 'ends', ${at('ends')})) r`;

export async function insertSession(db: Statements, session: NewSession): Promise<StoredSession> {
  const { id, tenant, user, actor = null, hash, lifetime, renewable } = session;
  const { family = null, refresh = null, idle = lifetime } = renewable ?? {};
  const [row] = await db.rows<{ r: StoredSession }>(
    `insert into grantgate.session as s (id, tenant, user_id, actor, hash, expires, family, refresh, ends)
      select $1, $2, $3, $4, $5, x.now + $6::float8 * interval '1 second', $7, $8, x.now + greatest($6::float8, $9::float8) * interval '1 second'
      from (select clock_timestamp() now) x returning ${SHOWN}`,
    [id, tenant, user, actor, hash, lifetime, family, refresh, idle],
  );
  return row!.r;
}

/** Those of a user, and those of others who have logged in as it, that have not ended: the newest first. */
export async function readSessions(db: Statements, user: string, limit: number): Promise<readonly StoredSession[]> {
  const rows = await db.rows<{ r: StoredSession }>(
    `select ${SHOWN} from grantgate.session s where s.user_id = $1 and s.ends > clock_timestamp() order by s.created desc, s.id limit $2`,
    [user, limit],
  );
  return rows.map(({ r }) => r);
}

/** @returns what they were; `id`: of this one alone */
export async function removeSessions(db: Statements, user: string, id?: string): Promise<readonly StoredSession[]> {
  const rows = await db.rows<{ r: StoredSession }>(
    `delete from grantgate.session s where s.user_id = $1 and ($2::text is null or s.id = $2) returning ${SHOWN}`,
    [user, id ?? null],
  );
  return rows.map(({ r }) => r);
}

/** Of those of a user itself, or of one who has logged in as it, ends all but so many: who has not renewed for the longest time goes first. */
export async function endOldestSessions(
  db: Statements,
  { user, actor, keep }: { readonly user: string; readonly actor?: string | undefined; readonly keep: number },
): Promise<void> {
  await db.rows(
    `delete from grantgate.session where id in (
      select id from grantgate.session where user_id = $1 and actor is not distinct from $2::text
      order by coalesce(renewed, created) desc, id offset $3)`,
    [user, actor ?? null, keep],
  );
}

/** Takes away some that have ended, whosever they were: each log-in a few, so that they do not gather. */
export async function removeEndedSessions(db: Statements, limit: number): Promise<void> {
  await db.rows(
    `delete from grantgate.session where id in (
      select id from grantgate.session where ends < clock_timestamp() order by ends limit $1 for update skip locked)`,
    [limit],
  );
}
