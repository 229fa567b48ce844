// Which decisions are written down, and what happens when nobody reads them fast enough?
//
// One JSON line per check that did not pass and per sampled check that did. Lines go to a bounded buffer: a slow reader of
// stdout costs lines, counted, never memory and never a check's time. No token, cookie, body or query ever gets here:
// a `CheckReport` has none.

import { formatRevision } from 'policy-cache';
import type { CheckReport } from './report.ts';

/** Where lines go: a writable stream as Node has them (stdout). */
export interface LineSink {
  /** Calls `done` when the text is written, or with what went wrong. */
  write(text: string, done: (problem?: Error | null) => void): unknown;
}

export interface DecisionLogSettings {
  readonly sink: LineSink;
  /** Share of the allows that is written, 0 to 1; everything else always is. */
  readonly allowSample: number;
  /** 0 ≤ random() < 1 */
  readonly random: () => number;
  /** Milliseconds since 1970. */
  readonly wall: () => number;
  /** Lines kept while a write is under way. */
  readonly buffer?: number;
}

export interface DecisionLog {
  report(check: CheckReport): void;
  /** Lines lost since the start. */
  readonly dropped: number;
  /** Resolves when every line kept so far is with the sink, or after `ms`. */
  flush(ms: number): Promise<void>;
}

/** Longest text taken from a client into one field. */
const FIELD = 256;

export function createDecisionLog({ sink, allowSample, random, wall, buffer = 10_000 }: DecisionLogSettings): DecisionLog {
  let waiting: string[] = [];
  let writing = false;
  let scheduled = false;
  let dropped = 0;
  const idle: (() => void)[] = [];

  // One write at a time, of all lines that came meanwhile: a system call per line would cost more than the check it tells
  // of, and what a stalled reader leaves with us is never more than the buffer and the text under way.
  const write = (): void => {
    scheduled = false;
    if (writing) return;
    if (waiting.length === 0) {
      for (const resolve of idle.splice(0)) resolve();
      return;
    }
    const lines = waiting;
    waiting = [];
    writing = true;
    sink.write(lines.join(''), (problem) => {
      writing = false;
      if (problem) dropped += lines.length;
      write();
    });
  };

  return {
    report(check) {
      if (check.verdict === 'permit' && (allowSample === 0 || (allowSample < 1 && random() >= allowSample))) return;
      if (waiting.length >= buffer) {
        dropped++;
        return;
      }
      waiting.push(decisionLine(check, wall()));
      if (scheduled || writing) return;
      scheduled = true;
      setImmediate(write);
    },
    get dropped() {
      return dropped;
    },
    async flush(ms) {
      if (!writing && waiting.length === 0) return;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        idle.push(() => {
          clearTimeout(timer);
          resolve();
        });
        write();
      });
    },
  };
}

/** The line of one check: field names of the contract, `\n` at its end. Control characters are escaped by JSON. */
export function decisionLine(check: CheckReport, wallMs: number): string {
  return `${JSON.stringify({
    ts: new Date(wallMs).toISOString(),
    decision_id: check.decisionId,
    request_id: cut(check.requestId),
    decision: check.verdict === 'permit' ? 'allow' : check.verdict,
    reason: check.reason,
    rule: check.rule,
    revision: check.revision === null ? null : formatRevision(check.revision),
    protocol: check.protocol,
    method: cut(check.method),
    route: check.route,
    resource: cut(check.resource),
    operation: cut(check.operation),
    target: cut(check.target),
    subject: cut(check.subject),
    ...(check.actor ? { actor: cut(check.actor) } : {}),
    tenant: cut(check.tenant),
    cache: check.cache,
    duration_us: Math.round(check.durationMs * 1000),
  })}\n`;
}

function cut(text: string): string {
  return text.length > FIELD ? `${text.slice(0, FIELD)}…` : text;
}
