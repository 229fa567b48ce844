// What do these grants give, taken together? (semantics 3)
//
// Wildcards exist in stored roles only and end here. Role contents come out of a database as JSON: a name that the vocabulary
// does not know, `__proto__` and its kin included, matches nothing, because names are looked up in Maps and never in objects.

import { allGroupNumber } from './effective.ts';
import { ALL } from './vocabulary.ts';
import { NONE } from './model.ts';
import type { EffectivePermissions, GroupMasks, OwnerMasks } from './effective.ts';
import type { Grant, Permissions } from './model.ts';
import type { Vocabulary } from './vocabulary.ts';

/** How a world numbers what grants name. */
export interface Numbers {
  /** The number of an explicit group's id. */
  group(id: string): number;
  /** The tree node of a tenant or customer id; `NONE` if there is none. */
  node(ownerId: string): number;
}

/**
 * Effective permissions of the users whose groups hold exactly these grants. Order and repetition of grants do not matter.
 * A grant over a group whose owner is not in the tree, or whose type is not groupable, gives nothing.
 */
export function flatten(vocabulary: Vocabulary, grants: readonly Grant[], numbers: Numbers): EffectivePermissions {
  const generic = new Int32Array(vocabulary.resources.length);
  const own = new Map<number, number>();
  const shared = new Map<number, number>();
  const ownOfAll = new Map<number, number>();
  const sharedOfAll = new Map<number, number>();
  const sharedOfType = new Int32Array(vocabulary.groupableCount);
  const ownOfType = Array.from({ length: vocabulary.groupableCount }, () => new Map<number, number>());

  for (const grant of grants) {
    if (grant.kind === 'generic') {
      addGeneric(generic, vocabulary, grant);
      continue;
    }
    const groupable = vocabulary.groupable[vocabulary.type(grant.type)] ?? -1;
    const owner = numbers.node(grant.owner);
    const mask = operationMask(vocabulary, grant.operations);
    if (groupable < 0 || owner === NONE || mask === 0) continue;
    if (grant.group === null) add(grant.shared ? sharedOfAll : ownOfAll, allGroupNumber(owner, groupable, vocabulary.groupableCount), mask);
    else add(grant.shared ? shared : own, numbers.group(grant.group), mask);
    if (grant.shared) sharedOfType[groupable]! |= mask;
    else add(ownOfType[groupable]!, owner, mask);
  }
  return {
    generic,
    groups: groupMasks(own, shared),
    allGroups: groupMasks(ownOfAll, sharedOfAll),
    sharedOfType,
    ownOfType: ownOfType.map(ownerMasks),
  };
}

/** The mask of operation names; ALL stands for every operation of the vocabulary. */
export function operationMask(vocabulary: Vocabulary, names: readonly string[]): number {
  let mask = 0;
  for (const name of names) {
    if (name === ALL) return vocabulary.every;
    const operation = vocabulary.operation(name);
    if (operation >= 0) mask |= 1 << operation;
  }
  return mask;
}

/** What one GENERIC role gives, by resource: an exclusion subtracts inside its own role, before the union over the roles. */
export function genericMasks(vocabulary: Vocabulary, role: { readonly permissions: Permissions; readonly excluded: Permissions }): Int32Array {
  const masks = masksByResource(vocabulary, role.permissions);
  const excluded = masksByResource(vocabulary, role.excluded);
  for (let resource = 0; resource < masks.length; resource++) masks[resource]! &= ~excluded[resource]!;
  return masks;
}

function addGeneric(into: Int32Array, vocabulary: Vocabulary, role: { readonly permissions: Permissions; readonly excluded: Permissions }): void {
  const masks = genericMasks(vocabulary, role);
  for (let resource = 0; resource < masks.length; resource++) into[resource]! |= masks[resource]!;
}

/** One side of a role: what stands under the resource ALL is added to every resource. */
function masksByResource(vocabulary: Vocabulary, permissions: Permissions): Int32Array {
  const masks = new Int32Array(vocabulary.resources.length);
  if (Object.hasOwn(permissions, ALL)) masks.fill(operationMask(vocabulary, permissions[ALL]!));
  for (const name of Object.keys(permissions)) {
    const resource = vocabulary.resource(name);
    if (resource >= 0) masks[resource]! |= operationMask(vocabulary, permissions[name]!);
  }
  return masks;
}

function add(to: Map<number, number>, key: number, mask: number): void {
  to.set(key, (to.get(key) ?? 0) | mask);
}

const NO_MASKS: GroupMasks = [];

function groupMasks(own: ReadonlyMap<number, number>, shared: ReadonlyMap<number, number>): GroupMasks {
  // One list for all that have none: to see that it is empty costs no memory that is not in the processor's caches.
  if (own.size + shared.size === 0) return NO_MASKS;
  const numbers = [...new Set([...own.keys(), ...shared.keys()])].toSorted((a, b) => a - b);
  return numbers.flatMap((number) => [number, own.get(number) ?? 0, shared.get(number) ?? 0]).slice(); // without the room that a list leaves for more
}

const NO_OWNERS: OwnerMasks = { owners: new Int32Array(0), masks: new Int32Array(0) };

function ownerMasks(byOwner: ReadonlyMap<number, number>): OwnerMasks {
  if (byOwner.size === 0) return NO_OWNERS; // most types: a typed array costs more than the rest of a small flattening
  return { owners: Int32Array.from(byOwner.keys()), masks: Int32Array.from(byOwner.values()) };
}
