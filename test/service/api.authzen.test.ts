// Does POST /access/v1/evaluation keep every sentence of AuthZEN 1.0 on a single question, and of our mapping behind it?

import { formatRevision } from 'policy-cache';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { API_KEY, EVALUATION, startApi, type Api } from '../support/api.ts';
import type { Answer } from '../support/ask.ts';
import { sidecar, type Sidecar } from '../support/doors.ts';
import { connectRaw } from '../support/raw.ts';
import { until } from '../support/until.ts';

let side: Sidecar;
let api: Api;
beforeAll(async () => {
  side = await sidecar();
  api = await startApi({ cache: side.cache });
});
afterAll(async () => {
  await api?.close();
  await side?.close();
});
beforeEach(() => {
  api.reports.length = 0;
  api.failures.length = 0;
});

const user = (id: string) => ({ type: 'user', id });
const device = (id: string) => ({ type: 'DEVICE', id });
const READ = { name: 'READ' };
const QUESTION = { subject: user('admin'), action: READ, resource: device('d1') };
const json = ({ body }: Answer): Record<string, unknown> => JSON.parse(body) as Record<string, unknown>;
const revision = (): string => formatRevision(side.source.revision);

describe('decisions: 200, whatever the answer', () => {
  test.each<[string, object, string]>([
    ['allowed', {}, 'allow generic 6a'],
    ['a target of its own customer', { subject: user('clerk'), resource: device('d2') }, 'allow generic 6a'],
    [
      'context, properties and unknown members change nothing',
      { context: { time: 1 }, subject: { ...user('admin'), properties: { role: 'x' }, more: [] }, more: { evaluations: [] } },
      'allow generic 6a',
    ],
    ['evaluations and options are unknown members here', { evaluations: 7, options: 'x' }, 'allow generic 6a'],
    ['an owner among the properties of a concrete target', { resource: { ...device('d1'), properties: { owner: 'nobody', groups: 5 } } }, 'allow generic 6a'],
    ['null where nothing is required', { context: null, subject: { ...user('admin'), properties: null } }, 'allow generic 6a'],
    ['any target', { resource: device('*') }, 'allow generic 3'],
    ['no grant', { subject: user('reader'), action: { name: 'DELETE' } }, 'deny no-grant 6e'],
    ['out of scope', { subject: user('clerk') }, 'deny out-of-scope 6e'],
    ['an unknown user', { subject: user('who') }, 'deny unknown-subject 1'],
    ['an empty user', { subject: user('') }, 'deny unknown-subject 1'],
    ['an unknown type of subject', { subject: { type: 'service', id: 'admin' } }, 'deny unknown-subject 1'],
    ['a type of subject in another case', { subject: { type: 'User', id: 'admin' } }, 'deny unknown-subject 1'],
    ['a disabled user', { subject: user('off') }, 'deny subject-disabled 1'],
    ['a device as the subject', { subject: user('d1') }, 'deny unknown-subject 1'],
    ['an unknown target', { resource: device('d9') }, 'deny unknown-target 4'],
    ['an empty target', { resource: device('') }, 'deny unknown-target 4'],
    ['a target of another tenant', { resource: device('x1') }, 'deny other-tenant 4'],
    ['a target of another type', { resource: { type: 'ASSET', id: 'd1' } }, 'deny type-mismatch 4'],
    ['an unknown action', { action: { name: 'FLY' } }, 'deny unknown-vocabulary 0'],
    ['an action in another case', { action: { name: 'read' } }, 'deny unknown-vocabulary 0'],
    ['the wildcard as action', { action: { name: 'ALL' } }, 'deny unknown-vocabulary 0'],
    ['a name that every object has', { action: { name: 'constructor' } }, 'deny unknown-vocabulary 0'],
    ['an unknown resource', { resource: { type: 'UNICORN', id: 'd1' } }, 'deny unknown-vocabulary 0'],
    ['the wildcard as resource', { resource: { type: 'ALL', id: 'd1' } }, 'deny unknown-vocabulary 0'],
    ['the vocabulary comes before the subject', { subject: { type: '', id: '' }, action: { name: '' } }, 'deny unknown-vocabulary 0'],
  ])('%s', async (_, change, expected) => {
    const answer = await api.evaluate({ ...QUESTION, ...change });
    const [effect, reason, rule] = expected.split(' ');
    const { decision, context } = json(answer) as { decision: boolean; context: Record<string, string> };
    expect(answer.status).toBe(200);
    expect({ decision, ...context }).toEqual({ decision: effect === 'allow', reason, rule, revision: revision() });
    expect(answer.headers).toMatchObject({ 'content-type': 'application/json', 'cache-control': 'no-store', 'x-authz-revision': revision() });
    expect(answer.headers['x-authz-decision-id']).toBe(api.reports[0]?.decisionId);
  });

  // An id that cannot be is not asked for: Postgres would answer U+0000 with an error, and a lone surrogate as another id.
  test.each([['\u0000'], ['a\u001f'], ['\ud800'], ['x'.repeat(256)], ['é'.repeat(128)], ['all:'], ['all:DEVICE:t9']])(
    'the id %j is nobody and nothing',
    async (id) => {
      const asked = side.cache.sizes();
      expect(json(await api.evaluate({ ...QUESTION, subject: user(id) }))).toMatchObject({ decision: false, context: { reason: 'unknown-subject' } });
      expect(json(await api.evaluate({ ...QUESTION, resource: device(id) }))).toMatchObject({ decision: false, context: { reason: 'unknown-target' } });
      expect(side.cache.sizes().absent - asked.absent).toBeLessThanOrEqual(1);
    },
  );

  test('something to be made: owner and groups by the properties, the subject itself its default', async () => {
    const create = { subject: user('admin'), action: { name: 'CREATE' } };
    const ask = async (properties?: object) => json(await api.evaluate({ ...create, resource: { ...device('*'), ...(properties ? { properties } : {}) } }));
    expect(await ask()).toMatchObject({ decision: true, context: { rule: '7' } });
    expect(await ask({ owner: 'c1' })).toMatchObject({ decision: true, context: { rule: '7' } });
    expect(await ask({ owner: null, groups: null })).toMatchObject({ decision: true });
    expect(await ask({ owner: 't2' })).toMatchObject({ decision: false, context: { reason: 'other-tenant' } });
    expect(await ask({ owner: '\u0000', groups: ['\u0000'] })).toMatchObject({ decision: false, context: { reason: 'unknown-target' } });
    for (const properties of [{ owner: 5 }, { owner: ['c1'] }, { groups: 'g' }, { groups: [1] }, { groups: Array.from({ length: 101 }, (_, i) => `g${i}`) }]) {
      const answer = await api.evaluate({ ...create, resource: { ...device('*'), properties } });
      expect(answer.status).toBe(400);
      expect(json(answer)['detail']).toMatch(/^resource\.properties\.(owner|groups)/);
    }
  });

  test('the same question three times is the same body', async () => {
    const bodies = new Set<string>();
    for (let i = 0; i < 3; i++) bodies.add((await api.evaluate(QUESTION)).body);
    expect(bodies.size).toBe(1);
  });
});

describe('what is no question is 400, and says what to mend', () => {
  const deep = (levels: number): string =>
    `{"subject":{"type":"user","id":"admin"},"action":{"name":"READ"},"resource":{"type":"DEVICE","id":"d1"},"context":{"a":${'['.repeat(levels)}${']'.repeat(levels)}}}`;
  test.each<[string, unknown, RegExp]>([
    ['empty', '', /not JSON/],
    ['no JSON', '{"subject":', /not JSON/],
    ['an array', [QUESTION], /JSON object/],
    ['a string', '"x"', /JSON object/],
    ['a number', '7', /JSON object/],
    ['null', 'null', /JSON object/],
    ['no members', {}, /^subject must.*; action must.*; resource must/],
    ['no subject', { ...QUESTION, subject: undefined }, /^subject must be an object/],
    ['null for what is required', { ...QUESTION, subject: null }, /^subject must be an object/],
    ['a string as subject', { ...QUESTION, subject: 'admin' }, /^subject must be an object/],
    ['an array as subject', { ...QUESTION, subject: [] }, /^subject must be an object/],
    ['no subject id', { ...QUESTION, subject: { type: 'user' } }, /^subject\.id must be a string$/],
    ['no subject type', { ...QUESTION, subject: { id: 'admin' } }, /^subject\.type must be a string$/],
    ['a number as id', { ...QUESTION, subject: { type: 'user', id: 7 } }, /^subject\.id must be a string$/],
    ['a number as action', { ...QUESTION, action: { name: 123 } }, /^action\.name must be a string$/],
    ['a string as action', { ...QUESTION, action: 'READ' }, /^action must be an object/],
    ['null as resource id', { ...QUESTION, resource: { type: 'DEVICE', id: null } }, /^resource\.id must be a string$/],
    ['no resource type', { ...QUESTION, resource: { id: 'd1' } }, /^resource\.type must be a string$/],
    ['a context that is a list', { ...QUESTION, context: [] }, /^context must be an object$/],
    ['properties that are a string', { ...QUESTION, subject: { ...user('admin'), properties: 'x' } }, /^subject\.properties must be an object$/],
    [
      'members that are only inherited',
      '{"__proto__":{"subject":{"type":"user","id":"admin"},"action":{"name":"READ"},"resource":{"type":"DEVICE","id":"d1"}}}',
      /^subject must/,
    ],
    ['nested too deep', deep(40), /nested deeper/],
    ['nested much too deep', deep(20_000), /nested deeper/],
    ['broken UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), /not UTF-8/],
  ])('%s', async (_, body, detail) => {
    const answer = await api.evaluate(body);
    expect(answer.status).toBe(400);
    expect(answer.headers).toMatchObject({ 'content-type': 'application/problem+json', 'cache-control': 'no-store' });
    const { detail: said, ...rest } = json(answer);
    expect(said).toMatch(detail);
    expect(rest).toEqual({ title: 'Bad Request', status: 400, code: 'bad-request' });
    expect(api.reports).toMatchObject([{ protocol: 'authzen', verdict: 'unmapped', reason: 'bad-request' }]);
  });

  test('nested as deep as may be, brackets in strings not counted', async () => {
    expect((await api.evaluate(deep(30))).status).toBe(200);
    expect((await api.evaluate({ ...QUESTION, context: { text: '[{"'.repeat(100), [`\\"${'{'.repeat(50)}`]: 1 } })).status).toBe(200);
  });

  test.each(['application/json', 'application/json; charset=utf-8', 'Application/JSON;x', 'application/json ; x=y'])('Content-Type %s', async (type) => {
    expect((await api.evaluate(QUESTION, { headers: { 'content-type': type } })).status).toBe(200);
  });
  test.each(['text/plain', 'application/jsonp', 'application/json-patch+json', 'application/x-www-form-urlencoded', ''])(
    'Content-Type %j is refused',
    async (type) => {
      const answer = await api.evaluate(QUESTION, { headers: { 'content-type': type } });
      expect([answer.status, json(answer)['code']]).toEqual([400, 'media-type']);
    },
  );
  test('no Content-Type is refused', async () => {
    const { status } = await api.ask({ path: EVALUATION, method: 'POST', token: API_KEY, body: JSON.stringify(QUESTION) });
    expect(status).toBe(400);
  });

  test('64 KiB and no more, announced or not', async () => {
    const size = (bytes: number): string => {
      const empty = JSON.stringify({ ...QUESTION, context: { a: '' } });
      return empty.replace('"a":""', `"a":"${'x'.repeat(bytes - empty.length)}"`);
    };
    expect((await api.evaluate(size(65_536))).status).toBe(200);
    const answer = await api.evaluate(size(65_537), { headers: { 'x-request-id': 'large' } });
    expect([answer.status, json(answer)['code'], answer.headers['x-request-id']]).toEqual([413, 'too-large', 'large']);
    const unannounced = await fetch(`http://127.0.0.1:${api.port}${EVALUATION}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' },
      body: new Blob([size(65_537)]).stream(),
      duplex: 'half',
    });
    expect([unannounced.status, ((await unannounced.json()) as { code: string }).code]).toEqual([413, 'too-large']);
  });

  test.each(['Content-Length: 500', 'Transfer-Encoding: chunked'])('a caller who leaves in the middle of his body is no fault of ours: %s', async (length) => {
    const connection = await connectRaw({ host: '127.0.0.1', port: api.port });
    const head = [`POST ${EVALUATION} HTTP/1.1`, 'Host: api', `Authorization: Bearer ${API_KEY}`, 'Content-Type: application/json', length, '', ''].join(
      '\r\n',
    );
    connection.send(`${head}${length.startsWith('T') ? '5\r\n{"sub\r\n' : '{"sub'}`);
    // Another question, so that this one has certainly begun.
    expect((await api.evaluate(QUESTION)).status).toBe(200);
    connection.destroy();
    await until(() => api.reports.length === 2, 'its report');
    expect(api.reports[1]).toMatchObject({ verdict: 'unmapped', reason: 'bad-request' });
    expect(api.failures).toEqual([]);
  });

  test.each(['GET', 'HEAD', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])('%s is 405', async (method) => {
    const answer = await api.ask({ path: EVALUATION, method, token: API_KEY });
    expect([answer.status, answer.headers['allow']]).toEqual([405, 'POST']);
  });
  test.each([`${EVALUATION}/`, `${EVALUATION}s`, '/access/v1/search/subject', '/access/v1', '/ACCESS/v1/evaluation'])('%s is no path', async (path) => {
    const answer = await api.ask({ path, method: 'POST', token: API_KEY, headers: { 'x-request-id': 'r' }, body: '{}' });
    expect([answer.status, json(answer)['code'], answer.headers['x-request-id']]).toEqual([404, 'no-path', 'r']);
  });
});

describe('who may ask', () => {
  test.each<[string, string | undefined, string]>([
    ['nothing', undefined, 'no-key'],
    ['an empty value', '', 'no-key'],
    ['another scheme', `Basic ${API_KEY}`, 'no-key'],
    ['no scheme', API_KEY, 'no-key'],
    ['two keys', `Bearer ${API_KEY}, Bearer ${API_KEY}`, 'no-key'],
    ['another key', `Bearer ${API_KEY}x`, 'bad-key'],
    ['half of the key', `Bearer ${API_KEY.slice(0, -1)}`, 'bad-key'],
    ['the key in another case', `Bearer ${API_KEY.toUpperCase()}`, 'bad-key'],
  ])('%s: 401, before a body is looked at', async (_, authorization, code) => {
    const answer = await api.ask({
      path: EVALUATION,
      method: 'POST',
      headers: { 'x-request-id': 'r', ...(authorization === undefined ? {} : { authorization }) },
      body: 'x'.repeat(100_000),
    });
    expect([answer.status, json(answer)['code']]).toEqual([401, code]);
    expect(answer.headers).toMatchObject({ 'www-authenticate': 'Bearer realm="grantgate"', 'x-request-id': 'r', 'content-type': 'application/problem+json' });
    expect(api.reports).toMatchObject([{ protocol: 'authzen', verdict: 'unauthenticated', reason: code, subject: '' }]);
    expect(answer.body).not.toContain(API_KEY.slice(0, -1));
  });

  test("a user's own token opens nothing", async () => {
    expect((await api.evaluate(QUESTION, { token: await side.token('admin') })).status).toBe(401);
  });

  test('each of several keys will do; without any, nobody gets in, and that is said once', async () => {
    const other = 'another-key-of-the-tests-0123456789';
    const two = await startApi({ cache: side.cache, keys: [other, API_KEY] });
    for (const token of [other, API_KEY]) expect((await two.evaluate(QUESTION, { token })).status).toBe(200);
    expect(two.keyless()).toBe(0);
    await two.close();
    const none = await startApi({ cache: side.cache, keys: [] });
    for (const token of [other, API_KEY, '']) expect((await none.evaluate(QUESTION, { token })).status).toBe(401);
    expect(none.keyless()).toBe(1);
    expect((await none.ask({ path: '/livez' })).status).toBe(200);
    await none.close();
  });
});

describe('beside the decision', () => {
  test.each(['r-1', 'one two', 'a'.repeat(4000), '{"x":1}', 'caf\u00e9', '"'])('X-Request-ID %j comes back as it was', async (id) => {
    // As bytes: a text body would make the client re-encode its headers.
    for (const body of [Buffer.from(JSON.stringify(QUESTION)), Buffer.from('x')]) {
      const answer = await api.evaluate(body, { headers: { 'x-request-id': id } });
      expect(answer.headers['x-request-id']).toBe(id);
    }
    expect(api.reports.map(({ requestId }) => requestId)).toEqual([id, id]);
  });
  test('none is sent where none came', async () => {
    expect((await api.evaluate(QUESTION)).headers['x-request-id']).toBeUndefined();
  });

  test('a check is reported as those of the doors are', async () => {
    await api.evaluate(QUESTION);
    await api.evaluate({ ...QUESTION, subject: user('clerk') });
    expect(api.reports).toMatchObject([
      {
        protocol: 'authzen',
        verdict: 'permit',
        reason: 'generic',
        rule: '6a',
        subject: 'admin',
        tenant: 't1',
        resource: 'DEVICE',
        operation: 'READ',
        target: 'd1',
        cache: 'hit',
      },
      { protocol: 'authzen', verdict: 'deny', reason: 'out-of-scope', rule: '6e', subject: 'clerk', tenant: 't1', revision: side.source.revision },
    ]);
    for (const { durationMs, decisionId } of api.reports) {
      expect(durationMs).toBeGreaterThan(0);
      expect(decisionId).not.toBe('');
    }
  });

  test('cannot decide is 503 with its code, and never a decision', async () => {
    const cold = await sidecar();
    const there = await startApi({ cache: cold.cache });
    cold.cache.close();
    const answer = await there.evaluate(QUESTION, { headers: { 'x-request-id': 'r' } });
    expect([answer.status, json(answer)['code'], answer.headers['x-request-id'], answer.headers['content-type']]).toEqual([
      503,
      'starting',
      'r',
      'application/problem+json',
    ]);
    expect(json(answer)).not.toHaveProperty('decision');
    expect(answer.headers['x-authz-revision']).toBeUndefined();
    expect(there.reports).toMatchObject([{ verdict: 'unavailable', reason: 'starting' }]);
    await there.close();
    await cold.close();
  });

  test('a fault of ours is a bare 500, told to the log', async () => {
    const broken = await startApi({
      cache: {
        check: () => {
          throw new TypeError('inner');
        },
      } as unknown as Sidecar['cache'],
    });
    const answer = await broken.evaluate(QUESTION);
    expect([answer.status, json(answer)['code']]).toEqual([500, 'internal']);
    expect(answer.body).not.toContain('inner');
    expect(broken.failures.map(String)).toEqual(['TypeError: inner']);
    expect(broken.reports).toMatchObject([{ verdict: 'unavailable', reason: 'internal' }]);
    await broken.close();
  });
});

describe('a token', () => {
  test('of a revision that is reached, and `latest`: answered', async () => {
    for (const token of [revision(), 'latest']) {
      const answer = await api.evaluate(QUESTION, { headers: { 'x-authz-at-least': token } });
      expect([answer.status, answer.headers['x-authz-revision']]).toEqual([200, revision()]);
    }
  });

  test.each<[string, string | string[], RegExp]>([
    ['empty', '', /neither a revision nor latest \(""\)/],
    ['a word', 'newest', /X-Authz-At-Least.*\("newest"\): send one revision/],
    ['a number alone', '7', /neither/],
    ['an id alone', '00000000-0000-4000-8000-000000000000', /neither/],
    ['a version that is too large', `${'9'.repeat(16)}-00000000-0000-4000-8000-000000000000`, /neither/],
    ['upper case', 'LATEST', /neither/],
    ['twice the same', ['latest', 'latest'], /X-Authz-At-Least was sent more than once \("latest, latest"\): send one/],
    ['twice, one empty', ['latest', ''], /more than once/],
  ])('%s: 400 that names the header, the value and what to send', async (_, token, detail) => {
    const answer = await api.evaluate(QUESTION, { headers: { 'x-authz-at-least': token } });
    expect(answer.status).toBe(400);
    expect(json(answer)['code']).toBe('bad-revision');
    expect(json(answer)['detail']).toMatch(detail);
    expect(api.reports).toMatchObject([{ verdict: 'unmapped', reason: 'bad-revision' }]);
  });

  test('of another history: 503, history', async () => {
    const { version } = side.source.revision;
    const answer = await api.evaluate(QUESTION, { headers: { 'x-authz-at-least': `${version}-ffffffff-ffff-4fff-8fff-ffffffffffff` } });
    expect([answer.status, json(answer)['code']]).toEqual([503, 'history']);
  });
});
