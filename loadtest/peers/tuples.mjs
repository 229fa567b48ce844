// How does the access model look to the stores of relations? Roles are resolved when they are written: a tuple for each grant and operation. (Grants and
// roles as objects, with an intersection at each check, cost OpenFGA three times as much; a role edit costs this mapping many writes.) The tenant is the root customer.

import { OPERATIONS } from './world.mjs';

/** `customer:c1 read_by user_group:ug1#member` @typedef {{ readonly type: string, readonly id: string, readonly relation: string, readonly subjectType: string, readonly subjectId: string, readonly subjectRelation: string }} Tuple */

export const RELATIONS = OPERATIONS.map((operation) => operation.toLowerCase());

/** @param {string} object @param {string} relation @param {string} subject @returns {Tuple} */
function tuple(object, relation, subject) {
  const [type = '', id = ''] = object.split(':');
  const [whole = '', subjectRelation = ''] = subject.split('#');
  const [subjectType = '', subjectId = ''] = whole.split(':');
  return { type, id, relation, subjectType, subjectId, subjectRelation };
}

/** @param {string} user @param {string} group */
export const membership = (user, group) => tuple(`user_group:${group}`, 'member', `user:${user}`);

/** @param {import('./peer.mjs').Subject} subject */
export function tuples({ world, judge }) {
  const owners = new Map(world.userGroups.map(({ id, owner }) => [id, owner]));
  /** @param {import('./world.mjs').Grant} grant */
  const ofGrant = ({ userGroup, role, entityGroup }) =>
    Array.from(judge.roles.get(role) ?? [], (operation) =>
      tuple(
        entityGroup === null ? `customer:${owners.get(userGroup)}` : `entity_group:${entityGroup}`,
        `${operation.toLowerCase()}_by`,
        `user_group:${userGroup}#member`,
      ),
    );
  const keyOf = (/** @type {Tuple} */ each) => JSON.stringify(each);
  const unique = (/** @type {readonly Tuple[]} */ list) => Array.from(new Map(list.map((each) => [keyOf(each), each])).values());
  return {
    all: () =>
      unique([
        ...world.customers.map(({ id, owner }) => tuple(`customer:${id}`, 'parent', `customer:${owner}`)),
        ...world.users.flatMap(({ id, groups }) => groups.map((group) => membership(id, group))),
        ...world.devices.flatMap(({ id, owner, groups }) => [
          tuple(`device:${id}`, 'owner', `customer:${owner}`),
          ...groups.map((group) => tuple(`device:${id}`, 'grp', `entity_group:${group}`)),
        ]),
        ...world.grants.flatMap(ofGrant),
      ]),
    /** What no other grant gives as well: goes with it. @param {import('./world.mjs').Grant} grant */
    ofGrantAlone(grant) {
      const others = new Set(
        world.grants
          .filter(({ id }) => id !== grant.id)
          .flatMap(ofGrant)
          .map(keyOf),
      );
      return ofGrant(grant).filter((each) => !others.has(keyOf(each)));
    },
  };
}
