// Who may log in as whom, what is done so and in whose name, what it cannot do, and when does it end?

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openPool } from 'policy-cache/postgres';
import type { CheckReport } from '../../src/report.ts';
import { hostClock } from '../../src/clock.ts';
import { OPERATOR, localAddition, startTestAdministration, type AdminAnswer, type TestAdministration } from '../support/admin.ts';
import { createAuthority } from '../../src/api/admin/needs.ts';
import { createPdp } from '../../src/pdp.ts';
import { vocabulary } from '../support/doors.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';

let server: TestServer;
let admin: TestAdministration;
let sql: ReturnType<typeof openPool>;
const reports: CheckReport[] = [];

interface Body {
  readonly accessToken: string;
  readonly expires: string;
  readonly items: readonly { readonly id: string; readonly actor?: string }[];
  readonly key: string;
  readonly reason?: string;
  readonly code?: string;
  readonly rule?: string;
  readonly field?: string;
}
const bodyOf = ({ body }: AdminAnswer): Body => body as Body;
const words = (answer: AdminAnswer): string => {
  const { reason, code, rule = '' } = bodyOf(answer);
  return answer.status < 300 ? String(answer.status) : `${answer.status} ${reason ?? code} ${rule}`.trim();
};
const logIn = (by: string, user: string, body: object = {}): Promise<AdminAnswer> => admin.ask(by, `POST /v1/users/${user}/login`, body);
async function as(by: string, user: string): Promise<string> {
  const answer = await logIn(by, user);
  expect(words(answer)).toBe('200');
  return bodyOf(answer).accessToken;
}
const me = async (token: string): Promise<string> => words(await admin.ask(token, 'GET /v1/me'));
async function made(by: string, request: string, body: object): Promise<void> {
  expect(words(await admin.ask(by, request, body)), request).toMatch(/^20[01]$/);
}

beforeAll(async () => {
  server = await startPostgres('embedded18');
  const database = await server.database();
  let count = 0;
  admin = await startTestAdministration(database, {
    decisions: { clock: hostClock(), nextId: () => `${++count}`, report: (check) => void reports.push(check) },
    addition: localAddition(),
  });
  sql = openPool({ url: database.url, max: 1 });
  await made(OPERATOR, 'POST /v1/tenants', { id: 'acme' });
  await made(OPERATOR, 'POST /v1/tenants/acme/administrator', { id: 'ada' });
  for (const customer of ['tower', 'mill']) await made('ada', 'POST /v1/customers', { id: customer });
  await made('ada', 'POST /v1/users', { id: 'hana', owner: 'tower', groups: ['admins:tower'] });
  await made('ada', 'POST /v1/users', { id: 'ben', owner: 'tower', groups: ['users:tower'] });
  await made('ada', 'POST /v1/users', { id: 'mira', owner: 'mill', groups: ['users:mill'] });
  // A desk that may act as the users of the tower, and has what they have.
  const permissions = { USER: ['READ', 'IMPERSONATE'], ALL: ['READ', 'READ_CREDENTIALS', 'READ_ATTRIBUTES', 'READ_TELEMETRY', 'RPC_CALL'] };
  await made('ada', 'POST /v1/roles', { id: 'help', owner: 'tower', type: 'GENERIC', permissions });
  await made('ada', 'POST /v1/groups', { id: 'desk', type: 'USER', owner: 'tower' });
  await made('ada', 'POST /v1/grants', { id: 'of-desk', userGroup: 'desk', role: 'help' });
  await anew();
});
/** The one who acts, and as whom: with nothing that earlier tests have done to them. */
async function anew(): Promise<void> {
  for (const user of ['dina', 'eli']) await admin.ask('ada', `DELETE /v1/users/${user}`);
  await made('ada', 'POST /v1/users', { id: 'dina', owner: 'tower', groups: ['desk'] });
  await made('ada', 'POST /v1/users', { id: 'eli', owner: 'tower' });
}
afterAll(async () => {
  await sql?.end({ timeout: 5 });
  admin?.close();
  await server?.close();
});

describe('to log in', () => {
  test('a token of the user that says who has it; both are told, logged and audited, and no secret is', async () => {
    const answer = await logIn('dina', 'eli');
    expect(answer).toMatchObject({
      status: 200,
      body: { tokenType: 'Bearer', user: 'eli', actor: 'dina', accessToken: expect.stringMatching(/^gs_[\w-]{43}$/) as unknown },
    });
    expect(Object.keys(answer.body as object).toSorted()).toEqual(['accessToken', 'actor', 'expires', 'tokenType', 'user']);
    expect(answer.headers.get('x-authz-revision')).toMatch(/^\d+-/);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    const { accessToken, expires } = bodyOf(answer);
    expect((Date.parse(expires) - Date.now()) / 1_000).toBeCloseTo(900, -1);
    reports.length = 0;
    expect(await admin.ask(accessToken, 'GET /v1/me')).toMatchObject({ status: 200, body: { subject: 'eli', actor: 'dina', owner: 'tower' } });
    expect(reports).toMatchObject([{ subject: 'eli', actor: 'dina', verdict: 'permit' }]);
    const audit = await sql`select actor, as_user, target, owner, before, after from grantgate.audit where action = 'user.login-as' and target = 'eli'`;
    const { id } = bodyOf(await admin.ask('ada', 'GET /v1/users/eli/sessions')).items[0]!;
    expect(audit).toMatchObject([
      { actor: 'dina', as_user: 'dina', target: 'eli', owner: 'tower', before: null, after: { session: { id, user: 'eli', actor: 'dina' } } },
    ]);
    const [{ hash }] = await sql<[{ hash: string }]>`select hash from grantgate.session where id = ${id}`;
    const everything = JSON.stringify([await sql`select * from grantgate.audit`, reports]);
    for (const secret of [accessToken, accessToken.slice(3), hash]) expect(everything).not.toContain(secret);
  });

  test.each([
    ['who may act as it and has what it has', 'dina', 'eli', '200'],
    ['an administrator', 'ada', 'hana', '200'],
    ['a customer administrator, as a user of its customer', 'hana', 'ben', '200'],
    ['who may not', 'eli', 'dina', '403 no-grant 6e'],
    ['who may, as one who has more: covers', 'dina', 'hana', '403 not-covered 5'],
    ['one of another customer', 'hana', 'mira', '403 out-of-scope 6e'],
    ['who belongs above', 'hana', 'ada', '403 out-of-scope 6e'],
    ['oneself', 'hana', 'hana', '422 violation 5'],
    ['nobody', 'ada', 'nobody', '404 not-found'],
    ['what is no user', 'ada', 'tower', '404 not-found'],
    ['the operator', OPERATOR, 'eli', '404 not-found'],
  ])('%s', async (_, by, user, expected) => {
    expect(words(await logIn(by, user))).toBe(expected);
  });

  test('no share hands on IMPERSONATE: it is for users at or below the own owner alone', async () => {
    await made('ada', 'POST /v1/groups', { id: 'millers', type: 'USER', owner: 'mill' });
    await made('ada', 'POST /v1/users', { id: 'max', owner: 'mill', groups: ['millers'] });
    await made('ada', 'POST /v1/roles', { id: 'lend', type: 'GROUP', permissions: ['READ', 'IMPERSONATE'] });
    await made('ada', 'POST /v1/groups/millers/share', { userGroup: 'desk', role: 'lend' });
    expect(words(await logIn('dina', 'max'))).toBe('403 out-of-scope 6e');
  });

  test('15 minutes at the most', async () => {
    const answer = await logIn('dina', 'eli', { lifetime: 60 });
    expect((Date.parse(bodyOf(answer).expires) - Date.now()) / 1_000).toBeCloseTo(60, -1);
    for (const lifetime of [0, 901, 1.5, '60', null])
      expect(await logIn('dina', 'eli', { lifetime })).toMatchObject({ status: 400, body: { field: 'lifetime' } });
    await sql`update grantgate.session set expires = clock_timestamp() where user_id = 'eli'`;
    expect(await me(bodyOf(answer).accessToken)).toBe('401 expired-token');
  });

  test('nobody is logged in as one who is disabled, nor by an API key', async () => {
    await made('ada', 'PATCH /v1/users/eli', { enabled: false });
    expect(words(await logIn('dina', 'eli'))).toBe('422 violation 1');
    await made('ada', 'PATCH /v1/users/eli', { enabled: true });
    const { key } = bodyOf(await admin.ask('ada', 'POST /v1/users/dina/keys', {}));
    expect(await me(key)).toBe('200');
    expect(words(await logIn(key, 'eli'))).toBe('403 not-a-session 5');
  });
});

describe('logged in as another', () => {
  test('what is done is its own doing, in the audit log with both, found by who did it', async () => {
    const token = await as('ada', 'hana');
    await made(token, 'POST /v1/entities', { id: 'by-both', type: 'DEVICE' });
    const ofTower = { actor: 'ada', asUser: 'hana', action: 'entity.create', target: 'by-both', owner: 'tower' };
    expect((await admin.ask('ada', 'GET /v1/audit?actor=ada&action=entity.create')).body).toMatchObject({ items: [ofTower] });
    expect((await admin.ask('ada', 'GET /v1/audit?target=by-both')).body).toMatchObject({ items: [ofTower] });
    expect((await admin.ask('ada', 'GET /v1/audit?actor=hana&target=by-both')).body, 'hana has done nothing').toMatchObject({ items: [] });
    for (const query of ['acting=true', 'asUser=hana&action=entity.create', 'about=hana&acting=true'])
      expect((await admin.ask('ada', `GET /v1/audit?${query}`)).body, query).toMatchObject({ items: [ofTower] });
    // Of the permissions of the user, and no others.
    expect(words(await admin.ask(token, 'POST /v1/customers', { id: 'x', owner: 'mill' }))).toMatch(/^403/);
  });

  test.each<readonly [string, string, object | undefined, string]>([
    ['an API key of the user', 'POST /v1/users/hana/keys', {}, '403 acting 5'],
    ['an API key of another', 'POST /v1/users/ben/keys', {}, '403 acting 5'],
    ["the user's e-mail", 'PATCH /v1/users/hana', { email: 'a@b.example' }, '403 acting 5'],
    ["another's e-mail", 'PATCH /v1/users/ben', { email: 'a@b.example' }, '403 acting 5'],
    ["another's e-mail, taken away", 'PATCH /v1/users/ben', { email: null }, '403 acting 5'],
    ['to log in as a third', 'POST /v1/users/ben/login', {}, '403 acting 5'],
    ['to log in as itself', 'POST /v1/users/hana/login', {}, '403 acting 5'],
    ['a name', 'PATCH /v1/users/ben', { firstName: 'Ben' }, '200'],
    ['to disable somebody', 'PATCH /v1/users/ben', { enabled: false }, '200'],
    ['to enable somebody', 'PATCH /v1/users/ben', { enabled: true }, '200'],
    ['to list keys', 'GET /v1/users/ben/keys', undefined, '200'],
  ])('%s: %s', async (_, request, body, expected) => {
    expect(words(await admin.ask(await as('ada', 'hana'), request, body))).toBe(expected);
  });
});

describe('good', () => {
  beforeEach(anew);

  test.each<readonly [string, () => Promise<unknown>, string]>([
    ['IMPERSONATE is taken away', () => admin.ask('ada', 'POST /v1/groups/desk/members', { remove: ['dina'] }), '403 no-grant 6e'],
    ['who has logged in is disabled', () => admin.ask('ada', 'PATCH /v1/users/dina', { enabled: false }), '401 ended-session'],
    ['and enabled again', () => admin.ask('ada', 'PATCH /v1/users/dina', { enabled: true }), '200'],
    ['who has logged in is removed', () => admin.ask('ada', 'DELETE /v1/users/dina'), '401 ended-session'],
    ['the user is disabled', () => admin.ask('ada', 'PATCH /v1/users/eli', { enabled: false }), '401 ended-session'],
    ['the user is removed', () => admin.ask('ada', 'DELETE /v1/users/eli'), '401 ended-session'],
    ['who has logged in is moved away', () => admin.ask('ada', 'PUT /v1/users/dina/owner', { owner: 'mill' }), '403 no-grant 6e'],
    ['its sessions are ended', () => admin.ask('ada', 'DELETE /v1/users/eli/sessions'), '401 ended-session'],
    ['who has logged in is logged out everywhere', () => admin.ask('ada', 'DELETE /v1/users/dina/sessions'), '401 ended-session'],
  ])('until %s', async (_, does, expected) => {
    const token = await as('dina', 'eli');
    expect(await me(token)).toBe('200');
    await does();
    expect(await me(token)).toBe(expected);
    expect(words(await admin.ask(token, 'GET /v1/users/eli'))).not.toBe('200');
  });

  // Each has locked something, and waits for what the other one has: PostgreSQL would end one of them, be it whoever disables.
  test.each([
    ['disabled', 'select 1 from grantgate.user_account where id = $1 for update', 'update grantgate.user_account set enabled = false where id = $1'],
    ['removed', 'select 1 from grantgate.object where id = $1 for update', 'delete from grantgate.object where id = $1'],
  ])('whoever is %s by another program while it logs in does not: no deadlock', async (_, locks, does) => {
    await as('dina', 'eli');
    const past = "clock_timestamp() - interval '1 second'"; // so that it is taken away with the next one
    await sql.unsafe(`update grantgate.session set expires = ${past}, ends = ${past} where actor = 'dina'`);
    let answer: Promise<AdminAnswer> | null = null;
    await sql.begin(async (db) => {
      await db`set local deadlock_timeout = '10ms'`;
      await db.unsafe(locks, ['dina']);
      answer = logIn('dina', 'eli');
      const blocked = 'select 1 from pg_stat_activity where pg_backend_pid() = any (pg_blocking_pids(pid))';
      await until(async () => (await db.unsafe(blocked)).length > 0, 'it waits');
      await db.unsafe(does, ['dina']);
    });
    expect(words((await answer)!)).toBe('422 violation 1');
    expect(await sql`select id from grantgate.session where actor = 'dina'`).toHaveLength(0);
  });

  test('IMPERSONATE is asked for with each need, and each row of a list, not when it is heard who asks alone', async () => {
    const authority = createAuthority({ pdp: createPdp(admin.cache, { deadline: 5_000 }), cache: admin.cache, vocabulary, deadline: 5_000 });
    const who = await authority.identify({ kind: 'user', subject: 'hana', actor: 'dina', tenants: '*', by: 'session' });
    const asked = { resource: 'USER', target: 'ben' };
    const require = () => authority.require(who, [{ kind: 'may', operation: 'READ', ...asked }]);
    await require();
    expect(await authority.readable(who, [asked])).toEqual([true]);
    await made('ada', 'POST /v1/groups/desk/members', { remove: ['dina'] });
    await expect(require()).rejects.toMatchObject({ reason: 'no-grant', message: 'IMPERSONATE on USER "hana" is denied' });
    expect(await authority.readable(who, [asked])).toEqual([false]);
  });

  test('the role that gives IMPERSONATE is asked about at each request, not once', async () => {
    const token = await as('dina', 'eli');
    await made('ada', 'PATCH /v1/roles/help', { permissions: { USER: ['READ'], ALL: ['READ'] } });
    expect(await me(token)).toBe('403 no-grant 6e');
    await made('ada', 'PATCH /v1/roles/help', { permissions: { USER: ['READ', 'IMPERSONATE'], ALL: ['READ'] } });
    expect(await me(token)).toBe('200');
  });
});

describe('sessions', () => {
  beforeEach(anew);

  test('that a user has as others are among its own: listed, and ended one by one or all', async () => {
    const [all, one] = [await as('dina', 'eli'), await as('dina', 'eli')];
    const { items } = bodyOf(await admin.ask('dina', 'GET /v1/users/dina/sessions'));
    const acting = { user: 'eli', actor: 'dina' };
    expect(items).toMatchObject([acting, acting]);
    expect(await admin.ask('ada', `DELETE /v1/users/dina/sessions/${items[0]!.id}`)).toMatchObject({ status: 200, body: { removed: 1 } });
    expect([await me(one), await me(all)]).toEqual(['401 ended-session', '200']);
    expect(await admin.ask('dina', 'DELETE /v1/users/dina/sessions')).toMatchObject({ status: 200, body: { removed: 1 } });
    expect(await me(all)).toBe('401 ended-session');
  });

  test('of a user: its own and those of who has logged in as it, by whoever may WRITE it, and by itself', async () => {
    await as('dina', 'eli');
    const token = await as('ada', 'eli');
    const listed = await admin.ask('hana', 'GET /v1/users/eli/sessions');
    expect(bodyOf(listed).items.map(({ actor }) => actor)).toEqual(['ada', 'dina']);
    expect(JSON.stringify(listed.body)).not.toMatch(/[0-9a-f]{64}/);
    expect(await admin.ask('eli', 'GET /v1/users/eli/sessions')).toMatchObject({ status: 200, body: listed.body as unknown });
    expect(words(await admin.ask('ben', 'GET /v1/users/eli/sessions'))).toBe('403 no-grant 6e');
    expect(words(await admin.ask(token, 'GET /v1/users/eli/sessions'))).toBe('403 no-grant 6e');
    const [first, second] = bodyOf(listed).items;
    expect(words(await admin.ask('ben', `DELETE /v1/users/eli/sessions/${first!.id}`))).toBe('403 no-grant 6e');
    expect(words(await admin.ask(token, `DELETE /v1/users/eli/sessions/${second!.id}`))).toBe('403 no-grant 6e');
    expect(await me(token)).toBe('200');
    const gone = await admin.ask('eli', `DELETE /v1/users/eli/sessions/${first!.id}`);
    expect(gone).toMatchObject({ status: 200, body: { removed: 1 } });
    expect(gone.headers.get('x-authz-revision')).toMatch(/^\d+-/);
    expect(await me(token)).toBe('401 ended-session');
    expect(words(await admin.ask('eli', `DELETE /v1/users/eli/sessions/${first!.id}`))).toBe('404 not-found');
    expect(words(await admin.ask('ada', `DELETE /v1/users/ben/sessions/${second!.id}`)), "another's").toBe('404 not-found');
    expect(await admin.ask('hana', 'DELETE /v1/users/eli/sessions')).toMatchObject({ status: 200, body: { removed: 1 } });
    expect(await admin.ask('hana', 'DELETE /v1/users/eli/sessions')).toMatchObject({ status: 200, body: { removed: 0 } });
    const audit = await sql`select a.actor, a.as_user, a.before -> 'session' ->> 'id' id, a.after from grantgate.audit a
      where a.action = 'user.session.end' order by a.id desc limit 2`;
    expect(audit).toMatchObject([
      { actor: 'hana', as_user: 'hana', id: second!.id, after: null },
      { actor: 'eli', as_user: 'eli', id: first!.id, after: null },
    ]);
  });

  test('an API key of the user neither sees nor ends them', async () => {
    const token = await as('ada', 'eli');
    const { key } = bodyOf(await admin.ask('ada', 'POST /v1/users/eli/keys', {}));
    expect(words(await admin.ask(key, 'GET /v1/users/eli/sessions'))).toBe('403 no-grant 6e');
    expect(words(await admin.ask(key, 'DELETE /v1/users/eli/sessions'))).toBe('403 no-grant 6e');
    expect(await me(token)).toBe('200');
  });

  test('of one who has more, nobody ends them: covers', async () => {
    await made('ada', 'POST /v1/roles', { id: 'editor', owner: 'tower', type: 'GENERIC', permissions: { USER: ['READ', 'WRITE'] } });
    await made('ada', 'POST /v1/groups', { id: 'editors', type: 'USER', owner: 'tower' });
    await made('ada', 'POST /v1/grants', { userGroup: 'editors', role: 'editor' });
    await made('ada', 'POST /v1/users', { id: 'ed', owner: 'tower', groups: ['editors'] });
    await as('ada', 'hana');
    expect(words(await admin.ask('ed', 'GET /v1/users/hana/sessions'))).toBe('200');
    expect(words(await admin.ask('ed', 'DELETE /v1/users/hana/sessions'))).toBe('403 not-covered 5');
  });

  test('fifty of one who acts as one user, and its own are none of those', async () => {
    await sql`insert into grantgate.session (id, tenant, user_id, actor, hash, expires, ends)
      select 'own-' || i || x, 'acme', 'eli', case x when 'a' then null else 'dina' end, encode(sha256((i || x)::bytea), 'hex'), now() + interval '1 hour', now() + interval '1 hour'
      from generate_series(1, 50) i, (values ('a'), ('b')) v (x)`;
    const token = await as('dina', 'eli');
    const { items } = bodyOf(await admin.ask('eli', 'GET /v1/users/eli/sessions'));
    expect([items.length, items.filter(({ actor }) => actor === 'dina').length]).toEqual([100, 50]);
    expect(await me(token)).toBe('200');
  });
});
