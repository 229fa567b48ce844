// Do the codec's rules hold for whatever comes: is every answer what the contract allows as an independent reader sees it, is no garbage
// an allow, and does this door decide as one of HTTP does? A failure prints its seed; GRANTGATE_SEED replays it, GRANTGATE_FUZZ lengthens the run.

import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Outcome } from '../../src/authorize.ts';
import { readCheckRequest } from '../../src/doors/check-request.ts';
import { checkResponse } from '../../src/doors/check-response.ts';
import { createEnvoyCheck, type Asserts } from '../../src/doors/envoy.ts';
import { readerOf } from '../../src/doors/headers.ts';
import { headerValue } from '../../src/doors/identity-headers.ts';
import { ProtobufError } from '../../src/doors/protobuf.ts';
import { NASTY_TARGETS } from '../corpus/targets.ts';
import { checkRequest, identityOf } from '../support/check-requests.ts';
import { sidecar, type Sidecar } from '../support/doors.ts';
import { call, connectHttp2, decodeResponse, encodeRequest, frame } from '../support/grpc.ts';
import { exchange, requestBytes } from '../support/raw.ts';
import type { DoorRequest } from '../../src/authorize.ts';

const runs = Number(process.env['GRANTGATE_FUZZ'] ?? 300);
const seed = Number(process.env['GRANTGATE_SEED'] ?? Date.now() & 0x7fffffff);
console.log(`gRPC properties: GRANTGATE_SEED=${seed}, ${runs} runs`);
const run = { numRuns: runs, seed };
const quick = { numRuns: runs * 5, seed };

const IDENTITY = ['x-auth-user', 'x-auth-tenant', 'x-auth-customer', 'x-authz-decision-id'];
const FAILED_OPEN = 'x-envoy-auth-failure-mode-allowed';
const roles = readerOf({ origin: { kind: 'request-line' }, target: null, atLeast: null });

describe('the encoder, read by protobufjs: rules 6, 7 and 8', () => {
  const id = fc.oneof(
    fc.string({ maxLength: 300 }),
    fc.string({ unit: 'grapheme', maxLength: 40 }),
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.constantFrom('', 'a\r\nx: y', '\0'),
  );
  const outcomes = fc
    .record({
      verdict: fc.constantFrom('permit', 'deny', 'unauthenticated', 'unmapped', 'unavailable'),
      reason: fc.constantFrom('generic', 'public', 'no-grant', 'deadline'),
      subject: id,
      tenant: id,
      customer: id,
      decisionId: fc.string({ unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)), minLength: 1, maxLength: 40 }),
    })
    .map((some) => some as unknown as Outcome); // the rest of it is not written
  const aliases = fc.array(
    fc.constantFrom('x_auth_user', 'x.auth.user', 'x~auth+user', 'x-auth_user', 'x_envoy-auth-failure-mode-allowed', 'X_AUTHZ.decision-id'),
  );

  test('every outcome', () => {
    fc.assert(
      fc.property(outcomes, aliases, (outcome, seen) => {
        const bytes = checkResponse(outcome, seen);
        if (outcome.verdict === 'unavailable') {
          expect(bytes).toBeNull();
          return;
        }
        // One frame, one message, and its first field the one status with its code, 0 too.
        expect(bytes![0]).toBe(0);
        expect(bytes!.readUInt32BE(1)).toBe(bytes!.length - 5);
        const message = bytes!.subarray(5);
        expect([...message.subarray(0, 3)]).toEqual([0x0a, 2, 0x08]);
        const statuses = topFields(message).filter((number) => number === 1);
        expect(statuses).toHaveLength(1);
        const answer = decodeResponse(message);
        if (outcome.verdict !== 'permit') {
          const nobody = outcome.verdict === 'unauthenticated';
          const headers = nobody ? { headers: [{ header: { key: 'www-authenticate', value: 'Bearer' } }] } : {};
          expect(answer).toEqual({ status: { code: nobody ? 16 : 7 }, denied_response: { status: { code: nobody ? 401 : 403 }, ...headers } });
          return;
        }
        expect(Object.keys(answer).toSorted()).toEqual(['ok_response', 'status']);
        expect(answer.status).toEqual({ code: 0 });
        const { headers = [], headers_to_remove: removed = [], ...more } = answer.ok_response!;
        expect(more).toEqual({});
        expect(headers.map(({ header }) => header.key)).toEqual(IDENTITY);
        for (const option of headers) {
          expect(Object.keys(option)).toEqual(['header']);
          expect(Object.keys(option.header)).toEqual(['key', 'value']);
          expect(option.header.value).toMatch(/^[ -~]*$/);
        }
        const { subject, tenant, customer, decisionId } = outcome;
        expect(Object.values(identityOf(answer))).toEqual([...[subject, tenant, customer].map(headerValue), outcome.reason === 'public' ? '' : decisionId]);
        expect(removed.toSorted()).toEqual([...new Set([FAILED_OPEN, ...seen])].toSorted());
        for (const name of removed) expect(IDENTITY).not.toContain(name);
      }),
      quick,
    );
  });
  test('an id that would break a header is not written at all', () => {
    fc.assert(
      fc.property(outcomes, fc.constantFrom('\r\n', '\0', ' ', 'é', 'Ċ'), (outcome, bad) => {
        fc.pre(outcome.verdict === 'permit');
        expect(() => checkResponse({ ...outcome, decisionId: `a${bad}` }, [])).toThrow(RangeError);
      }),
      run,
    );
  });
});

describe('the decoder', () => {
  const text = fc.string({ maxLength: 30 });
  const requests = fc
    .record({
      method: fc.constantFrom('', 'GET', 'DELETE', 'Get'),
      path: fc.oneof(
        text,
        fc.constantFrom('/api/device/d1', ...NASTY_TARGETS.filter((target) => target.length < 300 && Buffer.from(target).toString() === target)),
      ),
      headers: fc.dictionary(fc.oneof(fc.constantFrom('authorization', 'x-authorization', 'x_auth_user', 'cookie', 'origin', 'x-request-id'), text), text),
      context: fc.dictionary(fc.oneof(fc.constantFrom('resource', 'operation', 'target'), text), text),
      principal: fc.string({ unit: 'grapheme', maxLength: 20 }).filter((name) => !name.includes('\ufffd')),
    })
    .map((asked) => ({ asked, bytes: encodeRequest(checkRequest(asked)) }));

  test('reads what protobufjs wrote', () => {
    fc.assert(
      fc.property(requests, ({ asked, bytes }) => {
        const said = readCheckRequest(bytes, roles);
        const latin1 = (value: string): string => Buffer.from(value).toString('latin1');
        expect(said).toMatchObject({ method: asked.method, path: latin1(asked.path), principal: asked.principal, twice: false });
        for (const name of ['resource', 'operation', 'target'] as const)
          expect(said[name]).toBe(Object.hasOwn(asked.context, name) ? latin1(asked.context[name]!) : null);
        const wanted = Object.entries(asked.headers).filter(([name]) => roles.role(name, 0) !== 'none');
        expect(said.headers).toEqual(wanted.flatMap(([name, value]) => [name, latin1(value)]));
        expect(said.aliases).toEqual(Object.hasOwn(asked.headers, 'x_auth_user') ? ['x_auth_user'] : []);
      }),
      quick,
    );
  });
  test('any bytes: read, or its own error', () => {
    const spoiled = fc.tuple(requests, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 5 }), fc.nat()).map(([{ bytes }, changes, cut]) => {
      for (const [at, byte] of changes) if (bytes.length > 0) bytes[at % bytes.length] = byte;
      return cut % 3 === 0 ? bytes.subarray(0, cut % (bytes.length + 1)) : bytes;
    });
    let refused = 0;
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array)),
          spoiled,
        ),
        (bytes) => {
          try {
            readCheckRequest(bytes, roles);
          } catch (thrown) {
            if (!(thrown instanceof ProtobufError)) throw thrown;
            refused++;
          }
        },
      ),
      quick,
    );
    expect(refused).toBeGreaterThan(runs);
  });
  test('who names the subject: a token, the certificate, a header of the proxy', () => {
    const read = (asserts: Asserts, asked: Parameters<typeof checkRequest>[0]): Pick<DoorRequest, 'asserted' | 'problem'> => {
      let got: DoorRequest | null = null;
      const authorize = (request: DoorRequest): Promise<Outcome> => {
        got = request;
        return new Promise(() => undefined);
      };
      createEnvoyCheck({ authorize, refuseMethodOverride: true, atLeast: false, asserts })(encodeRequest(checkRequest(asked)), {
        timeout: null,
        traceparent: '',
        tracestate: '',
      });
      const { asserted, problem } = got as unknown as DoorRequest;
      return { asserted, problem };
    };
    const spiffe = 'spiffe://cluster/ns/a/sa/ann';
    const header = { header: 'x-remote-user' };
    expect(read('none', { principal: spiffe, headers: { 'x-remote-user': 'eve' } })).toEqual({ asserted: null, problem: null });
    expect(read('principal', { principal: spiffe, headers: { 'x-remote-user': 'eve' } })).toEqual({ asserted: spiffe, problem: null });
    expect(read('principal', { principal: 'ann\ufffd' })).toEqual({ asserted: '', problem: null });
    expect(read('principal', {})).toEqual({ asserted: '', problem: null });
    expect(read(header, { principal: spiffe, headers: { 'x-remote-user': 'ann' } })).toEqual({ asserted: 'ann', problem: null });
    expect(read(header, {})).toEqual({ asserted: '', problem: null });
    const twice = { list: [['x-remote-user', 'ann'] as const, ['x-remote-user', 'eve'] as const] };
    expect(read(header, twice).problem).toBe('repeated-header');
    for (const name of ['x_remote_user', 'X.Remote.User', 'x-remote_user'])
      expect(read(header, { headers: { 'x-remote-user': 'ann', [name]: 'eve' } }).problem, name).toBe('repeated-header');
  });
});

describe('through the listener', () => {
  let side: Sidecar;
  let http: { host: string; port: number };
  let session: Awaited<ReturnType<typeof connectHttp2>>;
  let tokens: readonly string[];
  beforeAll(async () => {
    side = await sidecar();
    http = await side.listen();
    session = await connectHttp2(await side.listenGrpc());
    tokens = await Promise.all(['admin', 'reader', 'clerk', 'nobody', 'off', 'stranger'].map((user) => side.token(user)));
  });
  afterAll(async () => {
    session.destroy();
    await side.close();
  });

  test('no garbage is an allow', async () => {
    const good = (): Buffer => encodeRequest(checkRequest({ path: '/api/device/x1', headers: { authorization: `Bearer ${tokens[0]}` } }));
    const parts = fc.oneof(
      fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array)),
      fc.uint8Array({ maxLength: 300 }).map((array) => frame(Buffer.from(array))),
      fc.tuple(fc.nat(), fc.nat(255)).map(([at, byte]) => {
        const bytes = frame(good());
        bytes[at % bytes.length] = byte;
        return bytes;
      }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(parts, { maxLength: 3 }), async (bodies) => {
        side.reports.length = 0;
        const reply = await call(session, bodies);
        // A byte may make another path of it; then somebody decided, and the log says what.
        if (reply.grpcStatus !== 0) {
          expect(reply.body).toHaveLength(0);
          return;
        }
        const allowed = decodeResponse(reply.body.subarray(5)).status?.code === 0;
        expect(allowed).toBe(side.reports[0]?.verdict === 'permit');
        if (allowed) expect(side.reports[0]?.target).not.toBe('x1');
      }),
      run,
    );
  });

  test('the same decision as the HTTP door', async () => {
    type Pairs = readonly (readonly [name: string, value: string])[];
    const often = <T>(usual: fc.Arbitrary<T>, weight: number, rare: fc.Arbitrary<T>): fc.Arbitrary<T> =>
      fc.oneof({ weight, arbitrary: usual }, { weight: 1, arbitrary: rare });
    const value = fc.constantFrom('', 'GET', 'https://a', 'a=b; c=d', 'Basic x', 'r1');
    const good = fc.nat(30).map((n) => `Bearer ${tokens[n % tokens.length]}`);
    const bad = fc.nat(2).map((n) => [`bearer ${tokens[0]}`, `Bearer ${tokens[0]},Bearer x`, ''][n] ?? '');
    const credential = fc.tuple(often(fc.constant('authorization'), 4, fc.constantFrom('x-authorization', 'x_authorization')), often(good, 6, bad));
    const names = ['origin', 'access-control-request-method', 'x-http-method-override', 'x.http.method', 'cookie', 'x-request-id', 'x-auth-user', 'accept'];
    const others = fc.array(fc.tuple(fc.constantFrom(...names), value), { maxLength: 2 });
    const paths = ['/api/device/d1', '/api/device/d2', '/api/device/x1', '/api/devices?page=1', '/api/me', '/public/x', '/api/closed/d1', '/api/device'];
    const nasty = NASTY_TARGETS.filter((target) => target.length < 300 && /^[!-~]+(?: [!-~]+)*$/.test(target));
    const asked = fc.record({
      method: often(fc.constantFrom('GET', 'GET', 'DELETE', 'OPTIONS'), 8, fc.constantFrom('POST', 'get', 'TRACE', '')),
      path: often(fc.constantFrom(...paths), 3, fc.constantFrom('', ...nasty)),
      list: fc
        .tuple(
          fc.array(credential, { minLength: 1, maxLength: 1 }),
          often<Pairs>(fc.constant([]), 5, fc.array(credential, { maxLength: 1 })),
          often<Pairs>(fc.constant([]), 2, others),
        )
        .map((parts) => parts.flat()),
      form: often<{ resource: string; operation: string; target: string } | null>(
        fc.constant(null),
        2,
        fc.record({
          resource: often(fc.constantFrom('DEVICE', 'device'), 4, fc.constantFrom('ASSET', 'DRAGON')),
          operation: often(fc.constantFrom('READ', 'WRITE'), 6, fc.constant('fly')),
          target: often(fc.constantFrom('d1', 'd2', 'x1', '*'), 6, fc.constantFrom('', 'a/b')),
        }),
      ),
    });
    const verdicts = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(asked, async ({ method, path, list, form }) => {
        side.reports.length = 0;
        const contract = [['X-Original-Method', method], ['X-Original-URI', path], ...(form === null ? [] : [['X-Authz-Target', form.target]])] as [
          string,
          string,
        ][];
        const line = `GET /auth/envoy${form === null ? '' : `/${form.resource}/${form.operation}`} HTTP/1.1`;
        const { status } = await exchange(http, requestBytes(line, [['Host', 'authz'], ...contract, ...list]));
        const reply = await call(session, [frame(encodeRequest(checkRequest({ method, path, list, ...(form === null ? {} : { context: form }) })))]);
        const answer = decodeResponse(reply.body.subarray(5));
        const [one, other] = side.reports.map(({ verdict, reason, rule, route, resource, operation, target, subject, tenant, requestId }) => {
          return { verdict, reason, rule, route, resource, operation, target, subject, tenant, requestId };
        });
        expect(other).toEqual(one);
        expect(answer.ok_response ? 200 : answer.denied_response?.status?.code).toBe(status);
        const name = `${one?.verdict} ${one?.reason}`;
        verdicts.set(name, (verdicts.get(name) ?? 0) + 1);
      }),
      run,
    );
    console.log(
      `HTTP and gRPC agree: ${[...verdicts]
        .toSorted(([, a], [, b]) => b - a)
        .map(([name, count]) => `${name} ${count}`)
        .join(', ')}`,
    );
    expect(verdicts.size).toBeGreaterThan(8);
  });
});

/** The field numbers at the top of a message that is well-formed, in order; read without any of our code. */
function topFields(message: Buffer): number[] {
  const fields: number[] = [];
  for (let at = 0; at < message.length;) {
    fields.push(message[at++]! >> 3);
    let [length, shift] = [0, 0];
    for (let more = true; more; shift += 7) {
      const byte = message[at++]!;
      length |= (byte & 0x7f) << shift;
      more = byte >= 0x80;
    }
    at += length; // every field of this message is one
  }
  return fields;
}
