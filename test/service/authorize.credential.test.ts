// Which credential is looked at, whose word counts for which tenants, and how is it refused?

import { describe, expect, test } from 'vitest';
import type { DoorRequest } from '../../src/authorize.ts';
import { refused, type Issuer } from '../../src/identity.ts';
import { ask, made, request, running, words } from '../support/authorizing.ts';
import { NOW } from '../support/doors.ts';

describe('the credential', () => {
  test.each<[string, (token: string) => Partial<DoorRequest>, string]>([
    ['Bearer', (token) => ({ credential: `Bearer ${token}`, credentials: 1 }), 'permit generic 6a'],
    ['bearer', (token) => ({ credential: `bearer ${token}`, credentials: 1 }), 'permit generic 6a'],
    ['BEARER', (token) => ({ credential: `BEARER ${token}`, credentials: 1 }), 'permit generic 6a'],
    ['none', () => ({ credential: '', credentials: 0 }), 'unauthenticated no-credential'],
    ['an empty one', () => ({ credential: '', credentials: 1 }), 'unauthenticated no-credential'],
    ['two', (token) => ({ credential: `Bearer ${token}`, credentials: 2 }), 'unauthenticated many-credentials'],
    ['two spaces', (token) => ({ credential: `Bearer  ${token}`, credentials: 1 }), 'unauthenticated not-bearer'],
    ['a tab', (token) => ({ credential: `Bearer\t${token}`, credentials: 1 }), 'unauthenticated not-bearer'],
    ['no scheme', (token) => ({ credential: token, credentials: 1 }), 'unauthenticated not-bearer'],
    ['Basic', () => ({ credential: 'Basic dTpw', credentials: 1 }), 'unauthenticated not-bearer'],
    ['scheme alone', () => ({ credential: 'Bearer', credentials: 1 }), 'unauthenticated not-bearer'],
    ['scheme and space', () => ({ credential: 'Bearer ', credentials: 1 }), 'unauthenticated not-bearer'],
    ['joined by a comma', (token) => ({ credential: `Bearer ${token},Bearer ${token}`, credentials: 1 }), 'unauthenticated not-bearer'],
    ['joined by comma and space', (token) => ({ credential: `Bearer ${token}, ${token}`, credentials: 1 }), 'unauthenticated not-bearer'],
    ['a parameter', (token) => ({ credential: `Bearer ${token} x=1`, credentials: 1 }), 'unauthenticated not-bearer'],
    ['not a token', () => ({ credential: 'Bearer abc', credentials: 1 }), 'unauthenticated bad-token'],
    ['long', () => ({ credential: `Bearer ${'x'.repeat(8193)}`, credentials: 1 }), 'unauthenticated token-too-long'],
  ])('%s', async (_, credential, expected) => {
    const side = await running();
    const token = await side.token('admin');
    // Once before it is known and once after: a cached token excuses no form.
    expect(words(await side.authorize(request('GET', '/api/device/d1', credential(token))))).toBe(expected);
    expect(words(await ask(side, 'admin', ['GET', '/api/device/d1']))).toBe('permit generic 6a');
    expect(words(await side.authorize(request('GET', '/api/device/d1', credential(token))))).toBe(expected);
  });
  test('unmapped comes before unauthenticated, in either form', async () => {
    const side = await running();
    expect(words(await side.authorize(request('GET', '/nowhere')))).toBe('unmapped no-route');
    expect(words(await side.authorize(request('GET', '/x', { parameters: { resource: 'THING', operation: 'READ', target: 'd1' } })))).toBe(
      'unmapped unknown-resource',
    );
    expect(words(await side.authorize(request('GET', '/api/device/d1', { problem: 'missing-header' })))).toBe('unmapped missing-header');
  });
  test('a system administrator is nobody here, whatever user it names', async () => {
    const side = await running();
    const credential = `Bearer ${await side.token('admin', { scope: 'SYS_ADMIN' })}`;
    for (const uri of ['/api/device/d1', '/api/me'])
      expect(words(await side.authorize(request('GET', uri, { credential, credentials: 1 })))).toBe('deny unknown-subject 1');
  });
  test('a token dies at its end though it was kept', async () => {
    const side = await running();
    expect(words(await ask(side, 'admin', ['GET', '/api/device/d1']))).toBe('permit generic 6a');
    side.set(NOW + 3600);
    expect(words(await ask(side, 'admin', ['GET', '/api/device/d1']))).toBe('unauthenticated expired-token');
  });
});

describe("an issuer's tenants", () => {
  test('a subject of another tenant is not authenticated, allowed or not; nobody is a deny', async () => {
    const side = await running({ tenants: ['t1'] });
    expect(words(await ask(side, 'admin', ['GET', '/api/device/d1']))).toBe('permit generic 6a');
    for (const uri of ['/api/device/x1', '/api/device/d1', '/api/devices', '/api/me']) {
      const outcome = await ask(side, 'stranger', ['GET', uri]);
      expect(words(outcome)).toBe('unauthenticated foreign-tenant');
      expect(outcome).toMatchObject({ subject: 'stranger', tenant: 't2' });
    }
    expect(words(await ask(side, 'ghost', ['GET', '/api/device/d1']))).toBe('deny unknown-subject 1');
  });
  test('an allow without a tenant does not pass a list', async () => {
    const issuer: Issuer = {
      name: 'i',
      external: true,
      tenants: ['t1'],
      algorithms: ['HS512'],
      iss: null,
      verify: () => Promise.reject(new Error('unused')),
    };
    const side = made(
      { check: () => ({ decision: { allow: true, reason: 'generic', rule: '3' }, index: 0, status: { tenant: '', customer: '', revision: null, hit: true } }) },
      () => ({ kind: 'user', subject: 'u', authority: issuer, expires: NOW + 1 }),
    );
    expect(words(await side(request('GET', '/api/devices', { credential: 'Bearer x', credentials: 1 })))).toBe('unauthenticated foreign-tenant');
  });
});

test('a refusal of the identity is one of ours, always the same', () => {
  expect(refused('bad-token')).toBe(refused('bad-token'));
  expect(refused('bad-token')).toEqual({ kind: 'refused', problem: 'bad-token' });
});
