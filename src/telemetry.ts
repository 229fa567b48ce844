// What can an operator see of a running sidecar, and at what cost for a check?
//
// The hot path bumps plain numbers (a Map keyed by one small integer, an array of buckets); OpenTelemetry's observable
// instruments (exposition.ts) read them when somebody scrapes. Names: those of the contract, Prometheus rules, no subject or path in a label.

import type { MetricData } from '@opentelemetry/sdk-metrics';
import type { CacheObserver, Vocabulary } from 'policy-cache';
import type { DecisionCell, Exposition, Watched } from './exposition.ts';
import type { CheckReport } from './report.ts';
import { Series } from './series.ts';

export interface Telemetry {
  /** Counts one finished check. */
  report(check: CheckReport): void;
  /** For the policy cache. */
  readonly observer: CacheObserver;
  /** Names what is read at a scrape. Later calls add to earlier ones. */
  watch(watched: Watched): void;
  /** Loads what a scrape needs, 160 modules of OpenTelemetry: else the first scrape does it. */
  load(): Promise<void>;
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

type Labels = Pick<CheckReport, 'verdict' | 'reason' | 'protocol' | 'resource' | 'operation'>;

function isAlike(a: Labels, b: Labels): boolean {
  return a.verdict === b.verdict && a.reason === b.reason && a.protocol === b.protocol && a.resource === b.resource && a.operation === b.operation;
}

export function createTelemetry(settings: TelemetrySettings): Telemetry {
  const { vocabulary } = settings;
  const decisions = new Map<number, DecisionCell>();
  const durations = new Map<number, Series>();
  const reasons = labelNumbers(REASONS);
  const protocols = labelNumbers(PROTOCOLS);
  const queries = new Series({});
  const lag = new Series({});
  let queueUsage: number | null = null;
  let queueFull = false;
  let watched: Watched = {};
  // Most checks have the labels of the one before: five comparisons in place of seven look-ups.
  let last: (Labels & { readonly cell: DecisionCell; readonly series: Series }) | null = null;

  const decisionCell = (key: number, check: CheckReport, numbers: { decision: number; resource: number; operation: number }): DecisionCell => {
    const full = decisions.size >= DECISION_SERIES;
    if (full && (numbers.resource !== -1 || numbers.operation !== -1)) return counted({ ...check, resource: '', operation: '' });
    const cell: DecisionCell = {
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
  const counted = (check: CheckReport): DecisionCell => {
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

  const started = settings.wall();
  let exposition: Promise<Exposition> | null = null;
  const exposed = (): Promise<Exposition> =>
    (exposition ??= import('./exposition.ts').then(({ createExposition }) =>
      createExposition({
        ...settings,
        started,
        decisions,
        mostDecisions: DECISION_SERIES,
        durations,
        queries,
        lag,
        queueUsage: () => queueUsage,
        watched: () => watched,
      }),
    ));

  return {
    report(check) {
      if (last === null || !isAlike(last, check)) {
        const { verdict, reason, protocol, resource, operation } = check;
        last = { verdict, reason, protocol, resource, operation, cell: counted(check), series: duration(check) };
      }
      last.cell.count++;
      last.series.add(check.durationMs / 1000);
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
    async load() {
      await exposed();
    },
    async scrape() {
      return (await exposed()).scrape();
    },
    async collect() {
      return (await exposed()).collect();
    },
    async close() {
      if (exposition !== null) await (await exposition).close();
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
