// What is an observer told of the work behind a check, and does it stay what it is: something told, never something that decides?

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { PolicyCache } from '../src/cache.ts';
import { requestOf } from '../src/compile.ts';
import { MemorySource } from '../src/memory.ts';
import type { Held } from '../src/memory.ts';
import type { AccessRequest } from '../src/model.ts';
import type { Work } from '../src/observer.ts';
import type { Attachment, Source } from '../src/source.ts';
import { compileVocabulary } from '../src/vocabulary.ts';
import { parseWorldFile } from '../src/worldfile.ts';
import { FakeClock, settle } from './fakeclock.ts';

const vocabulary = compileVocabulary(parse(readFileSync(new URL('../vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));
const { world } = parseWorldFile({
  tenants: [{ id: 't' }],
  groups: [{ id: 'staff', type: 'USER', owner: 't' }],
  users: ['ann', 'ben'].map((id) => ({ id, owner: 't', groups: ['staff'] })),
  entities: ['d1', 'd2'].map((id) => ({ id, type: 'DEVICE', owner: 't' })),
  roles: [{ id: 'reader', owner: 't', type: 'GENERIC', permissions: { DEVICE: ['READ'] } }],
  grants: [{ userGroup: 'staff', role: 'reader' }],
});

/** `fail`: what each next reading of objects rejects with. */
async function started(told?: (work: Work) => void) {
  const clock = new FakeClock();
  const holds = new Map<Held, Promise<void>>();
  const fail: Error[] = [];
  const works: Work[] = [];
  let commits = 0;
  const memory = new MemorySource({ world, newId: () => `00000000-0000-4000-8000-${String(commits++).padStart(12, '0')}`, hold: (what) => holds.get(what) });
  const source: Source = {
    async attach(on): Promise<Attachment> {
      const inner = await memory.attach(on);
      return {
        pull: (request) => inner.pull(request),
        load: (take) => inner.load(take),
        close: () => inner.close(),
        classes: (keys) => inner.classes(keys),
        keys: (hashes) => inner.keys(hashes),
        objects: (ids) => (fail.length > 0 ? Promise.reject(fail.shift()!) : inner.objects(ids)),
      };
    },
  };
  const cache = new PolicyCache({ vocabulary, source, clock, random: () => 0.5, observer: { worked: told ?? ((work) => works.push(work)) } });
  cache.start();
  await clock.advance(1);
  await cache.ready(0);
  const hold = (what: Held): (() => Promise<void>) => {
    let release: () => void = () => undefined;
    holds.set(what, new Promise((resolve) => (release = resolve)));
    return async () => {
      holds.delete(what);
      release();
      await settle();
    };
  };
  const fills = (): Extract<Work, { kind: 'fill' }>[] => works.flatMap((work) => (work.kind === 'fill' ? [work] : []));
  return { cache, clock, memory, hold, fail, works, fills };
}

const ask = (user: string, target: string): AccessRequest => requestOf(vocabulary, { user, operation: 'READ', resource: 'DEVICE', target });
const [one, two, three] = [{ name: 'one' }, { name: 'two' }, { name: 'three' }];

test('fills that a traced check waited for, with its trace and those of the others that waited', async () => {
  const { cache, clock, hold, fills } = await started();
  const release = hold('objects');
  const asked = [
    cache.check(ask('ann', 'd1'), undefined, { trace: one }),
    cache.check(ask('ann', 'd2'), undefined, { trace: two }),
    cache.check(ask('ann', 'd1')),
  ];
  await clock.advance(7);
  await release();
  await Promise.all(asked);
  const shown = fills().map(({ of, keys, refused, error, traces }) => ({ of, keys, refused, error, traces }));
  const good = { keys: 1, refused: 0, error: null };
  expect(shown[0], 'the subject').toEqual({ ...good, of: 'object', traces: [one, two] });
  expect(shown.slice(1).toSorted((a, b) => a.of.localeCompare(b.of) || a.traces.indexOf(two) - b.traces.indexOf(two))).toEqual([
    { ...good, of: 'class', traces: [one, two] },
    { ...good, of: 'object', traces: [one] },
    { ...good, of: 'object', traces: [two] },
  ]);
  expect(fills()[0]!.ms).toBe(7);
  await cache.check(ask('ann', 'd1'), undefined, { trace: three });
  await cache.check(ask('ben', 'd1'));
  expect(fills().length, 'from memory, and without a trace').toBe(4);
});

test('an answer that was overtaken, one that fails, one that comes when its check was given up', async () => {
  const { cache, clock, memory, hold, fail, fills } = await started();
  let release = hold('objects');
  const overtaken = cache.check(ask('ann', 'd1'), undefined, { trace: one });
  memory.commit((tables) => tables.setEnabled('ann', false));
  await clock.advance(5);
  await release();
  expect(await overtaken).toMatchObject({ allow: false, reason: 'subject-disabled' });
  expect(
    fills()
      .filter(({ refused }) => refused > 0)
      .map(({ traces, keys, refused }) => [traces, keys, refused]),
  ).toEqual([[[one], 1, 1]]);

  fail.push(new Error('no answer'));
  expect((await cache.check(ask('ben', 'd1'), undefined, { trace: two })).allow).toBe(true);
  expect(fills().filter(({ error }) => error !== null)).toMatchObject([{ error: { message: 'no answer' }, traces: [two], refused: 0 }]);

  release = hold('objects');
  const late = cache.check(ask('ben', 'd2'), undefined, { trace: three, deadline: 50 });
  const refused = Promise.resolve(late).catch((error: unknown) => error);
  await clock.advance(60);
  expect(await refused).toMatchObject({ code: 'deadline' });
  await release();
  expect(fills().at(-1)).toMatchObject({ traces: [three], ms: 60, error: null });
});

test('the attach, the first world, and what each pull brought', async () => {
  const { clock, memory, works } = await started();
  const kinds = works.map(({ kind }) => kind);
  expect(kinds.slice(0, 3).toSorted()).toEqual(['attach', 'pull', 'reset']);
  expect(works.find(({ kind }) => kind === 'attach')).toMatchObject({ failures: 0, error: null });
  expect(works.find(({ kind }) => kind === 'reset')).toMatchObject({ cause: 'start', nodes: 1, error: null });
  const before = works.length;
  memory.commit((tables) => tables.setEnabled('ann', false));
  await clock.advance(1);
  expect(works.slice(before)).toMatchObject([{ kind: 'pull', cause: 'ring', error: null }]);
  expect((works[before] as Extract<Work, { kind: 'pull' }>).changes).toBeGreaterThan(0);
  await clock.advance(250);
  expect(works.at(-1)).toMatchObject({ kind: 'pull', cause: 'beat', changes: 0 });
});

test('an observer that throws costs nothing but what it was told', async () => {
  const { cache } = await started(() => {
    throw new Error('of the observer');
  });
  expect((await cache.check(ask('ann', 'd1'), undefined, { trace: one })).allow).toBe(true);
});
