// `grantgate check`: may this user…? Decided in this process, by the library, at the newest state of the database.

import { InputError, PolicyCache, formatRevision, parseId, type AccessRequest, type CheckStatus, type Vocabulary } from 'policy-cache';
import { postgresSource } from 'policy-cache/postgres';
import { hostClock } from '../clock.ts';
import { databaseOptions } from '../database.ts';
import { loadVocabulary } from '../policy.ts';
import { print, type Context, type ExitCode } from './host.ts';

export interface CheckQuestion {
  readonly user: string;
  readonly operation: string;
  readonly resource: string;
  readonly target?: string;
  readonly owner?: string;
  readonly group?: readonly string[];
}

const START_LIMIT_MS = 10_000;
/** Nobody waits behind this process, and its first fill warms new connections. */
const DEADLINE_MS = 5000;

export async function checkCommand(context: Context, question: CheckQuestion): Promise<ExitCode> {
  const { host } = context;
  const { settings } = context.config();
  const vocabulary = loadVocabulary({ vocabulary: settings.vocabulary.file, readFile: host.readFile });
  const request = requestFrom(vocabulary, question);
  const cache = new PolicyCache({ vocabulary, source: postgresSource(databaseOptions(settings, host.readFile)), clock: hostClock(), random: host.random });
  cache.start();
  try {
    await cache.ready(START_LIMIT_MS);
    const status: CheckStatus = { tenant: '', customer: '', revision: null, hit: false };
    const decision = await cache.check(request, status, { atLeast: 'latest', deadline: DEADLINE_MS });
    const revision = status.revision === null ? null : formatRevision(status.revision);
    print(context, `${decision.allow ? 'allow' : 'deny'}  reason ${decision.reason}  rule ${decision.rule}  revision ${revision ?? '-'}`, {
      decision: decision.allow ? 'allow' : 'deny',
      reason: decision.reason,
      rule: decision.rule,
      revision,
      tenant: status.tenant,
      customer: status.customer,
    });
    return decision.allow ? 0 : 1;
  } finally {
    cache.close();
  }
}

/** The question in numbers: names are upper-cased and looked up exactly, as at a door. @throws InputError */
export function requestFrom(vocabulary: Vocabulary, question: CheckQuestion): AccessRequest {
  if (question.target === undefined) throw new InputError('--target', "is missing: an id, or '*' (in quotes) for any of the resource, and for CREATE");
  return {
    subject: parseId(question.user, '--user'),
    operation: vocabulary.operation(question.operation.toUpperCase()),
    resource: vocabulary.resource(question.resource.toUpperCase()),
    target: parseId(question.target, '--target'),
    ...(question.owner === undefined ? {} : { owner: parseId(question.owner, '--owner') }),
    ...(question.group === undefined ? {} : { groups: question.group.map((group) => parseId(group, '--group')) }),
  };
}
