// `grantgate check --world`: do worlds give the decisions that they say they give?
//
// Each file is a world and its own checks; they are decided by the library, without a database. For rules kept in a repository.

import { compileWorld, requestOf, worldProblems, type Vocabulary, type WorldCheck } from 'policy-cache';
import type { ImportProblem } from 'policy-cache/postgres';
import { loadVocabulary } from '../policy.ts';
import { firstOf, nameProblems, readWorlds, type PlacedWorld } from '../worldfiles.ts';
import { counted, problemLines, readTexts } from './import.ts';
import type { Context, ExitCode } from './host.ts';

interface Failure {
  readonly file: string;
  readonly line: number | null;
  readonly check: string;
  readonly expected: string;
  readonly got: string;
}

export function checkWorldsCommand(context: Context, files: readonly string[]): ExitCode {
  const { host, json } = context;
  const vocabulary = loadVocabulary({ vocabulary: context.config().settings.vocabulary.file, readFile: host.readFile });
  const { texts, unread } = readTexts(files, host.readFile);
  const { worlds, problems } = readWorlds(texts);
  const broken: ImportProblem[] = [...unread, ...problems, ...nameProblems(vocabulary, worlds)];
  const failures: Failure[] = [];
  let checks = 0;
  for (const world of worlds) {
    const wrong = worldProblems(world.world);
    for (const { path, message } of wrong) broken.push({ file: world.file, line: world.lineOf(path), path, field: '', message, fix: '' });
    if (wrong.length > 0) continue;
    checks += world.world.checks.length;
    for (const failure of runChecks(vocabulary, world)) failures.push(failure);
  }
  if (json) host.stdout.write(`${JSON.stringify({ checks, failed: failures.length, failures, problems: broken })}\n`);
  else {
    host.stderr.write(problemLines(firstOf(broken)));
    for (const { file, line, check, expected, got } of failures)
      host.stdout.write(`${file}${line === null ? '' : `:${line}`}: ${check}: expected ${expected}, got ${got}\n`);
    host.stdout.write(`${checks} checks, ${failures.length} failed${broken.length > 0 ? `, not all were run: ${counted(broken.length)}` : ''}\n`);
  }
  return broken.length > 0 ? 2 : failures.length > 0 ? 1 : 0;
}

function runChecks(vocabulary: Vocabulary, placed: PlacedWorld): readonly Failure[] {
  const { file, world } = placed;
  const compiled = compileWorld(vocabulary, world);
  return world.checks.flatMap((check, i): Failure[] => {
    const { allow, reason, rule } = compiled.decide(requestOf(vocabulary, check));
    const decision = allow ? 'allow' : 'deny';
    const right = decision === check.expect && (check.reason ?? reason) === reason && (check.rule ?? rule) === rule;
    if (right) return [];
    return [
      {
        file,
        line: placed.lineOf(`checks[${i}]`),
        check: describe(check),
        expected: outcome({ decision: check.expect, reason: check.reason, rule: check.rule }),
        got: outcome({ decision, reason, rule }),
      },
    ];
  });
}

function describe({ user, operation, resource, target, owner, groups }: WorldCheck): string {
  return [
    user,
    operation,
    resource,
    target,
    ...(owner === undefined ? [] : [`owner ${owner}`]),
    ...(groups === undefined ? [] : [`groups ${groups.join(',')}`]),
  ].join(' ');
}

function outcome({ decision, reason, rule }: { decision: string; reason: string | undefined; rule: string | undefined }): string {
  const parts = [...(reason === undefined ? [] : [reason]), ...(rule === undefined ? [] : [`rule ${rule}`])];
  return parts.length === 0 ? decision : `${decision} (${parts.join(', ')})`;
}
