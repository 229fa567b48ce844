// Does the command line say what there is, show nothing that moves the cursor, and exit as it promises?

import { spawnSync } from 'node:child_process';
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
  behind = await startBehind({ server, world: '{"tenants": []}', administered: true });
  const env = { ADMIN_DATABASE_URL: await behind.database.urlAs('grantgate_writer') };
  expect(await cli(['bootstrap', '--tenant', 'acme', '--user', 'ada'], { env })).toMatchObject({ code: 0 });
});
afterAll(async () => {
  await behind?.close();
  await server?.close();
});

async function as(user: string, line: string | readonly string[], options: CliOptions = {}): Promise<CliRun> {
  const token = user === OPERATOR ? OPERATOR : await tokenFor(user);
  const env = { GRANTGATE_CLIENT_SERVER: `http://127.0.0.1:${behind.sidecar.api}`, GRANTGATE_CLIENT_TOKEN: token };
  return cli(typeof line === 'string' ? line.split(' ') : line, { env, ...options });
}
async function* typed(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}

test('names that somebody else chose: one line each, and no escape reaches the terminal', async () => {
  const evil = 'a\u001b[2J\nroot  owner=acme\u009b1m\u202etxt.exe\u2028z';
  const spelt = 'a\\u001b[2J\\nroot  owner=acme\\u009b1m\\u202etxt.exe\\u2028z';
  const files = { 'evil.json': JSON.stringify({ entities: [{ id: 'evil', type: 'DEVICE', owner: 'acme', name: 'a\u009b\u202eb' }] }) };
  expect((await as('ada', ['entity', 'create', 'named', '--type', 'DEVICE', '--name', evil])).stdout).toContain(`name=${spelt}\n`);
  expect((await as('ada', 'entity list')).stdout).toBe(`named  type=DEVICE  owner=acme  groups=[]  name=${spelt}\n`);
  expect((await as('ada', 'diff -f evil.json', { files })).stdout).toContain('"name":"a\\u009b\\u202eb"}');
  expect((await as('ada', ['entity', 'get', 'x\u202ey'])).stderr).toContain('x\\u202ey');
  expect(JSON.parse((await as('ada', 'entity get named --json')).stdout)).toHaveProperty('name', evil);
});

test('--if-match takes what get has shown', async () => {
  await as('ada', 'group create meters --type DEVICE');
  const [, shown] = /\netag (".*")\n$/.exec((await as('ada', 'group get meters')).stdout)!;
  const { etag } = JSON.parse((await as('ada', 'group get meters --json')).stdout) as { readonly etag: string };
  expect(etag).toBe(shown);
  expect(await as('ada', ['group', 'update', 'meters', '--name', 'Meters', '--if-match', etag])).toMatchObject({ code: 0, stderr: '' });
  expect(await as('ada', ['group', 'delete', 'meters', '--if-match', etag])).toMatchObject({ code: 1, stderr: expect.stringContaining('(changed)') as string });
});

test('several are changed or moved as one change, of all or of none', async () => {
  for (const id of ['left', 'right']) await as('ada', ['entity', 'create', id, '--type', 'DEVICE']);
  await as('ada', 'customer create barn');
  expect(await as('ada', 'entity update left right --name Both')).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^left {2}.*name=Both.*\nright {2}.*name=Both.*\nrevision \S+\n$/) as string,
  });
  expect(await as('ada', 'entity update left three --name Other')).toMatchObject({ code: 1, stderr: expect.stringContaining('"three"') as string });
  expect((await as('ada', 'entity get left')).stdout).toContain('name=Both');
  const moved = JSON.parse((await as('ada', 'entity move right left --owner barn --json')).stdout) as { readonly items: readonly object[] };
  expect(moved.items).toMatchObject([
    { id: 'right', owner: 'barn' },
    { id: 'left', owner: 'barn' },
  ]);
  const rows = ['left', 'right'].map((id) => ({ id, type: 'DEVICE', owner: 'barn', name: `Named ${id}` }));
  const away = rows.map((row) => ({ ...row, owner: 'acme' }));
  const files = { 'named.json': JSON.stringify({ entities: rows }), 'away.json': JSON.stringify({ entities: away }) };
  for (const file of ['named.json', 'away.json']) {
    const applied = await as('ada', ['apply', '-f', file, '--yes'], { files });
    expect(applied, file).toMatchObject({ code: 0, stdout: expect.stringContaining('applied 2 steps') as string });
    expect(await as('ada', ['diff', '-f', file], { files }), file).toMatchObject({ code: 0 });
  }
  const tagged = await as('ada', ['entity', 'move', 'left', 'right', '--owner', 'acme', '--if-match', '"x"']);
  expect(tagged).toMatchObject({ code: 2, stderr: expect.stringContaining('--if-match: is the tag of one thing') as string });
  expect(await as('ada', 'tenant update acme other --name x')).toMatchObject({ code: 2 });
});

test('a list takes what it offers, and offers what it takes', async () => {
  for (const line of ['user list --group admins:acme', 'role list --type GENERIC --owner acme', 'group list --type USER', 'grant list --group users:acme'])
    expect((await as('ada', line)).stdout, line).not.toBe('');
  for (const line of ['user list --type X', 'tenant list --q x', 'grant list --type X', 'customer list --type X', 'group list --group x'])
    expect(await as('ada', line), line).toMatchObject({ code: 2, stderr: expect.stringContaining('unknown option') as string });
  expect(await as('ada', 'user sessions ada')).toMatchObject({ code: 2, stderr: expect.stringContaining('identity.local.enabled') as string });
  expect(await as('ada', 'user keys ada')).toMatchObject({ code: 0, stdout: '' });
});

test('a grant is given an id, as anything else', async () => {
  await as('ada', ['role', 'create', 'look', '--type', 'GENERIC', '--permissions', '{DEVICE: [READ]}']);
  expect((await as('ada', 'grant create mine --user-group users:acme --role look')).stdout).toMatch(/^mine {2}userGroup=users:acme/);
});

test.each([
  ['user get ', 'never empty'],
  ['user get ..', 'cannot be named in a path'],
  ['user unkey ada .', 'cannot be named in a path'],
])('%j asks for nothing else instead', async (line, words) => {
  expect(await as('ada', line)).toMatchObject({ code: 2, stderr: expect.stringContaining(`id: `) as string });
  expect((await as('ada', line)).stderr).toContain(words);
});

test('what the service has not is no "no"', async () => {
  for (const line of ['user activate ada', 'login --email ada@acme.example'])
    expect(await as('ada', line, { stdin: typed('a password\n') }), line).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('identity.local') as string,
    });
});

const files = { 'one.yaml': 'tenants: [{ id: acme }]\nentities: [{ id: one, type: DEVICE, owner: acme }]\n' };

test('diff reads a pipe; apply does where nobody is to be asked', async () => {
  const stdin = (): AsyncGenerator<Uint8Array> => typed(files['one.yaml']);
  expect(await as('ada', 'diff -f -', { stdin: stdin() })).toMatchObject({ code: 1, stdout: expect.stringContaining('+ entities  one') as string });
  expect(await as('ada', 'apply -f -', { stdin: stdin() })).toMatchObject({ code: 2, stderr: expect.stringContaining('say --yes') as string });
  expect(await as('ada', 'apply -f - --yes', { stdin: stdin() })).toMatchObject({ code: 0 });
  await as('ada', 'entity delete one');
});

test('nobody is asked about a plan that was not shown', async () => {
  const no = await as('ada', 'apply -f one.yaml --json', { files, stdin: typed('n\n') });
  expect(no).toMatchObject({ code: 1, stdout: '' });
  expect(no.stderr).toMatch(/^\+ entities {2}one .*\n1 to make, .*\napply this\? \[y\/N\] nothing was changed\n$/);
  const yes = await as('ada', 'apply -f one.yaml --json', { files, stdin: typed('y\n') });
  expect(JSON.parse(yes.stdout)).toMatchObject({ applied: 1 });
});

test('the operator, who sees nothing inside of a tenant, is not shown a plan that takes it for empty', async () => {
  const words = /one\.yaml:2: entities\[0\]: is inside of a tenant, .*--direct/;
  for (const line of ['diff -f one.yaml', 'apply -f one.yaml --yes'])
    expect(await as(OPERATOR, line, { files }), line).toMatchObject({ code: 2, stderr: expect.stringMatching(words) as string });
  const tenants = { 'tenants.yaml': 'tenants: [{ id: acme, name: Acme }, { id: beta }]\n' };
  expect(await as(OPERATOR, 'apply -f tenants.yaml --yes', { files: tenants })).toMatchObject({ code: 0 });
  expect(await as(OPERATOR, 'diff -f tenants.yaml', { files: tenants })).toMatchObject({ code: 0 });
});

test('what an owner began with, and was taken away, comes back by a file of before; at another owner there is none of it', async () => {
  await as('ada', 'customer create tower');
  const file = {
    'before.yaml': (
      await cli(['export', '--tenant', 'acme', '--format', 'yaml'], { env: { ADMIN_DATABASE_URL: await behind.database.urlAs('grantgate_writer') } })
    ).stdout,
  };
  for (const line of ['group delete users:tower', 'role delete role:user:tower']) expect(await as('ada', line), line).toMatchObject({ code: 0 });
  expect((await as('ada', 'diff -f before.yaml', { files: file })).stdout).toContain('3 to make, 0 to change, 0 to move, 0 to remove');
  expect(await as('ada', 'apply -f before.yaml --yes', { files: file })).toMatchObject({ code: 0, stderr: '' });
  expect(await as('ada', 'diff -f before.yaml --prune', { files: file })).toMatchObject({ code: 0 });
  for (const line of [
    'group create users:tower2 --type USER',
    'group create users:acme2 --type USER --owner tower',
    'role create role:user:x --type GROUP --permissions []',
  ])
    expect(await as('ada', line), line).toMatchObject({ code: 1, stderr: expect.stringMatching(/reserved to the server.*rule 1\.1/) as string });
  expect(await as('ada', 'group create users:tower --type USER --owner tower')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('used already') as string,
  });
});

test('bash completes files where a file is wanted, and the shells that there are', async () => {
  const { stdout } = await cli(['completion', 'bash']);
  const complete = (...words: readonly string[]): readonly string[] => {
    const script = `${stdout}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _grantgate; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const run = spawnSync('bash', ['-c', script, 'bash', 'grantgate', ...words], { encoding: 'utf8', timeout: 20_000 });
    return run.stdout.split('\n').filter((line) => line !== '');
  };
  expect(complete('apply', '-f', 'LIC')).toEqual(['LICENSE']);
  expect(complete('apply', '-f', '')).toContain('package.json');
  expect(complete('apply', '-f', '')).not.toContain('--prune');
  expect(complete('apply', '--token-file', 'pack')).toContain('package.json');
  expect(complete('completion', '')).toEqual(expect.arrayContaining(['bash', 'zsh', 'fish']));
  expect(complete('user', 'list', '--')).not.toContain('--type');
});
