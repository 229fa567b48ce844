// Which statements keep what a user logs in by: its password, and the link by which it sets one?
//
// Of passwords, links and tokens there are hashes alone (deploy/sql/0008_identity_local.sql).

import { arrayLiteral } from './import-staging.ts';
import { rfc3339 } from './times.ts';
import type { Statements } from './writer.ts';

/** Who would log in. */
export interface Account {
  readonly user: string;
  readonly tenant: string;
  readonly owner: string;
  readonly enabled: boolean;
  /** '': it has none, and cannot log in. */
  readonly email: string;
  /** PHC string; null: it has set none yet. */
  readonly password: string | null;
  /** When it was set; hashed anew, it is the same. */
  readonly changed: string | null;
}

const COLUMNS = 'o.id "user", o.tenant, o.owner, u.enabled, coalesce(u.email, \'\') email, c.password, c.changed::text changed';

/**
 * Who logs in by this e-mail. What is the same e-mail the database says alone: its Unicode may be another one than ours.
 * @returns null: nobody does
 */
export async function findAccount(db: Statements, email: string): Promise<Account | null> {
  const [row] = await db.rows<Account>(
    `select ${COLUMNS} from grantgate.credential c join grantgate.object o on o.id = c.user_id join grantgate.user_account u on u.id = o.id where c.login = grantgate.log_in_name($1)`,
    [email],
  );
  return row ?? null;
}

/** Nobody disables it until the end of the transaction: a session that began meanwhile would outlive that. */
export async function readAccount(db: Statements, user: string): Promise<Account | null> {
  const [row] = await db.rows<Account>(
    `select ${COLUMNS} from grantgate.user_account u join grantgate.object o on o.id = u.id left join grantgate.credential c on c.user_id = u.id
      where u.id = $1 for share of u`,
    [user],
  );
  return row ?? null;
}

/** Its user logs in by its e-mail from now on, and by this password. */
export async function putCredential(
  db: Statements,
  { user, tenant, email, password }: { readonly user: string; readonly tenant: string; readonly email: string; readonly password: string },
): Promise<void> {
  await db.rows(
    `insert into grantgate.credential (user_id, tenant, login, password) values ($1, $2, grantgate.log_in_name($3), $4)
      on conflict (user_id) do update set login = excluded.login, password = excluded.password, changed = clock_timestamp()`,
    [user, tenant, email, password],
  );
}

/** The same password by today's parameters. Another one that was set meanwhile stays. */
export async function rehashPassword(db: Statements, { user, from, to }: { readonly user: string; readonly from: string; readonly to: string }): Promise<void> {
  await db.rows('update grantgate.credential set password = $3 where user_id = $1 and password = $2', [user, from, to]);
}

/** Does another user log in by this e-mail? */
export async function isLoginTaken(db: Statements, { user, email }: { readonly user: string; readonly email: string }): Promise<boolean> {
  const [row] = await db.rows<{ taken: boolean }>(
    'select exists (select from grantgate.credential where login = grantgate.log_in_name($2) and user_id <> $1) taken',
    [user, email],
  );
  return row!.taken;
}

/** Which of these, if each had its e-mail, would log in by that of another user or of an earlier one: its place. Null: none. */
export async function readLoginClash(db: Statements, asked: readonly { readonly user: string; readonly email: string }[]): Promise<number | null> {
  const [row] = await db.rows<{ at: number }>(
    `with n as (
        select x.at, x.user_id, grantgate.log_in_name(x.email) login
        from unnest($1::text[], $2::text[]) with ordinality x (user_id, email, at) join grantgate.credential c on c.user_id = x.user_id)
      select x.at::int from (select n.*, row_number() over (partition by n.login order by n.at) nth from n) x
      where x.nth > 1 or exists (select from grantgate.credential c where c.login = x.login and c.user_id <> x.user_id) order by x.at limit 1`,
    [arrayLiteral(asked.map(({ user }) => user)), arrayLiteral(asked.map(({ email }) => email))],
  );
  return row === undefined ? null : row.at - 1;
}

export interface NewActivation {
  readonly user: string;
  readonly tenant: string;
  /** SHA-256 of the link's secret, in hexadecimal digits. */
  readonly hash: string;
  /** Seconds from now, by the clock of the database. */
  readonly lifetime: number;
  /** '': the operator, or the user that has forgotten its password. */
  readonly createdBy: string;
}

/** One that was there before is no good any more. @returns until when this one is, RFC 3339 */
export async function putActivation(db: Statements, { user, tenant, hash, lifetime, createdBy }: NewActivation): Promise<string> {
  const [row] = await db.rows<{ expires: string }>(
    `insert into grantgate.activation as a (user_id, tenant, hash, expires, created_by)
      values ($1, $2, $3, clock_timestamp() + $4::float8 * interval '1 second', $5)
      on conflict (user_id) do update set hash = excluded.hash, created = excluded.created, expires = excluded.expires, created_by = excluded.created_by
      returning ${rfc3339('a.expires')} expires`,
    [user, tenant, hash, lifetime, createdBy],
  );
  return row!.expires;
}

/** Whose link this is, while it is good. */
export async function readActivation(db: Statements, hash: string): Promise<string | null> {
  const [row] = await db.rows<{ user_id: string }>('select user_id from grantgate.activation where hash = $1 and expires > clock_timestamp()', [hash]);
  return row?.user_id ?? null;
}

/** Was a link asked for by whoever has forgotten its password, within the last seconds? */
export async function isAskedFor(db: Statements, user: string, seconds: number): Promise<boolean> {
  const [row] = await db.rows<{ is: boolean }>(
    `select exists (
      select from grantgate.activation where user_id = $1 and created_by = '' and created > clock_timestamp() - $2::float8 * interval '1 second') "is"`,
    [user, seconds],
  );
  return row!.is;
}

/** It has reached nobody, as far as we know: another one may be asked for. It is good all the same, for a server may have taken it too late for us. */
export async function forgetAskedFor(db: Statements, hash: string): Promise<void> {
  await db.rows('update grantgate.activation set created = to_timestamp(0) where hash = $1', [hash]);
}

export async function removeActivation(db: Statements, user: string): Promise<void> {
  await db.rows('delete from grantgate.activation where user_id = $1', [user]);
}

/**
 * Has the operator made this user, and has since then nobody of its tenant done anything, nor anything to do it with? Then the operator takes nobody over
 * by giving it another link: nobody has been there.
 */
export async function isUntouched(db: Statements, { tenant, user }: { readonly tenant: string; readonly user: string }): Promise<boolean> {
  const [row] = await db.rows<{ is: boolean }>(
    `select exists (
        select from grantgate.audit where target = $2 and tenant = $1 and actor_kind = 'operator' and action = 'tenant.administrator')
      and not exists (select from grantgate.credential where user_id = $2)
      and not exists (select from grantgate.api_key where user_id = $2)
      and not exists (select from grantgate.audit where tenant = $1 and actor_kind = 'user') "is"`,
    [tenant, user],
  );
  return row!.is;
}

/** What people see of it on a user's page; it decides nothing. */
export async function noteLogin(db: Statements, user: string): Promise<void> {
  await db.rows('update grantgate.user_account set last_login = clock_timestamp() where id = $1', [user]);
}
