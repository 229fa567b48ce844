// Does every world of the corpus answer the same at every door: specification, library, command line, nginx, each proxy's door over
// HTTP, gRPC, AuthZEN?
//
// A door of a proxy has no header for `owner` and `groups` of a CREATE, so checks that name them do not run there; each other one
// does, with its decision as the client's status, and its reason and rule in the decision log. AuthZEN has a place for both, so all run there.

import { execFile } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compileWorld, parseWorldFile, requestOf, type WorldCheck, type WorldFile } from 'policy-cache';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { reference, type Answer, type Names } from '../../policy-cache/test/reference.ts';
import { runCli } from '../../src/cli.ts';
import { testHost } from '../support/cli.ts';
import { DIALECTS, doorPath, type Dialect } from '../../src/doors/dialects.ts';
import { evaluation } from '../support/api.ts';
import { askDecided, startClient, type Ask, type Client } from '../support/ask.ts';
import { ALLOWED, DENIED, checkRequest, verdictOf, type Asked } from '../support/check-requests.ts';
import { startGrpcClient, type GrpcClient } from '../support/grpc.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { tokenFor } from '../support/sidecar.ts';
import { checkPath, checkRoutes, startStack, vocabulary, type Stack } from '../support/stack.ts';

const folder = new URL('worlds/', import.meta.url);
const files = readdirSync(folder).filter((file) => file.endsWith('.yaml'));
const text = (file: string): string => readFileSync(new URL(file, folder), 'utf8');
const names = parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')) as Names;

const ran = {
  specification: 0,
  library: 0,
  'command line': 0,
  authzen: 0,
  nginx: 0,
  'nginx, with parameters': 0,
  'nginx, percent-encoded': 0,
  'HTTP doors': 0,
  gRPC: 0,
  'gRPC, with parameters': 0,
};
/** Counted in the text, not by our own parser: a check that this drops is missed here. */
const there = files.flatMap((file) => text(file).match(/^ *- \{ user: .*\bexpect: .*\}$/gm) ?? []);
const forNginx = there.filter((line) => !/\b(owner|groups):/.test(line));
const forParameters = forNginx.filter((line) => /operation: READ, resource: DEVICE, target: (?!"?\*)/.test(line));
const forEncoded = forNginx.filter((line) => /target: (?!"?\*)/.test(line));

let server: TestServer;
beforeAll(async () => void (server = await startPostgres('embedded18')));
afterAll(async () => server?.close());

describe.each(files)('%s', (file) => {
  const { world, problems } = parseWorldFile(parse(text(file)));
  const specification = specified(world);
  const expected = world.checks.map((check) => answerOf(check, specification(check)));
  let stack: Stack;
  beforeAll(async () => {
    expect(problems).toEqual([]);
    stack = await startStack({ server, world: text(file), routes: checkRoutes() });
  });
  afterAll(async () => stack?.close());

  test('specification', () => {
    expect(world.checks.map(specification)).toEqual(expected);
    ran.specification += world.checks.length;
  });

  test('library', () => {
    const compiled = compileWorld(vocabulary, world);
    expect(world.checks.map((check) => plain(compiled.decide(requestOf(vocabulary, check))))).toEqual(expected);
    ran.library += world.checks.length;
  });

  test('command line, against the database', async () => {
    const url = await stack.database.urlAs('grantgate_reader');
    const got: Answer[] = [];
    for (const check of world.checks) got.push(await byCommand(check, url));
    expect(got).toEqual(expected);
    ran['command line'] += got.length;
  });

  test('AuthZEN', async () => {
    const client = startClient(stack.sidecar.api);
    const answers = await Promise.all(world.checks.map((check, i) => byAuthzen(stack, client, { check, id: `authzen-${i}` })));
    client.close();
    expect(answers).toEqual(expected);
    ran.authzen += answers.length;
  });

  test('nginx', async () => {
    const checks = world.checks
      .map((check, i) => ({ check, expected: expected[i]! }))
      .filter(({ check }) => check.owner === undefined && check.groups === undefined);
    const answers = await Promise.all(checks.map(({ check }, i) => throughNginx(stack, check, { path: checkPath(check), id: `route-${i}` })));
    expect(answers).toEqual(checks.map((one) => one.expected));
    ran.nginx += answers.length;

    const byParameters = checks.filter(({ check }) => check.operation === 'READ' && check.resource === 'DEVICE' && check.target !== '*');
    const more = await Promise.all(
      byParameters.map(({ check }, i) => throughNginx(stack, check, { path: `/api/devices/${check.target}`, id: `parameters-${i}` })),
    );
    expect(more).toEqual(byParameters.map((one) => one.expected));
    ran['nginx, with parameters'] += more.length;
  });

  test('nginx, every target percent-encoded', async () => {
    const checks = world.checks
      .map((check, i) => ({ check, expected: expected[i]! }))
      .filter(({ check }) => check.target !== '*' && check.owner === undefined && check.groups === undefined);
    const encoded = (id: string): string => Buffer.from(id).reduce((all, byte) => `${all}%${byte.toString(16).padStart(2, '0')}`, '');
    const answers = await Promise.all(
      checks.map(({ check }, i) =>
        throughNginx(stack, check, { path: `/check/${check.resource}/${check.operation}/${encoded(check.target)}`, id: `encoded-${i}` }),
      ),
    );
    expect(answers).toEqual(checks.map((one) => one.expected));
    ran['nginx, percent-encoded'] += answers.length;
  });

  // As each proxy asks, straight to the doors' socket: what the real ones send is in test/proxies.
  test.each(DIALECTS.map((dialect) => [dialect.name, dialect] as const))('the door of %s, by the route table and by parameters', async (_, dialect) => {
    const client = startClient(stack.sidecar.doors);
    const checks = world.checks
      .map((check, i) => ({ check, expected: expected[i]! }))
      .filter(({ check }) => check.owner === undefined && check.groups === undefined);
    for (const ask of [asItAsks(dialect), ...(dialect.target === null ? [] : [withParameters(dialect)])]) {
      const answers = await Promise.all(
        checks.map(({ check }, i) => decidedAt(stack, client, { user: check.user, ask: ask(check), id: `${dialect.name}-${i}` })),
      );
      expect(answers).toEqual(checks.map((one) => one.expected));
      ran['HTTP doors'] += answers.length;
    }
    client.close();
  });

  test('gRPC, by the route table and by parameters', async () => {
    const client = startGrpcClient(`unix:${stack.sidecar.grpcSocket}`);
    const checks = world.checks
      .map((check, i) => ({ check, expected: expected[i]! }))
      .filter(({ check }) => check.owner === undefined && check.groups === undefined);
    const answers = await Promise.all(checks.map(({ check }, i) => byGrpc(stack, client, { check, asked: { path: checkPath(check) }, id: `grpc-${i}` })));
    expect(answers).toEqual(checks.map((one) => one.expected));
    ran.gRPC += answers.length;

    const more = await Promise.all(
      checks.map(({ check }, i) => {
        const { resource, operation, target } = check;
        return byGrpc(stack, client, { check, asked: { path: '/', context: { resource, operation, target } }, id: `context-${i}` });
      }),
    );
    expect(more).toEqual(checks.map((one) => one.expected));
    ran['gRPC, with parameters'] += more.length;
    client.close();
  });
});

test('the command `check --world` runs them all, and its last line says so', async () => {
  const program = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
  const output = await new Promise<string>((resolve, reject) => {
    execFile(process.execPath, [program, 'check', '--world', ...files.map((file) => fileURLToPath(new URL(file, folder)))], (error, stdout, stderr) =>
      error ? reject(new Error(stdout + stderr)) : resolve(stdout),
    );
  });
  expect(output.trim().split('\n').at(-1)).toBe(`${there.length} checks, 0 failed`);
});

test('no check was left out', () => {
  console.log(
    `worlds: ${there.length} checks in ${files.length} files, ${there.length - forNginx.length} of them with an owner or groups, for which a door has no header\n` +
      Object.entries(ran)
        .map(([door, count]) => `  ${door}: ${count}`)
        .join('\n'),
  );
  expect(files.length).toBeGreaterThanOrEqual(5);
  expect(there.length).toBeGreaterThan(60);
  expect(ran).toEqual({
    specification: there.length,
    library: there.length,
    'command line': there.length,
    authzen: there.length,
    nginx: forNginx.length,
    'nginx, with parameters': forParameters.length,
    'nginx, percent-encoded': forEncoded.length,
    'HTTP doors': forNginx.length * (2 * DIALECTS.length - 1), // one has no parameters
    gRPC: forNginx.length,
    'gRPC, with parameters': forNginx.length,
  });
});

function specified(world: WorldFile): (check: WorldCheck) => Answer {
  return reference(names, world);
}

/** What the file says; where it leaves reason or rule out, the specification says the rest. */
function answerOf({ expect: decision, reason, rule }: WorldCheck, by: Answer): Answer {
  return { allow: decision === 'allow', reason: reason ?? by.reason, rule: rule ?? by.rule };
}

function plain({ allow, reason, rule }: Answer): Answer {
  return { allow, reason, rule };
}

async function byCommand({ user, operation, resource, target, owner, groups, expect: decision }: WorldCheck, url: string): Promise<Answer> {
  let output = '';
  let problems = '';
  const code = await runCli(
    [
      'check',
      '--json',
      '--set',
      'database.connections=1',
      '--user',
      user,
      '--operation',
      operation,
      '--resource',
      resource,
      '--target',
      target,
      ...(owner === undefined ? [] : ['--owner', owner]),
      ...(groups === undefined ? [] : ['--group', ...groups]),
    ],
    testHost({ env: { DATABASE_URL: url }, stdout: { write: (part) => (output += part) }, stderr: { write: (part) => (problems += part) } }),
  );
  expect({ code, problems }).toEqual({ code: decision === 'allow' ? 0 : 1, problems: '' });
  const answer = JSON.parse(output) as { decision: string; reason: string; rule: string };
  return { allow: answer.decision === 'allow', reason: answer.reason, rule: answer.rule };
}

/** In the answer, and the same in the log. */
async function byAuthzen({ sidecar }: Stack, client: Client, { check, id }: { check: WorldCheck; id: string }): Promise<Answer> {
  const { user, operation, resource, target, owner, groups } = check;
  const properties = { ...(owner === undefined ? {} : { owner }), ...(groups === undefined ? {} : { groups }) };
  const body = { subject: { type: 'user', id: user }, action: { name: operation }, resource: { type: resource, id: target, properties } };
  // At `latest`, so that each waits: the deadline is the service's own, a busy machine may need more than one attempt.
  const ask = () => client.ask(evaluation(body, { requestId: id, headers: { 'X-Authz-At-Least': 'latest' } }));
  let answer = await ask();
  for (let attempt = 1; answer.status === 503 && attempt < 5; attempt++) {
    await sidecar.line(id);
    answer = await ask();
  }
  expect(answer.status).toBe(200);
  const { decision, context } = JSON.parse(answer.body) as { decision: boolean; context: { reason: string; rule: string; revision: string } };
  const { reason, rule, revision } = context;
  expect(answer.headers['x-authz-revision']).toBe(revision);
  expect(await sidecar.line(id)).toMatchObject({ decision: decision ? 'allow' : 'deny', reason, rule, revision, subject: user });
  return { allow: decision, reason, rule };
}

type Question = Pick<WorldCheck, 'resource' | 'operation' | 'target'>;

/** A check as a path that the client asked for, said in the way of this proxy. */
function asItAsks(dialect: Dialect): (check: Question) => Ask {
  const { origin } = dialect;
  if (origin.kind === 'request-line') return (check) => ({ path: doorPath(dialect) + checkPath(check) });
  return (check) => ({
    path: doorPath(dialect),
    headers: { [origin.method]: 'GET', [origin.uri]: `${origin.url ? 'https://app.example' : ''}${checkPath(check)}` },
  });
}

/** A check as parameters of the door; the path that was asked for says nothing. */
function withParameters(dialect: Dialect): (check: Question) => Ask {
  return ({ resource, operation, target }) => {
    const { headers } = asItAsks(dialect)({ resource, operation, target });
    const uri = dialect.origin.kind === 'headers' ? { [dialect.origin.uri]: `${dialect.origin.url ? 'https://app.example' : ''}/elsewhere` } : {};
    return { path: `${doorPath(dialect)}/${resource}/${operation}`, headers: { ...headers, ...uri, 'x-authz-target': target } };
  };
}

function throughNginx(stack: Stack, { user }: WorldCheck, { path, id }: { path: string; id: string }): Promise<Answer> {
  return decidedAt(stack, stack.client, { user, ask: { path }, id });
}

/** The decision by what the client got, reason and rule from the log. */
async function decidedAt({ sidecar }: Stack, client: Client, { user, ask, id }: { user: string; ask: Ask; id: string }): Promise<Answer> {
  const { status, requestId } = await askDecided(client, { ...ask, token: await tokenFor(user), requestId: id });
  const { decision, reason, rule } = await sidecar.line(requestId);
  expect({ status, decision }).toEqual(status === 200 ? { status, decision: 'allow' } : { status: 403, decision: 'deny' });
  return { allow: status === 200, reason, rule };
}

/** Straight to the listener, as Envoy asks; reason and rule from the log. A check that takes too long on a busy machine is asked again. */
async function byGrpc({ sidecar }: Stack, client: GrpcClient, { check, asked, id }: { check: WorldCheck; asked: Asked; id: string }): Promise<Answer> {
  const authorization = `Bearer ${await tokenFor(check.user)}`;
  for (let attempt = 1; ; attempt++) {
    const requestId = `${id}.${attempt}`;
    const { answer, error } = await client.check(checkRequest({ ...asked, headers: { authorization, 'x-request-id': requestId } }));
    const { decision, reason, rule } = await sidecar.line(requestId);
    if (answer === null && attempt < 5) continue;
    if (answer === null) throw new Error(`gRPC ${error}: ${reason}`);
    expect({ verdict: verdictOf(answer), decision }).toEqual(
      answer.ok_response ? { verdict: ALLOWED, decision: 'allow' } : { verdict: DENIED, decision: 'deny' },
    );
    return { allow: answer.ok_response !== undefined, reason, rule };
  }
}
