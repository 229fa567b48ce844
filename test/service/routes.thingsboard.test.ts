// Is the shipped ThingsBoard table whole, and closed wherever it does not know?
import { readFileSync } from 'node:fs';
import { compileVocabulary, type Vocabulary } from 'policy-cache';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { compileRoutes, matchRoute, type RouteMatch, type Unmapped } from '../../src/routes.ts';

const read = (name: string): unknown => parse(readFileSync(new URL(`../../policy-cache/vocabulary/${name}`, import.meta.url), 'utf8'));
const vocabulary: Vocabulary = compileVocabulary(read('thingsboard.yaml'));
const file = read('thingsboard-routes.yaml') as { routes: Record<string, unknown>[] };
const began = performance.now();
const { table, overlaps, warnings } = compileRoutes(vocabulary, file);
const took = performance.now() - began;

function say(answer: RouteMatch | Unmapped): string {
  if (answer.kind === 'unmapped') return answer.reason;
  if (answer.public) return 'public';
  return answer.authenticated
    ? 'authenticated'
    : answer.checks.map((check) => `${vocabulary.resources[check.resource]} ${vocabulary.operations[check.operation]} ${check.target}`).join(' + ');
}

const ask = (method: string, target: string): string => say(matchRoute(table, { method, target }));
const ID = '784f394c-42b6-435a-983c-b7beff2784f9';

/** A request that the row is for: each id another UUID, each type DEVICE. */
function sample(path: string): string {
  let next = 0;
  return path.replace(/\{(\w+)\}/g, (_, name: string) => (/type$/i.test(name) ? 'DEVICE' : `${ID.slice(0, -1)}${next++}`));
}

test('every operation is there once, by kind', () => {
  const kinds: Record<string, number> = {};
  for (const row of table.rows) {
    const kind = row.access.kind === 'closed' ? row.access.reason : row.access.kind;
    kinds[kind] = (kinds[kind] ?? 0) + 1;
  }
  console.log(`${table.rows.length} rows compiled in ${took.toFixed(0)} ms:`, kinds);
  expect(file.routes).toHaveLength(822);
  expect(kinds).toEqual({ public: 36, authenticated: 38, checks: 338, closed: 368, 'id-in-body': 39, 'id-in-server': 3 });
  expect(new Set(file.routes.map((row) => `${String(row['method'])} ${String(row['path'])}`)).size).toBe(822);
});

test('every row is found by the request that it is for, and by no other row', () => {
  for (const row of table.rows) {
    const answer = matchRoute(table, { method: row.methods[0]!, target: sample(row.path) });
    expect([row.path, answer.route]).toEqual([row.path, row.path]);
    const kind = answer.kind === 'unmapped' ? 'closed' : answer.public ? 'public' : answer.authenticated ? 'authenticated' : 'checks';
    expect([row.path, kind]).toEqual([row.path, row.access.kind]);
  }
});

test('no overlap that a real request could fall into, and no other warning', () => {
  const crossing = overlaps.filter((overlap) => overlap.crossing);
  console.log(`${overlaps.length} overlaps: ${overlaps.length - crossing.length} of a literal in a parameter, ${crossing.length} crossing`);
  expect(crossing).toHaveLength(112);
  // What both rows of a crossing pair match has a word like `info` or `devices` in the place of an id. It is refused.
  for (const { method, first, second } of crossing) {
    const [a, b] = [first.split('/'), second.split('/')];
    const both = a.map((segment, i) => (segment.startsWith('{') ? b[i]! : segment)).join('/');
    const narrower = table.rows.some((row) => row.methods.includes(method) && row.path === both);
    expect([both, narrower || ask(method, sample(both))]).toEqual([both, narrower || 'ambiguous']);
  }
  expect(warnings).toEqual([expect.stringMatching(/^112 pairs of rows cross/)]);
});

test('a public row is never reached by way of a parameter of another, and asks for nothing', () => {
  for (const row of table.rows.filter((one) => one.access.kind === 'public')) {
    expect(row.path).toMatch(/^\/(api\/(noauth|auth|license|trendz\/public|images\/public|device-connectivity|admin\/mail\/oauth2\/code)|\.well-known)\b/);
    expect(row.encoded).toBe(false);
  }
});

describe('requests of the user interface and of devices', () => {
  test.each([
    ['GET', `/api/device/${ID}`, `DEVICE READ ${ID}`],
    ['HEAD', `/api/device/${ID}`, `DEVICE READ ${ID}`],
    ['DELETE', `/api/device/${ID}`, `DEVICE DELETE ${ID}`],
    ['GET', `/api/device/${ID}/credentials`, `DEVICE READ_CREDENTIALS ${ID}`],
    ['POST', '/api/device', 'id-in-body'],
    ['POST', '/api/role', 'id-in-body'],
    ['GET', '/api/devices?pageSize=10&page=0', 'DEVICE READ *'],
    ['GET', `/api/plugins/telemetry/DEVICE/${ID}/values/timeseries?keys=t`, `DEVICE READ_TELEMETRY ${ID}`],
    ['GET', `/api/plugins/telemetry/device/${ID}/values/attributes`, `DEVICE READ_ATTRIBUTES ${ID}`],
    ['POST', `/api/plugins/telemetry/${ID}/SHARED_SCOPE`, `DEVICE WRITE_ATTRIBUTES ${ID}`],
    ['POST', `/api/plugins/telemetry/ASSET/${ID}/timeseries/ANY`, `ASSET WRITE_TELEMETRY ${ID}`],
    ['POST', `/api/rpc/twoway/${ID}`, `DEVICE RPC_CALL ${ID}`],
    ['POST', `/api/alarm/${ID}/assign/u1`, `ALARM WRITE ${ID} + USER READ u1`],
    ['GET', `/api/audit/logs/entity/ASSET/${ID}`, `AUDIT_LOG READ * + ASSET READ ${ID}`],
    ['GET', `/api/entityGroup/${ID}/devices`, `DEVICE_GROUP READ ${ID} + DEVICE READ *`],
    ['GET', `/api/entityGroup/${ID}`, 'closed'],
    ['GET', '/api/entityGroups/DEVICE', 'DEVICE_GROUP READ *'],
    ['GET', `/api/user/${ID}/token`, `USER IMPERSONATE ${ID}`],
    ['GET', '/api/auth/user', 'authenticated'],
    ['POST', '/api/auth/login', 'public'],
    ['GET', '/api/admin/jwtSettings', 'closed'],
    ['POST', '/api/tenant', 'closed'],
    ['POST', '/api/whiteLabel/whiteLabelParams', 'closed'],
    ['GET', '/api/alarm/types', 'closed'],
    ['POST', '/api/entitiesQuery/find', 'closed'],
    ['POST', '/api/v1/A1_TEST_TOKEN/telemetry', 'closed'],
    ['GET', '/api/relation?fromId=x', 'closed'],
    ['GET', '/api/device/info/credentials', 'ambiguous'],
    ['GET', '/api/ws', 'no-route'],
    ['GET', '/', 'no-route'],
    ['OPTIONS', `/api/device/${ID}`, 'no-route'],
    ['GET', `/api/device/%37${ID.slice(1)}`, 'percent-encoded'],
    ['GET', '/api/noauth/../device/d1', 'dot-segment'],
    ['GET', '/api/noauth/login;/../../device/d1', 'path-parameter'],
  ])('%s %s: %s', (method, target, answer) => {
    expect(ask(method, target)).toBe(answer);
  });
});
