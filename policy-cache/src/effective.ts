// What may the users of one permission class do, with every wildcard, role and user group resolved?
//
// Semantics 3: G as one mask per resource, P as two masks per entity group. It holds no owner tree: scope is applied by the
// decision, and so is dormancy (semantics 1.4), so moving a customer changes no object of this kind.

/** Shared by all users with the same owner and the same groups. Numbers belong to one world, like those of a `Placement`. */
export interface EffectivePermissions {
  /** G: by resource, the mask of operations. No wildcard is left in it. */
  readonly generic: Int32Array;
  /** P by group number: grants that count only while the group's owner is in the subject's scope. */
  readonly own: ReadonlyMap<number, number>;
  /** P by group number: shares, which count wherever the group's owner hangs. */
  readonly shared: ReadonlyMap<number, number>;
  /** The same two for All groups, by `allGroupNumber`. */
  readonly ownOfAll: ReadonlyMap<number, number>;
  readonly sharedOfAll: ReadonlyMap<number, number>;
  /** By groupable type: the union of every shared mask (step 3 asks for "some group of this type"). */
  readonly sharedOfType: Int32Array;
  /** By groupable type: the own masks, united by owner. */
  readonly ownOfType: readonly OwnerMasks[];
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
