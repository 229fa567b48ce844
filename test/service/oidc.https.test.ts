// Are keys taken over TLS from the issuer alone, and from one of a private authority where the operator names it to Node?

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { certificates, type Certificates } from '../support/certificates.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));

let given: Certificates;
const servers: Server[] = [];
beforeAll(async () => {
  given = await certificates({ path: '/', ca: 'private' });
  await given.authority('private');
  await given.sign('localhost', 'private', { subject: '/CN=localhost', names: 'DNS:localhost' });
  await given.sign('elsewhere', 'private', { subject: '/CN=elsewhere', names: 'DNS:elsewhere.example' });
  await given.sign('ended', 'private', { subject: '/CN=localhost', ended: true });
  await run(process.execPath, [join(root, 'src/ready.mjs')]);
});
afterAll(async () => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  await given.remove();
});

/** The URL of a server with this certificate, that answers with a document. */
async function serve(name: string): Promise<string> {
  const file = (kind: string): Buffer => readFileSync(join(given.directory, `${name}.${kind}`));
  const server = createServer({ cert: file('pem'), key: file('key') }, (_, response) => response.end('{"keys":[]}'));
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `https://localhost:${(server.address() as AddressInfo).port}/`;
}

/** As the service does it, in a process of its own: Node reads the authorities when it starts. */
async function fetched(url: string, trusted: boolean): Promise<string> {
  const script = `
    const { download } = await import(${JSON.stringify(join(root, 'dist/issuers/download.js'))});
    const limits = { insecureHttp: true, timeout: 5000, signal: new AbortController().signal };
    console.log(await download(${JSON.stringify(url)}, limits).then(JSON.stringify, (error) => error.message));`;
  const env = { PATH: process.env['PATH'] ?? '', ...(trusted ? { NODE_EXTRA_CA_CERTS: join(given.directory, 'private.pem') } : {}) };
  return (await run(process.execPath, ['--input-type=module', '--eval', script], { env })).stdout.trim();
}

test('an authority that nobody named is not believed, one that NODE_EXTRA_CA_CERTS names is', async () => {
  const url = await serve('localhost');
  expect(await fetched(url, false)).toMatch(/unable to verify|self-signed|unable to get local issuer/);
  expect(await fetched(url, true)).toBe('{"keys":[]}');
});

test('nor is the certificate of another host, or one that has ended, though insecureHttp is on', async () => {
  expect(await fetched(await serve('elsewhere'), true)).toMatch(/does not match certificate/);
  expect(await fetched(await serve('ended'), true)).toMatch(/certificate has expired/);
});
