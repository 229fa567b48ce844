// Clients with certificates at Envoy: is the user the one that the certificate names (`source.principal`), and can nobody else say so?

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { certificates, type Certificates } from '../support/certificates.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { startEnvoy } from '../support/proxies/envoy.ts';
import type { RunningProxy } from '../support/proxies/kit.ts';
import { tokenFor } from '../support/sidecar.ts';
import { startBehind, type Behind } from '../support/stack.ts';

const PREFIX = 'spiffe://example.org/user/';
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
beforeAll(async () => {
  given = await certificates({ path: '/api/device/d1', ca: 'clients' });
  await given.authority('clients');
  await given.authority('strangers');
  await given.sign('server', 'clients', { subject: '/CN=localhost' });
  await given.sign('ada', 'clients', { subject: '/CN=ada', names: `URI:${PREFIX}ada` });
  await given.sign('bob', 'clients', { subject: '/CN=bob', names: `URI:${PREFIX}bob` });
  server = await startPostgres('embedded18');
});
afterAll(async () => {
  await server?.close();
  await given?.remove();
});

/** Over TLS, with certificates of clients; the shipped file apart from that. */
function spoil(file: string, text: string): string {
  if (file !== 'grpc.yaml') return text;
  const at = (name: string): string => JSON.stringify({ filename: join(given.directory, name) });
  const context =
    `{ name: tls, typed_config: { '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, require_client_certificate: true, ` +
    `common_tls_context: { tls_certificates: [{ certificate_chain: ${at('server.pem')}, private_key: ${at('server.key')} }], validation_context: { trusted_ca: ${at('clients.pem')} } } } }`;
  const changed = text.replace('        - filters:\n', () => `        - transport_socket: ${context}\n          filters:\n`);
  expect(changed).not.toBe(text);
  // For the listener that believes a header: Envoy writes it itself, over the client's.
  return changed
    .replace(
      '                          - exact: authorization\n',
      () => '                          - exact: authorization\n                          - exact: x-client-id\n',
    )
    .replace(
      '                        request_mutations:\n',
      () =>
        "                        request_mutations:\n                          - append: { header: { key: x-client-id, value: '%DOWNSTREAM_PEER_URI_SAN%' }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }\n",
    );
}

describe.each(['principal', 'header'])('grpc.identity: %s', (identity) => {
  let behind: Behind;
  let envoy: RunningProxy;
  beforeAll(async () => {
    const header: Record<string, string> = identity === 'header' ? { 'grpc.subjectHeader': 'X-Client-Id' } : {};
    behind = await startBehind({
      server,
      world,
      set: {
        'grpc.identity': identity,
        ...header,
        'identity.asserted.prefix': PREFIX,
        'identity.asserted.tenants': 't1',
        'identity.thingsboard.tenants': 't2',
      },
    });
    envoy = await startEnvoy('grpc.yaml', behind.upstreams, { spoil });
  });
  afterAll(async () => {
    await envoy?.stop();
    await behind?.close();
  });
  const ask = (client: string | null, headers: Record<string, string> = {}): Promise<number> => given.ask({ port: envoy.port }, { client, headers });

  test('the one whom the certificate names, and nobody else', async () => {
    expect(await ask('ada')).toBe(200);
    expect(behind.application.values('X-Auth-User')).toEqual(['ada']);
    expect(await ask('bob')).toBe(403);
  });

  test.each<[string, { subject: string; names?: string }, number]>([
    ['eve, of another tenant', { subject: '/CN=eve', names: `URI:${PREFIX}eve` }, 401],
    ['another domain of trust', { subject: '/CN=ada', names: 'URI:spiffe://example.com/user/ada' }, 401],
    ['a service', { subject: '/CN=ada', names: 'URI:spiffe://example.org/service/ada' }, 401],
    ['a name of a host', { subject: '/CN=ada', names: 'DNS:ada.example.org' }, 401],
    ['a subject alone', { subject: '/CN=ada' }, 401],
    ['the prefix alone', { subject: '/CN=ada', names: `URI:${PREFIX}` }, 401],
  ])('%s', async (name, said, status) => {
    const file = name.replaceAll(/\W/g, '-');
    await given.sign(file, 'clients', said);
    expect(await ask(file)).toBe(status);
  });

  test('of two names Envoy takes the first as the principal; in a header it joins them, and that is none', async () => {
    await given.sign('two', 'clients', { subject: '/CN=ada', names: `URI:${PREFIX}bob,URI:${PREFIX}ada` });
    expect(await ask('two')).toBe(identity === 'principal' ? 403 : 401); // 403: bob may not
  });

  test('what a client says of itself, by a header or a token, counts for nothing', async () => {
    for (const name of ['X-Client-Id', 'X.Client.Id']) expect(await ask('bob', { [name]: `${PREFIX}ada` }), name).toBe(403);
    expect(await ask('bob', { authorization: `Bearer ${await tokenFor('eve')}` })).toBe(403);
    expect(await ask('bob', { 'x-forwarded-client-cert': `By=x;URI=${PREFIX}ada` })).toBe(403);
  });

  test('no certificate, or one of another authority: no connection', async () => {
    await given.sign('stranger', 'strangers', { subject: '/CN=ada', names: `URI:${PREFIX}ada` });
    const before = behind.application.seen.length;
    await expect(ask(null)).rejects.toThrow();
    await expect(ask('stranger')).rejects.toThrow();
    expect(behind.application.seen.length).toBe(before);
  });
});
