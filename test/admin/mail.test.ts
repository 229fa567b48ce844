// Does the mail with a link come to the one whom it is for, and to nobody else; and is nothing told where it does not?

import { execFile } from 'node:child_process';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { MailFailed, Violation } from '../../src/api/admin/refusals.ts';
import { createMailer, type MailSettings } from '../../src/api/local/mail.ts';
import type { Mail } from '../../src/api/local/mailer.ts';
import { mailSettings } from '../../src/mailserver.ts';
import { certificates, type Certificates } from '../support/certificates.ts';
import { linkIn, startMailServer, type MailServer, type MailServerOptions } from '../support/smtp.ts';
import { until } from '../support/until.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const seed = Number(process.env['GRANTGATE_SEED'] ?? (Date.now() ^ (process.pid << 15)) & 0x7fffffff);

const PASSWORD = 'pass/word%of:the@server';
const LOGIN = { user: 'access', password: PASSWORD };
const FROM = { name: 'Access', address: 'access@example.org' };
// Of the length of a real one, so that it is longer than a line of mail ought to be.
const LINK = `https://iot.example.org:8443/somewhere/below/v1/auth/set-password#token=ga_${'Aa0_-'.repeat(8)}Aa0`;
const MAIL: Mail = { to: 'anna@example.com', kind: 'activation', link: LINK, expires: '2026-11-28T20:50:00Z' };

const closing: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function server(options: MailServerOptions = {}): Promise<MailServer> {
  const started = await startMailServer(options);
  closing.push(() => started.close());
  return started;
}

function mailerTo(port: number, more: Partial<MailSettings['server']> & { readonly limit?: number } = {}) {
  const { limit = 10_000, ...given } = more;
  return createMailer({ server: { host: '127.0.0.1', port, tls: false, proved: false, login: null, ...given }, from: FROM, limit });
}

describe('what arrives', () => {
  test.each([
    ['activation', 'Set your password for iot.example.org:8443'],
    ['reset', 'Set a new password for iot.example.org:8443'],
  ] as const)('%s: the link whole, on a line of its own; for whom, until when, how often', async (kind, subject) => {
    const { port, mail } = await server({ login: LOGIN });
    await mailerTo(port, { login: LOGIN }).send({ ...MAIL, kind });
    const arrived = await mail(0);
    expect(arrived).toMatchObject({ from: FROM.address, to: ['anna@example.com'], user: 'access' });
    expect(arrived.mail).toMatchObject({ subject, from: FROM, to: [{ address: 'anna@example.com' }], attachments: [] });
    expect(linkIn(arrived)).toBe(LINK);
    expect(arrived.mail.text).toContain('anna@example.com');
    expect(arrived.mail.text).toContain('can be used once, until 28 November 2026 at 20:50 UTC');
    expect(arrived.mail.html).toBeUndefined();
    const headers = arrived.raw.slice(0, arrived.raw.indexOf('\r\n\r\n'));
    expect(headers).toContain('Auto-Submitted: auto-generated');
    // A program that shows flowed text would join lines.
    expect(headers).not.toMatch(/flowed|nodemailer/i);
    expect(headers.match(/^[\w-]+/gm)?.toSorted()).toEqual([
      'Auto-Submitted',
      'Content-Transfer-Encoding',
      'Content-Type',
      'Date',
      'From',
      'MIME-Version',
      'Message-ID',
      'Subject',
      'To',
    ]);
    expect(arrived.mail.messageId).toMatch(/^<[\w-]+@example\.org>$/); // and no host name of ours
  });

  test('a domain of other letters is written as mail servers have it, in the words too', async () => {
    const { port, mail } = await server();
    await mailerTo(port).send({ ...MAIL, to: 'anna@bücher.example' });
    const arrived = await mail(0);
    expect(arrived.raw).toMatch(/^To: anna@xn--bcher-kva\.example\r$/m);
    expect(arrived.mail.text).toContain('anna@xn--bcher-kva.example');
  });
});

describe('an e-mail of a user, which may be any text', () => {
  const hostile = [
    '',
    'anna',
    '@b.example',
    'a@b@c.example',
    '.a@b.example',
    'a..b@c.example',
    'a@b.example, c@d.example',
    'a@b.example,c@d.example',
    'a@b.example;c@d.example',
    'a@b.example c@d.example',
    '"x\r\nBcc: all@d.example"@b.example',
    'a@b.example\r\nBcc: all@d.example',
    'a@b.example\nRCPT TO:<c@d.example>',
    'a@b\r\n.example',
    'a@b\u00AD.example',
    'Anna <a@b.example>',
    '<a@b.example>',
    'friends: a@b.example, c@d.example;',
    '"a@b.example"@d.example',
    'a(comment)@b.example',
    'a@b.example>',
    'a@b.example SIZE=1',
    'a@[127.0.0.1]',
    'a@b.example/c',
    'a@b.example\\c',
    'a@b.example?c',
    'a@b.example#c',
    'a\0@b.example',
    `${'a'.repeat(250)}@b.example`,
  ];

  test.each(hostile)('is no address: %j', async (to) => {
    const { port, connections } = await server();
    const refused = await mailerTo(port)
      .send({ ...MAIL, to })
      .catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(Violation);
    expect(connections().all).toBe(0);
  });

  test('of any pieces: one gets it, the one that is written, or nobody', async () => {
    const { port, arrived } = await server();
    const mailer = mailerTo(port);
    const piece = fc.constantFrom(
      'anna',
      'b.example',
      '@',
      '@',
      ',',
      ';',
      ' ',
      '\r\n',
      '\n',
      '<',
      '>',
      '"',
      '\\',
      '(',
      ')',
      ':',
      '.',
      '-',
      '%',
      '/',
      '#',
      '?',
      'ü',
      '\u00AD',
      'Bcc: ',
    );
    const some = fc.oneof(fc.constant(''), piece);
    let taken = 0;
    await fc
      .assert(
        fc.asyncProperty(fc.oneof(fc.array(piece, { maxLength: 6 }), fc.tuple(some, fc.constant('anna@b.example'), some)), async (pieces) => {
          const to = pieces.join('');
          const before = arrived.length;
          const error: unknown = await mailer.send({ ...MAIL, to }).then(
            () => null,
            (thrown: unknown) => thrown,
          );
          const mails = arrived.slice(before);
          if (error === null) {
            taken += 1;
            expect(mails.map((mail) => mail.to)).toEqual([[to]]);
            expect(mails[0]?.mail.to).toHaveLength(1);
            expect([mails[0]?.mail.cc, mails[0]?.mail.bcc]).toEqual([undefined, undefined]);
          } else {
            expect(error).toBeInstanceOf(Violation);
            expect(mails).toEqual([]);
          }
        }),
        { seed, numRuns: 100 },
      )
      .finally(() => console.log(`mail: GRANTGATE_SEED=${seed}, ${taken} of 100 texts are addresses`));
    expect(taken).toBeGreaterThan(3);
  });
});

describe('a server that does not take it', () => {
  const LIMIT = 300;

  async function failure(port: number, more: Parameters<typeof mailerTo>[1] = {}): Promise<string> {
    const error: unknown = await mailerTo(port, { login: LOGIN, ...more })
      .send(MAIL)
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(MailFailed);
    const { message, cause, stack = '' } = error as MailFailed;
    expect(cause).toBeUndefined();
    for (const secret of [PASSWORD, Buffer.from(PASSWORD).toString('base64'), encodeURIComponent(PASSWORD), LINK, 'ga_', MAIL.to]) {
      expect(message).not.toContain(secret);
      expect(stack).not.toContain(secret);
    }
    return message;
  }
  const no = (responseCode: number): Error => Object.assign(new Error(`not with ${PASSWORD}, not ${LINK}`), { responseCode });

  test('refuses: the client, the password, the sender, the address, the mail', async () => {
    const refuses = async (options: MailServerOptions): Promise<string> => failure((await server({ login: LOGIN, ...options })).port);
    expect(await refuses({ onConnect: (_, done) => done(no(554)) })).toMatch(/^the mail server has not taken the mail \(.*554\)$/);
    expect(await refuses({ onAuth: (_, __, done) => done(no(535)) })).toBe('the mail server refuses our user or password (EAUTH, 535)');
    expect(await refuses({ onMailFrom: (_, __, done) => done(no(550)) })).toBe(
      'the mail server does not take mail from us, or for this address (EENVELOPE, 550)',
    );
    expect(await refuses({ onRcptTo: (_, __, done) => done(no(452)) })).toBe(
      'the mail server does not take mail from us, or for this address (EENVELOPE, 452)',
    );
    const reads: MailServerOptions['onData'] = (stream, _, done) => void stream.resume().on('end', () => done(no(552)));
    expect(await refuses({ onData: reads })).toBe('the mail server has not taken the mail (EMESSAGE, 552)');
  });

  test('nobody listens', async () => {
    const { port, close } = await startMailServer();
    await close();
    expect(await failure(port)).toBe('the mail server cannot be reached, or does not prove who it is (ESOCKET, ECONNREFUSED)');
  });

  test('hangs: before it says a word, in the middle of one, or when it has the mail', async () => {
    const silent = async (options: MailServerOptions): Promise<string> => failure((await server({ login: LOGIN, ...options })).port, { limit: LIMIT });
    expect(await silent({ onConnect: () => undefined })).toBe('the mail server did not take the mail in time');
    expect(await silent({ onData: (stream) => void stream.resume() })).toBe('the mail server did not take the mail in time');
    const sockets = new Set<Socket>();
    const drips = createServer((socket) => {
      sockets.add(socket.on('error', () => undefined));
      const timer = setInterval(() => socket.write('220-still here\r\n'), 20); // no silence by which a limit of the socket would end it
      socket.on('close', () => clearInterval(timer));
    });
    await new Promise<void>((resolve) => drips.listen(0, '127.0.0.1', resolve));
    closing.push(() => void drips.close());
    expect(await failure((drips.address() as AddressInfo).port, { limit: LIMIT })).toBe('the mail server did not take the mail in time');
    await until(() => [...sockets].every(({ destroyed }) => destroyed), 'the end of the connection');
    expect(sockets.size).toBe(1);
  });

  test('offers no TLS, and must: nothing is sent, no password either', async () => {
    const { port, arrived } = await server({ login: LOGIN });
    expect(await failure(port, { proved: true })).toMatch(/^the mail server offers no TLS that we could trust \(ETLS/);
    expect(arrived).toEqual([]);
  });

  test('many at once: four connections, and the others wait; more than a hundred do not', async () => {
    const quick = await server();
    const mailer = mailerTo(quick.port);
    await Promise.all(Array.from({ length: 12 }, () => mailer.send(MAIL)));
    expect(quick.connections()).toEqual({ all: 12, most: 4 });
    expect(quick.arrived).toHaveLength(12);
    const silent = await server({ onConnect: () => undefined });
    const waiting = mailerTo(silent.port, { limit: LIMIT });
    const sent = Promise.allSettled(Array.from({ length: 104 }, () => waiting.send(MAIL)));
    await expect(waiting.send(MAIL)).rejects.toThrow('too many mails are on their way');
    expect(new Set((await sent).map((result) => result.status === 'rejected' && String(result.reason)))).toEqual(
      new Set(['MailFailed: the mail server did not take the mail in time']),
    );
  });

  test('who waits for a turn waits no longer than the limit, and takes none away', async () => {
    let hangs = true;
    const half = await server({ onMailFrom: (_, __, done) => (hangs ? undefined : done()) });
    const mailer = mailerTo(half.port, { limit: 2_000 });
    const results = await Promise.allSettled(Array.from({ length: 10 }, () => mailer.send(MAIL)));
    expect(results.map((result) => result.status === 'rejected' && String(result.reason))).toEqual(
      Array.from({ length: 10 }, () => 'MailFailed: the mail server did not take the mail in time'),
    );
    hangs = false;
    await Promise.all(Array.from({ length: 5 }, () => mailer.send(MAIL)));
    expect(half.arrived).toHaveLength(5);
  });
});

/** Node reads whom it trusts when it starts: the mail is sent by a process of its own, which also shows that it ends. */
describe('who it is sent to', () => {
  let given: Certificates;
  beforeAll(async () => {
    given = await certificates({ path: '/', ca: 'private' });
    await given.authority('private');
    await given.sign('localhost', 'private', { subject: '/CN=localhost', names: 'DNS:localhost' });
    await given.sign('elsewhere', 'private', { subject: '/CN=elsewhere', names: 'DNS:elsewhere.example' });
    await run(process.execPath, [join(root, 'src/ready.mjs')]);
  });
  afterAll(() => given.remove());

  async function sends(to: Partial<MailSettings['server']> & { readonly port: number }, trusted = true): Promise<string> {
    const settings: MailSettings = { server: { host: 'localhost', tls: false, proved: true, login: LOGIN, ...to }, from: FROM };
    const script = `
      const { createMailer } = await import(${JSON.stringify(join(root, 'dist/api/local/mail.js'))});
      console.log(await createMailer(${JSON.stringify(settings)}).send(${JSON.stringify(MAIL)}).then(() => 'sent', (error) => error.message));`;
    const env = { PATH: process.env['PATH'] ?? '', ...(trusted ? { NODE_EXTRA_CA_CERTS: join(given.directory, 'private.pem') } : {}) };
    return (await run(process.execPath, ['--input-type=module', '--eval', script], { env, timeout: 20_000 })).stdout.trim();
  }
  const named = (tls: 'smtps' | 'starttls', certificate = 'localhost'): Promise<MailServer> =>
    server({ tls, certificate: join(given.directory, certificate), login: LOGIN });
  const UNPROVED = /offers no TLS that we could trust|does not prove who it is/;

  test('STARTTLS and smtps, with the password, to a server that proves itself', async () => {
    const both = await Promise.all([named('starttls'), named('smtps')]);
    expect(await Promise.all(both.map(({ port }, i) => sends({ port, tls: i === 1 })))).toEqual(['sent', 'sent']);
    for (const { arrived } of both) expect(arrived).toMatchObject([{ user: 'access', secure: true, to: [MAIL.to] }]);
  });

  test('nothing to one that nobody vouches for, or that is another', async () => {
    const [unknown, unknownTls, other, otherTls] = await Promise.all([
      named('starttls'),
      named('smtps'),
      named('starttls', 'elsewhere'),
      named('smtps', 'elsewhere'),
    ]);
    const told = await Promise.all([
      sends({ port: unknown.port }, false),
      sends({ port: unknownTls.port, tls: true }, false),
      sends({ port: other.port }),
      sends({ port: otherTls.port, tls: true }),
    ]);
    for (const words of told) expect(words).toMatch(UNPROVED);
    for (const { arrived } of [unknown, unknownTls, other, otherTls]) expect(arrived).toEqual([]);
  });

  test('where it need not prove itself (loopback, insecureTls), TLS is used all the same if it is offered', async () => {
    const [starttls, smtps] = await Promise.all([named('starttls', 'elsewhere'), named('smtps', 'elsewhere')]);
    await mailerTo(starttls.port, { login: LOGIN }).send(MAIL);
    await mailerTo(smtps.port, { login: LOGIN, tls: true }).send(MAIL);
    for (const { arrived } of [starttls, smtps]) expect(arrived).toMatchObject([{ user: 'access', secure: true }]);
  });
});

test('what the settings say', () => {
  expect(mailSettings({ insecureTls: false })).toBeNull();
  const of = (url: string, insecureTls = false) => mailSettings({ url, from: 'Access <access@example.org>', insecureTls })!;
  expect(of('smtp://access:pass%2Fword%25of%3Athe%40server@mail.example.org')).toEqual({
    server: { host: 'mail.example.org', port: 587, tls: false, proved: true, login: LOGIN },
    from: FROM,
  });
  expect(of('smtps://mail.example.org').server).toEqual({ host: 'mail.example.org', port: 465, tls: true, proved: true, login: null });
  expect(of('smtp://mail.example.org:25', true).server).toMatchObject({ port: 25, proved: false });
  for (const host of ['localhost', '127.0.0.1', '[::1]'])
    expect(of(`smtp://${host}:25`).server).toMatchObject({ host: host.replace(/[[\]]/g, ''), proved: false });
});
