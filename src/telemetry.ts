// What can an operator see of a running sidecar, and at what cost for a check?
//
// The hot path bumps plain numbers (a Map keyed by one small integer, an array of buckets); OpenTelemetry's observable
// instruments read them when somebody scrapes. Names: those of the contract, Prometheus rules, no subject or path in a label.

import type { BatchObservableResult, Meter } from '@opentelemetry/api';
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { MeterProvider, type MetricData, type ResourceMetrics } from '@opentelemetry/sdk-metrics';
import type { CacheObserver, CacheSizes, CacheState, CacheStats, Vocabulary } from 'policy-cache';
import { Series, histogramProducer } from './histogram.ts';
import type { CheckReport } from './report.ts';
import { observeRuntime } from './runtime.ts';

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

export interface Telemetry {
  /** Counts one finished check. */
  report(check: CheckReport): void;
  /** For the policy cache. */
  readonly observer: CacheObserver;
  /** Names what is read at a scrape. Later calls add to earlier ones. */
  watch(watched: Watched): void;
  /** The metrics as Prometheus text, version 0.0.4. */
  scrape(): Promise<string>;
  /** The same before they are text, for whoever adds up those of several processes. */
  collect(): Promise<readonly MetricData[]>;
  close(): Promise<void>;
}

export interface TelemetrySettings {
  readonly vocabulary: Vocabulary;
  readonly version: string;
  /** Identifies the vocabulary and the routes that this process decides by. */
  readonly policyVersion: string;
  /** Milliseconds since 1970. */
  readonly wall: () => number;
  readonly log?: (event: { kind: string; detail: string }) => void;
}

/** Distinct values that an open label may take before the rest is `other`. */
const REASONS = 80;
const PROTOCOLS = 16;
/** Series of `authz_decisions_total` at most; further resources and operations count as `other`. */
const DECISION_SERIES = 10_000;

/** coherence 2.3: the default queue is 8 GB of empty notifications, so a tenth is a listener that has been stuck for long. */
const QUEUE_ALARM = 0.1;

const DECISION = { permit: 'allow', deny: 'deny', unauthenticated: 'deny', unmapped: 'deny', unavailable: 'error' } as const;
const DECISIONS = ['allow', 'deny', 'error'] as const;

interface Cell {
  readonly labels: Readonly<Record<string, string>>;
  count: number;
}

export function createTelemetry(settings: TelemetrySettings): Telemetry {
  const { vocabulary } = settings;
  const decisions = new Map<number, Cell>();
  const durations = new Map<number, Series>();
  const reasons = labelNumbers(REASONS);
  const protocols = labelNumbers(PROTOCOLS);
  const queries = new Series({});
  const lag = new Series({});
  let queueUsage: number | null = null;
  let queueFull = false;
  let watched: Watched = {};

  const decisionCell = (key: number, check: CheckReport, numbers: { decision: number; resource: number; operation: number }): Cell => {
    const full = decisions.size >= DECISION_SERIES;
    if (full && (numbers.resource !== -1 || numbers.operation !== -1)) return counted({ ...check, resource: '', operation: '' });
    const cell: Cell = {
      labels: {
        decision: DECISIONS[numbers.decision]!,
        reason: reasons.text(check.reason),
        protocol: protocols.text(check.protocol),
        resource: vocabulary.resources[numbers.resource] ?? 'other',
        operation: vocabulary.operations[numbers.operation] ?? 'other',
      },
      count: 0,
    };
    decisions.set(key, cell);
    return cell;
  };
  const counted = (check: CheckReport): Cell => {
    const decision = DECISIONS.indexOf(DECISION[check.verdict]);
    const resource = vocabulary.resource(check.resource);
    const operation = vocabulary.operation(check.operation);
    // One small integer instead of a joined string: no allocation, and no two label sets share a number.
    const key =
      (((decision * (REASONS + 1) + reasons.number(check.reason)) * (PROTOCOLS + 1) + protocols.number(check.protocol)) * (vocabulary.resources.length + 1) +
        resource +
        1) *
        (vocabulary.operations.length + 1) +
      operation +
      1;
    return decisions.get(key) ?? decisionCell(key, check, { decision, resource, operation });
  };
  const duration = (check: CheckReport): Series => {
    const decision = DECISIONS.indexOf(DECISION[check.verdict]);
    const key = protocols.number(check.protocol) * DECISIONS.length + decision;
    let series = durations.get(key);
    if (!series) durations.set(key, (series = new Series({ protocol: protocols.text(check.protocol), decision: DECISIONS[decision]! })));
    return series;
  };

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
        settings.wall,
      ),
    ],
  });
  const provider = new MeterProvider({
    resource: resourceFromAttributes({ 'service.name': 'grantgate', 'service.version': settings.version }),
    readers: [exporter],
    views: [{ instrumentName: 'authz_*', aggregationCardinalityLimit: 2 * DECISION_SERIES }],
  });
  // No instrument names a unit: the serializer would print `# UNIT s`, which only OpenMetrics knows, and there as `seconds`.
  const meter = provider.getMeter('grantgate', settings.version);
  const stopRuntime = observeRuntime(meter);
  const started = settings.wall();
  observeDecisions(meter, decisions);
  meter
    .createObservableGauge('authz_notification_queue_usage_ratio', {
      description: 'How full the notification queue of Postgres is; at 1 no permission can be changed.',
    })
    .addCallback((result) => {
      if (queueUsage !== null) result.observe(queueUsage);
    });
  observePolicy(meter, { version: settings.policyVersion, loaded: started });
  observeWatched(meter, () => watched);

  const serializer = new PrometheusSerializer('', false, undefined, false, true);
  const collected = async (): Promise<ResourceMetrics> => {
    const { resourceMetrics, errors } = await exporter.collect();
    if (errors.length > 0) throw new AggregateError(errors, 'metrics could not be collected');
    return resourceMetrics;
  };
  return {
    report(check) {
      counted(check).count++;
      duration(check).add(check.durationMs / 1000);
    },
    observer: {
      applied: (ms) => lag.add(ms / 1000),
      filled: (ms) => queries.add(ms / 1000),
      queue(usage) {
        queueUsage = usage;
        // Told when it crosses the line, and not again before it was well below.
        if (!queueFull && usage > QUEUE_ALARM)
          settings.log?.({
            kind: 'queue',
            detail: `the notification queue of Postgres is ${Math.round(usage * 100)} % full; at 100 % no permission can be changed: some session listens inside an open transaction (grantgate doctor names it)`,
          });
        queueFull = usage > (queueFull ? QUEUE_ALARM / 2 : QUEUE_ALARM);
      },
      ...(settings.log ? { event: settings.log } : {}),
    },
    watch(more) {
      watched = { ...watched, ...more };
    },
    scrape: async () => serializer.serialize(await collected()),
    collect: async () => (await collected()).scopeMetrics.flatMap(({ metrics }) => metrics),
    async close() {
      stopRuntime();
      await provider.shutdown();
    },
  };
}

/** Numbers for the values of an open label: the first `most` get their own, the rest share the last. */
function labelNumbers(most: number): { number(text: string): number; text(text: string): string } {
  const numbers = new Map<string, number>();
  const number = (text: string): number => {
    const known = numbers.get(text);
    if (known !== undefined) return known;
    if (numbers.size >= most) return most;
    numbers.set(text, numbers.size);
    return numbers.size - 1;
  };
  return { number, text: (text) => (number(text) === most ? 'other' : text) };
}

function observeDecisions(meter: Meter, decisions: ReadonlyMap<number, Cell>): void {
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
    for (const cache of ['subjects', 'targets', 'absent', 'classes', 'nodes'] as const) result.observe(entries, sizes[cache], { cache });
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
