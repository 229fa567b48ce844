// Does one trace show a request from its client over nginx and the sidecar to Postgres? A collector of the test reads it by OTLP.
//
// Stock nginx has no exporter: what it did is seen in the `traceparent` that the application was handed.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { startClient, type Answer } from '../support/ask.ts';
import { startCollector, treeOf, type CollectedSpan, type Collector } from '../support/otlp.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { startNginx } from '../support/proxies/nginx.ts';
import { tokenFor } from '../support/sidecar.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { until } from '../support/until.ts';

const PEOPLE = Array.from({ length: 30 }, (_, i) => `user-${i}`);
const world = JSON.stringify({
  tenants: [{ id: 't' }],
  groups: [{ id: 'staff', type: 'USER', owner: 't' }],
  users: PEOPLE.map((id) => ({ id, owner: 't', groups: ['staff'] })),
  entities: PEOPLE.map((id) => ({ id: `of-${id}`, type: 'DEVICE', owner: 't' })),
  roles: [{ id: 'reader', owner: 't', type: 'GENERIC', permissions: { DEVICE: ['READ'] } }],
  grants: [{ userGroup: 'staff', role: 'reader' }],
});

let collector: Collector;
let server: TestServer;
let stack: Stack;
beforeAll(async () => {
  collector = await startCollector();
  server = await startPostgres('embedded18');
  stack = await startStack({
    server,
    world,
    env: collector.env({ OTEL_RESOURCE_ATTRIBUTES: 'k8s.pod.name=pod-1' }),
  });
});
afterAll(async () => {
  await stack?.close();
  await collector?.close();
  await server?.close();
});

let number = 0;
/** A trace of its own for each request. */
function newTrace(flags = '01'): { trace: string; span: string; traceparent: string } {
  const trace = (++number).toString(16).padStart(32, 'a');
  const span = number.toString(16).padStart(16, 'b');
  return { trace, span, traceparent: `00-${trace}-${span}-${flags}` };
}
const ask = async (user: string, headers: Record<string, string | string[]>, path = `/api/device/of-${user}`): Promise<Answer> =>
  stack.client.ask({ path, token: await tokenFor(user), headers });
const namesOf = (spans: readonly CollectedSpan[]): string[] => spans.map(({ name }) => name).sort();

test('client → nginx → grantgate → Postgres, one trace', async () => {
  const { trace, span, traceparent } = newTrace();
  const answer = await ask('user-0', { traceparent, tracestate: 'vendor=1' });
  expect(answer.status).toBe(200);
  expect(stack.application.values('traceparent'), 'what nginx handed on').toEqual([traceparent]);
  expect(stack.application.values('tracestate')).toEqual(['vendor=1']);

  const spans = await collector.ofTrace(trace, 4);
  console.log(
    treeOf(spans, [{ id: span, parent: '', name: 'the client, and nginx, which hands its traceparent on and reports nothing: GET /api/device/of-user-0' }]),
  );
  expect(namesOf(spans)).toEqual(['grantgate check', 'grantgate fill', 'grantgate fill', 'grantgate fill']);
  const check = spans.find(({ name }) => name === 'grantgate check')!;
  expect(check).toMatchObject({ parent: span, kind: 'server', status: 'unset', state: 'vendor=1' });
  expect(check.attributes).toEqual({
    'grantgate.protocol': 'nginx',
    'grantgate.verdict': 'permit',
    'grantgate.reason': 'generic',
    'grantgate.rule': '6a',
    'grantgate.cache': 'miss',
    'grantgate.decision_id': stack.application.values('x-authz-decision-id')[0],
    'grantgate.revision': expect.stringMatching(/^\d+-/) as string,
    'grantgate.resource': 'DEVICE',
    'grantgate.operation': 'READ',
    'http.route': '/api/device/{deviceId}',
    'http.request.method': 'GET',
    'http.response.status_code': 200,
  });
  expect(check.resource).toMatchObject({ 'service.name': 'grantgate', 'service.version': '0.1.0', 'k8s.pod.name': 'pod-1' });
  expect(
    Object.keys(check.resource).filter((key) => key.startsWith('process.')),
    'a command line may hold a secret',
  ).toEqual([]);
  for (const fill of spans.filter(({ name }) => name === 'grantgate fill')) {
    expect(fill).toMatchObject({ parent: check.id, kind: 'client', status: 'unset', links: [] });
    expect(fill.attributes).toMatchObject({
      'db.system.name': 'postgresql',
      'grantgate.fill.keys': 1,
      'grantgate.fill.admitted': 1,
      'grantgate.fill.refused': 0,
    });
    expect(fill.start).toBeGreaterThanOrEqual(check.start);
    expect(fill.start + fill.ms).toBeLessThanOrEqual(check.start + check.ms);
  }
  expect(JSON.stringify(spans), 'neither who asked nor for what').not.toMatch(/user-0|Bearer|eyJ/);

  const again = newTrace();
  expect((await ask('user-0', { traceparent: again.traceparent })).status).toBe(200);
  expect(namesOf(await collector.ofTrace(again.trace, 1)), 'from memory').toEqual(['grantgate check']);
});

test('a deny is no error, and says why', async () => {
  const { trace, traceparent } = newTrace();
  expect((await ask('user-1', { traceparent }, '/api/device/nowhere')).status).toBe(403);
  const check = await collector.first(({ trace: of, name }) => of === trace && name === 'grantgate check', 'the check');
  expect(check).toMatchObject({ status: 'unset', attributes: { 'grantgate.verdict': 'deny', 'http.response.status_code': 403 } });
});

const WRONG: Readonly<Record<string, Record<string, string | string[]>>> = {
  'no parent': {},
  'not sampled': { traceparent: newTrace('00').traceparent },
  'random and not sampled': { traceparent: newTrace('02').traceparent },
  'no trace id': { traceparent: `00-${'0'.repeat(32)}-${'b'.repeat(16)}-01` },
  'no span id': { traceparent: `00-${'a'.repeat(32)}-${'0'.repeat(16)}-01` },
  'upper case': { traceparent: `00-${'A'.repeat(32)}-${'b'.repeat(16)}-01` },
  'version ff': { traceparent: `ff-${'a'.repeat(32)}-${'b'.repeat(16)}-01` },
  'more behind it': { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01-more` },
  'too short': { traceparent: `00-${'a'.repeat(31)}-${'b'.repeat(16)}-01` },
  'not hex': { traceparent: `00-${'g'.repeat(32)}-${'b'.repeat(16)}-01` },
  empty: { traceparent: '' },
  'a header of another kind': { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01\tX-Authz-Target: *` },
};

test('without a sampled parent there is no span, and the same answer, at nginx and at the door', async () => {
  const known = new Set(collector.spans.map(({ trace }) => trace));
  const door = startClient(stack.sidecar.doors);
  const token = await tokenFor('user-2');
  const original = { 'x-original-method': 'GET', 'x-original-uri': '/api/device/of-user-2' };
  for (const [what, headers] of Object.entries({ ...WRONG, 'two at the door': { traceparent: [newTrace().traceparent, newTrace().traceparent] } })) {
    const byNginx = what === 'two at the door' ? null : await ask('user-2', headers);
    if (byNginx !== null) {
      expect(byNginx.status, what).toBe(200);
      const handed = stack.application.values('traceparent');
      expect(handed, what).toHaveLength(1);
      expect(handed[0], what).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-0[02]$/);
    }
    expect((await door.ask({ path: '/auth/nginx', token, headers: { ...original, ...headers } })).status, what).toBe(200);
  }
  door.close();
  // One that is sampled, behind them all in the same queue.
  const { trace, traceparent } = newTrace();
  await ask('user-2', { traceparent });
  await collector.ofTrace(trace, 1);
  const more = collector.spans.filter((span) => span.name === 'grantgate check' && !known.has(span.trace) && span.trace !== trace);
  expect(more).toEqual([]);
});

test('nginx begins a trace where it is told a share', async () => {
  const nginx = await startNginx({
    doors: stack.sidecar.doors,
    applicationPort: stack.application.port,
    spoil: (file, text) => (file === 'grantgate-maps.conf' ? text.replace('    * 00;', '    100% 01;\n    * 00;') : text),
  });
  try {
    const client = startClient(nginx.port);
    const answer = await client.ask({
      path: '/api/device/of-user-3',
      token: await tokenFor('user-3'),
      headers: { traceparent: 'of no form', tracestate: 'vendor=1' },
    });
    client.close();
    expect(answer.status).toBe(200);
    const [, trace = '', span = ''] = /^00-([0-9a-f]{32})-([0-9a-f]{16})-01$/.exec(stack.application.values('traceparent')[0] ?? '') ?? [];
    expect(stack.application.values('tracestate'), 'of another trace').toEqual([]);
    expect(stack.application.values('x-request-id')).toEqual([trace]);
    const spans = await collector.ofTrace(trace, 3);
    expect(spans.filter(({ parent }) => parent === span).map(({ name }) => name)).toEqual(['grantgate check']);
  } finally {
    await nginx.stop();
  }
});

test('a fill that two sampled checks wait for is of the first, and linked to the other', async () => {
  const [one, two] = [newTrace(), newTrace()];
  const door = startClient(stack.sidecar.doors);
  const token = await tokenFor('user-4');
  const headers = { 'x-original-method': 'GET', 'x-original-uri': '/api/device/of-user-4' };
  // The statement cannot begin, so the second check comes while it is out.
  const lock = await stack.sql.reserve();
  await lock`begin`;
  await lock`lock table grantgate.membership in access exclusive mode`;
  const asked = [one, two].map(({ traceparent }) => door.ask({ path: '/auth/nginx', token, headers: { ...headers, traceparent } }));
  await until(async () => (await stack.sidecar.metrics()).value('authz_inflight_requests') === 2, 'both checks wait');
  await lock`rollback`;
  lock.release();
  expect((await Promise.all(asked)).map(({ status }) => status)).toEqual([200, 200]);
  door.close();
  const first = await collector.first(({ trace, name }) => (trace === one.trace || trace === two.trace) && name === 'grantgate fill', 'the fill');
  const other = first.trace === one.trace ? two : one;
  const check = await collector.first(({ trace, name }) => trace === other.trace && name === 'grantgate check', 'the other check');
  expect(first.links).toEqual([`${other.trace}/${check.id}`]);
});

test('traces of their own: the attach, the first world, a pull that brought a change, and of a beat none', async () => {
  const attach = await collector.first(({ name }) => name === 'grantgate attach', 'the attach');
  expect(attach).toMatchObject({ parent: '', kind: 'client', status: 'unset', attributes: { 'grantgate.attach.failures': 0 } });
  const reset = await collector.first(({ name }) => name === 'grantgate reset', 'the first world');
  expect(reset).toMatchObject({ parent: '', kind: 'internal', attributes: { 'grantgate.reset.cause': 'start', 'grantgate.reset.nodes': 1 } });

  expect((await ask('user-5', {})).status).toBe(200);
  const begun = Date.now();
  await stack.sql`delete from grantgate.membership where member_id = 'user-5'`;
  const pull = await collector.first(({ name, start }) => name === 'grantgate pull' && start >= begun - 50, 'the pull of the revocation');
  expect(pull).toMatchObject({ parent: '', kind: 'client', status: 'unset', attributes: { 'grantgate.pull.cause': 'ring', 'db.system.name': 'postgresql' } });
  expect(pull.attributes['grantgate.pull.changes']).toBeGreaterThan(0);
  expect((await ask('user-5', {})).status).toBe(403);

  const pulls = (await stack.sidecar.metrics()).get('authz_pulls_total')!.samples.reduce((all, { value }) => all + value, 0);
  const shown = collector.spans.filter(({ name }) => name === 'grantgate pull').length;
  console.log(`pulls: ${pulls}, of which with a span: ${shown}`);
  expect(shown).toBeLessThan(pulls);
});
