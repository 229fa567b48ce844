// Does every world of the corpus answer as its file says, by the specification and by the core?

import { readFileSync, readdirSync } from 'node:fs';
import { compileWorld, parseWorldFile, requestOf, vocabularyProblems, worldProblems } from 'policy-cache';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { reference } from './reference.ts';
import { answerOf, names, vocabulary } from './support.ts';
import type { WorldCheck } from 'policy-cache';
import type { Answer } from './reference.ts';

const folder = new URL('../../test/corpus/worlds/', import.meta.url);
const files = readdirSync(folder).filter((file) => file.endsWith('.yaml'));
const ran = { specification: 0, core: 0 };

/** What the check does not name is not compared. */
function expected({ expect: decision, reason, rule }: WorldCheck, got: Answer): Answer {
  return { allow: decision === 'allow', reason: reason ?? got.reason, rule: rule ?? got.rule };
}

describe.each(files)('%s', (file) => {
  const text = readFileSync(new URL(file, folder), 'utf8');
  const { world, problems } = parseWorldFile(parse(text));
  test('is a world', () => {
    expect(problems).toEqual([]);
    expect(worldProblems(world)).toEqual([]);
    expect(vocabularyProblems(vocabulary, world)).toEqual([]);
  });

  const ask = reference(names, world);
  const compiled = compileWorld(vocabulary, world);
  test.each(world.checks.map((check, i) => [i + 1, check] as const))('check %i', (_, check) => {
    const specified = ask(check);
    expect(specified, 'specification').toEqual(expected(check, specified));
    ran.specification++;
    const decided = answerOf(compiled.decide(requestOf(vocabulary, check)));
    expect(decided, 'core').toEqual(expected(check, specified));
    expect(decided, 'core beside specification').toEqual(specified);
    ran.core++;
  });
});

test('and no check was left out', () => {
  // Counted in the text, so that a check that the parser dropped is missed here.
  const there = files.reduce((sum, file) => sum + (readFileSync(new URL(file, folder), 'utf8').match(/^\s*- \{ user: .*\bexpect:/gm) ?? []).length, 0);
  console.log(`worlds: ${there} checks in ${files.length} files; specification ${ran.specification}, core ${ran.core}`);
  expect(files.length).toBeGreaterThanOrEqual(5);
  expect(there).toBeGreaterThan(50);
  expect(ran).toEqual({ specification: there, core: there });
});
