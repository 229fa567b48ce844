// Are the answers that grantgate and its peers are held against right? Those of the benchmark's own decision function (loadtest/peers),
// against the library's, for every question; a revoke takes from both of its users what they ask for.

import { readFileSync } from 'node:fs';
import { compileVocabulary, compileWorld, parseWorldFile, requestOf, worldProblems, type CompiledWorld } from 'policy-cache';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { createQueries, createRevokes } from '../../loadtest/peers/queries.mjs';
import { reference } from '../../loadtest/peers/reference.mjs';
import { createWorld, rowsOf } from '../../loadtest/peers/world.mjs';

/** The benchmark's own. */
const SEED = 1;
const vocabulary = compileVocabulary(parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));

test('every answer', () => {
  const world = createWorld(SEED);
  const judge = reference(world);
  const decide = compiled(rowsOf(world));
  const queries = createQueries(world, judge, SEED);
  const differ = queries.filter(({ user, operation, device, allow }) => {
    const decision = decide({ user, operation, device });
    return decision.allow !== allow || decision.rule !== judge.decide(user, operation, device).rule;
  });
  expect(differ).toEqual([]);
  const distinct = new Set(queries.map(({ user, operation, device }) => `${user} ${operation} ${device}`));
  const kinds = queries.map(({ user, operation, device }) => judge.decide(user, operation, device)).map(({ rule, inSubtree }) => `${rule} ${inSubtree}`);
  console.log(`${distinct.size} questions,`, counts(kinds));
  expect(distinct.size).toBe(10_000);

  const revokes = createRevokes(world, judge);
  const asked = new Set(queries.map(({ user }) => user));
  const silent = revokes.flatMap(({ asker, first }) => [asker.user, first.user]);
  expect(silent.filter((user) => asked.has(user))).toEqual([]);
  expect(new Set(silent).size).toBe(silent.length);
  expect(revokes.length).toBeGreaterThan(30);
  for (const { grant, asker, first } of revokes.filter((_, i) => i % 32 === 0)) {
    const without = compiled(rowsOf({ ...world, grants: world.grants.filter(({ id }) => id !== grant.id) }));
    for (const question of [asker, first]) expect([decide(question).allow, without(question).allow]).toEqual([true, false]);
  }
});

type Question = Readonly<Record<'user' | 'operation' | 'device', string>>;

function compiled(rows: readonly { readonly kind: string }[]): (question: Question) => ReturnType<CompiledWorld['decide']> {
  const lists: Record<string, object[]> = {};
  for (const { kind, ...fields } of rows) (lists[kind] ??= []).push(fields);
  const { world, problems } = parseWorldFile(lists);
  expect([...problems, ...worldProblems(world)]).toEqual([]);
  const { decide } = compileWorld(vocabulary, world);
  return ({ user, operation, device }) => decide(requestOf(vocabulary, { user, operation, resource: 'DEVICE', target: device }));
}

function counts(values: readonly string[]): Readonly<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const value of values) found[value] = (found[value] ?? 0) + 1;
  return found;
}
