// Cedar, as WebAssembly in process (a native build would be faster): grants as entities. A user group is in what it was granted, a device names, by operation,
// the grants along its path; only the slice that a question needs is passed. One policy a grant instead costs three times as much.

import { createRequire } from 'node:module';
import { PROGRAMS } from './install.mjs';
import { OPERATIONS, chain } from './world.mjs';

const POLICIES = OPERATIONS.map(
  (operation) => `permit(principal, action == Action::"${operation}", resource) when { principal in resource.can_${operation} };`,
);

/** @type {import('./library.mjs').Engine} */
export function cedar({ world, judge }) {
  const { preparsePolicySet, statefulIsAuthorized } = createRequire(PROGRAMS)('@cedar-policy/cedar-wasm/nodejs');
  const parsed = preparsePolicySet('peers', { staticPolicies: POLICIES.join('\n') });
  if (parsed.type !== 'success') throw new Error(JSON.stringify(parsed));
  const owners = new Map(world.userGroups.map(({ id, owner }) => [id, owner]));
  /** @type {Map<string, Set<string>>} */ const granted = new Map();
  for (const { userGroup, role, entityGroup } of world.grants)
    for (const operation of judge.roles.get(role) ?? []) {
      const grants = granted.get(userGroup) ?? new Set();
      granted.set(userGroup, grants.add(`${entityGroup ?? owners.get(userGroup)}|${operation}`));
    }
  const uid = (/** @type {string} */ type, /** @type {string} */ id) => ({ type, id });
  const groups = new Map(
    world.userGroups.map(({ id }) => [
      id,
      { uid: uid('UserGroup', id), attrs: {}, parents: Array.from(granted.get(id) ?? [], (grant) => uid('Grant', grant)) },
    ]),
  );
  return Promise.resolve(({ user, operation, device }) => {
    const mine = judge.users.get(user)?.groups ?? [];
    const { owner, groups: theirs } = judge.devices.get(device) ?? { owner: '', groups: [] };
    const path = [...chain(judge.parents, owner), ...theirs];
    const can = path.map((scope) => ({ __entity: uid('Grant', `${scope}|${operation}`) }));
    const answer = statefulIsAuthorized({
      principal: uid('User', user),
      action: uid('Action', operation),
      resource: uid('Device', device),
      context: {},
      preparsedPolicySetId: 'peers',
      entities: [
        { uid: uid('User', user), attrs: {}, parents: mine.map((group) => uid('UserGroup', group)) },
        ...mine.map((group) => groups.get(group)),
        { uid: uid('Device', device), attrs: { [`can_${operation}`]: can }, parents: [] },
      ],
    });
    if (answer.type !== 'success') throw new Error(JSON.stringify(answer));
    return answer.response.decision === 'allow';
  });
}
