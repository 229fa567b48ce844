// How does one stress run go? Ours and the control beside each other, over the same database and under the same faults, then the judge.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openPool } from 'policy-cache/postgres';
import { startChild, type Child } from '../../support/child.ts';
import type { OwnServer } from '../../support/postgres.ts';
import { until } from '../../support/until.ts';
import { startFaults, type FaultCounts } from './faults.ts';
import { SCHEMA, readHistory, type History } from './history.ts';
import { judge, type Verdict } from './judge.ts';
import { startFaultyLink, type FaultyLink } from './link.ts';
import { stream } from './random.mjs';
import type { Closing, Orders } from './sidecar.mjs';
import { DEVICES, USERS, VIP, firstStatements, makeSlots } from './statements.ts';
import { startWriters, type WriterCounts } from './writers.ts';

const PROGRAM = fileURLToPath(new URL('sidecar.mjs', import.meta.url));
const WRITERS = 4;
/** Ours: one that keeps everything and one that keeps next to nothing. And the control. */
const CREW = [
  { name: 'ours', engine: 'ours', small: false },
  { name: 'ours, small', engine: 'ours', small: true },
  { name: 'naive', engine: 'naive', small: false },
] as const;

export interface RunOptions {
  readonly server: OwnServer;
  readonly seed: number;
  readonly seconds: number;
  /** It goes on until ours have answered so many, for four times as long at the most. */
  readonly reads: number;
}

export interface Outcome {
  readonly seconds: number;
  readonly history: History;
  readonly writers: WriterCounts;
  readonly faults: FaultCounts;
  readonly dropped: number;
  readonly sidecars: readonly (Verdict & Closing & { readonly name: string; readonly engine: Orders['engine'] })[];
}

interface Sidecar {
  readonly child: Child;
  readonly login: string;
  readonly link: FaultyLink;
  readonly file: string;
  reads: number;
  ready: boolean;
  closing: Closing | null;
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
    for (const [i, member] of CREW.entries()) {
      const url = await database.urlAs('grantgate_reader');
      sidecars.push(await startSidecar(url, { ...member, seed: seed + 17 * (i + 1), file: join(directory, `${i}.records`) }));
    }
    await until(() => sidecars.every(({ ready }) => ready), `all sidecars; they say ${sidecars.map(({ child }) => child.stderr()).join('; ')}`, 20_000);
    const tell = (line: string): void => sidecars.forEach(({ child }) => child.say(line));
    const started = performance.now();
    const elapsed = (): number => (performance.now() - started) / 1_000;
    const writers = startWriters({
      url: database.url,
      seed,
      slots,
      writers: WRITERS,
      committed: (revision) => tell(`token ${revision}`),
      firstTime: (user, revision) => tell(`first ${user} ${revision}`),
    });
    const faults = startFaults({ url: database.url, seed, victims: sidecars.map(({ child, login, link }) => ({ pid: child.pid, login, link })) });
    const enough = (): boolean => elapsed() >= seconds && sum(sidecars.slice(0, 2).map((one) => one.reads)) >= reads;
    await until(() => enough() || elapsed() > 4 * seconds || sidecars.some(({ closing }) => closing !== null), 'the end of the run', 5_000 * seconds);
    await faults.stop();
    await writers.stop();
    tell('stop');
    await until(() => sidecars.every(({ closing }) => closing !== null), `the last words of all; ${sidecars.map(({ child }) => child.stderr()).join('; ')}`);
    const took = elapsed();

    const history = await readHistory(sql, writers.acknowledged);
    await compare(sql, history);
    const revoked = new Map([...writers.revoked].map(([user, revision]) => [user, Number.parseInt(revision, 10)]));
    return {
      seconds: took,
      history,
      writers: writers.counts,
      faults: faults.counts,
      dropped: sum(sidecars.map(({ link }) => link.dropped)),
      sidecars: sidecars.map(({ file, closing }, i) => ({ ...CREW[i]!, ...judge(file, history, revoked), ...closing! })),
    };
  } finally {
    await Promise.all(sidecars.map(({ child }) => child.stop('SIGKILL')));
    await Promise.all(sidecars.map(({ link }) => link.close()));
    await sql.end({ timeout: 5 });
    await rm(directory, { recursive: true, force: true });
  }
}

async function startSidecar(url: string, given: Pick<Orders, 'engine' | 'small' | 'seed' | 'file'>): Promise<Sidecar> {
  const link = await startFaultyLink(Number(new URL(url).port), stream(given.seed));
  const orders: Orders = { ...given, url: link.through(url), users: USERS, devices: DEVICES, vip: VIP.device };
  const sidecar: Sidecar = {
    login: new URL(url).username,
    link,
    file: given.file,
    reads: 0,
    ready: false,
    closing: null,
    child: startChild(process.execPath, [PROGRAM, JSON.stringify(orders)], {
      listens: true,
      line(text, from) {
        if (from === 'stderr') return;
        const said = JSON.parse(text) as { readonly ready?: true; readonly reads?: number } | Closing;
        if ('refused' in said) sidecar.closing = said;
        else if ('reads' in said) sidecar.reads = said.reads ?? 0;
        else sidecar.ready = true;
      },
    }),
  };
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
  const text = (rows: readonly object[]): string =>
    rows
      .map((row) => JSON.stringify(row))
      .sort()
      .join('\n');
  const tables = text([...members, ...grants, ...roles.map(({ id, permissions, excluded }) => [id, permissions, excluded])]);
  const shadow = text([
    ...[...last.users, ...last.entities, ...last.customers].map((row) => ({
      id: row.id,
      owner: row.owner,
      enabled: 'enabled' in row ? row.enabled : null,
      groups: (row.groups ?? []).toSorted(),
    })),
    ...last.grants.map(({ id, shared }) => ({ id, shared })),
    ...last.roles.map(({ id, permissions, excluded }) => [id, permissions, excluded]),
  ]);
  if (tables !== shadow) throw new Error(`the recorded effects do not give what the tables hold:\n${tables}\n---\n${shadow}`);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}
