// How does the operator load a world by a request? Its body is read as it comes, in small turns, and written when all of it is there and right.
//
// Checks are answered by the same process meanwhile, and whoever sends may be slow, stop, or go away: then nothing is written.

import { InputError, PolicyError, parseRevision, type Revision } from 'policy-cache';
import { BATCH_KEYS, type ImportMode, type ImportProblem, type ImportResult } from 'policy-cache/postgres';
import { z } from 'zod';
import { problem } from '../problems.ts';
import { askedOf } from './collections.ts';
import { changeAnswer } from './http.ts';
import { Forbidden, Unconfirmed } from './refusals.ts';
import type { Routes } from './route.ts';
import * as schemas from './schemas.ts';

export interface ImportAsked {
  readonly mode: ImportMode;
  /** Keys of the change log in one transaction; absent: all of it is one. */
  readonly batch?: number;
  readonly unknownNames: boolean;
  readonly requestId: string;
  readonly signal: AbortSignal;
}

/** Bad rows are a value. Rejects with InputError or PolicyError where it cannot be done now, the reason of the signal where that ended it. */
export type ImportWorld = (pieces: AsyncIterable<Uint8Array>, asked: ImportAsked) => Promise<ImportResult>;

export interface ImportParts {
  readonly importWorld: ImportWorld;
  /** Resolves when this process answers at the revision or later. */
  readonly applied: (revision: Revision) => Promise<void>;
  /** Whoever imports is ended with the administration. */
  readonly stopping: AbortSignal;
  readonly bounds: ImportBounds;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
}

export interface ImportBounds {
  readonly bytes: number;
  /** Milliseconds that nothing may come for: whoever sends is gone, and others wait for their turn. */
  readonly idle: number;
  /**
   * Bytes a second that come at the least, of each so many milliseconds that were waited for them: not of all the time, which is as long as a
   * line is slow and the database at work, nor since the beginning, or whoever was fast once could be as slow afterwards as he liked.
   */
  readonly least: { readonly rate: number; readonly over: number };
}

/** Fifteen million entities, also by a line of 64 kbit/s. */
export const IMPORT_BOUNDS: ImportBounds = { bytes: 2 ** 31, idle: 60_000, least: { rate: 4096, over: 60_000 } };

/** [measured] 45 rows, read in 0.14 ms (p99 1.6): of what comes in one piece, 64 KiB, a check would wait for 1.3 ms (p99 10). */
const TURN_BYTES = 8 * 1024;

interface ImportQuery {
  readonly mode: ImportMode;
  readonly batch?: number | undefined;
  readonly unknownNames: 'true' | 'false';
}

export function importRoutes(routes: Routes, { importWorld, applied, stopping, bounds, now }: ImportParts): void {
  routes.add<unknown, ImportQuery, unknown>({
    method: 'post',
    path: '/v1/import',
    summary: 'Load a world (operator): all of it, or nothing',
    query: z.strictObject({
      mode: z
        .enum(['create', 'upsert'])
        .default('create')
        .openapi({ description: 'create: every id must be new. upsert: what is there is changed to what is given.' }),
      batch: z.coerce
        .number('must be a number')
        .int('must be a whole number')
        .min(BATCH_KEYS.least, `must be ${BATCH_KEYS.least} at least`)
        .max(BATCH_KEYS.most, `must be ${BATCH_KEYS.most} at most`)
        .optional()
        .openapi({ description: 'Commit whenever so many keys of the change log are reached, and let all sidecars follow. Left out: one transaction.' }),
      unknownNames: z.enum(['true', 'false']).default('false').openapi({ description: 'Take roles and types with names that the vocabulary has not.' }),
    }),
    consumes: {
      type: 'application/x-ndjson',
      description: 'Lines as `grantgate export` writes them. A line `{"kind": "file", "name": …}` begins another file, which problems are told of.',
    },
    answer: { status: 200, description: 'What was loaded.', schema: schemas.imported, changes: true },
    async handle({ c, query: { mode, batch, unknownNames } }) {
      const { who, requestId } = askedOf(c);
      if (who.caller.kind === 'user') throw new Forbidden('operator-only', '1.6', "to import is the operator's");
      const tooLong = problem({ status: 413, code: 'too-large', detail: `the body must be ${bounds.bytes} bytes at most` });
      if (Number(c.req.header('content-length') ?? 0) > bounds.bytes) return tooLong;
      const { body, signal: gone } = c.req.raw;
      const unfit = new AbortController();
      const signal = AbortSignal.any([gone, stopping, unfit.signal]);
      const pieces = body === null ? nothing() : inTurns(body, { ...bounds, now, unfit: (why) => unfit.abort(why) });
      let result: ImportResult;
      try {
        const asked = { mode, unknownNames: unknownNames === 'true', requestId, signal, ...(batch === undefined ? {} : { batch }) };
        result = await importWorld(pieces, asked);
      } catch (error) {
        if (unfit.signal.reason === TOO_LONG) return tooLong;
        if (unfit.signal.reason === TOO_SLOW) {
          const { rate, over } = bounds.least;
          const detail = `less than ${rate} bytes a second came, of ${over / 1000} s that were waited for them; nothing was imported, and others may`;
          return problem({ status: 408, code: 'too-slow', detail });
        }
        if (unfit.signal.aborted) throw unfit.signal.reason;
        throw error instanceof InputError || (error instanceof Error && signal.aborted) ? new PolicyError('source', error.message, { cause: error }) : error;
      }
      if (!result.ok) {
        const count = result.problems.length + result.omitted;
        const more = { problems: result.problems.map(told), omitted: result.omitted };
        return problem({ status: 422, code: 'violation', detail: `nothing was imported: ${count} problem${count === 1 ? '' : 's'}`, more });
      }
      const { ok: _, warnings, ...done } = result;
      const revision = parseRevision(done.revision);
      await applied(revision).catch((cause: unknown) => {
        throw new Unconfirmed(revision, { cause });
      });
      return changeAnswer({ ...done, warnings: warnings.map(told) }, { value: null, revision });
    },
  });
}

/** Without what is stored under an id: of a tenant the operator sees nothing (semantics 1.6). */
function told({ file, line, path, field, message, fix }: ImportProblem): Omit<ImportProblem, 'stored' | 'given'> {
  return { file, line, path, field, message, fix };
}

const TOO_LONG = new Error('the body is too long');

const TOO_SLOW = new Error('the body comes too slowly');

interface Taking extends ImportBounds, Pick<ImportParts, 'now'> {
  /** No more of it is wanted. */
  readonly unfit: (why: Error) => void;
}

/** What comes, so little at a time that whatever else there is to do is done between. */
async function* inTurns(body: ReadableStream<Uint8Array>, { bytes, idle, least, now, unfit }: Taking): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  let came = 0;
  let waited = 0;
  let meanwhile = 0;
  for (;;) {
    const late = setTimeout(() => unfit(new PolicyError('deadline', `nothing came for ${idle} ms; nothing was imported`)), idle);
    const from = now();
    const { done, value } = await reader.read().finally(() => clearTimeout(late));
    if (done) return;
    came += value.length;
    if (came > bytes) return unfit(TOO_LONG);
    waited += now() - from;
    meanwhile += value.length;
    if (waited >= least.over) {
      if (meanwhile * 1000 < least.rate * waited) return unfit(TOO_SLOW);
      waited = meanwhile = 0;
    }
    for (let at = 0; at < value.length; at += TURN_BYTES) {
      yield value.subarray(at, at + TURN_BYTES);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

async function* nothing(): AsyncGenerator<Uint8Array> {
  // A request without a body: there is no row in it.
}
