// In which worlds could somebody gain what it must not have?
//
// In random ones, with an office in them: a clerk that may administer people and little else, beside chiefs who may do everything, above
// customers whose users get things by the All group, and with shares of what belongs to others.

import type { WorldFile, WorldRole } from 'policy-cache';
import { AIDE } from '../support/admin-calls.ts';

const ADMINISTERS = ['USER', 'USER_GROUP', 'ROLE', 'GROUP_PERMISSION', 'CUSTOMER', 'CUSTOMER_GROUP', 'DEVICE_GROUP'];

export const CLERK = 'clerk';

/** `where`: which of the owners the office is of; mostly a customer, so that something is out of its scope. */
export function withOffice(world: WorldFile, where: number): WorldFile {
  const owners = ['base', ...world.customers.map(({ id }) => id)].filter((id) => tenantOf(world, id) === 't0' || id === 'base');
  const o = where % 5 === 0 ? 't0' : owners[where % owners.length]!;
  const role = (id: string, permissions: WorldRole['permissions']): WorldRole =>
    Array.isArray(permissions)
      ? { id, owner: o, type: 'GROUP', permissions: permissions as readonly string[] }
      : { id, owner: o, type: 'GENERIC', permissions: permissions as Readonly<Record<string, readonly string[]>>, excluded: {} };
  const userGroup = (id: string, owner: string) => ({ id, type: 'USER', owner });
  const user = (id: string, owner: string, group: string) => ({ id, owner, enabled: true, groups: [group] });
  return {
    ...world,
    customers: [...world.customers, { id: 'base', owner: 't0', groups: [] }, { id: 'sub', owner: o, groups: [] }, { id: 'side', owner: 't0', groups: [] }],
    groups: [
      ...world.groups,
      ...[
        userGroup('office', o),
        userGroup('chiefs', o),
        userGroup('aides', o),
        userGroup('sub-chiefs', 'sub'),
        userGroup('side-staff', 'side'),
        userGroup('side-readers', 'side'),
      ],
      { id: 'meters', type: 'DEVICE', owner: o },
      { id: 'side-meters', type: 'DEVICE', owner: 'side' },
      { id: 'side-others', type: 'DEVICE', owner: 'side' },
    ],
    users: [
      ...world.users,
      ...[
        user(CLERK, o, 'office'),
        user(AIDE, o, 'aides'),
        user('chief', o, 'chiefs'),
        user('sub-chief', 'sub', 'sub-chiefs'),
        user('sider', 'side', 'side-staff'),
        user('reader', 'side', 'side-readers'),
      ],
      { id: 'sleeper', owner: 'sub', enabled: false, groups: ['sub-chiefs'] },
    ],
    entities: [
      ...world.entities,
      { id: 'one-of-side', type: 'DEVICE', owner: 'side', groups: [] },
      ...['meters', 'side-meters', 'side-others'].map((group) => ({
        id: `one-of-${group}`,
        type: 'DEVICE',
        owner: group === 'meters' ? o : 'side',
        groups: [group],
      })),
    ],
    roles: [
      ...world.roles,
      role('r-office', { ...Object.fromEntries(ADMINISTERS.map((resource) => [resource, ['ALL']])), DEVICE: ['READ'], TENANT: ['READ'] }),
      role('r-aide', { USER: ['READ', 'WRITE'] }),
      role('r-chief', { ALL: ['ALL'] }),
      role('r-devices', { DEVICE: ['ALL'] }),
      role('r-read', { DEVICE: ['READ'] }),
      role('r-look', ['READ', 'WRITE']),
      role('r-keep', ['READ', 'WRITE', 'DELETE']),
      role('r-all', ['ALL']),
      role('r-own', ['ALL']),
      role('r-unused', { PROFILE: ['ALL'] }),
    ],
    grants: [
      ...world.grants,
      ...[
        { id: 'p-office', userGroup: 'office', role: 'r-office' },
        { id: 'p-aides', userGroup: 'aides', role: 'r-aide' },
        { id: 'p-chiefs', userGroup: 'chiefs', role: 'r-chief' },
        { id: 'p-sub-chiefs', userGroup: 'sub-chiefs', role: 'r-chief' },
        { id: 'all-users-of-sub', userGroup: 'all:USER:sub', role: 'r-devices' },
        { id: 'p-side', userGroup: 'side-staff', role: 'r-keep', entityGroup: 'side-meters' },
        { id: 'p-readers', userGroup: 'side-readers', role: 'r-read' },
        // It sleeps: not of the clerk's scope, and no share.
        { id: 'p-asleep', userGroup: 'office', role: 'r-own', entityGroup: 'side-others' },
      ].map((grant) => ({ ...grant, shared: false })),
      ...[
        ['side-meters', 'r-keep'],
        ['side-others', 'r-look'],
        ['side-staff', 'r-look'],
        ['side-readers', 'r-look'],
      ].map(([entityGroup, given]) => ({ id: `s-${entityGroup}`, userGroup: 'office', role: given!, entityGroup: entityGroup!, shared: true })),
    ],
  };
}

function tenantOf(world: WorldFile, owner: string): string {
  const above = world.customers.find(({ id }) => id === owner)?.owner;
  return above === undefined ? owner : tenantOf(world, above);
}
