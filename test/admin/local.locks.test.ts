// Who is locked out by whoever guesses, and who is not?

import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { hashOf } from '../../src/opaque.ts';
import { PASSWORD, ADDRESS_HEADER, assertNothingKept, bodyOf, localOfTests, words } from '../support/local.ts';
import { until } from '../support/until.ts';

const local = localOfTests();
const { activate, ask, login, made, secrets, someone } = local;

const HOME = '192.0.2.1';
const ELSEWHERE = '198.51.100.7';
const ANOTHER = 'another password of mine';
secrets.add(ANOTHER);

let last = 0;
/** No two of them of one network. */
const stranger = (): string => `203.0.113.${(last = (last + 1) % 255)}`;

/** Guesses that were tried, and those that were not. */
async function guess(
  email: string,
  { times, from }: { readonly times: number; readonly from: () => string },
): Promise<readonly [tried: number, locked: number]> {
  const said = (await Promise.all(Array.from({ length: times }, (_, i) => login(email, `guess number ${i}`, from())))).map(words);
  const count = (word: string): number => said.filter((each) => each === word).length;
  expect(count('401 bad-login') + count('429 locked')).toBe(times);
  return [count('401 bad-login'), count('429 locked')];
}
async function atHome(): Promise<Awaited<ReturnType<typeof someone>>> {
  const one = await someone();
  expect(words(await login(one.email, PASSWORD, HOME))).toBe('200');
  return one;
}
const knownOf = async (user: string): Promise<number> => (await local.sql`select 1 from grantgate.known_network where user_id = ${user}`).length;

describe('whoever guesses', () => {
  test('from many networks has ten guesses in all, and locks the user out of each but those that it has logged in from', async () => {
    const { email } = await atHome();
    local.hashes = 0;
    expect(await guess(email, { times: 50, from: stranger })).toEqual([10, 40]);
    expect(local.hashes).toBe(10);
    expect(words(await login(email, PASSWORD, ELSEWHERE))).toBe('429 locked');
    expect(words(await login(email, PASSWORD))).toBe('429 locked'); // from nobody knows where
    for (let i = 0; i < 3; i++) expect(words(await login(email, PASSWORD, HOME))).toBe('200');
    // Nor has its user given the stranger another guess by that.
    expect(words(await login(email, PASSWORD, ELSEWHERE))).toBe('429 locked');
    expect(await guess(email, { times: 5, from: stranger })).toEqual([0, 5]);
  });

  test('at the home of the user has as many, and locks it out there alone', async () => {
    const { email } = await atHome();
    local.hashes = 0;
    expect(await guess(email, { times: 50, from: () => HOME })).toEqual([10, 40]);
    expect(local.hashes).toBe(10);
    expect(words(await login(email, PASSWORD, HOME))).toBe('429 locked');
    expect(words(await login(email, PASSWORD, ELSEWHERE))).toBe('200');
    // That is a network of its own from now on, and has no wrong password.
    expect(await guess(email, { times: 9, from: () => ELSEWHERE })).toEqual([9, 0]);
    expect(words(await login(email, PASSWORD, ELSEWHERE))).toBe('200');
    expect(words(await login(email, PASSWORD, HOME))).toBe('429 locked');
  });

  test('the password of somebody else, from a network that is known for itself, is a stranger', async () => {
    const [owner, other] = [await atHome(), await someone()];
    expect(words(await login(other.email, PASSWORD, ELSEWHERE))).toBe('200');
    expect(await guess(owner.email, { times: 12, from: () => ELSEWHERE })).toEqual([10, 2]);
    expect(words(await login(owner.email, PASSWORD, HOME))).toBe('200');
    expect(words(await login(other.email, PASSWORD, ELSEWHERE))).toBe('200');
    // Nor does an e-mail bring its networks along to whoever has it next.
    await made('ada', `PATCH /v1/users/${owner.id}`, { email: `old-${owner.email}` });
    await made('ada', `PATCH /v1/users/${other.id}`, { email: owner.email });
    expect(await knownOf(owner.id)).toBe(0);
    expect(words(await login(owner.email, PASSWORD, HOME))).toBe('429 locked');
  });

  test('by a password that is wrong, a user that is disabled or a session, makes no network known', async () => {
    const one = await someone();
    expect(words(await login(one.email, 'a wrong password', HOME))).toBe('401 bad-login');
    await ask(one.accessToken, 'GET /v1/me', undefined, { [ADDRESS_HEADER]: HOME });
    expect(words(await ask('nobody', 'POST /v1/auth/refresh', { refreshToken: one.refreshToken }, { [ADDRESS_HEADER]: HOME }))).toBe('200');
    await made('ada', `PATCH /v1/users/${one.id}`, { enabled: false });
    expect(words(await login(one.email, PASSWORD, HOME))).toBe('401 subject-disabled');
    expect(await knownOf(one.id)).toBe(0);
  });

  test('an e-mail that nobody has is told the same, at the same cost', async () => {
    const { email } = await atHome();
    const told = async (address: string): Promise<readonly unknown[]> => {
      local.hashes = 0;
      const answers = [];
      for (let i = 0; i < 11; i++) answers.push(await login(address, 'a wrong password', stranger()));
      const shown = answers.map((answer) => [words(answer), bodyOf(answer).detail, [...answer.headers.keys()].toSorted()]);
      return [...shown, local.hashes];
    };
    expect(await told('nobody-here@acme.example')).toEqual(await told(email));
  });
});

describe('a network is known', () => {
  test('as one /64 of IPv6, however long ago that was: whoever is logged out by the end of a session is at home where it began', async () => {
    const { email, id } = await someone();
    expect(words(await login(email, PASSWORD, '2001:db8:1:2::3'))).toBe('200');
    expect(await guess(email, { times: 11, from: () => '2001:db8:1:3::3' })).toEqual([10, 1]);
    expect(words(await login(email, PASSWORD, '2001:db8:1:2:ffff::9'))).toBe('200');
    // `identity.local.sessionMax` may be a year.
    await local.sql`update grantgate.known_network set last = now() - interval '366 days' where user_id = ${id}`;
    expect(words(await login(email, PASSWORD, '2001:db8:1:2::3'))).toBe('200');
  });

  test('by its hash with the e-mail; the eight newest of a user', async () => {
    const { email, id } = await someone();
    const networks = Array.from({ length: 9 }, (_, i) => `192.0.2.${100 + i}`);
    for (const each of networks) expect(words(await login(email, PASSWORD, each))).toBe('200');
    const stored = (await local.sql`select hash from grantgate.known_network where user_id = ${id}`).map(({ hash }) => String(hash));
    expect(stored.toSorted()).toEqual(
      networks
        .slice(1)
        .map((each) => hashOf(`${hashOf(email)} ${each}`))
        .toSorted(),
    );
  });

  test.each<readonly [string, boolean, (one: Awaited<ReturnType<typeof someone>>) => Promise<unknown>]>([
    ['its password is changed', false, ({ accessToken }) => ask(accessToken, 'POST /v1/auth/password', { current: PASSWORD, password: ANOTHER })],
    ['a link is used', false, async ({ id }) => activate((await made('ada', `POST /v1/users/${id}/activation`, {})).link, ANOTHER)],
    ['it logs out everywhere', false, ({ accessToken }) => ask(accessToken, 'POST /v1/auth/logout', { all: true })],
    ['it is logged out everywhere', false, ({ id }) => ask('ada', `DELETE /v1/users/${id}/sessions`)],
    ['it is disabled', false, ({ id }) => made('ada', `PATCH /v1/users/${id}`, { enabled: false })],
    ['it has another e-mail', false, ({ id }) => made('ada', `PATCH /v1/users/${id}`, { email: `${id}@other.example` })],
    // By none of these does whoever knows the e-mail make it forgotten.
    ['it logs out', true, ({ accessToken }) => ask(accessToken, 'POST /v1/auth/logout', {})],
    ['it is given a link', true, ({ id }) => made('ada', `POST /v1/users/${id}/activation`, {})],
    ['it is locked', true, ({ email }) => guess(email, { times: 12, from: stranger })],
  ])('until %s: kept %s', async (_, kept, does) => {
    const one = await atHome();
    await does(one);
    expect(await knownOf(one.id)).toBe(kept ? 1 : 0);
  });

  test('from where a password is changed, or a link is used: whoever is locked out everywhere gets in by a link, and is at home where that was', async () => {
    const { id, email } = await atHome();
    await guess(email, { times: 12, from: stranger });
    await guess(email, { times: 12, from: () => HOME });
    for (const each of [HOME, ELSEWHERE]) expect(words(await login(email, PASSWORD, each))).toBe('429 locked');
    const begun = await activate((await made('ada', `POST /v1/users/${id}/activation`, {})).link, PASSWORD, ELSEWHERE);
    expect(words(begun)).toBe('200');
    expect(words(await login(email, PASSWORD, ELSEWHERE))).toBe('200');
    await guess(email, { times: 12, from: stranger });
    expect(words(await login(email, PASSWORD, ELSEWHERE))).toBe('200');
    const change = { current: PASSWORD, password: ANOTHER };
    expect(words(await ask(bodyOf(begun).accessToken, 'POST /v1/auth/password', change, { [ADDRESS_HEADER]: ELSEWHERE }))).toBe('200');
    expect(words(await login(email, ANOTHER, ELSEWHERE))).toBe('200');
    expect(await knownOf(id)).toBe(1);
  });

  test('as many at once as they like', async () => {
    const { email, id } = await someone();
    const answers = await Promise.all(Array.from({ length: 12 }, (_, i) => login(email, PASSWORD, `192.0.2.${i % 3}`)));
    // Some are counted beyond the tenth before the first is right.
    for (const each of answers) expect(words(each)).toBeOneOf(['200', '429 locked']);
    expect(await knownOf(id)).toBe(3);
  });
});

test('two spellings of an e-mail are one, wherever it is typed, stored or changed', async () => {
  const name = randomBytes(4).toString('hex');
  const [composed, pieces] = [`zo\u00eb-${name}@acme.example`, `zoe\u0308-${name}@acme.example`];
  for (const [id, stored, typed] of [
    [`one-${name}`, composed, pieces],
    [`two-${name}`, pieces, composed],
  ] as const) {
    await made('ada', 'POST /v1/users', { id, email: stored });
    // What is shown of a user is what was given.
    expect(await ask('ada', `GET /v1/users/${id}`)).toMatchObject({ body: { email: stored } });
    expect(words(await activate((await made('ada', `POST /v1/users/${id}/activation`, {})).link, PASSWORD))).toBe('200');
    for (const each of [stored, typed, typed.replace('acme', 'ACME')]) expect(words(await login(each, PASSWORD)), each).toBe('200');
    local.mails.length = 0;
    expect(words(await ask('nobody', 'POST /v1/auth/forgotten', { email: typed }))).toBe('202');
    await until(() => local.mails.length > 0, 'a mail');
    expect(local.mails[0]!.to).toBe(stored);
    // Guesses at both count as one.
    const guesses = await Promise.all(Array.from({ length: 10 }, (_, i) => login(i % 2 === 0 ? stored : typed, 'a wrong password')));
    expect(new Set(guesses.map(words))).toEqual(new Set(['401 bad-login']));
    for (const each of [stored, typed]) expect(words(await login(each, PASSWORD))).toBe('429 locked');
    await made('ada', 'POST /v1/users', { id: `${id}-again`, email: typed });
    expect(words(await ask('ada', `POST /v1/users/${id}-again/activation`, {}))).toBe('422 violation email');
    await made('ada', `PATCH /v1/users/${id}`, { email: `x-${stored}` });
    expect(words(await login(`X-${typed}`, PASSWORD))).toBe('200');
    await made('ada', `DELETE /v1/users/${id}-again`);
    await made('ada', `DELETE /v1/users/${id}`);
    await local.sql`delete from grantgate.login_attempt`;
  }
  await made('ada', 'POST /v1/users', { id: `h-${name}`, email: `H\u0331${name}@acme.example` });
  expect(words(await activate((await made('ada', `POST /v1/users/h-${name}/activation`, {})).link, PASSWORD))).toBe('200');
  for (const each of ['H\u0331', 'h\u0331', '\u1e96']) expect(words(await login(`${each}${name}@acme.example`, PASSWORD)), each).toBe('200');
  // Of letters that are newer than the database, its spelling is the one that counts: U+1ACF came with Unicode 17, and goes behind U+0331 since then.
  const newer = `a\u1acf\u0331${name}@acme.example`;
  await made('ada', 'POST /v1/users', { id: `n-${name}`, email: newer });
  expect(words(await activate((await made('ada', `POST /v1/users/n-${name}/activation`, {})).link, PASSWORD))).toBe('200');
  expect(words(await login(newer, PASSWORD))).toBe('200');
  local.mails.length = 0;
  expect(words(await ask('nobody', 'POST /v1/auth/forgotten', { email: newer }))).toBe('202');
  await until(() => local.mails.length > 0, 'a mail');
});

test('an e-mail that is too long in its one spelling, or has become the one of another user, is refused as such', async () => {
  const name = randomBytes(4).toString('hex');
  // Two letters each, once it is composed.
  await made('ada', 'POST /v1/users', { id: `long-${name}`, email: `${'\u0958'.repeat(320)}@acme.example` });
  const { link } = await made('ada', `POST /v1/users/long-${name}/activation`, {});
  expect(await activate(link, PASSWORD)).toMatchObject({ status: 422, body: { field: 'email', rule: '5' } });
  const [one, other] = [await someone(), await someone()];
  expect(words(await ask('ada', `PATCH /v1/users/${one.id}`, { email: other.email.toUpperCase() }))).toBe('422 violation email');
});

test('nothing of what opens is kept anywhere, nor in what was said of it', async () => assertNothingKept(local));
