// What do the writers of the stress run write? Statements that record their own effect, as text: a transaction is sent in one
// message, so that a killed connection takes all of it, or nothing.

import { customer, entity, group, tenant } from '../fixture.ts';
import { pick } from './random.mjs';
import { deviceId, userId } from './record.mjs';
import type { Effect, RoleSide } from './world.ts';

export const USERS = 24;
export const DEVICES = 40;
/** Where the first-time askers are, and the device that they ask about; no other statement touches it. */
export const ASKERS = { owner: 'v0', group: 'ug-v0', device: 900, role: 'asker' } as const;

const CUSTOMERS: Readonly<Record<string, string>> = { c0: 't', c1: 't', c2: 't', c3: 'c0', c4: 'c0', c5: 'c3', c6: 'c1', c7: 'c6', c8: 'c2', c9: 'c8' };
const customers = Object.keys(CUSTOMERS);
const owners = ['t', ...customers];
/** Users are for the most part high up, where there is something to see for them. */
const employers = [...owners, ...Array.from({ length: 12 }, () => 't'), 'c0', 'c1', 'c2'];
const ROLES = { gen0: 'GENERIC', gen1: 'GENERIC', grp0: 'GROUP', grp1: 'GROUP' } as const;
const GENERIC_SIDES: readonly (readonly [RoleSide, RoleSide])[] = [
  [{ DEVICE: ['READ'] }, {}],
  [{ DEVICE: ['READ', 'WRITE'] }, {}],
  [{ ALL: ['ALL'] }, {}],
  [{ ASSET: ['ALL'] }, {}],
  [{ ALL: ['ALL'] }, { DEVICE: ['WRITE'] }],
  [{ ALL: ['READ'], DEVICE: ['WRITE'] }, {}],
];
const GROUP_SIDES: readonly (readonly string[])[] = [['READ'], ['READ', 'WRITE'], ['ALL'], ['WRITE'], ['RPC_CALL']];

/** Grants that come and go, each of a shape of its own: two of one shape would be refused. */
export interface Slot {
  readonly id: string;
  readonly owner: string;
  readonly userGroup: string | null;
  readonly role: keyof typeof ROLES;
  readonly over: { readonly owner: string; readonly group: string | null } | null;
}

export function makeSlots(random: () => number): readonly Slot[] {
  const slots = new Map<string, Slot>();
  for (const owner of owners)
    for (const role of ['gen0', 'gen1'] as const)
      slots.set(`${owner} ${role}`, { id: '', owner, userGroup: random() < 0.7 ? `ug-${owner}` : null, role, over: null });
  while (slots.size < 54) {
    const owner = pick(random, owners);
    const over = pick(random, customers);
    const shape = {
      id: '',
      owner,
      userGroup: random() < 0.75 ? `ug-${owner}` : null,
      role: pick(random, ['grp0', 'grp1'] as const),
      over: { owner: over, group: random() < 0.8 ? pick(random, [`dg-${over}`, `dh-${over}`]) : null },
    };
    slots.set(JSON.stringify(shape), shape);
  }
  return [...slots.values()].map((slot, i) => ({ ...slot, id: `g${i}` }));
}

/** Everything there is at the beginning, as one transaction. */
export function firstStatements(slots: readonly Slot[]): string {
  const role = (id: string, type: string, sides: readonly [unknown, unknown]): string =>
    `${recorded(`insert into grantgate.object (id, tenant, kind, type, owner) values ('${id}', 't', 'role', 'ROLE', 't')`, ['role', id, 't', type])};
     ${recorded(`insert into grantgate.role (id, tenant, type, permissions, excluded) values ('${id}', 't', '${type}', ${json(sides[0])}, ${json(sides[1])})`, [
       'permissions',
       id,
       sides[0] as RoleSide,
       sides[1] as RoleSide,
     ])}`;
  return [
    `${tenant('t')}; ${note(['tenant', 't'])}`,
    ...[...Object.entries(CUSTOMERS), ['v0', 't'] as const].map(([id, owner]) => `${customer(id, owner)}; ${note(['customer', id, owner])}`),
    ...[...owners, 'v0'].flatMap((owner) => [
      `${group(`ug-${owner}`, 'USER', owner)}; ${note(['group', `ug-${owner}`, 'USER', owner])}`,
      ...(owner === 't' ? [] : ['dg', 'dh'].map((g) => `${group(`${g}-${owner}`, 'DEVICE', owner)}; ${note(['group', `${g}-${owner}`, 'DEVICE', owner])}`)),
    ]),
    ...Object.entries(ROLES).map(([id, type]) => role(id, type, type === 'GROUP' ? [['READ'], {}] : [{ DEVICE: ['READ'] }, {}])),
    role(ASKERS.role, 'GROUP', [['READ'], {}]),
    ...Array.from({ length: USERS }, (_, i) => `${addUser(userId(i), employers[i % employers.length]!)}; ${i % 3 > 0 ? join(userId(i), 'ug') : ''}`),
    ...Array.from({ length: DEVICES }, (_, i) => `${addDevice(deviceId(i), customers[i % customers.length]!)}; ${join(deviceId(i), i % 2 ? 'dg' : 'dh')}`),
    ...slots.filter((_, i) => i % 2 === 0).map(addGrant),
    `${entity(deviceId(ASKERS.device), 'DEVICE', ASKERS.owner)}; ${note(['device', deviceId(ASKERS.device), ASKERS.owner])}; ${join(deviceId(ASKERS.device), 'dg')}`,
    addGrantOf({
      id: 'vg',
      owner: ASKERS.owner,
      userGroup: ASKERS.group,
      role: ASKERS.role,
      roleType: 'GROUP',
      over: { owner: ASKERS.owner, group: `dg-${ASKERS.owner}` },
    }),
  ].join(';\n');
}

/** One statement, or a few that belong together, at random. */
export function anyStatement(random: () => number, slots: readonly Slot[]): string {
  // Half of the writes and of the reads are about a few ids, so that they meet.
  const some = (count: number): number => Math.floor(random() * (random() < 0.5 ? Math.ceil(count / 6) : count));
  const aUser = userId(some(USERS));
  const aDevice = deviceId(some(DEVICES));
  const slot = slots[some(slots.length)]!;
  const choice = random();
  const more = random() < 0.75; // else next to nothing would be allowed
  if (choice < 0.16) return enable(aUser, more);
  if (choice < 0.3) return more ? join(aUser, 'ug') : leave(aUser);
  if (choice < 0.44) return more ? join(aDevice, pick(random, ['dg', 'dh'])) : leave(aDevice);
  if (choice < 0.62) return more ? addGrant(slot) : gone(slot.id);
  if (choice < 0.68)
    return returning(
      `update grantgate.group_permission set shared = not shared where id = '${slot.id}' and role_type = 'GROUP' returning id, shared`,
      "'shared', id, shared",
    );
  if (choice < 0.74) return editRole(random);
  if (choice < 0.82) return changeOwner(aDevice, pick(random, customers));
  if (choice < 0.85) return changeOwner(aUser, pick(random, employers));
  if (choice < 0.9) return changeOwner(pick(random, customers), pick(random, owners));
  if (choice < 0.95) return more ? addDevice(aDevice, pick(random, customers)) : gone(aDevice);
  if (choice < 0.985) return more ? addUser(aUser, pick(random, employers)) : gone(aUser);
  return `update grantgate.object set label = 'renamed' where id = '${aDevice}'`; // which is nothing to the log
}

/** Makes the log say of this transaction what it would of one that touched more than 100,000 keys: every key of the tag; or, `everything`. */
export function inBulk(everything: boolean): string {
  return `update grantgate.touched set ${everything ? "tag = '*', " : ''}keys = '{}' where xmin::text = pg_current_xact_id()::xid::text`;
}

/**
 * A user with access to the device of the askers: through the group of all of them, or through one that is `shared` with the next user,
 * who asks before the access is taken away: what is cached for both is then out of date.
 */
export function giveAccess(user: number, shared: boolean): string {
  const { owner, role } = ASKERS;
  const join = (id: string, to: string): string =>
    returning(
      `insert into grantgate.membership (tenant, group_id, member_id, type, owner) values ('t', '${to}', '${id}', 'USER', '${owner}') returning member_id, group_id`,
      "'join', member_id, group_id",
    );
  const id = userId(user);
  if (!shared) return [addUser(id, owner), join(id, ASKERS.group)].join('; ');
  const common = `ug-${id}`;
  const others = userId(user + 1);
  return [
    `${group(common, 'USER', owner)}; ${note(['group', common, 'USER', owner])}`,
    addGrantOf({ id: `vg-${id}`, owner, userGroup: common, role, roleType: 'GROUP', over: { owner, group: `dg-${owner}` } }),
    ...[id, others].flatMap((one) => [addUser(one, owner), join(one, common)]),
  ].join('; ');
}

/** Takes that access away, for ever. */
export function takeAccess(user: number, shared: boolean, random: () => number): string {
  const id = userId(user);
  return shared ? gone(`vg-${id}`) : pick(random, [leave(id), gone(id), enable(id, false)]);
}

/** What is left of them, or the world would grow with the length of the run. */
export function forget(user: number): string {
  return [user, user + 1]
    .map(userId)
    .concat(`vg-${userId(user)}`, `ug-${userId(user)}`)
    .map(gone)
    .join('; ');
}

function addUser(id: string, owner: string): string {
  return `${added(id, 'user', { type: 'USER', owner, effect: "'user', id, owner" })};
    insert into grantgate.user_account (id, tenant) select '${id}', 't' where not exists (select from grantgate.user_account where id = '${id}')`;
}

function addDevice(id: string, owner: string): string {
  return added(id, 'entity', { type: 'DEVICE', owner, effect: "'device', id, owner" });
}

function added(id: string, kind: string, rest: { readonly type: string; readonly owner: string; readonly effect: string }): string {
  return returning(
    `insert into grantgate.object (id, tenant, kind, type, owner) values ('${id}', 't', '${kind}', '${rest.type}', '${rest.owner}') on conflict do nothing returning id, owner`,
    rest.effect,
  );
}

function enable(id: string, enabled: boolean): string {
  return returning(
    `update grantgate.user_account set enabled = ${enabled} where id = '${id}' and enabled <> ${enabled} returning id, enabled`,
    "'enabled', id, enabled",
  );
}

function join(id: string, prefix: string): string {
  return returning(
    `insert into grantgate.membership (tenant, group_id, member_id, type, owner)
      select o.tenant, '${prefix}-' || o.owner, o.id, o.type, o.owner from grantgate.object o where o.id = '${id}' and (o.kind = 'user' or o.owner <> 't')
      on conflict do nothing returning member_id, group_id`,
    "'join', member_id, group_id",
  );
}

function leave(id: string): string {
  return returning(`delete from grantgate.membership where member_id = '${id}' returning member_id, group_id`, "'leave', member_id, group_id");
}

function gone(id: string): string {
  return returning(`delete from grantgate.object where id = '${id}' returning id`, "'gone', id");
}

function changeOwner(id: string, owner: string): string {
  return returning(`update grantgate.object set owner = '${owner}' where id = '${id}' and owner <> '${owner}' returning id, owner`, "'owner', id, owner");
}

function editRole(random: () => number): string {
  const id = pick(random, Object.keys(ROLES) as (keyof typeof ROLES)[]);
  const [permissions, excluded] = ROLES[id] === 'GROUP' ? [pick(random, GROUP_SIDES), {}] : pick(random, GENERIC_SIDES);
  return returning(
    `update grantgate.role set permissions = ${json(permissions)}, excluded = ${json(excluded)}
      where id = '${id}' and (permissions, excluded) <> (${json(permissions)}, ${json(excluded)}) returning id, permissions, excluded`,
    "'permissions', id, permissions, excluded",
  );
}

function addGrant(slot: Slot): string {
  return addGrantOf({ ...slot, roleType: ROLES[slot.role] });
}

function addGrantOf({ id, owner, userGroup, role, roleType, over }: Omit<Slot, 'role'> & { readonly role: string; readonly roleType: string }): string {
  const text = (value: string | null | undefined): string => (value === null || value === undefined ? 'null' : `'${value}'`);
  const entityGroup = over && (over.group ?? `all:DEVICE:${over.owner}`);
  return `${returning(
    `insert into grantgate.object (id, tenant, kind, type, owner) values ('${id}', 't', 'grant', 'GROUP_PERMISSION', '${owner}') on conflict do nothing returning id`,
    `'grant', id, '${userGroup ?? `all:USER:${owner}`}', '${role}', ${text(entityGroup)}, false`,
  )};
    insert into grantgate.group_permission (id, tenant, user_owner, user_group, role, role_type, entity_owner, entity_type, entity_group)
    select '${id}', 't', '${owner}', ${text(userGroup)}, '${role}', '${roleType}', ${text(over?.owner)}, ${over ? "'DEVICE'" : 'null'}, ${text(over?.group)}
    where not exists (select from grantgate.group_permission where id = '${id}')`;
}

/** The statement, and the effect of each row that it returns. */
function returning(statement: string, effect: string): string {
  return `with x as (${statement}) insert into stress.effect (effect) select json_build_array(${effect}) from x`;
}

function recorded(statement: string, effect: Effect): string {
  return `${statement}; ${note(effect)}`;
}

function note(effect: Effect): string {
  return `insert into stress.effect (effect) values (${json(effect)})`;
}

function json(value: unknown): string {
  return `'${JSON.stringify(value)}'`;
}
