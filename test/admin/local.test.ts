// Who logs in, by what, how does it go on, and how does it end? Every call of `identity.local`, over a real database.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openPool } from 'policy-cache/postgres';
import type { Mail } from '../../src/api/local/mailer.ts';
import { hashOf } from '../../src/opaque.ts';
import type { CheckReport } from '../../src/report.ts';
import { hostClock } from '../../src/clock.ts';
import { OPERATOR, localAddition, startTestAdministration, type AdminAnswer, type TestAdministration } from '../support/admin.ts';
import { startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';

interface Body {
  readonly id: string;
  readonly key: string;
  readonly link: string;
  readonly expires: string;
  readonly accessToken: string;
  readonly refreshToken: string;
  readonly session: string;
  readonly items: readonly { readonly id: string; readonly actor?: string }[];
  readonly reason?: string;
  readonly code?: string;
  readonly field?: string;
  readonly detail?: string;
}
const bodyOf = ({ body }: AdminAnswer): Body => body as Body;
/** Status, and why not, in a few words. */
function words(answer: AdminAnswer): string {
  const { reason, code, field } = bodyOf(answer);
  return [answer.status, reason ?? code, field].filter((word) => word !== undefined).join(' ');
}
const secretOf = (link: string): string => link.split('#token=')[1] ?? '';

const PASSWORD = 'correct horse battery';
let server: TestServer;
let database: TestDatabase;
let admin: TestAdministration;
let sql: ReturnType<typeof openPool>;
let hashes = 0;
const reports: CheckReport[] = [];
const mails: Mail[] = [];
const failures: unknown[] = [];
/** Every password and token of these tests. */
const secrets = new Set<string>([PASSWORD, 'another password']);

const ask: TestAdministration['ask'] = async (...given) => {
  const answer = await admin.ask(...given);
  const { accessToken, refreshToken, link, key } = (answer.body ?? {}) as Partial<Body>;
  for (const secret of [accessToken, refreshToken, key, link === undefined ? undefined : secretOf(link)]) if (secret !== undefined) secrets.add(secret);
  return answer;
};
async function made(by: string, request: string, body?: object): Promise<Body> {
  const answer = await ask(by, request, body);
  expect(words(answer), request).toMatch(/^20[01]/);
  return bodyOf(answer);
}
const login = (email: string, password: string): Promise<AdminAnswer> => ask('nobody', 'POST /v1/auth/login', { email, password });
const refresh = (refreshToken: string): Promise<AdminAnswer> => ask('nobody', 'POST /v1/auth/refresh', { refreshToken });
const activate = (link: string, password: string): Promise<AdminAnswer> => {
  secrets.add(password);
  return ask('nobody', 'POST /v1/auth/activate', { token: secretOf(link), password });
};
const me = async (token: string): Promise<string> => words(await ask(token, 'GET /v1/me'));

let count = 0;
/** A user of the tenant that has set its password. */
async function someone(more: object = {}): Promise<{ readonly id: string; readonly email: string } & Pick<Body, 'accessToken' | 'refreshToken' | 'session'>> {
  const id = `u${++count}`;
  const email = `${id}@acme.example`;
  await made('ada', 'POST /v1/users', { id, email, ...more });
  const { link } = await made('ada', `POST /v1/users/${id}/activation`, {});
  const begun = await activate(link, PASSWORD);
  expect(words(begun)).toBe('200');
  const { accessToken, refreshToken, session } = bodyOf(begun);
  return { id, email, accessToken, refreshToken, session };
}

beforeAll(async () => {
  server = await startPostgres('embedded18');
  database = await server.database();
  let decision = 0;
  admin = await startTestAdministration(database, {
    decisions: { clock: hostClock(), nextId: () => `${++decision}`, report: (check) => void reports.push(check) },
    addition: localAddition({
      rate: 1_000_000,
      linkUrl: 'https://grantgate.example/v1/auth/set-password',
      computed: () => hashes++,
      mailer: {
        send: (mail) => {
          mails.push(mail);
          return Promise.resolve();
        },
      },
      failed: (error) => failures.push(error),
    }),
  });
  sql = openPool({ url: database.url, max: 4 });
  await made(OPERATOR, 'POST /v1/tenants', { id: 'acme' });
  await made(OPERATOR, 'POST /v1/tenants/acme/administrator', { id: 'ada', email: 'ada@acme.example' });
  await made('ada', 'POST /v1/customers', { id: 'tower' });
}, 60_000);
afterAll(async () => {
  await sql?.end({ timeout: 5 });
  admin?.close();
  await server?.close();
});
beforeEach(() => void (reports.length = 0));

describe('a link', () => {
  test('by which a user that could not log in sets its password, once, and is logged in; and logs in by its e-mail, in any case', async () => {
    await made('ada', 'POST /v1/users', { id: 'hana', owner: 'tower', email: 'Hana@Tower.example' });
    expect(words(await login('hana@tower.example', PASSWORD))).toBe('401 bad-login');
    const { link, expires } = await made('ada', 'POST /v1/users/hana/activation', {});
    expect(link).toMatch(/^https:\/\/grantgate\.example\/v1\/auth\/set-password#token=ga_[\w-]{43}$/);
    expect(Date.parse(expires) - Date.now()).toBeGreaterThan(23 * 3_600_000);
    for (const [password, problem] of [
      ['short', /12 characters at least/],
      ['x'.repeat(257), /256 characters at most/],
      ['with a \u0007 bell in it', /control/],
      ['hana@tower.EXAMPLE', /e-mail/],
    ] as const) {
      const refused = await activate(link, password);
      expect(words(refused)).toBe('422 violation password');
      expect(bodyOf(refused).detail).toMatch(problem);
    }
    const begun = await activate(link, PASSWORD);
    expect(begun).toMatchObject({
      status: 200,
      body: {
        accessToken: expect.stringMatching(/^gs_[\w-]{43}$/) as unknown,
        tokenType: 'Bearer',
        refreshToken: expect.stringMatching(/^gr_[\w-]{65}$/) as unknown,
        user: 'hana',
        actor: 'hana',
      },
    });
    expect(begun.headers.get('cache-control')).toBe('no-store');
    expect(begun.headers.get('x-authz-revision')).toMatch(/^\d+-/);
    expect(await ask(bodyOf(begun).accessToken, 'GET /v1/me')).toMatchObject({ status: 200, body: { subject: 'hana', actor: 'hana', owner: 'tower' } });
    expect(words(await activate(link, 'another password'))).toBe('401 bad-link');
    const { accessToken } = bodyOf(await login('HANA@tower.example', PASSWORD));
    expect(await me(accessToken)).toBe('200');
    expect(words(await login('hana@tower.example', 'another password'))).toBe('401 bad-login');
    expect(await ask('ada', 'GET /v1/users/hana')).toMatchObject({ body: { lastLogin: expect.stringMatching(/^20/) as unknown } });
  });

  test('of a keyboard that writes letters in two pieces', async () => {
    await made('ada', 'POST /v1/users', { id: 'zoe', email: 'zoe@acme.example' });
    const { link } = await made('ada', 'POST /v1/users/zoe/activation', {});
    await activate(link, 'Zo\u00eb und das Schlo\u00df');
    secrets.add('Zoe\u0308 und das Schlo\u00df');
    expect(words(await login('zoe@acme.example', 'Zoe\u0308 und das Schlo\u00df'))).toBe('200');
    expect(words(await login('zoe@acme.example', ' Zo\u00eb und das Schlo\u00df'))).toBe('401 bad-login');
  });

  test('the newest one, until its time, while the e-mail is the same, of whom could log in by it', async () => {
    await made('ada', 'POST /v1/users', { id: 'ben', owner: 'tower', email: 'ben@tower.example' });
    const anew = async () => (await made('ada', 'POST /v1/users/ben/activation', {})).link;
    const first = await anew();
    const second = await anew();
    expect(words(await activate(first, PASSWORD))).toBe('401 bad-link');
    await sql`update grantgate.activation set expires = clock_timestamp() where user_id = 'ben'`;
    expect(words(await activate(second, PASSWORD))).toBe('401 bad-link');
    const third = await anew();
    await made('ada', 'PATCH /v1/users/ben', { email: 'benno@tower.example' });
    expect(words(await activate(third, PASSWORD))).toBe('401 bad-link');
    const fourth = await anew();
    await made('ada', 'PATCH /v1/users/ben', { enabled: false });
    await made('ada', 'PATCH /v1/users/ben', { enabled: true });
    expect(words(await activate(fourth, PASSWORD))).toBe('401 bad-link');
    for (const token of ['', 'ga_', `ga_${'A'.repeat(43)}`, `gs_${'A'.repeat(43)}`])
      expect(words(await ask('nobody', 'POST /v1/auth/activate', { token, password: PASSWORD })), token).toBe('401 bad-link');

    const refused = async (body: object) => {
      await made('ada', 'PATCH /v1/users/ben', body);
      return words(await ask('ada', 'POST /v1/users/ben/activation', {}));
    };
    expect(await refused({ enabled: false })).toBe('422 violation');
    expect(await refused({ enabled: true, email: null })).toBe('422 violation email');
    expect(await refused({ email: 'HANA@tower.example' })).toBe('422 violation email');
    const fifth = await refused({ email: 'ben@tower.example' });
    expect(fifth).toBe('201');
  });

  test('is made by who may WRITE the user and covers it; of oneself not by an API key, and not by whoever is somebody else', async () => {
    await made('ada', 'POST /v1/users', { id: 'root', owner: 'tower', email: 'root@tower.example', groups: ['admins:tower'] });
    await made('ada', 'POST /v1/users', { id: 'ned', owner: 'tower', email: 'ned@tower.example', groups: ['users:tower'] });
    const by = async (who: string, user: string) => words(await ask(who, `POST /v1/users/${user}/activation`, {}));
    expect(await by('root', 'ned')).toBe('201');
    expect(await by('root', 'root')).toBe('201');
    expect(await by('ned', 'root')).toBe('403 no-grant');
    expect(await by('root', 'ada')).toMatch(/^403/);
    expect(await by(OPERATOR, 'ned')).toMatch(/^40[34]/);
    const { key } = await made('ada', 'POST /v1/users/root/keys', {});
    expect(await by(key, 'ned')).toBe('201');
    expect(await by(key, 'root')).toBe('403 not-a-session');
    const { accessToken } = await made('ada', 'POST /v1/users/root/login', {});
    expect(await by(accessToken, 'ned')).toBe('403 acting');
  });

  test('is mailed where that is asked for, and then told to nobody; one who has forgotten its password asks for it', async () => {
    const { id, email } = await someone();
    mails.length = 0;
    const mailed = await ask('ada', `POST /v1/users/${id}/activation`, { mail: true });
    expect(mailed).toMatchObject({ status: 201, body: { mailed: true } });
    expect(JSON.stringify(mailed.body)).not.toContain('ga_');
    expect(mails).toMatchObject([{ to: email, kind: 'activation', expires: bodyOf(mailed).expires }]);
    expect(words(await activate(mails[0]!.link, PASSWORD))).toBe('200');

    const forgotten = (address: string) => ask('nobody', 'POST /v1/auth/forgotten', { email: address });
    mails.length = 0;
    expect(await forgotten('nobody@acme.example')).toMatchObject({ status: 202, body: {} });
    expect(await forgotten(email.toUpperCase())).toMatchObject({ status: 202, body: {} });
    await until(() => mails.length > 0, 'a mail');
    expect(mails).toMatchObject([{ to: email, kind: 'reset' }]);
    // Nobody is mailed a hundred times: the second request within a minute makes no other link.
    await forgotten(email);
    const late = await someone();
    await forgotten(late.email);
    await until(() => mails.length > 1, 'the mail of another');
    expect(mails.map(({ to }) => to)).toEqual([email, late.email]);
    for (const { link } of mails) secrets.add(secretOf(link));
    expect(words(await activate(mails[0]!.link, 'a new one, at last'))).toBe('200');
    expect(words(await login(email, PASSWORD))).toBe('401 bad-login');
    expect(failures).toEqual([]);
  });

  test('the first administrator gets one from the operator, and another while nobody has been at work', async () => {
    await made(OPERATOR, 'POST /v1/tenants', { id: 'mill' });
    expect(words(await ask(OPERATOR, 'POST /v1/tenants/mill/administrator', { id: 'mia', activation: true }))).toBe('422 violation email');
    const mia = await ask(OPERATOR, 'POST /v1/tenants/mill/administrator', { id: 'mia', email: 'mia@mill.example', activation: true });
    expect(mia).toMatchObject({ status: 201, body: { id: 'mia', activation: { link: expect.stringMatching(/#token=ga_/) as unknown } } });
    const first = (mia.body as { activation: Body }).activation.link;
    secrets.add(secretOf(first));
    const again = () => ask(OPERATOR, 'POST /v1/tenants/mill/administrator/mia/activation', {});
    expect(words(await ask('ada', 'POST /v1/tenants/mill/administrator/mia/activation', {}))).toBe('403 operator-only');
    expect(words(await ask(OPERATOR, 'POST /v1/tenants/mill/administrator/ada/activation', {}))).toBe('404 not-found');
    const second = bodyOf(await again()).link;
    expect(words(await activate(first, PASSWORD))).toBe('401 bad-link');
    expect(words(await activate(second, PASSWORD))).toBe('200');
    expect(words(await again())).toBe('422 violation');
    // An administrator that the operator has not made, and one who has been at work by other tokens than ours.
    await made('mia', 'POST /v1/users', { id: 'max', email: 'max@mill.example', groups: ['admins:mill'] });
    expect(words(await ask(OPERATOR, 'POST /v1/tenants/mill/administrator/max/activation', {}))).toBe('422 violation');
    expect(words(await ask(OPERATOR, 'POST /v1/tenants/acme/administrator/ada/activation', {}))).toBe('422 violation');
  });
});

describe('a session', () => {
  test('is renewed by its refresh token: the tokens before are no good any more, and one that is used again ends it', async () => {
    const { id, accessToken, refreshToken, session } = await someone();
    const renewed = await refresh(refreshToken);
    expect(renewed).toMatchObject({ status: 200, body: { user: id, session } });
    const next = bodyOf(renewed);
    expect(await me(accessToken)).toBe('401 ended-session');
    expect(await me(next.accessToken)).toBe('200');
    expect(words(await refresh(refreshToken))).toBe('401 reused-token');
    expect(await me(next.accessToken)).toBe('401 ended-session');
    expect(words(await refresh(next.refreshToken))).toBe('401 ended-session');
    for (const token of ['', 'gr_', accessToken, `gr_${'A'.repeat(65)}`, `${next.refreshToken}A`])
      expect(words(await refresh(token))).toBe('401 ended-session');
    const actions = await sql`select action from grantgate.audit where target = ${id} order by id`;
    expect(actions.map(({ action }) => String(action))).toEqual([
      'user.create',
      'user.activation',
      'user.activate',
      'user.session.renew',
      'user.session.reused',
    ]);
  });

  test('used twice at once, a refresh token is good for one, or for none', async () => {
    const { refreshToken } = await someone();
    const answers = await Promise.all([refresh(refreshToken), refresh(refreshToken)]);
    expect(answers.map(words).toSorted()).toEqual(['200', '401 reused-token']);
    const good = bodyOf(answers.find(({ status }) => status === 200)!);
    expect(await me(good.accessToken)).toBe('401 ended-session');
  });

  test('ends where it is not renewed in time, and after the longest time all the same', async () => {
    const one = await someone();
    await sql`update grantgate.session set expires = clock_timestamp(), ends = clock_timestamp() where id = ${one.session}`;
    expect(words(await refresh(one.refreshToken))).toBe('401 ended-session');
    await until(async () => (await me(one.accessToken)) === '401 expired-token', 'its end');
    const two = await someone();
    const times = async () => {
      const [row] = await sql`select extract(epoch from expires - now())::float8 token, extract(epoch from ends - now())::float8 idle
        from grantgate.session where id = ${two.session}`;
      return row as { token: number; idle: number };
    };
    expect((await times()).token).toBeCloseTo(900, -1.5);
    expect((await times()).idle).toBeCloseTo(7 * 86_400, -1.5);
    await sql`update grantgate.session set created = now() - interval '29 days' where id = ${two.session}`;
    const renewed = bodyOf(await refresh(two.refreshToken));
    expect((await times()).idle).toBeCloseTo(86_400, -1.5);
    await sql`update grantgate.session set created = now() - interval '30 days' + interval '5 minutes' where id = ${two.session}`;
    const last = bodyOf(await refresh(renewed.refreshToken));
    expect((await times()).token).toBeCloseTo(300, -1.5);
    await sql`update grantgate.session set created = now() - interval '30 days' where id = ${two.session}`;
    expect(words(await refresh(last.refreshToken))).toBe('401 ended-session');
  });

  test('fifty of a user: the one that was not used for the longest time goes', async () => {
    const one = await someone();
    await sql`insert into grantgate.session (id, tenant, user_id, hash, expires, ends, created, family, refresh)
      select ${one.id} || i, 'acme', ${one.id}, encode(sha256((${one.id} || i)::text::bytea), 'hex'), now() + interval '1 hour', now() + interval '1 hour',
        now() - interval '1 hour', encode(sha256((${one.id} || 'f' || i)::text::bytea), 'hex'), encode(sha256('r'), 'hex') from generate_series(1, 49) i`;
    await sql`update grantgate.session set created = now() - interval '2 hours', renewed = now() where id = ${one.session}`;
    expect(words(await login(one.email, PASSWORD))).toBe('200');
    const { items } = bodyOf(await ask('ada', `GET /v1/users/${one.id}/sessions`));
    expect(items).toHaveLength(50);
    expect(items.map(({ id }) => id)).toContain(one.session);
  });

  test('is ended by whoever has it, and so are all of its user; not by what is no session', async () => {
    const { id, email, accessToken } = await someone();
    const others = await Promise.all([login(email, PASSWORD), login(email, PASSWORD)].map(async (each) => bodyOf(await each)));
    expect(await ask(accessToken, 'POST /v1/auth/logout', {})).toMatchObject({ status: 200, body: { ended: 1 } });
    expect(await me(accessToken)).toBe('401 ended-session');
    expect(await me(others[0]!.accessToken)).toBe('200');
    expect(await ask(others[0]!.accessToken, 'POST /v1/auth/logout', { all: true })).toMatchObject({ status: 200, body: { ended: 2 } });
    for (const other of others) {
      expect(await me(other.accessToken)).toBe('401 ended-session');
      expect(words(await refresh(other.refreshToken))).toBe('401 ended-session');
    }
    const { key } = await made('ada', `POST /v1/users/${id}/keys`, {});
    for (const by of [key, id, OPERATOR])
      for (const [path, body] of [
        ['logout', {}],
        ['password', { current: PASSWORD, password: 'another password' }],
      ] as const)
        expect(words(await ask(by, `POST /v1/auth/${path}`, body)), path).toBe('403 not-a-session');
  });

  test('as somebody else ends by itself alone, and sets no password', async () => {
    const { id, accessToken: own } = await someone();
    const acting = (await made('ada', `POST /v1/users/${id}/login`, {})).accessToken;
    expect(words(await ask(acting, 'POST /v1/auth/password', { current: PASSWORD, password: 'another password' }))).toBe('403 acting');
    expect(words(await ask(acting, 'POST /v1/auth/logout', { all: true }))).toBe('403 acting');
    expect(await ask(acting, 'POST /v1/auth/logout', {})).toMatchObject({ status: 200, body: { ended: 1 } });
    expect(await me(acting)).toBe('401 ended-session');
    expect(await me(own)).toBe('200');
  });

  test.each<readonly [string, (one: Awaited<ReturnType<typeof someone>>) => Promise<AdminAnswer>]>([
    ['it logs out everywhere', ({ accessToken }) => ask(accessToken, 'POST /v1/auth/logout', { all: true })],
    ['it is logged out everywhere', ({ id }) => ask('ada', `DELETE /v1/users/${id}/sessions`)],
    ['its password is changed', ({ accessToken }) => ask(accessToken, 'POST /v1/auth/password', { current: PASSWORD, password: 'another password' })],
    ['its password is set by a link', async ({ id }) => activate((await made('ada', `POST /v1/users/${id}/activation`, {})).link, 'another password')],
  ])('that a user has as somebody else ends with its others: where %s', async (_, does) => {
    const one = await someone({ groups: ['admins:acme'] });
    const acting = (await made(one.accessToken, 'POST /v1/users/ada/login', {})).accessToken;
    expect(await me(acting)).toBe('200');
    expect(words(await does(one))).toBe('200');
    expect(await me(acting)).toBe('401 ended-session');
  });

  test('goes on where its user has changed its password; all others end, and so does a link', async () => {
    const { id, email, accessToken, refreshToken } = await someone();
    const other = bodyOf(await login(email, PASSWORD));
    const acting = (await made('ada', `POST /v1/users/${id}/login`, {})).accessToken;
    const { link } = await made('ada', `POST /v1/users/${id}/activation`, {});
    const change = (current: string, password: string) => ask(accessToken, 'POST /v1/auth/password', { current, password });
    expect(words(await change('not the password', 'my next password'))).toBe('401 bad-login');
    expect(words(await change(PASSWORD, 'short'))).toBe('422 violation password');
    expect(await me(other.accessToken)).toBe('200');
    secrets.add('my next password');
    expect(await change(PASSWORD, 'my next password')).toMatchObject({ status: 200, body: { ended: 2 } });
    expect(await me(accessToken)).toBe('200');
    for (const token of [other.accessToken, acting]) expect(await me(token)).toBe('401 ended-session');
    expect(words(await activate(link, PASSWORD))).toBe('401 bad-link');
    expect(words(await refresh(refreshToken))).toBe('200');
    expect(words(await login(email, PASSWORD))).toBe('401 bad-login');
    expect(words(await login(email, 'my next password'))).toBe('200');
  });
});

describe('a user', () => {
  test('that is disabled is out at once, and is told so by the right password alone; enabled, it logs in again', async () => {
    const { id, email, accessToken, refreshToken } = await someone();
    await made('ada', `PATCH /v1/users/${id}`, { enabled: false });
    expect(await me(accessToken)).toBe('401 ended-session');
    expect(words(await login(email, 'not the password'))).toBe('401 bad-login');
    expect(words(await login(email, PASSWORD))).toBe('401 subject-disabled');
    await made('ada', `PATCH /v1/users/${id}`, { enabled: true });
    expect(await me(accessToken)).toBe('401 ended-session');
    expect(words(await refresh(refreshToken))).toBe('401 ended-session');
    expect(words(await login(email, PASSWORD))).toBe('200');
  });

  test('that is deleted has nothing left; moved, it keeps its session', async () => {
    const one = await someone();
    expect(words(await ask('ada', `PUT /v1/users/${one.id}/owner`, { owner: 'tower' }))).toBe('200');
    expect(await ask(one.accessToken, 'GET /v1/me')).toMatchObject({ status: 200, body: { owner: 'tower' } });
    await made('ada', `DELETE /v1/users/${one.id}`);
    expect(await me(one.accessToken)).toBe('401 ended-session');
    expect(words(await refresh(one.refreshToken))).toBe('401 ended-session');
    expect(words(await login(one.email, PASSWORD))).toBe('401 bad-login');
    const [left] = await sql`select (select count(*) from grantgate.credential where user_id = ${one.id})
      + (select count(*) from grantgate.session where user_id = ${one.id}) n`;
    expect(Number(left?.['n'])).toBe(0);
  });

  test('whose e-mail is changed logs in by the new one; that of another who logs in here is refused', async () => {
    const [one, two] = [await someone(), await someone()];
    await made('ada', `PATCH /v1/users/${one.id}`, { email: 'New@acme.example' });
    expect(await me(one.accessToken)).toBe('200');
    expect(words(await login(one.email, PASSWORD))).toBe('401 bad-login');
    expect(words(await login('new@ACME.example', PASSWORD))).toBe('200');
    const taken = await ask('ada', `PATCH /v1/users/${one.id}`, { email: two.email.toUpperCase() });
    expect(words(taken)).toBe('422 violation');
    expect(bodyOf(taken).detail).toContain('another user logs in by this e-mail');
    await made('ada', `PATCH /v1/users/${one.id}`, { email: null });
    expect(words(await login('new@acme.example', PASSWORD))).toBe('401 bad-login');
  });

  test('whose password was hashed by other parameters has it hashed by today\u2019s when it logs in', async () => {
    const { id, email } = await someone();
    const { hash } = await import('@node-rs/argon2');
    const weak = await hash(PASSWORD, { memoryCost: 8_192, timeCost: 3, parallelism: 1 });
    await sql`update grantgate.credential set password = ${weak} where user_id = ${id}`;
    expect(words(await login(email, PASSWORD))).toBe('200');
    const [row] = await sql`select password from grantgate.credential where user_id = ${id}`;
    expect(row?.['password']).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(words(await login(email, PASSWORD))).toBe('200');
  });
});

describe('guessing', () => {
  test.each(['of a user', 'of nobody'])('%s: of thirty at once ten are tried, then nothing is, for a minute, not even the right one', async (of) => {
    const email = of === 'of a user' ? (await someone()).email : 'nobody-at-all@acme.example';
    hashes = 0;
    const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => login(email, `guess number ${i}`)));
    const said = answers.map(words);
    expect(said.filter((word) => word === '401 bad-login')).toHaveLength(10);
    expect(said.filter((word) => word === '429 locked')).toHaveLength(20);
    expect(hashes).toBe(10);
    const locked = await login(email, PASSWORD);
    expect(words(locked)).toBe('429 locked');
    expect(Number(locked.headers.get('retry-after'))).toBeGreaterThan(50);
    expect(hashes).toBe(10);
    // When it is over: one more guess, and twice as long; at last no longer than it may.
    const account = hashOf(email);
    for (const seconds of [120, 240, 480, 900, 900]) {
      await sql`update grantgate.login_attempt set locked = now() where account = ${account}`;
      expect(words(await login(email, 'one more guess'))).toBe('401 bad-login');
      const wait = Number((await login(email, PASSWORD)).headers.get('retry-after'));
      expect(wait).toBeGreaterThan(seconds - 10);
      expect(wait).toBeLessThanOrEqual(seconds);
    }
    await sql`update grantgate.login_attempt set locked = now() where account = ${account}`;
    expect(words(await login(email, PASSWORD))).toBe(of === 'of a user' ? '200' : '401 bad-login');
    if (of === 'of a user') for (let i = 0; i < 9; i++) expect(words(await login(email, 'a wrong password'))).toBe('401 bad-login');
    if (of === 'of a user') expect(words(await login(email, PASSWORD))).toBe('200');
  });

  test('a link lets whoever is locked out in; the password of a session is not guessed either', async () => {
    const { id, email, accessToken } = await someone();
    for (let i = 0; i < 10; i++)
      expect(words(await ask(accessToken, 'POST /v1/auth/password', { current: `guess ${i}`, password: 'another password' }))).toBe('401 bad-login');
    expect(words(await ask(accessToken, 'POST /v1/auth/password', { current: PASSWORD, password: 'another password' }))).toBe('429 locked');
    expect(words(await login(email, PASSWORD))).toBe('429 locked');
    const { link } = await made('ada', `POST /v1/users/${id}/activation`, {});
    expect(words(await activate(link, PASSWORD))).toBe('200');
    expect(words(await login(email, PASSWORD))).toBe('200');
  });

  test('is the same work and the same answer, whatever is wrong', async () => {
    const [one, disabled] = [await someone(), await someone()];
    await made('ada', `PATCH /v1/users/${disabled.id}`, { enabled: false });
    await made('ada', 'POST /v1/users', { id: 'never', email: 'never@acme.example' });
    const answers = new Set<string>();
    for (const email of [one.email, disabled.email, 'never@acme.example', 'unknown@acme.example', 'no address at all']) {
      hashes = 0;
      const answer = await login(email, 'a wrong password');
      answers.add(JSON.stringify([answer.status, answer.body, [...answer.headers.keys()].toSorted()]));
      expect(hashes, email).toBe(1);
    }
    expect(answers.size).toBe(1);
  });

  test('what was wrong a day ago is forgotten, and taken away', async () => {
    await login('old@acme.example', 'a wrong password');
    await sql`update grantgate.login_attempt set failures = 9, last = now() - interval '25 hours'`;
    expect(words(await login('old@acme.example', 'a wrong password'))).toBe('401 bad-login');
    expect(words(await login('old@acme.example', 'a wrong password'))).toBe('401 bad-login');
    const [row] = await sql`select failures from grantgate.login_attempt where account = ${hashOf('old@acme.example')}`;
    expect(Number(row?.['failures'])).toBe(2);
    await sql`insert into grantgate.login_attempt (account, failures, last)
      select encode(sha256(i::text::bytea), 'hex'), 1, now() - interval '25 hours' from generate_series(1, 10) i`;
    const stale = async () => Number((await sql`select count(*) n from grantgate.login_attempt where last < now() - interval '1 day'`)[0]?.['n']);
    const before = await stale();
    await login('old@acme.example', 'a wrong password');
    expect(await stale()).toBe(Math.max(0, before - 5));
  });

  test('of so many at once that they would wait for longer than anybody does, some are told to come again', async () => {
    const answers = await Promise.all(Array.from({ length: 80 }, (_, i) => login(`flood-${i}@acme.example`, 'a wrong password')));
    const full = answers.filter(({ status }) => status === 503);
    expect(full).toHaveLength(16);
    for (const each of full) expect([words(each), each.headers.get('retry-after')]).toEqual(['503 overload', '1']);
  });
});

test('what is decided is told in the decision log, and no e-mail with it', async () => {
  const { id, email, refreshToken } = await someone();
  reports.length = 0;
  await login(email, PASSWORD);
  await login(email, 'a wrong password');
  await refresh(refreshToken);
  await refresh(refreshToken);
  expect(reports.map(({ verdict, reason, subject, tenant }) => [verdict, reason, subject, tenant])).toEqual([
    ['permit', 'known-subject', id, 'acme'],
    ['unauthenticated', 'bad-login', '', ''],
    ['permit', 'known-subject', id, 'acme'],
    ['unauthenticated', 'reused-token', id, 'acme'],
  ]);
  expect(JSON.stringify(reports)).not.toContain('@');
});

test('the document has these routes, and no credential for what has none yet', async () => {
  const { paths } = (await ask('ada', 'GET /v1/openapi.json')).body as { paths: Record<string, Record<string, { security: unknown[] }>> };
  const open = Object.entries(paths).flatMap(([path, verbs]) => Object.values(verbs).flatMap(({ security }) => (security.length === 0 ? [path] : [])));
  expect(open.toSorted()).toEqual(['activate', 'forgotten', 'login', 'refresh', 'set-password'].map((name) => `/v1/auth/${name}`));
  expect(Object.keys(paths)).toEqual(expect.arrayContaining(['/v1/auth/logout', '/v1/auth/password', '/v1/users/{id}/activation']));
});

test('where nobody logs in here there is nothing of it, and no link is made', async () => {
  const plain = await startTestAdministration(database);
  try {
    const { paths } = (await plain.ask('ada', 'GET /v1/openapi.json')).body as { paths: object };
    expect(Object.keys(paths).filter((path) => /auth|activation|session|login/.test(path))).toEqual([]);
    const asked = await plain.ask(OPERATOR, 'POST /v1/tenants/acme/administrator', { email: 'x@acme.example', activation: true });
    expect(words(asked)).toBe('422 violation activation');
    expect(bodyOf(asked).detail).toContain('identity.local.enabled');
    const headers = { authorization: `Bearer ${Buffer.from('ada').toString('base64url')}`, 'content-type': 'application/json' };
    expect((await plain.routes.request('/v1/auth/login', { method: 'POST', headers, body: '{}' })).status).toBe(404);
  } finally {
    plain.close();
  }
});

test('nothing of what opens is kept anywhere, nor in what was said of it', async () => {
  expect(secrets.size).toBeGreaterThan(100);
  const tables = await sql`select table_name::text name from information_schema.tables where table_schema = 'grantgate' and table_type = 'BASE TABLE'`;
  let everything = JSON.stringify([reports, failures.map(String)]);
  for (const { name } of tables) {
    const rows = await sql.unsafe(`select t::text r from grantgate.${String(name)} t`);
    everything += rows.map(({ r }) => String(r)).join('\n');
  }
  expect(everything.length).toBeGreaterThan(50_000);
  for (const secret of secrets) expect(everything.includes(secret), secret).toBe(false);
  for (const prefix of ['gs_', 'gr_', 'ga_', 'gg_']) expect(everything).not.toMatch(new RegExp(`${prefix}[\\w-]{20}`));
  // Nor does the audit log have a hash of one.
  const audit = (await sql`select a::text r from grantgate.audit a`).map(({ r }) => String(r)).join('\n');
  expect(audit).not.toMatch(/[0-9a-f]{64}|argon2/);
});
