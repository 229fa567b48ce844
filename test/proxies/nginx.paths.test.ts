// Can a request target mean one thing to nginx, another to the sidecar and a third to the application?
//
// The checklist has the corpus. Here are encoded letters, and what would come of a file that takes what nginx has decoded.

import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NEW_LINES } from '../corpus/targets.ts';
import { askDecided } from '../support/ask.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { tokenFor } from '../support/sidecar.ts';
import { startStack, type Stack } from '../support/stack.ts';

// admin may do everything, nobody nothing; d1 and device-b1 are devices.
const world = JSON.stringify({
  defaults: true,
  tenants: [{ id: 't1' }],
  customers: [{ id: 'c1', owner: 't1' }],
  users: [
    { id: 'admin', owner: 't1', groups: ['admins:t1'] },
    { id: 'clerk', owner: 'c1', groups: ['admins:c1'] },
    { id: 'nobody', owner: 't1' },
  ],
  entities: [
    { id: 'd1', type: 'DEVICE', owner: 't1' },
    { id: 'device-b1', type: 'DEVICE', owner: 'c1' },
  ],
});

let server: TestServer;
let stack: Stack;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  stack = await startStack({ server, world });
  // In memory from here on, so that no answer below is one of a check that took too long.
  for (const user of ['admin', 'clerk', 'nobody'])
    for (const id of ['d1', 'device-b1']) await askDecided(stack.client, { path: `/api/device/${id}`, token: await tokenFor(user) });
});
afterAll(async () => {
  await stack?.close();
  await server?.close();
});

/** Sends bytes that may be no HTTP at all, and reads whatever comes until the connection ends. The status, if there is one. */
function send(bytes: Buffer, port = stack.nginx.port): Promise<number> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    socket.setEncoding('latin1').setTimeout(5000, () => socket.destroy(new Error(`no end of the connection: ${text.slice(0, 200)}`)));
    socket.on('data', (part: string) => (text += part));
    socket.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ECONNRESET' ? undefined : reject(error)));
    socket.on('close', () => resolve(Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1] ?? 0)));
  });
}
const request = (target: string, token: string, requestId: string): Buffer =>
  Buffer.from(
    `GET ${target} HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\nX-Request-Id: ${requestId}\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    'utf8',
  );

describe('encoded letters', () => {
  test.each([
    '/api/devices/%64evice-b1',
    '/api/devices/device-b%31',
    '/api/%64evices/device-b1',
    '/%61pi/devices/device-b1',
    '/api/devices/%2a',
    '/api/devices/%2A',
    '/api/devices/device-b1%2f..%2fd1',
    '/api/devices/device%2Db1',
    '/api/device/%64evice-b1',
    '/api/devic%65/device-b1',
    '/%61pi/device/device-b1',
    '/api/device/%2a',
    '/api/device%2fdevice-b1',
    '/api/device/info%2fdevice-b1',
    '/api/n%6fauth/userPasswordPolicy',
  ])('%s is neither the device nor any device', async (target) => {
    for (const user of ['admin', 'clerk']) {
      const before = stack.application.seen.length;
      expect(await send(request(target, await tokenFor(user), 'encoded'))).toBe(403);
      expect(stack.application.seen.length).toBe(before);
    }
  });
});

describe('a new line in the path', () => {
  test('the shipped files take nothing from a request that nginx has decoded', () => {
    const shipped = ['grantgate.conf', 'grantgate-maps.conf', 'local.conf', 'addresses.conf']
      .map((name) => readFileSync(new URL(`../../deploy/nginx/${name}`, import.meta.url), 'utf8').replace(/#.*$/gm, ''))
      .join('');
    const variables = new Set(shipped.match(/\$\{?[a-z_]+/g));
    // grantgate_device is captured from $request_uri, by a class without a percent sign.
    const raw = /^\$(http_[a-z_]+|upstream_http_x_[a-z_]+|grantgate_[a-z]+(_id)?|request_(method|uri|id)|host|remote_addr|scheme)$/;
    expect([...variables].filter((name) => !raw.test(name))).toEqual([]);
    expect(variables.size).toBeGreaterThan(10);
  });

  test.each(NEW_LINES)('%s', async (target) => {
    const before = stack.application.seen.length;
    expect(await send(request(target, await tokenFor('clerk'), 'newline'))).toBe(403);
    expect(stack.application.seen.length).toBe(before);
  });

  test('a configuration that sends what a location captured lets a header in; the door refuses the path all the same', async () => {
    const spoilt = await startStack({
      server,
      world,
      spoil: (file, text) =>
        file !== 'grantgate.conf'
          ? text
          : text
              .replace('location ^~ /api/devices/ {', 'location ~ ^/api/devices/(?<captured>[^/]+) {')
              .replace('    proxy_set_header X-Request-Id      $grantgate_request_id;\n    ', '    proxy_set_header X-Captured $captured;\n    '),
    });
    try {
      const before = spoilt.application.seen.length;
      expect(await send(request('/api/devices/device-b1%0d%0aX-Request-Id:%20injected', await tokenFor('clerk'), 'own'), spoilt.nginx.port)).toBe(403);
      // The line is found by the injected header: it did arrive.
      expect(await spoilt.sidecar.line('injected')).toMatchObject({ decision: 'unmapped' });
      expect(spoilt.application.seen.length).toBe(before);
    } finally {
      await spoilt.close();
    }
  });
});
