// How does one listening session begin, what does it refuse, and what does it pull? (coherence 1.1, 3.4, 3.8)

import postgres from 'postgres';
import { PolicyError } from '../errors.ts';
import type { PullReply, PullRequest } from '../source.ts';
import { describeAddress, type Address } from './address.ts';
import { failure, type Certificates } from './dial.ts';
import { assertDirect, betraysPooler, pooled, type AskOthers, type DirectOptions } from './direct.ts';
import { openLink, type Link, type Statement } from './link.ts';
import { parsePull, parseReport, parseTimeline } from './rows.ts';

export interface SessionLimits {
  /** Milliseconds: to connect, encrypt and authenticate. Default 2,000. */
  readonly connectMs: number;
  /** A pull, and each statement of the attach. Default 1,000. */
  readonly pullMs: number;
  /** A pull for a world that is not current yet. Default 30,000. */
  readonly firstPullMs: number;
}

export interface Session {
  readonly link: Link;
  /** Of the server, for as long as the session lasts; null where nobody may read it. */
  readonly timeline: string | null;
  /** Rings are for nobody until then: it may be one of several sessions, to be closed unheard. */
  hear(ring: () => void): void;
  pull(request: PullRequest): Promise<PullReply>;
  /** Rejects with PolicyError `source` where a transaction pooler shows. */
  assertDirect(others: AskOthers, options: DirectOptions): Promise<void>;
}

export interface SessionOptions {
  readonly certificates?: Certificates | undefined;
  readonly limits: SessionLimits;
  /** A pull was answered by another server process than the one before; the session is to end. */
  readonly pooled: () => void;
}

/** Versions of the schema whose log this code understands. */
export const SCHEMA = { from: 5, to: 8 };

/**
 * Connects, LISTENs (which a standby refuses), and looks whether the log can be read and is complete.
 * Rejects with PolicyError `source`, a sentence that names the server and the way out; nothing is left open then.
 */
export async function openSession(address: Address, options: SessionOptions): Promise<Session> {
  const { limits } = options;
  const bell = { ring: (): void => undefined };
  const link = await openLink(address, { certificates: options.certificates, connectMs: limits.connectMs, notified: () => bell.ring() });
  try {
    await link.rows(LISTEN, [], limits.pullMs);
    await assertReadable(link, limits.pullMs);
    await assertComplete(link, limits.pullMs);
    const timeline = await readTimeline(link, limits.pullMs);
    return session({ address, link, bell, timeline }, options);
  } catch (error) {
    link.destroy();
    throw explained(address, error);
  }
}

interface Opened {
  readonly address: Address;
  readonly link: Link;
  readonly bell: { ring: () => void };
  readonly timeline: string | null;
}

function session({ address, link, bell, timeline }: Opened, { limits, pooled: tell }: SessionOptions): Session {
  const statement = pullStatement(timeline !== null);
  let pid: number | null = null;
  const refuse = (cause?: unknown): PolicyError => {
    tell();
    return explained(address, pooled(cause));
  };
  return {
    link,
    timeline,
    hear: (ring) => void (bell.ring = ring),
    async pull({ cursor, limit, ask, report }) {
      const within = limit === null ? limits.firstPullMs : limits.pullMs;
      let reply: PullReply;
      try {
        // Sent together, run one after the other: the report is committed before the pull's snapshot is taken.
        const [reported, rows] = await Promise.all([
          report ? link.rows(REPORT, [report.follower, report.head?.version ?? null, report.head?.id ?? null, report.leaseMs], limits.pullMs) : null,
          link.rows(statement, [cursor, limit, `{${ask.join(',')}}`], within),
        ]);
        reply = parsePull((rows[0] as { r?: unknown } | undefined)?.r, reported && parseReport(reported[0]));
      } catch (error) {
        throw betraysPooler(error) ? refuse(error) : error;
      }
      pid ??= reply.pid;
      if (reply.pid !== pid) throw refuse();
      return reply;
    },
    async assertDirect(others, direct) {
      try {
        await assertDirect(link, others, direct);
      } catch (error) {
        throw explained(address, error);
      }
    },
  };
}

const REPORT: Statement = { name: 'report', text: 'select grantgate.report($1::text, $2::bigint, $3::text, $4::int) r' };
const LISTEN: Statement = { name: 'listen', text: 'listen grantgate' };
const CHECK: Statement = {
  name: 'attach check',
  text: 'select json_build_array((select max(version) from grantgate.migration), grantgate.broken_triggers()) r',
};
const TIMELINE: Statement = { name: 'timeline', text: 'select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) r' };

/** What pulls and fills read, and call. A name that this schema lacks is left to the check of its version. */
const RIGHTS: Statement = {
  name: 'check of the rights',
  text: `
select json_build_array(current_user, (select pg_has_role(r.oid, 'usage') from pg_roles r where r.rolname = 'grantgate_reader'), (
  select json_agg(w.missing) from (
    select 'select on grantgate.' || t from unnest('{object,role,membership,group_permission,change,touched,fleet,migration}'::text[]) t
      where has_table_privilege(to_regclass('grantgate.' || t), 'select') is false
    union all
    select 'select (' || c || ') on grantgate.user_account' from unnest('{id,enabled}'::text[]) c
      where has_column_privilege(to_regclass('grantgate.user_account'), c, 'select') is false
    union all
    select 'execute on function ' || p.oid::regprocedure from pg_proc p
      where p.pronamespace = 'grantgate'::regnamespace and p.proname in ('broken_triggers', 'report') and not has_function_privilege(p.oid, 'execute')
  ) w (missing))) r`,
};

/** At the attach: a right that is missing later shows as a statement that fails, time and again. */
async function assertReadable(link: Link, limitMs: number): Promise<void> {
  const [row] = await link.rows(RIGHTS, [], limitMs);
  const [login, member, missing] = (row as { r: [string, boolean | null, readonly string[] | null] }).r;
  if (missing === null) return;
  const fix = member ? 'run grantgate migrate, which grants them to grantgate_reader' : `run: grant grantgate_reader to "${login}"`;
  throw new PolicyError('source', `the login "${login}" lacks ${missing.join(', ')}: ${fix}`);
}

/** A trigger that does not fire in every session would leave a change out of the log for ever. */
async function assertComplete(link: Link, limitMs: number): Promise<void> {
  const [row] = await link.rows(CHECK, [], limitMs);
  const [version, broken] = (row as { r: [unknown, unknown] }).r;
  if (typeof version !== 'number' || version < SCHEMA.from)
    throw new PolicyError('source', `the schema is at version ${String(version)} and ${SCHEMA.from} is needed: run grantgate migrate`);
  if (version > SCHEMA.to)
    throw new PolicyError('source', `the schema is at version ${version} and this program knows ${SCHEMA.to} at the most: use a newer grantgate`);
  if (!Array.isArray(broken) || broken.length > 0)
    throw new PolicyError(
      'source',
      `the change log has holes (run grantgate doctor --repair), these triggers are missing or not ENABLE ALWAYS: ${String(broken)}`,
    );
}

/** Some managed services do not let anybody read it: then the rule about timelines is skipped (3.8). */
export async function readTimeline(link: Link, limitMs: number): Promise<string | null> {
  try {
    const [row] = await link.rows(TIMELINE, [], limitMs);
    return parseTimeline((row as { r?: unknown } | undefined)?.r);
  } catch (error) {
    if (link.alive && sqlState(error) !== null) return null;
    throw error;
  }
}

export function sqlState(error: unknown): string | null {
  const cause = error instanceof PolicyError ? error.cause : error;
  return cause instanceof postgres.PostgresError ? cause.code : null;
}

const MEANING: Readonly<Record<string, string>> = {
  '25006': 'it is a standby, and only a primary can be listened to: name the primary in the URL, or all of them',
  '3F000': 'there is no schema grantgate in this database: run grantgate migrate',
  '42P01': 'the schema grantgate is not complete: run grantgate migrate',
  '42883': 'the schema grantgate is not complete: run grantgate migrate',
  '26000': pooled().message,
  '42501': 'this login may not read the schema grantgate: make it a member of grantgate_reader',
};

function explained(address: Address, error: unknown): PolicyError {
  const meaning = MEANING[sqlState(error) ?? ''];
  const problem = failure('attach', error);
  const where = describeAddress(address);
  const sentence = meaning ? `${where}: ${meaning}` : problem.message.includes(where) ? problem.message : `${where}: ${problem.message}`;
  return new PolicyError('source', sentence, { cause: error });
}

/**
 * The pull of coherence 3.4. Beyond what is printed there: the ids of asked versions (`$3`), the version that a barrier waits for, and
 * how old the newest change is by the server's own clock.
 */
function pullStatement(timeline: boolean): Statement {
  return {
    name: 'pull',
    text: `
with c as materialized (select version, id, n, at from grantgate.change where version > $1::bigint order by version limit $2::int),
     s as materialized (select $2::int is not null and (count(*) >= $2::int or coalesce(sum(t.size), 0) > 100000) as over
            from c cross join lateral (select size from grantgate.touched where n = c.n limit 1) t
            where $2::int is not null),
     l as materialized (select c.version, c.id, t.tag, t.keys from c cross join lateral
            (select tag, keys from grantgate.touched where n = c.n limit 1) t
            where not (select over from s) and ($2::int is not null or tag in ('n', '*')))
select json_build_object(
   'pid', pg_backend_pid(), 'timeline', ${timeline ? 'substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)' : 'null'},
   'head', json_build_array(h.version, h.id), 'over', (select over from s),
   'cursorId', (select id from grantgate.change where version = $1::bigint),
   'changes', (select json_agg(json_build_array(version, id, tag, keys) order by version) from l),
   'tree', (select json_agg(json_build_array(k, (select json_build_array(owner) from grantgate.object
                where id = k and kind in ('tenant', 'customer') limit 1)))
              from (select distinct unnest(keys) k from l where tag = 'n') x),
   'answers', (select json_agg(json_build_array(a, (select id from grantgate.change where version = a limit 1)))
              from unnest($3::bigint[]) a),
   'awaited', (select awaited from grantgate.fleet where one and awaited_until > clock_timestamp() limit 1),
   'lagMs', (select extract(epoch from clock_timestamp() - at)::float8 * 1000 from c order by version desc limit 1)) r
from grantgate.change h order by h.version desc limit 1`,
  };
}
