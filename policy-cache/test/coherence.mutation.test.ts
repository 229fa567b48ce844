// Is each rule of the protocol there for something, and would the model see it go?
//
// One rule at a time is taken out of the real code, or out of what the database keeps; the shortest way to a broken promise is printed.
// The intact code, in the same small world and as far, breaks none.

import { afterAll, expect, test } from 'vitest';
import { codeOf } from './coherence.code.ts';
import { explore } from './coherence.explore.ts';
import { newModel } from './coherence.model.ts';
import { MUTATIONS } from './coherence.mutations.ts';
import { TIMEOUT, count, print, statesEach } from './coherence.run.ts';
import type { Configuration } from './coherence.steps.ts';

/** How far a rule is searched that is expected to break nothing; most such worlds end before. */
const STATES = statesEach(35_000);
/** More than any that breaks something needs. */
const ENOUGH = 100_000;
const began = performance.now();
const intact = new Map<Configuration, number>();
const outcomes = { caught: 0, none: 0 };

test.each(MUTATIONS.map((mutation) => [mutation.rule, mutation] as const))(
  'without: %s',
  async (rule, { patches = [], faults = {}, in: configuration, breaks }) => {
    const expected = typeof breaks === 'string' ? breaks : null;
    // I6 would be broken first by many that break a harder promise, so it is asked only where it is the one.
    const healEvery = expected === 'I6' ? 1 : Infinity;
    const bounds = { states: expected === null ? STATES : ENOUGH, healEvery };
    const { trace, states, depth, exhausted } = explore(newModel(await codeOf(patches), { ...configuration, faults }), bounds);
    const nothing = `nothing in ${count(states)} states, ${exhausted ? 'which are all' : `${depth} steps deep`}`;
    print(`without "${rule}": ${trace === null ? nothing : `after ${trace.length - 1} steps: ${trace.join(' · ')}`}`);
    expect(trace?.at(-1)?.slice(0, 2) ?? null).toBe(expected);
    if (expected === null) outcomes.none++;
    else await expectIntact(configuration, { depth: trace!.length - 1, healEvery });
    if (expected !== null) outcomes.caught++;
  },
  TIMEOUT,
);

async function expectIntact(configuration: Configuration, { depth, healEvery }: { depth: number; healEvery: number }): Promise<void> {
  if ((intact.get(configuration) ?? -1) >= depth) return;
  const found = explore(newModel(await codeOf([]), configuration), { states: Infinity, depth, healEvery });
  expect(found.trace).toBeNull();
  expect(found.exhausted || found.depth >= depth).toBe(true);
  intact.set(configuration, depth);
}

afterAll(() => {
  const redundant = MUTATIONS.filter(({ breaks }) => typeof breaks !== 'string').length;
  print(
    `mutations: ${outcomes.caught} of ${MUTATIONS.length - redundant} caught, ${redundant} expected to give none (${outcomes.none} gave none), ` +
      `${((performance.now() - began) / 1_000).toFixed(0)} s`,
  );
});
