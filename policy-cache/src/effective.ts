// What may the users of one permission class do, with every wildcard, role and user group resolved?
//
// Semantics 3: G as one mask per resource, P as two masks per entity group. It holds no owner tree: scope is applied by the
// decision, and so is dormancy (semantics 1.4), so moving a customer changes no object of this kind.

/** Shared by all users with the same owner and the same groups. Numbers belong to one world, like those of a `Placement`. */
export interface EffectivePermissions {
  /** G: by resource, the mask of operations. No wildcard is left in it. */
  readonly generic: Int32Array;
  /** P by group number. */
  readonly groups: GroupMasks;
  /** The same for All groups, by `allGroupNumber`. */
  readonly allGroups: GroupMasks;
  /** By groupable type: the union of every shared mask (step 3 asks for "some group of this type"). */
  readonly sharedOfType: Int32Array;
  /** By groupable type: the own masks, united by owner. */
  readonly ownOfType: readonly OwnerMasks[];
}

/**
 * In threes, ascending by the first: the number of a group, its own mask (grants that count only while the group's owner is in the subject's
 * scope), its shared mask (shares, which count wherever the group's owner hangs). Of most classes it is a handful, which lies in one or two lines
 * of the processor caches; a Map takes four to look into.
 */
export type GroupMasks = readonly number[];

/** The mask of a group; 0 if there is no grant over it. */
export function groupMask(masks: GroupMasks, number: number, inScope: boolean): number {
  let low = 0;
  for (let high = masks.length / 3; low < high;) {
    const middle = (low + high) >>> 1;
    const at = masks[3 * middle]!;
    if (at === number) return masks[3 * middle + 2]! | (inScope ? masks[3 * middle + 1]! : 0);
    if (at < number) low = middle + 1;
    else high = middle;
  }
  return 0;
}

/** Parallel arrays: `masks[i]` is held on groups of owner node `owners[i]`. */
export interface OwnerMasks {
  readonly owners: Int32Array;
  readonly masks: Int32Array;
}

/**
 * An All group as a number, so that no `all:` string is built while deciding.
 * @param owner tree node, not NONE
 * @param groupable dense number of the groupable type (`Vocabulary.groupable`)
 */
export function allGroupNumber(owner: number, groupable: number, groupableCount: number): number {
  return owner * groupableCount + groupable;
}
