// Does every way through the pipeline end in the right verdict, with all that log and metrics need, and never in an allow by accident?
import { describe, expect, test } from 'vitest';
import { PolicyError } from 'policy-cache';
import type { DoorRequest } from '../../src/authorize.ts';
import type { Authentication, Issuer } from '../../src/identity.ts';
import type { Pdp } from '../../src/pdp.ts';
import { ask, made, request, running, words } from '../support/authorizing.ts';
import { NOW } from '../support/doors.ts';

describe('a route of the table', () => {
  test.each<[string, string, string, string]>([
    ['admin', 'GET', '/api/device/d1', 'permit generic 6a'],
    ['admin', 'GET', '/api/device/d1?x=/../y', 'permit generic 6a'],
    ['admin', 'HEAD', '/api/device/d2', 'permit generic 6a'],
    ['admin', 'GET', '/api/devices', 'permit generic 3'],
    ['admin', 'GET', '/api/device/x1', 'deny other-tenant 4'],
    ['admin', 'GET', '/api/device/d9', 'deny unknown-target 4'],
    ['admin', 'GET', '/api/device/t1', 'deny type-mismatch 4'],
    ['reader', 'DELETE', '/api/device/d1', 'deny no-grant 6e'],
    ['reader', 'GET', '/api/device/d1', 'permit generic 6a'],
    ['clerk', 'GET', '/api/device/d2', 'permit generic 6a'],
    ['clerk', 'GET', '/api/device/d1', 'deny out-of-scope 6e'],
    ['nobody', 'GET', '/api/device/d1', 'deny no-grant 6e'],
    ['off', 'GET', '/api/device/d1', 'deny subject-disabled 1'],
    ['ghost', 'GET', '/api/device/d1', 'deny unknown-subject 1'],
    ['admin', 'GET', '/api/device/d1/', 'unmapped no-route'],
    ['admin', 'GET', '/api/device/..', 'unmapped dot-segment'],
    ['admin', 'GET', '/api/devices/%64', 'unmapped percent-encoded'],
    ['admin', 'GET', '/api/device/%641', 'unmapped percent-encoded'],
    ['admin', 'GET', '/api/device/*', 'unmapped parameter'],
    ['admin', 'TRACE', '/api/device/d1', 'unmapped method'],
    ['admin', 'POST', '/api/device', 'unmapped id-in-body'],
    ['admin', 'GET', '/api/closed/d1', 'unmapped closed'],
    ['admin', 'OPTIONS', '/api/device/d1', 'unmapped preflight'],
    ['admin', 'GET', 'http://x/api/device/d1', 'unmapped target-form'],
  ])('%s %s %s: %s', async (user, method, uri, expected) => {
    expect(words(await ask(await running(), user, [method, uri]))).toBe(expected);
  });

  test('the outcome carries everything that log and metrics need', async () => {
    const side = await running();
    const first = await ask(side, 'clerk', ['GET', '/api/device/d2']);
    expect(first).toEqual({
      decisionId: 'test-1',
      requestId: 'r1',
      verdict: 'permit',
      reason: 'generic',
      rule: '6a',
      revision: side.source.revision,
      protocol: 'nginx',
      method: 'GET',
      route: '/api/device/{id}',
      resource: 'DEVICE',
      operation: 'READ',
      target: 'd2',
      subject: 'clerk',
      actor: '',
      tenant: 't1',
      customer: 'c1',
      cache: 'miss',
      durationMs: 0,
      span: null,
    });
    expect(await ask(side, 'clerk', ['GET', '/api/device/d2'])).toEqual({ ...first, decisionId: 'test-2', cache: 'hit' });
    expect(await ask(side, 'admin', ['GET', '/api/device/d2'])).toMatchObject({ subject: 'admin', tenant: 't1', customer: '' });
    expect(await ask(side, 'ghost', ['GET', '/api/device/d2'])).toMatchObject({ subject: 'ghost', tenant: '', customer: '', revision: side.source.revision });
    expect(await side.authorize(request('GET', '/nowhere'))).toMatchObject({
      route: '',
      resource: '',
      operation: '',
      target: '',
      subject: '',
      revision: null,
      cache: 'none',
    });
  });

  test('a hit is a value, not a promise', async () => {
    const side = await running();
    const credential = `Bearer ${await side.token('admin')}`;
    const asked = request('GET', '/api/device/d1', { credential, credentials: 1 });
    expect(side.authorize(asked)).toBeInstanceOf(Promise);
    await side.authorize(asked);
    expect(side.authorize(asked)).toMatchObject({ verdict: 'permit', cache: 'hit' });
  });

  test('all of several checks must pass, and the one that decided is named', async () => {
    const side = await running();
    const asked = (device: string): [string, string] => ['POST', `/api/device/d1/rpc/${device}`];
    expect(await ask(side, 'admin', asked('d2'))).toMatchObject({ verdict: 'permit', operation: 'WRITE', target: 'd2' });
    expect(await ask(side, 'reader', asked('d2'))).toMatchObject({ verdict: 'deny', reason: 'no-grant', operation: 'WRITE', target: 'd2' });
    expect(await ask(side, 'clerk', asked('d2'))).toMatchObject({ verdict: 'deny', reason: 'out-of-scope', operation: 'READ', target: 'd1' });
    expect(await ask(side, 'admin', asked('x1'))).toMatchObject({ verdict: 'deny', reason: 'other-tenant', target: 'x1' });
  });

  test('`authenticated`: a valid credential of a subject that exists and is enabled, no more', async () => {
    const side = await running();
    for (const user of ['admin', 'nobody', 'stranger', 'clerk']) expect(words(await ask(side, user, ['GET', '/api/me']))).toBe('permit authenticated 1');
    expect(words(await ask(side, 'off', ['GET', '/api/me']))).toBe('deny subject-disabled 1');
    expect(words(await ask(side, 'ghost', ['GET', '/api/me']))).toBe('deny unknown-subject 1');
    expect(words(await side.authorize(request('GET', '/api/me')))).toBe('unauthenticated no-credential');
    expect(await ask(side, 'clerk', ['GET', '/api/me'])).toMatchObject({ subject: 'clerk', tenant: 't1', customer: 'c1' });
  });

  test('`public`: the credential is never read, canonicalisation comes first', async () => {
    const side = await running();
    for (const more of [{}, { credential: 'rubbish', credentials: 1 }, { credential: 'Bearer x', credentials: 2 }])
      expect(await side.authorize(request('GET', '/public/a/b', more))).toMatchObject({
        verdict: 'permit',
        reason: 'public',
        rule: '',
        subject: '',
        tenant: '',
        route: '/public/{rest...}',
      });
    expect(words(await side.authorize(request('GET', '/public/../api/device/d1')))).toBe('unmapped dot-segment');
    expect(words(await side.authorize(request('OPTIONS', '/api/device/d1', { preflight: true })))).toBe('permit public');
    expect(side.authenticator.misses).toBe(0);
  });
});

describe('the form with parameters', () => {
  const form = (resource: string, operation: string, target: string): Partial<DoorRequest> => ({ parameters: { resource, operation, target } });
  test.each<[string, [string, string, Partial<DoorRequest>], string]>([
    ['admin', ['GET', '/elsewhere', form('DEVICE', 'READ', 'd1')], 'permit generic 6a'],
    ['admin', ['GET', '/elsewhere', form('device', 'read', 'd1')], 'permit generic 6a'],
    ['admin', ['GET', '/elsewhere', form('DEVICE', 'READ', '*')], 'permit generic 3'],
    ['admin', ['GET', '/elsewhere', form('DEVICE', 'READ', '')], 'unmapped target-missing'],
    ['admin', ['GET', '/elsewhere', form('DEVICE', 'READ', 'd\u00e91')], 'unmapped bad-target'],
    ['admin', ['GET', '/elsewhere', form('DEVICE', 'READ', 'd\t1')], 'unmapped bad-target'],
    ['admin', ['GET', '/elsewhere', form('THING', 'READ', 'd1')], 'unmapped unknown-resource'],
    ['admin', ['GET', '/elsewhere', form('DEVICE', 'PEEK', 'd1')], 'unmapped unknown-operation'],
    ['admin', ['GET', '/elsewhere', form('ALL', 'READ', 'd1')], 'unmapped unknown-resource'],
    ['admin', ['GET', '/elsewhere', form('DEVICE', 'ALL', 'd1')], 'unmapped unknown-operation'],
    ['reader', ['GET', '/elsewhere', form('DEVICE', 'DELETE', 'd1')], 'deny no-grant 6e'],
    // The path must be one that all servers read alike, though the target is not taken from it.
    ['admin', ['GET', '/elsewhere/../d2', form('DEVICE', 'READ', 'd1')], 'unmapped dot-segment'],
    ['admin', ['GET', '/elsewhere//d2', form('DEVICE', 'READ', 'd1')], 'unmapped empty-segment'],
    ['admin', ['FOO', '/elsewhere', form('DEVICE', 'READ', 'd1')], 'unmapped method'],
    // Where the table speaks too, both must ask for the same.
    ['admin', ['GET', '/api/device/d1', form('DEVICE', 'READ', 'd1')], 'permit generic 6a'],
    ['admin', ['GET', '/api/device/d2', form('DEVICE', 'READ', 'd1')], 'unmapped contradiction'],
    ['admin', ['GET', '/api/device/d1', form('DEVICE', 'READ', '*')], 'unmapped contradiction'],
    ['admin', ['GET', '/api/device/d1', form('DEVICE', 'WRITE', 'd1')], 'unmapped contradiction'],
    ['admin', ['GET', '/api/device/d1', form('ASSET', 'READ', 'd1')], 'unmapped contradiction'],
    ['admin', ['GET', '/api/closed/d1', form('DEVICE', 'READ', 'd1')], 'unmapped closed'],
    ['admin', ['GET', '/api/device/%641', form('DEVICE', 'READ', 'd1')], 'unmapped percent-encoded'],
    ['admin', ['GET', '/api/device/*', form('DEVICE', 'READ', '*')], 'unmapped parameter'],
    // Where it says less, the parameters stand.
    ['admin', ['POST', '/api/device', form('DEVICE', 'WRITE', 'd1')], 'permit generic 6a'],
    ['admin', ['GET', '/else%20where', form('DEVICE', 'READ', 'd1')], 'permit generic 6a'],
    ['nobody', ['GET', '/public/x', form('DEVICE', 'READ', 'd1')], 'deny no-grant 6e'],
    ['nobody', ['GET', '/api/me', form('DEVICE', 'READ', 'd1')], 'deny no-grant 6e'],
  ])('%s %j: %s', async (user, asked, expected) => {
    expect(words(await ask(await running(), user, asked))).toBe(expected);
  });
  test('a row with more checks asks them all, though the parameters name one', async () => {
    const side = await running();
    const asked = (operation: string, target: string): [string, string, Partial<DoorRequest>] => [
      'POST',
      '/api/device/d1/rpc/d2',
      form('DEVICE', operation, target),
    ];
    expect(words(await ask(side, 'reader', asked('READ', 'd1')))).toBe('deny no-grant 6e');
    expect(words(await ask(side, 'admin', asked('WRITE', 'd2')))).toBe('permit generic 6a');
    expect(words(await ask(side, 'admin', asked('WRITE', 'd1')))).toBe('unmapped contradiction');
  });
});

describe('what cannot be decided', () => {
  const asked = request('GET', '/api/devices', { credential: 'Bearer x', credentials: 1 });
  test.each<[string, () => never | Promise<never>, string]>([
    [
      'a PolicyError thrown',
      () => {
        throw new PolicyError('stale', 'x');
      },
      'stale',
    ],
    ['a PolicyError as a rejection', () => Promise.reject(new PolicyError('overload', 'x')), 'overload'],
    [
      'any error thrown',
      () => {
        throw new TypeError('x');
      },
      'internal',
    ],
    ['any error as a rejection', () => Promise.reject(new TypeError('x')), 'internal'],
    [
      'nothing thrown',
      () => {
        // oxlint-disable-next-line typescript/only-throw-error
        throw undefined;
      },
      'internal',
    ],
  ])('%s, by the decision or by the identity: unavailable', async (_, fault, reason) => {
    const told: unknown[] = [];
    const pdp: Pdp = { check: fault };
    for (const authorize of [withPdp(pdp, undefined, told), withIdentity(fault, told)]) expect(words(await authorize(asked))).toBe(`unavailable ${reason}`);
    expect(told.length).toBe(reason === 'internal' ? 2 : 0);
  });

  test('whoever is told of the fault may fail too', async () => {
    const authorize = withPdp(
      {
        check: () => {
          throw new TypeError('x');
        },
      },
      undefined,
      {
        push: () => {
          throw new Error('log is full');
        },
      },
    );
    expect(words(await authorize(asked))).toBe('unavailable internal');
  });

  test('what never comes ends at the deadline, and a late answer changes nothing', async () => {
    let release = (): void => undefined;
    const authorize = withPdp({
      check: () =>
        new Promise((resolve) => {
          release = () =>
            resolve({ decision: { allow: true, reason: 'generic', rule: '3' }, index: 0, status: { tenant: 't1', customer: '', revision: null, hit: false } });
        }),
    });
    const outcome = await authorize(asked);
    expect(words(outcome)).toBe('unavailable deadline');
    release();
    await new Promise((resolve) => setImmediate(resolve));
    expect(words(outcome)).toBe('unavailable deadline');
    expect(outcome.tenant).toBe('');
  });

  test('a database that does not answer: the cache gives up first', async () => {
    let held = false;
    const side = await running({ hold: (what) => (held && what === 'objects' ? new Promise(() => undefined) : undefined) });
    held = true;
    expect(words(await ask(side, 'admin', ['GET', '/api/device/d1']))).toBe('unavailable deadline');
    side.cache.close();
    expect(words(await ask(side, 'admin', ['GET', '/api/device/d1']))).toBe('unavailable starting');
  });

  function withPdp(
    pdp: Pdp,
    issuer: Issuer = { name: 'i', external: true, tenants: '*', algorithms: [], iss: null, verify: () => Promise.reject(new Error('unused')) },
    told: { push(thrown: unknown): unknown } = [],
  ) {
    return made(pdp, () => ({ kind: 'user', subject: 'u', authority: issuer, expires: NOW + 1 }), told);
  }
  function withIdentity(fault: () => never | Promise<never>, told: unknown[]) {
    return made(
      {
        check: () => {
          throw new Error('unused');
        },
      },
      fault,
      told,
    );
  }
});

test('the reading of the clock goes on to the decision of the same turn, and not to one of a later turn', async () => {
  const handed: unknown[] = [];
  const pdp: Pdp = {
    check: (_requests, _atLeast, _trace, now) => {
      handed.push(now);
      return { decision: { allow: true, reason: 'generic', rule: '3' }, index: 0, status: { tenant: 't1', customer: '', revision: null, hit: true } };
    },
  };
  const issuer: Issuer = { name: 'i', external: true, tenants: '*', algorithms: [], iss: null, verify: () => Promise.reject(new Error('unused')) };
  const who: Authentication = { kind: 'user', subject: 'u', authority: issuer, expires: NOW + 1 };
  const asked = { ...request('GET', '/api/device/d1', { credential: 'Bearer x', credentials: 1 }), now: 17 };
  for (const authenticate of [() => who, () => Promise.resolve(who)]) expect(words(await made(pdp, authenticate, [])(asked))).toBe('permit generic 3');
  expect(handed).toEqual([17, undefined]);
});
