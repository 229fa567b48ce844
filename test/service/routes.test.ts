// Does a route file say what its grammar says: which rows compile, and what each makes of a request?
import { readFileSync } from 'node:fs';
import { compileVocabulary, type Vocabulary } from 'policy-cache';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { compileRoutes, matchRoute, parseParameters, RouteTableError, type RouteMatch, type RouteTable, type Unmapped } from '../../src/routes.ts';

const vocabulary: Vocabulary = compileVocabulary(parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')));

const compile = (yaml: string) => compileRoutes(vocabulary, parse(`routes:\n${yaml}`));
const tableOf = (yaml: string): RouteTable => compile(yaml).table;

/** `public`, `authenticated`, `DEVICE READ d1 + …`, or `unmapped: reason`. */
function say(answer: RouteMatch | Unmapped): string {
  if (answer.kind === 'unmapped') return `unmapped: ${answer.reason}`;
  if (answer.public) return 'public';
  if (answer.authenticated) return 'authenticated';
  expect(answer.checks.length).toBeGreaterThan(0);
  return answer.checks.map((check) => `${vocabulary.resources[check.resource]} ${vocabulary.operations[check.operation]} ${check.target}`).join(' + ');
}

const ask = (table: RouteTable, method: string, target: string, preflight = false): string => say(matchRoute(table, { method, target, preflight }));

function problemsOf(file: unknown): readonly string[] {
  try {
    compileRoutes(vocabulary, file);
  } catch (error) {
    if (error instanceof RouteTableError) return error.problems;
    throw error;
  }
  return [];
}

describe('what a row asks for', () => {
  const table = tableOf(`
  - { method: GET, path: "/api/device/{deviceId}", resource: DEVICE, operation: READ, target: "{deviceId}" }
  - { method: GET, path: /api/device/types, resource: DEVICE, operation: READ, target: "*" }
  - { method: [POST, PUT], path: /api/fixed, resource: ASSET, operation: WRITE, target: a1 }
  - { method: POST, path: "/api/alarm/{alarmId}/assign/{userId}", checks: [{ resource: ALARM, operation: WRITE, target: "{alarmId}" }, { resource: USER, operation: READ, target: "{userId}" }] }
  - { method: GET, path: "/api/events/{entityType}/{id}", resource: "{entityType}", operation: READ, target: "{id}" }
  - { method: GET, path: "/api/entityGroups/{groupType}", resource: "{groupType}_GROUP", operation: READ, target: "*" }
  - { method: GET, path: /, public: true }
  - { method: GET, path: /api/noauth/login, public: true }
  - { method: GET, path: /api/auth/user, authenticated: true }
  - { method: GET, path: "/api/attic/{x}", closed: nobody knows, resource: DEVICE, operation: READ, target: "{x}" }
  - { method: GET, path: "/static/{file...}", public: true }
  - { method: GET, path: "/slash/{id}/", resource: ASSET, operation: READ, target: "{id}" }
  - { method: GET, path: "/named/{id}", encoded: true, resource: ASSET, operation: READ, target: "{id}" }
  - { method: GET, path: "/files/{rest...}", encoded: true, authenticated: true }
  - { method: GET, path: /files/device/d1, public: true }
  - { method: OPTIONS, path: "/api/{rest...}", public: true }
  - { method: OPTIONS, path: /api/ask, authenticated: true }
  - { method: HEAD, path: /api/device/types, closed: no HEAD here }
  - { method: DELETE, path: "/api/device/{deviceId}", resource: DEVICE, operation: DELETE, target: "{deviceId}" }`);

  const long = 'x'.repeat(255);
  const cases: readonly [method: string, target: string, answer: string][] = [
    ['GET', '/api/device/d1', 'DEVICE READ d1'],
    ['GET', '/api/device/d1?target=*&x=/../y', 'DEVICE READ d1'],
    ['GET', '/api/device/A.z_0~:-', 'DEVICE READ A.z_0~:-'],
    ['GET', `/api/device/${long}`, `DEVICE READ ${long}`],
    ['GET', `/api/device/${long}x`, 'unmapped: parameter'],
    ['GET', '/api/device/all:DEVICE:t1', 'DEVICE READ all:DEVICE:t1'],
    ['DELETE', '/api/device/d1', 'DEVICE DELETE d1'],
    // a literal beats a parameter
    ['GET', '/api/device/types', 'DEVICE READ *'],
    // never `*` by way of a parameter, never another character set
    ['GET', '/api/device/*', 'unmapped: parameter'],
    ['GET', '/api/device/%2a', 'unmapped: percent-encoded'],
    ['GET', '/api/device/a@b', 'unmapped: parameter'],
    ['GET', '/api/device/a,b', 'unmapped: parameter'],
    ['GET', '/api/device/%64evice-b1', 'unmapped: percent-encoded'],
    ['GET', '/api/%64evice/d1', 'unmapped: percent-encoded'],
    ['GET', '/api/device/..', 'unmapped: dot-segment'],
    ['GET', '/api/device/d1;x=1', 'unmapped: path-parameter'],
    // a trailing slash is another path, in both directions
    ['GET', '/api/device/d1/', 'unmapped: no-route'],
    ['GET', '/api/device/', 'unmapped: no-route'],
    ['GET', '/api/device', 'unmapped: no-route'],
    ['GET', '/slash/a1/', 'ASSET READ a1'],
    ['GET', '/slash/a1', 'unmapped: no-route'],
    // case-sensitive, exact
    ['GET', '/API/device/d1', 'unmapped: no-route'],
    ['GET', '/api/device/d1/x', 'unmapped: no-route'],
    ['GET', '/api', 'unmapped: no-route'],
    ['GET', '/', 'public'],
    ['GET', '/api/noauth/login', 'public'],
    ['GET', '/api/noauth/login/', 'unmapped: no-route'],
    ['GET', '/api/auth/user', 'authenticated'],
    ['GET', '/api/attic/a', 'unmapped: closed'],
    // a list of methods, a constant target
    ['POST', '/api/fixed', 'ASSET WRITE a1'],
    ['PUT', '/api/fixed', 'ASSET WRITE a1'],
    ['GET', '/api/fixed', 'unmapped: no-route'],
    ['POST', '/api/alarm/l1/assign/u1', 'ALARM WRITE l1 + USER READ u1'],
    // the resource from the path
    ['GET', '/api/events/DEVICE/d1', 'DEVICE READ d1'],
    ['GET', '/api/events/device/d1', 'DEVICE READ d1'],
    ['GET', '/api/events/ALL/d1', 'unmapped: unknown-resource'],
    ['GET', '/api/events/NOSUCH/d1', 'unmapped: unknown-resource'],
    ['GET', '/api/events/DEVICE_/d1', 'unmapped: unknown-resource'],
    ['GET', '/api/events/__proto__/d1', 'unmapped: unknown-resource'],
    ['GET', '/api/entityGroups/device', 'DEVICE_GROUP READ *'],
    ['GET', '/api/entityGroups/TENANT', 'unmapped: unknown-resource'],
    // the rest: one segment or more
    ['GET', '/static/a', 'public'],
    ['GET', '/static/a/b@c/d', 'public'],
    ['GET', '/static/a/', 'public'],
    ['GET', '/static/', 'unmapped: no-route'],
    ['GET', '/static', 'unmapped: no-route'],
    ['GET', '/static/a%20b', 'unmapped: percent-encoded'],
    ['GET', '/static/../api/device/d1', 'unmapped: dot-segment'],
    // encoded: true
    ['GET', '/named/plain', 'ASSET READ plain'],
    ['GET', '/named/a%20b', 'ASSET READ a b'],
    ['GET', '/named/caf%C3%A9', 'ASSET READ caf\u00e9'],
    ['GET', '/named/%61', 'ASSET READ a'],
    ['GET', '/named/a%40b', 'ASSET READ a@b'],
    ['GET', '/named/a@b', 'unmapped: parameter'],
    ['GET', '/named/%2a', 'unmapped: parameter'],
    ['GET', '/named/%2A', 'unmapped: parameter'],
    ['GET', '/named/*', 'unmapped: parameter'],
    ['GET', '/named/%00', 'unmapped: encoded-control'],
    ['GET', '/named/%c2%85', 'unmapped: encoded-control'],
    ['GET', '/named/a%2fb', 'unmapped: encoded-slash'],
    ['GET', '/named/%2e%2e', 'unmapped: dot-segment'],
    ['GET', '/named/%252a', 'unmapped: double-encoding'],
    ['GET', `/named/${'%61'.repeat(255)}`, `ASSET READ ${'a'.repeat(255)}`],
    ['GET', `/named/${'%61'.repeat(256)}`, 'unmapped: parameter'],
    ['GET', `/named/${'%C3%A9'.repeat(128)}`, 'unmapped: parameter'],
    ['GET', '/n%61med/a', 'unmapped: percent-encoded'],
    // decoded by somebody, this is the narrower row of another meaning
    ['GET', '/files/device/%641', 'unmapped: percent-encoded'],
    ['GET', '/files/device/%642', 'authenticated'],
    // HEAD goes like GET, but for a row of its own
    ['HEAD', '/api/device/d1', 'DEVICE READ d1'],
    ['HEAD', '/api/device/types', 'unmapped: closed'],
    ['HEAD', '/api/fixed', 'unmapped: no-route'],
    // methods
    ['get', '/api/device/d1', 'unmapped: method'],
    ['TRACE', '/api/device/d1', 'unmapped: method'],
    ['', '/api/device/d1', 'unmapped: method'],
    ['GET,POST', '/api/device/d1', 'unmapped: method'],
    ['PATCH', '/api/device/d1', 'unmapped: no-route'],
    // targets
    ['GET', '', 'unmapped: target-missing'],
    ['GET', '*', 'unmapped: target-form'],
    ['GET', 'http://x/api/device/d1', 'unmapped: target-form'],
    // preflight: both headers or nothing
    ['OPTIONS', '/api/device/d1', 'unmapped: preflight'],
    ['OPTIONS', '/api/ask', 'authenticated'],
    ['OPTIONS', '/elsewhere', 'unmapped: no-route'],
  ];
  test.each(cases)('%s %s: %s', (method, target, answer) => {
    expect(ask(table, method, target)).toBe(answer);
  });

  test('a preflight with both of its headers passes by a public row for OPTIONS, and by nothing else', () => {
    expect(ask(table, 'OPTIONS', '/api/device/d1', true)).toBe('public');
    expect(ask(table, 'OPTIONS', '/static/a', true)).toBe('unmapped: no-route');
    expect(ask(table, 'GET', '/api/device/d1', true)).toBe('DEVICE READ d1');
  });

  test('the answer to a row without parameters is one frozen object; every answer names its row', () => {
    const answer = matchRoute(table, { method: 'GET', target: '/api/device/types' });
    expect(matchRoute(table, { method: 'GET', target: '/api/device/types?x=1' })).toBe(answer);
    expect(Object.isFrozen(answer) && answer.kind === 'match' && Object.isFrozen(answer.checks) && Object.isFrozen(answer.checks[0])).toBe(true);
    expect(answer.route).toBe('/api/device/types');
    expect(matchRoute(table, { method: 'GET', target: '/api/device/d1' }).route).toBe('/api/device/{deviceId}');
    expect(matchRoute(table, { method: 'GET', target: '/api/attic/a' })).toEqual({ kind: 'unmapped', reason: 'closed', route: '/api/attic/{x}' });
    expect(matchRoute(table, { method: 'GET', target: '/nowhere' })).toEqual({ kind: 'unmapped', reason: 'no-route', route: null });
  });
});

describe('ids that a door cannot see', () => {
  const table = tableOf(`
  - { method: POST, path: /body, resource: DEVICE, operation: WRITE, in: body }
  - { method: POST, path: /query, resource: DEVICE, operation: READ, in: query }
  - { method: POST, path: /server, checks: [{ resource: DEVICE, operation: READ, target: "*" }, { resource: USER, operation: READ, in: server }] }
  - { method: POST, path: /coarse, coarse: true, resource: DEVICE, operation: WRITE, in: body }
  - { method: POST, path: "/coarse/{type}", coarse: true, checks: [{ resource: "{type}", operation: CREATE, in: body }, { resource: CUSTOMER, operation: READ, target: "*" }] }
  - { method: POST, path: /coarse-and-query, coarse: true, checks: [{ resource: DEVICE, operation: WRITE, in: body }, { resource: DEVICE_GROUP, operation: READ, in: query }] }`);
  test.each([
    ['/body', 'unmapped: id-in-body'],
    ['/query', 'unmapped: id-in-query'],
    ['/server', 'unmapped: id-in-server'],
    ['/coarse', 'DEVICE WRITE * + DEVICE CREATE *'],
    ['/coarse/asset', 'ASSET WRITE * + ASSET CREATE * + CUSTOMER READ *'],
    ['/coarse-and-query', 'unmapped: id-in-query'],
  ])('%s: %s', (target, answer) => {
    expect(ask(table, 'POST', target)).toBe(answer);
  });
});

describe('which of two rows', () => {
  const row = (path: string, operation: string, more = ''): string =>
    `  - { method: GET, path: "${path}", resource: DEVICE, operation: ${operation}, target: "*"${more} }\n`;

  test('a bad parameter never falls through to a wider row', () => {
    const table = tableOf(`${row('/a/{x}', 'READ')}  - { method: GET, path: "/{rest...}", public: true, encoded: true }\n`);
    expect(ask(table, 'GET', '/a/b')).toBe('DEVICE READ *');
    expect(ask(table, 'GET', '/a/b@c')).toBe('unmapped: parameter');
    expect(ask(table, 'GET', '/a/%62')).toBe('unmapped: percent-encoded');
    expect(ask(table, 'GET', '/%61/b')).toBe('unmapped: percent-encoded');
    expect(ask(table, 'GET', '/b/%62')).toBe('public');
  });

  test('the walk comes back from a literal that leads nowhere', () => {
    const table = tableOf(row('/a/b/c', 'READ') + row('/a/{x}/d', 'WRITE') + row('/a/{rest...}', 'DELETE'));
    expect(ask(table, 'GET', '/a/b/c')).toBe('DEVICE READ *');
    expect(ask(table, 'GET', '/a/b/d')).toBe('DEVICE WRITE *');
    expect(ask(table, 'GET', '/a/b/e')).toBe('DEVICE DELETE *');
    expect(ask(table, 'GET', '/a/b')).toBe('DEVICE DELETE *');
  });

  test('rows that cross: what both match is ambiguous, unless a row narrower than both has it', () => {
    const crossing = compile(row('/a/{x}', 'READ') + row('/{y}/b', 'WRITE'));
    expect(crossing.overlaps).toEqual([{ method: 'GET', first: '/a/{x}', second: '/{y}/b', crossing: true }]);
    expect(crossing.warnings).toEqual([expect.stringContaining('GET /a/{x} and /{y}/b')]);
    expect(ask(crossing.table, 'GET', '/a/b')).toBe('unmapped: ambiguous');
    expect(ask(crossing.table, 'HEAD', '/a/b')).toBe('unmapped: ambiguous');
    expect(ask(crossing.table, 'GET', '/a/c')).toBe('DEVICE READ *');
    expect(ask(crossing.table, 'GET', '/c/b')).toBe('DEVICE WRITE *');
    expect(ask(tableOf(row('/a/{x}', 'READ') + row('/{y}/b', 'WRITE') + row('/a/b', 'DELETE')), 'GET', '/a/b')).toBe('DEVICE DELETE *');
    const rest = compile(row('/s/{rest...}', 'READ') + row('/{y}/b', 'WRITE'));
    expect(rest.overlaps[0]).toMatchObject({ first: '/s/{rest...}', crossing: true });
    expect(ask(rest.table, 'GET', '/s/b')).toBe('unmapped: ambiguous');
    expect(ask(rest.table, 'GET', '/s/b/c')).toBe('DEVICE READ *');
  });

  test('a row for HEAD takes part in the same order as those for GET', () => {
    const table = tableOf(`${row('/a/b', 'READ')}  - { method: HEAD, path: "/a/{x}", public: true }\n${row('/{y}/c', 'WRITE')}`);
    expect(ask(table, 'HEAD', '/a/b')).toBe('DEVICE READ *');
    expect(ask(table, 'HEAD', '/a/x')).toBe('public');
    expect(ask(table, 'HEAD', '/a/c')).toBe('unmapped: ambiguous');
    expect(ask(table, 'GET', '/a/x')).toBe('unmapped: no-route');
  });

  test('an everyday overlap is listed, without a warning', () => {
    const { overlaps, warnings } = compile(
      row('/a/{x}', 'READ') + row('/a/b', 'WRITE') + row('/a/b/', 'WRITE') + row('/a/', 'READ') + row('/{rest...}', 'READ'),
    );
    expect(warnings).toEqual([]);
    expect(overlaps.map(({ first, second, crossing }) => `${first} < ${second}${crossing ? '!' : ''}`)).toEqual([
      '/a/b < /a/{x}',
      '/a/{x} < /{rest...}',
      '/a/b < /{rest...}',
      '/a/b/ < /{rest...}',
      '/a/ < /{rest...}',
    ]);
  });
});

describe('a file that is wrong', () => {
  const good = { method: 'GET', path: '/x/{id}', resource: 'DEVICE', operation: 'READ', target: '{id}' };
  // prettier-ignore
  const wrong: readonly [row: unknown, problem: RegExp][] = [
    [null, /routes\[1\].*expected an object.*got null/],
    ['x', /expected an object/],
    [{ ...good, method: undefined }, /method: expected one of GET, HEAD/],
    [{ ...good, method: 'get' }, /method: expected one of .* got "get"/],
    [{ ...good, method: 'TRACE' }, /method: .*"TRACE"/],
    [{ ...good, method: [] }, /method: an empty list/],
    [{ ...good, method: ['GET', 'GET'] }, /method: GET stands there twice/],
    [{ ...good, path: undefined }, /path: expected a path/],
    [{ ...good, path: 'x/{id}' }, /path: expected a path that starts with \//],
    [{ ...good, path: '/x//{id}' }, /path: no request can have it: empty-segment/],
    [{ ...good, path: '/x/../{id}' }, /path: no request can have it: dot-segment/],
    [{ ...good, path: '/x;a/{id}' }, /path: no request can have it: path-parameter/],
    [{ ...good, path: '/%64/{id}' }, /path: a literal has no %/],
    [{ ...good, path: '/x/{id}?a=b' }, /path: .*\{id\}\?a=b|path: a literal has no % and no query/],
    [{ ...good, path: '/x?a/{id}' }, /path: a literal has no % and no query/],
    [{ ...good, path: '/\u00e9/{id}' }, /path: no request can have it: target-character/],
    [{ ...good, path: '/x/{id}{b}' }, /path: "\{id\}\{b\}": a parameter is a whole segment/],
    [{ ...good, path: '/x/a{id}' }, /a parameter is a whole segment/],
    [{ ...good, path: '/x/{id:.+}' }, /a parameter is a whole segment/],
    [{ ...good, path: '/x/{id}/{id}' }, /path: parameter id stands there twice/],
    [{ ...good, path: '/x/{id...}/y' }, /path: \{id\.\.\.\} takes the rest of the path, so it must be the last/],
    [{ ...good, path: '/x/{id...}' }, /target: \{id\.\.\.\} is the rest of the path, which is never a target/],
    [{ ...good, resource: undefined }, /resource: missing/],
    [{ ...good, resource: 'device' }, /resource: unknown name "device"; write DEVICE/],
    [{ ...good, resource: 'ALL' }, /resource: unknown name "ALL"/],
    [{ ...good, resource: '{type}' }, /resource: the path has no parameter \{type\}; it has id/],
    [{ ...good, operation: 'REED' }, /operation: unknown name "REED"/],
    [{ ...good, operation: 'ALL' }, /operation: unknown name "ALL"/],
    [{ ...good, operation: '{id}' }, /operation: unknown name/],
    [{ ...good, target: undefined }, /target: missing; .*\(never a default\)/],
    [{ ...good, target: '' }, /target: missing/],
    [{ ...good, target: null }, /target: missing/],
    [{ ...good, target: '{nope}' }, /target: the path has no parameter \{nope\}/],
    [{ ...good, target: 'a{id}' }, /target: .*a parameter stands alone/],
    [{ ...good, target: 7 }, /target: expected a string, got number/],
    [{ ...good, target: 'a\nb' }, /target: an id has no control characters/],
    [{ ...good, in: 'body' }, /target: the check says in: as well/],
    [{ ...good, target: undefined, in: 'header' }, /in: expected body, query or server, got "header"/],
    [{ ...good, coarse: true }, /coarse: no check of this row says in: body/],
    [{ ...good, target: undefined, in: 'body', operation: 'RPC_CALL', coarse: true }, /operation: coarse stands for WRITE and CREATE, not for RPC_CALL/],
    [{ ...good, encoded: 'yes' }, /encoded: true, or take the line away; got "yes"/],
    [{ method: 'GET', path: '/x', public: true, encoded: true }, /encoded: the path has no parameter/],
    [{ ...good, public: true }, /says public and resource, operation, target; keep one/],
    [{ ...good, public: false }, /public: true, or take the line away; got false/],
    [{ ...good, authenticated: true }, /says authenticated and resource/],
    [{ method: 'GET', path: '/x', public: true, authenticated: true }, /says public and authenticated/],
    [{ method: 'GET', path: '/x' }, /says nothing about access/],
    [{ method: 'GET', path: '/x', closed: '' }, /closed: say why/],
    [{ method: 'GET', path: '/x', closed: true }, /closed: say why/],
    [{ method: 'GET', path: '/x', checks: [] }, /checks: expected a list of at least one check.*authenticated: true/],
    [{ method: 'GET', path: '/x', checks: {} }, /checks: expected a list/],
    [{ method: 'GET', path: '/x', checks: ['DEVICE'] }, /checks\[0\]: expected \{ resource/],
    [{ method: 'GET', path: '/x', checks: [{ resource: 'DEVICE', operation: 'READ' }] }, /checks\[0\]\.target: missing/],
    [{ method: 'GET', path: '/x', checks: [{ resource: 'DEVICE', operation: 'READ', target: '*', owner: 'x' }] }, /checks\[0\]\.owner: unknown field; known are resource/],
    [{ ...good, targets: 'x' }, /targets: unknown field/],
    [{ ...good, closed: 'not yet', operation: 'REED' }, /operation: unknown name "REED"/],
  ];
  test.each(wrong)('%j', (row, problem) => {
    expect(problemsOf({ routes: [row] }).join('\n')).toMatch(problem);
  });

  test('every problem of every row at once, each with its row', () => {
    const problems = problemsOf({ routes: [{ ...good, operation: 'REED', target: '' }, good, { ...good, path: 'y', method: 'FETCH' }], extra: 1 });
    expect(problems).toHaveLength(6);
    expect(problems[0]).toBe('extra: unknown field; the file has routes: alone');
    expect(problems.slice(1, 3).every((line) => line.startsWith('routes[1] (GET /x/{id}) '))).toBe(true);
    expect(problems.slice(3).every((line) => line.startsWith('routes[3] (FETCH y) '))).toBe(true);
  });

  test('two rows for the same requests', () => {
    expect(problemsOf({ routes: [good, { ...good, method: ['PUT', 'GET'], path: '/x/{other}', target: '{other}' }] })).toEqual([
      'routes[2] (GET /x/{other}) path: the same requests as routes[1] /x/{id}; merge the two rows',
    ]);
    expect(
      problemsOf({
        routes: [
          { ...good, path: '/x/{id}', target: '*' },
          { ...good, path: '/x/{r...}', target: '*' },
        ],
      }),
    ).toEqual([]);
  });

  test('no list, or an empty one', () => {
    for (const file of [null, undefined, [], 'x', {}, { routes: [] }, { routes: {} }])
      expect(problemsOf(file)).toContain('routes: expected a list of at least one row, { method, path, checks }');
  });

  test('the whole of it in one message', () => {
    expect(() => compileRoutes(vocabulary, { routes: [{ ...good, target: '' }, null] })).toThrow(/^routes: 2 problems\nroutes\[1\].*\nroutes\[2\]/);
  });

  test('a target that can never pass is a warning', () => {
    expect(compileRoutes(vocabulary, { routes: [{ ...good, resource: 'AUDIT_LOG' }] }).warnings).toEqual([
      "routes[1] (GET /x/{id}) target: no id is ever a AUDIT_LOG, so this never passes; say target: '*'",
    ]);
    expect(
      compileRoutes(vocabulary, {
        routes: [
          { ...good, resource: 'PROFILE' },
          { ...good, method: 'PUT', resource: 'DEVICE_GROUP' },
          { ...good, method: 'POST', resource: 'NOTIFICATION' },
        ],
      }).warnings,
    ).toEqual([]);
  });
});

describe('the form with parameters', () => {
  const cases: readonly [resource: string, operation: string, target: string | undefined, answer: string][] = [
    ['DEVICE', 'READ', 'd1', 'DEVICE READ d1'],
    ['device', 'rpc_call', 'd1', 'DEVICE RPC_CALL d1'],
    ['DEVICE', 'READ', '*', 'DEVICE READ *'],
    ['DEVICE', 'READ', 'a b', 'DEVICE READ a b'],
    ['DEVICE', 'READ', '%2a', 'DEVICE READ %2a'],
    ['DEVICE', 'READ', 'x'.repeat(255), `DEVICE READ ${'x'.repeat(255)}`],
    ['DEVICE', 'READ', undefined, 'unmapped: target-missing'],
    ['DEVICE', 'READ', '', 'unmapped: target-missing'],
    ['DEVICE', 'READ', 'x'.repeat(256), 'unmapped: bad-target'],
    ['DEVICE', 'READ', 'a\r\nb', 'unmapped: bad-target'],
    ['DEVICE', 'READ', 'a\u0000', 'unmapped: bad-target'],
    ['DEVICE', 'READ', 'caf\u00e9', 'unmapped: bad-target'],
    ['ALL', 'READ', 'd1', 'unmapped: unknown-resource'],
    ['DEVICE', 'ALL', 'd1', 'unmapped: unknown-operation'],
    ['', 'READ', 'd1', 'unmapped: unknown-resource'],
    ['DEVICE', '', 'd1', 'unmapped: unknown-operation'],
    ['DEVICES', 'READ', 'd1', 'unmapped: unknown-resource'],
    ['DEVICE ', 'READ', 'd1', 'unmapped: unknown-resource'],
    ['%44EVICE', 'READ', 'd1', 'unmapped: unknown-resource'],
    ['A\u017f\u017fET', 'READ', 'd1', 'unmapped: unknown-resource'],
    ['DEV\u0131CE', 'READ', 'd1', 'unmapped: unknown-resource'],
    ['__proto__', 'constructor', 'd1', 'unmapped: unknown-resource'],
  ];
  test.each(cases)('%s/%s %s', (resource, operation, target, answer) => {
    expect(say(parseParameters(vocabulary, { resource, operation, target }))).toBe(answer);
  });
  test('names a route of bounded kind', () => {
    expect(parseParameters(vocabulary, { resource: 'device', operation: 'read', target: 'd1' }).route).toBe('DEVICE/READ');
    expect(parseParameters(vocabulary, { resource: 'junk', operation: 'read', target: 'd1' }).route).toBeNull();
  });
});
