// What changes an object, its owner or its members, or removes it, and what must the caller be allowed? (semantics 1.5, 5)

import { predefinedIds, roleProblems } from 'policy-cache';
import type { Grant, Vocabulary } from 'policy-cache';
import {
  addMembers,
  changeOwner,
  readGrants,
  readObjects,
  readStray,
  removeMembers,
  removeObjects,
  updateObject,
  type ObjectChange,
  type Statements,
  type StoredGrant,
  type StoredObject,
} from 'policy-cache/postgres';
import { hangingEffects } from './hanging.ts';
import { allUsersOf, besides, coverOf, groupSide, grantOfRole, readEach, readOne, readOwn, resourceOf, singular, type Named } from './model.ts';
import type { Need, Who } from './needs.ts';
import type { Action, Effect } from './perform.ts';
import { Violation } from './refusals.ts';

interface Basis {
  readonly object: StoredObject;
  /** What the change hands on, or takes over. */
  readonly grants: readonly StoredGrant[];
}

const at = (operation: string, resource: string, target: string): Need => ({ kind: 'may', operation, resource, target });

/** The administrators of an owner, their role and its grant: who could take those away would leave nobody to give them back (semantics 1.2). */
function assertNotFixed({ id, list, owner, row }: StoredObject): void {
  if (owner === null) return;
  const { groups, roles } = predefinedIds(owner);
  const fixed = list === 'grants' ? row['userGroup'] === groups[0] && row['role'] === roles[0] : id === groups[0] || id === roles[0];
  if (fixed) throw new Violation('', '1.2', `${JSON.stringify(id)} is of the administrators of ${JSON.stringify(owner)}, which go with it alone`);
}

/** What a role has hangs on its type, which never changes. */
function assertShape({ row }: StoredObject, { permissions, excluded }: ObjectChange): void {
  const generic = row['type'] === 'GENERIC';
  if (permissions !== undefined && Array.isArray(permissions) === generic)
    throw new Violation('permissions', '1', generic ? 'of a GENERIC role: resource to operations' : 'of a GROUP role: a list of operations');
  if (excluded !== undefined && !generic) throw new Violation('excluded', '1', 'a GROUP role takes nothing off again; leave it out');
}

/** WRITE; of a user's credentials and flag *covers the user*, of a role *covers every grant that uses it*, as it will be. */
export function updateAction(vocabulary: Vocabulary, { list, id }: Named, change: ObjectChange): Action<Basis, StoredObject> {
  const takesOver = change.email !== undefined || change.enabled !== undefined;
  // Whose e-mail it is can have a link sent by which one logs in: so it is as with the link itself (../local/activation.ts).
  const lasting = ({ caller }: Who): readonly Need[] => {
    if (change.email === undefined) return [];
    const own = caller.kind === 'user' && caller.subject === id;
    return [{ kind: 'not-acting', what: 'the e-mail of a user' }, ...(own ? [{ kind: 'in-person', what: 'your own e-mail' } as const] : [])];
  };
  const edits = change.permissions !== undefined || change.excluded !== undefined;
  return {
    name: `${singular(list)}.update`,
    async read(db, who) {
      const object = await readOne(db, who, { list, id });
      if (list === 'users' && takesOver) return { object, grants: await grantsOfUser(db, object) };
      return { object, grants: list === 'roles' && edits ? await readGrants(db, { roles: [id] }) : [] };
    },
    locks: ({ object, grants }) => ({ update: [id], share: list === 'users' ? groupsOfUser(object) : grants.map(({ userGroup }) => userGroup) }),
    needs({ object, grants }, who) {
      if (list === 'users' && takesOver)
        // Nor is anybody taken over from below: what a user may do hangs on where it belongs, too (who hands owners on, and where to).
        return [...lasting(who), at('WRITE', 'USER', id), { kind: 'scope', owner: object.owner ?? '' }, ...grants.map(coverOf)];
      if (list !== 'roles' || !edits) return [at('WRITE', resourceOf(vocabulary, object), id)];
      assertNotFixed(object);
      assertShape(object, change);
      const row = { ...object.row, ...given({ permissions: change.permissions, excluded: change.excluded }) };
      const [problem] = roleProblems(vocabulary, row as unknown as Parameters<typeof roleProblems>[1], '');
      if (problem) throw new Violation(problem.path.replace(/^\./, ''), '2', problem.message);
      return [at('WRITE', 'ROLE', id), ...grants.map((stored) => coverOf({ ...stored, grant: after(stored.grant, row) }))];
    },
    current: ({ object }) => object,
    async apply(db, { object }) {
      await updateObject(db, id, change);
      const now = (await readObjects(db, [id])).get(id)!;
      return { value: now, effects: [effectOf(object, now)] };
    },
  };
}

/** The grant with what its role will be. */
function after(grant: Grant, row: Readonly<Record<string, unknown>>): Grant {
  const changed = grantOfRole(grant.role, row, null, false);
  return grant.kind === 'group' && changed.kind === 'group' ? { ...grant, operations: changed.operations } : changed;
}

/** The operation that it names; what hangs on it goes too, and needs no cover. */
export function removeAction(vocabulary: Vocabulary, named: readonly Named[]): Action<readonly StoredObject[], number> {
  const [first] = named;
  return {
    name: `${singular(first?.list ?? 'entities')}.delete`,
    read: (db, who) => readEach(db, who, named),
    locks: (objects) => ({ update: objects.map(({ id }) => id), share: [] }),
    needs: (objects) =>
      objects.map((object) => {
        assertNotFixed(object);
        return at('DELETE', resourceOf(vocabulary, object), object.id);
      }),
    ...(named.length === 1 ? { current: ([object]: readonly StoredObject[]) => object! } : {}),
    async apply(db, objects) {
      const hanging = await hangingEffects(db, objects);
      const value = await removeObjects(
        db,
        objects.map(({ id }) => id),
      );
      return { value, effects: [...hanging, ...ownersLast(objects).map((object) => effectOf(object, null))] };
    },
  };
}

/** What has an owner's id after the row of that one's end is of another one, to whoever reads the audit log (audit.ts). */
function ownersLast(objects: readonly StoredObject[]): readonly StoredObject[] {
  const ownerOf = new Map(objects.map(({ id, owner }) => [id, owner]));
  const depth = (id: string): number => {
    let steps = 0;
    for (let at = ownerOf.get(id); at !== undefined && at !== null; at = ownerOf.get(at)) steps++;
    return steps;
  };
  const deep = new Map(objects.map(({ id }) => [id, depth(id)]));
  return objects.toSorted((a, b) => deep.get(b.id)! - deep.get(a.id)!);
}

interface OwnerBasis extends Basis {
  readonly owner: StoredObject;
  readonly groups: ReadonlyMap<string, StoredObject>;
}

/** CHANGE_OWNER, both owners in the caller's subtree, ADD_TO_GROUP on each group; of a user *covers* whatever it comes into. */
export function ownerAction(
  vocabulary: Vocabulary,
  named: Named,
  to: { readonly owner: string; readonly groups: readonly string[] },
): Action<OwnerBasis, StoredObject> {
  return {
    name: `${singular(named.list)}.owner`,
    async read(db, who) {
      const object = await readOne(db, who, named);
      const known = await readOwn(db, besides(who, object), [to.owner, ...to.groups]);
      const owner = known.get(to.owner);
      if (owner?.list !== 'tenants' && owner?.list !== 'customers')
        throw new Violation('owner', '1', `there is no tenant or customer ${JSON.stringify(to.owner)}`);
      const grants = named.list === 'users' ? await readGrants(db, { userGroups: [...to.groups, allUsersOf(to.owner)] }) : [];
      return { object, owner, grants, groups: known };
    },
    locks: () => ({ update: [named.id], share: [to.owner, ...to.groups] }),
    needs({ object, owner, grants, groups }) {
      to.groups.forEach((id, i) => {
        const side = groupSide(id, groups, { field: `groups[${i}]`, type: object.type });
        if (side.all || side.owner !== to.owner)
          throw new Violation(`groups[${i}]`, '1.3', `${JSON.stringify(id)} is no explicit group of ${JSON.stringify(to.owner)}`);
      });
      const ofGroups = to.groups.length === 0 ? '' : resourceOf(vocabulary, { list: 'groups', type: object.type });
      return [
        at('CHANGE_OWNER', resourceOf(vocabulary, object), object.id),
        { kind: 'scope', owner: object.owner ?? '' },
        { kind: 'scope', owner: to.owner },
        ...(owner.list === 'tenants' ? [{ kind: 'tenant-admin' } as const] : []),
        ...to.groups.map((id) => at('ADD_TO_GROUP', ofGroups, id)),
        ...grants.map(coverOf),
      ];
    },
    current: ({ object }) => object,
    async apply(db, { object }) {
      await changeOwner(db, { id: object.id, ...to });
      const now = (await readObjects(db, [object.id])).get(object.id)!;
      const effect = effectOf(object, now);
      // Who had it is to see that it was taken from them, as whoever has it now that it came. Each row has both states, so that either is the
      // whole change; of an owner beyond the reader's scope neither tells more than the id of the thing (audit.ts).
      const taken = object.owner === now.owner ? [] : [{ ...effect, owner: object.owner ?? object.id }];
      return { value: now, effects: [...taken, effect] };
    },
  };
}

interface MembersBasis extends Basis {
  readonly lists: readonly string[];
}

/** ADD_TO_GROUP and REMOVE_FROM_GROUP on the group, READ on each; who puts users in *covers the group*. */
export function membersAction(
  vocabulary: Vocabulary,
  group: string,
  { add, remove }: { readonly add: readonly string[]; readonly remove: readonly string[] },
): Action<MembersBasis, { readonly added: number; readonly removed: number }> {
  return {
    name: 'group.members',
    async read(db, who) {
      const object = await readOne(db, who, { list: 'groups', id: group });
      const grants = object.type === 'USER' && add.length > 0 ? await readGrants(db, { userGroups: [group] }) : [];
      return { object, grants, lists: [] };
    },
    locks: () => ({ update: [], share: [group] }),
    needs({ object, grants }) {
      const ofGroup = resourceOf(vocabulary, object);
      const list = object.type === 'USER' ? 'users' : object.type === 'CUSTOMER' ? 'customers' : 'entities';
      const resource = resourceOf(vocabulary, { list, type: object.type });
      return [
        ...(add.length > 0 ? [at('ADD_TO_GROUP', ofGroup, group)] : []),
        ...(remove.length > 0 ? [at('REMOVE_FROM_GROUP', ofGroup, group)] : []),
        { kind: 'read-all', resource, owner: object.owner ?? '', targets: [...add, ...remove] },
        ...grants.map(coverOf),
      ];
    },
    async misfit(db, { object }) {
      const stray = await readStray(db, object, add);
      if (stray === null) return null;
      // Not whose it is: whoever may add to a group need not be allowed to read it.
      const words = `${JSON.stringify(stray)} is not of the type and the owner of the group, which holds nothing else`;
      return new Violation(`add[${add.indexOf(stray)}]`, '1.3', words);
    },
    async apply(db, { object }) {
      const left = remove.length === 0 ? [] : await removeMembers(db, group, remove);
      const joined = add.length === 0 ? [] : await addMembers(db, object, add);
      const { tenant, owner } = object;
      const effect: Effect = { tenant, owner: owner ?? '', target: group, before: null, after: { added: joined, removed: left } };
      return { value: { added: joined.length, removed: left.length }, effects: [effect] };
    },
  };
}

/** The user groups that count, All among them. */
export function groupsOfUser({ row, owner }: StoredObject): readonly string[] {
  return [...((row['groups'] ?? []) as readonly string[]), allUsersOf(owner ?? '')];
}

export async function grantsOfUser(db: Statements, user: StoredObject): Promise<readonly StoredGrant[]> {
  return readGrants(db, { userGroups: groupsOfUser(user) });
}

function effectOf(before: StoredObject, now: StoredObject | null): Effect {
  const { id, tenant, owner } = now ?? before;
  return { tenant, owner: owner ?? id, target: id, before: before.row, after: now?.row ?? null };
}

function given<T extends object>(fields: T): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>;
}
