// Open Policy Agent, HTTP door. Best mapping `flat`: what grantgate holds, in Rego's terms: permissions flattened per user, ancestors as an object, so that
// nothing is walked; whoever writes has to flatten. Naive mapping `gpe`: grants by group, scope and operation, and the graph walked at each check.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { start, until } from '../processes.mjs';
import { httpRequest } from './client-http.mjs';
import { answers, freePort, sendJson } from './peer.mjs';
import { chain } from './world.mjs';

/** @typedef {import('./peer.mjs').Subject} Subject */

const FLAT = `package flat
import rego.v1
default allow := false
allow if {
  user := data.users[input.user]
  user.generic[input.op]
  data.chain[data.devices[input.device].owner][user.scope]
}
allow if {
  some group in data.devices[input.device].groups
  data.users[input.user].groups[group][input.op]
}
`;
const GPE = `package gpe
import rego.v1
default allow := false
allow if {
  up := graph.reachable(data.parents, {input.device})
  some group in data.memberships[input.user]
  some scope in up
  data.grants[group][scope][input.op]
}
`;

/** @type {import('./peer.mjs').Peer} */
export const opa = {
  async start({ subject, directory, core, bin }, variant) {
    const begun = performance.now();
    const [policy, json] = [join(directory, `${variant}.rego`), join(directory, `${variant}.json`)];
    writeFileSync(policy, variant === 'flat' ? FLAT : GPE);
    writeFileSync(json, JSON.stringify(variant === 'flat' ? flat(subject) : gpe(subject)));
    const port = await freePort();
    const server = start(bin('opa'), ['run', '--server', '--addr', `127.0.0.1:${port}`, '--log-level', 'error', '--skip-version-check', policy, json], {
      core,
    });
    await until(() => answers(`http://127.0.0.1:${port}/health`), { what: 'OPA answers', of: server });
    return { at: { port }, pid: server.pid, loadSeconds: (performance.now() - begun) / 1000, version: '1.19.1', said: server.said, stop: server.stop };
  },
  asking({ port }, _, variant) {
    return {
      door: 'http',
      port: Number(port),
      request: ({ user, operation, device }) =>
        httpRequest('POST', `/v1/data/${variant}/allow`, {}, JSON.stringify({ input: { user, op: operation, device } })),
      allowed: ({ status, body }) => {
        if (status !== 200) throw new Error(`OPA: ${status} ${body.toString()}`);
        return JSON.parse(body.toString()).result;
      },
    };
  },
  async writing({ port }, { world, judge }) {
    // One patch: in force, for all of the group, when it is acknowledged.
    const patch = async (/** @type {readonly string[]} */ users, /** @type {(user: string) => object} */ value) =>
      void (await sendJson(`http://127.0.0.1:${port}/v1/data/users`, {
        method: 'PATCH',
        headers: { 'content-type': 'application/json-patch+json' },
        body: users.map((user) => ({ op: 'add', path: `/${user}`, value: value(user) })),
      }));
    const members = (/** @type {import('./peer.mjs').Revoke} */ { grant }) =>
      world.users.filter(({ groups }) => groups.includes(grant.userGroup)).map(({ id }) => id);
    const { user, group } = world.idle;
    const { scope } = judge.effective(user);
    return {
      join: () => patch([user], () => userOf(judge.flatten([group], scope))),
      leave: () => patch([user], () => userOf(judge.effective(user))),
      revoke: (revoke) => patch(members(revoke), (id) => userOf(judge.effective(id, revoke.grant.id))),
      restore: (revoke) => patch(members(revoke), (id) => userOf(judge.effective(id))),
      close: () => undefined,
    };
  },
};

/** @param {Iterable<string>} names */
const set = (names) => Object.fromEntries(Array.from(names, (name) => [name, true]));

/** @param {import('./reference.mjs').Effective} effective */
function userOf({ scope, generic, groups }) {
  return { scope, generic: set(generic), groups: Object.fromEntries(Array.from(groups, ([group, operations]) => [group, set(operations)])) };
}

/** @param {Subject} subject */
function flat({ world, judge }) {
  return {
    users: Object.fromEntries(world.users.map(({ id }) => [id, userOf(judge.effective(id))])),
    devices: Object.fromEntries(world.devices.map(({ id, owner, groups }) => [id, { owner, groups }])),
    chain: Object.fromEntries(Array.from(judge.parents.keys(), (owner) => [owner, set(chain(judge.parents, owner))])),
  };
}

/** @param {Subject} subject */
function gpe({ world, judge }) {
  /** @type {Record<string, Record<string, Record<string, boolean>>>} */ const grants = {};
  const owners = new Map(world.userGroups.map(({ id, owner }) => [id, owner]));
  for (const { userGroup, role, entityGroup } of world.grants) {
    const scopes = (grants[userGroup] ??= {});
    Object.assign((scopes[entityGroup ?? owners.get(userGroup) ?? ''] ??= {}), set(judge.roles.get(role) ?? []));
  }
  return {
    memberships: Object.fromEntries(world.users.map(({ id, groups }) => [id, groups])),
    grants,
    // graph.reachable drops what is no key.
    parents: Object.fromEntries([
      ...world.devices.map(({ id, owner, groups }) => [id, [owner, ...groups]]),
      ...Array.from(judge.parents, ([id, parent]) => [id, parent === null ? [] : [parent]]),
      ...world.entityGroups.map(({ id }) => [id, []]),
    ]),
  };
}
