// Which grants and memberships are there that give nothing, or that nobody could write today? (semantics 1.3 and 1.4)
//
// A customer's later move makes them, and takes none away. None is a fault of the database; each is a surprise to somebody.

import type { ReservedSql } from 'postgres';
import type { Seen } from './finding.ts';

const SHOWN = 100;

/** Of pairs of owners (`low`, `high`) those where `high` is neither `low` nor above it. Few owners differ, so each pair is walked. */
const strangers = (pairs: string): string => `
  select p.low, p.high from (${pairs}) p where not exists (
    with recursive up (id, owner) as (
      select o.id, o.owner from grantgate.object o where o.id = p.low
      union
      select o.id, o.owner from up join grantgate.object o on o.id = up.owner)
    select from up where up.id = p.high)`;

const FOREIGN_ROLES = `
  with bad as (${strangers(`
    select distinct g.user_owner as low, r.owner as high from grantgate.group_permission g join grantgate.object r on r.id = g.role
      where r.owner <> g.user_owner`)})
  select g.id, count(*) over () as count from grantgate.group_permission g
    join grantgate.object r on r.id = g.role join bad b on b.low = g.user_owner and b.high = r.owner
    order by g.id limit ${SHOWN}`;

const DORMANT = `
  with bad as (${strangers(`
    select distinct g.entity_owner as low, g.user_owner as high from grantgate.group_permission g
      where g.role_type = 'GROUP' and not g.shared and g.user_owner <> g.entity_owner`)})
  select g.id, count(*) over () as count from grantgate.group_permission g join bad b on b.low = g.entity_owner and b.high = g.user_owner
    where g.role_type = 'GROUP' and not g.shared
    order by g.id limit ${SHOWN}`;

const IDLE_MEMBERSHIPS = `
  select m.member_id || ' in ' || m.group_id as id, count(*) over () as count from grantgate.membership m
    left join grantgate.object g on g.id = m.group_id left join grantgate.object o on o.id = m.member_id
    where (g.kind = 'group' and g.type = o.type and g.owner = o.owner) is not true
    order by m.group_id, m.member_id limit ${SHOWN}`;

interface Row {
  readonly id: string;
  readonly count: string;
}

async function seen(session: ReservedSql, query: string, words: { readonly none: string; readonly some: string; readonly fix: string }): Promise<Seen> {
  const rows = await session.unsafe<Row[]>(query);
  if (rows.length === 0) return { state: 'ok', text: words.none };
  const count = Number(rows[0]!.count);
  return { state: 'problem', text: `${words.some}: ${count}`, fix: words.fix, ids: rows.map(({ id }) => id), omitted: count - rows.length };
}

export function grantsOfForeignRoles(session: ReservedSql): Promise<Seen> {
  return seen(session, FOREIGN_ROLES, {
    none: 'every grant gives a role of its owner or of one above',
    some: 'grants of a role whose owner is not, or no longer, above the user group (they give it all the same)',
    fix: 'give a role of an owner above instead, or delete them',
  });
}

export function dormantGrants(session: ReservedSql): Promise<Seen> {
  return seen(session, DORMANT, {
    none: 'no grant is dormant',
    some: "dormant grants: the user group's owner is not above the entities' owner, so they give nothing",
    fix: 'share the group, move a customer back, or delete them',
  });
}

export function idleMemberships(session: ReservedSql): Promise<Seen> {
  return seen(session, IDLE_MEMBERSHIPS, {
    none: 'every membership counts',
    some: 'memberships that do not count, for group and member differ in type or owner (written past the foreign keys)',
    fix: 'delete them',
  });
}
