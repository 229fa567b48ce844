// Does a person come from the mail to a password? The administrator's call, the mail on its server, its link in a browser, behind a proxy that
// serves the page under a prefix; then the user logs in, and the link is good for nothing any more.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { freePort } from '../../src/postgres-server.ts';
import { OPERATOR } from '../support/admin.ts';
import { startClient, type Client } from '../support/ask.ts';
import { startBrowser, type Browser, type Tab } from '../support/browser.ts';
import { startChild, type Child } from '../support/child.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { requirePart } from '../support/require.ts';
import { tokenFor } from '../support/sidecar.ts';
import { linkIn, startMailServer, type MailServer } from '../support/smtp.ts';
import { startBehind, type Behind } from '../support/stack.ts';
import { until } from '../support/until.ts';

const nginx = requirePart('nginx');

const LOGIN = { user: 'access', password: 'p%w:of@mail' };
const PASSWORD = 'vier Wörter für Anna';
/** Requests a minute from one address: once they are used up, none is free again for a quarter of it. */
const RATE = 4;
let addresses = 0;
/** Of a client of its own. */
const address = (): Readonly<Record<string, string>> => ({ 'x-real-ip': `192.0.2.${++addresses}` });

let server: TestServer;
let mail: MailServer;
let behind: Behind;
let proxy: Child;
let browser: Browser;
let directory = '';
let api: Client;
let door: Client;
/** The page, as people reach it. */
let page = '';

beforeAll(async () => {
  [server, mail, browser] = await Promise.all([startPostgres('embedded18'), startMailServer({ login: LOGIN }), startBrowser()]);
  const [apiPort, port] = [await freePort(), await freePort()];
  page = `http://127.0.0.1:${port}/people/access/v1/auth/set-password`;
  behind = await startBehind({
    server,
    world: '{"tenants": []}',
    administered: true,
    set: {
      'api.port': apiPort,
      'identity.local.enabled': 'true',
      'identity.local.rate': RATE,
      'identity.local.addressHeader': 'x-real-ip',
      'identity.local.linkUrl': page,
      'identity.local.mail.from': 'Access <access@acme.example>',
    },
    env: { GRANTGATE_IDENTITY_LOCAL_MAIL_URL: `smtp://${LOGIN.user}:${encodeURIComponent(LOGIN.password)}@127.0.0.1:${mail.port}` },
  });
  directory = await mkdtemp(join(tmpdir(), 'grantgate-page-'));
  await writeFile(
    join(directory, 'nginx.conf'),
    `daemon off; pid nginx.pid; error_log stderr; events {} http { access_log off; server { listen 127.0.0.1:${port};
     location /people/access/v1/auth/ { proxy_pass http://127.0.0.1:${apiPort}/v1/auth/; } } }`,
  );
  proxy = startChild(nginx, ['-p', directory, '-c', 'nginx.conf', '-e', 'stderr']);
  api = startClient(behind.sidecar.api);
  door = startClient(behind.sidecar.doors);
  await until(
    () =>
      fetch(page).then(
        ({ ok }) => ok,
        () => false,
      ),
    `the page behind nginx: ${proxy.stderr()}`,
  );
  await changed(OPERATOR, 'POST /v1/tenants', { id: 'acme' });
  await changed(OPERATOR, 'POST /v1/tenants/acme/administrator', { id: 'ada' });
  await changed('ada', 'POST /v1/entities', { id: 'm1', type: 'DEVICE' });
}, 60_000);
const tabs: Tab[] = [];
afterEach(async () => {
  // Whatever a page did, its policy refused nothing of it, nothing in it was wrong, and it asked nobody but its own api.
  for (const { said, asked, page: opened } of tabs.splice(0)) {
    expect(said.filter((line) => !/^Failed to load resource: the server responded with a status of 4\d\d/.test(line))).toEqual([]);
    for (const request of asked) expect(request).toMatch(/^(?:GET|POST) \/people\/access\/v1\/auth\//);
    await opened.context().close();
  }
});
afterAll(async () => {
  for (const client of [api, door]) client?.close();
  await proxy?.stop();
  await Promise.all([browser?.close(), behind?.close(), mail?.close()]);
  await server?.close();
  if (directory !== '') await rm(directory, { recursive: true });
});

interface Told {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

async function ask(request: string, body: unknown, token?: string): Promise<Told> {
  const [method = '', path = ''] = request.split(' ');
  const answer = await api.ask({
    method,
    path,
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json', ...address() },
    ...(token === undefined ? {} : { token }),
  });
  return { status: answer.status, body: JSON.parse(answer.body) as Told['body'] };
}

async function changed(by: string, request: string, body: unknown): Promise<Told['body']> {
  const answer = await ask(request, body, by === OPERATOR ? OPERATOR : await tokenFor(by));
  expect(answer.status, `${request}: ${JSON.stringify(answer.body)}`).toBeOneOf([200, 201]);
  return answer.body;
}

/** A user, and the link that it gets. */
async function invited(id: string): Promise<string> {
  await changed('ada', 'POST /v1/users', { id, email: `${id}@acme.example`, groups: ['users:acme'] });
  return again(id);
}

async function again(id: string): Promise<string> {
  const before = mail.arrived.length;
  const told = await changed('ada', `POST /v1/users/${id}/activation`, { mail: true });
  expect(told).toEqual({ mailed: true, expires: expect.any(String) as string });
  const arrived = await mail.mail(before);
  expect(arrived.to).toEqual([`${id}@acme.example`]);
  return linkIn(arrived);
}

async function open(
  url: string,
  options?: Parameters<Browser['open']>[1],
): Promise<Tab & { readonly field: (label: string) => ReturnType<Tab['page']['getByLabel']> }> {
  const tab = await browser.open(url, options);
  tabs.push(tab);
  await tab.page.setExtraHTTPHeaders(address());
  return { ...tab, field: (label) => tab.page.getByLabel(label, { exact: true }) };
}

async function fill(tab: Awaited<ReturnType<typeof open>>, first: string, second = first): Promise<void> {
  await tab.field('New password').fill(first);
  await tab.field('The same once more').fill(second);
  await tab.page.getByRole('button', { name: 'Set the password' }).click();
}

/** What is read out, when there is something. */
async function status({ page: opened }: Tab, words: RegExp): Promise<void> {
  await opened.getByRole('status').filter({ hasText: words }).waitFor();
}

const focused = async ({ page: opened }: Tab): Promise<string> => opened.evaluate('document.activeElement.id || document.activeElement.tagName');

test('from the mail to the door', async () => {
  const link = await invited('anna');
  expect(link).toMatch(new RegExp(`^${page}#token=ga_[\\w-]{43}$`));
  expect((await ask('POST /v1/auth/login', { email: 'anna@acme.example', password: PASSWORD })).status).toBe(401);
  // As a mail scanner does: every link is opened, and its page asked for once more.
  for (const method of ['HEAD', 'GET']) expect((await fetch(link, { method })).status).toBe(200);

  const tab = await open(link);
  expect(tab.page.url(), 'the address bar').toBe(page);
  expect(await tab.page.evaluate('JSON.stringify(history.state) + document.documentElement.outerHTML')).not.toContain('ga_');
  await fill(tab, 'short', 'shorn');
  expect(await focused(tab)).toBe('password');
  expect(await tab.page.locator('#password-wrong').textContent()).toBe('It has 5 characters, and must have 12 at least.');
  expect(await tab.page.locator('#repeated-wrong').textContent()).toBe('It is not the same as the first one.');
  await fill(tab, PASSWORD, PASSWORD.normalize('NFD'));
  expect(await focused(tab), 'the first one is good').toBe('repeated');
  await fill(tab, 'anna@acme.example');
  await tab.page.getByText('It must not be the e-mail.').waitFor();
  expect([await focused(tab), await tab.field('New password').getAttribute('aria-invalid')]).toEqual(['password', 'true']);
  await fill(tab, 'password1234');
  await tab.page.getByText('It is one of those that are guessed first, or made of the e-mail: choose another one,').waitFor();
  expect(await focused(tab)).toBe('password');
  expect(tab.asked.filter((request) => request.startsWith('POST'))).toEqual(Array(2).fill('POST /people/access/v1/auth/activate'));
  await fill(tab, PASSWORD);
  await status(tab, /^Your password is set/);
  expect(await focused(tab)).toBe('said');
  expect(await tab.page.getByRole('button').count()).toBe(0);
  await until(async () => (await behind.sql`select from grantgate.session`).length === 0, 'the end of the session that nobody has');

  const session = await ask('POST /v1/auth/login', { email: 'Anna@acme.example', password: PASSWORD });
  expect(session).toMatchObject({ status: 200, body: { user: 'anna' } });
  const headers = { 'x-original-method': 'GET', 'x-original-uri': '/api/device/m1', authorization: `Bearer ${String(session.body['accessToken'])}` };
  expect((await door.ask({ path: '/auth/nginx', headers })).status).toBe(200);

  const second = await open(link);
  await fill(second, 'another one of hers');
  await status(second, /^This link was used already, or its time is over/);
  expect((await ask('POST /v1/auth/login', { email: 'anna@acme.example', password: 'another one of hers' })).status).toBe(401);
});

test('whoever has no good link has another one sent, and by that the old password ends', async () => {
  const tab = await open(page);
  await status(tab, /^This page is opened by the link .* Have another one sent to you:$/);
  await tab.field('E-mail of your account').fill('anna');
  await tab.page.getByRole('button', { name: 'Send me a link' }).click();
  expect(await tab.page.locator('#email-wrong').textContent()).toBe('Give the e-mail of your account, as anna@example.org.');
  expect(await focused(tab)).toBe('email');
  const before = mail.arrived.length;
  await behind.sql`delete from grantgate.activation`;
  await tab.field('E-mail of your account').fill('anna@acme.example');
  await tab.page.keyboard.press('Enter');
  await status(tab, /^If there is an account/);
  const arrived = await mail.mail(before);
  expect([arrived.to, arrived.mail.subject]).toEqual([['anna@acme.example'], expect.stringMatching(/^Set a new password/)]);
  // Opened where the page is already: no browser loads it again.
  await tab.page.evaluate(`location.href = ${JSON.stringify(linkIn(arrived))}`);
  await tab.field('New password').waitFor();
  await until(() => tab.page.url() === page, 'an address bar without the token');
  await fill(tab, 'and now another one');
  await status(tab, /^Your password is set/);
  expect((await ask('POST /v1/auth/login', { email: 'anna@acme.example', password: PASSWORD })).status).toBe(401);
  expect((await ask('POST /v1/auth/login', { email: 'anna@acme.example', password: 'and now another one' })).status).toBe(200);
});

test('of two links the newer one is good; going back brings no form back that could be used', async () => {
  const old = await invited('ben');
  const link = await again('ben');
  const tab = await open(old);
  await fill(tab, PASSWORD);
  await status(tab, /or there is a newer one/);
  await tab.page.evaluate(`location.href = ${JSON.stringify(link)}`);
  await tab.field('New password').waitFor();
  expect(await tab.field('New password').inputValue(), 'nothing of the attempt before').toBe('');
  await tab.page.reload();
  await status(tab, /the link is not here/);
});

test('on a small screen, in the dark, by the keyboard alone', async () => {
  const link = await invited('cy');
  const small = await open(link, { width: 320 });
  await fill(small, 'short'); // the words beside a field need their place, too
  const { width, light } = await lookOf(small);
  expect(width).toBeLessThanOrEqual(320);
  const dark = await open(link, { dark: true });
  expect(light).not.toBe((await lookOf(dark)).light);
  const order: string[] = [];
  for (let i = 0; i < 4; i++) {
    await dark.page.keyboard.press('Tab');
    order.push(await focused(dark));
    expect(await dark.page.evaluate('getComputedStyle(document.activeElement).outlineStyle'), order[i]).toBe('solid');
  }
  expect(order).toEqual(['password', 'repeated', 'shown', 'BUTTON']);
  await dark.field('New password').fill(PASSWORD);
  await dark.field('The same once more').fill(PASSWORD);
  await dark.field('Show what I type').check();
  expect(await dark.field('New password').getAttribute('type')).toBe('text');
  for (const label of ['New password', 'The same once more']) expect(await dark.field(label).getAttribute('autocomplete')).toBe('new-password');
  await dark.page.keyboard.press('Tab');
  await dark.page.keyboard.press('Enter');
  await status(dark, /^Your password is set/);
  const plain = await open(link, { scripts: false });
  await status(plain, /^This page needs JavaScript/);
});

async function lookOf({ page: opened }: Tab): Promise<{ readonly width: number; readonly light: string }> {
  return opened.evaluate('({ width: document.documentElement.scrollWidth, light: getComputedStyle(document.body).backgroundColor })');
}

test('nothing may be added to the page, and nobody keeps it', async () => {
  const { headers } = await fetch(page);
  expect(headers.get('content-security-policy')).toMatch(
    /^default-src 'none'; script-src 'sha256-[\w+/]{43}='; style-src 'sha256-[\w+/]{43}='; connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none';/,
  );
  expect(Object.fromEntries(['cache-control', 'referrer-policy', 'x-content-type-options', 'content-type'].map((name) => [name, headers.get(name)]))).toEqual({
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'content-type': 'text/html; charset=utf-8',
  });
  const tab = await browser.open(page);
  await tab.page
    .evaluate("{ const script = document.createElement('script'); script.append('window.added = true'); document.body.append(script); }")
    .catch(() => undefined);
  expect(await tab.page.evaluate('window.added')).toBeUndefined();
  expect(tab.said.join('\n')).toMatch(/Content Security Policy|TrustedScript/);
  await tab.page.context().close();
});

test('too often, and not there at all, are told as such', async () => {
  const tab = await open(await invited('dan'));
  const from = address();
  await tab.page.setExtraHTTPHeaders(from);
  const bad = { method: 'POST', headers: { 'content-type': 'application/json', ...from }, body: JSON.stringify({ token: `ga_${'A'.repeat(43)}`, password: PASSWORD }) }; // prettier-ignore
  const guesses = await Promise.all(Array.from({ length: RATE + 1 }, async () => (await fetch(new URL('activate', page), bad)).status));
  expect(guesses.toSorted()).toEqual([...Array<number>(RATE).fill(401), 429]);
  await tab.field('New password').fill(PASSWORD);
  await tab.field('The same once more').fill(PASSWORD);
  await tab.page.getByRole('button', { name: 'Set the password' }).click();
  await status(tab, /^This is not possible just now. Try again in \d+ s\.$/);
  await proxy.stop();
  await tab.page.getByRole('button', { name: 'Set the password' }).click();
  await status(tab, /^The server cannot be reached/);
  tab.page.removeAllListeners('console');
  expect(tab.said.splice(0).join('\n')).toMatch(/status of 429[^]*ERR_CONNECTION_REFUSED/);
});

test('a mail that cannot be sent is no link for anybody, and nothing of it is in a log', async () => {
  // As an import may have left it: the administration takes one address alone.
  await behind.sql`update grantgate.user_account set email = 'dan@acme.example, eve@acme.example' where id = 'dan'`;
  const token = await tokenFor('ada');
  const sent = mail.arrived.length;
  expect(await ask('POST /v1/users/dan/activation', { mail: true }, token)).toMatchObject({ status: 422, body: { field: 'email' } });
  await changed('ada', 'PATCH /v1/users/dan', { email: 'dan@acme.example' });
  await mail.close();
  expect(await ask('POST /v1/users/dan/activation', { mail: true }, token)).toEqual({
    status: 503,
    body: { title: 'Service Unavailable', status: 503, code: 'mail', detail: expect.stringMatching(/^the mail server cannot be reached/) as string },
  });
  expect(mail.arrived).toHaveLength(sent);
  await behind.sql`delete from grantgate.activation`;
  await until(async () => (await ask('POST /v1/auth/forgotten', { email: 'anna@acme.example' })).status === 202, 'what the test before has left of the rate');
  await until(() => behind.sidecar.log().includes('the mail server cannot be reached'), 'the failure in the log');
  expect(behind.sidecar.log()).not.toMatch(/ga_[\w-]{10}|p%w|p%25w|gs_[\w-]{10}|@acme/);
});
