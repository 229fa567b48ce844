// Does an allow cost no memory? (semantics 4, "Purity")

import fc from 'fast-check';
import { DECISIONS, compileWorld, decide, requestOf } from 'policy-cache';
import { expect, test } from 'vitest';
import { bytesPerCall } from './allocation.ts';
import { samples } from './arbitraries.ts';
import { names, triple, vocabulary } from './support.ts';
import type { AccessRequest, Facts } from 'policy-cache';

interface Case {
  readonly name: string;
  readonly facts: Facts;
  readonly request: AccessRequest;
}

/** Cases by answer, out of worlds that are the same in every run. */
function casesByAnswer(): ReadonlyMap<string, readonly Case[]> {
  const cases = new Map<string, Case[]>();
  for (const { world, questions } of fc.sample(samples(names, 50), { seed: 1, numRuns: 300 })) {
    const compiled = compileWorld(vocabulary, world);
    for (const request of questions.map((question) => requestOf(vocabulary, question))) {
      const facts = compiled.facts(request);
      const name = triple(decide(vocabulary, facts, request));
      cases.set(name, [...(cases.get(name) ?? []), { name, facts, request }]);
    }
  }
  return cases;
}

const all = casesByAnswer();
const allows = DECISIONS.filter(({ allow }) => allow).map(triple);

test.each(allows)('%s', (answer) => {
  const cases = (all.get(answer) ?? []).slice(0, 16);
  expect(cases.length, 'cases').toBe(16);
  let wrong = 0;
  const bytes = bytesPerCall((i) => {
    const { facts, request, name } = cases[i & 15]!;
    if (decide(vocabulary, facts, request).allow !== (name === answer)) wrong++;
  });
  expect(wrong).toBe(0);
  expect(bytes).toBeLessThan(1);
});

test('and the measure sees an allocation', () => {
  let kept: object = {};
  expect(bytesPerCall((i) => (kept = { i, kept: null }))).toBeGreaterThan(16);
  expect(kept).toBeDefined();
});
