// How does a session go on, and how does it end?

import { describe, expect, test } from 'vitest';
import { OPERATOR, localAddition, startTestAdministration, type AdminAnswer } from '../support/admin.ts';
import { PASSWORD, assertNothingKept, bodyOf, localOfTests, words } from '../support/local.ts';
import { until } from '../support/until.ts';

const local = localOfTests();
const ANOTHER = 'another password';
const { activate, ask, login, made, me, refresh, secrets, someone } = local;

local.secrets.add(ANOTHER);

describe('a session', () => {
  test('is renewed by its refresh token: the tokens before are no good any more, and one that is used again ends it', async () => {
    const { id, accessToken, refreshToken, session } = await someone();
    const renewed = await refresh(refreshToken);
    expect(renewed).toMatchObject({ status: 200, body: { user: id, session } });
    const next = bodyOf(renewed);
    expect(await me(accessToken)).toBe('401 ended-session');
    expect(await me(next.accessToken)).toBe('200');
    await local.endLeeway();
    expect(words(await refresh(refreshToken))).toBe('401 reused-token');
    expect(await me(next.accessToken)).toBe('401 ended-session');
    expect(words(await refresh(next.refreshToken))).toBe('401 ended-session');
    for (const token of ['', 'gr_', accessToken, `gr_${'A'.repeat(65)}`, `${next.refreshToken}A`])
      expect(words(await refresh(token))).toBe('401 ended-session');
    const actions = await local.sql`select action from grantgate.audit where target = ${id} order by id`;
    expect(actions.map(({ action }) => String(action))).toEqual([
      'user.create',
      'user.activation',
      'user.activate',
      'user.session.renew',
      'user.session.reused',
    ]);
  });

  test('that is renewed while its process is behind is answered all the same: what is told once would be lost, and the next try end it', async () => {
    const { refreshToken } = await someone();
    const behind = await startTestAdministration(local.database, { addition: localAddition() });
    behind.cache.close(); // it sees no change any more
    try {
      const renewed = await behind.ask('nobody', 'POST /v1/auth/refresh', { refreshToken });
      expect(words(renewed)).toBe('200');
      const { accessToken, refreshToken: next } = bodyOf(renewed);
      for (const secret of [accessToken, next]) secrets.add(secret);
      const headers = { 'x-authz-at-least': renewed.headers.get('x-authz-revision') ?? '' };
      expect(words(await ask(accessToken, 'GET /v1/me', undefined, headers))).toBe('200');
      expect(words(await refresh(next))).toBe('200');
    } finally {
      behind.close();
    }
  });

  test('has no token that is good for longer than it is itself, by whatever settings', async () => {
    const { email } = await someone();
    for (const [settings, seconds] of [
      [{ sessionMax: 60_000 }, 60],
      [{ sessionIdle: 120_000 }, 120],
    ] as const) {
      const short = await startTestAdministration(local.database, { addition: localAddition(settings) });
      try {
        const before = Date.now();
        const begun = bodyOf(await short.ask('nobody', 'POST /v1/auth/login', { email, password: PASSWORD }));
        for (const secret of [begun.accessToken, begun.refreshToken]) secrets.add(secret);
        expect(Date.parse(begun.expires) - before).toBeLessThan((seconds + 30) * 1_000);
      } finally {
        short.close();
      }
    }
  });

  test('ends where it is not renewed in time, and after the longest time all the same', async () => {
    const one = await someone();
    await local.sql`update grantgate.session set expires = clock_timestamp(), ends = clock_timestamp() where id = ${one.session}`;
    expect(words(await refresh(one.refreshToken))).toBe('401 ended-session');
    await until(async () => (await me(one.accessToken)) === '401 expired-token', 'its end');
    const two = await someone();
    const times = async () => {
      const [row] = await local.sql`select extract(epoch from expires - now())::float8 token, extract(epoch from ends - now())::float8 idle
        from grantgate.session where id = ${two.session}`;
      return row as { token: number; idle: number };
    };
    expect((await times()).token).toBeCloseTo(900, -1.5);
    expect((await times()).idle).toBeCloseTo(7 * 86_400, -1.5);
    await local.sql`update grantgate.session set created = now() - interval '29 days' where id = ${two.session}`;
    const renewed = bodyOf(await refresh(two.refreshToken));
    expect((await times()).idle).toBeCloseTo(86_400, -1.5);
    await local.sql`update grantgate.session set created = now() - interval '30 days' + interval '5 minutes' where id = ${two.session}`;
    const last = bodyOf(await refresh(renewed.refreshToken));
    expect((await times()).token).toBeCloseTo(300, -1.5);
    await local.sql`update grantgate.session set created = now() - interval '30 days' where id = ${two.session}`;
    expect(words(await refresh(last.refreshToken))).toBe('401 ended-session');
  });

  test('fifty of a user: the one that was not used for the longest time goes', async () => {
    const one = await someone();
    await local.sql`insert into grantgate.session (id, tenant, user_id, hash, expires, ends, created, family, refresh)
      select ${one.id} || i, 'acme', ${one.id}, encode(sha256((${one.id} || i)::text::bytea), 'hex'), now() + interval '1 hour', now() + interval '1 hour',
        now() - interval '1 hour', encode(sha256((${one.id} || 'f' || i)::text::bytea), 'hex'), encode(sha256('r'), 'hex') from generate_series(1, 49) i`;
    await local.sql`update grantgate.session set created = now() - interval '2 hours', renewed = now() where id = ${one.session}`;
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
    ['its password is changed', ({ accessToken }) => ask(accessToken, 'POST /v1/auth/password', { current: PASSWORD, password: ANOTHER })],
    ['its password is set by a link', async ({ id }) => activate((await made('ada', `POST /v1/users/${id}/activation`, {})).link, ANOTHER)],
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

test('nothing of what opens is kept anywhere, nor in what was said of it', async () => assertNothingKept(local));
