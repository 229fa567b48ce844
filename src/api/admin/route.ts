// What is a route? Schemas of what comes and goes, and what is done: the same value answers the request and is its place in the document.

import { OpenAPIRegistry, OpenApiGeneratorV31, type RouteConfig } from '@asteasolutions/zod-to-openapi';
import type { Context, Hono } from 'hono';
import { z } from 'zod';
import { problem } from '../problems.ts';
import type { Who } from './needs.ts';
import { problemSchema } from './schemas.ts';
import { checkedBy } from './wording.ts';

export interface AdminEnv {
  Variables: { who: Who };
}

/** `P`: of the path, `Q`: of the query, `B`: of the body. */
export interface Route<P, Q, B> {
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  /** As OpenAPI writes it: `/v1/users/{id}`. */
  readonly path: string;
  readonly summary: string;
  readonly params?: z.ZodObject & z.ZodType<P>;
  readonly query?: z.ZodObject & z.ZodType<Q>;
  readonly body?: z.ZodType<B>;
  /** Whoever has no credential yet may ask it. */
  readonly open?: boolean;
  /** A body of this type that `handle` reads itself. */
  readonly consumes?: { readonly type: string; readonly description: string };
  /** It reads `If-Match`. */
  readonly conditional?: boolean;
  readonly answer: {
    readonly status: 200 | 201 | 202;
    readonly description: string;
    readonly schema: z.ZodType;
    /** Default: JSON. */
    readonly media?: 'text/html';
    /** It is one object, with its ETag. */
    readonly tagged?: boolean;
    /** It is a change, with its revision. */
    readonly changes?: boolean;
  };
  readonly handle: (asked: { readonly c: Context<AdminEnv>; readonly params: P; readonly query: Q; readonly body: B }) => Response | Promise<Response>;
}

export interface Routes {
  add<P, Q, B>(route: Route<P, Q, B>): void;
  /** Methods by which a path that was added is asked; none: there is no such path. */
  methodsOf(path: string): readonly string[];
  /** The OpenAPI document of what was added. */
  document(version: string): object;
}

/** Said by Node, before anybody reads the request: it has no body. */
const TOO_LONG = { description: 'The path with its query, or the headers, are too long.' };
const PROBLEMS: Readonly<Record<number, string>> = {
  400: 'The request is malformed.',
  401: 'Nobody is known by this credential.',
  403: 'The caller may not: `reason` and `rule` say why.',
  404: 'There is no such thing, as far as the caller can know.',
  408: 'The body comes too slowly.',
  409: 'The id is used already.',
  412: 'It is not as `If-Match`, or the tag of an item, says: `current` is what it is.',
  413: 'The body is too large.',
  415: 'The body is not JSON.',
  422: 'A rule of the access model is against it.',
  429: 'Too often: `Retry-After` says in how many seconds again.',
  503: 'It cannot be decided or done now.',
};
const TEXT = { type: 'string' } as const;

/** Adds routes to the app, and to a document. */
export function createRoutes(app: Hono<AdminEnv>): Routes {
  const registry = new OpenAPIRegistry();
  registry.registerComponent('securitySchemes', 'bearer', {
    type: 'http',
    scheme: 'bearer',
    description: "A user's credential, as at the doors (a token, an API key), or the operator's secret.",
  });
  const paths: { readonly method: string; readonly pattern: RegExp }[] = [];
  return {
    add(route) {
      registry.registerPath(documented(route));
      paths.push({ method: route.method.toUpperCase(), pattern: new RegExp(`^${route.path.replaceAll('.', '\\.').replaceAll(/\{\w+\}/g, '[^/]+')}$`) });
      app.on(route.method.toUpperCase(), route.path.replaceAll(/\{(\w+)\}/g, ':$1'), async (c) => {
        const { params, query, body } = route;
        const wrong: Wrong[] = isEncoded(c.req.raw.url) ? [] : [NOT_ENCODED];
        const read = {
          c,
          params: parsed({ schema: params, given: () => c.req.param(), whole: 'path' }, wrong),
          query: parsed({ schema: query, given: () => queryOf(c, wrong), whole: 'query' }, wrong),
          body: parsed({ schema: body, given: body === undefined ? () => undefined : await bodyOf(c, wrong), whole: 'body' }, wrong),
        };
        // Made all the same, a change would look as if its condition had held.
        if (route.method !== 'get' && route.conditional !== true && c.req.header('if-match') !== undefined)
          wrong.push({ status: 400, field: 'If-Match', message: 'is not read here: it is for changes of one object' });
        if (route.consumes !== undefined && !isOfType(c, route.consumes.type))
          wrong.unshift({ status: 415, field: 'Content-Type', message: `must be ${route.consumes.type}` });
        const [first] = wrong;
        if (first !== undefined) {
          const detail = wrong.map(({ field, message }) => `${field}: ${message}`).join('; ');
          return problem({ status: first.status, code: first.status === 415 ? 'media-type' : 'bad-request', detail, more: { field: first.field } });
        }
        return route.handle(read as Parameters<typeof route.handle>[0]);
      });
    },
    methodsOf(path) {
      const methods = paths.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method);
      return [...new Set(methods.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method])))].toSorted();
    },
    document(version) {
      return new OpenApiGeneratorV31(registry.definitions).generateDocument({
        openapi: '3.1.0',
        info: {
          title: 'grantgate: administration',
          version,
          description: 'Tenants, customers, users, groups, roles, grants and entities. Whoever asks can do what its own effective permissions allow.',
        },
        servers: [{ url: '/' }],
      });
    },
  };
}

interface Wrong {
  readonly status: 400 | 415;
  readonly field: string;
  readonly message: string;
}

interface Parsing<T> {
  readonly schema: z.ZodType<T> | undefined;
  readonly given: () => unknown;
  /** What a mistake of no field is said of. */
  readonly whole: string;
}

function parsed<T>({ schema, given, whole }: Parsing<T>, wrong: Wrong[]): T | undefined {
  if (schema === undefined || wrong.length > 0) return undefined;
  const checked = checkedBy(schema, given(), whole);
  if ('value' in checked) return checked.value;
  for (const mistake of checked.mistakes) wrong.push({ status: 400, ...mistake });
  return undefined;
}

const NOT_ENCODED: Wrong = { status: 400, field: 'path', message: 'the path, or the query, is not percent-encoded UTF-8: write % as %25' };

/** Else it would be taken as it stands: `%` and `%25` would be the same id, and `%ff` one. */
function isEncoded(url: string): boolean {
  try {
    decodeURIComponent(url);
    return true;
  } catch {
    return false;
  }
}

/** Who reads the first of two, and who the last, is not to be guessed. */
function queryOf(c: Context, wrong: Wrong[]): Readonly<Record<string, string>> {
  const all = Object.entries(c.req.queries());
  for (const [field, { length }] of all) if (length > 1) wrong.push({ status: 400, field, message: `is there ${length} times: say it once` });
  return Object.fromEntries(all.map(([field, [first = '']]) => [field, first]));
}

function isOfType(c: Context, type: string): boolean {
  return (c.req.header('content-type') ?? '').split(';')[0]!.trim().toLowerCase() === type;
}

/** By what it says of itself. */
export function isJson(c: Context): boolean {
  return /^application\/(?:json|merge-patch\+json)[ \t]*(?:;|$)/i.test(c.req.header('content-type') ?? '');
}

/** That it is JSON was seen before (app.ts). */
async function bodyOf(c: Context, wrong: Wrong[]): Promise<() => unknown> {
  if (!isJson(c)) wrong.push({ status: 415, field: 'Content-Type', message: 'must be application/json' });
  if (wrong.length > 0) return () => undefined;
  // As a key it is one that no program expects: the schemas leave it out without a word.
  const value: unknown = JSON.parse(await c.req.text(), (key, inner: unknown) => {
    if (key === '__proto__') wrong.push({ status: 400, field: key, message: 'cannot be a name in it' });
    return inner;
  });
  return () => value;
}

/** As clients that are made of the document call it: `patchUsersById`. */
function operationOf(method: string, path: string): string {
  const words = path.slice('/v1/'.length).split(/[/-]/);
  return method + words.map((word) => (word.startsWith('{') ? `By${capital(word.slice(1, -1))}` : capital(word))).join('');
}
function capital(word: string): string {
  return word.slice(0, 1).toUpperCase() + word.slice(1);
}

function documented<P, Q, B>({ method, path, summary, params, query, body, open, consumes, conditional, answer }: Route<P, Q, B>): RouteConfig {
  const { status, description, schema, media = 'application/json', tagged, changes } = answer;
  const headers = {
    ...(tagged ? { ETag: { schema: TEXT, description: 'A hash of the object, for If-Match.' } } : {}),
    ...(changes ? { 'X-Authz-Revision': { schema: TEXT, description: 'The revision of this change: send it as X-Authz-At-Least to see it.' } } : {}),
  };
  const json = (of: z.ZodType) => ({ 'application/json': { schema: of } });
  const refusals = Object.entries(PROBLEMS).map(([code, words]) => [
    code,
    { description: words, content: { 'application/problem+json': { schema: problemSchema } } },
  ]);
  const ifMatch = z.object({ 'if-match': z.string().optional().openapi({ description: 'Do it only if the object has this ETag.' }) });
  return {
    method,
    path,
    operationId: operationOf(method, path),
    tags: [path.split('/')[2] ?? ''],
    summary,
    security: open ? [] : [{ bearer: [] }],
    request: {
      ...(params ? { params } : {}),
      ...(query ? { query } : {}),
      ...(conditional ? { headers: ifMatch } : {}),
      ...(body ? { body: { required: true, content: json(body) } } : {}),
      ...(consumes ? { body: { required: true, description: consumes.description, content: { [consumes.type]: { schema: TEXT } } } } : {}),
    },
    responses: {
      [status]: { description, headers, content: { [media]: { schema } } },
      ...(Object.fromEntries(refusals) as RouteConfig['responses']),
      431: TOO_LONG,
    },
  };
}
