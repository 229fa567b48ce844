// Which statements make an API key, show a user's, and take one away?
//
// Called inside a transaction of `Writer`. The caches are told by the schema (deploy/sql/0007_keys.sql).

import { rfc3339 } from './times.ts';
import type { Statements } from './writer.ts';

/** What people see of a key. */
export interface StoredKey {
  readonly id: string;
  readonly name?: string;
  /** RFC 3339. */
  readonly created: string;
  readonly expires: string;
  readonly createdBy: string;
}

export interface NewKey {
  /** SHA-256, in hexadecimal digits. */
  readonly hash: string;
  readonly id: string;
  readonly tenant: string;
  readonly user: string;
  readonly name?: string | undefined;
  /** RFC 3339; absent: so many seconds from now, by the clock of the database. */
  readonly expires?: string | undefined;
  readonly lifetime: number;
  readonly createdBy: string;
}

const SHOWN = `json_strip_nulls(json_build_object('id', k.id, 'name', k.name, 'created', ${rfc3339('k.created')},
  'expires', ${rfc3339('k.expires')}, 'createdBy', k.created_by)) r`;

/** Of one user, the oldest first. */
export async function readKeys(db: Statements, user: string): Promise<readonly StoredKey[]> {
  const rows = await db.rows<{ r: StoredKey }>(`select ${SHOWN} from grantgate.api_key k where k.user_id = $1 order by k.created, k.id`, [user]);
  return rows.map(({ r }) => r);
}

/** @returns null: it would have ended by now */
export async function insertKey(db: Statements, key: NewKey): Promise<StoredKey | null> {
  const { hash, id, tenant, user, name = null, expires = null, lifetime, createdBy } = key;
  const [row] = await db.rows<{ r: StoredKey }>(
    `insert into grantgate.api_key as k (hash, id, tenant, user_id, name, expires, created_by)
      select $1, $2, $3, $4, $5, x.expires, $8
      from (select coalesce($6::text::timestamptz, clock_timestamp() + $7::float8 * interval '1 second') expires) x where x.expires > clock_timestamp()
      returning ${SHOWN}`,
    [hash, id, tenant, user, name, expires, lifetime, createdBy],
  );
  return row?.r ?? null;
}

/** @returns what it was; null: the user has no such key */
export async function removeKey(db: Statements, { user, id }: { readonly user: string; readonly id: string }): Promise<StoredKey | null> {
  const [row] = await db.rows<{ r: StoredKey }>(`delete from grantgate.api_key k where k.user_id = $1 and k.id = $2 returning ${SHOWN}`, [user, id]);
  return row?.r ?? null;
}
