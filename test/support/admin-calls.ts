// Which calls of the administration are worth trying? Random ones, mostly about things that are there and fit together.
//
// The scene is what a test knows of a world while it is being changed: it learns of accepted calls alone, from their answers.

import type { WorldFile } from 'policy-cache';
import type { AdminAnswer } from './admin.ts';

interface Owned {
  readonly id: string;
  owner: string;
}
interface Typed extends Owned {
  readonly type: string;
}

export interface Call {
  /** A user, or the token of a session that somebody has as another. */
  readonly by: string;
  /** `POST /v1/users`, its ids encoded. */
  readonly request: string;
  readonly body?: object;
  /** What it was about, to learn from its answer. */
  readonly about: {
    readonly list: string;
    readonly id?: string;
    /** Of a change of many: the others. */
    readonly more?: readonly string[];
    readonly does: 'create' | 'update' | 'delete' | 'owner' | 'members' | 'act' | 'credential' | 'end';
  };
}

export interface Scene {
  readonly owners: Set<string>;
  readonly customers: Map<string, Owned>;
  readonly users: Map<string, Owned>;
  readonly groups: Map<string, Typed>;
  readonly roles: Map<string, Typed>;
  readonly entities: Map<string, Typed>;
  readonly grants: Map<string, { readonly id: string; readonly userGroup: string }>;
  /** Ids that were moved, put into a group or taken out of one, or removed. */
  readonly touched: Set<string>;
  /** Who acts as the first of them, or could. */
  readonly controlled: Set<string>;
  /** Tokens of sessions: who has them, and as whom. */
  readonly acting: Map<string, { readonly actor: string; readonly user: string }>;
  /** Of them, those that were ended. */
  readonly ended: Set<string>;
  /** API keys and links that were made by such a token. */
  readonly lasting: string[];
  /** Ids that a call makes begin with it. */
  readonly prefix: string;
  made: number;
}

export function sceneOf(world: WorldFile, { by, prefix }: { readonly by: string; readonly prefix: string }): Scene {
  const map = <T extends { readonly id: string }>(rows: readonly T[]): Map<string, T> => new Map(rows.map((row) => [row.id, { ...row }]));
  const { tenants, customers, users, groups, roles, entities, grants } = world;
  return {
    owners: new Set([...tenants, ...customers].map(({ id }) => id)),
    customers: map(customers),
    users: map(users),
    groups: map(groups),
    roles: map(roles),
    entities: map(entities),
    grants: map(grants),
    touched: new Set(),
    controlled: new Set([by]),
    acting: new Map(),
    ended: new Set(),
    lasting: [],
    prefix,
    made: 0,
  };
}

const pick = <T>(list: readonly T[], number: number): T | undefined => list[number % list.length];
const path = (list: string, id: string, more = ''): string => `/v1/${list}/${encodeURIComponent(id)}${more}`;

const OPERATIONS = ['READ', 'WRITE', 'DELETE', 'CREATE', 'ADD_TO_GROUP', 'READ_TELEMETRY', 'ALL'];
const RESOURCES = ['DEVICE', 'USER', 'USER_GROUP', 'DEVICE_GROUP', 'CUSTOMER', 'ROLE', 'ASSET', 'ALL'];

/** A user as whom nearly everybody may log in who may at all. */
export const AIDE = 'aide';

/** What a call does, the telling kinds more often. */
export const KINDS = [
  ...(['join', 'join', 'join', 'members', 'user', 'user', 'user', 'entity', 'customer', 'group', 'role', 'grant', 'grant', 'grant'] as const),
  ...(['share', 'share', 'edit', 'edit', 'account', 'account', 'owner', 'owner', 'delete', 'rename'] as const),
  ...(['act', 'act', 'act', 'key', 'link', 'end'] as const),
] as const;
export type Kind = (typeof KINDS)[number];

/** What is tried: calls of these kinds, three in four of them about these ids of the scene. */
export interface Search {
  readonly kinds: readonly Kind[];
  readonly aims: readonly string[];
}

/** Null where the scene has nothing of the kind. */
export function callOf(scene: Scene, numbers: readonly number[], { kinds, aims }: Search): Call | null {
  const choose = <T extends { readonly id: string }>(list: readonly T[], number: number): T | undefined => {
    const aimed = list.filter(({ id }) => aims.includes(id.slice(scene.prefix.length)));
    return aimed.length > 0 && number % 4 < 3 ? pick(aimed, number >>> 2) : pick(list, number);
  };
  const [who, what, a, b, c, d, e] = numbers as [number, number, number, number, number, number, number];
  const tokens = [...scene.acting.keys()].filter((token) => !scene.ended.has(token));
  const by = tokens.length > 0 && who % 3 === 0 ? pick(tokens, Math.floor(who / 3))! : pick([...scene.controlled], who)!;
  const self = scene.users.get(scene.acting.get(by)?.user ?? by);
  const all = [...scene.owners];
  const below = all.filter((owner) => chainOf(scene, owner).includes(self?.owner ?? ''));
  // Mostly of its own subtree: elsewhere it is refused.
  const owners = below.length === 0 || e % 5 === 0 ? all : below;
  const users = [...scene.users.values()];
  const groups = [...scene.groups.values()];
  const userGroups = groups.filter(({ type }) => type === 'USER');
  const newId = (): string => `${scene.prefix}n${scene.made++}`;
  const ownGroups = (type: string, owner: string, number: number): readonly string[] => {
    const fitting = groups.filter((group) => group.type === type && group.owner === owner).map(({ id }) => id);
    return fitting.length === 0 || number % 3 === 0 ? [] : [pick(fitting, number >>> 2)!];
  };
  const operations = (number: number): readonly string[] => [pick(OPERATIONS, number)!, pick(OPERATIONS, number >>> 3)!];
  const permissions = (number: number): object => ({ [pick(RESOURCES, number)!]: ['ALL'], [pick(RESOURCES, number >>> 4)!]: ['READ'] });
  /** Mostly itself or somebody it made: whom else would it help? */
  const somebody = (number: number): string | undefined => (number % 2 === 0 ? pick([...scene.controlled], number >>> 1) : pick(users, number >>> 1)?.id);
  const create = (list: string, body: object): Call => {
    const id = (body as { id?: string }).id;
    return { by, request: `POST /v1/${list}`, body, about: { list, does: 'create', ...(id === undefined ? {} : { id }) } };
  };
  /** One in three as the change of many, of one or of two: for each the same is asked as if it were alone. */
  const update = (list: string, ids: readonly [string, string | undefined], body: object): Call => {
    const [id, other] = ids;
    if (d % 3 > 0) return { by, request: `PATCH ${path(list, id)}`, body, about: { list, id, does: 'update' } };
    const more = other === undefined || other === id || d % 12 > 0 ? [] : [other];
    const items = [id, ...more].map((each, i) => ({ id: each, ...body, ...('email' in body && i > 0 ? { email: `${each}@example.com` } : {}) }));
    return { by, request: `POST /v1/${list}/bulk-update`, body: { items }, about: { list, id, more, does: 'update' } };
  };
  const grantRow = (): { userGroup: string; role: string; entityGroup?: string } | null => {
    const mine = userGroups.filter(({ owner }) => owner === self?.owner);
    const userGroup =
      aims.length === 0 && c % 7 === 0 ? `all:USER:${pick(owners, d)!}` : choose(aims.length === 0 && mine.length > 0 && c % 4 < 3 ? mine : userGroups, d)?.id;
    const role = choose([...scene.roles.values()], a);
    if (userGroup === undefined || role === undefined) return null;
    if (role.type === 'GENERIC') return { userGroup, role: role.id };
    const entityGroup = aims.length === 0 && b % 4 === 0 ? `all:${pick(['DEVICE', 'USER', 'CUSTOMER'], b >>> 2)!}:${pick(owners, e)!}` : choose(groups, e)?.id;
    return entityGroup === undefined ? null : { userGroup, role: role.id, entityGroup };
  };

  const kind = pick(kinds, what)!;
  switch (kind) {
    case 'join': {
      const member = somebody(a);
      const owner = scene.users.get(member ?? '')?.owner;
      const group = pick(c % 5 === 0 ? userGroups : userGroups.filter((each) => each.owner === owner), b);
      if (member === undefined || group === undefined) return null;
      return { by, request: `POST ${path('groups', group.id, '/members')}`, body: { add: [member] }, about: { list: 'groups', id: group.id, does: 'members' } };
    }
    case 'members': {
      const group = pick(groups, a);
      const members = group?.type === 'USER' ? users : group?.type === 'CUSTOMER' ? [...scene.customers.values()] : [...scene.entities.values()];
      const member = pick(members, b);
      if (group === undefined || member === undefined) return null;
      const body = c % 2 === 0 ? { add: [member.id] } : { remove: [member.id] };
      return { by, request: `POST ${path('groups', group.id, '/members')}`, body, about: { list: 'groups', id: group.id, does: 'members' } };
    }
    case 'user': {
      const owner = c % 3 === 0 ? self?.owner : pick(owners, a);
      if (owner === undefined) return null;
      const row = { id: newId(), owner, groups: ownGroups('USER', owner, b) };
      return d % 6 === 0 ? { ...create('users', row), request: 'POST /v1/users/bulk', body: { items: [row] } } : create('users', row);
    }
    case 'entity': {
      const owner = pick(owners, a)!;
      return create('entities', { id: newId(), type: 'DEVICE', owner, groups: ownGroups('DEVICE', owner, b) });
    }
    case 'customer':
      return create('customers', { id: newId(), owner: pick(owners, a)! });
    case 'group':
      return create('groups', { id: newId(), type: pick(['USER', 'USER', 'DEVICE', 'CUSTOMER'], a)!, owner: pick(owners, b)! });
    case 'role': {
      const owner = pick(owners, a)!;
      if (b % 2 === 0) return create('roles', { id: newId(), owner, type: 'GROUP', permissions: operations(c) });
      return create('roles', { id: newId(), owner, type: 'GENERIC', permissions: permissions(c) });
    }
    case 'grant': {
      const row = grantRow();
      if (row === null) return null;
      return d % 6 === 0 ? { ...create('grants', row), request: 'POST /v1/grants/bulk', body: { items: [row] } } : create('grants', row);
    }
    case 'share': {
      const row = grantRow();
      if (row?.entityGroup === undefined) return null;
      const { entityGroup, ...body } = row;
      return { by, request: `POST ${path('groups', entityGroup, '/share')}`, body, about: { list: 'grants', does: 'create' } };
    }
    case 'edit': {
      const used = pick([...scene.roles.values()], a);
      if (used === undefined) return null;
      const body = used.type === 'GROUP' ? { permissions: operations(b) } : c % 3 === 0 ? { excluded: {} } : { permissions: permissions(b) };
      return update('roles', [used.id, pick([...scene.roles.values()], e)?.id], body);
    }
    case 'account': {
      const user = choose(users, a);
      if (user === undefined) return null;
      const body = b % 2 === 0 ? { email: `${user.id}@example.com` } : { enabled: b % 5 !== 1 };
      return update('users', [user.id, choose(users, e)?.id], body);
    }
    case 'owner': {
      const list = pick(['users', 'users', 'entities', 'customers'] as const, a)!;
      const id = list === 'users' ? somebody(b) : pick([...scene[list].keys()], b);
      const owner = pick(owners, c)!;
      if (id === undefined) return null;
      const type = list === 'users' ? 'USER' : list === 'customers' ? 'CUSTOMER' : (scene.entities.get(id)?.type ?? '');
      const to = { owner, groups: ownGroups(type, owner, d) };
      if (e % 3 > 0) return { by, request: `PUT ${path(list, id, '/owner')}`, body: to, about: { list, id, does: 'owner' } };
      const other = list === 'users' ? somebody(e) : pick([...scene[list].keys()], e);
      const more = other === undefined || other === id || e % 12 > 0 ? [] : [other];
      return { by, request: `POST /v1/${list}/bulk-owner`, body: { ids: [id, ...more], ...to }, about: { list, id, more, does: 'owner' } };
    }
    case 'delete': {
      const list = pick(['users', 'groups', 'roles', 'grants', 'entities', 'customers'] as const, a)!;
      const id = pick([...scene[list].keys()], b);
      if (id === undefined || scene.controlled.has(id)) return null;
      return { by, request: `DELETE ${path(list, id)}`, about: { list, id, does: 'delete' } };
    }
    case 'act': {
      const easy = [...scene.controlled, `${scene.prefix}${AIDE}`].flatMap((id) => scene.users.get(id) ?? []);
      const user = aims.length > 0 || a % 3 === 0 ? choose(users, b) : pick(easy, b);
      if (user === undefined) return null;
      return { by, request: `POST ${path('users', user.id, '/login')}`, body: {}, about: { list: 'users', id: user.id, does: 'act' } };
    }
    case 'key':
    case 'link': {
      const user = b % 3 === 0 ? self : choose(users, a);
      if (user === undefined) return null;
      const what = kind === 'key' ? '/keys' : '/activation';
      return { by, request: `POST ${path('users', user.id, what)}`, body: {}, about: { list: 'users', id: user.id, does: 'credential' } };
    }
    case 'end': {
      const user = pick([...scene.acting.values()], a)?.user ?? pick(users, a)?.id;
      if (user === undefined) return null;
      return { by, request: `DELETE ${path('users', user, '/sessions')}`, about: { list: 'users', id: user, does: 'end' } };
    }
    case 'rename': {
      const list = pick(['groups', 'entities', 'roles', 'grants'] as const, a)!;
      const id = pick([...scene[list].keys()], b);
      return id === undefined ? null : update(list, [id, pick([...scene[list].keys()], e)], { name: 'Another name' });
    }
    default:
      return kind satisfies never;
  }
}

/** An owner, its own owner, and so on. */
function chainOf({ customers }: Scene, owner: string): readonly string[] {
  const above = customers.get(owner)?.owner;
  return above === undefined ? [owner] : [owner, ...chainOf({ customers } as Scene, above)];
}

/** What an accepted call has changed. */
export function learn(scene: Scene, call: Call, answer: AdminAnswer): void {
  const { about, body = {} } = call;
  const { list, id = '', more = [] } = about;
  switch (about.does) {
    case 'create': {
      const answered = answer.body as { readonly items?: readonly unknown[] };
      for (const row of (answered.items ?? [answered]) as readonly (Typed & { readonly userGroup: string })[]) {
        mapOf(scene, list).set(row.id, row);
        if (list === 'users') scene.controlled.add(row.id);
        if (list === 'customers') made(scene, row.id);
      }
      return;
    }
    case 'update':
      // Of many each is given the same.
      if (list === 'users' && /"(?:email|enabled)":/.test(JSON.stringify(body))) for (const each of [id, ...more]) scene.controlled.add(each);
      return;
    case 'act': {
      const { accessToken } = answer.body as { readonly accessToken: string };
      scene.acting.set(accessToken, { actor: scene.acting.get(call.by)?.actor ?? call.by, user: id });
      scene.controlled.add(id);
      return;
    }
    case 'credential': {
      const { key, link } = answer.body as { readonly key?: string; readonly link?: string };
      if (scene.acting.has(call.by)) scene.lasting.push(key ?? String(link).replace(/^.*#token=/, ''));
      scene.controlled.add(id);
      return;
    }
    case 'end':
      for (const [token, { actor, user }] of scene.acting) if (user === id || actor === id) scene.ended.add(token);
      return;
    case 'owner': {
      for (const each of [id, ...more]) {
        const row = mapOf(scene, list).get(each) as Owned | undefined;
        if (row) row.owner = (body as { owner: string }).owner;
        scene.touched.add(each);
      }
      return;
    }
    case 'members': {
      const { add = [], remove = [] } = body as { readonly add?: readonly string[]; readonly remove?: readonly string[] };
      for (const each of [...add, ...remove]) scene.touched.add(each);
      return;
    }
    case 'delete':
      mapOf(scene, list).delete(id);
      scene.owners.delete(id);
      scene.touched.add(id);
      for (const [grant, { userGroup }] of scene.grants) if (userGroup === id) scene.grants.delete(grant);
      return;
    default:
      about.does satisfies never;
  }
}

function mapOf(scene: Scene, list: string): Map<string, { readonly id: string }> {
  return scene[list as 'users'];
}

/** With its predefined groups and roles (semantics 1.2). */
function made(scene: Scene, owner: string): void {
  scene.owners.add(owner);
  for (const id of [`admins:${owner}`, `users:${owner}`]) scene.groups.set(id, { id, owner, type: 'USER' });
  for (const id of [`role:admin:${owner}`, `role:user:${owner}`]) scene.roles.set(id, { id, owner, type: 'GENERIC' });
}
