import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compileVocabulary, newStats } from 'policy-cache';
import { afterEach, expect, test } from 'vitest';
import { parse } from 'yaml';
import { SECONDS_BOUNDS } from '../../src/series.ts';
import type { CheckReport } from '../../src/report.ts';
import { createTelemetry, type Telemetry } from '../../src/telemetry.ts';
import { parseExposition, type Metrics } from '../support/exposition.ts';
import { until } from '../support/until.ts';

const vocabulary = compileVocabulary(parse(readFileSync(fileURLToPath(import.meta.resolve('policy-cache/vocabulary/thingsboard.yaml')), 'utf8')));
const open: Telemetry[] = [];
function telemetry(): Telemetry {
  const made = createTelemetry({ vocabulary, version: '1.2.3', policyVersion: 'abc', wall: () => Date.now() });
  open.push(made);
  return made;
}
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

const check: CheckReport = {
  decisionId: 'd',
  requestId: 'r',
  verdict: 'permit',
  reason: 'generic',
  rule: '6a',
  revision: null,
  protocol: 'nginx',
  method: 'GET',
  route: '/api/x',
  resource: 'DEVICE',
  operation: 'READ',
  target: 'dev',
  subject: 'u',
  tenant: 't',
  cache: 'hit',
  durationMs: 0.04,
};
const scrape = async (from: Telemetry): Promise<Metrics> => parseExposition(await from.scrape());
const cacheOf = () => ({
  stats: {
    ...newStats(),
    hits: 5,
    misses: 2,
    rings: 3,
    attaches: 1,
    reports: 17,
    changesWithoutRing: 4,
    fillsRefused: 6,
    fillErrors: 7,
    pulls: { ring: 8, beat: 9, wait: 10, report: 18 },
    resets: { start: 1, history: 2, backlog: 3, everything: 4 },
    unavailable: { stale: 1, starting: 2, history: 3, overload: 4, deadline: 5, source: 6 },
  },
  state: () => ({ state: 'following' as const, fresh: true, revision: '42-00000000-0000-4000-8000-000000000000', ageMs: 125, cause: null }),
  sizes: () => ({ subjects: 1, targets: 2, absent: 3, classes: 4, keys: 6, nodes: 5 }),
});

test('every metric of the contract is there with its type, its labels and its value', async () => {
  const made = telemetry();
  made.watch({ cache: cacheOf(), tokens: { hits: 11, misses: 12, size: 13 } });
  made.watch({
    log: { dropped: 14 },
    doors: [
      { inFlight: 8, shed: { overload: 16 } },
      { inFlight: 7, shed: { timeout: 17 } },
    ],
  });
  made.report(check);
  made.observer.filled!(3);
  made.observer.applied!(0.8);
  made.observer.queue!(0.25);
  const metrics = await scrape(made);

  const expected: [name: string, type: string, labels: Record<string, string>, value: number][] = [
    ['authz_decisions_total', 'counter', { decision: 'allow', reason: 'generic', protocol: 'nginx', resource: 'DEVICE', operation: 'READ' }, 1],
    ['authz_cache_requests_total', 'counter', { cache: 'policy', result: 'hit' }, 5],
    ['authz_cache_requests_total', 'counter', { cache: 'policy', result: 'miss' }, 2],
    ['authz_cache_requests_total', 'counter', { cache: 'token', result: 'hit' }, 11],
    ['authz_cache_requests_total', 'counter', { cache: 'token', result: 'miss' }, 12],
    ['authz_cache_entries', 'gauge', { cache: 'targets' }, 2],
    ['authz_cache_entries', 'gauge', { cache: 'token' }, 13],
    ['authz_store_errors_total', 'counter', {}, 7],
    ['authz_revision', 'gauge', {}, 42],
    ['authz_freshness_age_seconds', 'gauge', {}, 0.125],
    ['authz_follower_state', 'gauge', { state: 'following' }, 1],
    ['authz_follower_state', 'gauge', { state: 'detached' }, 0],
    ['authz_rings_total', 'counter', {}, 3],
    ['authz_pulls_total', 'counter', { cause: 'wait' }, 10],
    ['authz_changes_without_ring_total', 'counter', {}, 4],
    ['authz_resets_total', 'counter', { cause: 'backlog' }, 3],
    ['authz_attaches_total', 'counter', {}, 1],
    ['authz_reports_total', 'counter', {}, 17],
    ['authz_notification_queue_usage_ratio', 'gauge', {}, 0.25],
    ['authz_fills_refused_total', 'counter', {}, 6],
    ['authz_unavailable_total', 'counter', { code: 'deadline' }, 5],
    ['authz_inflight_requests', 'gauge', {}, 15],
    ['authz_shed_total', 'counter', { cause: 'overload' }, 16],
    ['authz_decision_log_dropped_total', 'counter', {}, 14],
    ['authz_policy_info', 'gauge', { version: 'abc' }, 1],
  ];
  for (const [name, type, labels, value] of expected) {
    expect(metrics.get(name)?.type, name).toBe(type);
    expect(metrics.value(name, labels), `${name} ${JSON.stringify(labels)}`).toBe(value);
  }
  for (const name of ['authz_decision_duration_seconds', 'authz_store_query_duration_seconds', 'authz_commit_to_applied_seconds'])
    expect(metrics.get(name)?.type).toBe('histogram');
  expect(metrics.value('target_info', { service_name: 'grantgate', service_version: '1.2.3' })).toBe(1);
});

test('process and event-loop metrics are there and plausible', async () => {
  const made = telemetry();
  await made.scrape();
  let metrics = await scrape(made);
  await until(async () => {
    await new Promise((resolve) => setTimeout(resolve, 40)); // a scrape begins the sampling anew
    metrics = await scrape(made);
    return metrics.value('nodejs_eventloop_lag_seconds') !== undefined;
  }, 'a sample of the loop');
  expect(metrics.value('process_resident_memory_bytes')).toBeGreaterThan(10e6);
  expect(metrics.value('process_cpu_seconds_total')).toBeGreaterThan(0);
  expect(Math.abs(metrics.value('process_start_time_seconds')! * 1000 - performance.timeOrigin)).toBeLessThan(1000);
  for (const suffix of ['', '_min', '_max', '_mean', '_stddev', '_p50', '_p90', '_p99']) {
    const lag = metrics.value(`nodejs_eventloop_lag${suffix}_seconds`);
    expect(lag, suffix).toBeGreaterThanOrEqual(0);
    expect(lag, suffix).toBeLessThan(30);
  }
});

test('buckets are cumulative, a duration at a bound belongs to it, and the sum is in seconds', async () => {
  const made = telemetry();
  for (const ms of [0.05, 0.051, 4, 1000, 5000]) made.report({ ...check, durationMs: ms });
  made.report({ ...check, durationMs: 1, verdict: 'unavailable', reason: 'stale' });
  const metrics = await scrape(made);
  const labels = { protocol: 'nginx', decision: 'allow' };
  const bucket = (le: string) => metrics.value('authz_decision_duration_seconds_bucket', { ...labels, le });
  expect(bucket('0.00005')).toBe(1);
  expect(bucket('0.0001')).toBe(2);
  expect(bucket('0.0025')).toBe(2);
  expect(bucket('0.005')).toBe(3);
  expect(bucket('1')).toBe(4);
  expect(bucket('+Inf')).toBe(5);
  expect(metrics.value('authz_decision_duration_seconds_count', labels)).toBe(5);
  expect(metrics.value('authz_decision_duration_seconds_sum', labels)).toBeCloseTo(6.004101, 9);
  expect(metrics.value('authz_decision_duration_seconds_count', { protocol: 'nginx', decision: 'error' })).toBe(1);
  expect([...metrics.get('authz_decision_duration_seconds')!.samples].filter((s) => s.name.endsWith('_bucket')).length).toBe(2 * (SECONDS_BOUNDS.length + 1));
});

test('no client can make a label: unknown names are `other`, and no series is shared by two label sets', async () => {
  const made = telemetry();
  made.report({ ...check, resource: 'DEVICE"} 1\nx', operation: 'FLY' });
  made.report({ ...check, resource: 'NOPE', operation: '' });
  made.report({ ...check, verdict: 'unmapped', reason: 'no-route', resource: '', operation: '' });
  made.report({ ...check, verdict: 'unauthenticated', reason: 'expired' });
  made.report({ ...check, verdict: 'unavailable', reason: 'stale' });
  for (const resource of vocabulary.resources)
    for (const operation of vocabulary.operations) made.report({ ...check, verdict: 'deny', reason: 'no-grant', resource, operation });
  const metrics = await scrape(made);
  const value = (labels: Record<string, string>) =>
    metrics.value('authz_decisions_total', { decision: 'allow', reason: 'generic', protocol: 'nginx', resource: 'other', operation: 'other', ...labels });
  expect(value({})).toBe(2);
  expect(value({ decision: 'deny', reason: 'no-route' })).toBe(1);
  expect(value({ decision: 'deny', reason: 'expired', resource: 'DEVICE', operation: 'READ' })).toBe(1);
  expect(value({ decision: 'error', reason: 'stale', resource: 'DEVICE', operation: 'READ' })).toBe(1);
  for (const resource of vocabulary.resources)
    for (const operation of vocabulary.operations) expect(value({ decision: 'deny', reason: 'no-grant', resource, operation })).toBe(1);
});

test('reasons and protocols without end share a series, and the total stays right', async () => {
  const made = telemetry();
  for (let i = 0; i < 500; i++) made.report({ ...check, reason: `reason-${i}`, protocol: `protocol-${i}` });
  const samples = (await scrape(made)).get('authz_decisions_total')!.samples;
  expect(samples.length).toBeLessThan(100);
  expect(samples.reduce((all, sample) => all + sample.value, 0)).toBe(500);
  expect(samples.some((sample) => sample.labels['reason'] === 'other' && sample.labels['protocol'] === 'other')).toBe(true);
});

test('nothing watched, nothing claimed: no revision, no age, no cache', async () => {
  const metrics = await scrape(telemetry());
  for (const name of ['authz_revision', 'authz_freshness_age_seconds', 'authz_cache_entries']) expect(metrics.get(name)?.samples ?? []).toEqual([]);
});

test('counting a check allocates no series after the first and is cheap', () => {
  const made = telemetry();
  const run = (n: number): number => {
    const from = performance.now();
    for (let i = 0; i < n; i++) made.report(check);
    return ((performance.now() - from) / n) * 1e6;
  };
  run(20_000);
  const ns = Math.min(run(20_000), run(20_000), run(20_000));
  console.log(`one report: ${ns.toFixed(0)} ns`);
  expect(ns).toBeLessThan(10_000); // 150 ns alone; the bound only catches a slip of the kind
});
