// What are the rows of a generated world?
//
// One at a time, in the order of a world file: owners before what they own, groups before their members. Of what a row may leave out it
// says what is not the default. The predefined objects (semantics 1.2) are asked for by the first line: six rows an owner, and an
// export has them all.

import { grantRows, roleRows } from './grants.ts';
import { customerGroups, entityGroups, extrasBefore, teams } from './groups.ts';
import { idsOf, type Ids } from './ids.ts';
import { pick, ranked, rolls, type Roll } from './random.ts';
import type { Row } from './row.ts';
import type { Shape } from './shape.ts';
import { FIRST_NAMES, GROUPED, LAST_NAMES, OF_TENANTS, PLACES, TEAMS, THINGS, TRADES, UNGROUPED } from './words.ts';

/** The same rows for the same shape, always; none is computed before it is asked for. */
export function* generateWorld(shape: Shape): Generator<Row> {
  const ids = idsOf(shape);
  yield { kind: 'defaults' };
  for (let tenant = 0; tenant < shape.tenants; tenant++)
    yield { kind: 'tenants', id: ids.owner(tenant), name: `${titled(rolls(shape.seed, 100 + tenant))} Holding` };
  yield* customerRows(shape, ids);
  yield* groupRows(shape, ids);
  yield* roleRows(shape, ids);
  yield* userRows(shape, ids);
  yield* entityRows(shape, ids);
  yield* grantRows(shape, ids);
}

function titled(roll: Roll): string {
  return `${pick(roll, TRADES)} ${pick(roll, PLACES)}`;
}

function* customerRows(shape: Shape, ids: Ids): Generator<Row> {
  const roll = rolls(shape.seed, 4);
  for (let customer = shape.tenants; customer < shape.owners; customer++) {
    const parent = shape.parent[customer]!;
    const title = titled(roll);
    const groups = roll(2) === 0 ? chosen(roll, customerGroups(shape, parent), 1).map((group) => ids.group(parent, 'CUSTOMER', group)) : [];
    const details = roll(4) === 0 ? { details: { city: pick(roll, PLACES), floors: 1 + roll(30) } } : {};
    yield { kind: 'customers', id: ids.owner(customer), owner: ids.owner(parent), title, ...some(groups), ...details };
  }
}

function* groupRows(shape: Shape, ids: Ids): Generator<Row> {
  const roll = rolls(shape.seed, 9);
  for (let owner = 0; owner < shape.owners; owner++) {
    const id = ids.owner(owner);
    const all = [
      { type: 'USER', count: teams(shape, owner) },
      { type: 'CUSTOMER', count: customerGroups(shape, owner) },
      ...GROUPED.map(({ type }) => ({ type, count: entityGroups(shape, owner, type) })),
    ];
    for (const { type, count } of all) {
      for (let group = 0; group < count; group++) {
        const name = type === 'USER' ? `${pick(roll, TEAMS)} ${group + 1}` : `${pick(roll, PLACES)} ${group + 1}`;
        yield { kind: 'groups', id: ids.group(owner, type, group), type, owner: id, name };
      }
    }
  }
}

function* userRows(shape: Shape, ids: Ids): Generator<Row> {
  const roll = rolls(shape.seed, 5);
  const first = Math.min(shape.memberships, shape.users);
  for (let owner = 0; owner < shape.owners; owner++) {
    const id = ids.owner(owner);
    const count = teams(shape, owner);
    for (let user = shape.firstUser[owner]!; user < shape.firstUser[owner + 1]!; user++) {
      // The first user of an owner administers it, and one in eight of the others.
      const [own, other] = user === shape.firstUser[owner] || roll(8) === 0 ? (['admins', 'users'] as const) : (['users', 'admins'] as const);
      const extras = extrasBefore(shape, user + 1) - extrasBefore(shape, user);
      const groups = Math.floor(((user + 1) * first) / shape.users) > Math.floor((user * first) / shape.users) ? [`${own}:${id}`] : [];
      for (const team of chosen(roll, count, extras)) groups.push(ids.group(owner, 'USER', team));
      if (extras > count) groups.push(`${other}:${id}`);
      const [firstName, lastName] = [pick(roll, FIRST_NAMES), pick(roll, LAST_NAMES)];
      const disabled = roll(100) === 0 ? { enabled: false } : {};
      yield {
        kind: 'users',
        id: ids.user(user),
        owner: id,
        ...disabled,
        ...some(groups),
        name: `${firstName} ${lastName}`,
        email: `${user}@people.example`,
        firstName,
        lastName,
        ...login(roll),
      };
    }
  }
}

/** Three of four users have logged in, at a microsecond of 2025. */
function login(roll: Roll): { lastLogin?: string } {
  if (roll(4) === 0) return {};
  const two = (n: number): string => String(n).padStart(2, '0');
  const day = `2025-${two(1 + roll(12))}-${two(1 + roll(28))}`;
  return { lastLogin: `${day}T${two(roll(24))}:${two(roll(60))}:${two(roll(60))}.${String(roll(1_000_000)).padStart(6, '0')}Z` };
}

function* entityRows(shape: Shape, ids: Ids): Generator<Row> {
  const roll = rolls(shape.seed, 6);
  const ofTenants = [...UNGROUPED, ...OF_TENANTS] as const;
  for (let owner = 0; owner < shape.owners; owner++) {
    const id = ids.owner(owner);
    const grouped = GROUPED.map((rule) => ({ ...rule, count: entityGroups(shape, owner, rule.type) }));
    for (let entity = shape.firstEntity[owner]!; entity < shape.firstEntity[owner + 1]!; entity++) {
      const dice = roll(1000);
      const rule = grouped.find(({ until }) => dice < until);
      const type = rule?.type ?? pick<string>(roll, owner < shape.tenants ? ofTenants : UNGROUPED);
      // One in ten is in a group, one in a hundred in two; of dashboards, which are there to be shared, one in two.
      const draw = roll(100);
      const memberships = rule === undefined || rule.count === 0 ? 0 : draw === 0 ? 2 : draw < (type === 'DASHBOARD' ? 50 : 10) ? 1 : 0;
      const groups = memberships === 0 ? [] : chosen(roll, rule?.count ?? 0, memberships).map((group) => ids.group(owner, type, group));
      const name = `${pick(roll, THINGS[type] ?? [type])} ${entity}`;
      yield { kind: 'entities', id: ids.entity(type, entity), type, owner: id, ...some(groups), name };
    }
  }
}

/** Different ranks below `count`, as many as wanted or as there are; the low ones more often. */
function chosen(roll: Roll, count: number, wanted: number): readonly number[] {
  const ranks: number[] = [];
  while (ranks.length < Math.min(count, wanted)) {
    let rank = ranked(roll, count);
    while (ranks.includes(rank)) rank = (rank + 1) % count;
    ranks.push(rank);
  }
  return ranks;
}

function some(groups: readonly string[]): { groups?: readonly string[] } {
  return groups.length === 0 ? {} : { groups };
}
