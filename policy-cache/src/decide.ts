// May this subject do this? Semantics 4, step by step, as a pure function of effective permissions, placements and the tree.
//
// It runs on every request: no I/O, no clock, no allocation where it allows (hence loops over indices, and the frozen answers
// below). Placements are parameters and never put into an object: that would cost a look at the memory page of each [measured:
// a sixth of a check from memory]. It never throws: the worst is a deny.

import { allGroupNumber, groupMask } from './effective.ts';
import { ANY, NONE, parseAllGroup } from './model.ts';
import type { EffectivePermissions } from './effective.ts';
import type { AccessRequest, Decision, Placement, Reason, Rule } from './model.ts';
import type { OwnerTree } from './tree.ts';
import type { Vocabulary } from './vocabulary.ts';

/** What a decision reads beside the request, all of one world and one revision. The caller may reuse the object. */
export interface Facts {
  tree: OwnerTree;
  /** Placement of `request.subject`; null: no such id. */
  subject: Placement | null;
  /** Of the subject's permission class; not read while `decideSubject` has an answer. */
  effective: EffectivePermissions;
  /** Placement of `request.target`, an All group's from `virtualGroup`; null: no such id. Not read for the target `*`. */
  target: Placement | null;
  /** Placements of `request.groups`, in order (step 7). */
  groups: readonly (Placement | null)[];
}

/** What the questions of one permission class have in common. The caller may reuse the object. */
export interface Terms {
  vocabulary: Vocabulary;
  tree: OwnerTree;
  effective: EffectivePermissions;
}

/** Those of `decide`, where nothing of it outlives the call: an object of its own would be garbage of every decision. */
const own = {} as Terms;

const ALLOWS: ReadonlySet<Reason> = new Set(['generic', 'group', 'self']);
const made: Decision[] = [];
function decision(rule: Rule, reason: Reason): Decision {
  const frozen = Object.freeze({ allow: ALLOWS.has(reason), reason, rule });
  made.push(frozen);
  return frozen;
}

const UNKNOWN_VOCABULARY = decision('0', 'unknown-vocabulary');
const UNKNOWN_SUBJECT = decision('1', 'unknown-subject');
const SUBJECT_DISABLED = decision('1', 'subject-disabled');
const AUTHORITY = decision('2', 'authority');
const ANY_GENERIC = decision('3', 'generic');
const ANY_GROUP = decision('3', 'group');
const ANY_NO_GRANT = decision('3', 'no-grant');
const UNKNOWN_TARGET = decision('4', 'unknown-target');
const OTHER_TENANT = decision('4', 'other-tenant');
const TYPE_MISMATCH = decision('4', 'type-mismatch');
const GROUP_GENERIC = decision('5', 'generic');
const GROUP_GROUP = decision('5', 'group');
const GROUP_OUT_OF_SCOPE = decision('5', 'out-of-scope');
const GROUP_NO_GRANT = decision('5', 'no-grant');
const ENTITY_GENERIC = decision('6a', 'generic');
const ENTITY_GROUP = decision('6b', 'group');
const ENTITY_SELF = decision('6c', 'self');
const PROFILE_SELF = decision('6d', 'self');
const PROFILE_NO_GRANT = decision('6d', 'no-grant');
const ENTITY_OWNER_ONLY = decision('6e', 'owner-only');
const ENTITY_OUT_OF_SCOPE = decision('6e', 'out-of-scope');
const ENTITY_NO_GRANT = decision('6e', 'no-grant');
const CREATE_GENERIC = decision('7', 'generic');
const CREATE_GROUP = decision('7', 'group');
const CREATE_UNKNOWN_OWNER = decision('7', 'unknown-target');
const CREATE_OTHER_TENANT = decision('7', 'other-tenant');
const CREATE_OWNER_ONLY = decision('7', 'owner-only');
const CREATE_OUT_OF_SCOPE = decision('7', 'out-of-scope');
const CREATE_NO_GRANT = decision('7', 'no-grant');

/** Every decision there is, one object per (decision, reason, rule): for metrics, and for comparing by identity. */
export const DECISIONS: readonly Decision[] = Object.freeze(made);

/** Steps 0 to 2, which need no target: null when the answer is still open. So a stranger causes no reading of the target. */
export function decideSubject(vocabulary: Vocabulary, tree: OwnerTree, subject: Placement | null, request: AccessRequest): Decision | null {
  const { operation, resource } = request;
  if (!isNumberOf(vocabulary.operations, operation) || !isNumberOf(vocabulary.resources, resource)) return UNKNOWN_VOCABULARY;
  if (subject === null || subject.group || subject.type !== vocabulary.userType || subject.owner === NONE) return UNKNOWN_SUBJECT;
  if (!subject.enabled) return SUBJECT_DISABLED;
  if (vocabulary.closedToTenantAdmins[resource] === 1) return AUTHORITY;
  if (vocabulary.closedToCustomerUsers[resource] === 1 && !tree.isTenant(subject.owner)) return AUTHORITY;
  if (resource === vocabulary.tenantResource && isAny(request.target)) return AUTHORITY;
  return null;
}

/** The answer of the access model. Pure, total, and free of allocation where it allows. */
export function decide(vocabulary: Vocabulary, facts: Facts, request: AccessRequest): Decision {
  const { tree, subject, effective, target, groups } = facts;
  const early = decideSubject(vocabulary, tree, subject, request);
  if (early !== null || subject === null) return early ?? UNKNOWN_SUBJECT;
  own.vocabulary = vocabulary;
  own.tree = tree;
  own.effective = effective;
  return isAny(request.target) ? decideAny(own, request, subject, groups) : decideTarget(own, request, subject, target);
}

/** Is it "any of this resource"? The length first: to compare two strings is a call, and this is asked on every request. */
export function isAny(target: string): boolean {
  return target.length === 1 && target === ANY;
}

/** Steps 4 to 6, for a subject of whom `decideSubject` has no answer. */
export function decideTarget(terms: Terms, request: AccessRequest, subject: Placement, target: Placement | null): Decision {
  const { vocabulary, tree } = terms;
  if (target === null) return UNKNOWN_TARGET;
  if (tree.tenant(target.owner === NONE ? target.node : target.owner) !== tree.tenant(subject.owner)) return OTHER_TENANT;
  if (target.group) {
    if (vocabulary.groupResourceOfType[target.type] !== request.resource) return TYPE_MISMATCH;
    return decideGroup(terms, request, subject, target);
  }
  const fits =
    vocabulary.resourceOfType[target.type] === request.resource || (request.resource === vocabulary.profileResource && target.type === vocabulary.userType);
  return fits ? decideEntity(terms, request, subject, target) : TYPE_MISMATCH;
}

/** The placement of an owner's virtual All group; null if the id is no such group's: not groupable, or no such owner. */
export function virtualGroup(vocabulary: Vocabulary, tree: OwnerTree, id: string): Placement | null {
  const named = parseAllGroup(id);
  if (named === null) return null;
  const type = vocabulary.type(named.type);
  const owner = tree.node(named.owner);
  if (owner === NONE || (vocabulary.groupable[type] ?? -1) < 0) return null;
  return { group: true, type, owner, node: NONE, enabled: true, groups: [] };
}

/** Steps 3 and 7, "any of this resource", for a subject of whom `decideSubject` has no answer. */
export function decideAny(terms: Terms, request: AccessRequest, subject: Placement, groups: Facts['groups']): Decision {
  const { vocabulary, effective } = terms;
  const { operation, resource } = request;
  if (operation === vocabulary.createOperation) return decideCreate(terms, request, subject, groups);
  const bit = 1 << operation;
  if ((effective.generic[resource]! & bit) !== 0) return ANY_GENERIC;
  if ((bit & vocabulary.groupRoleOperations) === 0) return ANY_NO_GRANT;
  const type = vocabulary.typeOfResource[resource]!;
  if (type >= 0 && (bit & vocabulary.ownerOnlyOperations) === 0 && someGroupGives(terms, subject, type, bit)) return ANY_GROUP;
  const grouped = vocabulary.typeOfGroupResource[resource]!;
  if (grouped >= 0 && (bit & vocabulary.ownerOnlyGroupOperations) === 0 && someGroupGives(terms, subject, grouped, bit)) return ANY_GROUP;
  return ANY_NO_GRANT;
}

/** Step 5: the target is an entity group. */
function decideGroup({ vocabulary, tree, effective }: Terms, request: AccessRequest, subject: Placement, target: Placement): Decision {
  const bit = 1 << request.operation;
  const inScope = tree.inChain(subject.owner, target.owner);
  const generic = (effective.generic[request.resource]! & bit) !== 0;
  if (inScope && generic) return GROUP_GENERIC;
  const open = bit & vocabulary.groupRoleOperations & ~vocabulary.ownerOnlyGroupOperations;
  if ((maskOfGroup(vocabulary, effective, target, inScope) & open) !== 0) return GROUP_GROUP;
  return generic ? GROUP_OUT_OF_SCOPE : GROUP_NO_GRANT;
}

/** Step 6: the target is an entity. All its groups have its owner (semantics 1.3), so one look at the tree serves them all. */
function decideEntity({ vocabulary, tree, effective }: Terms, request: AccessRequest, subject: Placement, target: Placement): Decision {
  const bit = 1 << request.operation;
  const scope = subject.owner;
  const profile = request.resource === vocabulary.profileResource;
  const inScope = tree.inChain(scope, target.owner);
  const generic = (effective.generic[request.resource]! & bit) !== 0;
  if (!profile && inScope && generic) return ENTITY_GENERIC;
  const held = !profile && (bit & vocabulary.groupRoleOperations) !== 0 && (maskOfEntity(vocabulary, effective, target, inScope) & bit) !== 0;
  const ownerOnly = (bit & vocabulary.ownerOnlyOperations) !== 0;
  if (held && (inScope || !ownerOnly)) return ENTITY_GROUP;
  if (generic && (bit & vocabulary.selfOperations) !== 0 && target.node === scope) return ENTITY_SELF;
  if (profile && request.target !== request.subject) return PROFILE_NO_GRANT;
  if (profile) return generic ? PROFILE_SELF : ENTITY_NO_GRANT;
  if (held) return ENTITY_OWNER_ONLY;
  return generic ? ENTITY_OUT_OF_SCOPE : ENTITY_NO_GRANT;
}

/** Step 7: something is to be made, for an owner, perhaps straight into groups. */
function decideCreate(terms: Terms, request: AccessRequest, subject: Placement, groups: Facts['groups']): Decision {
  const { vocabulary, tree, effective } = terms;
  const scope = subject.owner;
  const bit = 1 << request.operation;
  const owner = request.owner === undefined ? scope : tree.node(request.owner);
  if (owner === NONE) return CREATE_UNKNOWN_OWNER;
  if (tree.tenant(owner) !== tree.tenant(scope)) return CREATE_OTHER_TENANT;
  const inScope = tree.inChain(scope, owner);
  const generic = (effective.generic[request.resource]! & bit) !== 0;
  if (inScope && generic) return CREATE_GENERIC;
  const type = vocabulary.typeOfResource[request.resource]!;
  let held = false;
  if (type >= 0 && (bit & vocabulary.groupRoleOperations) !== 0) {
    for (let i = 0; i < groups.length && !held; i++) {
      const group = groups[i]!;
      held = group !== null && group.group && group.type === type && group.owner === owner && (maskOfGroup(vocabulary, effective, group, inScope) & bit) !== 0;
    }
  }
  if (held) return inScope ? CREATE_GROUP : CREATE_OWNER_ONLY;
  return generic ? CREATE_OUT_OF_SCOPE : CREATE_NO_GRANT;
}

/** P of an entity group: an own grant sleeps while the group's owner is out of the subject's scope (semantics 1.4). */
export function maskOfGroup(vocabulary: Vocabulary, effective: EffectivePermissions, group: Placement, inScope: boolean): number {
  const number = group.groups[0];
  return number === undefined ? maskOfAllGroup(vocabulary, effective, group, inScope) : groupMask(effective.groups, number, inScope);
}

/** P united over every group of an entity, its owner's All group among them. */
function maskOfEntity(vocabulary: Vocabulary, effective: EffectivePermissions, entity: Placement, inScope: boolean): number {
  let mask = maskOfAllGroup(vocabulary, effective, entity, inScope);
  for (let i = 0; i < entity.groups.length; i++) mask |= groupMask(effective.groups, entity.groups[i]!, inScope);
  return mask;
}

/** P of the All group of this placement's type and owner; 0 where there is none (no owner gives a number below 0, which no grant has). */
function maskOfAllGroup(vocabulary: Vocabulary, effective: EffectivePermissions, placement: Placement, inScope: boolean): number {
  const groupable = vocabulary.groupable[placement.type] ?? -1;
  if (groupable < 0) return 0;
  return groupMask(effective.allGroups, allGroupNumber(placement.owner, groupable, vocabulary.groupableCount), inScope);
}

/** Does any entity group of this type give the operation? Own grants are looked up owner by owner: scope is decided here, not flattened. */
function someGroupGives({ vocabulary, tree, effective }: Terms, subject: Placement, type: number, bit: number): boolean {
  const groupable = vocabulary.groupable[type]!;
  if ((effective.sharedOfType[groupable]! & bit) !== 0) return true;
  const { owners, masks } = effective.ownOfType[groupable]!;
  for (let i = 0; i < masks.length; i++) {
    if ((masks[i]! & bit) !== 0 && tree.inChain(subject.owner, owners[i]!)) return true;
  }
  return false;
}

/** A whole number that counts an entry of the list: -1, NaN and fractions count none. */
function isNumberOf(list: readonly string[], number: number): boolean {
  return number >>> 0 === number && number < list.length;
}
