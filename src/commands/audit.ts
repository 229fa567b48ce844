// `grantgate audit`: who changed what, as whom, and when? A line for each row of the audit log, with what is different since.

import { InputError } from 'policy-cache';
import type { AdminClient } from '../adminclient.ts';
import { printable } from '../printable.ts';
import { lifetimeOf } from './lifetime.ts';
import type { Context, ExitCode } from './host.ts';
import { refusable, type ServerFlags } from './server.ts';

export interface AuditFlags extends ServerFlags {
  readonly about?: string;
  readonly target?: string;
  readonly actor?: string;
  readonly as?: string;
  readonly acting?: boolean;
  readonly action?: string;
  readonly revision?: string;
  readonly from?: string;
  readonly to?: string;
  readonly limit: string;
  readonly follow?: boolean;
  readonly tenant?: string;
}

type Asking = Pick<AdminClient, 'items'>;
/** As `GET /v1/audit` tells it, as far as a line does. */
type Row = Readonly<Record<'id' | 'at' | 'tenant' | 'actorKind' | 'actor' | 'asUser' | 'action' | 'target', string>> & {
  readonly before: unknown;
  readonly after: unknown;
};

const PAGE = 1000;
const LOOK_MS = 2_000;
/** Rows are numbered before they are to be seen: one may turn up behind a newer one. */
const OVERLAP_MS = 30_000;

export async function auditCommand(context: Context, flags: AuditFlags): Promise<ExitCode> {
  const { host } = context;
  const query = queryOf(flags, host.wall());
  const limit = countOf(flags.limit);
  if (flags.tenant !== undefined && flags.direct !== true)
    throw new InputError('--tenant', 'is for --direct: over the api listener it is the tenant of whoever asks');
  if (flags.follow === true && flags.to !== undefined) throw new InputError('--to', 'and --follow exclude each other: what comes is later');
  const write = (row: Row): void =>
    void host.stdout.write(context.json ? `${JSON.stringify(row)}\n` : `${lineOf(row, flags.direct === true && flags.tenant === undefined)}\n`);
  return refusable(context, flags, async (client) => {
    const asking = flags.tenant === undefined ? client : (client.everywhere?.inTenant(flags.tenant) ?? client);
    if (flags.follow === true) return follow(context, { asking, query, limit, write });
    if (!context.json) for await (const row of newest(asking, query, limit)) write(row);
    else host.stdout.write(`${JSON.stringify(await gathered(newest(asking, query, limit)))}\n`);
    return 0;
  });
}

/** In the API's words. */
function queryOf({ about, target, actor, as, acting, action, revision, from, to }: AuditFlags, now: number): Readonly<Record<string, string>> {
  const given = {
    ...{ about, target, actor, asUser: as, acting: acting === true ? 'true' : undefined, action, revision },
    ...{ from: from === undefined ? undefined : timeOf(from, '--from', now), to: to === undefined ? undefined : timeOf(to, '--to', now) },
  };
  return Object.fromEntries(Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));
}

function timeOf(text: string, option: string, now: number): string {
  if (/^\d{1,9}[smhd]$/.test(text)) {
    const at = new Date(now - 1000 * lifetimeOf(text));
    if (!Number.isNaN(at.getTime()) && at.getUTCFullYear() >= 1) return at.toISOString();
  }
  const whole = /^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text;
  if (/^\d{4}-\d\d-\d\dT/.test(whole) && !Number.isNaN(Date.parse(whole))) return whole;
  throw new InputError(option, `must be a time as 2026-01-31T12:00:00Z, a day as 2026-01-31, or so long ago as 15m, 2h or 7d, got ${JSON.stringify(text)}`);
}

function countOf(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InputError('--limit', `must be a whole number from 1 on, got ${JSON.stringify(text)}`);
}

async function* newest(asking: Asking, query: Readonly<Record<string, string>>, limit = Infinity): AsyncGenerator<Row> {
  let left = limit;
  const path = `/v1/audit?${new URLSearchParams(query).toString()}`;
  for await (const row of asking.items(path, Math.min(limit, PAGE))) {
    yield row as Row;
    if (--left === 0) return;
  }
}

async function gathered(rows: AsyncIterable<Row>): Promise<readonly Row[]> {
  const all: Row[] = [];
  for await (const row of rows) all.push(row);
  return all;
}

interface Following {
  readonly asking: Asking;
  readonly query: Readonly<Record<string, string>>;
  readonly limit: number;
  readonly write: (row: Row) => void;
}

async function follow({ host }: Context, { asking, query, limit, write }: Following): Promise<ExitCode> {
  const ended = new AbortController();
  const forget = host.onSignal(() => ended.abort());
  try {
    const first = await gathered(newest(asking, query, limit));
    for (const row of first.toReversed()) write(row);
    let from = first[0]?.at ?? query['from'] ?? new Date(host.wall()).toISOString();
    // What is as old as these and not among them was left out by the limit.
    const older = first.length < limit ? undefined : first.at(-1);
    let seen = new Set(first.map(({ id }) => id));
    while (!ended.signal.aborted) {
      const rows = await gathered(newest(asking, { ...query, from: earlier(from, query['from']) }));
      for (const row of rows.toReversed()) if (!seen.has(row.id) && (older === undefined || BigInt(row.id) > BigInt(older.id))) write(row);
      seen = new Set(rows.map(({ id }) => id));
      from = rows[0]?.at ?? from;
      await pause(LOOK_MS, ended.signal);
    }
    return 0;
  } finally {
    forget();
  }
}

function earlier(at: string, least: string | undefined): string {
  const time = new Date(Date.parse(at) - OVERLAP_MS);
  return least !== undefined && Date.parse(least) > time.getTime() ? least : time.toISOString();
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
  });
}

/** When, who, what, to what, and what is different since. */
function lineOf({ at, tenant, actorKind, actor, asUser, action, target, before, after }: Row, withTenant: boolean): string {
  const who = actorKind === 'operator' ? 'operator' : actor === asUser ? actor : `${actor} as ${asUser}`;
  const difference = differenceOf(before, after);
  return printable(
    [at.replace(/\.\d+/, ''), who, `${action} ${target}`, ...(withTenant ? [`of ${tenant}`] : []), ...(difference === '' ? [] : [difference])].join('  '),
  );
}

type Fields = Readonly<Record<string, unknown>>;

function differenceOf(before: unknown, after: unknown): string {
  const [was, is] = [fieldsOf(before), fieldsOf(after)];
  if (was === null && is === null) return '';
  if (was === null) return fieldWords(is ?? {});
  if (is === null) return `was ${fieldWords(was)}`;
  // A state at an owner that is not the reader's is the id alone.
  if (isHidden(was, is)) return `came: ${fieldWords(is)}`;
  if (isHidden(is, was)) return `went: ${fieldWords(was)}`;
  return [...new Set([...Object.keys(was), ...Object.keys(is)])]
    .filter((name) => JSON.stringify(was[name]) !== JSON.stringify(is[name]))
    .map((name) => `${name}: ${changeWords(was[name], is[name])}`)
    .join('; ');
}

function fieldsOf(state: unknown): Fields | null {
  return typeof state === 'object' && state !== null ? (state as Fields) : null;
}

function isHidden(one: Fields, other: Fields): boolean {
  return !('owner' in one) && 'owner' in other;
}

/** The id stands before it. */
function fieldWords(fields: Fields): string {
  return cut(
    Object.entries(fields)
      .filter(([name, value]) => name !== 'id' && !(Array.isArray(value) && value.length === 0))
      .map(([name, value]) => `${name}=${isList(value) ? value.join(',') : short(value)}`)
      .join(' '),
  );
}

function changeWords(was: unknown, is: unknown): string {
  const [old, now] = [was ?? [], is ?? []];
  if (!isList(old) || !isList(now)) return `${short(was)} → ${short(is)}`;
  const came = now.filter((id) => !old.includes(id)).map((id) => `+${id}`);
  const went = old.filter((id) => !now.includes(id)).map((id) => `-${id}`);
  return cut([...came, ...went].join(' '));
}

function isList(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}

function short(value: unknown): string {
  if (value === undefined) return 'nothing';
  return typeof value === 'string' && /^[\w.:@-]+$/.test(value) ? value : cut(JSON.stringify(value));
}

function cut(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
