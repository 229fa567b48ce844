// What is wrong with the staged rows? Each question is one set query over all of them.
//
// `named` is everything that a row may refer to, from the files and, where they do not have it, from the database with all that
// is above it; `node` is the owner tree of the two, from the tenants down, so a customer that is not in it hangs on nothing.

import { findCycles } from './import-cycles.ts';
import { MOST_PROBLEMS } from './import-rows.ts';
import type { Session } from './import-session.ts';
import { arrayLiteral } from './import-staging.ts';
import type { ImportProblem } from './import-rows.ts';
import type { ImportMode } from './import-write.ts';
import { STORED_ROWS } from './world-rows.ts';

/** Defaults give way to what is given. */
const IMPLIED = `
delete from pg_temp.staged i using pg_temp.staged g where i.implied and not g.implied and g.id = i.id;
delete from pg_temp.staged i using pg_temp.staged g
  where i.implied and i.kind = 'grant' and not g.implied and g.kind = 'grant' and g.user_group = i.user_group and g.role = i.role and g.entity_group is null`;

/** What is stored stands for a default, and for a grant of the same three that was given no id of its own. */
const STORED = `
delete from pg_temp.staged i using grantgate.object o where i.implied and o.id = i.id;
delete from pg_temp.staged i using grantgate.group_permission p
  where i.implied and i.kind = 'grant' and p.user_group = i.user_group and p.role = i.role and p.entity_owner is null;
update pg_temp.staged s set id = p.id from grantgate.group_permission p
  where s.kind = 'grant' and s.derived and p.id <> s.id and p.role = s.role
    and coalesce(p.user_group, 'all:USER:' || p.user_owner) = s.user_group
    and coalesce(p.entity_group, 'all:' || p.entity_type || ':' || p.entity_owner) is not distinct from s.entity_group
    and not exists (select from grantgate.object o where o.id = s.id)
    and not exists (select from pg_temp.staged t where t.id = p.id)`;

const PREPARE = `
create temp table named (
  id text collate "C" primary key, kind text collate "C", type text collate "C", owner text collate "C", role_type text collate "C",
  n int  -- null: in the database
);
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

create temp table node as
  with recursive node (id, tenant, depth) as (
    select k.id, k.id, 0 from pg_temp.named k where k.kind = 'tenant'
    union all
    select k.id, d.tenant, d.depth + 1 from node d join pg_temp.named k on k.owner = d.id where k.kind = 'customer' and d.depth < 1001)
  select * from node;
alter table pg_temp.node add primary key (id);
analyze pg_temp.named;
analyze pg_temp.node;

update pg_temp.staged s set user_owner = x.user_owner, owner = x.user_owner, entity_owner = x.entity_owner, entity_type = x.entity_type
  from (
    select t.n, coalesce(t.user_owner, u.owner) user_owner, coalesce(t.entity_owner, e.owner) entity_owner, coalesce(t.entity_type, e.type) entity_type
    from pg_temp.staged t left join pg_temp.named u on u.id = t.user_group and u.kind = 'group' left join pg_temp.named e on e.id = t.entity_group and e.kind = 'group'
    where t.kind = 'grant') x
  where s.kind = 'grant' and x.n = s.n`;

/** What a query answers: the row, the field, and up to four words for the sentence. `why` chooses among several sentences. */
interface Answer {
  readonly n: number;
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
  readonly sentences: Readonly<Record<string, (found: Answer) => readonly [message: string, fix: string]>>;
}

const q = (text: string | null): string => JSON.stringify(text);
const a = (kind: string | null): string => (kind === 'entity' ? 'an entity' : `a ${kind}`);

const IDS: Check = {
  query: `
    with odd as materialized ( -- one look at a million ids, which came through a parser as a rule
      select s.n, s.id, s.kind, s.type, s.owner from pg_temp.staged s
      where octet_length(s.id) not between 1 and 200 or s.id ~ '[\\u0001-\\u001f\\u007f-\\u009f*:]'),
    again as materialized (select id from pg_temp.staged group by id having count(*) > 1)
    select x.n, 'id' field, 'twice' why, x.id a, f.file || coalesce(':' || x.line, '') b, null c, null d
      from (select n, id, first_value(n) over w first, first_value(f) over w f, first_value(line) over w line from pg_temp.staged
          where id in (select id from again) window w as (partition by id order by f, line, n)) x
        join pg_temp.staged_file f using (f) where x.n <> x.first
    union all
    select s.n, 'id', 'reserved', s.id, null, null, null from odd s
      where s.id = '*' or starts_with(s.id, 'all:')
        or (s.id ~ '^(admins|users):' and not (s.kind = 'group' and s.type = 'USER' and s.id in ('admins:' || s.owner, 'users:' || s.owner)))
        or (starts_with(s.id, 'role:') and not (s.kind = 'role' and s.id in ('role:admin:' || s.owner, 'role:user:' || s.owner)))
    union all
    select s.n, 'id', 'bytes', s.id, octet_length(s.id)::text, case when s.kind in ('tenant', 'customer') then '200' else '255' end, null from odd s
      where octet_length(s.id) not between 1 and case when s.kind in ('tenant', 'customer') then 200 else 255 end
    union all
    select s.n, 'id', 'control', s.id, null, null, null from odd s where s.id ~ '[\\u0001-\\u001f\\u007f-\\u009f]'`,
  sentences: {
    twice: ({ a: id, b: place }) => [`${q(id)} is used at ${place} already`, 'an id names one thing: give one of the two another'],
    reserved: ({ a: id }) => [`${q(id)} is reserved to the server`, 'choose another id'],
    bytes: ({ a: id, b: bytes, c: most }) => [`${q(id)} has ${bytes} bytes; 1 to ${most} are possible here`, 'choose another id'],
    control: ({ a: id }) => [`${q(id)} has control characters`, 'take them out'],
  },
};

/** What the tables would refuse without a word about the row. */
const LABELS: Check = {
  query: `select s.n, case s.kind when 'customer' then 'title' else 'name' end field, 'long' why, octet_length(s.label)::text a, null b, null c, null d
    from pg_temp.staged s where octet_length(s.label) > 1000`,
  sentences: { long: ({ a: bytes }) => [`has ${bytes} bytes; at most 1000 are possible`, 'shorten it'] },
};

/** The same, of types that no vocabulary vouched for. */
const TYPES: Check = {
  query: `
    with types as materialized ( -- few, of a million rows
      select kind, type, case when octet_length(type) > 63 or type !~ '^[A-Z][A-Z0-9_]*$' then 'spelling'
          when type in ('TENANT', 'ROLE', 'GROUP_PERMISSION', 'PROFILE') or (kind = 'entity' and type in ('CUSTOMER', 'USER')) then 'taken' end why
      from (select distinct kind, type from pg_temp.staged where kind in ('entity', 'group')
        union select 'all', entity_type from pg_temp.staged where starts_with(entity_group, 'all:')) x)
    select s.n, 'type' field, t.why, s.type a, s.kind b, null c, null d from types t join pg_temp.staged s on s.kind = t.kind and s.type = t.type where t.why is not null
    union all
    select s.n, 'entityGroup', t.why, t.type, 'group', null, null
      from types t join pg_temp.staged s on s.entity_type = t.type where t.kind = 'all' and t.why is not null and starts_with(s.entity_group, 'all:')`,
  sentences: {
    spelling: ({ a: type }) => [`${q(type)} is no type`, 'a type has at most 63 of A to Z, 0 to 9 and _, and begins with a letter'],
    taken: ({ a: type, b: kind }) => [`${q(type)} is not a type that ${a(kind)} can have`, 'choose another type'],
  },
};

/** Ids that are there already: all of them, or those that cannot become what is given (semantics 1.1). */
const CONFLICTS: Readonly<Record<ImportMode, Check>> = {
  create: {
    query: `select s.n, 'id' field, 'stored' why, s.id a, o.kind b, null c, null d from pg_temp.staged s join grantgate.object o on o.id = s.id`,
    sentences: {
      stored: ({ a: id, b: kind }) => [
        `${q(id)} is in the database already, as ${a(kind)}`,
        'leave it out here, delete it there first, or import with --mode upsert, which changes what is there',
      ],
    },
  },
  upsert: {
    query: `
      select s.n, 'id' field, 'fixed' why, s.id a, o.kind b, null c, null d
      from pg_temp.staged s join grantgate.object o on o.id = s.id
        left join pg_temp.node d on d.id = s.owner left join grantgate.role r on r.id = s.id
      where (o.kind, o.type) <> (s.kind, s.type) or o.tenant <> case s.kind when 'tenant' then s.id else d.tenant end
        or (s.kind = 'group' and o.owner <> s.owner) or (s.kind = 'role' and r.type <> s.role_type)`,
    sentences: {
      fixed: ({ a: id, b: kind }) => [
        `${q(id)} is in the database as ${a(kind)} that cannot become this one: kind, type and tenant never change, nor the owner of a group`,
        'choose another id, or delete it there first',
      ],
    },
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
    with odd as materialized ( -- of one owner is of one tenant
      select m.n, m.i, m.group_id, m.type, m.owner from pg_temp.staged_member m
      where not exists (select from pg_temp.named g where g.id = m.group_id and g.kind = 'group' and g.type = m.type and g.owner = m.owner))
    select s.n, 'groups[' || s.i || ']' field,
      case when coalesce(g.kind, x.kind) is null then 'none' when coalesce(g.kind, x.kind) <> 'group' then 'kind' when g.type <> s.type then 'type'
        when gd.tenant <> sd.tenant then 'tenant' else 'owner' end why,
      s.group_id a,
      case when coalesce(g.kind, x.kind) <> 'group' then coalesce(g.kind, x.kind) when g.type <> s.type then g.type
        when gd.tenant <> sd.tenant then gd.tenant else g.owner end b,
      case when g.type <> s.type then s.type when gd.tenant <> sd.tenant then sd.tenant else s.owner end c, null d
    from odd s left join pg_temp.named g on g.id = s.group_id
      left join lateral (select kind from pg_temp.staged where id = s.group_id limit 1) x on g.id is null
      left join pg_temp.node gd on gd.id = g.owner left join pg_temp.node sd on sd.id = s.owner`,
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
      select x.n, '', 'same', x.role, x.user_group, f.file || coalesce(':' || x.line, ''), null
      from (select n, role, user_group, first_value(n) over w first, first_value(f) over w f, first_value(line) over w line
          from pg_temp.staged where kind = 'grant' window w as (partition by user_group, role, entity_group order by f, line, n)) x
        join pg_temp.staged_file f using (f)
      where x.n <> x.first
      union all
      select s.n, '', 'same', s.role, s.user_group, 'the database (' || p.id || ')', null
      from pg_temp.staged s join grantgate.group_permission p on p.role = s.role and p.user_owner = s.user_owner
        and p.user_group is not distinct from case when not starts_with(s.user_group, 'all:') then s.user_group end
        and p.entity_group is not distinct from case when not starts_with(s.entity_group, 'all:') then s.entity_group end
        and p.entity_owner is not distinct from s.entity_owner and p.entity_type is not distinct from s.entity_type
      where s.kind = 'grant' and p.id <> s.id and not exists (select from pg_temp.staged t where t.id = p.id)) y
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
    with recursive apart as materialized (
      select s.n, s.user_group, s.user_owner, s.entity_group, s.entity_owner from pg_temp.staged s
      where s.kind = 'grant' and s.user_owner <> s.entity_owner
        and not coalesce(s.shared, (select p.shared from grantgate.group_permission p where p.id = s.id), false)),
    chain (start, id) as (
      select distinct entity_owner, entity_owner from apart
      union
      select c.start, (select k.owner from pg_temp.named k where k.id = c.id) from chain c where c.id is not null)
    select s.n, 'entityGroup' field, 'dormant' why, s.user_group a, s.user_owner b, s.entity_group c, s.entity_owner d
    from apart s where not exists (select from chain c where c.start = s.entity_owner and c.id = s.user_owner)`,
  sentences: {
    dormant: ({ a: users, b: above, c: entities, d: owner }) => [
      `the grant is dormant: ${q(above)}, the owner of ${q(users)}, is neither ${q(owner)}, the owner of ${q(entities)}, nor above it`,
      'shared: true hands the group over; else name a user group of an owner above (semantics 1.4)',
    ],
  },
};

export interface Found {
  readonly problems: readonly ImportProblem[];
  /** How many more there are than these. */
  readonly omitted: number;
}

/** Everything that keeps the staged rows from being written. Leaves the tables that `write` reads. */
export async function findProblems(
  session: Session,
  options: { /** Null: any. */ readonly groupable: ReadonlySet<string> | null; readonly mode: ImportMode },
): Promise<Found> {
  await session.run('create temp table groupable (type text collate "C")');
  if (options.groupable === null)
    await session.run('insert into pg_temp.groupable select distinct entity_type from pg_temp.staged where entity_type is not null');
  else await session.rows('insert into pg_temp.groupable select json_array_elements_text($1::text::json)', [JSON.stringify([...options.groupable])]);
  const [some] = await session.rows<{ implied: boolean }>('select exists (select from pg_temp.staged where implied) as implied');
  const implied = some?.implied === true;
  if (implied) await session.run(IMPLIED);
  if (implied || options.mode === 'upsert') await session.run(STORED);
  await session.run(PREPARE);
  const cycles = await findCycles(session);
  const problems = cycles.slice(0, MOST_PROBLEMS);
  let omitted = cycles.length - problems.length;
  for (const check of [IDS, LABELS, ...(options.groupable === null ? [TYPES] : []), OWNERS, MEMBERS, GRANTS]) {
    const found = await ask(session, check);
    problems.push(...found.problems);
    omitted += found.omitted;
  }
  const conflicts = await ask(session, CONFLICTS[options.mode]);
  problems.push(...(await withVersions(session, conflicts)));
  return { problems, omitted: omitted + conflicts.omitted };
}

/** What is possible, and probably not meant. After `findProblems` found nothing. */
export async function findWarnings(session: Session): Promise<Found> {
  return ask(session, PLACEMENT);
}

async function ask(session: Session, { query, sentences }: Check): Promise<Found & { readonly answers: readonly Answer[] }> {
  // Apart, so that nothing is joined where nothing is found.
  await session.run(`drop table if exists pg_temp.found; create temp table found as ${query}`);
  const answers = await session.rows<Answer>(`
    select s.n, f.file, s.line, s.path, x.field, x.why, x.a, x.b, x.c, x.d, (count(*) over ())::int total
    from pg_temp.found x join pg_temp.staged s using (n) join pg_temp.staged_file f using (f)
    where exists (select from pg_temp.found) order by s.f, s.line, n, field limit ${MOST_PROBLEMS}`);
  const problems = answers.map((found): ImportProblem => {
    const [message, fix] = sentences[found.why]!(found);
    return { file: found.file, line: found.line, path: found.path, field: found.field, message, fix };
  });
  return { answers, problems, omitted: (answers[0]?.total ?? 0) - answers.length };
}

const LISTS = "case s.kind when 'entity' then 'entities' else s.kind || 's' end";

const GIVEN_ROWS = `
  select s.n, json_strip_nulls(json_build_object('kind', ${LISTS}, 'id', s.id,
      'type', case when s.kind in ('entity', 'group') then s.type else s.role_type end, 'owner', case when s.kind <> 'grant' then s.owner end,
      'userGroup', s.user_group, 'role', s.role, 'entityGroup', s.entity_group, 'shared', s.shared, 'enabled', s.enabled, 'groups', s.groups,
      'permissions', s.permissions, 'excluded', case when s.role_type = 'GENERIC' then s.excluded end,
      case s.kind when 'customer' then 'title' else 'name' end, s.label, 'email', s.email, 'firstName', s.first_name, 'lastName', s.last_name,
      'lastLogin', to_char(s.last_login at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'details', s.details))::text json
  from pg_temp.staged s where s.n = any ($1::int[])`;

/** A conflict shows both: what is stored under the id, and what was given for it. */
async function withVersions(session: Session, { answers, problems }: Awaited<ReturnType<typeof ask>>): Promise<readonly ImportProblem[]> {
  if (answers.length === 0) return problems;
  const stored = await session.rows<{ id: string; list: string; json: string }>(STORED_ROWS, [arrayLiteral(answers.map(({ a: id }) => id))]);
  const given = await session.rows<{ n: number; json: string }>(GIVEN_ROWS, [arrayLiteral(answers.map(({ n }) => String(n)))]);
  const storedOf = new Map(stored.map(({ id, list, json }) => [id, `{"kind":"${list}",${json.slice(1)}`]));
  const givenOf = new Map(given.map(({ n, json }) => [n, json]));
  return problems.map((problem, i) => {
    const [there, here] = [storedOf.get(answers[i]!.a), givenOf.get(answers[i]!.n)];
    return there === undefined || here === undefined ? problem : { ...problem, stored: there, given: here };
  });
}
