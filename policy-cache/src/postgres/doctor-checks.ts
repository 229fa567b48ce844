// Which questions does the doctor ask, and what does it do about an answer? In the order in which they are told.

import type { ReservedSql } from 'postgres';
import { dormantGrants, grantsOfForeignRoles, idleMemberships } from './doctor-model.ts';
import type { DoctorOptions, Seen } from './finding.ts';
import { SCHEMA } from './session.ts';

interface Check {
  readonly name: string;
  readonly look: (session: ReservedSql, options: DoctorOptions) => Promise<Seen>;
  /** Safe to do; says what it did. The check is then looked at again. */
  readonly repair?: (session: ReservedSql) => Promise<string>;
}

const REPAIR = 'grantgate doctor --repair';
/** The latch is held from a writer's seal to the end of its commit: milliseconds. */
const LATCH_HELD_S = 1;
const FORGOTTEN_MS = 300_000;
const QUEUE_FULL = 0.1;

export const CHECKS: readonly Check[] = [
  { name: 'schema', look: schema },
  { name: 'primary', look: primary },
  { name: 'triggers', look: triggers, repair: enableTriggers },
  { name: 'rights', look: rights, repair: grantRoles },
  { name: 'sequence', look: sequence, repair: setSequence },
  { name: 'numbered', look: numbered, repair: numberAgain },
  { name: 'attach', look: attach }, // after what may have been mended
  { name: 'log', look: log },
  { name: 'lease', look: lease },
  { name: 'queue', look: queue },
  { name: 'latch', look: latch },
  { name: 'transactions', look: transactions },
  { name: 'timeouts', look: timeouts },
  { name: 'roles', look: grantsOfForeignRoles },
  { name: 'dormant', look: dormantGrants },
  { name: 'memberships', look: idleMemberships },
];

const ok = (text: string): Seen => ({ state: 'ok', text });
const problem = (text: string, fix: string): Seen => ({ state: 'problem', text, fix });

async function schema(session: ReservedSql): Promise<Seen> {
  const [{ there }] = await session<[{ there: boolean }]>`select to_regclass('grantgate.migration') is not null as there`;
  if (!there) return problem('there is no schema grantgate in this database', 'grantgate migrate');
  const [{ version }] = await session<[{ version: number | null }]>`select max(version) as version from grantgate.migration`;
  if (version === null || version < SCHEMA.from) return problem(`version ${version ?? 0}, and ${SCHEMA.from} is needed`, 'grantgate migrate');
  if (version > SCHEMA.to) return problem(`version ${version}, and this program knows ${SCHEMA.to}`, 'use a newer grantgate');
  return ok(`version ${version}`);
}

async function primary(session: ReservedSql): Promise<Seen> {
  const [{ standby }] = await session<[{ standby: boolean }]>`select pg_is_in_recovery() as standby`;
  return standby ? problem('it is a standby, which can be neither written nor listened to', 'let the URLs lead to the primary') : ok('it is a primary');
}

/** As a sidecar does it, with its login: LISTEN, rights, triggers, and whether a transaction pooler stands between. */
async function attach(_: ReservedSql, { source }: DoctorOptions): Promise<Seen> {
  if (source === null) return { state: 'unknown', text: 'database.url is not set', fix: 'set it as the sidecars have it' };
  try {
    (await source.attach({ ring: () => undefined, closed: () => undefined })).close();
    return ok('a sidecar can follow');
  } catch (error) {
    return problem(`a sidecar is refused: ${error instanceof Error ? error.message : String(error)}`, 'as it says');
  }
}

interface BrokenTrigger {
  readonly relation: string;
  readonly trigger: string;
  readonly there: boolean;
}
const brokenTriggers = (session: ReservedSql): Promise<readonly BrokenTrigger[]> => session<BrokenTrigger[]>`
  select b.relation, b.trigger, exists (
      select from pg_trigger t where t.tgrelid = to_regclass('grantgate.' || b.relation) and t.tgname = b.trigger) as there
    from (select split_part(n, '.', 1), split_part(n, '.', 2) from unnest(grantgate.broken_triggers()) n) b (relation, trigger)`;

/** It is never lowered by itself: who once asked for an hour makes the first barrier after every crash wait for an hour. */
async function lease(session: ReservedSql): Promise<Seen> {
  const [{ longest, asked }] = await session<[{ longest: number; asked: number | null }]>`
    select (select longest_ms from grantgate.lease) as longest,
      (select ceil(max(extract(epoch from lease_until - at)) * 1000)::int from grantgate.follower where lease_until > clock_timestamp()) as asked`;
  const text = `after a crash or a promotion a barrier waits for ${longest / 1000} s, the longest lease that was ever asked for`;
  const living = Math.max(asked ?? 0, 3_000);
  if (longest <= living) return ok(text);
  return problem(`${text}; sidecars that live ask for ${living / 1000} s`, `if that is right: update grantgate.lease set longest_ms = ${living}`);
}

async function triggers(session: ReservedSql): Promise<Seen> {
  const broken = await brokenTriggers(session);
  if (broken.length === 0) return ok('all there, and ENABLE ALWAYS');
  const named = (there: boolean): readonly string[] => broken.filter((each) => each.there === there).map(({ relation, trigger }) => `${relation}.${trigger}`);
  const [silent, missing] = [named(true), named(false)];
  return problem(
    [silent.length > 0 ? `not ENABLE ALWAYS: ${silent.join(', ')}` : '', missing.length > 0 ? `missing: ${missing.join(', ')}` : ''].filter(Boolean).join('; '),
    missing.length > 0 ? "create what is missing as deploy/sql has it, ENABLE ALWAYS, then select grantgate.touch('*')" : REPAIR,
  );
}

/** Changes that were made meanwhile are not in the log: every sidecar begins anew. */
async function enableTriggers(session: ReservedSql): Promise<string> {
  const silent = (await brokenTriggers(session)).filter(({ there }) => there);
  if (silent.length === 0) return 'nothing to enable';
  await transaction(session, async () => {
    for (const { relation, trigger } of silent) await session`alter table ${session(`grantgate.${relation}`)} enable always trigger ${session(trigger)}`;
    await session`select grantgate.touch('*')`;
  });
  return `enabled ${silent.length}, and told every sidecar to begin anew`;
}

/** What would `grant_roles` change? Asked by letting it, and taking that back: the list of rights stands in one place. */
async function rights(session: ReservedSql): Promise<Seen> {
  const missing = await session<{ name: string }[]>`
    select r.name from unnest(array['grantgate_owner', 'grantgate_writer', 'grantgate_reader']) r (name) where to_regrole(r.name) is null`;
  if (missing.length > 0) return problem(`there is no role ${missing.map(({ name }) => name).join(', ')}`, 'grantgate migrate');
  const acls = async (): Promise<ReadonlyMap<string, string>> =>
    new Map(
      (
        await session<{ name: string; acl: string }[]>`
          select c.relname as name, c.relacl::text || coalesce((
              select string_agg(a.attname || a.attacl::text, ',' order by a.attnum) from pg_attribute a where a.attrelid = c.oid and a.attacl is not null), '') as acl
            from pg_class c where c.relnamespace = 'grantgate'::regnamespace
          union all
          select p.oid::regprocedure::text, p.proacl::text from pg_proc p where p.pronamespace = 'grantgate'::regnamespace
          union all
          select 'the schema', n.nspacl::text from pg_namespace n where n.nspname = 'grantgate'`
      ).map(({ name, acl }) => [name, acl]),
    );
  let changed: readonly string[] = [];
  await session`begin`;
  try {
    const before = await acls();
    await session`select grantgate.grant_roles()`;
    changed = [...(await acls())].filter(([name, acl]) => before.get(name) !== acl).map(([name]) => name);
  } finally {
    await session`rollback`;
  }
  if (changed.length > 0) return problem(`reader, writer and public have other rights than they should, on ${changed.join(', ')}`, REPAIR);
  return ok('reader and writer have theirs');
}

async function grantRoles(session: ReservedSql): Promise<string> {
  await session`select grantgate.grant_roles()`;
  return 'granted again';
}

async function sequence(session: ReservedSql): Promise<Seen> {
  const [{ next, head }] = await session<[{ next: string; head: string }]>`
    select case when s.is_called then s.last_value + 1 else s.last_value end as next, (select max(c.version) from grantgate.change c) as head
      from grantgate.version s`;
  if (BigInt(next) > BigInt(head)) return ok(`the next version is ${next}, the newest ${head}`);
  return problem(`grantgate.version would give ${next} and the log is at ${head}: every write is refused`, REPAIR);
}

async function setSequence(session: ReservedSql): Promise<string> {
  const head = await transaction(session, async () => {
    await session`lock table grantgate.latch in exclusive mode`;
    const [row] = await session<[{ head: string }]>`select setval('grantgate.version', (select max(version) from grantgate.change)) as head`;
    return row.head;
  });
  return `set to ${head}`;
}

/** Of a transaction that has committed; those of others cannot be seen. */
async function numbered(session: ReservedSql): Promise<Seen> {
  const [{ count }] = await session<[{ count: string }]>`
    select count(*) from grantgate.touched t where not exists (select from grantgate.change c where c.n = t.n)`;
  if (count === '0') return ok('every change that was logged has its number');
  return problem(`changes that were logged while the trigger seal was silent, so that no sidecar has heard of them: ${count}`, REPAIR);
}

async function numberAgain(session: ReservedSql): Promise<string> {
  await transaction(session, async () => {
    await session`select grantgate.touch('*')`;
    await session`delete from grantgate.touched t where not exists (select from grantgate.change c where c.n = t.n)`;
  });
  return 'told every sidecar to begin anew, and took them out';
}

async function log(session: ReservedSql, { keepMs }: DoctorOptions): Promise<Seen> {
  // A service trims once an hour, give or take; the newest of the old stays in any case.
  const late = keepMs + 2 * 3_600_000;
  const [row] = await session<[{ versions: string; oldest: string; untrimmed: string; rows: string; keys: string; largest: number; bytes: string }]>`
    select (select count(*) from grantgate.change) as versions,
      (select date_trunc('second', clock_timestamp() - min(at))::text from grantgate.change) as oldest,
      (select greatest(0, count(*) - 1) from grantgate.change c where c.version < coalesce(
        (select m.version from grantgate.change m where m.at >= clock_timestamp() - ${late}::float8 * interval '1 millisecond' order by m.version limit 1),
        9223372036854775807)) as untrimmed,
      count(*) as rows, coalesce(sum(size), 0) as keys, coalesce(max(size), 0) as largest,
      pg_size_pretty(pg_total_relation_size('grantgate.change') + pg_total_relation_size('grantgate.touched')) as bytes
      from grantgate.touched`;
  const text = `${row.versions} versions, the oldest ${row.oldest} old; ${row.keys} keys, at most ${row.largest} in a row; ${row.bytes}`;
  if (row.untrimmed === '0') return ok(text);
  return problem(
    `${text}; ${row.untrimmed} of them older than what is to be kept, so no sidecar trims`,
    'grantgate trim; and see whether a sidecar follows, and what it logs of trims',
  );
}

interface Holder {
  readonly pid: number;
  readonly who: string;
}
const named = (holders: readonly Holder[]): string => holders.map(({ pid, who }) => `${pid} (${who})`).join(', ');
const ends = (holders: readonly Holder[]): string => holders.map(({ pid }) => `select pg_terminate_backend(${pid})`).join('; ');

async function queue(session: ReservedSql): Promise<Seen> {
  const [{ usage }] = await session<[{ usage: number }]>`select pg_notification_queue_usage() as usage`;
  const text = `the notification queue is ${Math.ceil(usage * 1000) / 10} % full`;
  if (usage <= QUEUE_FULL) return ok(text);
  // Which backend listens, another cannot see: the oldest transactions are the suspects, in every database of the server.
  const idle = await session<Holder[]>`
    select pid, concat_ws(', ', usename, nullif(application_name, ''), datname, 'in a transaction for ' || date_trunc('second', clock_timestamp() - xact_start)) as who
      from pg_stat_activity where xact_start < clock_timestamp() - interval '1 second' and pid <> pg_backend_pid() and backend_type = 'client backend'
      order by xact_start limit 10`;
  if (idle.length === 0) return problem(`${text}; whoever holds it is not to be seen by this login`, 'look as a superuser, or a member of pg_monitor');
  return problem(
    `${text}; once full, every write is refused. A listener in an open transaction holds it, one of: ${named(idle)}`,
    `end the oldest: ${ends(idle.slice(0, 1))}; and set idle_in_transaction_session_timeout`,
  );
}

async function latch(session: ReservedSql): Promise<Seen> {
  const holders = await session<(Holder & { waiting: string })[]>`
    select a.pid, concat_ws(', ', a.usename, nullif(a.application_name, ''), a.state, a.wait_event, 'for ' || date_trunc('second', clock_timestamp() - a.state_change)) as who,
      (select count(*) from pg_locks w where w.relation = l.relation and w.database = l.database and not w.granted) as waiting
      from pg_locks l join pg_stat_activity a on a.pid = l.pid
      where l.relation = 'grantgate.latch'::regclass and l.database = (select oid from pg_database where datname = current_database())
        and l.granted and l.mode = 'ExclusiveLock' and a.pid <> pg_backend_pid()
        and coalesce(a.state_change, a.backend_start) < clock_timestamp() - ${LATCH_HELD_S} * interval '1 second'`;
  if (holders.length === 0) return ok('nobody holds up the writers');
  return problem(
    `held by ${named(holders)}; writers that wait: ${holders[0]!.waiting}`,
    `${ends(holders)}; waiting for SyncRep: bring the synchronous standby back; and give writers a lock_timeout`,
  );
}

async function transactions(session: ReservedSql, { forgottenMs = FORGOTTEN_MS }: DoctorOptions): Promise<Seen> {
  const idle = await session<Holder[]>`
    select pid, concat_ws(', ', usename, nullif(application_name, ''), state, 'for ' || date_trunc('second', clock_timestamp() - state_change)) as who
      from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'
        and state_change < clock_timestamp() - ${forgottenMs}::float8 * interval '1 millisecond'
      order by state_change limit 10`;
  if (idle.length === 0) return ok('none is left open');
  return problem(`left open: ${named(idle)}`, `${ends(idle)}; and set idle_in_transaction_session_timeout`);
}

/** Advice, and no problem: a program may well set it itself, session by session. */
async function timeouts(session: ReservedSql): Promise<Seen> {
  const [{ writers, idle }] = await session<[{ writers: string | null; idle: string }]>`
    select (select string_agg(w.rolname, ', ') from (
        select r.rolname from pg_roles r
          where r.rolcanlogin and not r.rolsuper and pg_has_role(r.oid, 'grantgate_writer', 'member') and not exists (
            select from pg_db_role_setting s, unnest(s.setconfig) c
              where s.setrole in (0, r.oid) and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
                and c like 'lock_timeout=%')
          order by 1 limit 10) w) as writers,
      current_setting('idle_in_transaction_session_timeout') as idle`;
  const advice = [
    ...(writers === null ? [] : [`no lock_timeout for the logins ${writers}`]),
    ...(idle === '0' ? ['no idle_in_transaction_session_timeout'] : []),
  ];
  return ok(advice.length === 0 ? 'set' : `${advice.join('; ')} (deploy/sql/README.md says why one would set them)`);
}

async function transaction<T>(session: ReservedSql, work: () => Promise<T>): Promise<T> {
  await session`begin`;
  // Whoever writes waits behind a lock that is waited for.
  await session`set local lock_timeout = '5s'`;
  try {
    const result = await work();
    await session`commit`;
    return result;
  } catch (error) {
    await session`rollback`.catch(() => undefined); // what failed is told, not that the connection is gone too
    throw error;
  }
}
