// What does `grantgate doctor --proxy` take, print and end with, and what does it do to a proxy? (What it finds: test/proxies/doctor.*.)

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { codes } from '../../src/proxydoctor/finding.ts';
import { KINDS, mendOf, type Kind } from '../../src/proxydoctor/mends.ts';
import { openWire } from '../../src/proxydoctor/wire.ts';
import { cli } from '../support/cli.ts';

const TOKEN = 'eyJ.a-token.of-the-tests';
const files = { '/token': `${TOKEN}\n`, '/two-words': 'two words' };
const servers: Server[] = [];
afterAll(() => {
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
});

/** Any HTTP server is a proxy to whoever looks from outside. */
async function serve(answer: RequestListener, make = (listener: RequestListener): Server => createServer(listener)): Promise<number> {
  const server = make(answer);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

describe('bad input is exit code 2, with what to do', () => {
  const proxy = (...more: readonly string[]): string[] => ['--proxy', 'http://127.0.0.1:9', ...more];
  test.each([
    [['--door', '127.0.0.1:9191'], /--proxy: must be said: --door is of a proxy/],
    [['--path', '/x'], /--proxy: must be said: --path is of a proxy/],
    [proxy('--repair'), /--repair: is of the database/],
    [['--proxy', 'staging.example'], /--proxy: must be a URL such as https/],
    [['--proxy', 'ftp://staging.example'], /--proxy: must be a URL such as https/],
    [['--proxy', 'https://user:secret@staging.example'], /--proxy: must not hold a user or a password/],
    [['--proxy', 'https://staging.example/api/x'], /the path is said by --path \/api\/x/],
    [proxy('--path', '/a/../b'), /--path: must be a plain path/],
    [proxy('--path', '/a?b=c'), /--path: must be a plain path/],
    [proxy('--denied-path', 'a'), /--denied-path: must be a plain path/],
    [proxy('--token-file', '/nowhere'), /--token-file: \/nowhere cannot be read/],
    [proxy('--token-file', '/two-words'), /--token-file: \/two-words must hold one token/],
    [proxy('--ca-file', '/nowhere'), /--ca-file: \/nowhere cannot be read/],
    [proxy('--door', '9191'), /--door: must be HOST:PORT or unix:\/PATH/],
    [proxy('--application', '127.0.0.1:0'), /--application: must be HOST:PORT or unix:\/PATH/],
    [proxy('--door', '127.0.0.1:9191', '--grpc-door', '127.0.0.1:9192'), /--grpc-door: a proxy asks at one of the two/],
    [proxy('--door', 'unix:/nowhere/at/all.sock'), /--door: cannot listen on unix:\/nowhere\/at\/all.sock: there is no directory/],
    [proxy('--kind', 'squid'), /--kind: must be one of nginx, .*, got "squid"/],
    [proxy('--timeout', 'soon'), /--timeout: must be a time/],
    [proxy('--host', 'a b'), /--host: must be a host name/],
    [proxy(), /--proxy: http:\/\/127.0.0.1:9 does not answer: .*ECONNREFUSED/],
  ])('%j', async (args, message) => {
    const run = await cli(['doctor', ...args], { files });
    expect(run.stderr).toMatch(message);
    expect(run).toMatchObject({ code: 2, stdout: '' });
    expect(run.stderr).not.toContain('secret');
  });

  test('a door that somebody else listens at', async () => {
    const taken = await serve((_, res) => res.end());
    const run = await cli(['doctor', '--proxy', 'http://127.0.0.1:9', '--door', `127.0.0.1:${taken}`]);
    expect(run.stderr).toMatch(/--door: cannot listen on 127\.0\.0\.1:\d+: another process listens there/);
  });
});

test('help shows both doctors, with examples', async () => {
  const { stdout } = await cli(['doctor', '--help']);
  for (const word of ['--repair', '--proxy <url>', '--door <address>', 'grantgate doctor --repair', 'grantgate doctor --proxy https://'])
    expect(stdout).toContain(word);
});

test('what it sends to production: GET and HEAD without a body, one at a time, a bounded number', async () => {
  const sent: string[] = [];
  let [underWay, most] = [0, 0];
  const port = await serve((req, res) => {
    most = Math.max(most, ++underWay);
    sent.push(`${req.method} ${req.headers['content-length'] ?? req.headers['transfer-encoding'] ?? 'no body'}`);
    res.on('close', () => underWay--);
    const may = req.headers.authorization === `Bearer ${TOKEN}` && req.rawHeaders.length < 12 && req.url === '/guarded';
    res.writeHead(may ? 200 : 401, { 'content-length': 0, 'www-authenticate': 'Bearer' }).end();
  });
  const run = await cli(['doctor', '--proxy', `http://127.0.0.1:${port}`, '--path', '/guarded', '--token-file', '/token'], { files });
  expect(run.stderr).toBe('');
  expect([...new Set(sent)].sort()).toEqual(['GET no body', 'HEAD no body']);
  expect(most).toBe(1);
  console.log(`from outside, with a token: ${sent.length} requests`);
  expect(sent.length).toBeLessThan(150);
  expect(run.stdout).not.toContain(TOKEN);
});

test('what it prints: what is right, what could not be looked at and why, what is wrong and the line that mends it, the sum', async () => {
  const port = await serve((req, res) => {
    const guarded = req.url === '/guarded';
    if (guarded && req.headers['user-agent']?.startsWith('kube-probe')) return void res.writeHead(200, { 'content-length': 0 }).end();
    res.writeHead(guarded ? 401 : 404, { 'content-length': 0, server: 'nginx/1.22.1' }).end();
  });
  const run = await cli(['doctor', '--proxy', `http://127.0.0.1:${port}`, '--path', '/guarded']);
  expect(run.code).toBe(1);
  const lines = run.stdout.split('\n');
  expect(lines[0]).toMatch(/^http:\/\/127\.0\.0\.1:\d+: nginx, \d+ requests$/);
  expect(run.stdout).toContain(
    [
      'unknown   original-uri, second-credential, method-override, decision-cached',
      '                               it takes a token of somebody who may GET the path (--token-file)',
      'problem   challenge            401 without WWW-Authenticate',
    ].join('\n'),
  );
  expect(run.stdout).toMatch(
    /\nproblem {3}bypass-header {8}User-Agent: kube-probe\/1\.31: 401 became 200\n {31}why: .*CVE-2026-34457.*\n {31}to do \(nginx\): no if, map or satisfy any/,
  );
  expect(lines.slice(-4)).toEqual([
    '2 wrong, 4 could not be looked at, 4 right',
    expect.stringMatching(/^not looked at without --door: .*fail-open/),
    expect.stringMatching(/^not looked at without --application: identity-forged/),
    '',
  ]);
});

describe('a proxy that is busy', () => {
  /** Guards well, but for what the counter says. */
  const busy = (isBusy: (count: number) => boolean): Promise<number> => {
    let count = 0;
    return serve((_, res) => res.writeHead(isBusy(++count) ? 429 : 401, { 'content-length': 0, 'www-authenticate': 'Bearer' }).end());
  };
  test('now and then: asked again', async () => {
    const port = await busy((count) => count % 7 === 0);
    const { code, stdout } = await cli(['doctor', '--proxy', `http://127.0.0.1:${port}`, '--json', '--token-file', '/token'], { files });
    expect(JSON.parse(stdout)).toMatchObject({ problems: 0, undecided: [] });
    expect(code).toBe(2); // the token is not let in
  });
  test('from some request on: no refusal, and told', async () => {
    const port = await busy((count) => count > 20);
    const { code, stdout } = await cli(['doctor', '--proxy', `http://127.0.0.1:${port}`]);
    expect(code).toBe(2);
    expect(stdout).toMatch(/\nunknown {3}undecided {12}\d+ requests had no answer that says yes or no: GET .*: 429, GET .* more\n/);
  });
});

test('a proxy that falls silent: a few waits, and what was not sent is told', async () => {
  let asked = 0;
  const port = await serve((_, res) => {
    if (++asked <= 12) res.writeHead(401, { 'content-length': 0, 'www-authenticate': 'Bearer' }).end();
  });
  const { code, stdout } = await cli(['doctor', '--proxy', `http://127.0.0.1:${port}`, '--timeout', '100ms', '--json']);
  expect(code).toBe(2);
  expect(asked).toBe(12 + 2 * 4);
  expect(
    (JSON.parse(stdout) as { undecided: string[] }).undecided.filter((each) => each.endsWith('not sent, 4 before it had no answer')).length,
  ).toBeGreaterThan(20);
});

test('what an answer is, in whatever bytes it comes', async () => {
  const answers: Readonly<Record<string, number>> = {
    'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n': 401,
    'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n': 403,
    'HTTP/1.0 200 OK\r\n\r\nuntil the end': 200,
    'HTTP/1.1 204\r\n\r\n': 204,
    'SSH-2.0-OpenSSH_9.2\r\n\r\n': 0,
    ['HTTP/1.1 100\r\n\r\n'.repeat(20_000)]: 0,
    '': 0,
  };
  for (const [bytes, status] of Object.entries(answers)) {
    const server = createTcpServer((socket) => void socket.on('error', () => undefined).end(bytes, 'latin1'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const wire = openWire({ tls: false, host: '127.0.0.1', port, name: 'localhost', ca: null, insecureTls: false }, 'test');
    expect((await wire.send({ target: '/' }, 2000)).status, bytes).toBe(status);
    server.close();
  }
});

test('with --json one value, the same in it', async () => {
  const port = await serve((_, res) => res.writeHead(200, { 'content-length': 0 }).end());
  const run = await cli(['doctor', '--proxy', `http://127.0.0.1:${port}`, '--json', '--kind', 'haproxy']);
  expect(run.code).toBe(1);
  const report = JSON.parse(run.stdout) as { kind: string; problems: number; findings: { code: string; state: string; fix?: string }[] };
  expect(report).toMatchObject({ kind: 'haproxy', problems: 1 });
  expect(report.findings[0]).toMatchObject({ code: 'unguarded', state: 'problem', fix: expect.stringContaining('lua.grantgate') as unknown });
});

describe('the line that mends it', () => {
  const deploy = fileURLToPath(new URL('../../deploy', import.meta.url));
  const bare = (text: string): string => text.replace(/\s+/g, ' ');

  test.each(KINDS)('%s: of every code, in its own words', (kind) => {
    const own = codes().filter((code) => code !== 'failure-mode-header' || kind === 'envoy');
    for (const code of own) expect(mendOf(code, kind), code).not.toBe(mendOf(code, null));
  });
  const quotes = (kind: Kind): string[] => codes().flatMap((code) => [...mendOf(code, kind).matchAll(/`([^`]+)`/g)].map(([, line = '']) => line));
  test('those quote whose files are shipped and run', () =>
    expect(KINDS.filter((kind) => quotes(kind).length > 5)).toEqual(['nginx', 'envoy', 'traefik', 'caddy', 'haproxy']));
  test.each(KINDS.filter((kind) => quotes(kind).length > 0))('%s: what it quotes stands in the shipped files', (kind) => {
    const files = readdirSync(join(deploy, kind)).map((file) => bare(readFileSync(join(deploy, kind, file), 'utf8')));
    expect(quotes(kind).filter((line) => !files.some((file) => file.includes(bare(line))))).toEqual([]);
  });
});

describe('TLS', () => {
  let directory: string, port: number;
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'grantgate-doctor-'));
    const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
    const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc', '-days', '1', '-keyout', key, '-out', cert];
    execFileSync('openssl', [...request, '-subj', '/CN=staging.example', '-addext', 'subjectAltName=DNS:staging.example'], { stdio: 'ignore' });
    const answer: RequestListener = (req, res) =>
      res.writeHead(req.headers.host?.startsWith('staging.example:') === true ? 401 : 403, { 'content-length': 0 }).end();
    port = await serve(answer, (listener) => createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }, listener));
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  const doctor = (...args: readonly string[]): ReturnType<typeof cli> => cli(['doctor', '--proxy', `https://127.0.0.1:${port}`, ...args]);

  test('a certificate of nobody known is refused', async () => {
    expect(await doctor()).toMatchObject({ code: 2, stdout: '', stderr: expect.stringMatching(/does not answer: self-signed certificate/) as unknown });
  });
  test('one of another name is refused', async () => {
    expect(await doctor('--ca-file', join(directory, 'cert.pem'))).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/IP: 127\.0\.0\.1 is not in the cert/) as unknown,
    });
  });
  test('the right name, by its authority', async () => {
    const { stdout } = await doctor('--ca-file', join(directory, 'cert.pem'), '--host', 'staging.example');
    expect(stdout).toMatch(/ok {8}unguarded .*401\n/);
  });
  test('unchecked, where that is said', async () => {
    const { stdout } = await doctor('--insecure-tls');
    expect(stdout).toMatch(/ok {8}unguarded .*403\n/);
  });
});
