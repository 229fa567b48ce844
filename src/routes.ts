// From the method and raw target of a request to what must be asked: which resource, operation and target?
//
// The rows of a route file (grammar in route-rows.ts) become one trie per method. A request is read segment by segment, a literal
// before a parameter before a rest, so the row that is found is the one with a literal where others have a parameter. Its
// parameters are looked at only then, and a bad one is unmapped: it never falls through to a wider row. A request that two rows
// match, each narrower than the other somewhere, is unmapped too: the application's router might choose the other one.
// A trie node is visited at most once per request, and no regular expression runs on what a client sent.

import { ANY, InputError, parseId, type Vocabulary } from 'policy-cache';
import { covers, overlapsOf } from './route-overlaps.ts';
import { readRow, type CheckTemplate, type HiddenId, type Row } from './route-rows.ts';
import { canonical, isMethod, METHODS, type Method, type RefusedTarget } from './target.ts';
import type { TokenPlace } from './token-place.ts';

export interface RouteCheck {
  /** Numbers of the vocabulary. */
  readonly resource: number;
  readonly operation: number;
  /** An id, or `*` where the row says so in so many words. */
  readonly target: string;
}

/** Exactly one of: `public`, `authenticated`, at least one check. */
export interface RouteMatch {
  readonly kind: 'match';
  /** The row's path as written, or `RESOURCE/OPERATION` in the form with parameters: a bounded set, fit for a metric's label. */
  readonly route: string;
  /** Answered with 200 and empty identity headers; the credential is not read. */
  readonly public: boolean;
  /** The credential must be valid and its subject known and enabled (step 1 of semantics 4); nothing else is asked. */
  readonly authenticated: boolean;
  /** All must pass. */
  readonly checks: readonly RouteCheck[];
  /** Where else than in a header the credential may stand; null: nowhere. */
  readonly token: TokenPlace | null;
}

/** Stable: the decision log and the metrics carry these. */
export type UnmappedReason =
  | RefusedTarget
  | HiddenId
  | 'method'
  | 'no-route'
  | 'ambiguous'
  | 'closed'
  | 'percent-encoded'
  | 'parameter'
  | 'preflight'
  | 'unknown-resource'
  | 'unknown-operation'
  | 'target-missing'
  | 'bad-target';

export interface Unmapped {
  readonly kind: 'unmapped';
  readonly reason: UnmappedReason;
  /** The row that was found, if any. */
  readonly route: string | null;
}

/** Two rows of one method that some path matches both. */
export interface Overlap {
  readonly method: Method;
  /** The path of the row that wins, from the left. */
  readonly first: string;
  readonly second: string;
  /** False: the first is the narrower one everywhere. True: each is narrower somewhere, so what both match is unmapped. */
  readonly crossing: boolean;
}

export interface RouteTable {
  readonly vocabulary: Vocabulary;
  readonly rows: readonly Row[];
  readonly tries: ReadonlyMap<Method, Node>;
}

interface Node {
  readonly literals: Map<string, Node>;
  parameter: Node | null;
  leaf: Leaf | null;
  rest: Leaf | null;
}

interface Leaf {
  readonly row: Row;
  /** The answer, when it does not depend on what the parameters hold. */
  readonly constant: RouteMatch | Unmapped | null;
  /** Something in the path is a parameter. */
  readonly bound: boolean;
  /** Rows that cross this one: what they match as well is ambiguous. */
  readonly rivals: Row[];
}

/** Bad rows, every one of them: `problems` has a line for each. */
export class RouteTableError extends InputError {
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super('routes', `${problems.length} problem${problems.length === 1 ? '' : 's'}\n${problems.join('\n')}`);
    this.problems = problems;
  }
}

/**
 * Compiles a parsed route file (`{ routes: [row, …] }`).
 * @throws RouteTableError with every problem of every row: its number, method and path, the field, what stands there, the fix
 */
export function compileRoutes(vocabulary: Vocabulary, parsed: unknown): { table: RouteTable; overlaps: readonly Overlap[]; warnings: readonly string[] } {
  const problems: string[] = [];
  const warnings: string[] = [];
  const list = routesOf(parsed, problems);
  const rows: Row[] = [];
  list.forEach((value, i) => {
    const at = (field: string): string => `routes[${i + 1}] (${label(value)})${field === '' ? '' : ` ${field}`}`;
    const row = readRow(value, i + 1, {
      vocabulary,
      problem: (field, text) => void problems.push(`${at(field)}: ${text}`),
      warn: (field, text) => void warnings.push(`${at(field)}: ${text}`),
    });
    if (row) rows.push(row);
  });
  const leaves = new Map<Method, Leaf[]>();
  const tries = new Map<Method, Node>(METHODS.map((method) => [method, node()]));
  for (const method of METHODS) {
    const own = rows.filter((row) => row.methods.includes(method));
    const added = own.map(leafOf);
    for (const leaf of added) {
      const other = insert(tries.get(method)!, leaf);
      if (other)
        problems.push(
          `routes[${leaf.row.number}] (${method} ${leaf.row.path}) path: the same requests as routes[${other.number}] ${other.path}; merge the two rows`,
        );
    }
    leaves.set(method, added);
  }
  if (problems.length > 0) throw new RouteTableError(problems);
  // HEAD is answered like GET, unless a row for HEAD has the same path.
  const ownHead = leaves.get('HEAD')!;
  if (ownHead.length === 0) tries.set('HEAD', tries.get('GET')!);
  else
    for (const { row } of leaves.get('GET')!) {
      const leaf = leafOf(row);
      if (!insert(tries.get('HEAD')!, leaf)) ownHead.push(leaf);
    }
  const overlaps = METHODS.flatMap((method) => markRivals(method, leaves.get(method)!));
  const crossing = overlaps.filter((overlap) => overlap.crossing);
  if (crossing.length > 0) {
    const { method, first, second } = crossing[0]!;
    warnings.push(
      `${crossing.length} pairs of rows cross: each is the narrower one somewhere, as in ${method} ${first} and ${second}. A request that both match is unmapped (ambiguous) unless a row narrower than both has it`,
    );
  }
  return { table: { vocabulary, rows, tries }, overlaps, warnings };
}

/** What a door saw of the original request. */
export interface OriginalRequest {
  readonly method: string;
  /** The raw request target, query and all. */
  readonly target: string;
  /** `Origin` and `Access-Control-Request-Method` were both there. Without them no OPTIONS row that is public matches (proxies 3.3). */
  readonly preflight?: boolean;
}

/** What the table says of a request. Everything that is not a match is verdict `unmapped`. */
export function matchRoute(table: RouteTable, request: OriginalRequest): RouteMatch | Unmapped {
  const { method } = request;
  if (!isMethod(method)) return unmapped('method');
  const target = canonical(request.target);
  if (target.kind === 'refused') return unmapped(target.reason);
  const { path } = target;
  const leaf = find(table.tries.get(method)!, path, 1);
  if (!leaf) return unmapped(target.percent ? 'percent-encoded' : 'no-route');
  if (isAmbiguous(leaf, path)) return unmapped('ambiguous', leaf.row.path);
  if (method === 'OPTIONS' && leaf.row.access.kind === 'public' && request.preflight !== true) return unmapped('preflight', leaf.row.path);
  if (!leaf.bound) return leaf.constant!;
  const { row } = leaf;
  if (target.percent) {
    if (!row.encoded) return unmapped('percent-encoded', row.path);
    // Whoever decodes the path must find the same row in it, or `%64evice` in a parameter would stand for the literal `device`.
    // Safe segment by segment: no encoded slash, dot or percent sign came so far.
    const decoded = path.split('/').map(decodeURIComponent).join('/');
    if (find(table.tries.get(method)!, decoded, 1) !== leaf || isAmbiguous(leaf, decoded)) return unmapped('percent-encoded', row.path);
  }
  const values = bind(row, path);
  if (!values) return unmapped('parameter', row.path);
  return leaf.constant ?? fill(table.vocabulary, row, values);
}

/** The form with parameters: names upper-cased and looked up exactly, the target an id, or `*` in so many words. */
export function parseParameters(vocabulary: Vocabulary, given: { resource: string; operation: string; target: string | undefined }): RouteMatch | Unmapped {
  const resource = vocabulary.resource(upper(given.resource));
  if (resource < 0) return unmapped('unknown-resource');
  const operation = vocabulary.operation(upper(given.operation));
  if (operation < 0) return unmapped('unknown-operation');
  const route = `${vocabulary.resources[resource]}/${vocabulary.operations[operation]}`;
  if (given.target === undefined || given.target === '') return unmapped('target-missing', route);
  if (!isPrintableAscii(given.target) || !isId(given.target)) return unmapped('bad-target', route);
  return { kind: 'match', route, public: false, authenticated: false, checks: [{ resource, operation, target: given.target }], token: null };
}

function routesOf(parsed: unknown, problems: string[]): readonly unknown[] {
  const file = typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed) ? (parsed as Readonly<Record<string, unknown>>) : {};
  for (const field of Object.keys(file)) if (field !== 'routes') problems.push(`${field}: unknown field; the file has routes: alone`);
  const list: unknown = file['routes'];
  if (Array.isArray(list) && list.length > 0) return list as readonly unknown[];
  problems.push('routes: expected a list of at least one row, { method, path, checks }');
  return [];
}

function label(value: unknown): string {
  const { method, path } = (typeof value === 'object' && value !== null ? value : {}) as { method?: unknown; path?: unknown };
  const methods: readonly unknown[] = Array.isArray(method) ? method : [method];
  return `${methods.map((name) => (typeof name === 'string' ? name : '?')).join(',')} ${typeof path === 'string' ? path : '?'}`;
}

function node(): Node {
  return { literals: new Map(), parameter: null, leaf: null, rest: null };
}

function leafOf(row: Row): Leaf {
  const bound = row.segments.some((segment) => segment.kind !== 'literal');
  const { access } = row;
  const answer = (checks: readonly RouteCheck[]): RouteMatch =>
    Object.freeze({
      kind: 'match',
      route: row.path,
      public: access.kind === 'public',
      authenticated: access.kind === 'authenticated',
      checks: Object.freeze(checks),
      token: row.token,
    });
  if (access.kind === 'closed') return { row, bound, rivals: [], constant: Object.freeze({ kind: 'unmapped', reason: access.reason, route: row.path }) };
  const checks = access.kind === 'checks' ? access.checks : [];
  return { row, bound, rivals: [], constant: checks.every(isConstant) ? answer(checks.map((check) => Object.freeze(check))) : null };
}

function isConstant(check: CheckTemplate): check is RouteCheck {
  return typeof check.resource === 'number' && typeof check.target === 'string';
}

/** Puts a leaf where its path leads. If one is there already that stays, and its row is returned. */
function insert(root: Node, leaf: Leaf): Row | null {
  let at = root;
  for (const segment of leaf.row.segments) {
    if (segment.kind === 'rest') {
      if (at.rest) return at.rest.row;
      at.rest = leaf;
      return null;
    }
    let next = segment.kind === 'literal' ? at.literals.get(segment.text) : at.parameter;
    if (!next) {
      next = node();
      if (segment.kind === 'literal') at.literals.set(segment.text, next);
      else at.parameter = next;
    }
    at = next;
  }
  if (at.leaf) return at.leaf.row;
  at.leaf = leaf;
  return null;
}

/** Finds the overlapping pairs of one method, and tells each leaf which rows cross it. */
function markRivals(method: Method, leaves: readonly Leaf[]): Overlap[] {
  const overlaps = overlapsOf(leaves.map((leaf) => leaf.row));
  const byRow = new Map(leaves.map((leaf) => [leaf.row, leaf]));
  for (const { first, second, crossing } of overlaps) if (crossing) byRow.get(first)!.rivals.push(second);
  return overlaps.map(({ first, second, crossing }) => ({ method, first: first.path, second: second.path, crossing }));
}

function isAmbiguous(leaf: Leaf, path: string): boolean {
  for (const rival of leaf.rivals) if (covers(rival, path)) return true;
  return false;
}

/** `start` is where the next segment begins. As deep as the table's paths, never as the request's. */
function find(at: Node, path: string, start: number): Leaf | null {
  const slash = path.indexOf('/', start);
  const end = slash < 0 ? path.length : slash;
  const literal = at.literals.get(path.slice(start, end));
  if (literal) {
    const leaf = slash < 0 ? literal.leaf : find(literal, path, slash + 1);
    if (leaf) return leaf;
  }
  if (end === start) return null;
  if (at.parameter) {
    const leaf = slash < 0 ? at.parameter.leaf : find(at.parameter, path, slash + 1);
    if (leaf) return leaf;
  }
  return at.rest;
}

/** What the parameters of the row hold in this path, in order (the rest as sent); null if one of them must not. */
function bind(row: Row, path: string): readonly string[] | null {
  const values: string[] = [];
  let start = 1;
  for (const segment of row.segments) {
    if (segment.kind === 'rest') {
      values.push(path.slice(start));
      return values;
    }
    const slash = path.indexOf('/', start);
    const end = slash < 0 ? path.length : slash;
    if (segment.kind === 'parameter') {
      const value = parameterValue(path.slice(start, end));
      if (value === null) return null;
      values.push(value);
    }
    start = end + 1;
  }
  return values;
}

// 1: A-Z a-z 0-9 . _ ~ : - (architecture: one raw segment of these, at most 255).
const IN_PARAMETER = new Uint8Array(128);
for (const character of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:-') IN_PARAMETER[character.charCodeAt(0)] = 1;
const MAX_PARAMETER = 255;

function parameterValue(raw: string): string | null {
  let percent = false;
  for (let i = 0; i < raw.length; i++) {
    const code = raw.charCodeAt(i);
    if (code === 0x25) {
      percent = true;
      i += 2;
    } else if (IN_PARAMETER[code] !== 1) return null;
  }
  if (!percent) return raw.length <= MAX_PARAMETER ? raw : null;
  const decoded = decodeURIComponent(raw);
  return decoded !== ANY && isId(decoded) ? decoded : null;
}

function fill(vocabulary: Vocabulary, row: Row, values: readonly string[]): RouteMatch | Unmapped {
  const checks: RouteCheck[] = [];
  for (const check of row.access.kind === 'checks' ? row.access.checks : []) {
    const resource =
      typeof check.resource === 'number' ? check.resource : vocabulary.resource(upper(values[check.resource.parameter]!) + check.resource.ending);
    if (resource < 0) return unmapped('unknown-resource', row.path);
    checks.push({ resource, operation: check.operation, target: typeof check.target === 'string' ? check.target : values[check.target.parameter]! });
  }
  return { kind: 'match', route: row.path, public: false, authenticated: false, checks, token: row.token };
}

/** ASCII only: toUpperCase would make an S of a long s, and a name that the vocabulary has. '' stands for no name. */
function upper(name: string): string {
  return isPrintableAscii(name) ? name.toUpperCase() : '';
}

function isPrintableAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code > 0x7e) return false;
  }
  return true;
}

function isId(text: string): boolean {
  try {
    parseId(text);
    return true;
  } catch (error) {
    if (error instanceof InputError) return false;
    throw error;
  }
}

const withoutRoute = new Map<UnmappedReason, Unmapped>();
function unmapped(reason: UnmappedReason, route: string | null = null): Unmapped {
  if (route !== null) return { kind: 'unmapped', reason, route };
  let constant = withoutRoute.get(reason);
  if (!constant) withoutRoute.set(reason, (constant = Object.freeze({ kind: 'unmapped', reason, route })));
  return constant;
}
