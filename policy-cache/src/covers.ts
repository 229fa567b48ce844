// May somebody hand on what a grant gives? Only who has all of it. (semantics 5, *covers*)
//
// Pure, like `decide`: of one world, in one turn. So nobody can hand on, or take over, more than it has.

import { maskOfGroup } from './decide.ts';
import { formatAllGroup, NONE } from './model.ts';
import { genericMasks, operationMask } from './flatten.ts';
import { ALL } from './vocabulary.ts';
import type { EffectivePermissions } from './effective.ts';
import type { Grant } from './model.ts';
import type { OwnerTree } from './tree.ts';
import type { Vocabulary } from './vocabulary.ts';

/** What a user holds, in the turn in which it is told: nothing of it may be kept. */
export interface Held {
  readonly tree: OwnerTree;
  /** Tree node of the user's owner: its scope. */
  readonly scope: number;
  readonly effective: EffectivePermissions;
  /** The number of an explicit group's id; `NONE` for one that no grant in memory names. */
  group(id: string): number;
  /** The id of such a number. */
  groupId(number: number): string;
}

/** A grant, and whose users are given it. */
export interface HandedGrant {
  readonly grant: Grant;
  /** Owner of the user group. */
  readonly userOwner: string;
}

/** The first thing that is lacking. `scope`: the user group is not of the subtree. `operations` on `resource`, or on the group `group`. */
export type Uncovered =
  | { readonly lacks: 'scope'; readonly owner: string }
  | { readonly lacks: 'operations'; readonly operations: readonly string[]; readonly resource: string; readonly group: string | null };

/** Null: everything that the grant gives, the holder has, where the grant gives it. */
export function uncovered(vocabulary: Vocabulary, held: Held, { grant, userOwner }: HandedGrant): Uncovered | null {
  return grant.kind === 'generic' ? uncoveredGeneric(vocabulary, held, { grant, userOwner }) : uncoveredGroup(vocabulary, held, { grant, userOwner });
}

function uncoveredGeneric(
  vocabulary: Vocabulary,
  { tree, scope, effective }: Held,
  { grant, userOwner }: { readonly grant: Extract<Grant, { kind: 'generic' }>; readonly userOwner: string },
): Uncovered | null {
  const owner = tree.node(userOwner);
  if (owner === NONE || !tree.inChain(scope, owner)) return { lacks: 'scope', owner: userOwner };
  const given = genericMasks(vocabulary, grant);
  for (let resource = 0; resource < given.length; resource++) {
    const lacking = given[resource]! & ~effective.generic[resource]!;
    if (lacking !== 0) return { lacks: 'operations', operations: namesOf(vocabulary, lacking), resource: vocabulary.resources[resource]!, group: null };
  }
  return null;
}

function uncoveredGroup(
  vocabulary: Vocabulary,
  held: Held,
  { grant, userOwner }: { readonly grant: Extract<Grant, { kind: 'group' }>; readonly userOwner: string },
): Uncovered | null {
  // Of a group role ALL is what may stand in one (semantics 5): the rest of it never fires.
  const given = grant.operations.includes(ALL) ? vocabulary.groupRoleOperations : operationMask(vocabulary, grant.operations);
  const lacking = given & ~maskOver(vocabulary, held, { grant, userOwner });
  if (lacking === 0) return null;
  const resource = vocabulary.groupResourceOfType[vocabulary.type(grant.type)] ?? -1;
  const group = grant.group ?? formatAllGroup(grant.type, grant.owner);
  return { lacks: 'operations', operations: namesOf(vocabulary, lacking), resource: vocabulary.resources[resource] ?? grant.type, group };
}

/** What the holder may hand to users of `userOwner` over the group of the grant. */
function maskOver(
  vocabulary: Vocabulary,
  held: Held,
  { grant, userOwner }: { readonly grant: Extract<Grant, { kind: 'group' }>; readonly userOwner: string },
): number {
  const { tree, scope, effective } = held;
  const type = vocabulary.type(grant.type);
  const resource = vocabulary.resourceOfType[type] ?? -1;
  const ofGroups = vocabulary.groupResourceOfType[type] ?? -1;
  const owner = tree.node(grant.owner);
  const users = tree.node(userOwner);
  if (ofGroups < 0 || owner === NONE || users === NONE) return 0;
  // Closed to the holder, and open to them (semantics 4, step 2).
  const closed = vocabulary.closedToCustomerUsers[resource] === 1 || vocabulary.closedToCustomerUsers[ofGroups] === 1;
  if (closed && tree.isTenant(users) && !tree.isTenant(scope)) return 0;
  const inScope = tree.inChain(scope, owner);
  const generic = inScope ? effective.generic[resource]! & effective.generic[ofGroups]! : 0;
  const number = grant.group === null ? null : held.group(grant.group);
  if (number === NONE) return generic;
  const placement = { group: true, type, owner, node: NONE, enabled: true, groups: number === null ? [] : [number] };
  const given = maskOfGroup(vocabulary, effective, placement, inScope);
  // What a share gives and only an owner may use (6b, 7) is of no use to the holder: to those around the group it would be.
  const theirsAlone = !inScope && tree.inChain(users, owner) ? vocabulary.ownerOnlyOperations | (1 << vocabulary.createOperation) : 0;
  return generic | (given & ~theirsAlone);
}

function namesOf({ operations }: Vocabulary, mask: number): readonly string[] {
  return operations.filter((_, operation) => (mask & (1 << operation)) !== 0);
}
