// How often may somebody guess a password, and does it matter from where?
//
// It does, as OWASP's "device cookies" have it: from where a user has logged in before, guesses are counted by themselves. So whoever knows no more than an
// e-mail locks its user out of nowhere that it comes from. All other networks together have one count, and the guesses that one has.
//
// What it costs: whoever is in a network of the user, too, and guesses from another besides, learns that the user has been there.

import type { Statements } from './writer.ts';

export interface AttemptRules {
  /** SHA-256 of the name that was typed. */
  readonly account: string;
  /** SHA-256 of that and of the network it was typed in; null: it is not known. */
  readonly network: string | null;
  readonly lockAfter: number;
  /** Seconds, at the most. */
  readonly lockFor: number;
}

export interface CountedAttempt {
  /** By what it is counted: the account, or the network where that is known for it. */
  readonly counted: string;
  /** 0: it may be tried; else until one may be again. */
  readonly seconds: number;
}

/** A day without any, and they are forgotten: longer than any lock. */
const FORGOTTEN = "interval '1 day'";
/** Of a user: at home, at work, on the way. However long ago: whose session has lasted for a year logs in again from there. */
const MOST_NETWORKS = 8;

/**
 * Counts one more wrong password before anybody knows whether it is one: of a hundred at once, no more are tried than one after the other. Whether there is
 * such a user makes no difference: what is counted is what was typed.
 */
export async function countAttempt(db: Statements, { account, network, lockAfter, lockFor }: AttemptRules): Promise<CountedAttempt> {
  const known = await db.rows('select 1 from grantgate.known_network where hash = $1', [network]);
  const counted = network !== null && known.length > 0 ? network : account;
  const tried = await db.rows(
    `with old as (
        delete from grantgate.login_attempt where account in (
          select account from grantgate.login_attempt where last < clock_timestamp() - ${FORGOTTEN} and account <> $1 order by last limit 5
          for update skip locked))
      insert into grantgate.login_attempt as a (account, failures) values ($1, 1)
      on conflict (account) do update set (failures, last, locked) = (
        select x.n, clock_timestamp(),
          case when x.n >= $2 then clock_timestamp() + least($3::float8, 60 * 2 ^ least(x.n - $2, 20)::float8) * interval '1 second' end
        from (select case when a.last < clock_timestamp() - ${FORGOTTEN} then 1 else least(a.failures, 1000000) + 1 end n) x)
      where a.locked is null or a.locked <= clock_timestamp()
      returning 1`,
    [counted, lockAfter, lockFor],
  );
  if (tried.length > 0) return { counted, seconds: 0 };
  const [row] = await db.rows<{ seconds: number }>(
    'select greatest(1, ceil(extract(epoch from locked - clock_timestamp())))::int seconds from grantgate.login_attempt where account = $1',
    [counted],
  );
  return { counted, seconds: row?.seconds ?? 1 };
}

export interface Welcome {
  readonly user: string;
  /** By what its attempt was counted. */
  readonly counted: string;
  readonly network: string | null;
}

/** The user has proved that it is itself: what was wrong before counts no more where it is, and that is counted by itself from now on. */
export async function welcomeUser(db: Statements, { user, counted, network }: Welcome): Promise<void> {
  await db.rows('delete from grantgate.login_attempt where account in ($1, $2)', [counted, network]);
  if (network === null) return;
  await db.rows(
    `insert into grantgate.known_network (user_id, hash) values ($1, $2)
      on conflict (hash) do update set user_id = excluded.user_id, last = clock_timestamp()`,
    [user, network],
  );
  await db.rows(
    `delete from grantgate.known_network where hash in (
      select hash from grantgate.known_network where user_id = $1 and hash <> $2 order by last desc, hash offset ${MOST_NETWORKS - 1})`,
    [user, network],
  );
}

export async function forgetNetworks(db: Statements, user: string): Promise<void> {
  await db.rows('delete from grantgate.known_network where user_id = $1', [user]);
}
