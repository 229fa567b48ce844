// 8, 9, 10, 17: methods, bodies, WebSockets and sizes: is each request checked once, as it is, before anything of it is passed on?

import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { newRequestId, type Subject, type User } from './checklist.subject.ts';
import { tell, wireRequest, type Heard } from './wire.ts';

/** A POST that the route table lets clerk make: READ on the device. */
const POST_OWN = '/api/events/DEVICE/device-b1',
  POST_FOREIGN = '/api/events/DEVICE/d1';

const HANDSHAKE = [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'websocket'],
  ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
  ['Sec-WebSocket-Version', '13'],
] as const;

export function messages({ kit, stack, token }: Subject): void {
  const bearer = (user: User): readonly [string, string] => ['Authorization', `Bearer ${token(user)}`];

  describe('methods', () => {
    test.each<[string, string, User | null, number[]]>([
      ['OPTIONS without a credential is no preflight', 'OPTIONS', null, [401, 403]],
      ['an unknown one', 'PROPFIND', 'admin', [400, 403, 405]],
      ['TRACE', 'TRACE', 'admin', [400, 403, 405]],
      ['one in small letters', 'get', 'admin', [400, 403]],
      ['CONNECT', 'CONNECT', 'admin', [400, 403, 404, 405, 501]],
    ])('%s never reaches the application', async (_, method, user, statuses) => {
      const { application, proxy } = stack();
      const before = application.seen.length;
      const { status } = await tell(proxy.port, wireRequest(`${method} /api/device/d1`, user === null ? [] : [bearer(user)]));
      expect(statuses).toContain(status);
      expect(application.seen.length).toBe(before);
    });
    test('a preflight, where no row is for it, is refused', async () => {
      const { status } = await tell(
        stack().proxy.port,
        wireRequest('OPTIONS /api/device/d1', [
          ['Origin', 'https://app.example'],
          ['Access-Control-Request-Method', 'GET'],
        ]),
      );
      expect(status).toBe(403);
    });
    test.each(['X-HTTP-Method-Override', 'X-HTTP-Method', 'X-Method-Override'])('%s is refused', async (name) => {
      const { client, application, sidecar } = stack();
      const before = application.seen.length;
      const requestId = newRequestId();
      expect((await client.ask({ path: '/api/device/d1', token: token('admin'), requestId, headers: { [name]: 'DELETE' } })).status).toBe(403);
      expect((await sidecar.line(requestId)).reason).toBe('method-override');
      expect(application.seen.length).toBe(before);
    });
  });

  describe('bodies', () => {
    const megabyte = randomBytes(1_000_000);
    test('a megabyte reaches the application as it was sent', async () => {
      const { client, application } = stack();
      expect((await client.ask({ method: 'POST', path: POST_OWN, token: token('clerk'), body: megabyte })).status).toBe(200);
      const { method, url, body } = application.seen.at(-1)!;
      expect({ method, url, same: body.equals(megabyte) }).toEqual({ method: 'POST', url: POST_OWN, same: true });
    });
    test('so does a chunked one', async () => {
      const { proxy, application } = stack();
      const parts = ['one ', 'two ', 'three'].map((part) => `${part.length.toString(16)}\r\n${part}\r\n`).join('');
      const head = wireRequest(`POST ${POST_OWN}`, [bearer('clerk'), ['Transfer-Encoding', 'chunked']]);
      expect((await tell(proxy.port, `${head}${parts}0\r\n\r\n`)).status).toBe(200);
      expect(application.seen.at(-1)!.body.toString()).toBe('one two three');
    });
    test('what is refused is refused before it is sent', async () => {
      const { proxy, application } = stack();
      const before = application.seen.length;
      const head = wireRequest(`POST ${POST_FOREIGN}`, [bearer('clerk'), ['Content-Length', '1000000'], ['Connection', 'keep-alive']]);
      expect((await tell(proxy.port, head, { head: true })).status).toBe(403);
      expect(application.seen.length).toBe(before);
    });
    test('with and without one, on one connection: everybody gets the own answer', async () => {
      const { client } = stack();
      const statuses: number[] = [];
      for (let i = 0; i < 10; i++)
        for (const ask of [
          { method: 'POST', path: POST_OWN, token: token('clerk'), body: 'b'.repeat(1 + 37 * i) },
          { path: '/api/device/d1', token: token('clerk') },
          { method: 'POST', path: POST_FOREIGN, token: token('clerk'), body: 'b'.repeat(400) },
          { path: '/api/device/device-b1', token: token('clerk') },
          { path: '/api/device/device-b1' },
        ])
          statuses.push((await client.ask(ask)).status);
      expect(statuses).toEqual(Array.from({ length: 10 }, () => [200, 403, 403, 200, 401]).flat());
    });
  });

  describe('a WebSocket', () => {
    test('is opened on a permit, and bytes pass both ways', async () => {
      const { proxy } = stack();
      const text = await new Promise<string>((resolve, reject) => {
        let heard = '';
        const socket = connect(proxy.port, '127.0.0.1', () => socket.write(wireRequest('GET /api/device/d1', [bearer('admin'), ...HANDSHAKE])));
        socket.setTimeout(5000, () => socket.destroy());
        socket.setEncoding('latin1').on('data', (part: string) => {
          const before = heard;
          heard += part;
          if (!before.includes('\r\n\r\n') && heard.includes('\r\n\r\n')) socket.write('\x81\x85mask', 'latin1');
          if (heard.endsWith('mask')) socket.destroy();
        });
        socket.on('error', reject).on('close', () => resolve(heard));
      });
      expect(text).toMatch(/^HTTP\/1\.1 101 .*\x81\x85mask$/s);
    });
    test.each<[string, User | null, number]>([
      ['a deny', 'nobody', 403],
      ['no credential', null, 401],
    ])('%s stops it before the upgrade', async (_, user, status) => {
      const { proxy, application } = stack();
      const before = application.seen.length;
      const answer: Heard = await tell(proxy.port, wireRequest('GET /api/device/d1', [...(user === null ? [] : [bearer(user)]), ...HANDSHAKE]), { head: true });
      expect(answer.status).toBe(status);
      expect(application.seen.length).toBe(before);
    });
  });

  // Behind such a 101 whole requests would follow that nobody checks.
  test.each<[string, readonly (readonly [string, string])[]]>([
    ['h2c', [['Upgrade', 'h2c']]],
    ['h2c in capitals', [['Upgrade', 'H2C']]],
    ['a WebSocket or h2c', [['Upgrade', 'websocket, h2c']]],
    ['h2c or a WebSocket', [['Upgrade', 'h2c, websocket']]],
    [
      'both, in two lines',
      [
        ['Upgrade', 'websocket'],
        ['Upgrade', 'h2c'],
      ],
    ],
    [
      'both, the other way round',
      [
        ['Upgrade', 'h2c'],
        ['Upgrade', 'websocket'],
      ],
    ],
  ])('an upgrade to %s is not handed on', async (_, upgrade) => {
    const { proxy, application } = stack();
    const before = application.seen.length;
    const lines = [bearer('admin'), ['Connection', 'Upgrade, HTTP2-Settings'] as const, ['HTTP2-Settings', 'AAMAAABkAARAAAAAAAIAAAAA'] as const];
    const { status } = await tell(proxy.port, wireRequest('GET /api/device/d1', [...lines, ...HANDSHAKE.slice(2), ...upgrade]), { head: true });
    const got = application.seen.length > before ? application.values('Upgrade') : [];
    // Of two lines a proxy may take the one that it knows; the application hears of no other.
    expect(got.filter((value) => value.toLowerCase() !== 'websocket')).toEqual([]);
    expect(status === 101).toBe(got.length > 0);
  });

  describe('sizes', () => {
    test.each([7000, 9000, 16_500, 20_000, 58_000, 200_000])('a token of %i bytes is 401, or too much for the proxy', async (size) => {
      const { proxy, application } = stack();
      const before = application.seen.length;
      const { status } = await tell(proxy.port, wireRequest('GET /api/device/d1', [['Authorization', `Bearer ${'x'.repeat(size)}`]]));
      // The sidecar ends the connection at 64 KiB; a proxy that is not done sending then may see the end before the answer.
      const ended = kit.resets ?? kit.statuses.error;
      expect(size === 7000 ? [401] : [0, 400, 401, 413, 431, ...(size > 65_536 ? [ended] : [])]).toContain(status);
      expect(application.seen.length).toBe(before);
    });
  });
}
