// May this subject do this? Asked as the AuthZEN Authorization API 1.0 asks: Access Evaluation, one question.
//
// 200 is a decision and nothing else. What is not there, not known or not named by the vocabulary is a decision too (false); a
// question that is no question is 400, and "cannot decide" is 503, never false. AuthZEN's action is our operation; it is
// translated here and nowhere else.

import type { Context, MiddlewareHandler } from 'hono';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { ANY, InputError, PolicyError, formatRevision, parseId, requestOf } from 'policy-cache';
import type { Clock, Vocabulary } from 'policy-cache';
import { z } from 'zod';
import type { Pdp, Ruling } from '../pdp.ts';
import { parseAtLeast } from '../pdp.ts';
import type { CheckReport, TraceCheck } from '../report.ts';
import type { RequireKey } from './credentials.ts';
import { BODY_BYTES, isObject, parseJsonObject } from './json.ts';
import { problem, reply } from './problems.ts';
import type { ProblemCode } from './problems.ts';

export interface AuthzenParts {
  readonly pdp: Pdp;
  readonly vocabulary: Vocabulary;
  readonly clock: Clock;
  /** A new decision id for each check. */
  readonly nextId: () => string;
  /** Told of every answered check. */
  readonly report: (check: CheckReport) => void;
  /** Default: no check is traced. */
  readonly trace?: TraceCheck | null;
}

const PATH = '/access/v1/evaluation';
const AT_LEAST = 'X-Authz-At-Least';
/** Groups that something new may be put into, in one question: each is read from the database. */
const GROUPS = 100;

const text = z.string('must be a string');
const properties = z.custom<object>(isObject, 'must be an object').nullish();
const entity = z.object({ type: text, id: text, properties }, 'must be an object with type and id');
const evaluation = z.object({
  subject: entity,
  action: z.object({ name: text, properties }, 'must be an object with name'),
  resource: entity,
  context: properties,
});
const placement = z.object({
  owner: text.nullish(),
  groups: z.array(text, 'must be a list of strings').max(GROUPS, `must be ${GROUPS} at most`).nullish(),
});

interface Question {
  /** By names, and by ids that may exist. */
  readonly asked: Parameters<typeof requestOf>[1];
  /** As the caller spelt it. */
  readonly subject: string;
}

type Draft = { -readonly [K in keyof CheckReport]: CheckReport[K] };
type Env = { Variables: { draft: Draft } };

export function authzenRoutes(parts: AuthzenParts, requireKey: RequireKey): Hono<Env> {
  const { pdp, vocabulary, clock, nextId, report, trace = null } = parts;
  const app = new Hono<Env>();

  const reported: MiddlewareHandler<Env> = async (c, next) => {
    const started = clock.now();
    const draft = newDraft(nextId(), c.req.header('x-request-id') ?? '');
    if (trace !== null) draft.span = trace(c.req.header('traceparent') ?? '', c.req.header('tracestate') ?? '');
    c.set('draft', draft);
    await next();
    // Who leaves in the middle of a question has met no fault of ours.
    if (c.error !== undefined && c.req.raw.signal.aborted) Object.assign(draft, { verdict: 'unmapped', reason: 'bad-request' } satisfies Partial<Draft>);
    draft.durationMs = clock.now() - started;
    try {
      report(draft);
    } catch {
      // It is answered. A line or a count that is lost must not turn a decision into an error.
    }
  };

  const refuse = (c: Context<Env>, status: 400 | 405 | 413, code: ProblemCode, detail: string): Response => {
    Object.assign(c.get('draft'), { verdict: 'unmapped', reason: code } satisfies Partial<Draft>);
    return problem({ status, code, detail, ...(status === 405 ? { headers: { allow: 'POST' } } : {}) });
  };

  const decided = (draft: Draft, { decision, status }: Ruling): Response => {
    if (status.revision === null) throw new Error('a decision without a revision');
    const { allow, reason, rule } = decision;
    const { tenant, hit } = status;
    Object.assign(draft, {
      verdict: allow ? 'permit' : 'deny',
      reason,
      rule,
      revision: status.revision,
      tenant,
      cache: hit ? 'hit' : 'miss',
    } satisfies Partial<Draft>);
    const revision = formatRevision(status.revision);
    return reply(
      { decision: allow, context: { reason, rule, revision } },
      { headers: { 'x-authz-revision': revision, 'x-authz-decision-id': draft.decisionId } },
    );
  };

  const undecided = (draft: Draft, { code, message }: PolicyError): Response => {
    draft.reason = code;
    return problem({ status: 503, code, detail: message });
  };

  const keyed = requireKey<Env>((c, code) => void Object.assign(c.get('draft'), { verdict: 'unauthenticated', reason: code } satisfies Partial<Draft>));
  const bounded = bodyLimit({
    maxSize: BODY_BYTES,
    onError: (c: Context<Env>) => refuse(c, 413, 'too-large', `the body must be ${BODY_BYTES} bytes at most`),
  });
  app.use(PATH, reported, keyed);
  app.post(PATH, bounded, async (c) => {
    const draft = c.get('draft');
    if (!isJson(c.req.header('content-type'))) return refuse(c, 400, 'media-type', 'Content-Type must be application/json');
    const token = c.req.header(AT_LEAST);
    const atLeast = token === undefined ? undefined : parseAtLeast(token);
    if (atLeast === null) return refuse(c, 400, 'bad-revision', tokenProblem(token!));
    const body = parseJsonObject(await c.req.arrayBuffer());
    if ('wrong' in body) return refuse(c, 400, 'bad-request', body.wrong);
    const question = questionOf(vocabulary, body.value);
    if ('wrong' in question) return refuse(c, 400, 'bad-request', question.wrong);
    const { asked, subject } = question;
    const { operation, resource, target } = asked;
    Object.assign(draft, { subject, operation, resource, target } satisfies Partial<Draft>);
    try {
      return decided(draft, await pdp.check([requestOf(vocabulary, asked)], atLeast, draft.span ?? undefined));
    } catch (error) {
      if (error instanceof PolicyError) return undecided(draft, error);
      throw error;
    }
  });
  app.all(PATH, (c) => refuse(c, 405, 'method', 'ask by POST'));
  return app;
}

function questionOf(vocabulary: Vocabulary, value: object): Question | { readonly wrong: string } {
  const parsed = evaluation.safeParse(value);
  if (!parsed.success) return { wrong: sentence(parsed.error) };
  const { subject, action, resource } = parsed.data;
  const asked = {
    user: subject.type === 'user' ? possible(subject.id) : IMPOSSIBLE,
    operation: action.name,
    resource: resource.type,
    target: possible(resource.id),
  };
  // Placement comes from our data only, but for what is not there yet (semantics 4.7): elsewhere these properties change nothing.
  if (resource.id !== ANY || vocabulary.operation(action.name) !== vocabulary.createOperation) return { asked, subject: subject.id };
  const placed = placement.safeParse(resource.properties ?? {});
  if (!placed.success) return { wrong: sentence(placed.error, ['resource', 'properties']) };
  const { owner, groups } = placed.data;
  return {
    asked: { ...asked, ...(typeof owner === 'string' ? { owner: possible(owner) } : {}), ...(Array.isArray(groups) ? { groups: groups.map(possible) } : {}) },
    subject: subject.id,
  };
}

/** Paths and what must be there, never what was there. */
function sentence({ issues }: z.ZodError, within: readonly PropertyKey[] = []): string {
  return issues.map(({ path, message }) => `${[...within, ...path].map(String).join('.')} ${message}`).join('; ');
}

/** Begins as no row's id may (the schema refuses it), and names no owner: known to nobody, without a query each time. */
const IMPOSSIBLE = 'all:';

/** The id, or one that is nobody's in place of one that cannot be: U+0000 is an error to Postgres, and a lone surrogate another id. */
function possible(id: string): string {
  try {
    return parseId(id);
  } catch (error) {
    if (error instanceof InputError) return IMPOSSIBLE;
    throw error;
  }
}

/** The media type alone, in any case: parameters mean nothing. */
function isJson(type: string | undefined): boolean {
  return type !== undefined && /^application\/json[ \t]*(?:;|$)/i.test(type);
}

function tokenProblem(token: string): string {
  const got = JSON.stringify(token.slice(0, 100));
  const fix = 'send one revision, as X-Authz-Revision of an answer or a write gave it, or latest';
  return token.includes(',') ? `${AT_LEAST} was sent more than once (${got}): ${fix}` : `${AT_LEAST} is neither a revision nor latest (${got}): ${fix}`;
}

function newDraft(decisionId: string, requestId: string): Draft {
  return {
    decisionId,
    requestId,
    verdict: 'unavailable',
    reason: 'internal',
    rule: '',
    revision: null,
    protocol: 'authzen',
    method: '',
    route: '',
    resource: '',
    operation: '',
    target: '',
    subject: '',
    tenant: '',
    cache: 'none',
    durationMs: 0,
  };
}
