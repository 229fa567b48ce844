// What is asked? 10,000 different questions, a quarter each of: allowed by a role over a subtree, allowed by a role over a group, denied inside the
// user's subtree, denied outside of it. And the revokes: a grant, and two silent users who lose by it what they ask for.

import { OPERATIONS, SILENT_FROM, pick, rolls } from './world.mjs';

/** @typedef {{ readonly user: string, readonly operation: string, readonly device: string }} Question */
/** @typedef {Question & { readonly allow: boolean }} Query */
/** `asker` asks all the time, `first` never asked before. @typedef {{ readonly grant: import('./world.mjs').Grant, readonly asker: Question, readonly first: Question }} Revoke */

/** So many of each kind. */
const EACH = 2_500;
const KINDS = /** @type {const} */ (['6a', '6b', 'near', 'far']);

/** @param {import('./world.mjs').World} world @param {ReturnType<typeof import('./reference.mjs').reference>} judge @param {number} seed @returns {Query[]} in random order */
export function createQueries(world, judge, seed) {
  const roll = rolls(seed);
  const asking = world.users.slice(0, SILENT_FROM);
  /** @type {Record<(typeof KINDS)[number], Map<string, Query>>} */
  const found = { '6a': new Map(), '6b': new Map(), near: new Map(), far: new Map() };
  const inGroup = new Map(world.entityGroups.map(({ id }) => [id, world.devices.filter(({ groups }) => groups.includes(id))]));
  for (let tries = 0; KINDS.some((kind) => found[kind].size < EACH); tries++) {
    if (tries > 10_000_000) throw new Error('this seed has too few questions of one kind: take another');
    const user = pick(roll, asking);
    const { groups } = judge.effective(user.id);
    const granted = groups.size > 0 && roll(4) < 3 ? inGroup.get(pick(roll, [...groups.keys()])) : undefined;
    const device = pick(roll, granted === undefined || granted.length === 0 ? world.devices : granted).id;
    const operation = pick(roll, OPERATIONS);
    const { allow, rule, inSubtree } = judge.decide(user.id, operation, device);
    const kind = rule === '6e' ? (inSubtree ? 'near' : 'far') : rule;
    if (found[kind].size < EACH) found[kind].set(`${user.id} ${operation} ${device}`, { user: user.id, operation, device, allow });
  }
  const all = KINDS.flatMap((kind) => [...found[kind].values()]);
  for (let i = all.length - 1; i > 0; i--) {
    const j = roll(i + 1);
    [all[i], all[j]] = [/** @type {Query} */ (all[j]), /** @type {Query} */ (all[i])];
  }
  return all;
}

/** Each silent user is in one of them at most. @param {import('./world.mjs').World} world @param {ReturnType<typeof import('./reference.mjs').reference>} judge @returns {Revoke[]} */
export function createRevokes(world, judge) {
  const silent = world.users.slice(SILENT_FROM).filter(({ id }) => id !== world.idle.user);
  const used = new Set();
  /** @type {Revoke[]} */ const revokes = [];
  for (const grant of world.grants) {
    const losses = silent
      .filter(({ id, groups }) => groups.includes(grant.userGroup) && !used.has(id))
      .flatMap(({ id }) => lossOf(id, grant) ?? [])
      .slice(0, 2);
    const [asker, first] = losses;
    if (asker === undefined || first === undefined) continue;
    for (const { user } of losses) used.add(user);
    revokes.push({ grant, asker, first });
  }
  return revokes;

  /** What the user may by this grant alone. @param {string} user @param {import('./world.mjs').Grant} grant @returns {Question | null} */
  function lossOf(user, { id, role, entityGroup }) {
    const devices =
      entityGroup === null ? world.devices.filter((_, i) => i % 50 === 0) : world.devices.filter(({ groups }) => groups.includes(entityGroup)).slice(0, 5);
    for (const { id: device } of devices)
      for (const operation of judge.roles.get(role) ?? [])
        if (judge.decide(user, operation, device).allow && !judge.decide(user, operation, device, id).allow) return { user, operation, device };
    return null;
  }
}
