// Does the trie answer as somebody would who tries every row by hand?
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { compileVocabulary, type Vocabulary } from 'policy-cache';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { compileRoutes, matchRoute, type RouteMatch, type RouteTable, type Unmapped } from '../../src/routes.ts';
import { canonical } from '../../src/target.ts';
import { NASTY_TARGETS } from '../corpus/targets.ts';

const read = (name: string): unknown => parse(readFileSync(new URL(`../../policy-cache/vocabulary/${name}`, import.meta.url), 'utf8'));
const vocabulary: Vocabulary = compileVocabulary(read('thingsboard.yaml'));

interface NaiveRow {
  readonly methods: readonly string[];
  readonly path: string;
  readonly encoded: boolean;
  /** What the row's answer must be, given its parameters; null: it is closed. */
  answer(values: Readonly<Record<string, string>>): string | null;
}

const kindOf = (segment: string): number => (segment.endsWith('...}') ? 2 : segment.startsWith('{') ? 1 : 0);

/** Row `a` is at least as narrow as `b` wherever they differ. */
function narrower(a: string, b: string): boolean {
  const [x, y] = [a.split('/'), b.split('/')];
  return x.every((segment, i) => y[i] === undefined || kindOf(segment) <= kindOf(y[i])) && (x.length === y.length || kindOf(y.at(-1)!) === 2);
}

const shapes = new Map<string, RegExp>();
function shape(path: string): RegExp {
  const found = shapes.get(path);
  if (found) return found;
  const segments = path.split('/').map((text) => ['', '[^/]+', '[^/].*'][kindOf(text)] || text.replace(/[.*+?^$()|[\]\\]/g, '\\$&'));
  const made = new RegExp(`^${segments.join('/')}$`, 's');
  shapes.set(path, made);
  return made;
}

function rowFor(rows: readonly NaiveRow[], method: string, path: string): NaiveRow | null {
  const own = rows.filter((row) => row.methods.includes(method));
  const like = method === 'HEAD' ? rows.filter((row) => row.methods.includes('GET') && !own.some((other) => sameShape(other.path, row.path))) : [];
  const matching = [...own, ...like].filter((row) => shape(row.path).test(path));
  return matching.find((row) => matching.every((other) => narrower(row.path, other.path))) ?? null;
}

const sameShape = (a: string, b: string): boolean => a.replace(/\{[^}.]*/g, '{') === b.replace(/\{[^}.]*/g, '{');

/** The strict reading of the page, slowly: what the request asks for, or null for "unmapped". */
function naive(rows: readonly NaiveRow[], method: string, target: string): string | null {
  const reading = canonical(target);
  if (reading.kind === 'refused') return null;
  const row = rowFor(rows, method, reading.path);
  if (!row) return null;
  if (reading.path.includes('%') && (!row.encoded || rowFor(rows, method, decodeURIComponent(reading.path)) !== row)) return null;
  const values: Record<string, string> = {};
  for (const [i, segment] of row.path.split('/').entries()) {
    const raw = reading.path.split('/')[i]!;
    if (kindOf(segment) !== 1) continue;
    const value = decodeURIComponent(raw);
    if (!/^([A-Za-z0-9._~:-]|%..)+$/.test(raw) || value === '*' || Buffer.byteLength(value) > 255) return null;
    values[segment.slice(1, -1)] = value;
  }
  return row.answer(values);
}

function say(answer: RouteMatch | Unmapped): string | null {
  if (answer.kind === 'unmapped') return null;
  if (answer.public) return 'public';
  if (answer.authenticated) return 'authenticated';
  return answer.checks.map((check) => `${vocabulary.resources[check.resource]} ${vocabulary.operations[check.operation]} ${check.target}`).join(' + ');
}

const segment = fc.oneof({ weight: 5, arbitrary: fc.constantFrom('a', 'b', 'c', 'DEVICE') }, { weight: 3, arbitrary: fc.constantFrom('{x}', '{y}') });
const path = fc
  .tuple(fc.array(segment, { minLength: 1, maxLength: 4 }), fc.constantFrom('', '', '', '', '/', '/{rest...}'))
  .map(([segments, end]) => `/${segments.join('/')}${end}`)
  .filter((text) => new Set(text.match(/\{[xy]\}/g)).size === (text.match(/\{[xy]\}/g) ?? []).length);
const row = fc.record({
  method: fc.constantFrom('GET', 'GET', 'GET', 'HEAD', 'POST'),
  path,
  encoded: fc.boolean(),
  kind: fc.constantFrom('public', 'authenticated', 'closed', 'any', 'bound', 'bound', 'resource'),
});
type Drawn = typeof row extends fc.Arbitrary<infer T> ? T : never;

function built({ method, path: text, encoded, kind }: Drawn): { written: object; naive: NaiveRow } {
  const parameter = /\{([xy])\}/.exec(text)?.[1];
  const what = parameter === undefined && (kind === 'bound' || kind === 'resource') ? 'any' : kind;
  const head = { method, path: text, ...(encoded && text.includes('{') ? { encoded: true } : {}) };
  const slow = { methods: [method], path: text, encoded };
  // prettier-ignore
  switch (what) {
    case 'public': return { written: { ...head, public: true }, naive: { ...slow, answer: () => 'public' } };
    case 'authenticated': return { written: { ...head, authenticated: true }, naive: { ...slow, answer: () => 'authenticated' } };
    case 'closed': return { written: { ...head, closed: 'shut' }, naive: { ...slow, answer: () => null } };
    case 'any': return { written: { ...head, resource: 'ASSET', operation: 'READ', target: '*' }, naive: { ...slow, answer: () => 'ASSET READ *' } };
    case 'bound': return { written: { ...head, resource: 'ASSET', operation: 'WRITE', target: `{${parameter}}` }, naive: { ...slow, answer: (values) => `ASSET WRITE ${values[parameter!]}` } };
    case 'resource': return {
      written: { ...head, resource: `{${parameter}}`, operation: 'READ', target: '*' },
      naive: { ...slow, answer: (values) => (values[parameter!]!.toUpperCase() === 'DEVICE' ? 'DEVICE READ *' : null) },
    };
    default: return what satisfies never;
  }
}

const rows = fc.uniqueArray(row, { minLength: 1, maxLength: 9, comparator: (a, b) => a.method === b.method && sameShape(a.path, b.path) });
const sent = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('a', 'b', 'c', 'DEVICE', 'device', 'd') },
  { weight: 1, arbitrary: fc.constantFrom('%61', '%62', '%64', 'a%20b', '%44EVICE', '%2a', '*', 'x@y', '', '..', 'a;b', '%2f', 'a%3fb', '%zz', '%C3%A9') },
);
/** A row's own path with its parameters filled in, now and then with a literal replaced, or something else altogether. */
const request = fc.record({
  like: fc.option(fc.nat(20), { freq: 8 }),
  method: fc.constantFrom('GET', 'GET', 'HEAD', 'POST'),
  fill: fc.array(sent, { minLength: 6, maxLength: 6 }),
  change: fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 6, maxLength: 6 }),
  end: fc.constantFrom('', '', '', '?q=/a/b', '/'),
});

test('random tables and random requests', () => {
  const counts = { match: 0, unmapped: 0, ambiguous: 0, decoded: 0 };
  fc.assert(
    fc.property(rows, fc.array(request, { minLength: 8, maxLength: 8 }), (drawn, requests) => {
      const both = drawn.map(built);
      const { table } = compileRoutes(vocabulary, { routes: both.map((one) => one.written) });
      for (const { like, method, fill, change, end } of requests) {
        const pattern = like === null ? '/x/x' : drawn[like % drawn.length]!.path;
        const segments = pattern
          .slice(1)
          .split('/')
          .map((text, i) =>
            kindOf(text) === 2 ? fill.slice(i).join('/') : kindOf(text) === 1 || (text !== '' && change[i] === 0) || like === null ? fill[i]! : text,
          );
        const raw = `/${segments.join('/')}${end}`;
        const answer = matchRoute(table, { method, target: raw });
        expect([method, raw, say(answer)]).toEqual([
          method,
          raw,
          naive(
            both.map((one) => one.naive),
            method,
            raw,
          ),
        ]);
        counts[answer.kind]++;
        if (answer.kind === 'unmapped' && answer.reason === 'ambiguous') counts.ambiguous++;
        if (answer.kind === 'match' && raw.split('?')[0]!.includes('%')) counts.decoded++;
      }
    }),
    { numRuns: 2500 },
  );
  console.log('random requests:', counts);
  // A generator that stops finding the interesting cases must not pass for a proof.
  expect(counts.match).toBeGreaterThan(2500);
  expect(counts.ambiguous).toBeGreaterThan(15);
  expect(counts.decoded).toBeGreaterThan(50);
});

test('nasty targets against the ThingsBoard table: unmapped, or the strict reading of the bytes', () => {
  const file = read('thingsboard-routes.yaml') as { routes: Record<string, unknown>[] };
  const table: RouteTable = compileRoutes(vocabulary, file).table;
  const slow = file.routes.map((one): NaiveRow => ({
    methods: [one['method'] as string],
    path: one['path'] as string,
    encoded: one['encoded'] === true,
    answer: (values) => answerOf(one, values),
  }));
  const counts = { match: 0, unmapped: 0 };
  for (const raw of [...NASTY_TARGETS, '/api/noauth/activate', '/api/device/d1?x', '/api/plugins/telemetry/DEVICE/d1/values/timeseries?keys=a']) {
    const answer = matchRoute(table, { method: 'GET', target: raw });
    expect([raw, say(answer)]).toEqual([raw, naive(slow, 'GET', raw)]);
    counts[answer.kind]++;
  }
  console.log('nasty targets, ThingsBoard:', counts);
  expect(counts.match).toBeGreaterThan(5);
});

function answerOf(row: Record<string, unknown>, values: Readonly<Record<string, string>>): string | null {
  if (row['closed'] !== undefined) return null;
  if (row['public'] === true) return 'public';
  if (row['authenticated'] === true) return 'authenticated';
  const checks = (row['checks'] ?? [row]) as Record<string, string>[];
  if (checks.some((check) => check['in'] !== undefined)) return null;
  const put = (text: string): string => text.replace(/\{(\w+)\}/, (_, name: string) => values[name]!);
  const said = checks.map((check) => [put(check['resource']!).toUpperCase(), check['operation'], put(check['target']!)] as const);
  return said.some(([resource]) => !vocabulary.resources.includes(resource)) ? null : said.map((parts) => parts.join(' ')).join(' + ');
}
