// Who logs in, by what, and how often may somebody guess?

import { describe, expect, test } from 'vitest';
import { hostClock } from '../../src/clock.ts';
import { hashOf } from '../../src/opaque.ts';
import { OPERATOR, localAddition, startTestAdministration } from '../support/admin.ts';
import { PASSWORD, assertNothingKept, bodyOf, localOfTests, words } from '../support/local.ts';

const local = localOfTests();
const { activate, ask, login, made, me, refresh, reports, someone } = local;

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
    const [left] = await local.sql`select (select count(*) from grantgate.credential where user_id = ${one.id})
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
    expect(words(taken)).toBe('422 violation email');
    expect(bodyOf(taken).detail).toContain('another user logs in by this e-mail');
    await made('ada', `PATCH /v1/users/${one.id}`, { email: null });
    expect(words(await login('new@acme.example', PASSWORD))).toBe('401 bad-login');
  });

  test('whose password was hashed by other parameters has it hashed by today\u2019s when it logs in', async () => {
    const { id, email } = await someone();
    const { hash } = await import('@node-rs/argon2');
    const weak = await hash(PASSWORD, { memoryCost: 8_192, timeCost: 3, parallelism: 1 });
    await local.sql`update grantgate.credential set password = ${weak} where user_id = ${id}`;
    // Two at once: to the second one it is another hash, but no other password.
    expect((await Promise.all([login(email, PASSWORD), login(email, PASSWORD)])).map(words)).toEqual(['200', '200']);
    const [row] = await local.sql`select password from grantgate.credential where user_id = ${id}`;
    expect(row?.['password']).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(words(await login(email, PASSWORD))).toBe('200');
  });
});

describe('guessing', () => {
  test.each(['of a user', 'of nobody'])('%s: of thirty at once ten are tried, then nothing is, for a minute, not even the right one', async (of) => {
    const email = of === 'of a user' ? (await someone()).email : 'nobody-at-all@acme.example';
    local.hashes = 0;
    const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => login(email, `guess number ${i}`)));
    const said = answers.map(words);
    expect(said.filter((word) => word === '401 bad-login')).toHaveLength(10);
    expect(said.filter((word) => word === '429 locked')).toHaveLength(20);
    expect(local.hashes).toBe(10);
    const locked = await login(email, PASSWORD);
    expect(words(locked)).toBe('429 locked');
    expect(Number(locked.headers.get('retry-after'))).toBeGreaterThan(50);
    expect(local.hashes).toBe(10);
    // When it is over: one more guess, and twice as long; at last no longer than it may.
    const account = hashOf(email);
    for (const seconds of [120, 240, 480, 900, 900]) {
      await local.sql`update grantgate.login_attempt set locked = now() where account = ${account}`;
      expect(words(await login(email, 'one more guess'))).toBe('401 bad-login');
      const wait = Number((await login(email, PASSWORD)).headers.get('retry-after'));
      expect(wait).toBeGreaterThan(seconds - 10);
      expect(wait).toBeLessThanOrEqual(seconds);
    }
    await local.sql`update grantgate.login_attempt set locked = now() where account = ${account}`;
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
      local.hashes = 0;
      const answer = await login(email, 'a wrong password');
      answers.add(JSON.stringify([answer.status, answer.body, [...answer.headers.keys()].toSorted()]));
      expect(local.hashes, email).toBe(1);
    }
    expect(answers.size).toBe(1);
  });

  test('what was wrong a day ago is forgotten, and taken away', async () => {
    await login('old@acme.example', 'a wrong password');
    await local.sql`update grantgate.login_attempt set failures = 9, last = now() - interval '25 hours'`;
    expect(words(await login('old@acme.example', 'a wrong password'))).toBe('401 bad-login');
    expect(words(await login('old@acme.example', 'a wrong password'))).toBe('401 bad-login');
    const [row] = await local.sql`select failures from grantgate.login_attempt where account = ${hashOf('old@acme.example')}`;
    expect(Number(row?.['failures'])).toBe(2);
    await local.sql`insert into grantgate.login_attempt (account, failures, last)
      select encode(sha256(i::text::bytea), 'hex'), 1, now() - interval '25 hours' from generate_series(1, 10) i`;
    const stale = async () => Number((await local.sql`select count(*) n from grantgate.login_attempt where last < now() - interval '1 day'`)[0]?.['n']);
    const before = await stale();
    await login('old@acme.example', 'a wrong password');
    expect(await stale()).toBe(Math.max(0, before - 5));
  });

  test('from one address too often is refused before a body is read, whatever is asked; the page is not', async () => {
    const clock = { ...hostClock(), after: (_: number, then: () => void) => (then(), () => undefined) };
    const limited = await startTestAdministration(local.database, { addition: localAddition({ rate: 1, clock }) });
    try {
      expect(words(await limited.ask('nobody', 'POST /v1/auth/login', {}))).toBe('400 bad-request email');
      for (const path of ['login', 'refresh', 'activate', 'forgotten', 'password', 'logout', 'x']) {
        let read = 0;
        const body = new ReadableStream({ pull: (to) => (read++, to.enqueue(new TextEncoder().encode('{}')), to.close()) }, { highWaterMark: 0 });
        const asked = { method: 'POST', headers: { 'content-type': 'application/json' }, body, duplex: 'half' } as const;
        const answer = await limited.routes.request(`/v1/auth/${path}`, asked);
        expect([answer.status, read, Number(answer.headers.get('retry-after')) > 50], path).toEqual([429, 0, true]);
      }
      expect((await limited.routes.request('/v1/auth/set-password')).status).toBe(200);
    } finally {
      limited.close();
    }
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
  await local.endLeeway();
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
  const plain = await startTestAdministration(local.database);
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

test('nothing of what opens is kept anywhere, nor in what was said of it', async () => assertNothingKept(local));
