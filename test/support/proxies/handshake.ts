// Where a row says so, a token may stand in a cookie or in the query, for a browser can set no header on a WebSocket. One suite for
// every kit: with the line that passes cookies on, exactly one of the right page opens it.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startPostgres, type TestServer } from '../postgres.ts';
import { tokenFor } from '../sidecar.ts';
import { startBehind, type Behind } from '../stack.ts';
import type { Kit, KitOptions, RunningProxy } from './kit.ts';
import { tell, wireRequest } from './wire.ts';

const world = JSON.stringify({
  defaults: true,
  tenants: [{ id: 't' }],
  users: [
    { id: 'ada', owner: 't', groups: ['admins:t'] },
    { id: 'bob', owner: 't', groups: [] },
  ],
});
const PAGE = 'https://app.example';
const check = { method: 'GET', resource: 'DEVICE', operation: 'READ', target: '*' };
const routes = {
  routes: [
    { ...check, path: '/ws/cookie', token: { cookie: 'session', origins: [PAGE] } },
    { ...check, path: '/ws/query', token: { query: 'token' } },
    { ...check, path: '/ws/header' },
  ],
};

type Lines = readonly (readonly [name: string, value: string])[];

/** The status of a handshake, 101 where it is opened. Five times at most: "not in time" is an answer of a busy machine. */
async function open(proxy: RunningProxy, path: string, headers: Lines): Promise<number> {
  const handshake: Lines = [
    ['Connection', 'Upgrade'],
    ['Upgrade', 'websocket'],
    ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
    ['Sec-WebSocket-Version', '13'],
  ];
  for (let attempt = 1; ; attempt++) {
    const { status } = await tell(proxy.port, wireRequest(`GET ${path}`, [...handshake, ...headers]), { head: true });
    if (status < 500 || attempt === 5) return status;
  }
}

/** `passed`: takes the comment away that keeps cookies from the door; null: the door of this program gets them as shipped. */
export function handshakes(kit: Kit, passed: KitOptions['spoil'] | null): void {
  describe(`handshakes behind ${kit.name}`, () => {
    let server: TestServer;
    let behind: Behind;
    let shipped: RunningProxy;
    let passing: RunningProxy;
    let ada: string;
    let bob: string;
    beforeAll(async () => {
      server = await startPostgres('embedded18');
      [ada, bob] = [await tokenFor('ada'), await tokenFor('bob')];
      behind = await startBehind({ server, world, routes });
      shipped = await kit.start(behind.upstreams);
      passing = passed ? await kit.start(behind.upstreams, { spoil: passed }) : shipped;
    });
    afterAll(async () => {
      if (passing !== shipped) await passing?.stop();
      await shipped?.stop();
      await behind?.close();
      await server?.close();
    });

    test('as shipped a parameter of the query comes to the door, where a row reads it, and a cookie where it is said above', async () => {
      expect(await open(shipped, '/ws/cookie', [['Cookie', `session=${ada}`]])).toBe(passed ? 401 : 101);
      expect(await open(shipped, `/ws/query?token=${ada}`, [])).toBe(101);
      expect(await open(shipped, `/ws/query?token=${bob}`, [])).toBe(403);
      expect(await open(shipped, '/ws/query', [])).toBe(401);
      expect(await open(shipped, `/ws/header?token=${ada}`, [])).toBe(401);
      expect(await open(shipped, '/ws/header', [['Authorization', `Bearer ${ada}`]])).toBe(101);
      expect(await open(shipped, `/ws/query?token=${ada}`, [['Authorization', `Bearer ${ada}`]])).toBe(401);
    });

    test.each<[string, string, () => Lines, number]>([
      [
        'of our own page',
        '/ws/cookie',
        () => [
          ['Cookie', `session=${ada}`],
          ['Origin', PAGE],
        ],
        101,
      ],
      ['of no page', '/ws/cookie', () => [['Cookie', `session=${ada}`]], 101],
      [
        'in two lines of cookies',
        '/ws/cookie',
        () => [
          ['Cookie', 'a=1'],
          ['Cookie', `session=${ada}`],
        ],
        101,
      ],
      [
        'of a user who may not',
        '/ws/cookie',
        () => [
          ['Cookie', `session=${bob}`],
          ['Origin', PAGE],
        ],
        403,
      ],
      [
        'of somebody else’s page',
        '/ws/cookie',
        () => [
          ['Cookie', `session=${ada}`],
          ['Origin', 'https://evil.example'],
        ],
        401,
      ],
      [
        'twice',
        '/ws/cookie',
        () => [
          ['Cookie', `session=${ada}`],
          ['Cookie', `session=${bob}`],
        ],
        401,
      ],
      [
        'beside a header',
        '/ws/cookie',
        () => [
          ['Cookie', `session=${ada}`],
          ['Authorization', `Bearer ${ada}`],
        ],
        401,
      ],
      [
        'for a row that reads no cookie',
        '/ws/header',
        () => [
          ['Cookie', `session=${ada}`],
          ['Origin', PAGE],
        ],
        401,
      ],
    ])('passed on, a cookie %s', async (_, path, headers, status) => {
      expect(await open(passing, path, headers())).toBe(status);
      if (status === 101) expect(behind.application.values('X-Auth-User')).toEqual(['ada']);
    });

    test('no log of ours, and none of the proxy’s errors, holds a token', async () => {
      await open(passing, `/ws/query?token=${ada}`, [['X-Request-Id', 'by-query']]);
      await open(passing, '/ws/cookie', [
        ['Cookie', `session=${ada}`],
        ['Origin', 'https://evil.example'],
        ['X-Request-Id', 'by-cookie'],
      ]);
      const lines = JSON.stringify([await behind.sidecar.line('by-query'), await behind.sidecar.line('by-cookie')]);
      expect(lines).toContain('foreign-origin');
      const signature = ada.split('.')[2]!;
      for (const text of [lines, behind.sidecar.log(), passing.errors()]) expect(text).not.toContain(signature);
    });
  });
}

/** For `passed`: in one file, this text for that, once. */
export function uncommented(file: string, from: string, to: string): NonNullable<KitOptions['spoil']> {
  return (name, text) => {
    if (name !== file) return text;
    expect(text.split(from), from).toHaveLength(2);
    return text.replace(from, () => to);
  };
}
