import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { compactVerify, decodeJwt } from 'jose';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { VERSION } from '../../src/version.ts';
import { cli } from '../support/cli.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const KEY = Buffer.alloc(64, 'a key').toString('base64');
const env = { GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY: KEY };
const COMMANDS = ['serve', 'demo', 'migrate', 'import', 'export', 'check', 'token', 'config', 'healthcheck'];

test('help names every command, and each command has help with examples', async () => {
  const help = await cli(['--help']);
  expect(help.code).toBe(0);
  expect(help.stdout).toContain('Exit codes: 0 allow, or done; 1 deny, or not so; 2 cannot decide, or bad input.');
  for (const command of COMMANDS) {
    expect(help.stdout).toMatch(new RegExp(`^  ${command}\\b`, 'm'));
    const own = await cli([command, '--help']);
    expect(own.code, command).toBe(0);
    expect(own.stdout, command).toMatch(/Examples:\n  \S/);
  }
});

test('the version is that of package.json', async () => {
  expect((JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as { version: string }).version).toBe(VERSION);
  expect((await cli(['--version'])).stdout.trim()).toBe(VERSION);
});

describe('bad input is exit code 2, on stderr, with nothing on stdout', () => {
  test.each([
    [['fly'], /unknown command 'fly'/],
    [[], /Usage/],
    [['config', '--nope'], /unknown option '--nope'/],
    [['config', '--set'], /argument missing/],
    [['config', '--set', 'doors.prot=1', '--set', 'api.port=x'], /2 problems:\n.*did you mean doors\.port\?\n.*api\.port/],
    [['config', '--config', '/nowhere.yaml'], /\/nowhere\.yaml: cannot be read/],
    [['check', '--user', 'u', '--operation', 'READ', '--resource', 'DEVICE'], /--target: must be said/],
    [['check', '--user', 'u'], /--operation, --resource, --target: must be said/],
    [['check', '--user', 'u', '--operation', 'READ', '--resource', 'DEVICE', '--target', 'd'], /database\.url: is not set.*DATABASE_URL/],
    [['check', '--world', 'x.yaml', '--user', 'u', '--target', 'd'], /leave --user, --target out/],
    [['check', '--user', 'a\u0000b', '--operation', 'READ', '--resource', 'DEVICE', '--target', 'd'], /database\.url|control characters/],
    [['token'], /required option '--user/],
    [['token', '--user', 'u', '--ttl', 'soon'], /--ttl: must be a time/],
    [['token', '--user', 'u', '--scope', 'KING'], /--scope: must be one of TENANT_ADMIN/],
    [['import'], /missing required argument 'file'/],
    [['migrate'], /database\.ownerUrl: is not set/],
    [['serve'], /database\.url: is not set/],
  ])('%j', async (args, message) => {
    const run = await cli(args, { env });
    expect(run.code).toBe(2);
    expect(run.stderr).toMatch(message);
    expect(run.stdout).toBe('');
  });
  test('with --json the problem is one JSON value', async () => {
    const run = await cli(['config', '--json', '--set', 'a=1', '--set', 'b=2'], { env });
    const { error } = JSON.parse(run.stderr) as { error: { code: string; problems: string[] } };
    expect(error.code).toBe('input');
    expect(error.problems).toHaveLength(2);
  });
  test('serve without a signing key says that nobody could be known', async () => {
    const run = await cli(['serve'], { env: { DATABASE_URL: 'postgres://u@127.0.0.1/d' } });
    expect(run).toMatchObject({ code: 2, stdout: '' });
    expect(run.stderr).toMatch(/identity\.thingsboard\.signingKey: is not set/);
  });
  test('a database on another machine without TLS is refused, and its password is not shown', async () => {
    for (const args of [['migrate'], ['check', '--user', 'u', '--operation', 'READ', '--resource', 'DEVICE', '--target', 'd']]) {
      const run = await cli(args, { env: { ...env, DATABASE_URL: 'postgres://u:hunter2@db.example/d?sslmode=disable' } });
      expect(run.code).toBe(2);
      expect(run.stderr).toMatch(/sslmode=disable/);
      expect(run.stderr + run.stdout).not.toContain('hunter2');
    }
  });
});

test('a database that is not there is "cannot decide", not a deny', async () => {
  const run = await cli(['check', '--json', '--user', 'u', '--operation', 'READ', '--resource', 'DEVICE', '--target', 'd'], {
    env: { DATABASE_URL: 'postgres://u@127.0.0.1:1/d' },
  });
  expect(run.code).toBe(2);
  expect(JSON.parse(run.stderr)).toMatchObject({ error: { code: 'starting' } });
});

describe('check --world', () => {
  test('runs the checks of every world of the corpus and of the demo, and none fails', async () => {
    const directory = `${root}test/corpus/worlds/`;
    const files = [...readdirSync(directory).map((name) => directory + name), `${root}deploy/demo/smart-building.yaml`];
    const inFiles = files.reduce((all, file) => all + ((parse(readFileSync(file, 'utf8')) as { checks: unknown[] }).checks ?? []).length, 0);
    const run = await cli(['check', '--world', ...files]);
    expect(run).toEqual({ code: 0, stdout: `${inFiles} checks, 0 failed\n`, stderr: '' });
    expect(inFiles).toBeGreaterThan(80);
  });

  const world = (checks: string): string => `tenants: [{ id: t }]
users: [{ id: u, owner: t }]
groups: [{ id: g, type: USER, owner: t }]
entities: [{ id: d, type: DEVICE, owner: t }]
checks:
${checks}`;
  test('a check that fails is told with file, line, question, expected and got', async () => {
    const files = {
      'w.yaml': world(
        '  - { user: u, operation: READ, resource: DEVICE, target: d, expect: allow }\n  - { user: u, operation: READ, resource: DEVICE, target: d, expect: deny, reason: out-of-scope }\n  - { user: u, operation: READ, resource: DEVICE, target: d, expect: deny, rule: 6e }',
      ),
    };
    const run = await cli(['check', '--world', 'w.yaml'], { files });
    expect(run.code).toBe(1);
    expect(run.stdout.split('\n')).toEqual([
      'w.yaml:6: u READ DEVICE d: expected allow, got deny (no-grant, rule 6e)',
      'w.yaml:7: u READ DEVICE d: expected deny (out-of-scope), got deny (no-grant, rule 6e)',
      '3 checks, 2 failed',
      '',
    ]);
    const json = JSON.parse((await cli(['check', '--json', '--world', 'w.yaml'], { files })).stdout) as { checks: number; failed: number; failures: unknown[] };
    expect(json).toMatchObject({ checks: 3, failed: 2 });
    expect(json.failures[0]).toEqual({ file: 'w.yaml', line: 6, check: 'u READ DEVICE d', expected: 'allow', got: 'deny (no-grant, rule 6e)' });
  });
  test.each([
    ['no YAML', 'tenants: [', /^w\.yaml:1: /],
    ['no world', 'tenants: 7', /^w\.yaml:1: tenants/],
    ['an owner that is not there', 'tenants: [{ id: t }]\nusers: [{ id: u, owner: x }]', /^w\.yaml:2: users\[0\]/],
    ['an unknown operation in a role', 'tenants: [{ id: t }]\nroles: [{ id: r, owner: t, type: GROUP, permissions: [FLY] }]', /FLY/],
  ])('a file that is broken (%s) is 2, and the others are still run', async (_, text, message) => {
    const run = await cli(['check', '--world', 'w.yaml', 'good.yaml', 'gone.yaml'], {
      files: { 'w.yaml': text, 'good.yaml': world('  - { user: u, operation: READ, resource: DEVICE, expect: deny }') },
    });
    expect(run.code).toBe(2);
    expect(
      run.stderr.split('\n').some((line) => message.test(line)),
      run.stderr,
    ).toBe(true);
    expect(run.stderr).toMatch(/gone\.yaml: cannot be read/);
    expect(run.stdout).toMatch(/\b\d checks, 0 failed, not all were run: [2-9] problems\n$/);
  });
});

describe('token', () => {
  test('is signed with the configured key, for the user, for the time', async () => {
    const run = await cli(['token', '--user', 'ada', '--ttl', '2h', '--scope', 'tenant_admin'], { env });
    expect(run.code).toBe(0);
    const token = run.stdout.trim();
    await compactVerify(token, Buffer.from(KEY, 'base64'), { algorithms: ['HS512'] });
    const claims = decodeJwt(token);
    expect(claims).toMatchObject({ userId: 'ada', scopes: ['TENANT_ADMIN'] });
    expect(claims.exp! - claims.iat!).toBe(7200);
  });
  test('as JSON it says when it ends', async () => {
    const run = await cli(['token', '--user', 'ada', '--json'], { env: { ...env, GRANTGATE_IDENTITY_THINGSBOARD_ISSUER: 'me' } });
    const value = JSON.parse(run.stdout) as { token: string; expires: string };
    expect(decodeJwt(value.token).iss).toBe('me');
    expect(Math.abs(Date.parse(value.expires) - Date.now() - 900_000)).toBeLessThan(60_000);
  });
  test('without a key there is none', async () => {
    expect(await cli(['token', '--user', 'ada'])).toMatchObject({ code: 2, stdout: '' });
  });
});

describe('healthcheck', () => {
  async function answering(status: number, body: string): Promise<{ port: number; close(): void }> {
    const server = createServer((req, res) => res.writeHead(req.url === '/readyz' ? status : 404).end(body));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return { port: (server.address() as AddressInfo).port, close: () => void server.close() };
  }
  test.each([
    [200, 0, 'ready: {'],
    [503, 1, 'not ready: {'],
  ])('%i is exit code %i', async (status, code, text) => {
    const server = await answering(status, '{"state":"following"}');
    const run = await cli(['healthcheck', '--set', `api.port=${server.port}`]);
    const json = await cli([
      'healthcheck',
      '--json',
      '--set',
      `api.port=${server.port}`,
      '--set',
      'api.host=0.0.0.0',
      '--set',
      'api.insecurePublicListen=true',
    ]);
    server.close();
    expect(run.code).toBe(code);
    expect(run.stdout).toContain(text);
    expect(JSON.parse(json.stdout)).toMatchObject({ ready: status === 200, status, answer: { state: 'following' } });
  });
  test('nobody there is exit code 2', async () => {
    const run = await cli(['healthcheck', '--set', 'api.port=1']);
    expect(run.code).toBe(2);
    expect(run.stdout).toMatch(/127\.0\.0\.1:1\/readyz: .*ECONNREFUSED/);
  });
});

test('config prints the settings with their sources, as YAML and as JSON', async () => {
  const run = await cli(['config', '--set', 'doors.port=9000'], { env: { ...env, DATABASE_URL: 'postgres://a:b@h/d' } });
  expect(run.code).toBe(0);
  expect(run.stdout).toMatch(/^ {2}port: 9000 +# --set$/m);
  expect(run.stdout).toContain('"postgres://a:secret@h/d"');
  const json = JSON.parse((await cli(['config', '--json'], { env })).stdout) as Record<string, { value: unknown; source: string }>;
  expect(json['identity.thingsboard.signingKey']).toEqual({ value: '[secret]', source: 'env GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY' });
});
