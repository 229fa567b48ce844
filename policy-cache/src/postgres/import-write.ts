// How do staged rows become stored ones, at once or in batches that every sidecar can follow?
//
// One order for both: what owns before what is owned, groups and roles before whoever is in them or is given them. A batch is one
// transaction of at most so many changed keys, and the next one waits until no sidecar is behind (coherence 3.4: a backlog of more
// than one pull carries makes a sidecar begin anew).

import { parseRevision, type Revision } from '../model.ts';
import type { Session } from './import-session.ts';
import { parseBarrier } from './rows.ts';

export type ImportMode = 'create' | 'upsert';

export interface Written {
  readonly created: number;
  /** Those that were there and are different now. */
  readonly updated: number;
  readonly batches: number;
  readonly revision: string;
}

export interface WriteOptions {
  readonly mode: ImportMode;
  /** Keys of the change log in one transaction at most; null: one transaction, which the caller has begun and ends. */
  readonly batch: number | null;
  /** Null: nothing is said of it in the audit log. */
  readonly audit: { readonly requestId: string } | null;
  /** After each batch. */
  readonly wrote?: (rows: number, revision: string) => void;
  /** Before each batch. @throws to end here */
  readonly proceed?: () => void;
}

/**
 * What each row changes at the most, in keys of the log (coherence 3.6): its own, that of the tree, those of its memberships and of the
 * user groups of a grant before and after. A batch is cut where the sum of them passes the bound.
 */
const WEIGHTS: Readonly<Record<ImportMode, string>> = {
  create: `case s.kind when 'tenant' then 2 when 'customer' then 2 when 'grant' then 2 when 'user' then 2 when 'entity' then 1 + (s.groups <> '{}')::int else 1 end`,
  upsert: `case s.kind when 'tenant' then 2 when 'customer' then 2 when 'grant' then 5 when 'user' then 4 when 'entity' then 3 else 2 end`,
};
const HEAVIEST = 5;

const PLAN = (mode: ImportMode, batch: number): string => `
  create temp table unit as
    select x.n, x.members, ((sum(x.weight) over (order by x.rank, x.depth, x.id, x.members) - 1) / ${batch})::int batch from (
      select s.n, false members, s.id, coalesce(${WEIGHTS[mode]}, 1) weight,
        case s.kind when 'tenant' then 0 when 'customer' then 1 when 'group' then 2 when 'role' then 3 when 'user' then 5 when 'entity' then 6 else 7 end rank,
        case s.kind when 'customer' then d.depth else 0 end depth
      from pg_temp.staged s left join pg_temp.node d on s.kind = 'customer' and d.id = s.id
      union all
      -- a customer is a member of groups that come after it
      select s.n, true, s.id, 2, 4, 0 from pg_temp.staged s where s.kind = 'customer' and s.groups is not null) x;
  create temp table planned as
    select s.*, coalesce(d.tenant, s.id) tenant, o.id is not null stored, u.batch
    from pg_temp.unit u join pg_temp.staged s using (n) left join pg_temp.node d on d.id = s.owner left join grantgate.object o on o.id = s.id
    where not u.members order by u.batch, s.id;
  create temp table planned_member as
    select u.batch, p.tenant, p.id, p.type, p.owner, m.group_id
    from pg_temp.unit u join pg_temp.planned p using (n) join pg_temp.staged_member m using (n)
    where u.members = (p.kind = 'customer') order by u.batch, p.id;
  create temp table planned_leaver as
    select u.batch, p.id, p.groups from pg_temp.unit u join pg_temp.planned p using (n)
    where p.stored and p.groups is not null and u.members = (p.kind = 'customer');
  create index on pg_temp.planned (batch);
  create index on pg_temp.planned_member (batch);
  create index on pg_temp.planned_leaver (batch);
  analyze pg_temp.planned; analyze pg_temp.planned_member; analyze pg_temp.planned_leaver`;

/** New rows as one batch: read where they were staged, for a copy of a million costs seconds. */
const PLAN_NEW = `
  create temp view planned as
    select s.*, coalesce(d.tenant, s.id) tenant, false stored, 0 batch from pg_temp.staged s left join pg_temp.node d on d.id = s.owner;
  create temp view planned_member as
    select 0 batch, d.tenant, s.id, m.type, m.owner, m.group_id from pg_temp.staged_member m join pg_temp.staged s using (n) join pg_temp.node d on d.id = m.owner`;

const TO = (batch: number): string => `p.batch = ${batch}`;

const INSERT = (batch: number): readonly string[] => [
  `insert into grantgate.object (id, tenant, kind, type, owner, label)
     select p.id, p.tenant, p.kind, p.type, p.owner, p.label from pg_temp.planned p where ${TO(batch)} and not p.stored order by p.id`,
  `insert into grantgate.customer (id, tenant, details)
     select p.id, p.tenant, coalesce(p.details, '{}') from pg_temp.planned p where ${TO(batch)} and not p.stored and p.kind = 'customer' order by p.id`,
  `insert into grantgate.user_account (id, tenant, enabled, email, first_name, last_name, last_login)
     select p.id, p.tenant, coalesce(p.enabled, true), p.email, p.first_name, p.last_name, p.last_login
     from pg_temp.planned p where ${TO(batch)} and not p.stored and p.kind = 'user' order by p.id`,
  `insert into grantgate.role (id, tenant, type, permissions, excluded)
     select p.id, p.tenant, p.role_type, p.permissions, coalesce(p.excluded, '{}')
     from pg_temp.planned p where ${TO(batch)} and not p.stored and p.kind = 'role' order by p.id`,
];

/** Each notes whom it changed. A customer's parent, and whatever moves with it, is looked at when the statement ends. */
const UPDATE = (batch: number): readonly string[] => {
  const noted = (statement: string): string => `with x as (${statement} returning p.id) insert into pg_temp.changed select id from x on conflict do nothing`;
  const there = `${TO(batch)} and p.stored`;
  return [
    noted(`update grantgate.object o set owner = case when p.kind = 'grant' then o.owner else p.owner end, label = coalesce(p.label, o.label)
      from pg_temp.planned p where ${there} and o.id = p.id
        and ((p.kind <> 'grant' and o.owner is distinct from p.owner) or o.label is distinct from coalesce(p.label, o.label))`),
    noted(`update grantgate.customer c set details = p.details
      from pg_temp.planned p where ${there} and p.kind = 'customer' and c.id = p.id and c.details <> p.details`),
    noted(`update grantgate.user_account u set enabled = coalesce(p.enabled, u.enabled), email = coalesce(p.email, u.email),
        first_name = coalesce(p.first_name, u.first_name), last_name = coalesce(p.last_name, u.last_name), last_login = coalesce(p.last_login, u.last_login)
      from pg_temp.planned p where ${there} and p.kind = 'user' and u.id = p.id
        and (u.enabled, u.email, u.first_name, u.last_name, u.last_login) is distinct from
          (coalesce(p.enabled, u.enabled), coalesce(p.email, u.email), coalesce(p.first_name, u.first_name), coalesce(p.last_name, u.last_name), coalesce(p.last_login, u.last_login))`),
    noted(`update grantgate.role r set permissions = p.permissions, excluded = coalesce(p.excluded, r.excluded)
      from pg_temp.planned p where ${there} and p.kind = 'role' and r.id = p.id and (r.permissions, r.excluded) <> (p.permissions, coalesce(p.excluded, r.excluded))`),
    noted(`delete from grantgate.membership m using pg_temp.planned_leaver p where ${TO(batch)} and m.member_id = p.id and m.group_id <> all (p.groups)`),
  ];
};

const MEMBERS = (batch: number, mode: ImportMode): string => {
  const insert = `insert into grantgate.membership as m (tenant, group_id, member_id, type, owner)
    select distinct p.tenant, p.group_id, p.id, p.type, p.owner from pg_temp.planned_member p where ${TO(batch)} order by p.id, p.group_id`;
  if (mode === 'create') return insert;
  return `with x as (${insert} on conflict (group_id, member_id) do nothing returning m.member_id)
    insert into pg_temp.changed select x.member_id from x join pg_temp.planned p on p.id = x.member_id where p.stored on conflict do nothing`;
};

const SIDES = `case when not starts_with(p.user_group, 'all:') then p.user_group end user_group,
  case when not starts_with(p.entity_group, 'all:') then p.entity_group end entity_group`;

/**
 * A grant that is to have what another one has, which is to have something else: that one goes, and comes again in its place, for no two have
 * the same three at any time.
 */
const DISPLACE = (batch: number): readonly string[] => [
  `with wanted as (
     select p.id, p.owner, p.role, p.entity_owner, p.entity_type, ${SIDES} from pg_temp.planned p where ${TO(batch)} and p.kind = 'grant')
   insert into pg_temp.displaced
     select g.id, o.label, g.shared
     from wanted p join grantgate.group_permission g on g.role = p.role and g.id <> p.id and
         (g.user_owner, g.user_group, g.entity_owner, g.entity_type, g.entity_group) is not distinct from
         (p.owner, p.user_group, p.entity_owner, p.entity_type, p.entity_group)
       join grantgate.object o on o.id = g.id`,
  'delete from grantgate.object o using pg_temp.displaced d where o.id = d.id and not d.back',
  `insert into grantgate.object (id, tenant, kind, type, owner, label)
     select p.id, p.tenant, p.kind, p.type, p.owner, coalesce(p.label, d.label)
     from pg_temp.planned p join pg_temp.displaced d on d.id = p.id where ${TO(batch)} order by p.id`,
  `with x as (update pg_temp.displaced d set back = true from pg_temp.planned p where ${TO(batch)} and p.id = d.id returning d.id)
     insert into pg_temp.changed select id from x on conflict do nothing`,
];

const GRANTS = (batch: number, mode: ImportMode): readonly string[] => [
  ...(mode === 'create' ? [] : DISPLACE(batch)),
  `insert into grantgate.group_permission (id, tenant, user_owner, user_group, role, role_type, entity_owner, entity_type, entity_group, shared)
     select x.id, x.tenant, x.owner, x.user_group, x.role, r.role_type, x.entity_owner, x.entity_type, x.entity_group, coalesce(x.shared, (select d.shared from pg_temp.displaced d where d.id = x.id), false)
     from (select p.id, p.tenant, p.owner, p.role, p.entity_owner, p.entity_type, p.shared, ${SIDES} from pg_temp.planned p
       where ${TO(batch)} and p.kind = 'grant' and (not p.stored or exists (select from pg_temp.displaced d where d.id = p.id))) x join pg_temp.named r on r.id = x.role order by x.id`,
  ...(mode === 'create'
    ? []
    : [
        `with x as (
          update grantgate.group_permission g set user_owner = p.owner, user_group = p.user_group, role = p.role, role_type = r.role_type,
              entity_owner = p.entity_owner, entity_type = p.entity_type, entity_group = p.entity_group, shared = coalesce(p.shared, g.shared)
            from (select p.id, p.owner, p.role, p.entity_owner, p.entity_type, p.shared, ${SIDES} from pg_temp.planned p
              where ${TO(batch)} and p.stored and p.kind = 'grant') p join pg_temp.named r on r.id = p.role
            where g.id = p.id and (g.user_owner, g.user_group, g.role, g.entity_owner, g.entity_type, g.entity_group, g.shared) is distinct from
              (p.owner, p.user_group, p.role, p.entity_owner, p.entity_type, p.entity_group, coalesce(p.shared, g.shared))
            returning p.id)
          insert into pg_temp.changed select id from x on conflict do nothing`,
      ]),
];

// What is deferred otherwise: the check for second rows first, so that the latch of the log is held for less.
const SEAL = 'set constraints grantgate.second_row immediate; set constraints all immediate';
const REVISION = 'select grantgate.revision() revision';

/** It seals as `SEAL` does, and answers with the revision. */
const AUDIT = (batch: number): string => `select grantgate.write_audit((
  select coalesce(jsonb_agg(jsonb_build_object('tenant', x.tenant, 'owner', x.tenant, 'actor_kind', 'operator', 'actor', '', 'as_user', '',
    'action', 'import', 'target', x.tenant, 'after', jsonb_build_object('mode', a.mode, 'rows', x.rows), 'request_id', a.request_id)), '[]')
  from pg_temp.audited a, (
    select k.tenant, jsonb_object_agg(k.kind, k.count) rows
    from (select p.tenant, p.kind, count(*) count from pg_temp.planned p where ${TO(batch)} group by p.tenant, p.kind) k group by k.tenant) x)) revision`;

/** Writes what is staged and checked. In batches each is committed; else all of it is in the caller's transaction. */
export async function write(session: Session, options: WriteOptions): Promise<Written> {
  const { mode, batch, audit } = options;
  const whole = batch === null;
  await session.run(whole && mode === 'create' ? PLAN_NEW : PLAN(mode, whole ? Number.MAX_SAFE_INTEGER : batch - HEAVIEST));
  await session.run(`
    create temp table changed (id text collate "C" primary key);
    create temp table displaced (id text collate "C" primary key, label text, shared boolean, back boolean not null default false)`);
  if (audit !== null) {
    await session.run('create temp table audited (request_id text, mode text)');
    await session.rows('insert into pg_temp.audited values ($1, $2)', [audit.requestId, mode]);
  }
  const sizes = await session.rows<{ batch: number; rows: number; created: number }>(
    'select batch, count(*)::int as rows, (count(*) filter (where not stored))::int as created from pg_temp.planned group by batch order by batch',
  );
  const last = await lastBatch(session, whole);
  const rowsOf = new Map(sizes.map((size) => [size.batch, size.rows]));
  let revision = '';
  for (let at = 0; at <= last; at++) {
    options.proceed?.();
    const statements = [
      ...INSERT(at),
      ...(mode === 'upsert' ? UPDATE(at) : []),
      MEMBERS(at, mode),
      ...GRANTS(at, mode),
      SEAL,
      audit === null ? REVISION : AUDIT(at),
    ];
    // Sent together they are one round trip.
    revision = revisionOf(await session.run([...(whole ? [] : ['begin']), ...statements, ...(whole ? [] : ['commit'])].join(';\n')));
    options.wrote?.(rowsOf.get(at) ?? 0, revision);
    if (!whole && at < last) await followed(session, parseRevision(revision));
  }
  const [changed] = await session.rows<{ updated: number }>('select count(*)::int as updated from pg_temp.changed');
  return { created: sizes.reduce((sum, size) => sum + size.created, 0), updated: changed?.updated ?? 0, batches: last + 1, revision };
}

/** The memberships of the last customers may come after the last row. */
async function lastBatch(session: Session, whole: boolean): Promise<number> {
  if (whole) return 0;
  const [found] = await session.rows<{ last: number }>('select coalesce(max(batch), 0) as last from pg_temp.unit');
  return found?.last ?? 0;
}

/** Of the statements sent together, the one that answered with it. */
function revisionOf(rows: readonly unknown[]): string {
  for (const result of rows) {
    const { revision } = result as { revision?: unknown };
    if (typeof revision === 'string') return revision;
  }
  throw new Error('the database did not say its revision');
}

/** A sidecar that does not answer is not waited for any longer than it may answer: its lease runs out meanwhile. */
const FOLLOWED_MS = 5_000;
const LOOK_MS = 5;

/** Until no sidecar with a running lease is behind. What a lost server may have forgotten (coherence 3.7) is not waited for: this is about load. */
async function followed(session: Session, revision: Revision): Promise<void> {
  const limit = performance.now() + FOLLOWED_MS;
  for (;;) {
    const [row] = await session.rows<{ r: unknown }>('select grantgate.barrier($1::bigint, $2) as r', [revision.version, revision.id]);
    const { replicas } = parseBarrier(row?.r);
    const behind = replicas.some(({ head, leaseMs }) => leaseMs > 0 && (head === null || head.version < revision.version));
    if (!behind || performance.now() > limit) return;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
