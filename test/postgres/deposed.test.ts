// What does a deposed primary do to the followers, that nobody fenced and that answers as if nothing had happened? (coherence 3.8)
//
// Two primaries of one database: the old one, and a standby that was promoted beside it. Proxies lead followers to the one or the
// other, as an address does that is moved: every connection, or those of the fills alone.

import { performance } from 'node:perf_hooks';
import { scheduler } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatRevision, type PolicyCache, type Source } from 'policy-cache';
import { postgresSource, type PostgresSourceOptions } from 'policy-cache/postgres';
import { startProxy } from '../support/frozen-link.ts';
import { servers } from '../support/postgres.ts';
import { startPair, type Pair } from '../support/standby.ts';
import { until } from '../support/until.ts';
import { headOf, type Sql } from './fixture.ts';
import { ask, flip, follow, historyOf, judge, mayRead, seedFlips, startReaders, type Commit, type Readers } from './failover.judge.ts';

const silent = { ring: () => undefined, closed: () => undefined };
/** The longest step of the back-off (coherence 3.5). */
const STEP_MS = 2_000;
/** What a check says whose fills are refused: five times in a row, or until its deadline. */
const UNDECIDED = ['source', 'deadline'];

/** An address that can be moved. */
async function startAddress(port: number) {
  const target = { port };
  const proxy = await startProxy(target);
  return {
    proxy,
    /** Every connection ends, and comes back there. */
    move(to: number) {
      target.port = to;
      for (const connection of proxy.connections) connection.cut();
    },
    /** The sessions that pull from `at` stay; every other connection ends, and whoever opens one anew is led there. */
    async moveFills(to: number, at: Sql) {
      target.port = to;
      const pulling = await at`select client_port from pg_stat_activity where query like '%with c as materialized%' and pid <> pg_backend_pid()`;
      const stays = new Set(pulling.map((row) => Number(row['client_port'])));
      for (const connection of proxy.connections) if (!stays.has(connection.clientPort() ?? 0)) connection.cut();
    },
  };
}

describe.each(servers)('on %s', (kind) => {
  let pair: Pair;
  let seeded: number;
  let promoted: number;
  let port: { readonly old: number; readonly next: number };
  /** Follows wherever its address leads. */
  let led: PolicyCache;
  let leads: Awaited<ReturnType<typeof startAddress>>;
  /** Knows the old primary alone. */
  let stuck: PolicyCache;
  /** Knows both, the old one first, and was attached to it before the promotion. */
  let both: PolicyCache;
  let readers: readonly Readers[];
  const commits: Commit[] = [];
  const closing: (() => Promise<void> | void)[] = [];

  const write = async (sql: Sql, subject: string): Promise<Commit> => {
    const commit = await flip(sql, subject);
    commits.push(commit);
    return commit;
  };
  /** Until the server's numbers have reached that one. */
  const writeUpTo = async (sql: Sql, version: number): Promise<Commit> => {
    for (;;) {
      const commit = await write(sql, 'w9');
      if (commit.revision.version >= version) return commit;
    }
  };
  const followed = async (options: PostgresSourceOptions): Promise<PolicyCache> => {
    const cache = follow(options);
    closing.push(() => cache.close());
    await cache.ready(10_000);
    return cache;
  };
  const address = async (to: number) => {
    const made = await startAddress(to);
    closing.push(() => made.proxy.close());
    return made;
  };
  const reaches = (cache: PolicyCache, { revision }: Commit): Promise<void> =>
    until(() => cache.state().revision === formatRevision(revision), `revision ${formatRevision(revision)}`);
  const attachedAgain = async (cache: PolicyCache, act: () => void): Promise<void> => {
    const { attaches } = cache.stats;
    act();
    await until(() => cache.stats.attaches > attaches && cache.state().state === 'following', 'another session');
  };

  beforeAll(async () => {
    pair = await startPair(kind);
    closing.push(() => pair.close());
    seeded = await seedFlips(pair.old);
    await pair.streamed();
    port = { old: Number(new URL(pair.database.url).port), next: pair.standby.port };
    leads = await address(port.old);
    led = await followed({ url: leads.proxy.through(pair.url('primary')) });
    stuck = await followed({ url: pair.url('primary') });
    both = await followed({ url: pair.url('primary', 'standby') });
    pair.cut();
    promoted = performance.now();
    await pair.promote();
    await until(async () => (await pair.next`select pg_is_in_recovery() as r`)[0]?.['r'] === false, 'two primaries');
    readers = [led, both].map(startReaders);
    closing.push(...readers.map((one) => () => one.stop()));
  });
  afterAll(async () => {
    for (const part of closing.splice(0).toReversed()) await part();
  });

  test('led to the new primary and back, a follower closes each session with the old one and applies nothing of it', async () => {
    await attachedAgain(led, () => leads.move(port.next));
    expect(await ask(led, mayRead('w1'), { atLeast: 'latest' })).toBe('allow'); // a pull of the new primary
    const common = led.state().revision;
    expect(common).toMatch(new RegExp(`^${seeded}-`));
    // The new one has no commit of its own yet: those of the old one would follow on what is known, and no id would be missing.
    await write(pair.old, 'w11');
    const before = led.stats.attaches;
    leads.move(port.old);
    await until(() => led.stats.attaches >= before + 3, 'three sessions with the old one');
    await until(() => led.state().cause?.includes('deposed') === true, 'the reason');
    expect(led.state().revision).toBe(common);
    leads.move(port.next);
    const own = await write(pair.next, 'w10');
    await reaches(led, own);

    // Now it has one, and the lease runs out meanwhile.
    leads.move(port.old);
    const later = await write(pair.next, 'w6');
    await until(async () => (await ask(led, mayRead('w11'))) === 'stale', 'the lease to end');
    await until(() => led.state().cause?.includes('deposed') === true, 'the reason');
    expect(led.state().revision).toBe(formatRevision(own.revision));
    leads.move(port.next);
    await reaches(led, later);
    expect(led.stats.resets).toEqual({ start: 1, history: 0, backlog: 0, everything: 0 });
    expect([await ask(led, mayRead('w11')), await ask(led, mayRead('w10')), await ask(led, mayRead('w6'))]).toEqual(['deny', 'allow', 'allow']);
    console.log(`${kind}, led back twice: ${led.stats.attaches - before} attaches, resets ${led.stats.resets.history}`);
  });

  test('what the old primary fills for a follower of the new one is refused, though its number is no surprise', async () => {
    expect(await ask(led, mayRead('w1'))).toBe('allow'); // known from now on
    const revoked = await write(pair.next, 'k0'); // whom nobody has asked for
    const old = await writeUpTo(pair.old, revoked.revision.version);
    await reaches(led, await writeUpTo(pair.next, old.revision.version));
    const { attaches, fillsRefused } = { ...led.stats };

    // The listening session stays; whoever reads entries comes to the old one, where k0 is a member still.
    await leads.moveFills(port.old, pair.next);
    expect(await ask(stuck, mayRead('k0'))).toBe('allow');
    expect(UNDECIDED).toContain(await ask(led, mayRead('k0')));
    expect(await ask(led, mayRead('w1'))).toBe('allow');
    expect(led.stats.fillsRefused).toBeGreaterThan(fillsRefused);
    expect(led.stats.attaches).toBe(attaches);
    const refused = led.stats.fillsRefused - fillsRefused;
    await leads.moveFills(port.next, pair.next);
    await until(async () => (await ask(led, mayRead('k0'))) === 'deny', 'a fill of the new primary');

    // And the other way round: w7 is a member by the new one alone.
    const astray = await address(port.old);
    const other = await followed({ url: astray.proxy.through(pair.url('primary')) });
    const granted = await write(pair.next, 'w7');
    await reaches(other, await writeUpTo(pair.old, granted.revision.version));
    await astray.moveFills(port.next, pair.old);
    expect(UNDECIDED).toContain(await ask(other, mayRead('w7')));
    expect(other.stats.fillsRefused).toBeGreaterThan(0);
    await astray.moveFills(port.old, pair.old);
    await until(async () => (await ask(other, mayRead('w7'))) === 'deny', 'a fill of the old primary');
    expect([led, other].map(({ stats }) => stats.resets.history)).toEqual([0, 0]);
    console.log(`${kind}, fills led astray: ${refused} and ${other.stats.fillsRefused} refused`);
  });

  test('a token of the new history is no answer of the old one, and no more than one new session a step', async () => {
    const { attaches } = stuck.stats;
    const head = await headOf(pair.old);
    const unheard = await writeUpTo(pair.next, head + 1);
    const doubted: number[] = []; // when it was seen to attach again
    for (let seen = attaches; doubted.length < 2;) {
      expect(await ask(stuck, mayRead('w1'), { atLeast: unheard.revision })).toBe('history');
      expect(await ask(stuck, mayRead('w1'))).toBe('allow'); // whoever makes a token up switches nobody off
      if (stuck.stats.attaches === seen) continue;
      doubted.push(performance.now());
      seen++;
      expect(stuck.stats.attaches).toBe(seen);
    }
    expect(doubted[1]! - doubted[0]!).toBeGreaterThan(STEP_MS / 2);

    await reaches(stuck, await writeUpTo(pair.old, unheard.revision.version + 1));
    expect(await ask(stuck, mayRead('w1'), { atLeast: unheard.revision })).toBe('history'); // another id, or none
    expect(stuck.stats.resets.history).toBe(0);
    expect(stuck.stats.unavailable.stale).toBe(0);

    // Who knows the other server as well goes there, and nothing of the old one remains.
    expect(both.stats).toMatchObject({ attaches: 1, resets: { history: 0 } });
    expect(await ask(both, mayRead('k0'), { atLeast: unheard.revision })).toBe('history');
    await until(async () => (await ask(both, mayRead('k0'), { atLeast: unheard.revision })) === 'deny', 'an answer of the new history');
    expect(both.stats).toMatchObject({ attaches: 2, resets: { start: 1, history: 1 } });
    console.log(`${kind}, tokens: ${(doubted[1]! - doubted[0]!).toFixed(0)} ms between two new sessions; with both hosts 1 reset, 2 attaches`);
  });

  test('of two primaries the newest history is followed, in whatever order they are named, and each time', async () => {
    const fresh = await followed({ url: `${pair.url('primary', 'standby')}?application_name=fresh` });
    const turned = await followed({ url: pair.url('standby', 'primary') });
    for (let round = 1; round <= 3; round++) {
      const commit = await write(pair.next, 'w2');
      await Promise.all([fresh, turned, both].map((cache) => reaches(cache, commit)));
      const before = [fresh, turned, both].map(({ stats }) => stats.attaches);
      await pair.next`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`;
      await until(() => [fresh, turned, both].every(({ stats }, i) => stats.attaches > before[i]!), 'sessions again');
    }
    const sessions = async (sql: Sql) => Number((await sql`select count(*) as n from pg_stat_activity where application_name = 'fresh'`)[0]?.['n']);
    await until(async () => (await sessions(pair.old)) === 0 && (await sessions(pair.next)) === 5, 'no session with the old one is left open');
    const last = await write(pair.next, 'w2');
    await Promise.all([fresh, turned, both].map((cache) => reaches(cache, last)));
    expect([fresh, turned, both].map(({ stats }) => [stats.attaches, stats.resets.history])).toEqual([
      [4, 0],
      [4, 0],
      [5, 1],
    ]);
  });

  test('a dead host costs a moment; a slow one is waited for where the other is known to be deposed', async () => {
    const slow = await address(port.next);
    const waiting = (from: number) => until(() => slow.proxy.connections.length > from, 'a connection to the slow host');
    const limits = { connectMs: 10_000, pullMs: 10_000, fillMs: 10_000 };
    const timeline = async (source: Source): Promise<string | null> => {
      const attachment = await source.attach(silent);
      try {
        return (await attachment.pull({ cursor: 0, limit: null, ask: [], report: null })).timeline;
      } finally {
        attachment.close();
      }
    };
    const behind = slow.proxy.through(pair.url('standby'));
    const knowing = postgresSource({ url: [pair.url('primary'), behind], limits: { ...limits, othersMs: 1_000 } });
    expect(await timeline(knowing)).toBe('00000002');

    slow.proxy.freeze();
    const started = performance.now();
    expect(await timeline(postgresSource({ url: [behind, pair.url('standby')], limits }))).toBe('00000002');
    const ms = performance.now() - started;
    expect(ms).toBeGreaterThan(240);
    expect(ms).toBeLessThan(5_000);
    // Who has never heard of the new one takes what there is: the limit of what can be known.
    expect(await timeline(postgresSource({ url: [pair.url('primary'), behind], limits: { ...limits, othersMs: 1 } }))).toBe('00000001');

    const from = slow.proxy.connections.length;
    const again = timeline(knowing);
    await waiting(from);
    await scheduler.wait(1_500); // slower than the moment that others have
    slow.proxy.thaw();
    expect(await again).toBe('00000002');
    await until(() => slow.proxy.connections.every((one) => one.clientPort() === undefined), 'none that came too late is left open');
    console.log(`${kind}, attach beside a dead host: ${ms.toFixed(0)} ms (it would be given up after ${limits.connectMs} ms)`);
  });

  test('every answer was the truth at its revision, and none older than the bound or than one before', async () => {
    await Promise.all(readers.map((one) => one.stop()));
    const [old, next] = await Promise.all([pair.old, pair.next].map((sql) => historyOf(sql, seeded)));
    const gap = [promoted, commits.find(({ revision }) => next!.has(formatRevision(revision)))!.at] as const;
    const [ofLed, ofBoth] = readers.map(({ reads }) => judge({ reads, commits, old: old!, next: next!, maxStaleness: 2_000, gap }));
    expect(ofLed).toMatchObject({ wrong: 0, stale: 0, backwards: 0 });
    // Until it was told of the new history it followed the old one, as nobody had fenced it: its answers were of a history, but not of the one that counts.
    expect(ofBoth).toMatchObject({ wrong: 0, backwards: 0 });
    console.log(
      `${kind}: ${ofLed!.judged} and ${ofBoth!.judged} reads judged beside two primaries: 0 wrong; refused ${JSON.stringify(readers.map(({ refused }) => refused))}`,
    );
  });
});
