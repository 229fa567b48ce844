// Was every answer right? One sidecar's records against the history; the same rules for ours and for the control.

import { closeSync, openSync, readSync } from 'node:fs';
import { DECISIONS } from 'policy-cache';
import type { Answer } from '../../../policy-cache/test/reference.ts';
import type { Passed } from './barriers.ts';
import type { History } from './history.ts';
import { LATEST, RECORD_BYTES, questionNumber, readRecord } from './record.mjs';
import type { AnswerRecord } from './record.mjs';

export interface Verdict {
  reads: number;
  misses: number;
  allows: number;
  /** Questions in states that differ in what they are about: what was really judged. */
  distinct: number;
  /** Not what was true at the revision that the answer names, or of a revision that never was (the invariant). */
  wrong: number;
  /** Of those: not true at any moment within the staleness allowed either. */
  outdated: number;
  /** Of those: allowed what should have been refused. */
  wrongAllows: number;
  /** Older than a commit acknowledged longer ago than the staleness allowed (G2). */
  stale: number;
  worstStalenessMs: number;
  /** Older than what this sidecar had reported before (G1). */
  below: number;
  tokens: number;
  /** Older than the token asked for, or than what was acknowledged before a `latest` was asked (G3). */
  belowToken: number;
  /** Older than a barrier that had been passed (G4). */
  belowBarrier: number;
  /** Allowed again what was refused before, and no grant in between. */
  notMonotone: number;
  firsts: number;
  /** First-time askers let in after their access was taken away and this sidecar knew, or was told the revision. */
  letIn: number;
  /** The first few of whatever was not right, for a person. */
  readonly examples: string[];
}

const EXAMPLES = 5;

export interface Known {
  /** User of a first-time asker → version at which it lost its access. */
  readonly revoked: ReadonlyMap<number, number>;
  /** In the order of time. */
  readonly passed: readonly Passed[];
}

export function judge(file: string, history: History, { revoked, passed }: Known): Verdict {
  const verdict: Verdict = {
    reads: 0,
    misses: 0,
    allows: 0,
    distinct: 0,
    wrong: 0,
    outdated: 0,
    wrongAllows: 0,
    stale: 0,
    worstStalenessMs: 0,
    below: 0,
    tokens: 0,
    belowToken: 0,
    belowBarrier: 0,
    notMonotone: 0,
    firsts: 0,
    letIn: 0,
    examples: [],
  };
  /** Place of the newest refusal of each question. */
  const refusedAt = new Map<number, number>();
  const pairs = new Set<number>();
  let barriers = 0;
  let barrier = 0;
  for (const record of records(file)) {
    const example = (what: string): void => {
      if (verdict.examples.length < EXAMPLES) verdict.examples.push(`${what}: ${JSON.stringify({ ...record, ...said(record) })}`);
    };
    verdict.reads++;
    if (!record.hit) verdict.misses++;
    const { allow } = said(record);
    if (allow) verdict.allows++;
    const place = history.place(record.version, record.id);
    if (place === undefined) {
      verdict.wrong++;
      example('no such revision');
      continue;
    }
    const question = questionNumber(record);
    pairs.add(history.since(place, record) * 2 ** 27 + question);
    if (!same(history.truth(place, record), said(record))) {
      verdict.wrong++;
      if (allow) verdict.wrongAllows++;
      if (!trueWithin(history, record)) verdict.outdated++;
      example('wrong at its revision');
    }
    const staleness = record.decided - history.missedSince(place);
    if (staleness > verdict.worstStalenessMs) verdict.worstStalenessMs = staleness;
    if (staleness > record.bound) {
      verdict.stale++;
      example(`older than ${record.bound} ms, by ${Math.round(staleness)} ms,`);
    }
    if (record.version < record.shown) {
      verdict.below++;
      example('older than reported');
    }
    if (record.atLeast !== 0) {
      verdict.tokens++;
      if (record.atLeast === LATEST ? history.missedSince(place) < record.asked : record.version < record.atLeast) {
        verdict.belowToken++;
        example('below its token');
      }
    }
    for (; passed[barriers] !== undefined && passed[barriers]!.at < record.decided; barriers++) barrier = Math.max(barrier, passed[barriers]!.version);
    if (record.version < barrier) {
      verdict.belowBarrier++;
      example(`older than the barrier of ${barrier}`);
    }
    const refused = refusedAt.get(question);
    if (!allow) refusedAt.set(question, place);
    else if (refused !== undefined) {
      refusedAt.delete(question);
      if (!grantedSince(history, refused, place, record)) {
        verdict.notMonotone++;
        example(`refused at ${history.version(refused)}, allowed again without a grant`);
      }
    }
    if (record.first) {
      verdict.firsts++;
      const version = revoked.get(record.user);
      if (version === undefined) throw new Error(`user ${record.user} never lost its access`);
      if (allow && (record.shown >= version || record.atLeast >= version)) {
        verdict.letIn++;
        example('a first-time asker was let in');
      }
    }
  }
  verdict.distinct = pairs.size;
  return verdict;
}

function* records(file: string): Generator<AnswerRecord> {
  const bytes = Buffer.alloc(RECORD_BYTES * 65_536);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const opened = openSync(file, 'r');
  try {
    for (let read; (read = readSync(opened, bytes)) > 0;) for (let at = 0; at < read; at += RECORD_BYTES) yield readRecord(view, at);
  } finally {
    closeSync(opened);
  }
}

/** Was the answer true at any commit from the newest that must be known on? */
function trueWithin(history: History, record: AnswerRecord): boolean {
  const from = history.acknowledgedBefore(record.decided - record.bound);
  const to = Math.min(history.commits - 1, history.acknowledgedBefore(record.decided) + 20); // some were visible before they were acknowledged
  for (let place = to; place >= from; place = history.since(place, record) - 1) if (same(history.truth(place, record), said(record))) return true;
  return false;
}

function grantedSince(history: History, refused: number, allowed: number, record: AnswerRecord): boolean {
  for (let place = allowed; place > refused; place = history.since(place, record) - 1) if (history.truth(place, record).allow) return true;
  return false;
}

function said({ decision }: AnswerRecord): Answer {
  return DECISIONS[decision]!;
}

/** To the letter: the reason and the rule, too. */
function same(a: Answer, b: Answer): boolean {
  return a.allow === b.allow && a.reason === b.reason && a.rule === b.rule;
}
