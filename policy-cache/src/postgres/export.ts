// What is in the database, all of it or what hangs below one owner, at one moment?
//
// Every list is read in one REPEATABLE READ transaction, whose first statement is the revision: any snapshot that sees a version sees
// every earlier one (coherence 3.3), so the rows are those of exactly that revision. Nothing is written, so a hot standby does as well.
//
// By cursors: COPY TO STDOUT is no faster [measured: a million entities and 200,000 users in 6 to 7 s by either], cannot be left before
// its end, and hangs with this client when its last rows fill the buffer (3.4.9: the socket stays paused for whatever comes next).

import { InputError, PolicyError } from '../errors.ts';
import { openSession, type Session } from './import-session.ts';
import type { Link } from './link.ts';
import type { Pool } from './pool.ts';
import { sqlState } from './session.ts';
import { ROW_LISTS, rowsQuery, type RowList, type RowsOptions } from './world-rows.ts';

/** Neither: everything. A customer's part is itself and whatever has an owner at or below it; a grant has the owner of its user group. */
export interface ExportScope {
  readonly tenant?: string;
  readonly customer?: string;
}

export interface ExportOptions {
  readonly scope?: ExportScope;
  /** True: each row says its list, as a line of NDJSON does. */
  readonly kind?: boolean;
  /** Told the revision before the first row comes. */
  readonly begin: (revision: string) => Promise<void>;
  /** Given whole rows of one list, a line each; meanwhile the next thousand are read, and no more. What it rejects with ends the export. */
  readonly rows: (list: RowList, lines: Uint8Array) => Promise<void>;
}

/** What the exported rows name and the export has not: it must be there where they are imported. */
export interface OutsideReference {
  readonly id: string;
  readonly as: 'owner' | 'group' | 'role' | 'entityGroup';
}

export interface ExportReport {
  readonly revision: string;
  readonly counts: Readonly<Record<RowList, number>>;
  /** The first ten, and of how many. */
  readonly outside: { readonly first: readonly OutsideReference[]; readonly count: number };
  /** Grants of user groups outside, over a group or a role inside: they belong to their user groups. */
  readonly grantsLeftOut: number;
}

/** Rows come in the order of lists and ids, so that the same database gives the same bytes. @throws InputError if there is no such owner, or the login may not read all of it */
export async function exportRows(pool: Pool, options: ExportOptions): Promise<ExportReport> {
  const link = await pool.dedicated();
  try {
    const session = await openSession(link);
    await session.run('begin isolation level repeatable read read only');
    const [head] = await session.rows<{ revision: string }>('select grantgate.revision() as revision');
    const revision = head!.revision;
    await session.rows('select email, first_name, last_name, last_login from grantgate.user_account limit 0'); // may this login? Before anything is written
    const root = await rootOf(session, options.scope ?? {});
    await options.begin(revision);
    const counts = { tenants: 0, customers: 0, groups: 0, roles: 0, users: 0, entities: 0, grants: 0 };
    for (const list of ROW_LISTS) counts[list] = await stream(link, { list, root, options });
    const around = options.scope?.customer === undefined ? NOTHING_OUTSIDE : await outsideOf(session, options.scope.customer);
    await session.rows('select 1'); // no error ended the transaction unheard: a commit would not say so
    return { revision, counts, ...around };
  } catch (error) {
    const meaning = MEANING[sqlState(error) ?? ''];
    if (meaning !== undefined) throw new InputError('database', meaning);
    throw error instanceof PolicyError ? new InputError('database', `${error.message}; the export is not whole`) : error;
  } finally {
    link.destroy();
  }
}

const MEANING: Readonly<Record<string, string>> = {
  '3F000': 'it has no schema grantgate: run grantgate migrate',
  '42P01': 'it has no schema grantgate, or not all of it: run grantgate migrate',
  '42501':
    'this login may not read everything, names and e-mail addresses of users least of all (grantgate_reader): name one that is a member of grantgate_writer, as ADMIN_DATABASE_URL',
};
/** Nothing refers across tenants. */
const NOTHING_OUTSIDE = { outside: { first: [], count: 0 }, grantsLeftOut: 0 };

/** The owner at the top of what is exported; null: everything is. */
async function rootOf(session: Session, { tenant, customer }: ExportScope): Promise<string | null> {
  if (tenant !== undefined && customer !== undefined) throw new InputError('customer', 'is of one tenant anyway: say a tenant or a customer');
  const id = tenant ?? customer;
  if (id === undefined) return null;
  const wanted = tenant === undefined ? 'customer' : 'tenant';
  const [found] = await session.rows<{ kind: string }>('select kind from grantgate.object where id = $1', [id]);
  if (found === undefined) throw new InputError(wanted, `there is nothing with the id ${JSON.stringify(id)}`);
  if (found.kind === wanted) return id;
  const fix = found.kind === 'customer' || found.kind === 'tenant' ? `: name it as ${found.kind}` : '';
  throw new InputError(wanted, `${JSON.stringify(id)} is ${found.kind === 'entity' ? 'an' : 'a'} ${found.kind}, not a ${wanted}${fix}`);
}

/** The owner `$1` and all customers below it. */
const BELOW = `with recursive below (id) as (
  select o.id from grantgate.object o where o.id = $1 union all select o.id from below join grantgate.object o on o.owner = below.id and o.kind = 'customer')`;
/** As arrays: a small part is then found by indexes [measured: 258 of 1.3 million objects in 0.1 s, and in 2.9 s by joins]. */
const INSIDE = '= any (array(select b.id from below b))';
const OUTSIDE = '<> all (array(select b.id from below b))';

const NODES: RowsOptions = { where: `o.id ${INSIDE}` };
const OWNED: RowsOptions = { where: `o.owner ${INSIDE}` };

/** Rows on their way at once. What is known of a customer may be large. */
const FETCH = { customers: 20, other: 1_000 } as const;

async function stream(link: Link, { list, root, options }: { list: RowList; root: string | null; options: ExportOptions }): Promise<number> {
  const part = root === null ? {} : list === 'tenants' || list === 'customers' ? NODES : OWNED;
  const rows = rowsQuery(list, { ...part, kind: options.kind === true });
  const query = link.sql.unsafe(`${root === null ? '' : BELOW} select json || e'\\n' from (${rows}) x order by id`, root === null ? [] : [root]).raw();
  let count = 0;
  for await (const batch of ahead<readonly (readonly Uint8Array[])[]>(link, query.cursor(list === 'customers' ? FETCH.customers : FETCH.other))) {
    count += batch.length;
    await options.rows(list, Buffer.concat(batch.flat()));
  }
  return count;
}

/** The same, with the next one on its way while one is used; rejects when the link ends. Left early, it leaves the link to be destroyed. */
async function* ahead<T>(link: Link, batches: AsyncIterable<T>): AsyncGenerator<T> {
  const iterator = batches[Symbol.asyncIterator]();
  // No race with the link's end: a promise that lives as long as the link would keep every batch that was raced with it [measured: all of 225 MB].
  let abandon: (cause: unknown) => void = () => undefined;
  link.ended.catch((cause: unknown) => abandon(cause));
  const ask = (): Promise<IteratorResult<T>> =>
    new Promise((resolve, reject) => {
      abandon = reject;
      // Not what an iterator owes: of a cursor that has ended meanwhile the client answers with a result that is no promise.
      Promise.resolve(link.alive ? iterator.next() : link.ended).then(resolve, reject);
    });
  let next = ask();
  for (let got = await next; got.done !== true; got = await next) {
    next = ask();
    next.catch(() => undefined); // told when it is waited for
    yield got.value;
  }
}

async function outsideOf(session: Session, root: string): Promise<Pick<ExportReport, 'outside' | 'grantsLeftOut'>> {
  const grants = `select p.* from grantgate.group_permission p where p.user_owner ${INSIDE}`;
  const found = await session.rows<OutsideReference & { count: number }>(
    `${BELOW}, given as (${grants})
    select x.id, x."as", (count(*) over ())::int count from (
      select o.owner id, 'owner' "as", 1 rank from grantgate.object o where o.id = $1 and o.owner is not null
      union select m.group_id, 'group', 2 from grantgate.membership m where m.member_id = $1
      union select r.id, 'role', 3 from given join grantgate.object r on r.id = given.role where r.owner ${OUTSIDE}
      union select coalesce(given.entity_group, 'all:' || given.entity_type || ':' || given.entity_owner), 'entityGroup', 4
        from given where given.entity_owner ${OUTSIDE}) x
    order by x.rank, x.id limit 10`,
    [root],
  );
  const [left] = await session.rows<{ count: number }>(
    `${BELOW} select count(*)::int count from grantgate.group_permission p
      where p.user_owner ${OUTSIDE}
        and (p.entity_owner ${INSIDE} or p.role in (select r.id from grantgate.object r where r.owner ${INSIDE} and r.kind = 'role'))`,
    [root],
  );
  return { outside: { first: found.map(({ id, as }) => ({ id, as })), count: found[0]?.count ?? 0 }, grantsLeftOut: left!.count };
}
