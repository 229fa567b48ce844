// Clients with certificates at nginx: is the user the one that the certificate names, and can nobody else say so?

import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { certificates, type Certificates } from '../support/certificates.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { tokenFor } from '../support/sidecar.ts';
import { startStack, type Stack } from '../support/stack.ts';

const world = JSON.stringify({
  defaults: true,
  tenants: [{ id: 't1' }, { id: 't2' }],
  users: [
    { id: 'ada', owner: 't1', groups: ['admins:t1'] },
    { id: 'bob', owner: 't1', groups: [] },
    { id: 'eve', owner: 't2', groups: ['admins:t2'] },
  ],
  entities: [{ id: 'd1', type: 'DEVICE', owner: 't1' }],
});

let given: Certificates;
let server: TestServer;
let stack: Stack;
beforeAll(async () => {
  given = await certificates({ path: '/api/device/d1', ca: 'clients' });
  await given.authority('clients');
  await given.authority('strangers');
  await given.sign('server', 'clients', { subject: '/CN=localhost' });
  server = await startPostgres('embedded18');
  stack = await startStack({
    server,
    world,
    set: { 'doors.identity': 'header', 'doors.subjectHeader': 'X-Client-Id', 'identity.asserted.tenants': 't1' },
    spoil: (file, text) => {
      switch (file) {
        case 'local.conf':
          return replaced(text, 'include addresses.conf;', 'include addresses.conf;\n    include mtls.conf;');
        case 'grantgate.conf':
          return replaced(text, '#proxy_set_header X-Client-Id', 'proxy_set_header X-Client-Id');
        case 'mtls.conf':
          return ['server.pem', 'server.key', 'clients.pem'].reduce(
            (so, name) => replaced(so, ` ${name};`, ` ${join(given.directory, name)};`),
            replaced(text, 'listen 127.0.0.1:8443 ssl;', `listen unix:${join(given.directory, 'tls.sock')} ssl;`),
          );
        default:
          return text;
      }
    },
  });
});
afterAll(async () => {
  await stack?.close();
  await server?.close();
  await given?.remove();
});

function replaced(text: string, from: string, to: string): string {
  expect(text.split(from), from).toHaveLength(2);
  return text.replace(from, () => to);
}

const ask = (client: string | null, headers: Record<string, string> = {}): Promise<number> =>
  given.ask({ socketPath: join(given.directory, 'tls.sock') }, { client, headers });

test.each<[string, string, number]>([
  ['ada', '/O=example/OU=users/CN=ada', 200],
  ['bob, who may not', '/O=example/OU=users/CN=bob', 403],
  ['eve, of a tenant that this nginx does not speak for', '/O=example/OU=users/CN=eve', 401],
  ['ada of another unit', '/O=example/OU=machines/CN=ada', 401],
  ['ada of another organisation', '/O=elsewhere/OU=users/CN=ada', 401],
  ['ada, with a part more in front', '/C=DE/O=example/OU=users/CN=ada', 401],
  ['ada, with a part more behind', '/O=example/OU=users/CN=ada/emailAddress=a@b', 401],
  ['two names', '/O=example/OU=users/CN=bob/CN=ada', 401],
  ['two names in one part', '/O=example/OU=users/CN=ada+UID=bob', 401],
  ['a name that holds the rest', '/O=evil/CN=ada,OU=users,O=example', 401],
  ['a name with a newline', '/O=example/OU=users/CN=ada\nX-Client-Id: ada', 401],
  ['a name beyond ASCII', '/O=example/OU=users/CN=äda', 401],
  ['a name in capitals', '/O=example/OU=users/CN=ADA', 403],
])('%s', async (_, subject, status) => {
  const name = `client-${Buffer.from(subject).toString('hex').slice(-40)}`;
  await given.sign(name, 'clients', { subject });
  expect(await ask(name)).toBe(status);
  if (status === 200) expect(stack.application.values('X-Auth-User')).toEqual(['ada']);
});

test('no certificate, one of another authority, one that has ended: nobody is asked', async () => {
  await given.sign('stranger', 'strangers', { subject: '/O=example/OU=users/CN=ada' });
  await given.sign('ended', 'clients', { subject: '/O=example/OU=users/CN=ada', ended: true });
  const before = stack.application.seen.length;
  expect(await ask(null)).toBe(400);
  expect(await ask('stranger')).toBe(400);
  expect(await ask('ended')).toBe(400);
  expect(stack.application.seen.length).toBe(before);
});

test('what a client says of itself in the header counts for nothing, over TLS or without', async () => {
  await given.sign('bob', 'clients', { subject: '/O=example/OU=users/CN=bob' });
  for (const name of ['X-Client-Id', 'X_Client_Id', 'X.Client.Id']) {
    expect(await ask('bob', { [name]: 'ada' }), name).toBe(403);
    expect((await stack.client.ask({ path: '/api/device/d1', headers: { [name]: 'ada' } })).status, name).toBe(401);
  }
});

test('no token is read there', async () => {
  await given.sign('bob2', 'clients', { subject: '/O=example/OU=users/CN=bob' });
  const token = await tokenFor('ada');
  expect(await ask('bob2', { authorization: `Bearer ${token}` })).toBe(403);
  expect((await stack.client.ask({ path: '/api/device/d1', token })).status).toBe(401);
});
