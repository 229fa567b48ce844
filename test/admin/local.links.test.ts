// By which link does a user set its password, and who is given one?

import { describe, expect, test } from 'vitest';
import { MailFailed } from '../../src/api/admin/refusals.ts';
import { OPERATOR } from '../support/admin.ts';
import { PASSWORD, assertNothingKept, bodyOf, localOfTests, secretOf, words, type LocalBody } from '../support/local.ts';
import { until } from '../support/until.ts';

const local = localOfTests();
const { activate, ask, failures, login, made, mails, me, secrets, someone } = local;

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

  test('used by several at once, it is of one; and of two users with one e-mail, one logs in by it', async () => {
    await made('ada', 'POST /v1/users', { id: 'tim', email: 'tim@acme.example' });
    await made('ada', 'POST /v1/users', { id: 'tom', email: 'TIM@acme.example' });
    const link = async (user: string) => (await made('ada', `POST /v1/users/${user}/activation`, {})).link;
    const [tims, toms] = [await link('tim'), await link('tom')];
    const answers = await Promise.all([tims, tims, tims].map((each, i) => activate(each, `password number ${i}`)));
    expect(answers.map(words).toSorted()).toEqual(['200', '401 bad-link', '401 bad-link']);
    const chosen = answers.findIndex(({ status }) => status === 200);
    for (let i = 0; i < 3; i++) expect(words(await login('tim@acme.example', `password number ${i}`))).toBe(i === chosen ? '200' : '401 bad-login');
    expect(words(await activate(toms, PASSWORD))).toBe('422 violation email');
    await made('ada', 'DELETE /v1/users/tim');
    await made('ada', 'POST /v1/users', { id: 'tam', email: 'Tim@acme.example' });
    const both = await Promise.all([toms, await link('tam')].map((each) => activate(each, PASSWORD)));
    expect(both.map(words).toSorted()).toEqual(['200', '422 violation email']);
    const { user } = (await login('tim@acme.example', PASSWORD)).body as { readonly user: string };
    expect(user).toBe(both[0]!.status === 200 ? 'tom' : 'tam');
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
    await local.sql`update grantgate.activation set expires = clock_timestamp() where user_id = 'ben'`;
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
    // Nor another e-mail, to which it would have one mailed.
    expect(words(await ask(key, 'PATCH /v1/users/root', { email: 'mallory@tower.example' }))).toBe('403 not-a-session');
    expect(words(await ask(key, 'PATCH /v1/users/root', { firstName: 'Rudi' }))).toBe('200');
    expect(words(await ask(key, 'PATCH /v1/users/ned', { email: 'ned.new@tower.example' }))).toBe('200');
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

  test('that is asked for again soon is no other one, and not mailed, or whoever asks for it every minute would leave none that works; one that was not sent is', async () => {
    const { id, email } = await someone();
    const other = await someone();
    mails.length = 0;
    const forgotten = async (address: string) => expect(words(await ask('nobody', 'POST /v1/auth/forgotten', { email: address }))).toBe('202');
    local.sending = () => {
      throw new MailFailed('the mail server has not taken the mail');
    };
    await forgotten(email);
    await until(() => failures.length > 0, 'a mail that fails');
    expect(failures.splice(0).map(String)).toEqual(['MailFailed: the mail server has not taken the mail']);
    local.sending = () => undefined;
    await forgotten(email);
    await until(() => mails.length > 0, 'a mail');
    await local.sql`update grantgate.activation set created = created - interval '4 minutes' where user_id = ${id}`;
    await forgotten(email);
    await forgotten(other.email);
    await until(() => mails.some(({ to }) => to === other.email), 'the mail of another');
    expect(mails.map(({ to }) => to)).toEqual([email, other.email]);
    await local.sql`update grantgate.activation set created = created - interval '2 minutes' where user_id = ${id}`;
    await forgotten(email);
    await until(() => mails.length > 2, 'another mail');
    expect(words(await activate(mails[2]!.link, PASSWORD))).toBe('200');
    expect(failures).toEqual([]);
  });

  test('the first administrator gets one from the operator, and another while nobody has been at work', async () => {
    await made(OPERATOR, 'POST /v1/tenants', { id: 'mill' });
    expect(words(await ask(OPERATOR, 'POST /v1/tenants/mill/administrator', { id: 'mia', activation: true }))).toBe('422 violation email');
    // A link that could only be refused.
    const taken = { id: 'mia', email: (await someone()).email.toUpperCase(), activation: true };
    expect(words(await ask(OPERATOR, 'POST /v1/tenants/mill/administrator', taken))).toBe('422 violation email');
    const mia = await ask(OPERATOR, 'POST /v1/tenants/mill/administrator', { id: 'mia', email: 'mia@mill.example', activation: true });
    expect(mia).toMatchObject({ status: 201, body: { id: 'mia', activation: { link: expect.stringMatching(/#token=ga_/) as unknown } } });
    const first = (mia.body as { activation: LocalBody }).activation.link;
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

test('nothing of what opens is kept anywhere, nor in what was said of it', async () => assertNothingKept(local));
