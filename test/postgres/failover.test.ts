// What does a follower keep, lose and answer while a standby takes over from the primary? (coherence 3.7, 3.8)

import { performance } from 'node:perf_hooks';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { formatRevision, type PolicyCache, type Revision } from 'policy-cache';
import { startProxy } from '../support/frozen-link.ts';
import { servers } from '../support/postgres.ts';
import { startSidecar, type ServedSidecar } from '../support/sidecar.ts';
import { startPair, type Pair } from '../support/standby.ts';
import { until } from '../support/until.ts';
import type { Sql } from './fixture.ts';
import {
  FLIPPED,
  ask,
  flip,
  follow,
  historyOf,
  judge,
  mayRead,
  quietChecks,
  seedFlips,
  startReaders,
  startWriter,
  type Commit,
  type History,
  type Readers,
  type Verdict,
} from './failover.judge.ts';

const MAX_STALENESS = 2_000;

/** Numbers that the standby would give out anew: a sequence is logged 32 ahead, and what it gives out between is not. */
const numbersAhead = async (sql: Sql): Promise<number> => Number((await sql`select log_cnt from grantgate.version`)[0]?.['log_cnt']);

describe.each(servers)('on %s', (kind) => {
  let pair: Pair;
  let seeded: number;
  let cache: PolicyCache;
  let sidecar: ServedSidecar;
  let readers: Readers;
  const closing: (() => Promise<void> | void)[] = [];

  beforeEach(async () => {
    pair = await startPair(kind);
    closing.push(() => pair.close());
    seeded = await seedFlips(pair.old);
    await pair.streamed();
  });
  afterEach(async () => {
    for (const part of closing.splice(0).toReversed()) await part();
  });

  /** A cache that knows all there is, readers that go on asking it, and the real service beside it. */
  const watch = async (): Promise<void> => {
    const url = pair.url('primary', 'standby');
    cache = follow({ url }, MAX_STALENESS);
    closing.push(() => cache.close());
    sidecar = await startSidecar({ databaseUrl: url });
    closing.push(() => sidecar.stop());
    await cache.ready(10_000);
    for (const check of quietChecks) expect(await ask(cache, check)).toBe('allow');
    readers = startReaders(cache);
    closing.push(() => readers.stop());
  };

  /** When the first answer of this commit's history at it or later was given. */
  const answered = async (commit: Commit, lost: readonly Commit[] = []): Promise<number> => {
    const dead = new Set(lost.map(({ revision }) => revision.id));
    const isLater = ({ revision }: { readonly revision: Revision }): boolean => revision.version >= commit.revision.version && !dead.has(revision.id);
    await until(() => readers.reads.findLast(isLater) !== undefined, `an answer at ${formatRevision(commit.revision)}`);
    return readers.reads.find(isLater)!.at;
  };
  /** Resets of the process beside it, as its metrics tell them. */
  const served = async (): Promise<number | undefined> => (await sidecar.metrics()).value('authz_resets_total', { cause: 'history' });
  const print = (what: string, verdict: Verdict, ms: number): void => {
    const { judged, wrong, stale, backwards, during } = verdict;
    console.log(
      `${kind}, ${what}: ${ms.toFixed(0)} ms from the promotion asked to answers at a new commit; resets ${cache.stats.resets.history}, ` +
        `attaches ${cache.stats.attaches}; ${judged} reads judged (${during} while there was no primary): ${wrong} wrong, ${stale} stale, ` +
        `${backwards} backwards; refused ${JSON.stringify(readers.refused)}`,
    );
  };

  test('a planned switch-over keeps all that is cached, and loses no commit', async () => {
    await watch();
    const writer = startWriter([pair.database.url, pair.nextUrl]);
    await until(() => writer.commits.length >= 40, 'commits');
    await pair.primary.stop(); // waits for the standby to have everything
    const stopped = performance.now();
    const before = writer.commits.length;
    await pair.promote();
    await until(() => writer.commits.length > before, 'a commit at the new primary');
    const first = writer.commits[before]!;
    const ms = (await answered(first)) - stopped;

    const { fills, misses } = { ...cache.stats };
    const kept = quietChecks.filter((check) => !(cache.check(check) instanceof Promise));
    expect(kept).toHaveLength(quietChecks.length);
    expect(cache.stats).toMatchObject({ fills, misses, attaches: 2, resets: { start: 1, history: 0, backlog: 0, everything: 0 } });

    await until(() => writer.commits.length >= before + 40, 'more commits');
    await writer.stop();
    const last = writer.commits.at(-1)!;
    await answered(last);
    await sidecar.reached(formatRevision(last.revision));
    expect(await served()).toBe(0);
    await readers.stop();

    const next = await historyOf(pair.next, seeded);
    const lost = writer.commits.filter(({ revision }) => !next.has(formatRevision(revision)));
    expect(lost).toEqual([]);
    const verdict = judge({ reads: readers.reads, commits: writer.commits, old: next, next, maxStaleness: MAX_STALENESS, gap: [stopped, first.at] });
    print('planned', verdict, ms);
    expect(verdict).toMatchObject({ wrong: 0, stale: 0, backwards: 0 });
    expect(verdict.judged).toBeGreaterThan(1_000);
  });

  test.each([
    ['numbers go on above what was lost', 10, true],
    ['the same numbers are given out anew', 1, false],
  ])('a fail-over that loses acknowledged commits is one reset, and nothing stale: %s', async (what, ahead, jumps) => {
    await watch();
    const commits: Commit[] = [];
    while ((await numbersAhead(pair.old)) !== ahead) commits.push(await flip(pair.old, FLIPPED[commits.length % 4]!));
    await pair.streamed();
    pair.cut();
    const lost: Commit[] = [];
    for (const subject of ['w11', 'w0', 'w10', 'w1']) lost.push(await flip(pair.old, subject));
    commits.push(...lost);
    await answered(lost.at(-1)!);
    await sidecar.reached(formatRevision(lost.at(-1)!.revision));
    expect(await ask(cache, mayRead('w11'))).toBe('allow'); // by a commit that will never have been
    await pair.primary.stop('immediate');
    const stopped = performance.now();
    await pair.promote();
    const writer = startWriter([pair.nextUrl]);
    await until(() => writer.commits.length > 0, 'a commit at the new primary');
    const first = writer.commits[0]!;
    await until(() => cache.stats.resets.history > 0, 'the reset');
    const ms = (await answered(first, lost)) - stopped;
    expect(first.revision.version > lost.at(-1)!.revision.version).toBe(jumps);
    await until(() => writer.commits.length >= 40, 'more commits');
    await writer.stop();
    const last = writer.commits.at(-1)!;
    await answered(last);
    await sidecar.reached(formatRevision(last.revision));
    expect(await served()).toBe(1);
    expect(cache.stats).toMatchObject({ attaches: 2, resets: { start: 1, history: 1, backlog: 0, everything: 0 } });
    await readers.stop();

    await pair.primary.start(); // only to read its log
    const [old, next] = await Promise.all([pair.old, pair.next].map((sql): Promise<History> => historyOf(sql, seeded)));
    for (const { revision } of lost) expect([old!.has(formatRevision(revision)), next!.has(formatRevision(revision))]).toEqual([true, false]);
    const verdict = judge({
      reads: readers.reads,
      commits: [...commits, ...writer.commits],
      old: old!,
      next: next!,
      maxStaleness: MAX_STALENESS,
      gap: [stopped, first.at],
    });
    print(`losing ${lost.length} commits, ${what}`, verdict, ms);
    expect(verdict).toMatchObject({ wrong: 0, stale: 0, backwards: 0 });
    expect(verdict.judged).toBeGreaterThan(1_000);
  });

  test('a machine that is gone without a word does not hold up the promotion of the other', async () => {
    const standby = await startProxy({ port: pair.standby.port });
    closing.push(() => standby.close());
    const limits = { pullMs: 500, connectMs: 20_000 };
    const other = follow({ url: [pair.url('primary'), standby.through(pair.url('standby'))], limits }, MAX_STALENESS);
    closing.push(() => other.close());
    await other.ready(10_000);
    const before = standby.connections.length;
    await pair.primary.freeze();
    await until(() => standby.connections.slice(before).some((one) => one.clientPort() === undefined), 'a refusal by the standby');
    const asked = performance.now();
    await pair.promote();
    await until(() => other.stats.attaches === 2 && other.state().fresh, 'a session with the new primary', limits.connectMs);
    const ms = performance.now() - asked;
    expect(ms).toBeLessThan(limits.connectMs / 2);
    await pair.primary.thaw();
    const commit = await flip(pair.next, 'w0');
    await until(() => other.state().revision === formatRevision(commit.revision), 'a commit of the new primary');
    expect(other.stats).toMatchObject({ attaches: 2, resets: { start: 1, history: 0 } });
    console.log(
      `${kind}, beside a silent primary: ${ms.toFixed(0)} ms from the promotion asked to a session (it would be given up after ${limits.connectMs} ms)`,
    );
  });
});
