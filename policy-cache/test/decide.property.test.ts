// Does the core decide what the specification says, on worlds that nobody thought of?

import fc from 'fast-check';
import { DECISIONS, compileWorld, requestOf } from 'policy-cache';
import { expect, test } from 'vitest';
import { samples } from './arbitraries.ts';
import { reference } from './reference.ts';
import { answerOf, checks, names, seed, triple, vocabulary } from './support.ts';

const QUESTIONS = 50;

test('the core and the specification give the same decision, reason and rule', { timeout: 600_000 }, () => {
  const counts = new Map(DECISIONS.map((decision) => [triple(decision), 0]));
  console.log(`differential: GRANTGATE_SEED=${seed}`); // also when it fails
  fc.assert(fc.property(samples(names, QUESTIONS), ({ world, questions }) => {
    const compiled = compileWorld(vocabulary, world);
    const ask = reference(names, world);
    for (const question of questions) {
      const expected = ask(question);
      expect(answerOf(compiled.decide(requestOf(vocabulary, question))), JSON.stringify(question)).toEqual(expected);
      counts.set(triple(expected), (counts.get(triple(expected)) ?? 0) + 1);
    }
  }), { seed, numRuns: Math.ceil(checks / QUESTIONS) });
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const lines = [...counts].map(([name, count]) => `  ${name.padEnd(28)} ${String(count).padStart(8)}  ${((100 * count) / total).toFixed(2)} %`);
  console.log(`differential: ${total} checks, 0 differences\n${lines.join('\n')}`);
  expect([...counts.keys()].toSorted(), 'no answer that the core does not know').toEqual(DECISIONS.map(triple).toSorted());
  if (total < 100_000) return; // too few to count
  const rare = [...counts].filter(([, count]) => count < total * 0.005);
  expect(rare, 'every possible answer is at least 0.5 % of a run, else the run proves nothing of it').toEqual([]);
});
