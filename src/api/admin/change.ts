// What changes an object, its owner or its members, or removes it, and what must the caller be allowed? (semantics 1.5, 5)

import { predefinedIds, roleProblems, utf8Length } from 'policy-cache';
import type { Grant, Vocabulary } from 'policy-cache';
import {
  MOST_READ_BYTES,
  Oversized,
  addMembers,
  changeOwner,
  readGrants,
  readLoginClash,
  readObjects,
  readStray,
  removeMembers,
  removeObjects,
  updateObjects,
  type ObjectChange,
  type Statements,
  type StoredGrant,
  type StoredObject,
} from 'policy-cache/postgres';
import { hangingEffects } from './hanging.ts';
import {
  allUsersOf,
  besides,
  coverOf,
  groupSide,
  grantOfRole,
  readChain,
  readEach,
  readOne,
  readOwn,
  resourceOf,
  singular,
  type List,
  type Named,
} from './model.ts';
import type { Need, Who } from './needs.ts';
import type { Action, Effect } from './perform.ts';
import { Violation } from './refusals.ts';

interface Basis {
  readonly objects: readonly StoredObject[];
  /** What the change hands on, or takes over. */
  readonly grants: readonly StoredGrant[];
}

/** `one`: paths in refusals name no place in a list. */
interface Many {
  readonly one: boolean;
}

const at = (operation: string, resource: string, target: string): Need => ({ kind: 'may', operation, resource, target });

/** The administrators of an owner, their role and its grant: who could take those away would leave nobody to give them back (semantics 1.2). */
function assertNotFixed({ id, list, owner, row }: StoredObject, field = ''): void {
  if (owner === null) return;
  const { groups, roles } = predefinedIds(owner);
  const fixed = list === 'grants' ? row['userGroup'] === groups[0] && row['role'] === roles[0] : id === groups[0] || id === roles[0];
  if (fixed) throw new Violation(field, '1.2', `${JSON.stringify(id)} is of the administrators of ${JSON.stringify(owner)}, which go with it alone`);
}

/** What a role has hangs on its type, which never changes. */
function assertShape({ row }: StoredObject, { permissions, excluded }: ObjectChange, at: (field: string) => string): void {
  const generic = row['type'] === 'GENERIC';
  if (permissions !== undefined && Array.isArray(permissions) === generic)
    throw new Violation(at('permissions'), '1', generic ? 'of a GENERIC role: resource to operations' : 'of a GROUP role: a list of operations');
  if (excluded !== undefined && !generic) throw new Violation(at('excluded'), '1', 'a GROUP role takes nothing off again; leave it out');
}

export interface Update {
  readonly id: string;
  readonly change: ObjectChange;
  /** Only if it has this tag. */
  readonly tag?: string | undefined;
}

/**
 * Changes all, or none. WRITE; of a user's credentials and flag *covers the user*, of a role *covers every grant that uses it*, as it will be.
 * All are judged on what there is before: what one of them gives or takes is not there yet for the next.
 */
export function updateAction(
  vocabulary: Vocabulary,
  { list, updates, one }: Many & { readonly list: List; readonly updates: readonly Update[] },
): Action<Basis, readonly StoredObject[]> {
  const named = updates.map(({ id }) => ({ list, id }));
  const isTaken = ({ change }: Update): boolean => list === 'users' && (change.email !== undefined || change.enabled !== undefined);
  const isEdited = ({ change }: Update): boolean => list === 'roles' && (change.permissions !== undefined || change.excluded !== undefined);
  const edited = updates.filter(isEdited);

  const needsOf = (object: StoredObject, i: number, { caller }: Who): readonly Need[] => {
    const update = updates[i]!;
    const { id, change } = update;
    const field = (name: string): string => (one ? name : `items[${i}]${name === '' ? '' : `.${name}`}`);
    if (isTaken(update)) {
      // Whose e-mail it is can have a link sent by which one logs in: so it is as with the link itself (../local/activation.ts).
      const own = change.email !== undefined && caller.kind === 'user' && caller.subject === id;
      return [
        ...(change.email === undefined ? [] : [{ kind: 'not-acting', what: 'the e-mail of a user' } as const]),
        ...(own ? [{ kind: 'in-person', what: 'your own e-mail' } as const] : []),
        at('WRITE', 'USER', id),
        // Nor is anybody taken over from below: what a user may do hangs on where it belongs, too (who hands owners on, and where to).
        { kind: 'scope', owner: object.owner ?? '' },
      ];
    }
    if (!isEdited(update)) return [at('WRITE', resourceOf(vocabulary, object), id)];
    assertNotFixed(object, field(''));
    assertShape(object, change, field);
    const [problem] = roleProblems(vocabulary, edit(object, change) as unknown as Parameters<typeof roleProblems>[1], '');
    if (problem) throw new Violation(field(problem.path.replace(/^\./, '')), '2', problem.message);
    return [at('WRITE', 'ROLE', id)];
  };

  return {
    name: `${singular(list)}.update`,
    async read(db, who) {
      const objects = await readEach(db, who, named);
      const userGroups = new Set(objects.flatMap((object, i) => (isTaken(updates[i]!) ? groupsOfUser(object) : [])));
      return { objects, grants: await readGrants(db, { userGroups: [...userGroups], roles: edited.map(({ id }) => id) }) };
    },
    locks: ({ objects, grants }) => ({
      update: updates.map(({ id }) => id),
      share: list === 'users' ? objects.flatMap(groupsOfUser) : grants.map(({ userGroup }) => userGroup),
    }),
    needs({ objects, grants }, who) {
      const needs = objects.flatMap((object, i) => needsOf(object, i, who));
      if (list === 'users') return [...needs, ...grants.map(coverOf)];
      const rows = new Map(objects.flatMap((object, i) => (isEdited(updates[i]!) ? [[object.id, edit(object, updates[i]!.change)] as const] : [])));
      return [...needs, ...grants.map((stored) => coverOf({ ...stored, grant: after(stored.grant, rows.get(stored.grant.role)!) }))];
    },
    ...(one ? { current: ({ objects: [object] }: Basis) => object! } : {}),
    expected: ({ objects }) =>
      objects.flatMap((object, i) => {
        const { tag } = updates[i]!;
        return tag === undefined ? [] : [{ object, tag, field: `items[${i}].etag` }];
      }),
    async misfit(db) {
      if (one) return null;
      const asked = updates.flatMap(({ id, change: { email } }, i) => (email ? [{ user: id, email, i }] : []));
      const clash = await readLoginClash(db, asked);
      if (clash !== null) return new Violation(`items[${asked[clash]!.i}].email`, '5', 'another user logs in by this e-mail');
      return null;
    },
    async apply(db, { objects }) {
      await updateObjects(db, updates);
      const value = await readAgain(db, objects);
      return { value, effects: objects.map((object, i) => effectOf(object, value[i]!)) };
    },
  };
}

function edit({ row }: StoredObject, { permissions, excluded }: ObjectChange): Readonly<Record<string, unknown>> {
  return { ...row, ...given({ permissions, excluded }) };
}

/** As they are now, in their order. */
async function readAgain(db: Statements, objects: readonly StoredObject[]): Promise<readonly StoredObject[]> {
  const now = await readObjects(
    db,
    objects.map(({ id }) => id),
  );
  return objects.map(({ id }) => now.get(id)!);
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
    // What an owner began with goes with it, and whoever puts somebody into a group of those has that locked before the owner, or after.
    locks: (objects) => ({ move: objects.flatMap(({ id, list }) => (list === 'customers' ? [id, ...begunWith(id)] : [id])) }),
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

function begunWith(owner: string): readonly string[] {
  const { groups, roles } = predefinedIds(owner);
  return [...groups, ...roles];
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

/** Of all, or of none: CHANGE_OWNER, both owners in the caller's subtree, ADD_TO_GROUP on each group; of users *covers* whatever they come into. */
export function ownerAction(
  vocabulary: Vocabulary,
  { list, ids, one }: Many & { readonly list: List; readonly ids: readonly string[] },
  to: { readonly owner: string; readonly groups: readonly string[] },
): Action<OwnerBasis, readonly StoredObject[]> {
  return {
    name: `${singular(list)}.owner`,
    async read(db, who) {
      // Before they are written.
      if (ids.length > 1 && ids.length * utf8Length(JSON.stringify(to.groups)) > MOST_READ_BYTES) throw new Oversized();
      const objects = await readEach(
        db,
        who,
        ids.map((id) => ({ list, id })),
      );
      const known = await readOwn(db, besides(who, objects[0]!), [to.owner, ...to.groups]);
      const owner = known.get(to.owner);
      if (owner?.list !== 'tenants' && owner?.list !== 'customers')
        throw new Violation('owner', '1', `there is no tenant or customer ${JSON.stringify(to.owner)}`);
      const grants = list === 'users' ? await readGrants(db, { userGroups: [...to.groups, allUsersOf(to.owner)] }) : [];
      return { objects, owner, grants, groups: known };
    },
    locks: () => ({ move: ids, share: [to.owner, ...to.groups] }),
    needs({ objects, owner, grants, groups }) {
      // Only straight on the database are there things of several tenants.
      const stray = objects.findIndex(({ tenant }) => tenant !== owner.tenant);
      if (stray >= 0) throw new Violation(`ids[${stray}]`, '1.1', `${JSON.stringify(ids[stray])} is of another tenant than ${JSON.stringify(to.owner)}`);
      for (const type of new Set(objects.map((object) => object.type)))
        to.groups.forEach((id, i) => {
          const side = groupSide(id, groups, { field: `groups[${i}]`, type });
          if (side.all || side.owner !== to.owner)
            throw new Violation(`groups[${i}]`, '1.3', `${JSON.stringify(id)} is no explicit group of ${JSON.stringify(to.owner)}`);
        });
      // One for all where there are groups: else they would not be of its type.
      const ofGroups = to.groups.length === 0 ? '' : resourceOf(vocabulary, { list: 'groups', type: objects[0]!.type });
      return [
        ...objects.map((object) => at('CHANGE_OWNER', resourceOf(vocabulary, object), object.id)),
        ...[...new Set(objects.map((object) => object.owner ?? ''))].map((each): Need => ({ kind: 'scope', owner: each })),
        { kind: 'scope', owner: to.owner },
        ...(owner.list === 'tenants' ? [{ kind: 'tenant-admin' } as const] : []),
        ...to.groups.map((id) => at('ADD_TO_GROUP', ofGroups, id)),
        ...grants.map(coverOf),
      ];
    },
    ...(one ? { current: ({ objects: [object] }: OwnerBasis) => object! } : {}),
    async misfit(db) {
      if (one || list !== 'customers') return null;
      const above = new Set(await readChain(db, to.owner));
      const circle = ids.findIndex((id) => above.has(id));
      if (circle < 0) return null;
      return new Violation(`ids[${circle}]`, '1', 'a customer would be above itself: it cannot go to itself, nor to one that is below it');
    },
    async apply(db, { objects }) {
      await changeOwner(db, { ids, ...to });
      const value = await readAgain(db, objects);
      const effects = objects.flatMap((object, i) => {
        const now = value[i]!;
        const effect = effectOf(object, now);
        // Who had it is to see that it was taken from them, as whoever has it now that it came. Each row has both states, so that either is the
        // whole change; of an owner beyond the reader's scope neither tells more than the id of the thing (audit.ts).
        return object.owner === now.owner ? [effect] : [{ ...effect, owner: object.owner ?? object.id }, effect];
      });
      return { value, effects };
    },
  };
}

interface MembersBasis {
  readonly object: StoredObject;
  readonly grants: readonly StoredGrant[];
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
      return { object, grants };
    },
    locks: () => ({ share: [group] }),
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
      const left = remove.length === 0 ? [] : await removeMembers(db, object, remove);
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
