// What was asked about before is in memory before anybody asks again; and whatever is wrong with the file of it, the service starts.

import { chmod, link, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PolicyCache, compileVocabulary, parseWorldFile, requestOf, type CheckStatus, type HotIds } from 'policy-cache';
import { MemorySource, type Held } from 'policy-cache/memory';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { hostClock } from '../../src/clock.ts';
import { createHotSet, MOST, parseHotSet, readHotSet, writeHotSet, type HotSet } from '../../src/hotset.ts';
import { openOutput } from '../../src/outputfile.ts';
import { warmUp } from '../../src/warmup.ts';
import { until } from '../support/until.ts';

const vocabulary = compileVocabulary(parse(await readFile(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));
const users = Array.from({ length: 300 }, (_, i) => ({ id: `u${i}`, owner: i % 2 === 0 ? 't' : 'c', groups: [i % 2 === 0 ? 'staff' : 'guests'] }));
const devices = Array.from({ length: 700 }, (_, i) => ({ id: `d${i}`, type: 'DEVICE', owner: i % 3 === 0 ? 't' : 'c' }));
const { world } = parseWorldFile({
  tenants: [{ id: 't' }, { id: 'elsewhere' }],
  customers: [{ id: 'c', owner: 't' }],
  groups: [
    { id: 'staff', type: 'USER', owner: 't' },
    { id: 'guests', type: 'USER', owner: 'c' },
  ],
  users: [...users, { id: 'off', owner: 't', enabled: false }],
  entities: [...devices, { id: 'far', type: 'DEVICE', owner: 'elsewhere' }],
  roles: [{ id: 'reader', owner: 't', type: 'GENERIC', permissions: { DEVICE: ['READ'] } }],
  grants: [
    { id: 'g1', userGroup: 'staff', role: 'reader' },
    { id: 'g2', userGroup: 'guests', role: 'reader' },
  ],
});
const hot: HotIds = { subjects: users.map(({ id }) => id), targets: devices.map(({ id }) => id) };

let directory = '';
beforeAll(async () => void (directory = await mkdtemp(join(tmpdir(), 'grantgate-hot-'))));
afterAll(() => rm(directory, { recursive: true }));
const open: PolicyCache[] = [];
afterEach(() => open.splice(0).forEach((cache) => cache.close()));

async function started() {
  const holds = new Map<Held, Promise<void>>();
  let commits = 0;
  const source = new MemorySource({
    ...(world === null ? {} : { world }),
    newId: () => `00000000-0000-4000-8000-${String(commits++).padStart(12, '0')}`,
    hold: (what) => holds.get(what),
  });
  const clock = hostClock();
  const cache = new PolicyCache({ vocabulary, source, clock, random: Math.random });
  open.push(cache);
  cache.start();
  await cache.ready(5_000);
  return { cache, source, clock, holds, parts: { cache, vocabulary, clock, ms: 5_000 } };
}

/** A hit, and what was decided. */
async function asked(cache: PolicyCache, subject: string, target: string): Promise<[hit: boolean, allow: boolean]> {
  const status: CheckStatus = { tenant: '', customer: '', revision: null, hit: false };
  const { allow } = await cache.check(requestOf(vocabulary, { user: subject, operation: 'READ', resource: 'DEVICE', target }), status, { deadline: 5_000 });
  return [status.hit, allow];
}

test('after a warm-up every first check is a hit, with the answer of the database', async () => {
  const { cache, parts } = await started();
  expect(await warmUp(hot, parts)).toEqual({ subjects: 300, targets: 700, cause: null });
  expect(cache.sizes()).toMatchObject({ subjects: 300, targets: 700, classes: 2, absent: 0 });
  for (const [i, { id }] of devices.entries()) expect(await asked(cache, `u${i % 300}`, id)).toEqual([true, (i % 300) % 2 === 0 || i % 3 !== 0]);
});

test('ids that are gone, of others or switched off are read as they are', async () => {
  const { cache, parts } = await started();
  expect(await warmUp({ subjects: ['nobody', 'off', 'u0', 'd1'], targets: ['nothing', 'far', 'd1', 'all:DEVICE:t', 'u1'] }, parts)).toEqual({
    subjects: 4,
    targets: 5,
    cause: null,
  });
  expect(cache.sizes()).toMatchObject({ absent: 2 });
  expect(await asked(cache, 'u0', 'far')).toEqual([true, false]);
  expect(await asked(cache, 'off', 'd1')).toEqual([true, false]);
  expect(await asked(cache, 'nobody', 'd1')).toEqual([true, false]);
});

test('where nobody of the file may be asked for, no target is read', async () => {
  const { parts } = await started();
  expect(await warmUp({ subjects: ['off', 'nobody'], targets: ['d1'] }, parts)).toEqual({ subjects: 2, targets: 0, cause: null });
});

test('a world that is thrown away in the middle is warmed as its successor', async () => {
  const { cache, source, holds, parts } = await started();
  let release = (): void => undefined;
  holds.set('objects', new Promise((resolve) => (release = resolve)));
  const warming = warmUp(hot, parts);
  const { resets } = cache.stats;
  source.touch('*');
  await until(() => resets.everything === 1 && cache.state().fresh, 'the new world');
  holds.clear();
  release();
  expect(await warming).toEqual({ subjects: 300, targets: 700, cause: null });
  expect((await asked(cache, 'u0', 'd0'))[0]).toBe(true);
});

test('a database that does not answer costs the time that was given, and no more', async () => {
  const { holds, parts } = await started();
  holds.set('objects', new Promise(() => undefined));
  const { subjects, cause } = await warmUp(hot, { ...parts, ms: 60 });
  expect([subjects, cause]).toEqual([0, 'not within 60 ms']);
});

test('checks of clients are answered meanwhile', async () => {
  const { cache, parts } = await started();
  const warming = warmUp({ subjects: hot.subjects, targets: hot.targets.slice(0, 600) }, parts);
  const meanwhile = await Promise.all(devices.slice(600).map(({ id }) => asked(cache, 'u1', id)));
  expect(meanwhile.map(([, allow]) => allow)).toEqual(devices.slice(600).map(({ owner }) => owner === 'c'));
  expect((await warming).cause).toBeNull();
});

test('a cache that is closed in the middle ends it', async () => {
  const { cache, holds, parts } = await started();
  holds.set('objects', new Promise(() => undefined));
  const warming = warmUp(hot, parts);
  cache.close();
  expect((await warming).cause).toMatch(/closed/);
});

// ---- the file

function kept(
  path: string,
  { cache, clock }: { cache: PolicyCache; clock: ReturnType<typeof hostClock> },
  part = 'a',
  ms = 5_000,
): { hotSet: HotSet; said: string[] } {
  const said: string[] = [];
  const log = (level: string, event: string, detail: string): void => void said.push(`${level} ${event}: ${detail}`);
  return { hotSet: createHotSet({ path, ms, cache, vocabulary, clock, log, part }), said };
}

test('one process writes what the next one reads, for its owner alone', async () => {
  const path = join(directory, 'handed-on');
  const first = await started();
  const one = kept(path, first);
  await one.hotSet.start();
  expect([one.hotSet.warming, one.said]).toEqual([false, []]);
  await asked(first.cache, 'u3', 'd7');
  await asked(first.cache, 'u4', 'd9');
  await one.hotSet.close();
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect((await readFile(path, 'utf8')).split('\n').slice(1).toSorted()).toEqual(['', 't d7', 't d9', 'u u3', 'u u4']);

  const second = await started();
  const other = kept(path, second);
  expect(other.hotSet.warming).toBe(true);
  await other.hotSet.start();
  expect(other.hotSet.warming).toBe(false);
  expect(other.said).toEqual([expect.stringMatching(/^info warmed: 2 of 2 users and 2 of 2 targets in \d+ ms$/)]);
  expect(await asked(second.cache, 'u3', 'd7')).toEqual([true, true]);
  await other.hotSet.close();
  expect((await readdir(directory)).filter((name) => name.includes('partial'))).toEqual([]);
});

test('it is written every few minutes too, for a process that ends without an end', async () => {
  const path = join(directory, 'meanwhile');
  const { cache, clock } = await started();
  const due: (() => void)[] = [];
  const { hotSet, said } = kept(path, { cache, clock: { now: () => clock.now(), after: (_, f) => (due.push(f), () => undefined) } });
  await hotSet.start();
  for (const target of ['d7', 'd8']) {
    await asked(cache, 'u3', target);
    expect(due).toHaveLength(1);
    due.pop()!();
    await until(() => due.length === 1, 'the next time');
    expect((await readHotSet(path)).targets).toContain(target);
  }
  expect(said).toEqual([]);
  await hotSet.close();
});

test('a process that was asked nothing leaves the file as it is', async () => {
  const path = join(directory, 'left');
  await writeHotSet(path, { subjects: ['gone'], targets: [] }, 'x');
  const before = await readFile(path, 'utf8');
  const { cache, clock } = await started();
  const { hotSet } = kept(path, { cache, clock });
  await hotSet.start();
  await hotSet.close();
  expect(await readFile(path, 'utf8')).toBe(before);
});

test('a warm-up that ended early, and a world that was thrown away, wear nothing away: what was asked since comes first', async () => {
  const path = join(directory, 'worn');
  await writeHotSet(path, hot, 'x');
  const running = await started();
  running.holds.set('objects', new Promise(() => undefined));
  const { hotSet, said } = kept(path, running, 'a', 60);
  await hotSet.start();
  expect(said).toEqual([expect.stringMatching(/^warn warmed: 0 of 300 users.*not within 60 ms$/)]);
  running.holds.clear();
  running.source.touch('*');
  await until(() => running.cache.stats.resets.everything === 1 && running.cache.state().fresh, 'the new world');
  await asked(running.cache, 'u299', 'd699');
  await hotSet.close();
  expect(await readHotSet(path)).toEqual({ subjects: ['u299', ...hot.subjects.slice(0, -1)], targets: ['d699', ...hot.targets.slice(0, -1)] });
});

test('two processes with one file, as workers have it: the last one that writes adds to what the other one wrote', async () => {
  const path = join(directory, 'of-two');
  await writeHotSet(path, { subjects: ['before'], targets: [] }, 'x');
  const both = [await started(), await started()];
  const [one, other] = both.map((running, i) => kept(path, running, `worker-${i + 1}`)) as [ReturnType<typeof kept>, ReturnType<typeof kept>];
  await Promise.all([one.hotSet.start(), other.hotSet.start()]);
  await asked(both[0]!.cache, 'u3', 'd7');
  await asked(both[1]!.cache, 'u4', 'd9');
  await one.hotSet.close();
  await other.hotSet.close();
  const { subjects, targets } = await readHotSet(path);
  expect([subjects.toSorted(), targets.toSorted()]).toEqual([
    ['before', 'u3', 'u4'],
    ['d7', 'd9'],
  ]);
});

test('what a process left that was killed while it wrote is replaced by the next one, never written to', async () => {
  const path = join(directory, 'left-behind');
  const partial = `${path}.worker-1.partial`;
  const elsewhere = join(directory, 'elsewhere');
  await writeFile(elsewhere, 'mine');
  for (const leave of [() => writeFile(partial, 'half'), () => symlink(elsewhere, partial), () => link(elsewhere, partial)]) {
    await leave();
    await writeHotSet(path, { subjects: ['u1'], targets: [] }, 'worker-1');
    expect(await readHotSet(path)).toEqual({ subjects: ['u1'], targets: [] });
    expect((await readdir(directory)).filter((name) => name.includes('partial'))).toEqual([]);
    expect(await readFile(elsewhere, 'utf8')).toBe('mine');
  }
});

test('of two that write under one name at the same time the first one gives up, and takes nothing of the other one away', async () => {
  const path = join(directory, 'at-once');
  const [first, second] = [await openOutput(path, { flag: 'x', part: 'p' }), await openOutput(path, { flag: 'x', part: 'p' })];
  await first.write('first');
  await second.write('second');
  await expect(first.commit()).rejects.toThrow(/another process writes it/);
  first.discard();
  await second.commit();
  second.discard();
  expect(await readFile(path, 'utf8')).toBe('second');
});

test.each<[string, (path: string) => Promise<unknown>, RegExp]>([
  ['something else', (path) => writeFile(path, '{"subjects":["u1"]}'), /first line/],
  ['of bytes that are no text', (path) => writeFile(path, Buffer.from([0xff, 0xfe, 0, 10])), /first line/],
  ['a directory', (path) => rm(path, { force: true }).then(() => symlink(directory, path)), /no file|EISDIR/],
  ['endless', (path) => symlink('/dev/zero', path), /no file/],
  ['too large', (path) => writeFile(path, Buffer.alloc(30_000_000, 'u ')), /bytes/],
  ['not for us', (path) => symlink(join(directory, 'loop'), path), /ELOOP/],
])('a file that is %s is a line in the log', async (name, make, problem) => {
  const path = name === 'not for us' ? join(directory, 'loop') : join(directory, `broken-${name}`);
  await make(path);
  const { cache, clock } = await started();
  const { hotSet, said } = kept(path, { cache, clock });
  await hotSet.start();
  expect([hotSet.warming, said]).toEqual([false, [expect.stringMatching(problem)]]);
  await hotSet.close();
});

test('where it cannot be written, that is a line in the log', async () => {
  const running = await started();
  const { hotSet, said } = kept(join(directory, 'nowhere', 'hot'), running);
  await hotSet.start();
  await asked(running.cache, 'u3', 'd7');
  await hotSet.close();
  expect(said).toEqual([expect.stringMatching(/^warn hot-set: cache\.hotSet: .*nowhere.* cannot be written/)]);
});

test('of a file that was tampered with, ids are taken, so many at the most, and nothing else', async () => {
  const head = 'grantgate: ids that were asked about';
  expect(await parseHotSet(`${head}\nu a\nt b\nx c\nu \nu bad\u0001id\nt ${'y'.repeat(256)}\n\nu a\nt b`)).toEqual({ subjects: ['a'], targets: ['b'] });
  const many = await parseHotSet(
    [head, ...Array.from({ length: MOST.subjects + 5 }, (_, i) => `u ${i}`), ...Array.from({ length: MOST.targets + 5 }, (_, i) => `t ${i}`)].join('\n'),
  );
  expect([many.subjects.length, many.targets.length]).toEqual([MOST.subjects, MOST.targets]);
  const path = join(directory, 'open');
  await writeHotSet(path, { subjects: ['u é'], targets: ['a b'] }, 'x');
  await chmod(path, 0o666);
  expect(await readHotSet(path)).toEqual({ subjects: ['u é'], targets: ['a b'] });
  expect(await readHotSet(path, { subjects: ['b'], targets: ['c'] })).toEqual({ subjects: ['b', 'u é'], targets: ['c', 'a b'] });
  expect(await readHotSet(join(directory, 'none'))).toEqual({ subjects: [], targets: [] });
});
