// Does the protocol's code keep its promises in every order of events?
//
// The real follower and cache, in every state that each small world can come to, nearest first; in wider worlds as far as
// GRANTGATE_MODEL_STATES says; and along random walks with everything at once. What is asked in each state: coherence.check.ts.

import { afterAll, describe, expect, test } from 'vitest';
import { codeOf } from './coherence.code.ts';
import { WALKS, WHOLE, WIDE } from './coherence.configurations.ts';
import { explore, walk } from './coherence.explore.ts';
import type { Explored } from './coherence.explore.ts';
import { newModel } from './coherence.model.ts';
import { TIMEOUT, count, print, randomOf, statesEach } from './coherence.run.ts';
import type { Configuration } from './coherence.steps.ts';
import { seed } from './support.ts';

const STATES = statesEach(5_000);
const HEAL_EVERY = 10;
const WALK_STEPS = 80;
const began = performance.now();
const searched: Explored[] = [];
const walked = { states: 0, answers: 0, broken: 0 };

async function search(name: string, configuration: Configuration, states: number): Promise<Explored> {
  const found = explore(newModel(await codeOf([]), configuration), { states, healEvery: HEAL_EVERY });
  const reach = found.exhausted ? `all of them, ${found.depth} steps deep` : `all within ${found.depth} steps`;
  print(`model: ${name}: ${count(found.states)} states, ${count(found.transitions)} transitions, ${reach}, ${count(found.answers)} answers judged`);
  searched.push(found);
  expect(found.trace).toBeNull();
  expect(found.answers).toBeGreaterThan(found.states / 20);
  return found;
}

describe('every order of events', () => {
  test.each(Object.entries(WHOLE))(
    '%s',
    async (name, configuration) => {
      const found = await search(name, configuration, Infinity);
      expect(found.exhausted).toBe(true);
    },
    TIMEOUT,
  );
});

describe('every order of events, as far as it goes', () => {
  test.each(Object.entries(WIDE))(
    '%s',
    async (name, configuration) => {
      const found = await search(name, configuration, STATES);
      expect(found.exhausted || found.states >= STATES).toBe(true);
    },
    TIMEOUT,
  );
});

describe('random walks', () => {
  test.each(Object.entries(WALKS))(
    '%s',
    async (name, configuration) => {
      const model = newModel(await codeOf([]), configuration);
      const { walks, states, answers, trace } = walk(model, { random: randomOf(seed), steps: WALK_STEPS, states: STATES });
      print(`model: ${name}: ${count(walks)} walks, ${count(states)} states, ${count(answers)} answers judged; GRANTGATE_SEED=${seed} replays them`);
      walked.states += states;
      walked.answers += answers;
      walked.broken += trace === null ? 0 : 1;
      expect(trace).toBeNull();
      expect(answers).toBeGreaterThan(states / 10);
    },
    TIMEOUT,
  );
});

afterAll(() => {
  const sum = (of: (found: Explored) => number): number => searched.reduce((total, found) => total + of(found), 0);
  const whole = searched.filter(({ exhausted }) => exhausted).length;
  const broken = searched.filter(({ trace }) => trace !== null).length + walked.broken;
  print(
    `model: ${searched.length} configurations (${whole} of them to the end), ${count(sum(({ states }) => states))} states, ` +
      `${count(sum(({ transitions }) => transitions))} transitions, ${count(walked.states)} states of random walks, ` +
      `${count(sum(({ answers }) => answers) + walked.answers)} answers judged, ${broken} broken promises, ${((performance.now() - began) / 1_000).toFixed(0)} s`,
  );
});
