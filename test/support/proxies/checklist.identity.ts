// 5: can a client say who it is, or what it asks for, in headers of its own?

import { describe, expect, test } from 'vitest';
import { IDENTITY, untilDecided, type Subject } from './checklist.subject.ts';
import { tell, wireRequest } from './wire.ts';

type Line = readonly [name: string, value: string];

const spellings = (name: string): readonly string[] => [
  name,
  name.toLowerCase(),
  name.toUpperCase(),
  name.replaceAll('-', '_'),
  name.replaceAll('-', '.'),
  name.replace('-', '_'),
  name.replace(/-([^-]*)$/, '.$1'),
  // CGI has one name for all of them.
  ..."!#$%&'*+^`|~".split('').map((character) => name.replaceAll('-', () => character)),
];
const hyphens = (name: string): readonly string[] => [name, name.toLowerCase(), name.toUpperCase()];

/** Headers by which one proxy or another says what was asked, or by which some application takes another path or host. */
const CONTRACT: readonly (readonly [name: string, value: (path: string) => string])[] = [
  ['X-Original-URI', (path) => path],
  ['X-Original-URL', (path) => `http://app.example${path}`],
  ['X-Original-Method', () => 'OPTIONS'],
  ['X-Forwarded-Uri', (path) => path],
  ['X-Forwarded-Method', () => 'OPTIONS'],
  ['X-Forwarded-Prefix', (path) => path],
  ['X-Envoy-Original-Path', (path) => path],
  ['X-Rewrite-URL', (path) => path],
  ['X-Authz-Target', () => 'device-b1'],
  ['X-Authz-Target', () => '*'],
];

/** By which applications take the client's address, or how it came. */
const ADDRESS = ['X-Forwarded-For', 'X-Real-Ip', 'X-Forwarded-Proto', 'X-Forwarded-Host', 'X-Forwarded-Port', 'Forwarded'];

export function identity({ kit, stack, token }: Subject): void {
  /** What came of it: the status, and what the application got. */
  const send = async (path: string, headers: readonly Line[]): Promise<{ status: number; reached: boolean }> => {
    const { application, proxy } = stack();
    const before = application.seen.length;
    // A check that a busy machine answers too late is decided by nobody, and asked again.
    const status = await untilDecided(kit, async () => (await tell(proxy.port, wireRequest(`GET ${path}`, headers))).status);
    return { status, reached: application.seen.length > before };
  };
  const bearer = (user: Parameters<Subject['token']>[0]): Line => ['Authorization', `Bearer ${token(user)}`];
  const whoever = (): readonly string[] => IDENTITY.slice(0, 3).map((name) => stack().application.values(name).join('|'));

  describe('identity headers of the client', () => {
    const areas = kit.constants
      ? ([
          ['/api/device/d1', 'admin'],
          ['/fleet/x', 'driver'],
          ['/estate/x', 'porter'],
        ] as const)
      : ([['/api/device/d1', 'admin']] as const);

    test.each([['/api/device/device-b1', 'clerk', ['clerk', 't1', 'c1']] as const, ...areas.map(([path, user]) => [path, user, [user, 't1', '']] as const)])(
      '%s: in one spelling, whatever its case, they are the sidecar’s',
      async (path, user, expected) => {
        const spoofed = IDENTITY.flatMap((name) => hyphens(name).map((spelling) => [spelling, 'mallory'] as const));
        for (const connection of ['close', 'close, X-Auth-User, X-Auth-Customer, X-Authz-Decision-Id']) {
          expect(await send(path, [bearer(user), ...spoofed, ...spoofed, ['Connection', connection]])).toEqual({ status: 200, reached: true });
          expect(whoever()).toEqual(expected);
          expect(stack().application.values('X-Authz-Decision-Id').join('|')).toMatch(/^[0-9a-f]{8}-[0-9a-z]+$/);
          expect(
            stack()
              .application.seen.at(-1)!
              .rawHeaders.filter((each) => each.includes('mallory')),
          ).toEqual([]);
        }
      },
    );
    test.each(areas)('%s: in another spelling they are gone, or the request is refused', async (path, user) => {
      for (const name of IDENTITY)
        for (const spelling of spellings(name)) {
          const { status, reached } = await send(path, [bearer(user), [spelling, 'mallory']]);
          expect([spelling, reached]).toEqual([spelling, status === 200]);
          expect([200, 400], `${spelling}: ${status}`).toContain(status);
          if (reached)
            expect(
              stack()
                .application.seen.at(-1)!
                .rawHeaders.filter((each) => each.includes('mallory')),
              spelling,
            ).toEqual([]);
        }
    });
    test('the mark of a proxy that let a request through unchecked is gone', async () => {
      const { status, reached } = await send('/api/device/d1', [bearer('admin'), ['x-envoy-auth-failure-mode-allowed', 'true']]);
      expect({ status, reached }).toEqual({ status: 200, reached: true });
      expect(stack().application.values('x-envoy-auth-failure-mode-allowed')).toEqual([]);
    });
  });

  test.each(['close', 'close, X-Forwarded-For, X-Real-Ip, X-Forwarded-Proto, X-Forwarded-Host'])(
    'where it comes from is not the client’s to say: Connection: %s',
    async (connection) => {
      const lines = ADDRESS.flatMap((name) => hyphens(name).map((spelling) => [spelling, '192.0.2.66'] as const));
      const { status, reached } = await send('/api/device/d1', [bearer('admin'), ...lines, ['Connection', connection]]);
      // Envoy refuses a request that takes back what Envoy itself says.
      expect([status, reached]).toEqual(status === 400 && connection !== 'close' ? [400, false] : [200, true]);
      if (reached)
        expect(
          stack()
            .application.seen.at(-1)!
            .rawHeaders.filter((each) => each.includes('192.0.2.66')),
        ).toEqual([]);
    },
  );

  describe('contract headers of the client', () => {
    const denied = [
      ['/api/device/d1', 'clerk'],
      ...(kit.constants ? ([['/fleet/x', 'porter']] as const) : []),
      ...(kit.computed
        ? ([
            ['/api/devices/d1', 'clerk'],
            ['/api/devices/', 'clerk'],
          ] as const)
        : []),
    ] as const;
    test.each(denied)('%s of %s stays refused', async (path, user) => {
      const every: Line[] = CONTRACT.flatMap(([name, value]) => spellings(name).map((spelling) => [spelling, value('/api/device/device-b1')] as const));
      for (const line of every) {
        const { status, reached } = await send(path, [bearer(user), line]);
        expect([line[0], reached]).toEqual([line[0], false]);
        expect([400, 401, 403], `${line[0]}: ${status}`).toContain(status);
      }
      const plain = CONTRACT.flatMap(([name, value]) => hyphens(name).map((spelling) => [spelling, value('/api/device/device-b1')] as const));
      const listed: Line = ['Connection', ['close', ...CONTRACT.map(([name]) => name), 'Authorization'].join(', ')];
      for (const lines of [plain, [...plain, listed], [...every, listed]]) expect((await send(path, [bearer(user), ...lines])).reached).toBe(false);
    });
    test('what is allowed stays allowed, and the application does not get them', async () => {
      const lines = CONTRACT.map(([name, value]) => [name, value('/api/device/none')] as const);
      expect(await send('/api/device/d1', [bearer('admin'), ...lines])).toEqual({ status: 200, reached: true });
      for (const name of [
        'X-Original-URI',
        'X-Original-URL',
        'X-Original-Method',
        'X-Authz-Target',
        'X-Rewrite-URL',
        ...(kit.name.startsWith('envoy') ? ['X-Envoy-Original-Path'] : []),
      ])
        expect(stack().application.values(name), name).toEqual([]);
      const said = ['X-Forwarded-Uri', 'X-Forwarded-Method', 'X-Forwarded-Prefix'].flatMap((name) => stack().application.values(name));
      expect(said.filter((value) => value === '/api/device/none' || value === 'OPTIONS')).toEqual([]);
    });
  });

  describe('credentials', () => {
    test.each<[string, () => readonly Line[]]>([
      ['two in one header', () => [['Authorization', `Bearer ${token('admin')}, Bearer ${token('nobody')}`]]],
      ['two without a blank', () => [['Authorization', `Bearer ${token('nobody')},${token('admin')}`]]],
      ['Authorization twice', () => [bearer('admin'), bearer('nobody')]],
      ['Authorization twice, the better one last', () => [bearer('nobody'), bearer('admin')]],
      ['the same twice', () => [bearer('admin'), bearer('admin')]],
      ['both headers', () => [bearer('admin'), ['X-Authorization', `Bearer ${token('admin')}`]]],
      ['another scheme', () => [['Authorization', 'Basic YWRtaW46YWRtaW4=']]],
      ['one that its own sender takes back', () => [bearer('nobody'), ['Connection', 'close, Authorization']]],
      ['in another spelling', () => [['X_Authorization', `Bearer ${token('admin')}`]]],
    ])('%s: refused', async (_, lines) => {
      const { status, reached } = await send('/api/device/d1', lines());
      expect(reached).toBe(false);
      expect([400, 401, 403]).toContain(status);
    });
    test('X-Authorization alone is one', async () =>
      expect(await send('/api/device/d1', [['X-Authorization', `Bearer ${token('admin')}`]])).toEqual({ status: 200, reached: true }));
  });
}
