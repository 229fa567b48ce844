// Cerbos, HTTP and gRPC doors: one rule for each grant. It holds no users and no devices: whoever asks sends the user's groups and the device's owners
// and groups with each question, so that half of the work, and all of its freshness, is outside of it. Nothing to write, therefore nothing to revoke.

import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { start, until } from '../processes.mjs';
import { grpcFrame } from './client-grpc.mjs';
import { httpRequest } from './client-http.mjs';
import { answers, freePort } from './peer.mjs';
import { field, message, read } from './protobuf.mjs';
import { chain } from './world.mjs';

const EFFECT_ALLOW = 1;

/** @type {import('./peer.mjs').Peer} */
export const cerbos = {
  async start({ subject, directory, core, bin }) {
    const begun = performance.now();
    const [http, grpc] = [await freePort(), await freePort()];
    const policies = join(directory, 'policies');
    const configuration = join(directory, 'cerbos.json');
    mkdirSync(policies);
    writeFileSync(join(policies, 'device.json'), JSON.stringify(policyOf(subject)));
    const listen = { httpListenAddr: `127.0.0.1:${http}`, grpcListenAddr: `127.0.0.1:${grpc}` };
    // JSON is YAML.
    writeFileSync(configuration, JSON.stringify({ server: listen, storage: { driver: 'disk', disk: { directory: policies } }, telemetry: { disabled: true } }));
    chmodSync(bin('cerbos'), 0o755);
    const server = start(bin('cerbos'), ['server', `--config=${configuration}`, '--log-level=error'], { core });
    await until(() => answers(`http://127.0.0.1:${http}/_cerbos/health`), { what: 'Cerbos answers', of: server });
    return { at: { http, grpc }, pid: server.pid, loadSeconds: (performance.now() - begun) / 1000, version: '0.55.0', said: server.said, stop: server.stop };
  },
  asking({ http, grpc }, { judge }, variant) {
    const sent = (/** @type {import('./peer.mjs').Question} */ { user, device }) => {
      const { owner, groups } = judge.devices.get(device) ?? { owner: '', groups: [] };
      return { roles: judge.users.get(user)?.groups ?? [], scopes: [...chain(judge.parents, owner), ...groups] };
    };
    if (variant === 'http')
      return {
        door: 'http',
        port: Number(http),
        request: (question) => {
          const { roles, scopes } = sent(question);
          const resource = { kind: 'device', id: question.device, attr: { scopes } };
          return httpRequest(
            'POST',
            '/api/check/resources',
            {},
            JSON.stringify({ requestId: '1', principal: { id: question.user, roles }, resources: [{ actions: [question.operation], resource }] }),
          );
        },
        allowed: ({ status, body }) => {
          if (status !== 200) throw new Error(`Cerbos: ${status} ${body.toString()}`);
          return Object.values(JSON.parse(body.toString()).results[0].actions)[0] === 'EFFECT_ALLOW';
        },
      };
    return {
      door: 'grpc',
      port: Number(grpc),
      path: '/cerbos.svc.v1.CerbosService/CheckResources',
      request: (question) => {
        const { roles, scopes } = sent(question);
        const list = message(...scopes.map((scope) => field(1, field(3, scope)))); // google.protobuf.ListValue of strings
        const attribute = field(4, message(field(1, 'scopes'), field(2, field(6, list))));
        const resource = message(field(1, 'device'), field(3, question.device), attribute);
        const principal = message(field(1, question.user), ...roles.map((role) => field(3, role)));
        return grpcFrame(message(field(1, '1'), field(3, principal), field(4, message(field(1, question.operation), field(2, resource)))));
      },
      allowed: (reply) => {
        const result = read(reply, 2);
        const action = Buffer.isBuffer(result) ? read(result, 2) : null;
        return Buffer.isBuffer(action) && read(action, 2) === EFFECT_ALLOW;
      },
    };
  },
};

/** @param {import('./peer.mjs').Subject} subject */
function policyOf({ world, judge }) {
  const owners = new Map(world.userGroups.map(({ id, owner }) => [id, owner]));
  const rules = world.grants.flatMap(({ userGroup, role, entityGroup }) => {
    const actions = [...(judge.roles.get(role) ?? [])];
    if (actions.length === 0) return [];
    return {
      actions,
      effect: 'EFFECT_ALLOW',
      roles: [userGroup],
      condition: { match: { expr: `"${entityGroup ?? owners.get(userGroup)}" in R.attr.scopes` } },
    };
  });
  return { apiVersion: 'api.cerbos.dev/v1', resourcePolicy: { version: 'default', resource: 'device', rules } };
}
