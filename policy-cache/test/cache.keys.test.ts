// Is an API key an entry like any other: proved before it is served, refused from the commit on that ends it, and never in the way of checks?

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { PolicyCache } from '../src/cache.ts';
import { requestOf } from '../src/compile.ts';
import type { KeyHolder } from '../src/keys.ts';
import { MemorySource, type Held } from '../src/memory.ts';
import type { CacheSettings } from '../src/options.ts';
import { compileVocabulary } from '../src/vocabulary.ts';
import { parseWorldFile } from '../src/worldfile.ts';
import { bytesPerCall } from './allocation.ts';
import { codeOf, type Patch } from './coherence.code.ts';
import { patch } from './coherence.mutation.ts';
import { randomOf } from './coherence.run.ts';
import { FakeClock, settle } from './fakeclock.ts';
import { seed } from './support.ts';

const vocabulary = compileVocabulary(parse(readFileSync(new URL('../vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));
const { world } = parseWorldFile({
  tenants: [{ id: 't' }],
  groups: [{ id: 'staff', type: 'USER', owner: 't' }],
  users: [
    { id: 'ann', owner: 't', groups: ['staff'] },
    { id: 'ben', owner: 't' },
  ],
  entities: [{ id: 'd', type: 'DEVICE', owner: 't' }],
  roles: [{ id: 'reader', owner: 't', type: 'GENERIC', permissions: { DEVICE: ['READ'] } }],
  grants: [{ id: 'g', userGroup: 'staff', role: 'reader' }],
});
const question = requestOf(vocabulary, { user: 'ann', operation: 'READ', resource: 'DEVICE', target: 'd' });
const hash = (number: number): string => number.toString(16).padStart(64, '0');
const END = 1_800_000_000_000;

async function started(settings: Partial<CacheSettings> = {}, Cache: typeof PolicyCache = PolicyCache) {
  const clock = new FakeClock();
  const holds = new Map<Held, Promise<void>>();
  let commits = 0;
  const memory = new MemorySource({ world, newId: () => `00000000-0000-4000-8000-${String(commits++).padStart(12, '0')}`, hold: (what) => holds.get(what) });
  const cache = new Cache({ vocabulary, source: memory, clock, random: () => 0.5, ...settings });
  cache.start();
  await clock.advance(1);
  await cache.ready(0);
  const hold = (what: Held): (() => void) => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    holds.set(what, held);
    return () => {
      if (holds.get(what) === held) holds.delete(what);
      release();
    };
  };
  return { cache, clock, memory, hold };
}

type Answer = KeyHolder | null;
const told = (holder: Answer): Answer => holder && { user: holder.user, actor: holder.actor, expires: holder.expires };
function now(answer: Answer | Promise<Answer>): Answer {
  if (answer instanceof Promise) throw new Error('expected an answer in this turn, got a promise');
  return told(answer);
}
async function code(call: () => unknown): Promise<string> {
  try {
    await call();
    return 'answered';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe('a key', () => {
  test('is read once, then answered in the same turn; one that nobody has likewise, apart', async () => {
    const { cache, memory } = await started();
    memory.commit((tables) => tables.setKey({ hash: hash(1), user: 'ann', actor: '', expires: END }));
    const asked = cache.key(hash(1));
    expect(asked).toBeInstanceOf(Promise);
    expect(told(await asked)).toEqual({ user: 'ann', actor: '', expires: END });
    expect(now(cache.key(hash(1)))).toEqual({ user: 'ann', actor: '', expires: END });
    expect(await cache.key(hash(2))).toBeNull();
    expect(now(cache.key(hash(2)))).toBeNull();
    expect(cache.sizes()).toMatchObject({ keys: 1, absent: 0 });
    expect(cache.stats).toMatchObject({ fills: 2, hits: 0, misses: 0 }); // those are of checks
  });

  test('that is made, changed, taken away, or whose user goes: from the applied commit on', async () => {
    const { cache, clock, memory } = await started();
    const after = async (write: Parameters<typeof memory.commit>[0]): Promise<Answer> => {
      memory.commit(write);
      await clock.advance(1);
      expect(cache.key(hash(1))).toBeInstanceOf(Promise);
      return told(await cache.key(hash(1)));
    };
    expect(await cache.key(hash(1))).toBeNull();
    expect(await after((tables) => tables.setKey({ hash: hash(1), user: 'ann', actor: '', expires: END }))).toEqual({ user: 'ann', actor: '', expires: END });
    expect(await after((tables) => tables.setKey({ hash: hash(1), user: 'ann', actor: '', expires: END + 1 }))).toEqual({
      user: 'ann',
      actor: '',
      expires: END + 1,
    });
    expect(await after((tables) => tables.removeKey(hash(1)))).toBeNull();
    expect(await after((tables) => tables.setKey({ hash: hash(1), user: 'ann', actor: '', expires: END }))).toEqual({ user: 'ann', actor: '', expires: END });
    const acting = { user: 'ann', actor: 'ben', expires: END };
    expect(await after((tables) => tables.setKey({ hash: hash(1), ...acting }))).toEqual(acting);
    expect(now(cache.key(hash(1)))).toEqual(acting);
    expect(await after((tables) => tables.setKey({ hash: hash(1), ...acting, user: 'ben', actor: 'ann' }))).toEqual({ ...acting, user: 'ben', actor: 'ann' });
    expect(await after((tables) => tables.remove('ann')), 'with who has it').toBeNull();
    expect(now(cache.key(hash(1)))).toBeNull();
  });

  test('is not touched by the end of another one, and stays when objects change', async () => {
    const { cache, clock, memory } = await started();
    memory.commit((tables) => [1, 2].forEach((number) => tables.setKey({ hash: hash(number), user: 'ann', actor: '', expires: END })));
    await Promise.all([cache.key(hash(1)), cache.key(hash(2))]);
    memory.commit((tables) => (tables.removeKey(hash(2)), tables.remove('d')));
    await clock.advance(1);
    expect(now(cache.key(hash(1)))).toEqual({ user: 'ann', actor: '', expires: END });
  });

  test('is answered at a revision, at the latest, or not at all', async () => {
    const { cache, clock, memory, hold } = await started();
    memory.commit((tables) => tables.setKey({ hash: hash(1), user: 'ann', actor: '', expires: END }));
    await cache.key(hash(1));
    const release = hold('ring');
    const gone = memory.commit((tables) => tables.removeKey(hash(1)));
    expect(now(cache.key(hash(1)))).not.toBeNull(); // nobody has heard of it
    const [at, latest] = [cache.key(hash(1), { atLeast: gone }), cache.key(hash(1), { atLeast: 'latest' })];
    await clock.advance(1);
    expect(await Promise.all([at, latest])).toEqual([null, null]);
    release();
    expect(await code(() => cache.key(hash(1), { atLeast: { version: gone.version, id: '00000000-0000-4000-8000-00000000ffff' } }))).toBe('history');
  });

  test('cannot be known: without a world, past the lease, past the deadline, refused by `admit`, or closed', async () => {
    const { cache, clock, memory, hold } = await started();
    const release = hold('keys');
    const late = code(() => cache.key(hash(1), { deadline: 50 }));
    await clock.advance(51);
    expect(await late).toBe('deadline');
    release();
    const admit = (): void => {
      throw Object.assign(new Error('full'), { code: 'full' });
    };
    expect(await code(() => cache.key(hash(3), { admit }))).toBe('full');
    memory.stop();
    await clock.advance(3_000);
    expect(await code(() => cache.key(hash(1)))).toBe('stale');
    cache.close();
    expect(await code(() => cache.key(hash(1)))).toBe('starting');
  });

  test('that is in memory is found again for nothing', async () => {
    const { cache, memory } = await started();
    memory.commit((tables) => tables.setKey({ hash: hash(1), user: 'ann', actor: '', expires: END }));
    const first = hash(1);
    await cache.key(first);
    expect(bytesPerCall(() => void cache.key(first))).toBeLessThan(1);
  });
});

test('made-up keys: whatever their number, checks go on, and good keys stay in memory', async () => {
  const { cache, clock, memory, hold } = await started({ limits: { absent: 100, keys: 100 } });
  memory.commit((tables) => tables.setKey({ hash: hash(1), user: 'ann', actor: '', expires: END }));
  await cache.key(hash(1));
  const release = hold('keys');
  const flood = Promise.all(Array.from({ length: 6_000 }, (_, i) => code(() => cache.key(hash(1_000 + i)))));
  expect((await cache.check(question)).allow).toBe(true);
  expect(now(cache.key(hash(1)))).not.toBeNull();
  release();
  await clock.advance(101);
  const codes = await flood;
  expect(codes.filter((each) => each === 'overload').length).toBeGreaterThan(900);
  for (let i = 0; i < 300; i++) await cache.key(hash(100_000 + i));
  expect(now(cache.key(hash(1)))).toMatchObject({ user: 'ann' });
  expect(cache.sizes().keys).toBe(1);
});

// ---- every answer is the truth at the head, whatever is under way ---------------------------------------------------------

const RUNS = 200;
const STEPS = 60;
const KEYS = 3;

/** @returns what was wrong first; null: nothing */
async function run(Cache: typeof PolicyCache, of: number): Promise<string | null> {
  const below = randomOf(of);
  const { cache, clock, memory, hold } = await started({ maxStaleness: 60_000, limits: { touched: 2 } }, Cache);
  const truth = new Map<number, ReadonlyMap<string, Answer>>();
  let keys = new Map<string, Answer>();
  const note = (): void => void truth.set(memory.revision.version, new Map(keys));
  const wrong: string[] = [];
  const releases: (() => void)[] = [];
  const waiting: Promise<unknown>[] = [];
  const look = (key: string): void => {
    const head = Number.parseInt(cache.state().revision ?? '', 10);
    const answer = cache.key(key, { deadline: 30_000 });
    if (answer instanceof Promise) {
      // Whatever it is told then, a look in the same turn tells the truth.
      waiting.push(answer.then(() => look(key)).catch((error: unknown) => wrong.push(`not answered: ${(error as { code: string }).code}`)));
      return;
    }
    const expected = truth.get(head)?.get(key) ?? null;
    if (JSON.stringify(told(answer)) !== JSON.stringify(expected))
      wrong.push(`at ${head} ${key.at(-1)} is ${JSON.stringify(told(answer))}, not ${JSON.stringify(expected)}`);
  };
  note();
  for (let step = 0; step < STEPS && wrong.length === 0; step++) {
    const key = hash(below(KEYS));
    switch (below(6)) {
      case 0: {
        const holder = keys.get(key) ?? null;
        const next = holder === null || below(2) === 0 ? { user: ['ann', 'ben'][below(2)]!, actor: ['', 'ben'][below(2)]!, expires: END + below(1_000) } : null;
        memory.commit((tables) => (next === null ? tables.removeKey(key) : tables.setKey({ hash: key, ...next })));
        keys = new Map(keys).set(key, next);
        note();
        break;
      }
      case 1:
        // Every key at once; a RESET; a session that ends, and the next one.
        switch (below(12)) {
          case 0:
          case 1:
          case 2:
            memory.touch('k');
            note();
            break;
          case 3:
            memory.touch('*');
            note();
            break;
          case 4:
            memory.stop();
            memory.restart();
            break;
          default:
        }
        break;
      case 2:
        releases.push(hold((['keys', 'pull', 'ring'] as const)[below(3)]!));
        break;
      case 3:
        releases.splice(below(releases.length + 1), 1)[0]?.();
        break;
      case 4:
        await clock.advance(below(20));
        break;
      default:
        look(key);
    }
    await settle();
  }
  for (const release of releases) release();
  await clock.advance(1_000);
  await Promise.all(waiting);
  cache.close();
  return wrong[0] ?? null;
}

async function firstWrong(patches: readonly Patch[]): Promise<string | null> {
  const Cache = patches.length === 0 ? PolicyCache : (await codeOf(patches)).PolicyCache;
  for (let i = 0; i < RUNS; i++) {
    const wrong = await run(Cache, seed + i);
    if (wrong !== null) return `run ${seed + i}: ${wrong}`;
  }
  return null;
}

test(`${RUNS} runs of ${STEPS} steps: every answer is the truth at the head (GRANTGATE_SEED=${seed})`, async () => {
  expect(await firstWrong([])).toBeNull();
});

test.each<readonly [string, Patch]>([
  ['a touched key is served no more', patch('keys', 'if (entry.at < world.floor.k || (world.touched.k.get(hash) ?? 0) > entry.at) return false;', '')],
  ['a key that is forgotten among the touched raises the floor', patch('keys', 'entry.at < world.floor.k || ', '')],
  ['a fill that a change has overtaken is refused', patch('keys', 'if (!provedKey(world, hash, draft)) return false;', 'draft.at = world.head.version;')],
  ['the tag of keys is heard', patch('world', " && tag !== 'k') continue;", ') continue;')],
  ['what is there is not absent any more, and what is absent is not there', patch('keys', 'other.delete(hash);', '')],
])(`without "%s" one is not (GRANTGATE_SEED=${seed})`, async (_, without) => {
  const wrong = await firstWrong([without]);
  process.stdout.write(`${wrong ?? 'nothing'}\n`);
  expect(wrong).not.toBeNull();
});
