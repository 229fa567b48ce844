// What does a scrape show of what telemetry.ts has counted?
//
// The only file with OpenTelemetry's SDK for metrics: 160 modules, which are loaded while the database answers (service.ts), and not at all where metrics are off.

import type { BatchObservableResult, Meter } from '@opentelemetry/api';
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { MeterProvider, type MetricData, type ResourceMetrics } from '@opentelemetry/sdk-metrics';
import type { CacheSizes, CacheState, CacheStats } from 'policy-cache';
import { histogramProducer } from './histogram.ts';
import { observeRuntime } from './runtime.ts';
import type { Series } from './series.ts';

/** What is read at a scrape; whatever is absent shows no series. */
export interface Watched {
  readonly cache?: { readonly stats: CacheStats; state(): CacheState; sizes(): CacheSizes };
  /** The cache of verified tokens. */
  readonly tokens?: { readonly hits: number; readonly misses: number; readonly size: number };
  readonly log?: { readonly dropped: number };
  /** Of each listener: checks that it is answering at this moment, and those it turned away, by cause. */
  readonly doors?: readonly { readonly inFlight: number; readonly shed: Readonly<Record<string, number>> }[];
  /** Work that was not begun, by cause. */
  readonly admission?: { readonly shed: Readonly<Record<string, number>> };
  /** Keys of issuers, where they are fetched. */
  readonly keys?: readonly { readonly name: string; readonly refreshes: Readonly<Record<string, number>>; readonly ageMs: number | null }[];
}

/** One series of `authz_decisions_total`. */
export interface DecisionCell {
  readonly labels: Readonly<Record<string, string>>;
  count: number;
}

export interface Exposition {
  /** The metrics as Prometheus text, version 0.0.4. */
  scrape(): Promise<string>;
  /** The same before they are text, for whoever adds up those of several processes. */
  collect(): Promise<readonly MetricData[]>;
  close(): Promise<void>;
}

export interface Counted {
  readonly version: string;
  /** Identifies the vocabulary and the routes that this process decides by. */
  readonly policyVersion: string;
  /** Milliseconds since 1970. */
  readonly wall: () => number;
  /** When counting began, milliseconds since 1970. */
  readonly started: number;
  readonly decisions: ReadonlyMap<number, DecisionCell>;
  /** Series of `authz_decisions_total` at most. */
  readonly mostDecisions: number;
  readonly durations: ReadonlyMap<number, Series>;
  readonly queries: Series;
  readonly lag: Series;
  readonly queueUsage: () => number | null;
  readonly watched: () => Watched;
}

export function createExposition(counted: Counted): Exposition {
  const { decisions, durations, queries, lag, started } = counted;
  const exporter = new PrometheusExporter({
    preventServerStart: true, // the api listener serves the text
    metricProducers: [
      histogramProducer(
        [
          {
            name: 'authz_decision_duration_seconds',
            description: "Time from a check's arrival to its answer.",
            get series() {
              return durations.values();
            },
          },
          { name: 'authz_store_query_duration_seconds', description: 'Time of one statement that filled the cache.', series: [queries] },
          { name: 'authz_commit_to_applied_seconds', description: 'Time from a commit to this process deciding by it.', series: [lag] },
        ],
        { started, wall: counted.wall },
      ),
    ],
  });
  const provider = new MeterProvider({
    resource: resourceFromAttributes({ 'service.name': 'grantgate', 'service.version': counted.version }),
    readers: [exporter],
    views: [{ instrumentName: 'authz_*', aggregationCardinalityLimit: 2 * counted.mostDecisions }],
  });
  // No instrument names a unit: the serializer would print `# UNIT s`, which only OpenMetrics knows, and there as `seconds`.
  const meter = provider.getMeter('grantgate', counted.version);
  const stopRuntime = observeRuntime(meter);
  observeDecisions(meter, decisions);
  meter
    .createObservableGauge('authz_notification_queue_usage_ratio', {
      description: 'How full the notification queue of Postgres is; at 1 no permission can be changed.',
    })
    .addCallback((result) => {
      const usage = counted.queueUsage();
      if (usage !== null) result.observe(usage);
    });
  observePolicy(meter, { version: counted.policyVersion, loaded: started });
  observeWatched(meter, counted.watched);

  const serializer = new PrometheusSerializer('', false, undefined, false, true);
  const collected = async (): Promise<ResourceMetrics> => {
    const { resourceMetrics, errors } = await exporter.collect();
    if (errors.length > 0) throw new AggregateError(errors, 'metrics could not be collected');
    return resourceMetrics;
  };
  return {
    scrape: async () => serializer.serialize(await collected()),
    collect: async () => (await collected()).scopeMetrics.flatMap(({ metrics }) => metrics),
    async close() {
      stopRuntime();
      await provider.shutdown();
    },
  };
}

function observeDecisions(meter: Meter, decisions: ReadonlyMap<number, DecisionCell>): void {
  meter.createObservableCounter('authz_decisions_total', { description: 'Finished checks.' }).addCallback((result) => {
    for (const cell of decisions.values()) result.observe(cell.count, cell.labels);
  });
}

function observePolicy(meter: Meter, policy: { version: string; loaded: number }): void {
  meter
    .createObservableGauge('authz_policy_info', { description: 'Fingerprint of the vocabulary and the routes in force.' })
    .addCallback((result) => result.observe(1, { version: policy.version }));
  meter
    .createObservableGauge('authz_policy_last_successful_load_timestamp_seconds', { description: 'When they were read.' })
    .addCallback((result) => result.observe(policy.loaded / 1000));
}

function observeWatched(meter: Meter, read: () => Watched): void {
  const counter = (name: string, description: string) => meter.createObservableCounter(name, { description });
  const gauge = (name: string, description: string) => meter.createObservableGauge(name, { description });
  const requests = counter('authz_cache_requests_total', 'Look-ups, by whether they were answered from memory.');
  const entries = gauge('authz_cache_entries', 'Entries held in memory.');
  const storeErrors = counter('authz_store_errors_total', 'Statements that filled the cache and failed.');
  const revision = gauge('authz_revision', 'Version of the database that checks are decided by.');
  const age = gauge('authz_freshness_age_seconds', 'Age of the last proof that this is the newest version.');
  const follower = gauge('authz_follower_state', '1 for the state that the follower of the change log is in.');
  const rings = counter('authz_rings_total', 'Notifications of a commit that arrived.');
  const pulls = counter('authz_pulls_total', 'Pulls of the change log, by cause.');
  const unrung = counter('authz_changes_without_ring_total', 'Commits that a pull found though none had rung.');
  const resets = counter('authz_resets_total', 'Times that everything cached was thrown away, by cause.');
  const attaches = counter('authz_attaches_total', 'Sessions opened to the database.');
  const reports = counter('authz_reports_total', 'Reports to barriers that the database keeps.');
  const refused = counter('authz_fills_refused_total', 'Answers of the database that a change had overtaken.');
  const unavailable = counter('authz_unavailable_total', 'Checks that could not be decided, by code.');
  const inFlight = gauge('authz_inflight_requests', 'Checks being answered now.');
  const shed = counter('authz_shed_total', 'Checks turned away to protect the process, by cause.');
  const keyRefreshes = counter('authz_jwks_refresh_total', 'Fetches of the keys of an issuer, by how they ended.');
  const keyAge = gauge('authz_jwks_age_seconds', 'Time since the keys of an issuer were fetched.');
  const dropped = counter('authz_decision_log_dropped_total', 'Decision-log lines that did not fit the buffer.');

  const observeCache = (result: BatchObservableResult, { stats, state, sizes }: { stats: CacheStats; state: CacheState; sizes: CacheSizes }): void => {
    result.observe(requests, stats.hits, { cache: 'policy', result: 'hit' });
    result.observe(requests, stats.misses, { cache: 'policy', result: 'miss' });
    for (const cache of ['subjects', 'targets', 'absent', 'classes', 'keys', 'nodes'] as const) result.observe(entries, sizes[cache], { cache });
    result.observe(storeErrors, stats.fillErrors);
    if (state.revision !== null) result.observe(revision, Number.parseInt(state.revision, 10));
    if (state.ageMs !== null) result.observe(age, state.ageMs / 1000);
    for (const name of ['starting', 'following', 'detached']) result.observe(follower, name === state.state ? 1 : 0, { state: name });
    result.observe(rings, stats.rings);
    for (const [cause, count] of Object.entries(stats.pulls)) result.observe(pulls, count, { cause });
    result.observe(unrung, stats.changesWithoutRing);
    for (const [cause, count] of Object.entries(stats.resets)) result.observe(resets, count, { cause });
    result.observe(attaches, stats.attaches);
    result.observe(reports, stats.reports);
    result.observe(refused, stats.fillsRefused);
    for (const [code, count] of Object.entries(stats.unavailable)) result.observe(unavailable, count, { code });
  };
  meter.addBatchObservableCallback(
    (result) => {
      const { cache, tokens, log, doors, admission, keys = [] } = read();
      if (cache) observeCache(result, { stats: cache.stats, state: cache.state(), sizes: cache.sizes() });
      if (tokens) {
        result.observe(requests, tokens.hits, { cache: 'token', result: 'hit' });
        result.observe(requests, tokens.misses, { cache: 'token', result: 'miss' });
        result.observe(entries, tokens.size, { cache: 'token' });
      }
      for (const { name, refreshes, ageMs } of keys) {
        for (const [how, count] of Object.entries(refreshes)) result.observe(keyRefreshes, count, { issuer: name, result: how });
        if (ageMs !== null) result.observe(keyAge, ageMs / 1000, { issuer: name });
      }
      if (log) result.observe(dropped, log.dropped);
      if (doors) {
        result.observe(inFlight, sum(doors.map((door) => door.inFlight)));
        const causes = new Set(doors.flatMap((door) => Object.keys(door.shed)));
        for (const cause of causes) result.observe(shed, sum(doors.map((door) => door.shed[cause] ?? 0)), { cause });
      }
      if (admission) for (const [cause, count] of Object.entries(admission.shed)) result.observe(shed, count, { cause });
    },
    [
      requests,
      entries,
      storeErrors,
      revision,
      age,
      follower,
      rings,
      pulls,
      unrung,
      resets,
      attaches,
      reports,
      refused,
      unavailable,
      inFlight,
      shed,
      keyRefreshes,
      keyAge,
      dropped,
    ],
  );
}

function sum(counts: readonly number[]): number {
  return counts.reduce((all, count) => all + count, 0);
}
