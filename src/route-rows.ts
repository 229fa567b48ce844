// What does a route file say, row by row, and is it well said?
//
// A row: `method` (one or a list), `path`, and exactly one of
//   checks: [{ resource, operation, target }, …]   all of them must pass; the three names on the row itself are short for one
//   public: true                                   200 with empty identity headers; the credential is never read
//   authenticated: true                            a valid credential of a subject that exists and is enabled; nothing else
// and, where wanted:
//   closed: 'why'      unmapped whatever else the row says, which stays validated: take the line away to open the row
//   encoded: true      parameters may be percent-encoded (decoded once, checked again as an id)
//   token: { cookie: NAME, origins: [...] }   the token may stand in this cookie, for requests of pages of these origins
//   token: { query: NAME }                    ... or in this parameter of the query, as a WebSocket handshake has it
//   coarse: true       a check whose id is in the body becomes WRITE `*` and CREATE, both of which must pass
// In a path `{name}` is one segment and `{name...}`, last, the rest. `resource` may be "{name}" (upper-cased, looked up exactly)
// or "{name}_GROUP" with any such ending. `target` is "{name}", a constant id, or '*' in so many words. Instead of a target a
// check may say where the door cannot see its id: `in: body`, `in: query`, `in: server` (loaded there). Such a row is unmapped.

import { ANY, InputError, parseId, type Vocabulary } from 'policy-cache';
import { canonical, isMethod, METHODS, type Method } from './target.ts';
import { readTokenPlace, type TokenPlace } from './token-place.ts';

export type Segment = { readonly kind: 'literal'; readonly text: string } | { readonly kind: 'parameter' | 'rest'; readonly name: string };

/** `parameter` is the number of the path's parameter, from 0. */
export interface CheckTemplate {
  readonly resource: number | { readonly parameter: number; readonly ending: string };
  readonly operation: number;
  readonly target: string | { readonly parameter: number };
}

export type HiddenId = 'id-in-body' | 'id-in-query' | 'id-in-server';

export type Access =
  | { readonly kind: 'public' | 'authenticated' }
  | { readonly kind: 'closed'; readonly reason: 'closed' | HiddenId }
  | { readonly kind: 'checks'; readonly checks: readonly CheckTemplate[] };

export interface Row {
  /** From 1, in the order of the file. */
  readonly number: number;
  readonly methods: readonly Method[];
  readonly path: string;
  readonly segments: readonly Segment[];
  readonly encoded: boolean;
  readonly access: Access;
  /** Where else than in a header the credential may stand. */
  readonly token: TokenPlace | null;
}

/** A problem or a warning: the row, the field, what stands there, how to mend it. */
export type Complain = (field: string, problem: string) => void;

type Fields = Readonly<Record<string, unknown>>;

const ROW_FIELDS = ['method', 'path', 'resource', 'operation', 'target', 'in', 'checks', 'public', 'authenticated', 'closed', 'encoded', 'coarse', 'token'];
const CHECK_FIELDS = ['resource', 'operation', 'target', 'in'];
const HIDDEN: ReadonlyMap<unknown, HiddenId> = new Map([
  ['body', 'id-in-body'],
  ['query', 'id-in-query'],
  ['server', 'id-in-server'],
]);

/** Reads one row; null if anything was wrong with it (`problem` was told). `warn` is told of what can never pass. */
export function readRow(value: unknown, number: number, to: { vocabulary: Vocabulary; problem: Complain; warn: Complain }): Row | null {
  if (!isRecord(value)) {
    to.problem('', `expected an object with method and path, got ${show(value)}`);
    return null;
  }
  let sound = true;
  const problem: Complain = (field, text) => {
    sound = false;
    to.problem(field, text);
  };
  unknownFields(value, ROW_FIELDS, problem);
  const methods = readMethods(value['method'], problem);
  const path = typeof value['path'] === 'string' ? value['path'] : '';
  if (path === '') problem('path', `expected a path that starts with /, got ${show(value['path'])}`);
  const segments = path === '' ? [] : readPath(path, problem);
  const encoded = flag(value, 'encoded', problem);
  const coarse = flag(value, 'coarse', problem);
  if (encoded && segments.every((segment) => segment.kind === 'literal')) problem('encoded', 'the path has no parameter; take the line away');
  const access = readAccess(value, { vocabulary: to.vocabulary, segments, coarse, problem, warn: to.warn });
  const token = value['token'] === undefined ? null : readTokenPlace(value['token'], problem);
  if (token !== null && access?.kind === 'public') problem('token', 'a public row never reads a credential; take the line away');
  return sound && access ? { number, methods, path, segments, encoded, access, token } : null;
}

function readMethods(value: unknown, problem: Complain): Method[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (list.length === 0) problem('method', 'an empty list matches nothing; name a method');
  const methods: Method[] = [];
  for (const name of list) {
    if (typeof name !== 'string' || !isMethod(name))
      problem('method', `expected one of ${METHODS.join(', ')} (in capitals) or a list of them, got ${show(name)}`);
    else if (methods.includes(name)) problem('method', `${name} stands there twice`);
    else methods.push(name);
  }
  return methods;
}

const PARAMETER = /^\{([A-Za-z][A-Za-z0-9_]*)(\.\.\.)?\}$/;

function readPath(path: string, problem: Complain): Segment[] {
  const texts = path.split('/').slice(1);
  const names = new Set<string>();
  const segments = texts.map((text, i): Segment => {
    if (!/[{}]/.test(text)) return { kind: 'literal', text };
    const match = PARAMETER.exec(text);
    const name = match?.[1] ?? text;
    if (!match) problem('path', `${show(text)}: a parameter is a whole segment, {name} or, last, {name...}`);
    if (names.has(name)) problem('path', `parameter ${name} stands there twice`);
    names.add(name);
    const rest = match?.[2] !== undefined;
    if (rest && i < texts.length - 1) problem('path', `{${name}...} takes the rest of the path, so it must be the last segment`);
    return { kind: rest ? 'rest' : 'parameter', name };
  });
  const literals = segments.map((segment) => (segment.kind === 'literal' ? segment.text : 'x')).join('/');
  const reading = path.startsWith('/') ? canonical(`/${literals}`) : null;
  if (!reading) problem('path', `expected a path that starts with /, got ${show(path)}`);
  else if (reading.kind === 'refused') problem('path', `no request can have it: ${reading.reason}`);
  else if (reading.percent || reading.path.length !== literals.length + 1) problem('path', 'a literal has no % and no query; write the path alone, decoded');
  return segments;
}

interface RowContext {
  readonly vocabulary: Vocabulary;
  readonly segments: readonly Segment[];
  readonly coarse: boolean;
  readonly problem: Complain;
  readonly warn: Complain;
}

function readAccess(row: Fields, context: RowContext): Access | null {
  const { problem } = context;
  const isPublic = flag(row, 'public', problem);
  const authenticated = flag(row, 'authenticated', problem);
  const short = CHECK_FIELDS.some((field) => row[field] !== undefined);
  const said = [isPublic && 'public', authenticated && 'authenticated', row['checks'] !== undefined && 'checks', short && 'resource, operation, target'].filter(
    Boolean,
  );
  const closed = row['closed'];
  if (closed !== undefined && (typeof closed !== 'string' || closed.trim() === '')) problem('closed', `say why, in words; got ${show(closed)}`);
  if (said.length > 1) problem('', `says ${said.join(' and ')}; keep one of them`);
  if (said.length === 0 && closed === undefined) problem('', "says nothing about access; give it checks, public: true, authenticated: true, or closed: 'why'");
  const checks = short ? [readCheck(row, '', context)] : row['checks'] === undefined ? [] : readChecks(row['checks'], context);
  if (context.coarse && !checks.some((check) => check?.hidden === 'id-in-body')) problem('coarse', 'no check of this row says in: body; take the line away');
  if (closed !== undefined) return { kind: 'closed', reason: 'closed' };
  if (isPublic) return { kind: 'public' };
  if (authenticated) return { kind: 'authenticated' };
  const hidden = checks.find((check) => check?.hidden !== undefined && !(context.coarse && check.hidden === 'id-in-body'))?.hidden;
  if (hidden !== undefined) return { kind: 'closed', reason: hidden };
  return { kind: 'checks', checks: checks.flatMap((check) => check?.templates ?? []) };
}

function readChecks(value: unknown, context: RowContext): (ReadCheck | null)[] {
  if (!Array.isArray(value) || value.length === 0) {
    context.problem('checks', `expected a list of at least one check, got ${show(value)}; "a valid credential is enough" is authenticated: true`);
    return [];
  }
  return value.map((check: unknown, i) => {
    const at = `checks[${i}]`;
    if (!isRecord(check)) {
      context.problem(at, `expected { resource, operation, target }, got ${show(check)}`);
      return null;
    }
    unknownFields(check, CHECK_FIELDS, (field, text) => context.problem(`${at}.${field}`, text));
    return readCheck(check, `${at}.`, context);
  });
}

interface ReadCheck {
  readonly hidden: HiddenId | undefined;
  readonly templates: readonly CheckTemplate[];
}

function readCheck(check: Fields, at: string, context: RowContext): ReadCheck | null {
  const { vocabulary, problem } = context;
  const resource = readResource(check['resource'], `${at}resource`, context);
  const operation = readName(check['operation'], `${at}operation`, { number: (name) => vocabulary.operation(name), problem });
  if (check['in'] !== undefined) {
    const hidden = HIDDEN.get(check['in']);
    if (hidden === undefined) problem(`${at}in`, `expected body, query or server, got ${show(check['in'])}`);
    if (check['target'] !== undefined) problem(`${at}target`, 'the check says in: as well; keep one of them');
    if (resource === null || operation < 0 || hidden === undefined) return null;
    return { hidden, templates: hidden === 'id-in-body' && context.coarse ? coarseTemplates(resource, operation, { at, context }) : [] };
  }
  const target = readTarget(check['target'], `${at}target`, context);
  if (resource === null || operation < 0 || target === null) return null;
  if (typeof resource === 'number' && target !== ANY && isTypeless(vocabulary, resource))
    context.warn(`${at}target`, `no id is ever a ${vocabulary.resources[resource]}, so this never passes; say target: '*'`);
  return { hidden: undefined, templates: [{ resource, operation, target }] };
}

/** With no body to read, the request may make a thing or change one: the caller must be able to do both. */
function coarseTemplates(resource: CheckTemplate['resource'], operation: number, to: { at: string; context: RowContext }): CheckTemplate[] {
  const { vocabulary, problem } = to.context;
  const create = vocabulary.createOperation;
  const write = vocabulary.operation('WRITE');
  if (create < 0 || write < 0) problem('coarse', 'the vocabulary has no CREATE or no WRITE, which is what coarse stands for');
  else if (operation !== create && operation !== write)
    problem(`${to.at}operation`, `coarse stands for WRITE and CREATE, not for ${vocabulary.operations[operation]}; give this check target: '*' if any will do`);
  return [
    { resource, operation: write, target: ANY },
    { resource, operation: create, target: ANY },
  ];
}

const RESOURCE_PARAMETER = /^\{([^{}]*)\}([A-Z0-9_]*)$/;

function readResource(value: unknown, field: string, context: RowContext): CheckTemplate['resource'] | null {
  const match = typeof value === 'string' ? RESOURCE_PARAMETER.exec(value) : null;
  if (match) {
    const parameter = parameterNumber(match[1]!, field, context);
    return parameter < 0 ? null : { parameter, ending: match[2]! };
  }
  const number = readName(value, field, { number: (name) => context.vocabulary.resource(name), problem: context.problem });
  return number < 0 ? null : number;
}

function readTarget(value: unknown, field: string, context: RowContext): CheckTemplate['target'] | null {
  if (value === undefined || value === null || value === '') {
    context.problem(field, `missing; say a parameter of the path ("{id}"), an id, or '*' if any of the resource will do (never a default)`);
    return null;
  }
  if (value === ANY) return ANY;
  if (typeof value === 'string' && /[{}]/.test(value)) {
    const match = /^\{([^{}]*)\}$/.exec(value);
    if (!match) context.problem(field, `${show(value)}: a parameter stands alone, "{name}"`);
    const parameter = match ? parameterNumber(match[1]!, field, context) : -1;
    return parameter < 0 ? null : { parameter };
  }
  try {
    return parseId(value, field);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    context.problem(field, error.message.slice(field.length + 2));
    return null;
  }
}

/** The number of a one-segment parameter among the parameters of the path. */
function parameterNumber(name: string, field: string, context: RowContext): number {
  const parameters = context.segments.filter((segment) => segment.kind !== 'literal');
  const number = parameters.findIndex((segment) => segment.name === name);
  if (number < 0)
    context.problem(field, `the path has no parameter {${name}}${parameters.length ? `; it has ${parameters.map((segment) => segment.name).join(', ')}` : ''}`);
  else if (parameters[number]!.kind === 'rest') context.problem(field, `{${name}...} is the rest of the path, which is never a target or a resource`);
  else return number;
  return -1;
}

function readName(value: unknown, field: string, to: { number: (name: string) => number; problem: Complain }): number {
  const number = typeof value === 'string' ? to.number(value) : -1;
  if (number >= 0) return number;
  const capitals =
    typeof value === 'string' && to.number(value.toUpperCase()) >= 0 ? `; write ${value.toUpperCase()}` : '; the names are those of the vocabulary file';
  to.problem(field, value === undefined ? 'missing' : `unknown name ${show(value)}${capitals}`);
  return -1;
}

/** A resource that no id belongs to: of no type, of no group, and not PROFILE (which goes with users). */
function isTypeless(vocabulary: Vocabulary, resource: number): boolean {
  return resource !== vocabulary.profileResource && vocabulary.typeOfGroupResource[resource] === -1 && !vocabulary.resourceOfType.includes(resource);
}

function flag(row: Fields, field: string, problem: Complain): boolean {
  const value = row[field];
  if (value !== undefined && value !== true) problem(field, `true, or take the line away; got ${show(value)}`);
  return value === true;
}

function unknownFields(value: Fields, known: readonly string[], problem: Complain): void {
  for (const field of Object.keys(value)) if (!known.includes(field)) problem(field, `unknown field; known are ${known.join(', ')}`);
}

function isRecord(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function show(value: unknown): string {
  return value === undefined ? 'nothing' : (JSON.stringify(value) ?? typeof value).slice(0, 80);
}
