// What is served below /v1? Tenants, customers, users, groups, roles, grants and entities, each a collection of the same verbs.
//
// A route reads the request and names an action; who may do it, how it is written and what the audit log says of it is the action's
// and the performer's (perform.ts). The OpenAPI document is made of the same schemas that check what comes.

import { Hono, type MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { parseJsonObject } from '../json.ts';
import { problem, reply } from '../problems.ts';
import type { Addition } from './addition.ts';
import { auditRoutes } from './audit.ts';
import type { CallerProblem } from './caller.ts';
import { COLLECTIONS, collectionRoutes, groupRoutes, readable, type CollectionParts } from './collections.ts';
import { CHALLENGE, refusalAnswer } from './http.ts';
import { importRoutes, type ImportParts } from './imports.ts';
import { listRoutes, type ListParts } from './listing.ts';
import { keyRoutes, type KeyParts } from './keys.ts';
import { readOne } from './model.ts';
import type { Caller } from './needs.ts';
import { reported, type ReportParts } from './reported.ts';
import { createRoutes, isJson, type AdminEnv } from './route.ts';
import * as schemas from './schemas.ts';
import { tenantRoutes } from './tenants.ts';

export interface AdminParts extends CollectionParts, KeyParts, ListParts {
  /** Who asks, by `Authorization`. */
  readonly caller: (authorization: string | undefined) => Promise<Caller | CallerProblem>;
  readonly version: string;
  /** What else there is, below /v1/auth without a credential too; absent: nothing. */
  readonly addition?: Addition | undefined;
  /** Who is told what was decided; absent: nobody. */
  readonly decisions?: ReportParts | undefined;
  /** Absent: worlds are imported otherwise. */
  readonly imports?: ImportParts | undefined;
}

/** 100,000 members of 36 characters each. */
const BODY_BYTES = 8 * 1024 * 1024;
/** An e-mail and a password. */
const OPEN_BODY_BYTES = 16 * 1024;
const WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

const limited = (maxSize: number): MiddlewareHandler<AdminEnv> =>
  bodyLimit({ maxSize, onError: () => problem({ status: 413, code: 'too-large', detail: `the body must be ${maxSize} bytes at most` }) });

const jsonObject: MiddlewareHandler<AdminEnv> = async (c, next) => {
  if (!WITH_BODY.has(c.req.method)) return next();
  const bytes = await c.req.arrayBuffer();
  // A form is told that it is none of what is read here, not where it is no JSON.
  if (bytes.byteLength > 0 && !isJson(c))
    return problem({ status: 415, code: 'media-type', detail: 'Content-Type: must be application/json', more: { field: 'Content-Type' } });
  const body = parseJsonObject(bytes);
  return 'wrong' in body ? problem({ status: 400, code: 'bad-request', detail: body.wrong }) : next();
};

export function adminRoutes(parts: AdminParts): Hono<AdminEnv> {
  const { writer, authority, caller, version } = parts;
  const app = new Hono<AdminEnv>();
  if (parts.decisions !== undefined) app.use('/v1/*', reported(parts.decisions));

  const routes = createRoutes(app);
  if (parts.addition !== undefined) {
    const { addition } = parts;
    // Before anybody is asked who it is; so little of a body is read, and none of whoever comes too often: that is most of what a refusal costs.
    const admitted: MiddlewareHandler<AdminEnv> = async (c, next) => {
      if (WITH_BODY.has(c.req.method)) await addition.admit(c);
      return next();
    };
    app.use('/v1/auth/*', admitted, limited(OPEN_BODY_BYTES), jsonObject);
    addition.open(routes);
  }
  // Who asks, before anything of the body is read.
  app.use('/v1/*', async (c, next) => {
    const asked = await caller(c.req.header('authorization'));
    if ('problem' in asked) {
      const detail = asked.problem === 'no-credential' ? 'send Authorization: Bearer and a token, once' : `the credential is refused: ${asked.problem}`;
      return problem({ status: 401, code: 'bad-credential', detail, headers: CHALLENGE, more: { reason: asked.problem } });
    }
    c.set('who', await authority.identify(asked));
    return next();
  });
  // Before bodies are read whole: this one never is.
  if (parts.imports !== undefined) importRoutes(routes, parts.imports);
  const whole = limited(BODY_BYTES);
  // What is below /v1/auth was read by the smaller limit; a body is read once.
  app.use('/v1/*', (c, next) => (parts.addition !== undefined && c.req.path.startsWith('/v1/auth/') ? next() : whole(c, next)), jsonObject);
  app.onError((error) => {
    const answer = refusalAnswer(error);
    if (answer === null) throw error;
    return answer;
  });

  routes.add({
    method: 'get',
    path: '/v1/me',
    summary: 'Who am I?',
    answer: { status: 200, description: 'The caller.', schema: schemas.me },
    handle({ c }) {
      const { caller: who, tenant, owner } = c.get('who');
      const { kind, subject, actor } = who.kind === 'user' ? who : ({ kind: 'operator', subject: '', actor: '' } as const);
      return reply({ kind, subject, actor, tenant, owner });
    },
  });
  tenantRoutes(routes, parts, async (who, id) => readable(parts, who, await writer.read((db) => readOne(db, who, { list: 'tenants', id }))));
  for (const list of COLLECTIONS) collectionRoutes(routes, list, parts);
  groupRoutes(routes, parts);
  listRoutes(routes, parts);
  auditRoutes(routes, parts);
  keyRoutes(routes, parts);
  parts.addition?.known(routes);

  let document: object | null = null;
  app.get('/v1/openapi.json', () => reply((document ??= routes.document(version))));
  app.all('/v1/*', async (c, next) => {
    const methods = routes.methodsOf(c.req.path);
    if (methods.length === 0) return next();
    const allow = methods.join(', ');
    return problem({ status: 405, code: 'method', detail: `${c.req.method} is not asked here: ${allow}`, headers: { allow } });
  });
  return app;
}
