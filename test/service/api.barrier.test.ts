// How does a barrier's report become an HTTP answer? Who knows the replicas is a stand-in here: the mapping alone is the subject.

import { PolicyError } from 'policy-cache';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { Barrier } from '../../src/api/barrier.ts';
import { API_KEY, startApi, type Api } from '../support/api.ts';
import { sidecar, type Sidecar } from '../support/doors.ts';
import { until } from '../support/until.ts';

type BarrierReport = Awaited<ReturnType<Barrier>>;
const REVISION = '7-00000000-0000-4000-8000-000000000007';
const replicas: BarrierReport['replicas'] = [
  { id: 'a', revision: REVISION, ageMs: 12.4, leaseMs: 2987.6, state: 'applied' },
  { id: 'b', revision: '6-00000000-0000-4000-8000-000000000006', ageMs: 4000, leaseMs: 0, state: 'expired' },
  { id: 'c', revision: null, ageMs: 0, leaseMs: 3000, state: 'waiting' },
];
const listed = [
  { id: 'a', revision: REVISION, age_ms: 12, lease_ms: 2988, state: 'applied' },
  { id: 'b', revision: '6-00000000-0000-4000-8000-000000000006', age_ms: 4000, lease_ms: 0, state: 'expired' },
  { id: 'c', revision: null, age_ms: 0, lease_ms: 3000, state: 'waiting' },
];

let side: Sidecar;
let api: Api;
const asked: { revision: Parameters<Barrier>[0]; timeoutMs: number; signal: AbortSignal }[] = [];
let outcome: (signal: AbortSignal) => Promise<BarrierReport>;
beforeAll(async () => {
  side = await sidecar();
  api = await startApi({
    cache: side.cache,
    barrier: (revision, { timeoutMs, signal }) => {
      asked.push({ revision, timeoutMs, signal });
      return outcome(signal);
    },
  });
});
afterAll(async () => {
  await api?.close();
  await side?.close();
});
afterEach(() => {
  asked.length = 0;
  api.failures.length = 0;
});

const report =
  (what: BarrierReport['outcome'], lostMs = 0) =>
  () =>
    Promise.resolve({ revision: REVISION, outcome: what, waitedMs: 12.6, lostMs, replicas });
async function ask(path: string, token: string | undefined = API_KEY, method = 'GET') {
  const { status, headers, body } = await api.ask({ path: `/v1/barrier/${path}`, method, ...(token === '' ? {} : { token }), requestId: 'r' });
  expect(headers).toMatchObject({ 'cache-control': 'no-store', 'x-request-id': 'r', 'content-type': `application/${status === 200 ? '' : 'problem+'}json` });
  return { status, ...(JSON.parse(body) as Record<string, unknown>) } as Record<string, unknown>;
}

test('applied: 200 with every replica; five seconds unless it is said otherwise', async () => {
  outcome = report('applied');
  expect(await ask(REVISION)).toEqual({ status: 200, revision: REVISION, applied: true, waited_ms: 13, replicas: listed });
  expect(asked).toMatchObject([{ revision: { version: 7, id: REVISION.slice(2) }, timeoutMs: 5000 }]);
});

test.each([
  ['1ms', 1],
  ['250ms', 250],
  ['5s', 5_000],
  ['60s', 60_000],
  ['1m', 60_000],
])('?timeout=%s', async (timeout, timeoutMs) => {
  outcome = report('applied');
  expect(await ask(`${REVISION}?timeout=${timeout}`)).toMatchObject({ status: 200 });
  expect(asked).toMatchObject([{ timeoutMs }]);
});

test.each([
  '?timeout=',
  '?timeout=0ms',
  '?timeout=61s',
  '?timeout=2m',
  '?timeout=5',
  '?timeout=-1s',
  '?timeout=1.5s',
  '?timeout=5S',
  '?timeout=99999999999s',
  '?timeout=1s&timeout=1s',
])('%s is 400, and nobody is asked', async (query) => {
  const answer = await ask(REVISION + query);
  expect(answer).toMatchObject({ status: 400, code: 'bad-timeout' });
  expect(answer['detail']).toMatch(/^timeout must be one time from 1ms to 60s/);
  expect(asked).toEqual([]);
});

test.each(['7', 'latest', `0${REVISION}`, `${REVISION}x`, REVISION.toUpperCase().replace('7-', '7-A').slice(0, -1), '%00', '7-%2e%2e'])(
  '%s is no revision: 400',
  async (text) => {
    expect(await ask(text)).toMatchObject({ status: 400, code: 'bad-revision' });
    expect(asked).toEqual([]);
  },
);

test('the timeout first: 504, with who is waited for', async () => {
  outcome = report('timeout');
  expect(await ask(`${REVISION}?timeout=1s`)).toEqual({
    status: 504,
    title: 'Gateway Timeout',
    code: 'timeout',
    detail: `1 of 3 replicas may still answer from before ${REVISION}, after 1000 ms`,
    revision: REVISION,
    applied: false,
    waited_ms: 13,
    lost_ms: 0,
    replicas: listed,
  });
  outcome = report('timeout', 700);
  const lost = await ask(REVISION);
  expect(lost).toMatchObject({ status: 504, lost_ms: 700 });
  expect(lost['detail']).toMatch(/700 ms more there may be replicas/);
});

test('not in the log: 404', async () => {
  outcome = report('unknown-revision');
  const answer = await ask(REVISION);
  expect(answer).toMatchObject({ status: 404, code: 'unknown-revision' });
  expect(answer['detail']).toContain(REVISION);
});

test('the database does not answer: 503; anything else is a fault', async () => {
  outcome = () => Promise.reject(new PolicyError('source', 'connection refused'));
  expect(await ask(REVISION)).toMatchObject({ status: 503, code: 'source', detail: 'connection refused' });
  expect(api.failures).toEqual([]);
  outcome = () => Promise.reject(new TypeError('inner'));
  expect(await ask(REVISION)).toMatchObject({ status: 500, code: 'internal' });
  expect(api.failures.map(String)).toEqual(['TypeError: inner']);
});

test('only with a key, and only by GET', async () => {
  outcome = report('applied');
  expect(await ask(REVISION, '')).toMatchObject({ status: 401, code: 'no-key' });
  expect(await ask(REVISION, 'x'.repeat(40))).toMatchObject({ status: 401, code: 'bad-key' });
  expect(await ask(REVISION, API_KEY, 'POST')).toMatchObject({ status: 405, code: 'method' });
  expect(asked).toEqual([]);
});

test('a caller who went away is not waited for', async () => {
  outcome = (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }));
  const gone = new AbortController();
  const answer = fetch(`http://127.0.0.1:${api.port}/v1/barrier/${REVISION}?timeout=60s`, {
    headers: { authorization: `Bearer ${API_KEY}` },
    signal: gone.signal,
  });
  await until(() => asked.length === 1, 'the barrier asked');
  gone.abort();
  await expect(answer).rejects.toThrow();
  await until(() => asked[0]!.signal.aborted, 'the signal');
  outcome = report('applied');
  expect(await ask(REVISION)).toMatchObject({ status: 200 });
  expect(api.failures).toEqual([]);
});

test('sixteen at once, each with a connection to the database: whoever comes then is told so, and later is answered', async () => {
  let end = (): void => undefined;
  const ended = new Promise<void>((resolve) => (end = resolve));
  outcome = () => ended.then(report('applied'));
  const own = (): Promise<Response> => fetch(`http://127.0.0.1:${api.port}/v1/barrier/${REVISION}`, { headers: { authorization: `Bearer ${API_KEY}` } });
  const waiting = Array.from({ length: 16 }, own); // the client of these tests has fewer connections
  await until(() => asked.length === 16, 'sixteen barriers');
  expect(await ask(REVISION)).toMatchObject({ status: 503, code: 'overload' });
  end();
  expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual(Array.from({ length: 16 }, () => 200));
  expect(await ask(REVISION)).toMatchObject({ status: 200 });
  expect(asked).toHaveLength(17);
});
