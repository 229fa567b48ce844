// Is the command line of the administration usable from nothing? A database, one tenant, and files that are applied to it.

import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { OPERATOR } from '../support/admin.ts';
import { cli, type CliOptions, type CliRun } from '../support/cli.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { tokenFor } from '../support/sidecar.ts';
import { startBehind, type Behind } from '../support/stack.ts';

let server: TestServer;
let behind: Behind;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  // On a machine that does other work the loop of the service is late: it would verify no new token, and answer 503; and a lease would run out.
  const set = { 'overload.delay': '10s', 'cache.maxStaleness': '20s' };
  behind = await startBehind({ server, world: '{"tenants": []}', administered: true, set });
});
afterAll(async () => {
  await behind?.close();
  await server?.close();
});

async function as(user: string, args: readonly string[], options: CliOptions = {}): Promise<CliRun> {
  const token = user === OPERATOR ? OPERATOR : await tokenFor(user);
  const env = { GRANTGATE_CLIENT_SERVER: `http://127.0.0.1:${behind.sidecar.api}`, GRANTGATE_CLIENT_TOKEN: token };
  return cli(args, { env, ...options });
}

const WORLD = `
customers:
  - { id: tower, owner: acme, title: Tower }
  - { id: cafe, owner: tower, title: Café }
groups:
  - { id: meters, type: DEVICE, owner: tower }
  - { id: night, type: USER, owner: tower, name: Night shift }
roles:
  - { id: look, owner: acme, type: GROUP, permissions: [READ, READ_TELEMETRY] }
users:
  - { id: ben, owner: tower, groups: [night], email: ben@tower.example }
entities:
  - { id: m1, type: DEVICE, owner: tower, groups: [meters] }
  - { id: m2, type: DEVICE, owner: cafe }
grants:
  - { userGroup: night, role: look, entityGroup: meters }
`;
const SMALLER = `
customers:
  - { id: tower, owner: acme, title: The Tower }
tenants:
  - { id: acme }
groups:
  - { id: meters, type: DEVICE, owner: tower }
entities:
  - { id: m1, type: DEVICE, owner: tower, groups: [] }
`;
const CAFE = `
customers:
  - { id: cafe, owner: tower }
entities:
  - { id: m2, type: DEVICE, owner: cafe }
`;
const files = { 'world.yaml': WORLD, 'smaller.yaml': SMALLER, 'cafe.yaml': CAFE };

test('bootstrap, straight in the database: a tenant and its first administrator, once', async () => {
  const env = { ADMIN_DATABASE_URL: await behind.database.urlAs('grantgate_writer') };
  expect(await cli(['bootstrap', '--tenant', 'acme', '--user', 'ada', '--name', 'Acme'], { env })).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^made tenant acme and its first administrator ada; revision \d+-/) as string,
  });
  expect(await cli(['bootstrap', '--tenant', 'acme', '--user', 'eve'], { env })).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('has an administrator') as string,
  });
  expect(await as('ada', ['user', 'get', 'ada', '--json'])).toMatchObject({ code: 0, stdout: expect.stringContaining('"admins:acme"') as string });
});

test('one thing at a time, with exit codes that scripts can use', async () => {
  expect(await as('ada', ['customer', 'create', 'mill', '--title', 'Mill'])).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^mill {2}owner=acme {2}title=Mill/) as string,
  });
  expect(await as('ada', ['customer', 'create', 'mill'])).toMatchObject({ code: 1, stderr: expect.stringContaining('is used already') as string });
  expect(await as('ada', ['customer', 'update', 'mill', '--title', '', '--details', '{floor: 3}', '--json'])).toMatchObject({ code: 0 });
  const mill = { id: 'mill', owner: 'acme', groups: [], details: { floor: 3 } };
  expect(JSON.parse((await as('ada', ['customer', 'get', 'mill', '--json'])).stdout)).toEqual({ ...mill, etag: expect.any(String) as string });
  expect(await as('ada', ['user', 'create', 'mia', '--owner', 'mill', '--group', 'users:mill'])).toMatchObject({ code: 0 });
  expect(await as('mia', ['user', 'delete', 'ada'])).toMatchObject({ code: 1, stderr: expect.stringMatching(/rule 6e/) as string });
  expect(await as('mia', ['customer', 'list'])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^mill {2}.*\n$/) as string });
  expect(await as('ada', ['user', 'move', 'mia', '--owner', 'acme', '--group', 'users:acme'])).toMatchObject({ code: 0 });
  expect(await as('ada', ['user', 'delete', 'mia'])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^removed mia\nrevision/) as string });
  expect(await as('ada', ['customer', 'delete', 'mill'])).toMatchObject({ code: 0 });
  expect(await as('ada', ['customer', 'get', 'mill'])).toMatchObject({ code: 1, stderr: 'grantgate: there is no customer "mill" (not-found)\n' });
  expect(await as('ada', ['user', 'update', 'ada'])).toMatchObject({ code: 2, stderr: expect.stringContaining('say what is to be changed') as string });
});

test('apply shows its plan and asks; then diff is empty; then a smaller file with prune', async () => {
  const before = await as('ada', ['diff', '-f', 'world.yaml'], { files });
  expect(before).toMatchObject({ code: 1, stdout: expect.stringContaining('9 to make, 0 to change, 0 to move, 0 to remove') as string });
  expect(await as('ada', ['apply', '-f', 'world.yaml'], { files, stdin: lines('n\n') })).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('nothing was changed') as string,
  });
  expect(await as('ada', ['apply', '-f', 'world.yaml'], { files, stdin: lines('yes\n') })).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('applied 9 steps') as string,
  });
  expect(await as('ada', ['diff', '-f', 'world.yaml'], { files })).toMatchObject({ code: 0, stdout: 'nothing to do: what is there is what the files say\n' });
  expect((await as('ben', ['entity', 'list'])).stdout).toMatch(/^m1 .*\n$/);

  // What others were given over a group goes with it, and the plan says so.
  await as('ada', ['group', 'create', 'cups', '--type', 'DEVICE', '--owner', 'cafe']);
  expect(await as('ada', ['grant', 'create', '--user-group', 'night', '--role', 'look', '--entity-group', 'cups'])).toMatchObject({ code: 0 });
  const few = await as('ada', ['apply', '-f', 'cafe.yaml', '--prune', '--yes'], { files });
  expect(few.stdout).toMatch(
    /^- groups {4}cups\n- grants {4}grant:night>look>cups {2}goes with cups\n0 to make, 0 to change, 0 to move, 2 to remove\napplied 1 step;/,
  );

  const plan = await as('ada', ['apply', '-f', 'smaller.yaml', '--prune', '--yes'], { files });
  expect(plan.stdout.split('\n').map((line) => line.replace(/ {2,}.*?(?=\S)/, ' '))).toEqual([
    '~ customers tower title: "Tower" → "The Tower"',
    '~ groups meters  -m1',
    expect.stringMatching(/^- grants/),
    '- entities m2',
    '- users ben',
    '- roles look',
    '- groups night',
    '- customers cafe',
    '0 to make, 2 to change, 0 to move, 6 to remove',
    expect.stringMatching(/^applied 8 steps/),
    '',
  ]);
  expect(await as('ada', ['diff', '-f', 'smaller.yaml', '--prune'], { files })).toMatchObject({ code: 0 });
});

test('a world as export writes it is what is there; taken away and applied again, it is there again', async () => {
  const env = { ADMIN_DATABASE_URL: await behind.database.urlAs('grantgate_writer') };
  const generated = (await cli(['generate', '--tenants', '2', '--customers', '20', '--users', '30', '--entities', '50', '--seed', '7', '--quiet'])).stdout;
  const [tenant, admin] = ['tenant-000000', 'user-000000'];
  const odd = 'o\'dd "g\\,{}';
  const rows = [
    { kind: 'defaults' },
    { kind: 'groups', id: odd, type: 'DEVICE', owner: tenant, name: odd },
    { kind: 'customers', id: 'nulls', owner: tenant, details: { a: null, b: [1, 2.5, { c: odd }] } },
    { kind: 'users', id: `u${odd}`, owner: tenant, groups: [`users:${tenant}`], enabled: false },
    { kind: 'entities', id: `e${odd}`, owner: tenant, type: 'DEVICE', groups: [odd] },
    { kind: 'roles', id: 'twice', owner: tenant, type: 'GENERIC', permissions: { DEVICE: ['WRITE', 'READ', 'READ'] }, excluded: { ALL: ['WRITE'] } },
    { kind: 'roles', id: 'group', owner: tenant, type: 'GROUP', permissions: ['WRITE', 'READ'] },
    { kind: 'grants', userGroup: 'users:nulls', role: 'group', entityGroup: odd, shared: true },
    { kind: 'grants', userGroup: `all:USER:${tenant}`, role: 'group', entityGroup: 'all:DEVICE:nulls' },
    { kind: 'grants', userGroup: 'all:USER:nulls', role: 'group', entityGroup: `all:ASSET:${tenant}`, shared: true, name: odd },
  ];
  const given = { 'a.ndjson': generated, 'b.ndjson': rows.map((row) => JSON.stringify(row)).join('\n') };
  expect(await cli(['import', 'a.ndjson', 'b.ndjson'], { env, files: given })).toMatchObject({ code: 0 });
  const files = {
    'whole.yaml': (await cli(['export', '--tenant', tenant, '--format', 'yaml'], { env })).stdout,
    'bare.yaml': `tenants: [{ id: ${tenant} }]\n`,
  };
  const nothing = { code: 0, stdout: 'nothing to do: what is there is what the files say\n' };
  const diff = async (file: string): Promise<CliRun> => as(admin, ['diff', '-f', file, '--prune'], { files });
  expect(await diff('whole.yaml')).toMatchObject(nothing);
  expect(await as(admin, ['apply', '-f', 'bare.yaml', '--prune', '--yes'], { files })).toMatchObject({ code: 0 });
  expect(await diff('bare.yaml')).toMatchObject(nothing);
  expect(await as(admin, ['apply', '-f', 'whole.yaml', '--yes'], { files })).toMatchObject({ code: 0 });
  expect(await diff('whole.yaml')).toMatchObject(nothing);
  expect((await as(admin, ['entity', 'list', '--group', odd])).stdout).toMatch(/^eo'dd.*\n$/);
});

test('a token that is none is not repeated, and bootstrap names the option that is wrong', async () => {
  const env = { GRANTGATE_CLIENT_TOKEN: 'a secret\nof two lines', ADMIN_DATABASE_URL: await behind.database.urlAs('grantgate_writer') };
  const refused = await cli(['user', 'list'], { env });
  expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('client.token: must be one token') as string });
  expect(refused.stderr).not.toContain('secret');
  const named = await cli(['user', 'list', '--server', 'http://ada:secret@127.0.0.1:1'], { env: { GRANTGATE_CLIENT_TOKEN: 'token' } });
  expect(named).toMatchObject({ code: 2, stderr: expect.stringContaining('--server: must have no name and no password') as string });
  expect(named.stderr).not.toContain('secret');
  const plain = await cli(['user', 'list', '--server', 'http://grantgate.example:9190'], { env: { GRANTGATE_CLIENT_TOKEN: 'token' } });
  expect(plain).toMatchObject({ code: 2, stderr: expect.stringContaining('--server: must be https') as string });
  const bootstrap = async (tenant: string, user: string): Promise<CliRun> => cli(['bootstrap', '--tenant', tenant, '--user', user], { env });
  expect(await bootstrap('all:x', 'zoe')).toMatchObject({ code: 2, stderr: expect.stringMatching(/--tenant: .*reserved to the server/) as string });
  expect(await bootstrap('user-000000', 'zoe')).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/--tenant: there is no tenant .*used already/) as string,
  });
  expect(await bootstrap('mine', 'user-000000')).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/--user: .*used already.*; tenant mine is made/) as string,
  });
  expect(await bootstrap('mine', 'zoe')).toMatchObject({ code: 0 });
});

test('completion, asked of the shells themselves (those that are here)', async () => {
  const lines: Readonly<Record<string, (script: string) => string>> = {
    bash: (script) => `${script}\nCOMP_WORDS=(grantgate group share meters --us); COMP_CWORD=4; _grantgate; echo "\${COMPREPLY[*]}"`,
    zsh: (script) => `${script}\nprint -r -- \${_comps[grantgate]:+--user-group}`,
    fish: (script) => `${script}\ncomplete -C 'grantgate group share meters --us'`,
  };
  const said = new Map<string, string>();
  for (const [shell, line] of Object.entries(lines)) {
    const { code, stdout } = await cli(['completion', shell]);
    expect(code).toBe(0);
    const home = mkdtempSync(join(tmpdir(), 'shell-')); // zsh leaves a file there
    const { status, stdout: words } = spawnSync(shell, [...(shell === 'zsh' ? ['-f'] : []), '-c', line(stdout)], {
      env: { ...process.env, HOME: home, ZDOTDIR: home },
      encoding: 'utf8',
      timeout: 20_000,
    });
    rmSync(home, { recursive: true });
    if (status !== null) said.set(shell, words.trim().split(/\s/)[0]!);
  }
  expect([...new Set(said.values())]).toEqual(['--user-group']);
  expect([...said.keys()]).toContain('bash');
});

test('what is wrong with a file is said with its line, before anything is asked', async () => {
  const wrong = { 'wrong.yaml': 'groups:\n  - { id: meters, type: ASSET, owner: tower }\n', 'odd.yaml': 'users:\n  - { id: x }\n' };
  expect(await as('ada', ['apply', '-f', 'wrong.yaml', '--yes'], { files: wrong })).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/wrong\.yaml:2: groups\[0\]\.type: .*never changes/) as string,
  });
  expect(await as('ada', ['apply', '-f', 'odd.yaml', '--yes'], { files: wrong })).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/odd\.yaml:2: users\[0\]\.owner/) as string,
  });
  expect(await cli(['diff', '-f', 'world.yaml'], { files })).toMatchObject({ code: 2, stderr: expect.stringContaining('client.token') as string });
  expect(await as('ada', ['diff', '-f', 'world.yaml', '--server', `http://127.0.0.1:${await closedPort()}`], { files })).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('ECONNREFUSED') as string,
  });
});

async function* lines(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}

async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
