// What does a trace show of a check, and of the database behind it?
//
// The one file that knows OpenTelemetry's SDK for traces. service.ts loads it where the environment asks (traces-asked.ts); the SDK
// reads OTEL_* itself. A check has a span only where its parent is sampled: for every other one nothing is allocated. Of a fill, a
// pull, an attach the span is made when it is over. No attribute tells who asked, or for which thing: no token, subject, target, path.

import { DiagLogLevel, ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, context, diag, propagation, trace } from '@opentelemetry/api';
import type { Attributes, Context, ContextManager, DiagLogger, Link, Span, SpanOptions } from '@opentelemetry/api';
import { defaultResource, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { NodeSDK, core } from '@opentelemetry/sdk-node';
import { InputError, PolicyError, formatRevision } from 'policy-cache';
import type { Clock, Vocabulary, Work } from 'policy-cache';
import type { Log } from './log.ts';
import { HTTP_STATUS } from './problem.ts';
import type { CheckReport, CheckSpan, TraceCheck } from './report.ts';

export interface Traces {
  readonly check: TraceCheck;
  /** For the policy cache. */
  worked(work: Work): void;
  /** Hands over what is left, for so many milliseconds. False: not all of it, and what is still on its way would keep the process. */
  close(ms: number): Promise<boolean>;
}

export interface TracesSettings {
  readonly version: string;
  /** Tells this process from others of its kind. */
  readonly instance: string;
  readonly vocabulary: Vocabulary;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly wall: () => number;
  readonly log: Log;
}

/** A collector that is away is told of so often, not for each span that it does not take. */
const OUTAGE_EVERY_MS = 3_600_000;
/** Beyond this a clock was set, or the machine slept. */
const GRAIN_MS = 2;

/** @throws InputError where the SDK cannot work by what OTEL_* says; of most of that it warns, and takes its default */
export function startTraces(settings: TracesSettings): Traces {
  const { version, vocabulary, clock, wall, log } = settings;
  const sdk = startSdk(settings);
  const tracer = trace.getTracer('grantgate', version);
  const now = preciseWall({ clock, wall });

  const begin = (traceparent: string, tracestate: string): CheckSpan | null => {
    const parent = propagation.extract(ROOT_CONTEXT, tracestate === '' ? { traceparent } : { traceparent, tracestate });
    const flags = trace.getSpanContext(parent)?.traceFlags ?? TraceFlags.NONE;
    if ((flags & TraceFlags.SAMPLED) === 0) return null;
    const span = tracer.startSpan('grantgate check', { kind: SpanKind.SERVER, startTime: now() }, parent);
    // A sampler that does not look at the parent (OTEL_TRACES_SAMPLER) has the last word.
    return span.isRecording() ? new TracedCheck(trace.setSpan(parent, span), { vocabulary, now }) : null;
  };

  return {
    check(traceparent, tracestate) {
      if (!saysSampled(traceparent)) return null;
      try {
        return begin(traceparent, tracestate);
      } catch (error) {
        // It is a check first: whatever the SDK has against its headers, it is answered.
        log('debug', 'traces', wordsOf(error));
        return null;
      }
    },
    worked(work) {
      const shown = shownOf(work);
      if (shown === null) return;
      const { name, options, parent } = shown;
      const end = now();
      const span = tracer.startSpan(name, { ...options, startTime: end - work.ms }, parent);
      if (work.error !== null) fault(span, work.error instanceof PolicyError ? work.error.code : work.error.name, work.error.message);
      span.end(end);
    },
    async close(ms) {
      const all = await new Promise<boolean>((resolve) => {
        const cancel = clock.after(ms, () => resolve(false));
        const over = (): void => {
          cancel();
          resolve(true);
        };
        sdk.shutdown().then(over, over); // what went wrong, the handler of errors is told
      });
      if (!all) log('warn', 'traces', `the collector did not take the last spans within ${ms} ms: they are lost`);
      for (const api of [trace, propagation, context, diag]) api.disable();
      return all;
    },
  };
}

/** Contexts are arguments here. The SDK's own way follows every promise of the process, by async hooks (Node 20). */
const BY_HAND: ContextManager = {
  active: () => ROOT_CONTEXT,
  with: (_, f, self, ...args) => f.call(self, ...args),
  bind: (_, target) => target,
  enable: () => BY_HAND,
  disable: () => BY_HAND,
};

class TracedCheck implements CheckSpan {
  readonly context: Context;
  readonly #vocabulary: Vocabulary;
  readonly #now: () => number;

  constructor(context: Context, { vocabulary, now }: { vocabulary: Vocabulary; now: () => number }) {
    this.context = context;
    this.#vocabulary = vocabulary;
    this.#now = now;
  }

  end(check: CheckReport): void {
    const span = trace.getSpan(this.context);
    if (span === undefined) return;
    span.setAttributes(attributesOf(check, this.#vocabulary));
    if (check.verdict === 'unavailable') fault(span, check.reason, 'cannot decide'); // a deny is an answer
    span.end(this.#now());
  }
}

function attributesOf(check: CheckReport, vocabulary: Vocabulary): Attributes {
  const { protocol, verdict, method, route, resource, operation, revision } = check;
  return {
    'grantgate.protocol': protocol,
    'grantgate.verdict': verdict,
    'grantgate.reason': check.reason,
    'grantgate.cache': check.cache,
    'grantgate.decision_id': check.decisionId,
    ...(check.rule === '' ? {} : { 'grantgate.rule': check.rule }),
    ...(revision === null ? {} : { 'grantgate.revision': formatRevision(revision) }),
    ...(route === '' ? {} : { 'http.route': route }),
    ...(method === '' ? {} : { 'http.request.method': METHODS.has(method) ? method : '_OTHER' }),
    // Names that are not of the vocabulary are a caller's own text.
    ...(vocabulary.resource(resource) < 0 ? {} : { 'grantgate.resource': resource }),
    ...(vocabulary.operation(operation) < 0 ? {} : { 'grantgate.operation': operation }),
    ...wireOf(protocol, verdict),
  };
}

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH']);

function wireOf(protocol: string, verdict: CheckReport['verdict']): Attributes {
  if (protocol === 'envoy_grpc') return { 'rpc.system': 'grpc', 'rpc.service': 'envoy.service.auth.v3.Authorization', 'rpc.method': 'Check' };
  // The api answers a deny with 200, and a question that is none in its own ways.
  return protocol === 'authzen' ? {} : { 'http.response.status_code': HTTP_STATUS[verdict] };
}

interface Shown {
  readonly name: string;
  readonly options: SpanOptions;
  readonly parent: Context;
}

const POSTGRES = { 'db.system.name': 'postgresql' };

/** Null: nothing to show. A trace of its own where no check waits for it, if the sampler takes it. */
function shownOf(work: Work): Shown | null {
  const own = (name: string, attributes: Attributes): Shown => ({
    name: `grantgate ${name}`,
    options: { kind: name === 'reset' ? SpanKind.INTERNAL : SpanKind.CLIENT, attributes },
    parent: ROOT_CONTEXT,
  });
  switch (work.kind) {
    case 'attach':
      return own('attach', { ...POSTGRES, 'grantgate.attach.failures': work.failures });
    case 'pull': {
      const { cause, cursor, changes } = work;
      // There are four a second, and nearly all of them bring nothing.
      if (changes === 0 && work.error === null) return null;
      return own('pull', { ...POSTGRES, 'grantgate.pull.cause': cause, 'grantgate.pull.cursor': cursor, 'grantgate.pull.changes': changes });
    }
    case 'reset':
      return own('reset', { 'grantgate.reset.cause': work.cause, 'grantgate.reset.nodes': work.nodes });
    case 'fill': {
      const [parent, ...others] = work.traces.filter((each) => each instanceof TracedCheck);
      if (parent === undefined) return null;
      const links = others.flatMap(({ context }): Link[] => {
        const of = trace.getSpanContext(context);
        return of === undefined ? [] : [{ context: of }];
      });
      const attributes = {
        ...POSTGRES,
        'db.operation.name': 'SELECT',
        'grantgate.fill.kind': work.of,
        'grantgate.fill.keys': work.keys,
        'grantgate.fill.refused': work.refused,
        'grantgate.fill.admitted': work.error === null ? work.keys - work.refused : 0,
      };
      return { name: 'grantgate fill', options: { kind: SpanKind.CLIENT, attributes, links }, parent: parent.context };
    }
    default:
      return work satisfies never;
  }
}

function fault(span: Span, type: string, message: string): void {
  span.setAttribute('error.type', type);
  span.setStatus({ code: SpanStatusCode.ERROR, message });
}

/** The last hex digit is odd: the flag `sampled`. No more is read of one that is not; whether the rest is well-formed is for the propagator. */
function saysSampled(traceparent: string): boolean {
  if (traceparent.length < 55) return false;
  const digit = traceparent.charCodeAt(54);
  return digit <= 0x39 ? (digit & 1) === 1 : (digit & 1) === 0;
}

/** The wall clock with the grain of the other one: it counts whole milliseconds, and most spans here are shorter. */
function preciseWall({ clock, wall }: Pick<TracesSettings, 'clock' | 'wall'>): () => number {
  let offset = wall() - clock.now();
  return () => {
    const steady = clock.now();
    const ahead = wall() - (steady + offset);
    if (Math.abs(ahead) > GRAIN_MS) offset += ahead;
    return steady + offset;
  };
}

function startSdk({ version, instance, clock, log }: TracesSettings): NodeSDK {
  const debug = (message: string): void => log('debug', 'traces', message);
  /** Instead of the SDK's own logger, which writes to stdout: that is the decision log's. */
  const listen = (warn: (problem: string) => void): void => {
    const logger: DiagLogger = { error: warn, warn, info: debug, debug, verbose: () => undefined };
    diag.setLogger(logger, { suppressOverrideMessage: true, logLevel: DiagLogLevel.DEBUG });
    core.setGlobalErrorHandler((error) => warn(wordsOf(error)));
  };
  try {
    const sdk = new NodeSDK({
      resource: defaultResource().merge(resourceFromAttributes({ 'service.name': 'grantgate', 'service.version': version, 'service.instance.id': instance })),
      // The SDK's own would add the command line, which may hold a `--set` with a password.
      resourceDetectors: [envDetector],
      metricReaders: [],
      logRecordProcessors: [],
      contextManager: BY_HAND,
    });
    listen((problem) => log('warn', 'traces', problem));
    sdk.start();
    let told = -Infinity;
    listen((problem) => {
      if (clock.now() - told < OUTAGE_EVERY_MS) return;
      told = clock.now();
      log('warn', 'traces', `spans are lost (this is told once an hour): ${problem}`);
    });
    return sdk;
  } catch (error) {
    throw new InputError('OTEL_*', `OpenTelemetry's SDK cannot start by what these variables say: ${wordsOf(error)}`);
  }
}

function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Of a name with several addresses there is one error for each, and the outer one says nothing.
  const inner: unknown = error instanceof AggregateError ? error.errors[0] : undefined;
  return error.message === '' && inner instanceof Error ? inner.message : error.message;
}
