// Does the core decide what the specification says, on worlds that nobody thought of?

import fc from 'fast-check';
import { DECISIONS, compileVocabulary, compileWorld, requestOf } from 'policy-cache';
import { expect, test } from 'vitest';
import { samples } from './arbitraries.ts';
import { reference } from './reference.ts';
import { checks, names, seed, triple, vocabulary } from './support.ts';

const QUESTIONS = 50;

test('the core and the specification give the same decision, reason and rule', { timeout: 600_000 }, () => {
  const counts = new Map(DECISIONS.map((decision) => [triple(decision), 0]));
  console.log(`differential: GRANTGATE_SEED=${seed}`); // also when it fails
  fc.assert(
    fc.property(samples(names, QUESTIONS), ({ world, questions }) => {
      const compiled = compileWorld(vocabulary, world);
      const ask = reference(names, world);
      for (const question of questions) {
        const specified = triple(ask(question));
        const decided = triple(compiled.decide(requestOf(vocabulary, question)));
        if (decided !== specified) expect(decided, JSON.stringify(question)).toBe(specified);
        counts.set(specified, (counts.get(specified) ?? 0) + 1);
      }
    }),
    { seed, numRuns: Math.ceil(checks / QUESTIONS) },
  );
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const lines = [...counts].map(([name, count]) => `  ${name.padEnd(28)} ${String(count).padStart(8)}  ${((100 * count) / total).toFixed(2)} %`);
  console.log(`differential: ${total} checks, 0 differences\n${lines.join('\n')}`);
  expect([...counts.keys()].toSorted(), 'no answer that the core does not know').toEqual(DECISIONS.map(triple).toSorted());
  if (total < 100_000) return; // too few to count
  const rare = [...counts].filter(([, count]) => count < total * 0.005);
  expect(rare, 'every possible answer is at least 0.5 % of a run, else the run proves nothing of it').toEqual([]);
});

// Another product's file (semantics 2): a rule whose name is not in it never fires.
const foreign = [
  {
    name: 'bare',
    operations: ['READ', 'WRITE'],
    resources: ['USER', 'DEVICE', 'DEVICE_GROUP', 'USER_GROUP'],
    groupResource: { DEVICE: 'DEVICE_GROUP', USER: 'USER_GROUP' },
  },
  {
    name: 'own words',
    operations: ['CREATE', 'READ', 'DELETE', 'FLY'],
    resources: ['USER', 'CUSTOMER', 'DEVICE', 'FLEET', 'CREW', 'ASSET'],
    groupResource: { DEVICE: 'FLEET', USER: 'CREW' },
    entityResource: { ALARM: 'DEVICE', NOTIFICATION_RULE: 'ASSET' },
    notInGroupRoles: ['FLY'],
    ownerOnlyOperations: ['READ'],
    ownerOnlyGroupOperations: ['CREATE'],
    selfOperations: ['FLY'],
    closedToCustomerUsers: ['ASSET'],
  },
  {
    name: 'nothing made by groups',
    operations: ['CREATE', 'READ'],
    resources: ['USER', 'DEVICE', 'FLEET', 'CREW'],
    groupResource: { DEVICE: 'FLEET', USER: 'CREW' },
    notInGroupRoles: ['CREATE'],
  },
];
test.each(foreign)('and with the vocabulary of another product: $name', (file) => {
  const compiledFile = compileVocabulary(file);
  const answered = new Set<string>();
  fc.assert(
    fc.property(samples(file, QUESTIONS), ({ world, questions }) => {
      const compiled = compileWorld(compiledFile, world);
      const ask = reference(file, world);
      for (const question of questions) {
        const specified = triple(ask(question));
        const decided = triple(compiled.decide(requestOf(compiledFile, question)));
        if (decided !== specified) expect(decided, JSON.stringify(question)).toBe(specified);
        answered.add(specified);
      }
    }),
    { seed, numRuns: 200 },
  );
  expect(answered.has('6b allow group') && answered.has('6a allow generic')).toBe(true);
});
