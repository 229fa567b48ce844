// Does a command do straight on the database what the API does, by the same rules, in any tenant, and can nobody reach that by a request?

import { openPool } from 'policy-cache/postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { OPERATOR, startTestAdministration, type TestAdministration } from '../support/admin.ts';
import { cli, type CliRun } from '../support/cli.ts';
import { startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';

let server: TestServer;
let database: TestDatabase;
let sql: ReturnType<typeof openPool>;
let env: Record<string, string>;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  database = await server.database();
  sql = openPool({ url: database.url, max: 1 });
  env = { ADMIN_DATABASE_URL: await database.urlAs('grantgate_writer'), GRANTGATE_CLIENT_TOKEN: 'not.asked.for' };
});
afterAll(async () => {
  await sql?.end();
  await server?.close();
});

async function direct(command: string, files: Readonly<Record<string, string>> = {}): Promise<CliRun> {
  return cli([...command.split(' '), '--direct'], { env, files });
}
/** Done, and what it says. */
async function done(command: string): Promise<string> {
  const { code, stdout, stderr } = await direct(command);
  expect(code, `${command}: ${stderr}`).toBe(0);
  return stdout;
}
async function one(command: string): Promise<Readonly<Record<string, unknown>>> {
  return JSON.parse(await done(`${command} --json`)) as Readonly<Record<string, unknown>>;
}
async function ids(command: string): Promise<readonly unknown[]> {
  return (JSON.parse(await done(`${command} --json`)) as readonly { readonly id: string }[]).map(({ id }) => id);
}

test('every verb, in two tenants, by one who has no token', async () => {
  for (const tenant of ['acme', 'other']) {
    expect(await done(`tenant create ${tenant}`)).toMatch(/\nrevision \d+-/);
    await done(`tenant administrator ${tenant} admin-of-${tenant} --email a@${tenant}.example`);
    await done(`customer create tower-${tenant} --owner ${tenant} --title Tower`);
    await done(`customer create mill-${tenant} --owner ${tenant}`);
    await done(`group create meters-${tenant} --type DEVICE --owner tower-${tenant}`);
    await done(`group create night-${tenant} --type USER --owner tower-${tenant}`);
    await done(`role create look-${tenant} --type GROUP --permissions [READ] --owner ${tenant}`);
    await done(`user create ben-${tenant} --owner tower-${tenant} --group night-${tenant}`);
    await done(`entity create m1-${tenant} --type DEVICE --owner tower-${tenant}`);
    await done(`group add meters-${tenant} m1-${tenant}`);
    await done(`grant create --user-group night-${tenant} --role look-${tenant} --entity-group meters-${tenant}`);
  }
  expect(await one('customer get tower-other')).toMatchObject({ owner: 'other', title: 'Tower' });
  expect(await ids('tenant list')).toEqual(['acme', 'other']);
  expect(await ids('customer list')).toEqual(['mill-acme', 'tower-acme', 'mill-other', 'tower-other']);
  expect(await ids('customer list --owner other')).toEqual(['mill-other', 'tower-other']);
  expect(await ids('entity list --group meters-other')).toEqual(['m1-other']);
  expect(await ids('user list --group all:USER:tower-acme')).toEqual(['ben-acme']);
  expect(await ids('user list --q ben')).toEqual(['ben-acme', 'ben-other']);
  expect(await ids('grant list --group night-acme')).toHaveLength(1);
  expect(await ids('role list --owner tower-acme'), 'the predefined ones of a new owner').toEqual(['role:admin:tower-acme', 'role:user:tower-acme']);
  expect(await one('user update ben-acme --email ben@acme.example --enabled false')).toMatchObject({ enabled: false, revision: expect.any(String) as string });
  expect(await one('entity move m1-acme --owner mill-acme')).toMatchObject({ owner: 'mill-acme', groups: [] });
  expect(await done('group share meters-acme --user-group users:mill-acme --role look-acme')).toContain('shared=true');
  const { id: key } = await one('user key ben-other --name gateway');
  expect(await done('user keys ben-other')).toContain('name=gateway');
  await done(`user unkey ben-other ${String(key)}`);
  expect(await done('group remove meters-other m1-other')).toMatch(/^0 added, 1 removed\n/);
  for (const thing of ['entity delete m1-other', 'user delete ben-other', 'customer delete mill-other']) expect(await done(thing)).toMatch(/^removed /);
});

test('every rule on what may be stored holds, with its number', async () => {
  const refused = async (command: string, words: RegExp): Promise<void> => {
    const run = await direct(command);
    expect(run.code, command).toBe(1);
    expect(run.stderr, command).toMatch(words);
  };
  await done('group create up --type DEVICE --owner acme');
  await refused('grant create --user-group night-acme --role look-acme --entity-group up', /rule 1\.4/);
  await refused('grant create --user-group night-acme --role look-other --entity-group meters-acme', /there is no role "look-other" .*rule 1\)/);
  await refused('grant create --user-group night-acme --role look-acme --entity-group meters-other', /there is no group "meters-other"/);
  await refused('group share meters-acme --user-group night-other --role look-other', /there is no group "meters-acme".*rule 1\)/);
  await refused('group add meters-acme m1-other', /rule 1\.3/);
  await refused('entity create e --type DEVICE --owner acme --group meters-other', /there is no group "meters-other"/);
  await refused('user create u --owner acme --group all:USER:other', /there is no group "all:USER:other"/);
  await refused('entity move m1-acme --owner other', /there is no tenant or customer "other"/);
  await refused('customer move tower-acme --owner tower-acme', /rule 1/);
  await refused('customer move mill-acme tower-other --owner acme', /ids\[1\]: "tower-other" is of another tenant than "acme" .*rule 1\.1/);
  await refused('customer update mill-acme nobody --title x', /there is no customer "nobody"/);
  expect(await done('customer update mill-acme tower-other --title Both')).toMatch(/^mill-acme {2}owner=acme.*\ntower-other {2}owner=other.*\nrevision/);
  await refused('customer delete tower-acme', /rule 1\.5/);
  await refused('tenant delete acme', /rule 1\.5/);
  await refused('group delete admins:acme', /rule 1\.2/);
  await refused('role update role:admin:acme --permissions {}', /rule 1\.2/);
  await refused('entity create e --type NO_SUCH --owner acme', /rule [12]\)/);
  await refused('user create u', /owner: must be said/);
  await refused('user create ben-acme --owner other', /is used already/);
  await refused('user get m1-acme', /there is no user/);
  await refused('tenant administrator acme eve', /has an administrator/);
  await refused('user update ben-acme --name Ben --if-match "another"', /it is "[\w-]+" now/);
  expect(await direct('entity create all:x --type DEVICE --owner acme')).toMatchObject({ code: 2, stderr: expect.stringContaining('reserved') as string });
  expect(await direct('user list --server http://127.0.0.1:1')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("'--direct' cannot be used") as string,
  });
});

test('two who bootstrap a tenant at once: one of them has made its first administrator, the other one is told so', async () => {
  const runs = await Promise.all(['one', 'two'].map(async (user) => cli(['bootstrap', '--tenant', 'twice', '--user', user], { env })));
  expect(runs.map(({ code }) => code).toSorted()).toEqual([0, 2]);
  expect(runs.map(({ stderr }) => stderr).join('')).toMatch(/has an administrator/);
  expect(await ids('user list --owner twice')).toHaveLength(1);
});

test("each change is one row of the audit log, the operator's", async () => {
  const before = await sql<{ n: number }[]>`select count(*)::int n from grantgate.audit`;
  const { revision } = await one('customer create audited --owner other');
  const rows = await sql`select revision, tenant, owner, actor_kind, actor, as_user, action, target from grantgate.audit order by id desc limit 1`;
  expect([...rows]).toEqual([
    { revision, tenant: 'other', owner: 'other', actor_kind: 'operator', actor: '', as_user: '', action: 'customer.create', target: 'audited' },
  ]);
  expect(await sql<{ n: number }[]>`select count(*)::int n from grantgate.audit`).toEqual([{ n: before[0]!.n + 1 }]);
});

test('apply, then diff is empty, then a smaller file with prune: of two tenants in one file, and nothing of a third', async () => {
  const tenants = ['north', 'south'];
  const world = `
defaults: true
tenants: [${tenants.map((id) => `{ id: ${id}, name: ${id} }`).join(', ')}]
customers: [${tenants.map((id) => `{ id: ${id}-c, owner: ${id} }, { id: ${id}-d, owner: ${id}-c }`).join(', ')}]
groups: [${tenants.map((id) => `{ id: ${id}-g, type: DEVICE, owner: ${id}-c }, { id: ${id}-u, type: USER, owner: ${id} }`).join(', ')}]
roles: [${tenants.map((id) => `{ id: ${id}-r, owner: ${id}, type: GROUP, permissions: [READ] }`).join(', ')}]
users: [${tenants.map((id) => `{ id: ${id}-ada, owner: ${id}, groups: ['admins:${id}', ${id}-u] }`).join(', ')}]
entities: [${tenants.map((id) => `{ id: ${id}-e, type: DEVICE, owner: ${id}-c, groups: [${id}-g] }`).join(', ')}]
grants: [${tenants.map((id) => `{ userGroup: ${id}-u, role: ${id}-r, entityGroup: ${id}-g }, { userGroup: 'users:${id}-d', role: ${id}-r, entityGroup: ${id}-g, shared: true }`).join(', ')}]
`;
  const files = {
    'world.yaml': world,
    'smaller.yaml': 'tenants: [{ id: north, name: Nord }, { id: south }]\nusers: [{ id: south-ada, owner: south, groups: [] }]\n',
  };
  const others = await ids('customer list --owner acme');
  const nothing = { code: 0, stdout: 'nothing to do: what is there is what the files say\n' };
  expect(await direct('diff -f world.yaml', files)).toMatchObject({ code: 1, stdout: expect.stringContaining('20 to make, 0 to change') as string });
  expect(await direct('apply -f world.yaml --yes', files)).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/applied 20 steps; revision \d+-/) as string,
  });
  expect(await direct('diff -f world.yaml --prune', files)).toMatchObject(nothing);
  const pruned = await direct('apply -f smaller.yaml --prune --yes', files);
  expect(pruned, pruned.stderr).toMatchObject({ code: 0, stdout: expect.stringContaining('~ tenants   north  name: "north" → "Nord"') as string });
  expect(await direct('diff -f smaller.yaml --prune', files)).toMatchObject(nothing);
  expect(await ids('user list --owner north')).toEqual([]);
  expect(await ids('customer list --owner acme')).toEqual(others);
  // A thing of another tenant is no thing of this one: its id is used.
  const stolen = { 'stolen.yaml': 'tenants: [{ id: north }]\nentities: [{ id: m1-acme, type: DEVICE, owner: north }]\n' };
  expect(await direct('apply -f stolen.yaml --yes', stolen)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('there is no tenant or customer "north"') as string,
  });
});

test('no request is this caller: the operator of the api listener sees nothing of a tenant, whatever it sends', async () => {
  const api: TestAdministration = await startTestAdministration(database);
  try {
    const before = await sql`select count(*)::int n from grantgate.audit`;
    const sent: readonly Readonly<Record<string, string>>[] = [
      {},
      { 'x-direct': 'true', 'x-tenant': 'acme', 'x-forwarded-user': 'operator', direct: '1' },
      { cookie: 'kind=direct; tenant=acme', 'x-authz-subject': 'direct' },
    ];
    const asked: readonly (readonly [string, object?])[] = [
      ...['customers', 'users', 'groups', 'roles', 'grants', 'entities'].flatMap((list) => [
        [`GET /v1/${list}`] as const,
        [`GET /v1/${list}?owner=acme`] as const,
        [`GET /v1/${list}?tenant=acme&direct=true`] as const,
      ]),
      ['GET /v1/groups/night-acme/members'],
      ['GET /v1/audit'],
      ['GET /v1/users/ben-acme'],
      ['GET /v1/users/ben-acme/keys'],
      ['PATCH /v1/users/ben-acme', { enabled: true }],
      ['POST /v1/users', { id: 'intruder', owner: 'acme', groups: ['admins:acme'] }],
      ['POST /v1/users/ben-acme/keys', {}],
      ['POST /v1/groups/night-acme/members', { add: ['ben-acme'] }],
      ['PUT /v1/users/ben-acme/owner', { owner: 'acme' }],
      ['POST /v1/entities/bulk-delete', { ids: ['m1-acme'] }],
      ['POST /v1/entities/bulk-update', { items: [{ id: 'm1-acme', name: 'x' }] }],
      ['POST /v1/entities/bulk-owner', { ids: ['m1-acme'], owner: 'acme' }],
      ['DELETE /v1/users/ben-acme'],
    ];
    for (const headers of sent)
      for (const [request, body] of asked) {
        const answer = await api.ask(OPERATOR, request, body, headers);
        expect(answer.status, request).toBeOneOf([400, 403, 404]);
        expect(JSON.stringify(answer.body), request).not.toMatch(/"items"|email|"owner"/);
      }
    // Nor is there a token for it: the word itself is a user that nobody knows.
    expect((await api.ask('direct', 'GET /v1/me')).status).toBe(401);
    expect(await sql`select count(*)::int n from grantgate.audit`).toEqual(before);
  } finally {
    api.close();
  }
});
