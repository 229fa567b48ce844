// What do the tests of the core share? The vocabulary, the budget and the seed of a random run.

import { readFileSync } from 'node:fs';
import { compileVocabulary, compileWorld, requestOf } from 'policy-cache';
import { parse } from 'yaml';
import type { Attachment, Decision, Revision, TreeRow, WorldFile } from 'policy-cache';
import type { Answer, Names, Question } from './reference.ts';

/** The shipped vocabulary, as the parsed file (the reference reads that) and compiled. */
export const names = parse(readFileSync(new URL('../vocabulary/thingsboard.yaml', import.meta.url), 'utf8')) as Names;
export const vocabulary = compileVocabulary(names);

/** Checks of a random run: `GRANTGATE_CHECKS`, 100,000 by default. */
export const checks = wholeNumber('GRANTGATE_CHECKS') ?? 100_000;

/** `GRANTGATE_SEED` replays a run; printed by every run. */
export const seed = wholeNumber('GRANTGATE_SEED') ?? (Date.now() ^ (process.pid << 15)) & 0x7fffffff;

export function answerOf({ allow, reason, rule }: Decision): Answer {
  return { allow, reason, rule };
}

export function triple({ allow, reason, rule }: Answer): string {
  return `${rule} ${allow ? 'allow' : 'deny'} ${reason}`;
}

/** What the core answers to each question, as text. */
export function answers(world: WorldFile, questions: readonly Question[]): readonly string[] {
  const compiled = compileWorld(vocabulary, world);
  return questions.map((question) => triple(compiled.decide(requestOf(vocabulary, question))));
}

export function wholeNumber(name: string): number | null {
  const text = process.env[name];
  if (text === undefined || text === '') return null;
  if (!/^[0-9]{1,10}$/.test(text)) throw new Error(`${name}: expected a whole number, got ${JSON.stringify(text)}`);
  return Number(text);
}

/** The whole owner tree of a source, with its stamp. */
export async function loadAll(attachment: Attachment): Promise<{ readonly stamp: Revision; readonly tree: readonly TreeRow[] }> {
  const parts: (readonly TreeRow[])[] = [];
  const stamp = await attachment.load((rows) => void parts.push(rows));
  return { stamp, tree: parts.flat() };
}
