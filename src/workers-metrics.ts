// What are the metrics of several workers as those of one service?
//
// Counters and histograms are added up. Of a gauge it depends on what it measures: memory adds up, of an age the worst counts. No series
// tells one worker from another: which of them answered is chance, and each restart would add a label for ever.
//
// What a worker counted is kept when it ends, as it was last shown. Without that the sum would fall, Prometheus would take it for a
// restart of everything, and `rate()` would show all that the others ever counted as if it had come in this moment.

import type { Attributes } from '@opentelemetry/api';
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { DataPointType, MeterProvider, type DataPoint, type MetricData } from '@opentelemetry/sdk-metrics';
import { observeRuntime } from './runtime.ts';

/** Of one process, as it is handed over: no instances of classes. */
export type Metrics = readonly MetricData[];

type Rule = 'sum' | 'most' | 'least';

/** Every gauge that a worker or its supervisor shows; the test scrapes both and looks for each. */
const GAUGES: Readonly<Record<string, Rule>> = {
  authz_cache_entries: 'sum',
  authz_inflight_requests: 'sum',
  authz_revision: 'least',
  authz_freshness_age_seconds: 'most',
  authz_follower_state: 'most',
  authz_jwks_age_seconds: 'most',
  authz_notification_queue_usage_ratio: 'most',
  authz_policy_info: 'most',
  authz_policy_last_successful_load_timestamp_seconds: 'least',
  authz_workers: 'sum',
  process_start_time_seconds: 'least',
  process_resident_memory_bytes: 'sum',
  process_open_fds: 'sum',
  nodejs_heap_size_total_bytes: 'sum',
  nodejs_heap_size_used_bytes: 'sum',
  nodejs_external_memory_bytes: 'sum',
  nodejs_eventloop_lag_seconds: 'most',
  nodejs_eventloop_lag_min_seconds: 'most',
  nodejs_eventloop_lag_max_seconds: 'most',
  nodejs_eventloop_lag_mean_seconds: 'most',
  nodejs_eventloop_lag_stddev_seconds: 'most',
  nodejs_eventloop_lag_p50_seconds: 'most',
  nodejs_eventloop_lag_p90_seconds: 'most',
  nodejs_eventloop_lag_p99_seconds: 'most',
};

/** Null: nobody has thought of this gauge. */
export function ruleOf(name: string, labels: Readonly<Record<string, unknown>> = {}): Rule | null {
  // 1 for `detached` if any worker is; 1 for `following` only if all are.
  if (name === 'authz_follower_state' && labels['state'] === 'following') return 'least';
  return GAUGES[name] ?? null;
}

/** One series for each name and set of labels, in the order of their first coming. */
export function merged(processes: readonly Metrics[]): Metrics {
  const all = new Map<string, MetricData>();
  for (const metric of processes.flat()) {
    const { name } = metric.descriptor;
    const before = all.get(name);
    all.set(name, before === undefined ? metric : both(before, metric));
  }
  return [...all.values()];
}

/** What outlives the process that counted it. */
export function counted(metrics: Metrics): Metrics {
  return metrics.filter(({ dataPointType }) => dataPointType === DataPointType.SUM || dataPointType === DataPointType.HISTOGRAM);
}

function both(a: MetricData, b: MetricData): MetricData {
  if (a.dataPointType === DataPointType.SUM && b.dataPointType === DataPointType.SUM)
    return { ...a, dataPoints: points(a.dataPoints, b.dataPoints, (one, other) => one + other) };
  if (a.dataPointType === DataPointType.GAUGE && b.dataPointType === DataPointType.GAUGE) {
    const { name } = a.descriptor;
    return { ...a, dataPoints: points(a.dataPoints, b.dataPoints, (one, other, labels) => ruled(ruleOf(name, labels) ?? 'most', one, other)) };
  }
  if (a.dataPointType === DataPointType.HISTOGRAM && b.dataPointType === DataPointType.HISTOGRAM)
    return {
      ...a,
      dataPoints: points(a.dataPoints, b.dataPoints, (one, other) => ({
        // Bounds are the same in every worker: histogram.ts has one set of them.
        buckets: { ...one.buckets, counts: one.buckets.counts.map((count, i) => count + (other.buckets.counts[i] ?? 0)) },
        sum: (one.sum ?? 0) + (other.sum ?? 0),
        count: one.count + other.count,
      })),
    };
  throw new Error(`${a.descriptor.name} is not of one kind in every worker`);
}

function ruled(rule: Rule, one: number, other: number): number {
  switch (rule) {
    case 'sum':
      return one + other;
    case 'most':
      return Math.max(one, other);
    case 'least':
      return Math.min(one, other);
    default:
      return rule satisfies never;
  }
}

function points<T>(a: readonly DataPoint<T>[], b: readonly DataPoint<T>[], add: (one: T, other: T, labels: Attributes) => T): DataPoint<T>[] {
  const all = new Map<string, DataPoint<T>>();
  for (const point of [...a, ...b]) {
    const key = JSON.stringify(Object.entries(point.attributes).toSorted(([one], [other]) => (one < other ? -1 : 1)));
    const before = all.get(key);
    all.set(key, before === undefined ? point : { ...before, value: add(before.value, point.value, point.attributes) });
  }
  return [...all.values()];
}

/** What only the supervisor knows. */
export interface WorkerCounts {
  /** Workers by what they are doing at this moment. */
  readonly states: Readonly<Record<string, number>>;
  /** Workers that ended without being told to, by how. */
  readonly ends: Readonly<Record<string, number>>;
  /** Connections that no worker was given, because too many waited. */
  readonly shed: number;
}

export interface ServiceMetrics {
  /** Those of the workers and of this process as Prometheus text, version 0.0.4. */
  exposition(workers: readonly Metrics[]): Promise<string>;
  close(): Promise<void>;
}

export function createServiceMetrics(version: string, read: () => WorkerCounts): ServiceMetrics {
  const exporter = new PrometheusExporter({ preventServerStart: true });
  const provider = new MeterProvider({ resource: resourceFromAttributes({ 'service.name': 'grantgate', 'service.version': version }), readers: [exporter] });
  const meter = provider.getMeter('grantgate', version);
  const stopRuntime = observeRuntime(meter);
  meter.createObservableGauge('authz_workers', { description: 'Worker processes, by what they are doing.' }).addCallback((result) => {
    for (const [state, count] of Object.entries(read().states)) result.observe(count, { state });
  });
  meter.createObservableCounter('authz_worker_ends_total', { description: 'Workers that ended without being told to, by how.' }).addCallback((result) => {
    for (const [how, count] of Object.entries(read().ends)) result.observe(count, { how });
  });
  // Added to those that the workers turn away, each at its own door.
  meter.createObservableCounter('authz_shed_total', { description: 'Checks turned away to protect the process, by cause.' }).addCallback((result) => {
    const { shed } = read();
    if (shed > 0) result.observe(shed, { cause: 'connections' });
  });
  const serializer = new PrometheusSerializer('', false, undefined, false, true);
  return {
    async exposition(workers) {
      const { resourceMetrics, errors } = await exporter.collect();
      if (errors.length > 0) throw new AggregateError(errors, 'metrics could not be collected');
      const own = resourceMetrics.scopeMetrics.flatMap(({ metrics }) => metrics);
      const metrics = [...merged([...workers, own])];
      return serializer.serialize({ ...resourceMetrics, scopeMetrics: [{ scope: { name: 'grantgate' }, metrics }] });
    },
    async close() {
      stopRuntime();
      await provider.shutdown();
    },
  };
}
