// Where is what somebody may READ, and which of the things found there can it be?
//
// A list asks the decision point about each thing that it shows. This says which things are worth the question, by the same masks:
// whatever a check would allow passes here (semantics 4, rules 5 and 6), and little else.

import { NONE } from 'policy-cache';
import type { Held, Vocabulary } from 'policy-cache';
import type { Candidate, ListSources } from 'policy-cache/postgres';
import type { Collection } from './collections.ts';
import type { Sight } from './needs.ts';

export interface Reach {
  /** Those of which something may be read. */
  readonly types: readonly string[];
  readonly sources: ListSources;
}

/** Types that the things of a list may have. */
export function typesOf(vocabulary: Vocabulary, list: Collection): readonly string[] {
  switch (list) {
    case 'customers':
      return ['CUSTOMER'];
    case 'users':
      return ['USER'];
    case 'roles':
      return ['ROLE'];
    case 'grants':
      return ['GROUP_PERMISSION'];
    case 'groups':
      return [...vocabulary.groupableTypes];
    case 'entities':
      return [...vocabulary.entityTypes];
    default:
      return list satisfies never;
  }
}

export function reachOf(
  vocabulary: Vocabulary,
  sight: Sight,
  of: { readonly tenant: string; readonly list: Collection; readonly types: readonly string[] },
): Reach {
  if (sight === 'everything') return { types: of.types, sources: { scope: of.tenant, owners: [], groups: [], ids: [] } };
  const held = sight;
  const { tree, scope, effective } = held;
  const read = readMask(vocabulary);
  const types = of.types.filter((type) => mayReadAny(vocabulary, held, of.list, type));
  const anyOwner = types.some((type) => isGeneric(vocabulary, held, of.list, type));
  const explicit = numbersWith(effective.groups, read).map((number) => held.groupId(number));
  const ofAll = numbersWith(effective.allGroups, read).map((number) => tree.id(Math.floor(number / vocabulary.groupableCount)));
  const groups = [...new Set(explicit)];
  const isOfGroups = of.list === 'groups';
  const self = of.list === 'customers' && !tree.isTenant(scope) ? [tree.id(scope)] : [];
  return {
    types,
    sources: {
      scope: anyOwner ? tree.id(scope) : null,
      owners: isOfGroups ? [] : [...new Set(ofAll)],
      groups: isOfGroups ? [] : groups,
      ids: isOfGroups ? groups : self,
    },
  };
}

/** Worth a question. `sources` are those of `reachOf`. */
export function isReached(
  vocabulary: Vocabulary,
  sight: Sight,
  of: { readonly list: Collection; readonly sources: ListSources; readonly candidate: Candidate },
): boolean {
  if (sight === 'everything') return true;
  const { tree, scope } = sight;
  const { list, sources, candidate } = of;
  if (candidate.held || sources.ids.includes(candidate.id) || sources.owners.includes(candidate.owner)) return true;
  const owner = tree.node(candidate.owner);
  return owner !== NONE && isGeneric(vocabulary, sight, list, candidate.type) && tree.inChain(scope, owner);
}

/** Numbers of the groups over which there is a grant of one of these operations, own or shared. */
function numbersWith(masks: Held['effective']['groups'], operations: number): readonly number[] {
  return masks.filter((_, i) => i % 3 === 0 && ((masks[i + 1]! | masks[i + 2]!) & operations) !== 0);
}

function readMask(vocabulary: Vocabulary): number {
  const read = vocabulary.operation('READ');
  return read < 0 ? 0 : 1 << read;
}

function resourceOf(vocabulary: Vocabulary, list: Collection, type: string): number {
  const number = vocabulary.type(type);
  return (list === 'groups' ? vocabulary.groupResourceOfType[number] : vocabulary.resourceOfType[number]) ?? -1;
}

function isGeneric(vocabulary: Vocabulary, { effective }: Held, list: Collection, type: string): boolean {
  const resource = resourceOf(vocabulary, list, type);
  return resource >= 0 && (effective.generic[resource]! & readMask(vocabulary)) !== 0;
}

function mayReadAny(vocabulary: Vocabulary, held: Held, list: Collection, type: string): boolean {
  const { tree, scope, effective } = held;
  const resource = resourceOf(vocabulary, list, type);
  if (resource < 0 || vocabulary.closedToTenantAdmins[resource] === 1) return false;
  if (vocabulary.closedToCustomerUsers[resource] === 1 && !tree.isTenant(scope)) return false;
  if (isGeneric(vocabulary, held, list, type)) return true;
  const groupable = vocabulary.groupable[vocabulary.type(type)] ?? -1;
  const read = readMask(vocabulary);
  return groupable >= 0 && ((effective.sharedOfType[groupable]! & read) !== 0 || effective.ownOfType[groupable]!.masks.some((mask) => (mask & read) !== 0));
}
