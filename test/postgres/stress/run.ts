// How does one stress run go? Ours and the control beside each other, over the same database and under the same faults, then the judge.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openPool } from 'policy-cache/postgres';
import { startBarriers, type Barriers } from './barriers.ts';
import { startChild, type Child } from '../../support/child.ts';
import type { OwnServer } from '../../support/postgres.ts';
import { until } from '../../support/until.ts';
import { startFaults, type FaultCounts } from './faults.ts';
import { SCHEMA, readHistory, type History } from './history.ts';
import { judge, type Verdict } from './judge.ts';
import { startFaultyLink, type FaultyLink } from './link.ts';
import { stream } from './random.mjs';
import type { Closing, Settings } from './sidecar.mjs';
import { DEVICES, USERS, ASKERS, firstStatements, makeSlots } from './statements.ts';
import { startWriters, type WriterCounts } from './writers.ts';

const PROGRAM = fileURLToPath(new URL('sidecar.mjs', import.meta.url));
const WRITERS = 4;
/** Ours: one that keeps everything and one that keeps next to nothing. And the control. */
const SIDECARS = [
  { name: 'ours', engine: 'ours', small: false },
  { name: 'ours, small', engine: 'ours', small: true },
  { name: 'naive', engine: 'naive', small: false },
] as const;

export interface RunOptions {
  readonly server: OwnServer;
  readonly seed: number;
  readonly seconds: number;
  /** It goes on until ours have answered so many, for six times as long at the most. */
  readonly reads: number;
}

export interface Outcome {
  readonly seconds: number;
  readonly history: History;
  readonly writers: WriterCounts;
  readonly faults: FaultCounts;
  readonly dropped: number;
  readonly barriers: Pick<Barriers, 'passed' | 'counts'>;
  readonly sidecars: readonly (Verdict & Closing & { readonly name: string; readonly engine: Settings['engine'] })[];
}

interface Sidecar {
  readonly child: Child;
  readonly engine: Settings['engine'];
  readonly login: string;
  readonly link: FaultyLink;
  readonly file: string;
  reads: number;
  ready: boolean;
  /** Null while it runs; a sentence where it ended without one. */
  closing: Closing | string | null;
}

export async function run({ server, seed, seconds, reads }: RunOptions): Promise<Outcome> {
  const directory = await mkdtemp(join(tmpdir(), 'grantgate-stress-'));
  const database = await server.database();
  const sql = openPool({ url: database.url, max: 1 });
  const slots = makeSlots(stream(seed));
  const sidecars: Sidecar[] = [];
  try {
    await sql.unsafe(SCHEMA);
    await sql.unsafe(`begin; ${firstStatements(slots)}; commit`);
    for (const [i, one] of SIDECARS.entries()) {
      const url = await database.urlAs('grantgate_reader');
      sidecars.push(await startSidecar(url, { ...one, seed: seed + 17 * (i + 1), file: join(directory, `${i}.records`) }));
    }
    await until(() => sidecars.every(({ ready, closing }) => ready || closing !== null), 'the sidecars', 20_000);
    const toAll = (line: string): void => sidecars.forEach(({ child }) => child.say(line));
    const started = performance.now();
    const elapsed = (): number => (performance.now() - started) / 1_000;
    const writers = startWriters({
      url: database.url,
      seed,
      slots,
      writers: WRITERS,
      committed: (revision) => toAll(`token ${revision}`),
      newUser: (user) => toAll(`ask ${user}`),
      firstTime: (user, revision) => toAll(`first ${user} ${revision}`),
    });
    const faults = startFaults({ url: database.url, seed, exposed: sidecars.map(({ child, login, link }) => ({ pid: child.pid, login, link })) });
    const barriers = startBarriers({ url: database.url, random: stream(seed + 211), newest: () => writers.acknowledged.at(-1)?.revision ?? null });
    const ours = sidecars.filter(({ engine }) => engine === 'ours');
    const enough = (): boolean => elapsed() >= seconds && sum(ours.map((one) => one.reads)) >= reads;
    await until(() => enough() || elapsed() > 6 * seconds || sidecars.some(({ closing }) => closing !== null), 'the end of the run', 7_000 * seconds);
    await faults.stop();
    await writers.stop();
    await barriers.stop();
    toAll('stop');
    await until(() => sidecars.every(({ closing }) => closing !== null), 'what the sidecars have to say at the end', 20_000);
    const took = elapsed();
    const closings = sidecars.map(({ closing }) => {
      if (typeof closing === 'string' || closing === null) throw new Error(`a sidecar ended: ${closing}`);
      return closing;
    });

    const history = await readHistory(sql, writers.acknowledged);
    await compare(sql, history);
    const revoked = new Map([...writers.revoked].map(([user, revision]) => [user, Number.parseInt(revision, 10)]));
    return {
      seconds: took,
      history,
      writers: writers.counts,
      faults: faults.counts,
      barriers,
      dropped: sum(sidecars.map(({ link }) => link.dropped)),
      sidecars: sidecars.map(({ file }, i) => ({ ...SIDECARS[i]!, ...judge(file, history, { revoked, passed: barriers.passed }), ...closings[i]! })),
    };
  } finally {
    await Promise.all(sidecars.map(({ child }) => child.stop('SIGKILL')));
    await Promise.all(sidecars.map(({ link }) => link.close()));
    await sql.end({ timeout: 5 });
    await rm(directory, { recursive: true, force: true });
  }
}

async function startSidecar(url: string, given: Pick<Settings, 'name' | 'engine' | 'small' | 'seed' | 'file'>): Promise<Sidecar> {
  const link = await startFaultyLink(Number(new URL(url).port), stream(given.seed));
  const settings: Settings = { ...given, url: link.through(url), users: USERS, devices: DEVICES, askersDevice: ASKERS.device };
  const child = startChild(process.execPath, [PROGRAM, JSON.stringify(settings)], {
    listens: true,
    line(text, from) {
      if (from === 'stderr') return;
      const line = JSON.parse(text) as { readonly ready?: true; readonly reads?: number } | Closing;
      if ('refused' in line) sidecar.closing = line;
      else if ('reads' in line) sidecar.reads = line.reads ?? 0;
      else sidecar.ready = true;
    },
  });
  const sidecar: Sidecar = { child, engine: given.engine, login: new URL(url).username, link, file: given.file, reads: 0, ready: false, closing: null };
  void child.ended.then((how) => (sidecar.closing ??= `${how}; ${child.stderr()}`));
  return sidecar;
}

/** The judge's own idea of the world against the tables: a shadow that went astray would find faults, or overlook them. */
async function compare(sql: ReturnType<typeof openPool>, history: History): Promise<void> {
  const { last } = history;
  const members = await sql<{ id: string; owner: string; groups: string[]; enabled: boolean | null }[]>`
    select o.id, o.owner, u.enabled, (select coalesce(array_agg(m.group_id order by m.group_id), '{}') from grantgate.membership m where m.member_id = o.id) groups
    from grantgate.object o left join grantgate.user_account u on u.id = o.id where o.kind in ('user', 'entity', 'customer')`;
  const grants = await sql<{ id: string; shared: boolean }[]>`select id, shared from grantgate.group_permission`;
  const roles = await sql<{ id: string; permissions: unknown; excluded: unknown }[]>`select id, permissions, excluded from grantgate.role`;
  const lines = (rows: readonly object[]): readonly string[] => rows.map((row) => JSON.stringify(row));
  const tables = lines([...members, ...grants, ...roles.map(({ id, permissions, excluded }) => [id, permissions, excluded])]);
  const shadow = lines([
    ...[...last.users, ...last.entities, ...last.customers].map((row) => ({
      id: row.id,
      owner: row.owner,
      enabled: 'enabled' in row ? row.enabled : null,
      groups: (row.groups ?? []).toSorted(),
    })),
    ...last.grants.map(({ id, shared }) => ({ id, shared })),
    ...last.roles.map(({ id, permissions, excluded }) => [id, permissions, excluded]),
  ]);
  const without = (all: readonly string[], others: readonly string[]): string => all.filter((line) => !others.includes(line)).join('; ');
  const [missed, imagined] = [without(tables, shadow), without(shadow, tables)];
  if (missed + imagined !== '') throw new Error(`the recorded effects do not give what the tables hold: ${missed} and not ${imagined}`);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}
