// What is wrong with the staged rows? Each question is one set query over all of them.
//
// `named` is everything that a row may refer to, from the files and, where they do not have it, from the database with all that
// is above it; `node` is the owner tree of the two, from the tenants down, so a customer that is not in it hangs on nothing.

import type { TransactionSql } from 'postgres';
import type { ImportProblem } from './import-rows.ts';

/** A problem of a kind that stands a thousand times is told a thousand times, not a million. */
const MOST = 1_000;

const PREPARE = `
create temp table named (
  id text collate "C" primary key, kind text collate "C", type text collate "C", owner text collate "C", role_type text collate "C",
  n int  -- null: in the database
) on commit drop;
insert into pg_temp.named
  select distinct on (s.id) s.id, s.kind, s.type, s.owner, s.role_type, s.n from pg_temp.staged s
  where s.kind in ('tenant', 'customer', 'group', 'role') order by s.id, s.f, s.line, s.n;
with recursive
  wanted (id) as (
    select owner from pg_temp.staged union select user_group from pg_temp.staged union select role from pg_temp.staged
    union select entity_group from pg_temp.staged union select user_owner from pg_temp.staged union select entity_owner from pg_temp.staged
    union select group_id from pg_temp.staged_member),
  up as (
    select o.id, o.kind, o.type, o.owner from wanted w join grantgate.object o on o.id = w.id
    union
    select o.id, o.kind, o.type, o.owner from up join grantgate.object o on o.id = up.owner)
insert into pg_temp.named
  select up.id, up.kind, up.type, up.owner, r.type, null from up left join grantgate.role r on r.id = up.id
  on conflict (id) do nothing;
create index on pg_temp.named (owner);

create temp table node on commit drop as
  with recursive node (id, tenant, depth) as (
    select k.id, k.id, 0 from pg_temp.named k where k.kind = 'tenant'
    union all
    select k.id, d.tenant, d.depth + 1 from node d join pg_temp.named k on k.owner = d.id where k.kind = 'customer' and d.depth < 1001)
  select * from node;
alter table pg_temp.node add primary key (id);
analyze pg_temp.named;
analyze pg_temp.node;

update pg_temp.staged s set user_owner = g.owner from pg_temp.named g
  where s.kind = 'grant' and s.user_owner is null and g.id = s.user_group and g.kind = 'group';
update pg_temp.staged s set entity_owner = g.owner, entity_type = g.type from pg_temp.named g
  where s.kind = 'grant' and s.entity_owner is null and g.id = s.entity_group and g.kind = 'group';
update pg_temp.staged s set owner = s.user_owner where s.kind = 'grant'`;

/** What a query answers: the row, the field, and up to four words for the sentence. `why` chooses among several sentences. */
interface Found {
  readonly file: string;
  readonly line: number | null;
  readonly path: string;
  readonly field: string;
  readonly why: string;
  readonly a: string;
  readonly b: string | null;
  readonly c: string | null;
  readonly d: string | null;
  readonly total: number;
}
interface Check {
  /** Columns n, field, why, a, b, c, d. */
  readonly query: string;
  readonly sentences: Readonly<Record<string, (found: Found) => readonly [message: string, fix: string]>>;
}

const q = (text: string | null): string => JSON.stringify(text);
const a = (kind: string | null): string => (kind === 'entity' ? 'an entity' : `a ${kind}`);

const IDS: Check = {
  query: `
    select x.n, 'id' field, 'twice' why, x.id a, f.file || coalesce(':' || f.line, '') b, null c, null d
      from (select n, id, first_value(n) over (partition by id order by f, line, n) first from pg_temp.staged) x join pg_temp.staged f on f.n = x.first where x.n <> x.first
    union all
    select s.n, 'id', 'stored', s.id, o.kind, null, null from pg_temp.staged s join grantgate.object o on o.id = s.id
    union all
    select s.n, 'id', 'reserved', s.id, null, null, null from pg_temp.staged s
      where s.id = '*' or starts_with(s.id, 'all:')
        or (s.id ~ '^(admins|users):' and not (s.kind = 'group' and s.type = 'USER' and s.id in ('admins:' || s.owner, 'users:' || s.owner)))
        or (starts_with(s.id, 'role:') and not (s.kind = 'role' and s.id in ('role:admin:' || s.owner, 'role:user:' || s.owner)))
    union all
    select s.n, 'id', 'bytes', s.id, octet_length(s.id)::text, case when s.kind in ('tenant', 'customer') then '200' else '255' end, null from pg_temp.staged s
      where octet_length(s.id) not between 1 and case when s.kind in ('tenant', 'customer') then 200 else 255 end
    union all
    select s.n, 'id', 'control', s.id, null, null, null from pg_temp.staged s where s.id ~ '[\\u0001-\\u001f\\u007f-\\u009f]'`,
  sentences: {
    twice: ({ a: id, b: place }) => [`${q(id)} is used at ${place} already`, 'an id names one thing: give one of the two another'],
    stored: ({ a: id, b: kind }) => [`${q(id)} is in the database already, as ${a(kind)}`, 'import only adds: leave it out here, or delete it there first'],
    reserved: ({ a: id }) => [`${q(id)} is reserved to the server`, 'choose another id'],
    bytes: ({ a: id, b: bytes, c: most }) => [`${q(id)} has ${bytes} bytes; 1 to ${most} are possible here`, 'choose another id'],
    control: ({ a: id }) => [`${q(id)} has control characters`, 'take them out'],
  },
};

const OWNERS: Check = {
  query: `
    select s.n, 'owner' field, case when coalesce(k.kind, x.kind) is null then 'none' else 'kind' end why, s.owner a, coalesce(k.kind, x.kind) b, null c, null d
      from pg_temp.staged s left join pg_temp.named k on k.id = s.owner
        left join lateral (select kind from pg_temp.staged where id = s.owner limit 1) x on k.id is null
      where s.kind not in ('tenant', 'grant') and (k.id is null or k.kind not in ('tenant', 'customer'))
    union all
    select k.n, 'owner', 'deep', d.id, null, null, null from pg_temp.node d join pg_temp.named k using (id) where d.depth > 1000 and k.n is not null`,
  sentences: {
    none: ({ a: id }) => [`there is no tenant or customer ${q(id)}`, 'add it to tenants or customers, or name one that exists'],
    kind: ({ a: id, b: kind }) => [`${q(id)} is ${a(kind)}, and only a tenant or a customer owns things`, 'name a tenant or a customer'],
    deep: ({ a: id }) => [`${q(id)} would hang 1,001 customers deep`, 'at most 1,000 are possible: hang it higher'],
  },
};

const MEMBERS: Check = {
  query: `
    select * from (
      select s.n, 'groups[' || m.i || ']' field,
        case when coalesce(g.kind, x.kind) is null then 'none' when coalesce(g.kind, x.kind) <> 'group' then 'kind' when g.type <> s.type then 'type'
          when gd.tenant <> sd.tenant then 'tenant' when g.owner <> s.owner then 'owner' end why,
        m.group_id a,
        case when coalesce(g.kind, x.kind) <> 'group' then coalesce(g.kind, x.kind) when g.type <> s.type then g.type
          when gd.tenant <> sd.tenant then gd.tenant else g.owner end b,
        case when g.type <> s.type then s.type when gd.tenant <> sd.tenant then sd.tenant else s.owner end c, null d
      from pg_temp.staged_member m join pg_temp.staged s using (n) left join pg_temp.named g on g.id = m.group_id
        left join lateral (select kind from pg_temp.staged where id = m.group_id limit 1) x on g.id is null
        left join pg_temp.node gd on gd.id = g.owner left join pg_temp.node sd on sd.id = s.owner) y
    where why is not null`,
  sentences: {
    none: ({ a: id }) => [`there is no group ${q(id)}`, 'add it to groups, or name one that exists'],
    kind: ({ a: id, b: kind }) => [`${q(id)} is ${a(kind)}, not a group`, 'name a group'],
    type: ({ a: id, b: holds, c: type }) => [`group ${q(id)} holds ${holds}, and this is of type ${type}`, `name a group of type ${type}`],
    tenant: ({ a: id, b: theirs, c: ours }) => [
      `group ${q(id)} belongs to tenant ${q(theirs)}, and this to tenant ${q(ours)}`,
      'nothing refers across tenants: name a group of its own tenant',
    ],
    owner: ({ a: id, b: theirs, c: ours }) => [
      `group ${q(id)} belongs to ${q(theirs)}, and this to ${q(ours)}`,
      `a group holds what its own owner owns: name a group of ${q(ours)}`,
    ],
  },
};

const GRANTS: Check = {
  query: `
    select * from (
      select s.n, 'userGroup' field,
        case when starts_with(s.user_group, 'all:') and not starts_with(s.user_group, 'all:USER:') then 'type'
          when starts_with(s.user_group, 'all:') then case when d.id is null then 'none' end
          when coalesce(g.kind, x.kind) is null then 'none' when coalesce(g.kind, x.kind) <> 'group' then 'kind' when g.type <> 'USER' then 'type' end why,
        s.user_group a, coalesce(g.kind, x.kind) b, null c, null d
      from pg_temp.staged s left join pg_temp.named g on g.id = s.user_group left join pg_temp.node d on d.id = s.user_owner
        left join lateral (select kind from pg_temp.staged where id = s.user_group limit 1) x on g.id is null
      where s.kind = 'grant'
      union all
      select s.n, 'role',
        case when coalesce(r.kind, x.kind) is null then 'no role' when coalesce(r.kind, x.kind) <> 'role' then 'not a role' when rd.tenant <> d.tenant then 'tenant' end,
        s.role, case when coalesce(r.kind, x.kind) <> 'role' then coalesce(r.kind, x.kind) else rd.tenant end, d.tenant, null
      from pg_temp.staged s left join pg_temp.named r on r.id = s.role
        left join lateral (select kind from pg_temp.staged where id = s.role limit 1) x on r.id is null
        left join pg_temp.node rd on rd.id = r.owner left join pg_temp.node d on d.id = s.user_owner
      where s.kind = 'grant'
      union all
      select s.n, 'entityGroup',
        case when r.role_type = 'GENERIC' and s.entity_group is not null then 'generic'
          when r.role_type = 'GROUP' and s.entity_group is null then 'missing'
          when s.entity_group is null then null
          when starts_with(s.entity_group, 'all:') then
            case when d.id is null or not exists (select from pg_temp.groupable p where p.type = s.entity_type) then 'none' when d.tenant <> ud.tenant then 'tenant' end
          when coalesce(g.kind, x.kind) is null then 'none' when coalesce(g.kind, x.kind) <> 'group' then 'kind' when d.tenant <> ud.tenant then 'tenant' end,
        s.entity_group, case when coalesce(g.kind, x.kind) <> 'group' then coalesce(g.kind, x.kind) else d.tenant end, ud.tenant, s.role
      from pg_temp.staged s left join pg_temp.named r on r.id = s.role and r.kind = 'role' left join pg_temp.named g on g.id = s.entity_group
        left join lateral (select kind from pg_temp.staged where id = s.entity_group limit 1) x on g.id is null
        left join pg_temp.node d on d.id = s.entity_owner left join pg_temp.node ud on ud.id = s.user_owner
      where s.kind = 'grant'
      union all
      select x.n, '', 'same', x.role, x.user_group, f.file || coalesce(':' || f.line, ''), null
      from (select n, role, user_group, first_value(n) over (partition by user_group, role, entity_group order by f, line, n) first from pg_temp.staged where kind = 'grant') x
        join pg_temp.staged f on f.n = x.first
      where x.n <> x.first
      union all
      select s.n, '', 'same', s.role, s.user_group, 'the database (' || p.id || ')', null
      from pg_temp.staged s join grantgate.group_permission p on p.role = s.role and p.user_owner = s.user_owner
        and p.user_group is not distinct from case when not starts_with(s.user_group, 'all:') then s.user_group end
        and p.entity_group is not distinct from case when not starts_with(s.entity_group, 'all:') then s.entity_group end
        and p.entity_owner is not distinct from s.entity_owner and p.entity_type is not distinct from s.entity_type
      where s.kind = 'grant') y
    where why is not null`,
  sentences: {
    none: ({ a: id }) => [`there is no group ${q(id)}`, 'add it to groups, or name one that exists'],
    kind: ({ a: id, b: kind }) => [`${q(id)} is ${a(kind)}, not a group`, 'name a group'],
    type: ({ a: id }) => [`${q(id)} is not a group of users`, 'a role is given to a group of type USER'],
    'no role': ({ a: id }) => [`there is no role ${q(id)}`, 'add it to roles, or name one that exists'],
    'not a role': ({ a: id, b: kind }) => [`${q(id)} is ${a(kind)}, not a role`, 'name a role'],
    tenant: ({ a: id, b: theirs, c: ours }) => [
      `${q(id)} belongs to tenant ${q(theirs)}, and the user group to tenant ${q(ours)}`,
      'nothing refers across tenants: name one of its own tenant',
    ],
    generic: ({ d: role }) => [`role ${q(role)} is GENERIC and takes no entity group`, 'leave it out'],
    missing: ({ d: role }) => [`is missing: role ${q(role)} is a GROUP role`, 'name the entity group that the role is for'],
    same: ({ a: role, b: group, c: place }) => [
      `role ${q(role)} is given to ${q(group)} for the same entities in ${place} already`,
      'leave one of the two out',
    ],
  },
};

const PLACEMENT: Check = {
  query: `
    with recursive chain (start, id) as (
      select distinct s.entity_owner, s.entity_owner from pg_temp.staged s where s.kind = 'grant' and not s.shared and s.entity_owner is not null
      union
      select c.start, k.owner from chain c join pg_temp.named k on k.id = c.id where k.owner is not null)
    select s.n, 'entityGroup' field, 'dormant' why, s.user_group a, s.user_owner b, s.entity_group c, s.entity_owner d
    from pg_temp.staged s
    where s.kind = 'grant' and not s.shared and s.entity_owner is not null
      and not exists (select from chain c where c.start = s.entity_owner and c.id = s.user_owner)`,
  sentences: {
    dormant: ({ a: users, b: above, c: entities, d: owner }) => [
      `the grant is dormant: ${q(above)}, the owner of ${q(users)}, is neither ${q(owner)}, the owner of ${q(entities)}, nor above it`,
      'shared: true hands the group over; else name a user group of an owner above (semantics 1.4)',
    ],
  },
};

/** Everything that keeps the staged rows from being inserted. Leaves the tables that `insert` reads. */
export async function findProblems(tx: TransactionSql, groupable: ReadonlySet<string>): Promise<{ problems: readonly ImportProblem[]; omitted: number }> {
  await tx.unsafe('create temp table groupable (type text collate "C") on commit drop');
  await tx`insert into pg_temp.groupable select json_array_elements_text(${JSON.stringify([...groupable])}::text::json)`;
  await tx.unsafe(PREPARE);
  const problems = [...(await findCycles(tx))];
  let omitted = 0;
  for (const check of [IDS, OWNERS, MEMBERS, GRANTS]) {
    const found = await ask(tx, check);
    problems.push(...found.problems);
    omitted += found.omitted;
  }
  return { problems, omitted };
}

/** What is possible, and probably not meant. After `findProblems` found nothing. */
export async function findWarnings(tx: TransactionSql): Promise<readonly ImportProblem[]> {
  return (await ask(tx, PLACEMENT)).problems;
}

async function ask(tx: TransactionSql, { query, sentences }: Check): Promise<{ problems: readonly ImportProblem[]; omitted: number }> {
  const rows = await tx.unsafe<Found[]>(`
    select s.file, s.line, s.path, x.field, x.why, x.a, x.b, x.c, x.d, (count(*) over ())::int total
    from (${query}) x join pg_temp.staged s using (n) order by n, field limit ${MOST}`);
  const problems = rows.map((found): ImportProblem => {
    const [message, fix] = sentences[found.why]!(found);
    return { file: found.file, line: found.line, path: found.path, field: found.field, message, fix };
  });
  return { problems, omitted: (rows[0]?.total ?? 0) - rows.length };
}

interface Hanging {
  readonly id: string;
  readonly owner: string;
  readonly file: string;
  readonly line: number | null;
  readonly path: string;
}

/** One problem for each cycle, at its first row. Walked here: in SQL each of its customers would walk all of it. */
async function findCycles(tx: TransactionSql): Promise<readonly ImportProblem[]> {
  const rows = await tx.unsafe<Hanging[]>(`
    select k.id, k.owner, s.file, s.line, s.path from pg_temp.named k join pg_temp.staged s using (n)
    where k.kind = 'customer' and not exists (select from pg_temp.node d where d.id = k.id) order by k.n`);
  const hanging = new Map(rows.map((row) => [row.id, row]));
  const walked = new Map<string, string>(); // id -> the row whose walk came by
  const problems: ImportProblem[] = [];
  for (const start of rows) {
    let at: Hanging | undefined = start;
    while (at && !walked.has(at.id)) {
      walked.set(at.id, start.id);
      at = hanging.get(at.owner);
    }
    if (at && walked.get(at.id) === start.id) problems.push(cycle(hanging, at, rows));
  }
  return problems;
}

function cycle(hanging: ReadonlyMap<string, Hanging>, from: Hanging, order: readonly Hanging[]): ImportProblem {
  const ring = [from];
  for (let at = hanging.get(from.owner)!; at !== from; at = hanging.get(at.owner)!) ring.push(at);
  const members = new Set(ring);
  const { id, file, line, path } = order.find((row) => members.has(row))!;
  const start = ring.findIndex((row) => row.id === id);
  const steps = [...ring.slice(start), ...ring.slice(0, start)].slice(0, 10).map((row) => row.id);
  return {
    file,
    line,
    path,
    field: 'owner',
    message: `${q(id)} would be above itself: ${[...steps, ring.length > steps.length ? '…' : '', id].filter(Boolean).join(' → ')}`,
    fix: 'hang one of them on a tenant, or on a customer outside the ring',
  };
}
