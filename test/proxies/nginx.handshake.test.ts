// May a browser open a WebSocket, on which it can set no header? With the token in a cookie or in the query, where a row says so.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tell, wireRequest } from '../support/proxies/wire.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { tokenFor } from '../support/sidecar.ts';
import { startStack, type Stack } from '../support/stack.ts';

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
const COOKIE_LINE = '#proxy_set_header Cookie ';
const OPTED_IN = (file: string, text: string): string => (file === 'grantgate.conf' ? text.replace(COOKIE_LINE, COOKIE_LINE.slice(1)) : text);

let server: TestServer;
let ada: string;
let bob: string;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  [ada, bob] = [await tokenFor('ada'), await tokenFor('bob')];
});
afterAll(async () => server?.close());

type Lines = readonly (readonly [name: string, value: string])[];

/** The status of a handshake, 101 where it is opened. Five times at most, for a 500 is nginx's word for "not in time". */
async function open({ nginx }: Stack, path: string, headers: Lines): Promise<number> {
  const handshake: Lines = [
    ['Connection', 'Upgrade'],
    ['Upgrade', 'websocket'],
    ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
    ['Sec-WebSocket-Version', '13'],
  ];
  for (let attempt = 1; ; attempt++) {
    const { status } = await tell(nginx.port, wireRequest(`GET ${path}`, [...handshake, ...headers]), { head: true });
    if (status !== 500 || attempt === 5) return status;
  }
}

describe('as shipped', () => {
  let stack: Stack;
  beforeAll(async () => void (stack = await startStack({ server, world, routes })));
  afterAll(async () => stack?.close());

  test('a cookie does not come to the door; a parameter of the query does, where a row reads it', async () => {
    expect(await open(stack, '/ws/cookie', [['Cookie', `session=${ada}`]])).toBe(401);
    expect(await open(stack, `/ws/query?token=${ada}`, [])).toBe(101);
    expect(await open(stack, `/ws/query?token=${bob}`, [])).toBe(403);
    expect(await open(stack, '/ws/query', [])).toBe(401);
    expect(await open(stack, `/ws/header?token=${ada}`, [])).toBe(401);
    expect(await open(stack, '/ws/header', [['Authorization', `Bearer ${ada}`]])).toBe(101);
    expect(await open(stack, `/ws/query?token=${ada}`, [['Authorization', `Bearer ${ada}`]])).toBe(401);
  });
});

describe('with the line that passes cookies on', () => {
  let stack: Stack;
  beforeAll(async () => void (stack = await startStack({ server, world, routes, spoil: OPTED_IN })));
  afterAll(async () => stack?.close());

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
  ])('a cookie %s', async (_, path, headers, status) => {
    expect(await open(stack, path, headers())).toBe(status);
    if (status === 101) expect(stack.application.values('X-Auth-User')).toEqual(['ada']);
  });

  test('no log holds a token', async () => {
    await open(stack, `/ws/query?token=${ada}`, [['X-Request-Id', 'by-query']]);
    await open(stack, '/ws/cookie', [
      ['Cookie', `session=${ada}`],
      ['Origin', 'https://evil.example'],
      ['X-Request-Id', 'by-cookie'],
    ]);
    const lines = JSON.stringify([await stack.sidecar.line('by-query'), await stack.sidecar.line('by-cookie')]);
    expect(lines).toContain('foreign-origin');
    const signature = ada.split('.')[2]!;
    for (const text of [lines, stack.sidecar.log(), stack.nginx.errors()]) expect(text).not.toContain(signature);
  });
});
