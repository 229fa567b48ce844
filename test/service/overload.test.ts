// What is still answered by a process that has too much to do? All that is in memory; nothing that would have to wait.

import { PolicyError } from 'policy-cache';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { DoorRequest, Outcome } from '../../src/authorize.ts';
import { createIdentity } from '../../src/authorities.ts';
import { hostClock } from '../../src/clock.ts';
import { signToken } from '../../src/issuers/thingsboard.ts';
import { request } from '../support/authorizing.ts';
import { load } from '../support/config.ts';
import { KEY, NOW, sidecar, type Sidecar } from '../support/doors.ts';

const bearing = (credential: string, uri: string, more: Partial<DoorRequest> = {}): DoorRequest => request('GET', uri, { credential, credentials: 1, ...more });

interface Overloadable {
  readonly side: Sidecar;
  /** How often work was to be begun, with how much under way. */
  readonly asked: { readonly token: number[]; readonly check: number[] };
  busy: boolean;
  ask(credential: string, uri: string, more?: Partial<DoorRequest>): Promise<string>;
}

async function overloadable(hold?: Parameters<typeof sidecar>[0]): Promise<Overloadable> {
  const asked = { token: [] as number[], check: [] as number[] };
  const refuse = (): void => {
    if (made.busy) throw new PolicyError('overload', 'busy');
  };
  const side = await sidecar({
    ...hold,
    admit: {
      token(waiting) {
        asked.token.push(waiting);
        refuse();
      },
      check(waiting) {
        asked.check.push(waiting);
        refuse();
      },
    },
  });
  onTestFinished(() => side.close());
  const made: Overloadable = {
    side,
    asked,
    busy: false,
    async ask(credential, uri, more = {}) {
      const outcome: Outcome = await side.authorize(bearing(`Bearer ${credential}`, uri, more));
      return `${outcome.verdict} ${outcome.reason}`;
    },
  };
  return made;
}

describe('overloaded', () => {
  test('a known user is answered on a known target, allow and deny, in the turn that asks', async () => {
    const door = await overloadable();
    const admin = await door.side.token('admin');
    for (const path of ['/api/device/d1', '/api/device/x1']) await door.ask(admin, path);
    door.busy = true;
    const asked = { token: door.asked.token.length, check: door.asked.check.length };
    expect(door.side.authorize(bearing(`Bearer ${admin}`, '/api/device/d1'))).not.toBeInstanceOf(Promise);
    expect(await door.ask(admin, '/api/device/d1')).toBe('permit generic');
    expect(await door.ask(admin, '/api/device/x1')).toBe('deny other-tenant');
    expect({ token: door.asked.token.length, check: door.asked.check.length }, 'nobody was asked').toEqual(asked);
  });

  test('an unknown token is not verified, an unknown target or user not read; what needs neither is answered', async () => {
    const door = await overloadable();
    const [admin, reader] = [await door.side.token('admin'), await door.side.token('reader')];
    await door.ask(admin, '/api/device/d1');
    const read = door.side.cache.stats.misses;
    door.busy = true;
    expect(await door.ask(reader, '/api/device/d1')).toBe('unavailable overload');
    expect(await door.ask(`${reader.slice(0, -4)}AAAA`, '/api/device/d1')).toBe('unavailable overload');
    expect(await door.ask(admin, '/api/device/d2')).toBe('unavailable overload');
    expect(await door.ask(admin, '/api/device/d1', { atLeast: 'latest' })).toBe('unavailable overload');
    expect(await door.ask('no token', '/api/device/d1')).toBe('unauthenticated not-bearer');
    expect(await door.ask(admin, '/nowhere')).toBe('unmapped no-route');
    expect(await door.ask('', '/public/x', { credential: '' })).toBe('permit public');
    expect(door.side.cache.stats.misses, 'checks that waited').toBe(read);
    expect(door.side.faults).toEqual([]);
    door.busy = false;
    expect(await door.ask(reader, '/api/device/d2')).toBe('permit generic');
  });

  test('what waits is counted, and only while it waits', async () => {
    let held = false;
    const waiting: (() => void)[] = [];
    const door = await overloadable({ hold: (what) => (held && what === 'objects' ? new Promise((resolve) => void waiting.push(resolve)) : undefined) });
    const admin = await door.side.token('admin');
    await door.ask(admin, '/api/device/d1');
    held = true;
    const before = door.asked.check.length;
    const asks = ['d2', 'd3', 'd9'].map((id) => door.ask(admin, `/api/device/${id}`));
    expect(door.asked.check.slice(before)).toEqual([0, 1, 2]);
    held = false;
    while (waiting.length > 0) waiting.pop()!();
    expect(await Promise.all(asks)).toEqual(['permit generic', 'permit generic', 'deny unknown-target']);
    await door.ask(admin, '/api/device/d8');
    expect(door.asked.check.at(-1)).toBe(0);
  });
});

test('as many tokens are verified at once as the setting says, beyond a thousand too', async () => {
  const env = { GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY: KEY, GRANTGATE_OVERLOAD_VERIFICATIONS: '1200' };
  const parts = { clock: hostClock(), wall: () => NOW * 1000, random: Math.random, log: () => undefined, admit: () => undefined };
  const { authenticator } = createIdentity(load({ env }).settings, parts);
  const claims = { userId: 'ada', scope: 'TENANT_ADMIN', issuedAt: NOW } as const;
  const tokens = await Promise.all(Array.from({ length: 1201 }, (_, i) => signToken(KEY, { ...claims, lifetime: 60 + i })));
  const found = await Promise.allSettled(tokens.map((token) => authenticator.authenticate(token)));
  expect(found.map(({ status }) => status)).toEqual([...Array.from({ length: 1200 }, () => 'fulfilled'), 'rejected']);
});

test('whoever has been answered "too late" costs no fill when his token is proved at last', async () => {
  const open: (() => void)[] = [];
  const side = await sidecar({
    deadline: 20,
    issuer: {
      name: 'slow',
      external: true,
      tenants: '*',
      algorithms: ['HS512'],
      iss: null,
      verify: () =>
        new Promise((resolve) => void open.push(() => resolve({ kind: 'user', subject: 'admin', from: 0, until: Infinity, grounds: { withdrawn: false } }))),
    },
  });
  onTestFinished(() => side.close());
  const uri = '/api/device/d1';
  const credential = `Bearer ${await side.token('admin')}`;
  expect(await side.authorize(bearing(credential, uri))).toMatchObject({ verdict: 'unavailable', reason: 'deadline' });
  for (const release of open.splice(0)) release();
  await new Promise((resolve) => setImmediate(resolve));
  expect(side.cache.stats.misses).toBe(0);
  expect(await side.authorize(bearing(credential, uri, { timeout: 10_000 }))).toMatchObject({ verdict: 'permit' });
});
