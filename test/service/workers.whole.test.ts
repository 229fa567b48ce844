// What is said of several workers as of one service: is it ready, and what are its metrics?

import { ValueType, type Attributes } from '@opentelemetry/api';
import { AggregationTemporality, DataPointType, type MetricData } from '@opentelemetry/sdk-metrics';
import { describe, expect, test } from 'vitest';
import { isReady, type Readiness } from '../../src/api/health.ts';
import { counted, merged } from '../../src/workers-metrics.ts';
import { serviceReadiness, type WorkerLook } from '../../src/workers-readiness.ts';

describe('readiness of the whole', () => {
  const cache = { state: 'following', fresh: true, revision: '7-a', ageMs: 10, cause: null } as const;
  const ready: Readiness = { cache, draining: false, overloaded: false };
  const away = { readiness: null, silence: 'it ended (SIGKILL)' } as const;
  const look = (number: number, more: Partial<WorkerLook> = {}): WorkerLook => ({ number, readiness: ready, silence: '', replacingMs: null, ends: 0, ...more });
  const said = (workers: readonly WorkerLook[], hasBeen = true) => {
    const whole = serviceReadiness(workers, { draining: false, hasBeen, patience: 10_000 });
    return isReady(whole) || whole.cache.cause;
  };
  test('ready when all are; of what is known the oldest counts', () => {
    const whole = serviceReadiness([look(1), look(2, { readiness: { ...ready, cache: { ...cache, revision: '6-b', ageMs: 400 } } })], {
      draining: false,
      hasBeen: false,
      patience: 10_000,
    });
    expect(whole).toMatchObject({ cache: { revision: '6-b', ageMs: 400, fresh: true, cause: null } });
  });
  test('one that is replaced is forgiven for a while, if the service was ready, and somebody answers', () => {
    expect(said([look(1), look(2, { ...away, replacingMs: 5, ends: 1 })])).toBe(true);
    expect(said([look(1), look(2, { ...away, replacingMs: 5, ends: 1 })], false)).toBe('worker 2: it ended (SIGKILL)');
    expect(said([look(1), look(2, { ...away, replacingMs: 10_000, ends: 1 })])).toBe('worker 2: it ended (SIGKILL)');
    expect(said([look(1), look(2, { ...away, replacingMs: 5, ends: 3 })])).toBe('worker 2: it ended (SIGKILL)');
    expect(said([look(1, { ...away, replacingMs: 5 }), look(2, { ...away, replacingMs: 5 })])).toBe('worker 1: it ended (SIGKILL)');
  });
  test('one that runs and is not ready, or does not answer, is not forgiven', () => {
    const detached: Readiness = { ...ready, cache: { ...cache, state: 'detached', fresh: false, cause: 'no database' } };
    expect(said([look(1), look(2, { readiness: detached })])).toBe('worker 2: no database');
    expect(said([look(1), look(2, { readiness: null, silence: 'it does not answer' })])).toBe('worker 2: it does not answer');
  });
});

describe('metrics of several', () => {
  const counter = (name: string, points: readonly (readonly [Attributes, number])[]): MetricData => ({
    ...{ descriptor: { name, description: '', unit: '', valueType: ValueType.DOUBLE }, aggregationTemporality: AggregationTemporality.CUMULATIVE },
    ...{
      dataPointType: DataPointType.SUM,
      isMonotonic: true,
      dataPoints: points.map(([attributes, value]) => ({ attributes, value, startTime: [0, 0], endTime: [0, 0] })),
    },
  });
  const gauge = (name: string, value: number, attributes: Attributes = {}): MetricData => ({
    ...{ descriptor: { name, description: '', unit: '', valueType: ValueType.DOUBLE }, aggregationTemporality: AggregationTemporality.CUMULATIVE },
    ...{ dataPointType: DataPointType.GAUGE, dataPoints: [{ attributes, value, startTime: [0, 0], endTime: [0, 0] }] },
  });
  const values = (metrics: readonly MetricData[]) => metrics.map(({ descriptor, dataPoints }) => [descriptor.name, ...dataPoints.map(({ value }) => value)]);
  test('counters by their labels, in whatever order; each gauge by its rule', () => {
    const a = [counter('c', [[{ x: '1', y: '2' }, 3]]), gauge('authz_revision', 7), gauge('authz_freshness_age_seconds', 0.1), gauge('authz_cache_entries', 5)];
    const b = [
      counter('c', [
        [{ y: '2', x: '1' }, 4],
        [{ x: '2', y: '1' }, 1],
      ]),
      ...[gauge('authz_revision', 6), gauge('authz_freshness_age_seconds', 0.2), gauge('authz_cache_entries', 6)],
    ];
    expect(values(merged([a, b]))).toEqual([
      ['c', 7, 1],
      ['authz_revision', 6],
      ['authz_freshness_age_seconds', 0.2],
      ['authz_cache_entries', 11],
    ]);
    expect(values(counted(merged([a, b])))).toEqual([['c', 7, 1]]);
  });
  test('detached if any is, following if all are', () => {
    const of = (state: string) => ['following', 'detached'].map((each) => gauge('authz_follower_state', each === state ? 1 : 0, { state: each }));
    expect(values(merged([of('following'), of('detached')]))).toEqual([['authz_follower_state', 0, 1]]);
  });
});
