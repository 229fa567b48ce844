// grantgate: `serve` on the same Postgres, at its defaults (decision log and metrics on), the world brought in by `import`. Asked at the nginx door as nginx
// asks, at the gRPC door as Envoy asks, and by AuthZEN at the api. Written to as any application may: SQL, acknowledged by the database.

import { createHmac } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import postgres from 'postgres';
import { start, until } from '../processes.mjs';
import { grpcFrame } from './client-grpc.mjs';
import { httpRequest } from './client-http.mjs';
import { answers } from './peer.mjs';
import { field, message, read } from './protobuf.mjs';
import { OPERATIONS, TENANT, rowsOf } from './world.mjs';

const PROGRAM = fileURLToPath(new URL('../../src/grantgate.mjs', import.meta.url));
const SIGNING_KEY = Buffer.alloc(64, 7).toString('base64');
const API_KEY = 'a-key-of-the-benchmark-and-of-nobody-else';

/** @type {import('./peer.mjs').Peer} */
export const grantgate = {
  async start({ subject, directory, core, database }) {
    const url = await database('grantgate');
    const [world, routes] = [join(directory, 'world.ndjson'), join(directory, 'routes.yaml')];
    writeFileSync(
      world,
      rowsOf(subject.world)
        .map((row) => JSON.stringify(row))
        .join('\n'),
    );
    writeFileSync(routes, routesOf());
    const env = { DATABASE_URL: url };
    const begun = performance.now();
    for (const args of [['migrate'], ['import', world]]) {
      const step = start(process.execPath, [PROGRAM, ...args], { env });
      await step.exited;
      if (step.child.exitCode !== 0) throw new Error(`grantgate ${args[0]}: ${step.said()}`);
    }
    const settings = {
      'doors.port': 0,
      'grpc.port': 0,
      'api.port': 0,
      'api.keys': API_KEY,
      'routes.file': routes,
      'identity.thingsboard.signingKey': SIGNING_KEY,
      'shutdown.delay': '0ms',
    };
    const server = start(process.execPath, [PROGRAM, 'serve', ...Object.entries(settings).flatMap(([name, value]) => ['--set', `${name}=${value}`])], {
      core,
      env,
      stdout: 'ignore',
    });
    const port = (/** @type {string} */ what) => Number(new RegExp(`${what} on 127\\.0\\.0\\.1:(\\d+)`).exec(server.said())?.[1] ?? 0);
    await until(() => port('api') > 0 && answers(`http://127.0.0.1:${port('api')}/readyz`), { what: 'grantgate is ready', of: server });
    const at = { http: port('doors'), grpc: port('gRPC'), api: port('api'), url };
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    return { at, pid: server.pid, loadSeconds: (performance.now() - begun) / 1000, version, said: server.said, stop: server.stop };
  },
  asking({ http, grpc, api }, { judge }, variant) {
    /** @type {Map<string, string>} */ const tokens = new Map();
    const bearer = (/** @type {string} */ user) => {
      const token = tokens.get(user) ?? tokenOf(user, judge.users.get(user)?.owner === TENANT);
      tokens.set(user, token);
      return `Bearer ${token}`;
    };
    const uri = (/** @type {import('./peer.mjs').Question} */ { operation, device }) => `/devices/${device}/${operation}`;
    if (variant === 'authzen')
      return {
        door: 'http',
        port: Number(api),
        request: ({ user, operation, device }) =>
          httpRequest(
            'POST',
            '/access/v1/evaluation',
            { authorization: `Bearer ${API_KEY}` },
            JSON.stringify({ subject: { type: 'user', id: user }, action: { name: operation }, resource: { type: 'DEVICE', id: device } }),
          ),
        allowed: ({ status, body }) => {
          if (status === 503) return null;
          if (status !== 200) throw new Error(`grantgate, AuthZEN: ${status} ${body.toString()}`);
          return JSON.parse(body.toString()).decision;
        },
      };
    if (variant === 'http')
      return {
        door: 'http',
        port: Number(http),
        request: (question) =>
          httpRequest('GET', '/auth/nginx', { 'x-original-method': 'GET', 'x-original-uri': uri(question), authorization: bearer(question.user) }),
        allowed: ({ status }) => decided(status, { allow: 200, deny: 403, undecided: 503 }),
      };
    return {
      door: 'grpc',
      port: Number(grpc),
      path: '/envoy.service.auth.v3.Authorization/Check',
      request: (question) => grpcFrame(checkRequest(uri(question), bearer(question.user))),
      allowed: (reply) => {
        const status = read(reply, 1);
        return decided(Number(typeof status === 'object' && status !== null ? (read(status, 1) ?? 0) : 0), { allow: 0, deny: 7, undecided: 14 });
      },
    };
  },
  follows: ({ url }) => String(url),
  async writing({ url, api }, { world, judge }) {
    const sql = postgres(String(url), { max: 1 });
    const { user, group } = world.idle;
    const owner = judge.users.get(user)?.owner ?? TENANT;
    const revoke = (/** @type {import('./peer.mjs').Revoke} */ { grant }) => sql`delete from grantgate.object where id = ${grant.id}`;
    await sql`select 1`;
    return {
      join: async () =>
        void (await sql`insert into grantgate.membership (tenant, group_id, member_id, type, owner) values (${TENANT}, ${group}, ${user}, 'USER', ${owner})`),
      leave: async () => void (await sql`delete from grantgate.membership where group_id = ${group} and member_id = ${user}`),
      revoke: async (given) => void (await revoke(given)),
      async restore({ grant }) {
        const from = world.userGroups.find(({ id }) => id === grant.userGroup)?.owner ?? TENANT;
        const entity = world.entityGroups.find(({ id }) => id === grant.entityGroup) ?? null;
        await sql.begin(async (tx) => {
          await tx`insert into grantgate.object (id, tenant, kind, type, owner) values (${grant.id}, ${TENANT}, 'grant', 'GROUP_PERMISSION', ${from})`;
          await tx`insert into grantgate.group_permission (id, tenant, user_owner, user_group, role, role_type, entity_owner, entity_type, entity_group)
            values (${grant.id}, ${TENANT}, ${from}, ${grant.userGroup}, ${grant.role}, ${entity ? 'GROUP' : 'GENERIC'}, ${entity?.owner ?? null}, ${entity ? 'DEVICE' : null}, ${entity?.id ?? null})`;
        });
      },
      async proof({ grant }) {
        const revision = await sql.begin(async (tx) => {
          await tx`delete from grantgate.object where id = ${grant.id}`;
          await tx`set constraints all immediate`;
          const [row] = await tx`select grantgate.revision() as revision`;
          return String(row?.['revision']);
        });
        const reply = await fetch(`http://127.0.0.1:${api}/v1/barrier/${revision}`, { headers: { authorization: `Bearer ${API_KEY}` } });
        if (!reply.ok) throw new Error(`barrier: ${reply.status} ${await reply.text()}`);
        await reply.arrayBuffer();
      },
      close: () => sql.end({ timeout: 5 }),
    };
  },
};

/** @param {number} code @param {{ allow: number, deny: number, undecided: number }} codes */
function decided(code, { allow, deny, undecided }) {
  if (code === undecided) return null;
  if (code !== allow && code !== deny) throw new Error(`grantgate: ${code}`);
  return code === allow;
}

/** An access token as ThingsBoard signs it. @param {string} user @param {boolean} admin */
function tokenOf(user, admin) {
  const now = Math.floor(Date.now() / 1000);
  const part = (/** @type {object} */ content) => Buffer.from(JSON.stringify(content)).toString('base64url');
  const claims = {
    sub: user,
    userId: user,
    scopes: [admin ? 'TENANT_ADMIN' : 'CUSTOMER_USER'],
    enabled: true,
    isPublic: false,
    iss: 'thingsboard.io',
    iat: now,
    exp: now + 7_200,
  };
  const signed = `${part({ alg: 'HS512' })}.${part(claims)}`;
  return `${signed}.${createHmac('sha512', Buffer.from(SIGNING_KEY, 'base64')).update(signed).digest('base64url')}`;
}

/** Envoy's: attributes.request.http. @param {string} path @param {string} authorization */
function checkRequest(path, authorization) {
  const headers = {
    ':method': 'GET',
    ':path': path,
    ':authority': 'app.example',
    ':scheme': 'http',
    'x-request-id': '0c9f3b1e-5d0b-4d53-8d9f-2b7a1a2c3d4e',
    authorization,
  };
  const map = Object.entries(headers).map(([name, value]) => field(3, message(field(1, name), field(2, value))));
  const http = message(field(1, '1234567890'), field(2, 'GET'), ...map, field(4, path), field(5, 'app.example'), field(6, 'http'), field(10, 'HTTP/1.1'));
  return field(1, field(4, field(2, http)));
}

function routesOf() {
  const rows = OPERATIONS.map(
    (operation) => `  - { method: GET, path: "/devices/{id}/${operation}", resource: DEVICE, operation: ${operation}, target: "{id}" }`,
  );
  return `routes:\n${rows.join('\n')}\n`;
}
