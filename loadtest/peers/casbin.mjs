// casbin, in process: users in groups, devices in owners and groups, customers in parents, a line for each grant and operation. The cheap test of the
// operation stands first, or each check would walk the graphs for every line.

import { createRequire } from 'node:module';
import { PROGRAMS } from './install.mjs';

const MODEL = `
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, scope, act
[role_definition]
g = _, _
g2 = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.act == p.act && g(r.sub, p.sub) && g2(r.obj, p.scope)
`;

/** @type {import('./library.mjs').Engine} */
export async function casbin({ world, judge }) {
  const { newEnforcer, newModelFromString } = createRequire(PROGRAMS)('casbin');
  const enforcer = await newEnforcer(newModelFromString(MODEL));
  const owners = new Map(world.userGroups.map(({ id, owner }) => [id, owner]));
  const lines = world.grants.flatMap(({ userGroup, role, entityGroup }) =>
    Array.from(judge.roles.get(role) ?? [], (operation) => JSON.stringify([userGroup, entityGroup ?? owners.get(userGroup), operation])),
  );
  await enforcer.addPolicies(Array.from(new Set(lines), (line) => JSON.parse(line)));
  await enforcer.addGroupingPolicies(world.users.flatMap(({ id, groups }) => groups.map((group) => [id, group])));
  await enforcer.addNamedGroupingPolicies('g2', [
    ...world.customers.map(({ id, owner }) => [id, owner]),
    ...world.devices.flatMap(({ id, owner, groups }) => [owner, ...groups].map((above) => [id, above])),
  ]);
  await enforcer.buildRoleLinks();
  return ({ user, operation, device }) => enforcer.enforceSync(user, device, operation);
}
