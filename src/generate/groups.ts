// How many groups of each type has an owner of a generated world?
//
// A function of the owner's size, so that a row that names a group need not have seen it.

import type { Shape } from './shape.ts';
import { GROUPED } from './words.ts';

/** The same pattern for every eight users: one has half of the memberships beyond each user's first, four have none. */
const PATTERN = [0, 4, 6, 7, 8, 8, 8, 8] as const;

/** Memberships of the users up to this one beyond the first of each. */
export function extrasBefore({ users, memberships }: Shape, user: number): number {
  const extras = Math.max(0, memberships - users);
  return Math.floor((weightBefore(user) * extras) / Math.max(1, weightBefore(users)));
}

function weightBefore(user: number): number {
  return 8 * Math.floor(user / 8) + PATTERN[user % 8]!;
}

/** User groups of an owner's own, beside the predefined ones: with those, enough for its users' memberships to be different. */
export function teams(shape: Shape, owner: number): number {
  const users = shape.firstUser[owner + 1]! - shape.firstUser[owner]!;
  if (users === 0) return 0;
  const most = Math.ceil((4 * Math.max(0, shape.memberships - shape.users)) / shape.users);
  return Math.max(1, most - 1, Math.min(200, Math.floor(users / 16)));
}

/** Groups of entities, by type. None for a type without groups. */
export function entityGroups(shape: Shape, owner: number, type: string): number {
  const entities = shape.firstEntity[owner + 1]! - shape.firstEntity[owner]!;
  const rule = GROUPED.find((grouped) => grouped.type === type);
  return rule === undefined || entities < rule.from ? 0 : Math.min(rule.most, 1 + Math.floor(entities / rule.each));
}

/** Groups of the customers right below an owner. */
export function customerGroups(shape: Shape, owner: number): number {
  const customers = shape.children[owner]!;
  return customers < 4 ? 0 : Math.min(50, 1 + Math.floor(customers / 64));
}
