// What do the fail-over suites write, what do they read all the while, and how is it judged afterwards?
//
// Writers flip memberships: whoever is in the group may read the devices. So the truth at any revision is what its server's log
// says: each time that a user was touched, the answer turned. Every answer is kept with its revision and its time.

import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { scheduler } from 'node:timers/promises';
import { PolicyCache, PolicyError, compileVocabulary, formatRevision, parseRevision, requestOf } from 'policy-cache';
import type { AccessRequest, CheckOptions, CheckStatus, Revision } from 'policy-cache';
import { openPool, postgresSource, type PostgresSourceOptions } from 'policy-cache/postgres';
import { parse } from 'yaml';
import { hostClock } from '../../src/clock.ts';
import { customer, entity, grant, group, groupRole, headOf, member, seed, tenant, user, type Sql } from './fixture.ts';

const file = fileURLToPath(import.meta.resolve('policy-cache/vocabulary/thingsboard.yaml'));
const vocabulary = compileVocabulary(parse(readFileSync(file, 'utf8')));

const list = (prefix: string, count: number): readonly string[] => Array.from({ length: count }, (_, i) => `${prefix}${i}`);
/** Users who are flipped; the first half begin as members. */
export const FLIPPED = list('w', 12);
/** Members that nobody touches, and what is read. */
const QUIET = list('k', 20);
const DEVICES = list('d', 40);

const inGroup = (id: string): string => member(id, 'ug', { type: 'USER', owner: 'a' });
const SMALL = [
  ...[tenant('t'), customer('a', 't'), group('ug', 'USER', 'a'), group('dg', 'DEVICE', 'a'), groupRole('grp', 't')],
  grant('g', ['a', 'USER', 'ug'], ['grp', 'GROUP'], ['a', 'DEVICE', 'dg']),
  ...DEVICES.flatMap((id) => [entity(id, 'DEVICE', 'a'), member(id, 'dg', { type: 'DEVICE', owner: 'a' })]),
  ...[...QUIET, ...FLIPPED].map((id) => user(id, 'a')),
  ...[...QUIET, ...FLIPPED.slice(0, FLIPPED.length / 2)].map(inGroup),
].join(';\n');

/** @returns the revision that the flips begin after */
export async function seedFlips(sql: Sql): Promise<number> {
  await seed(sql, SMALL);
  return headOf(sql);
}

export const mayRead = (subject: string, device = 'd0'): AccessRequest =>
  requestOf(vocabulary, { user: subject, operation: 'READ', resource: 'DEVICE', target: device });

/** Everything that nobody touches, as questions. */
export const quietChecks: readonly AccessRequest[] = QUIET.flatMap((subject) => DEVICES.map((device) => mayRead(subject, device)));

/** Limits that a busy machine keeps: what is counted here is what happens to the servers. */
const LIMITS = { pullMs: 5_000, fillMs: 1_000, othersMs: 5_000 };

export function follow(options: PostgresSourceOptions, maxStaleness = 2_000): PolicyCache {
  const source = postgresSource({ limits: LIMITS, ...options });
  const cache = new PolicyCache({ vocabulary, source, clock: hostClock(), random: Math.random, maxStaleness });
  cache.start();
  return cache;
}

/** `allow`, `deny`, or the code of the error. A deadline that a busy machine meets. */
export async function ask(cache: PolicyCache, request: AccessRequest, options: CheckOptions = {}): Promise<string> {
  try {
    return (await cache.check(request, undefined, { deadline: 2_000, ...options })).allow ? 'allow' : 'deny';
  } catch (error) {
    if (error instanceof PolicyError) return error.code;
    throw error;
  }
}

// ---- writing -----------------------------------------------------------------------------------------------------------------

export interface Commit {
  readonly revision: Revision;
  /** When it was acknowledged. */
  readonly at: number;
}

/** One commit that turns the answer for a user. One message: its transaction ends with it, however it ends. */
export async function flip(sql: Sql, subject: string): Promise<Commit> {
  const results = await sql.unsafe(`
    with gone as (delete from grantgate.membership where member_id = '${subject}' returning 1)
    insert into grantgate.membership (tenant, group_id, member_id, type, owner) select 't', 'ug', '${subject}', 'USER', 'a' where not exists (select from gone);
    set constraints all immediate;
    select grantgate.revision() as revision`);
  const [row] = results.at(-1) as unknown as readonly [{ readonly revision: string }];
  return { revision: parseRevision(row.revision), at: performance.now() };
}

export interface Writer {
  /** Acknowledged, in that order. */
  readonly commits: readonly Commit[];
  stop(): Promise<void>;
}

/** Flips one user after the other; goes to the next server whenever one does not take it. */
export function startWriter(urls: readonly string[]): Writer {
  const commits: Commit[] = [];
  let stopped = false;
  const work = (async () => {
    for (let turn = 0, server = 0; !stopped; server++) {
      const sql = openPool({ url: urls[server % urls.length]!, max: 1 });
      try {
        for (; !stopped; turn++) {
          commits.push(await flip(sql, FLIPPED[turn % FLIPPED.length]!));
          await scheduler.wait(5); // the pace
        }
      } catch {
        await scheduler.wait(5); // it is down, or a standby
      } finally {
        await sql.end({ timeout: 0 });
      }
    }
  })();
  return {
    commits,
    stop: () => ((stopped = true), work),
  };
}

// ---- reading -----------------------------------------------------------------------------------------------------------------

interface Read {
  readonly subject: string;
  readonly allow: boolean;
  readonly revision: Revision;
  readonly at: number;
}

export interface Readers {
  readonly reads: readonly Read[];
  /** Checks that were not answered, by code. */
  readonly refused: Readonly<Record<string, number>>;
  stop(): Promise<void>;
}

/** Asks for everybody who is flipped, over and over. */
export function startReaders(cache: PolicyCache): Readers {
  const reads: Read[] = [];
  const refused: Record<string, number> = {};
  const open = new Set<Promise<void>>();
  let stopped = false;
  const once = (subject: string, device: string): void => {
    const status: CheckStatus = { tenant: '', customer: '', revision: null, hit: false };
    const keep = ({ allow }: { readonly allow: boolean }): void => void reads.push({ subject, allow, revision: status.revision!, at: performance.now() });
    const failed = (error: unknown): void => {
      if (!(error instanceof PolicyError)) throw error;
      refused[error.code] = (refused[error.code] ?? 0) + 1;
    };
    try {
      const answer = cache.check(mayRead(subject, device), status);
      if (!(answer instanceof Promise)) return keep(answer);
      const waiting = answer.then(keep, failed).finally(() => open.delete(waiting));
      open.add(waiting);
    } catch (error) {
      failed(error);
    }
  };
  const work = (async () => {
    for (let turn = 0; !stopped; turn++) {
      for (const subject of FLIPPED) once(subject, DEVICES[turn % DEVICES.length]!);
      await scheduler.wait(1); // the pace
    }
    await Promise.all(open);
  })();
  return {
    reads,
    refused,
    stop: () => ((stopped = true), work),
  };
}

// ---- judging -----------------------------------------------------------------------------------------------------------------

/** The log of one server: who is a member at each of its revisions. */
export type History = ReadonlyMap<string, ReadonlySet<string>>;

export async function historyOf(sql: Sql, from: number): Promise<History> {
  const rows =
    await sql`select c.version, c.id, t.tag, t.keys from grantgate.change c join grantgate.touched t using (n) where c.version >= ${from} order by c.version`;
  const history = new Map<string, ReadonlySet<string>>();
  let members: ReadonlySet<string> = new Set(FLIPPED.slice(0, FLIPPED.length / 2));
  for (const { version, id, tag, keys } of rows) {
    if (Number(version) > from && tag === 'o') members = turned(members, keys as string[]);
    history.set(`${version}-${id}`, members);
  }
  return history;
}

function turned(members: ReadonlySet<string>, keys: readonly string[]): ReadonlySet<string> {
  const next = new Set(members);
  for (const key of keys) if (!next.delete(key)) next.add(key);
  return next;
}

export interface Verdict {
  readonly judged: number;
  /** Not the truth at its own revision, or of a revision that no server has. */
  readonly wrong: number;
  /** Given `maxStaleness` after a commit was acknowledged, and from before it. */
  readonly stale: number;
  /** Of an older revision than an answer before it, or of the lost history after one of the new. */
  readonly backwards: number;
  /** Given between the two moments. */
  readonly during: number;
}

export interface Evidence {
  readonly reads: readonly Read[];
  readonly commits: readonly Commit[];
  readonly old: History;
  readonly next: History;
  readonly maxStaleness: number;
  /** From the last moment of the old primary to the first commit of the new one. */
  readonly gap: readonly [from: number, to: number];
}

export function judge({ reads, commits, old, next, maxStaleness, gap }: Evidence): Verdict {
  const verdict = { judged: reads.length, wrong: 0, stale: 0, backwards: 0, during: 0 };
  const survives = ({ revision }: { readonly revision: Revision }): boolean => next.has(formatRevision(revision));
  /** Newest commit that is older than the bound at this read, of those that the new primary has and of those that were lost. */
  const newest = { kept: 0, lost: 0 };
  let bound = 0;
  let before: { readonly version: number; readonly kept: boolean } | undefined;
  let beyond = false;
  for (const read of reads) {
    const { version } = read.revision;
    const kept = survives(read);
    const truth = (kept ? next : old).get(formatRevision(read.revision));
    if (truth?.has(read.subject) !== read.allow) verdict.wrong++;

    for (; bound < commits.length && commits[bound]!.at < read.at - maxStaleness; bound++)
      newest[survives(commits[bound]!) ? 'kept' : 'lost'] = commits[bound]!.revision.version;
    // What was lost binds nobody once the old primary is gone.
    const atLeast = kept && read.at > gap[0] ? newest.kept : Math.max(newest.kept, newest.lost);
    if (version < atLeast || (!kept && read.at - maxStaleness > gap[1])) verdict.stale++;

    if ((before?.kept === kept && version < before.version) || (beyond && !kept)) verdict.backwards++;
    before = { version, kept };
    beyond ||= kept && !old.has(formatRevision(read.revision));
    if (read.at > gap[0] && read.at < gap[1]) verdict.during++;
  }
  return verdict;
}
