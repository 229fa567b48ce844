// Is a request by a key answered by a state of the database in which the key is good, whatever happens while it waits?
//
// The real authorize.ts, opaque.ts and pdp.ts over the real cache, in every state that each small world can come to, nearest first; in wider
// worlds as far as GRANTGATE_MODEL_STATES says. Then each of their rules is taken away in turn, which must show. What the cache alone
// promises of keys: policy-cache/test/coherence.*.

import { afterAll, describe, expect, test } from 'vitest';
import { explore, walk } from '../../policy-cache/test/coherence.explore.ts';
import { newModel } from '../../policy-cache/test/coherence.model.ts';
import { TIMEOUT, count, print, randomOf, statesEach } from '../../policy-cache/test/coherence.run.ts';
import type { Configuration } from '../../policy-cache/test/coherence.steps.ts';
import { ACTING, ALONE, DEEP, ENDS, MUTATIONS } from './coherence.request.mutations.ts';
import { serviceOf } from './coherence.service.ts';

const STATES = statesEach(3_000);
/** More than any mutation that breaks something needs. */
const ENOUGH = 100_000;
const RULES = STATES >= ENOUGH ? [...MUTATIONS, ...DEEP] : MUTATIONS;
const HEAL_EVERY = 10;
const WALK_STEPS = 80;
const seed = Number(process.env['GRANTGATE_SEED'] ?? (Date.now() ^ (process.pid << 15)) & 0x7fffffff);

const WHOLE: Readonly<Record<string, Configuration>> = {
  'session that ends, user who is switched off': { ...ALONE, kinds: ['k', 'k gone', 'u off'], commits: 2 },
  'the same, from an empty cache': { ...ALONE, start: 'empty', kinds: ['k gone', 'u off'], commits: 2 },
  'session of somebody else, who is switched off': { ...ALONE, kinds: ['k other', 'a off'], commits: 2 },
  'session that somebody takes over, who is switched off': { ...ALONE, kinds: ['k actor', 'a off'], commits: 2 },
  'session whose time is over': ENDS,
  'acting, gaps between an answer and what is done with it': { ...ACTING, kinds: ['k gone', 'a off'], commits: 2, gaps: true, start: 'empty' },
  'acting, user and actor switched off': { ...ACTING, kinds: ['u off', 'a off'], commits: 2 },
  'acting, user who moves or goes, session that ends': { ...ACTING, kinds: ['u moved', 'k gone', 'k, u gone'], commits: 2 },
};
const WIDE: Readonly<Record<string, Configuration>> = {
  'acting, evictions, fail-over': { ...ACTING, kinds: ['k', 'k gone', 'u moved', 'a off'], commits: 3, evicts: true, failOver: 'both', without: [] },
  'acting, time, RESET': { kinds: ['k', 'k actor', 'k other', 'u', 'a off', '*'], commits: 3, acting: true, ends: 2, start: 'empty' },
};

const WALK: Configuration = {
  kinds: ['k', 'k gone', 'k actor', 'k other', 'k, u gone', 'every k', 'u', 'u off', 'u moved', 'a off', 'A', 'every o', '*'],
  commits: 5,
  acting: true,
  ends: 4,
  start: 'request',
  failOver: 'both',
  trims: true,
  late: true,
  slowLoads: true,
  evicts: true,
};

const total = { states: 0, answers: 0, broken: 0 };
async function search(name: string, configuration: Configuration, states: number): Promise<boolean> {
  const { code, service } = await serviceOf([]);
  const found = explore(newModel(code, configuration, service), { states, healEvery: HEAL_EVERY });
  const reach = found.exhausted ? `all of them, ${found.depth} steps deep` : `all within ${found.depth} steps`;
  print(`model of requests: ${name}: ${count(found.states)} states, ${count(found.transitions)} transitions, ${reach}, ${count(found.answers)} answers judged`);
  total.states += found.states;
  total.answers += found.answers;
  if (found.trace !== null) total.broken++;
  expect(found.trace).toBeNull();
  expect(found.answers).toBeGreaterThan(found.states / 20);
  return found.exhausted;
}

describe('every order of events', () => {
  test.each(Object.entries(WHOLE))('%s', async (name, configuration) => expect(await search(name, configuration, Infinity)).toBe(true), TIMEOUT);
});

describe('every order of events, as far as it goes', () => {
  test.each(Object.entries(WIDE))('%s', async (name, configuration) => void (await search(name, configuration, STATES)), TIMEOUT);
});

test(
  'random walks',
  async () => {
    const { code, service } = await serviceOf([]);
    const { walks, states, answers, trace } = walk(newModel(code, WALK, service), { random: randomOf(seed), steps: WALK_STEPS, states: STATES });
    print(`model of requests: ${count(walks)} walks, ${count(states)} states, ${count(answers)} answers judged; GRANTGATE_SEED=${seed} replays them`);
    if (trace !== null) print(trace.join(' · '));
    expect(trace).toBeNull();
    expect(answers).toBeGreaterThan(states / 10);
  },
  TIMEOUT,
);

const intact = new Map<Configuration, number>();
test.each(RULES.map((mutation) => [mutation.rule, mutation] as const))(
  'without: %s',
  async (rule, { patches = [], in: configuration, breaks }) => {
    const { code, service } = await serviceOf(patches);
    const expected = typeof breaks === 'string' ? breaks : null;
    const found = explore(newModel(code, configuration, service), { states: ENOUGH, healEvery: Infinity });
    const { trace, states } = found;
    print(`without "${rule}": ${trace === null ? `nothing in ${count(states)} states` : `after ${trace.length - 1} steps: ${trace.join(' · ')}`}`);
    expect(trace?.at(-1)?.slice(0, 2) ?? null).toBe(expected);
    if (trace !== null) await expectIntact(configuration, trace.length - 1);
  },
  TIMEOUT,
);

/** The code as it is, in the same small world and as far, breaks nothing. */
async function expectIntact(configuration: Configuration, depth: number): Promise<void> {
  if ((intact.get(configuration) ?? -1) >= depth) return;
  const { code, service } = await serviceOf([]);
  const found = explore(newModel(code, configuration, service), { states: Infinity, depth, healEvery: Infinity });
  expect(found.trace).toBeNull();
  intact.set(configuration, depth);
}

afterAll(() => print(`model of requests: ${count(total.states)} states, ${count(total.answers)} answers judged, ${total.broken} broken promises`));
