// Does a list show what a check would allow, all of it and nothing else, page by page, while things change?

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compileVocabulary, expandDefaults, parseWorldFile, type WorldFile } from 'policy-cache';
import { openPool } from 'policy-cache/postgres';
import { parse } from 'yaml';
import { reference, type Names } from '../../policy-cache/test/reference.ts';
import { importInputs } from '../../src/worldimport.ts';
import { textInput } from '../../src/worldstream.ts';
import { awkwardText, awkwardWorlds } from '../postgres/export.worlds.ts';
import { OPERATOR, startTestAdministration, type TestAdministration } from '../support/admin.ts';
import { startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';

const names = parse(readFileSync(new URL('../../policy-cache/vocabulary/thingsboard.yaml', import.meta.url), 'utf8')) as Names;
const seed = Number(process.env['GRANTGATE_SEED'] ?? Date.now() & 0x7fffffff);
const SHIPS = 100;
const LISTS = ['customers', 'users', 'groups', 'roles', 'grants', 'entities'] as const;
type List = (typeof LISTS)[number];

let server: TestServer;
let database: TestDatabase;
let sql: ReturnType<typeof openPool>;
let admin: TestAdministration;
/** The same, with bounds so low that every way of finding things is taken, and most pages are short. */
let short: TestAdministration;
/** Some worlds in one: each is of tenants that the others must not see anything of. */
let world: WorldFile;
let lower: ReadonlyMap<string, string>;

beforeAll(async () => {
  server = await startPostgres('embedded18');
  database = await server.database();
  sql = openPool({ url: database.url, max: 1 });
  const [sample] = fc.sample(awkwardWorlds(names), { numRuns: 1, seed });
  const text = awkwardText({ ...sample!, worlds: sample!.worlds.map(reading) });
  const result = await importInputs(sql, [textInput({ file: 'w.ndjson', text })], { vocabulary: compileVocabulary(names), unknownNames: true });
  expect(result.ok).toBe(true);
  world = worldOf(text);
  // Every third one reads all that its owner has and has below it.
  const readers = new Set(world.users.filter((_, i) => i % 3 === 0).map(({ id }) => id));
  await sql`insert into grantgate.membership (tenant, group_id, member_id, type, owner)
    select tenant, 'users:' || owner, id, type, owner from grantgate.object where id = any (${[...readers]}) on conflict do nothing`;
  world = { ...world, users: world.users.map((user) => (readers.has(user.id) ? { ...user, groups: [...user.groups, `users:${user.owner}`] } : user)) };
  // A few names for all, so that many share one; some have none.
  await sql`update grantgate.object set label = (array['Beta', 'alpha', 'ALPHA', 'Ärger', '', 'al', null, 'β', 'alphabet'])[1 + abs(hashtext(id)) % 9]`;
  await sql`update grantgate.user_account set email = (array['Alpha@x.example', 'zed@x.example', null])[1 + abs(hashtext(id)) % 3]`;
  const labels = await sql<{ id: string; name: string }[]>`select id, lower(coalesce(left(label, 200), '')) as name from grantgate.object`;
  lower = new Map(labels.map(({ id, name }) => [id, name]));
  admin = await startTestAdministration(database);
  short = await startTestAdministration(database, { bounds: { scanned: 9, windows: [2, 4], gathered: 40 } });
});
afterAll(async () => {
  admin.close();
  short.close();
  await sql.end();
  await server.close();
});

/** NDJSON as one value, with its predefined objects. */
function worldOf(text: string): WorldFile {
  const lists: Record<string, object[]> = {};
  for (const line of text.trimEnd().split('\n')) {
    const { kind, ...row } = JSON.parse(line) as { kind: string };
    if (kind !== 'defaults') (lists[kind] ??= []).push(row);
  }
  const { world: parsed, problems } = parseWorldFile({ defaults: true, ...lists });
  expect(problems).toEqual([]);
  return expandDefaults(parsed);
}

/** Of the operations that roles are drawn from, lists are about one: two of three roles have it somewhere. */
function reading(drawn: WorldFile): WorldFile {
  const resources = ['ALL', 'DEVICE', 'USER', 'CUSTOMER', 'USER_GROUP', 'ROLE'];
  const roles = drawn.roles.map((role, i) => {
    if (i % 3 === 0) return role;
    if (role.type === 'GROUP') return { ...role, permissions: [...role.permissions, 'READ'] };
    return { ...role, permissions: { ...role.permissions, [resources[(i + seed) % resources.length]!]: ['READ'] } };
  });
  return { ...drawn, roles };
}

interface Row {
  readonly id: string;
  readonly owner?: string;
  readonly type?: string;
  readonly groups?: readonly string[];
  readonly name?: string;
  readonly title?: string;
  readonly email?: string;
}

/** All pages; each must be of the size asked for at the most. */
async function all(of: TestAdministration, user: string, path: string, limit: number): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (let cursor = '', pages = 0; ; pages++) {
    if (pages > 300) throw new Error(`${path} does not end for ${user}`);
    const answer = await of.ask(user, `GET ${path}${path.includes('?') ? '&' : '?'}limit=${limit}${cursor === '' ? '' : `&cursor=${cursor}`}`);
    expect(answer.status, JSON.stringify(answer.body)).toBe(200);
    const { items, next } = answer.body as { items: Row[]; next?: string };
    expect(items.length).toBeLessThanOrEqual(limit);
    rows.push(...items);
    if (next === undefined) return rows;
    cursor = next;
  }
}

/** As the database lower-cases it: in a C locale ASCII alone. */
const nameOf = ({ id }: Row): string => lower.get(id) ?? '';
const bytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
const byName = (a: Row, b: Row): number => bytes(nameOf(a), nameOf(b)) || bytes(a.id, b.id);

/** What a check of READ allows somebody, by the specification. */
function allowedTo(user: string, list: List): readonly string[] {
  const resourceOf = ({ type = '' }: { readonly type?: string }): string => {
    switch (list) {
      case 'groups':
        return names.groupResource?.[type] ?? type;
      case 'entities':
        return names.entityResource?.[type] ?? type;
      default:
        return { customers: 'CUSTOMER', users: 'USER', roles: 'ROLE', grants: 'GROUP_PERMISSION' }[list];
    }
  };
  const rows: readonly Row[] = world[list];
  return rows.filter((row) => specification({ user, operation: 'READ', resource: resourceOf(row), target: row.id }).allow).map(({ id }) => id);
}
let specification: ReturnType<typeof reference>;

test('every list of every user of random worlds is what a check allows', async () => {
  console.log(`lists: GRANTGATE_SEED=${seed}`);
  specification = reference(names, world);
  let [lists, rows, partial] = [0, 0, 0];
  for (const { id: user, enabled } of world.users) {
    if (!enabled) {
      expect(await admin.ask(user, 'GET /v1/users')).toMatchObject({ status: 401 });
      continue;
    }
    for (const list of LISTS) {
      const expected = allowedTo(user, list).toSorted();
      const found = await all(admin, user, `/v1/${list}`, 2 + ((seed + lists) % 5));
      expect(found.map(({ id }) => id).toSorted(), `${list} of ${user}`).toEqual(expected);
      expect(found).toEqual(found.toSorted(byName));
      lists++;
      rows += expected.length;
      if (expected.length > 0 && expected.length < world[list].length) partial++;
      if (lists % 4 === 0) expect(await all(short, user, `/v1/${list}`, 2)).toEqual(found);
      if (lists % 7 === 0) await filtered(user, list, found);
    }
  }
  console.log(`lists: ${lists} lists of ${rows} rows, ${partial} of them of a part of what there is`);
  expect(partial).toBeGreaterThan(20);
});

/** The same list with each filter: what is left of it. */
async function filtered(user: string, list: List, found: readonly Row[]): Promise<void> {
  const one = found[found.length >> 1];
  if (one === undefined) return;
  const { owner, type, groups = [], id } = one;
  if (owner !== undefined)
    expect(await all(short, user, `/v1/${list}?owner=${encodeURIComponent(owner)}`, 3), 'owner').toEqual(found.filter((row) => row.owner === owner));
  if (type !== undefined && list !== 'roles')
    expect(await all(admin, user, `/v1/${list}?type=${type}`, 3), 'type').toEqual(found.filter((row) => row.type === type));
  for (const group of groups) {
    const answer = await admin.ask(user, `GET /v1/${list}?group=${encodeURIComponent(group)}`);
    const members = await admin.ask(user, `GET /v1/groups/${encodeURIComponent(group)}/members`);
    expect(members.status).toBe(answer.status);
    expect(members.body).toEqual(answer.body);
    if (answer.status === 200) expect((answer.body as { items: Row[] }).items).toEqual(found.filter((row) => row.groups?.includes(group)));
    else expect(answer.status).toBe(403);
  }
  for (const q of ['ALPH', 'Är', Array.from(id).slice(0, 5).join(''), Array.from(id.toUpperCase()).slice(0, 100).join(''), 'zed']) {
    if (Buffer.byteLength(q) > 1000 || /[\u0080-\u{10ffff}]/u.test(q)) continue; // what case is to other letters, the database's locale says
    const isBeginning = (of: string | undefined): boolean => of?.toLowerCase().startsWith(q.toLowerCase()) === true;
    const isId = (row: Row): boolean => [q, q.toLowerCase(), q.toUpperCase()].some((spelling) => row.id.startsWith(spelling));
    const expected = found.filter((row) => isBeginning(nameOf(row)) || isId(row) || isBeginning(row.email));
    const got = await all(q === 'zed' ? admin : short, user, `/v1/${list}?q=${encodeURIComponent(q)}`, 2);
    expect(new Set(got.map((row) => row.id)).size, 'a row twice').toBe(got.length);
    expect(got.toSorted(byName), `${list}?q=${q} of ${user}`).toEqual(expected);
  }
}

test('while things come, go and are renamed, no page has a row again, and none that was there all the time is left out', async () => {
  expect(await admin.ask(OPERATOR, 'POST /v1/tenants', { id: 'fleet' })).toMatchObject({ status: 201 });
  expect(await admin.ask(OPERATOR, 'POST /v1/tenants/fleet/administrator', { id: 'cap' })).toMatchObject({ status: 201 });
  await sql`insert into grantgate.object (id, tenant, kind, type, owner, label)
    select 'ship' || n, 'fleet', 'entity', 'DEVICE', 'fleet', case n % 5 when 0 then null else 'ship ' || n % 7 end from generate_series(1, ${SHIPS}) n`;
  const stay = new Set(Array.from({ length: SHIPS }, (_, i) => i + 1).filter((n) => n % 4 !== 0).map((n) => `ship${n}`)); // prettier-ignore
  let going = true;
  let made = 0;
  const writer = openPool({ url: database.url, max: 1 });
  const changes = (async () => {
    for (let n = 4; going; n = (n % SHIPS) + 4, made++) {
      if (made % 3 === 0) await writer`delete from grantgate.object where id = ${`ship${n}`}`;
      else
        await writer`insert into grantgate.object (id, tenant, kind, type, owner, label) values (${`ship${n}`}, 'fleet', 'entity', 'DEVICE', 'fleet', ${`ship ${made % 9}`})
          on conflict (id) do nothing`;
    }
  })();
  try {
    for (let limit = 3, before = made; limit < 20 || made < before + 20; limit = Math.min(limit + 10, 33)) {
      const seen = (await all(admin, 'cap', '/v1/entities', limit)).map(({ id }) => id).filter((id) => stay.has(id));
      expect(seen.length, 'a row twice').toBe(new Set(seen).size);
      expect(new Set(seen)).toEqual(stay);
    }
  } finally {
    going = false;
    await changes;
    await writer.end();
  }
});

test('a cursor is of one question of one caller, and tells nothing', async () => {
  const first = await admin.ask('cap', 'GET /v1/entities?limit=2');
  const { next } = first.body as { next: string };
  expect(Buffer.from(next, 'base64url').toString('latin1')).not.toContain('ship');
  expect(await admin.ask('cap', `GET /v1/entities?limit=7&cursor=${next}`)).toMatchObject({ status: 200 });
  const refused = { status: 400, body: { code: 'bad-request' } };
  expect(await admin.ask('cap', `GET /v1/entities?limit=2&q=s&cursor=${next}`)).toMatchObject(refused);
  expect(await admin.ask('cap', `GET /v1/users?cursor=${next}`)).toMatchObject(refused);
  expect(await admin.ask('cap', `GET /v1/entities?cursor=${next.slice(0, -3)}AAA`)).toMatchObject(refused);
  expect(await admin.ask('cap', 'GET /v1/entities?cursor=')).toMatchObject(refused);
  for (const query of ['limit=0', 'limit=1001', 'limit=x', 'limit=1.5', 'owner=', 'type=NO_SUCH', 'q=', 'sort=name', 'group=%00'])
    expect(await admin.ask('cap', `GET /v1/entities?${query}`), query).toMatchObject(refused);
  expect(await admin.ask('cap', 'GET /v1/entities?group=no-such')).toMatchObject({ status: 404 });
  expect(await admin.ask('cap', 'GET /v1/groups/no-such/members')).toMatchObject({ status: 404 });
});

test('the members of an All group are what its owner has of its type', async () => {
  const members = await all(admin, 'cap', '/v1/groups/all%3AUSER%3Afleet/members', 10);
  expect(members.map(({ id }) => id)).toEqual(['cap']);
  expect(await all(admin, 'cap', '/v1/groups/all%3AASSET%3Afleet/members', 10)).toEqual([]);
  expect((await all(admin, 'cap', '/v1/grants?group=admins%3Afleet', 10)).length).toBe(1);
});

test('who has READ by groups alone sees their members: of an All group, of one that is shared with another owner, and nothing else', async () => {
  const made = async (path: string, body: object): Promise<void> => expect(await admin.ask('cap', `POST /v1/${path}`, body)).toMatchObject({ status: 201 });
  await made('customers', { id: 'harbour', title: 'Harbour' });
  await made('roles', { id: 'look', type: 'GROUP', permissions: ['READ'] });
  for (const owner of ['fleet', 'harbour']) await made('groups', { id: `deck-of-${owner}`, type: 'USER', owner });
  await made('users', { id: 'mate', groups: ['deck-of-fleet'] });
  await made('users', { id: 'guest', owner: 'harbour', groups: ['deck-of-harbour'] });
  await made('groups', { id: 'old', type: 'DEVICE' });
  await made('entities/bulk', { items: ['tug', 'barge'].map((id) => ({ id, type: 'DEVICE', name: `The ${id}`, groups: ['old'] })) });
  await made('entities', { id: 'crane', type: 'DEVICE', owner: 'harbour' });
  await made('grants', { userGroup: 'deck-of-fleet', role: 'look', entityGroup: 'all:DEVICE:fleet' });
  await made('groups/old/share', { userGroup: 'deck-of-harbour', role: 'look' });
  const ofFleet = await all(admin, 'cap', '/v1/entities?owner=fleet', 50);
  for (const by of [admin, short]) {
    expect(await all(by, 'mate', '/v1/entities', 7)).toEqual(ofFleet);
    expect((await all(by, 'guest', '/v1/entities', 7)).map(({ id }) => id)).toEqual(['barge', 'tug']);
    expect((await all(by, 'guest', '/v1/groups', 7)).map(({ id }) => id)).toEqual(['old']);
    expect((await all(by, 'guest', '/v1/groups/old/members', 1)).map(({ id }) => id)).toEqual(['barge', 'tug']);
    for (const list of ['customers', 'users', 'roles', 'grants']) expect(await all(by, 'guest', `/v1/${list}`, 7)).toEqual([]);
  }
  expect(await admin.ask('guest', 'GET /v1/groups/deck-of-harbour/members')).toMatchObject({ status: 403, body: { reason: 'no-grant' } });
  expect(await admin.ask('guest', 'GET /v1/entities?group=all%3ADEVICE%3Afleet')).toMatchObject({ status: 403 });
});

test('what a search finds in two ways is there once: by name, then by id', async () => {
  // Each has an id that begins so, and most a name.
  const found = await all(admin, 'cap', '/v1/entities?q=SHIP', 9);
  const everything = (await all(admin, 'cap', '/v1/entities', 50)).filter(({ id }) => id.startsWith('ship'));
  expect(found.length).toBe(everything.length);
  expect(new Set(found.map(({ id }) => id))).toEqual(new Set(everything.map(({ id }) => id)));
  const unnamed = found.findIndex(({ name = '' }) => !name.startsWith('ship'));
  expect(unnamed).toBeGreaterThan(0);
  expect(found.slice(unnamed).every(({ name = '' }) => !name.startsWith('ship'))).toBe(true);
});

test('of an owner without anything, and of one that is not there, lists are empty', async () => {
  expect(await all(admin, 'cap', '/v1/entities?owner=harbour&type=ASSET', 5)).toEqual([]);
  expect(await all(admin, 'cap', '/v1/entities?owner=nowhere', 5)).toEqual([]);
  expect(await all(admin, 'cap', '/v1/customers?q=nothing-begins-so', 5)).toEqual([]);
});
