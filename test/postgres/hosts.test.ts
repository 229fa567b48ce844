// Which server does a URL lead to, and is the way there safe? TLS, standbys, Unix sockets, and URLs that are refused.

import { execFileSync } from 'node:child_process';
import { chownSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { InputError, PolicyError } from 'policy-cache';
import { openPool, postgresSource, type PostgresSourceOptions } from 'policy-cache/postgres';
import { servers, startOwnPostgres, type OwnServer, type TestDatabase } from '../support/postgres.ts';
import { until } from '../support/until.ts';

const silent = { ring: () => undefined, closed: () => undefined };

/** Attaches, asks how the listening session and a fill connection came in, and closes. */
async function encrypted(options: PostgresSourceOptions, sql: ReturnType<typeof openPool>): Promise<boolean> {
  const attachment = await postgresSource(options).attach(silent);
  try {
    const { pid } = await attachment.pull({ cursor: 0, limit: null, ask: [] });
    const [row] = await sql`select ssl from pg_stat_ssl where pid = ${pid}`;
    return (row as { ssl: boolean }).ssl;
  } finally {
    attachment.close();
  }
}

const refused = async (options: PostgresSourceOptions): Promise<string> => {
  const error = await postgresSource(options)
    .attach(silent)
    .then(
      () => new Error('it was not refused'),
      (cause: unknown) => cause as Error,
    );
  expect(error).toBeInstanceOf(PolicyError);
  return error.message;
};

describe.each(servers)('on %s', (kind) => {
  let server: OwnServer;
  let database: TestDatabase;
  let sql: ReturnType<typeof openPool>;
  let ca: string;
  let sockets: string;
  /** The database by another host, or with other parameters. */
  const url = (host: string, query = ''): string => {
    const { username, password, port, pathname } = new URL(database.url);
    return `postgres://${username}:${password}@${host}:${port}${pathname}${query}`;
  };

  beforeAll(async () => {
    sockets = mkdtempSync(join(tmpdir(), 'gg-'));
    server = await startOwnPostgres(kind, { socketDirectory: sockets });
    database = await server.database();
    sql = openPool({ url: database.url, max: 1 });
    const { uid, gid } = statSync(server.directory);
    const [key, certificate] = [join(server.directory, 'server.key'), join(server.directory, 'server.crt')];
    const files = ['-keyout', key, '-out', certificate];
    execFileSync(
      'openssl',
      [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:prime256v1',
        '-nodes',
        '-days',
        '2',
        '-subj',
        '/CN=localhost',
        '-addext',
        'subjectAltName=DNS:localhost',
        ...files,
      ],
      { stdio: 'pipe' },
    );
    for (const file of [key, certificate]) chownSync(file, uid, gid);
    ca = readFileSync(certificate, 'utf8');
    await sql`alter system set ssl = on`;
    await sql`select pg_reload_conf()`;
    await until(async () => (await sql`show ssl`)[0]?.['ssl'] === 'on', 'TLS');
    await sql.end();
    sql = openPool({ url: database.url, max: 1 });
  });
  afterAll(async () => {
    await sql.end({ timeout: 5 });
    await server.close();
    rmSync(sockets, { recursive: true, force: true });
  });

  test('loopback is plain by default; with sslmode it is encrypted and verified', async () => {
    expect(await encrypted({ url: url('localhost') }, sql)).toBe(false);
    expect(await encrypted({ url: url('127.0.0.1', '?sslmode=prefer') }, sql)).toBe(false);
    expect(await encrypted({ url: url('localhost', '?sslmode=verify-full'), certificates: { ca } }, sql)).toBe(true);
    expect(await encrypted({ url: url('localhost', '?sslmode=require'), certificates: { ca } }, sql)).toBe(true);
  });

  test('a certificate of nobody we trust, or of another name, is refused; `require` is no way around', async () => {
    for (const mode of ['verify-full', 'verify-ca', 'require']) expect(await refused({ url: url('localhost', `?sslmode=${mode}`) })).toMatch(/self-signed/);
    for (const mode of ['verify-full', 'verify-ca', 'require'])
      expect(await refused({ url: url('127.0.0.1', `?sslmode=${mode}`), certificates: { ca } })).toMatch(/does not match|altnames/);
  });

  test('insecureTls gives each mode the meaning it has elsewhere', async () => {
    const insecureTls = true;
    expect(await encrypted({ url: url('127.0.0.1', '?sslmode=disable'), insecureTls }, sql)).toBe(false);
    expect(await encrypted({ url: url('127.0.0.1', '?sslmode=prefer'), insecureTls }, sql)).toBe(true);
    expect(await encrypted({ url: url('127.0.0.1', '?sslmode=require'), insecureTls }, sql)).toBe(true);
    expect(await encrypted({ url: url('127.0.0.1', '?sslmode=verify-ca'), certificates: { ca }, insecureTls }, sql)).toBe(true);
    expect(await refused({ url: url('127.0.0.1', '?sslmode=verify-ca'), insecureTls })).toMatch(/self-signed/);
    expect(await refused({ url: url('127.0.0.1', '?sslmode=verify-full'), certificates: { ca }, insecureTls })).toMatch(/does not match|altnames/);
  });

  test('a server without TLS is refused where TLS is asked for', async () => {
    await sql`alter system set ssl = off`;
    await sql`select pg_reload_conf()`;
    await until(async () => (await sql`show ssl`)[0]?.['ssl'] === 'off', 'no TLS');
    expect(await refused({ url: url('localhost', '?sslmode=require'), certificates: { ca } })).toContain('offers no TLS');
    expect(await refused({ url: url('localhost', '?sslmode=require'), insecureTls: true })).toContain('offers no TLS');
    expect(await encrypted({ url: url('localhost', '?sslmode=prefer'), insecureTls: true }, sql)).toBe(false);
  });

  test('a Unix socket, in the host or as a parameter', async () => {
    expect(await encrypted({ url: url(encodeURIComponent(sockets)) }, sql)).toBe(false);
    const { username, password, port, pathname } = new URL(database.url);
    expect(await encrypted({ url: `postgres://${username}:${password}@${pathname}?host=${sockets}&port=${port}` }, sql)).toBe(false);
  });

  test('a backend that changes within a session ends it, and the next attach looks for longer: no session by turns', async () => {
    writeFileSync(join(server.directory, 'pg_hba.conf'), 'host all all 127.0.0.1/32 trust\nlocal all all trust\n');
    await sql`select pg_reload_conf()`;
    // Everything is said to two backends, and one of them is heard: both know the prepared statements, as behind a good pooler. The other
    // one only after so many packets: an attach has passed by then.
    const LUCK = 40;
    const heard: [number, number] = [0, 0];
    const pooler = createServer((client) => {
      let said = 0;
      const backends = ([0, 1] as const).map((number) => {
        const backend = connect(Number(new URL(database.url).port), '127.0.0.1');
        backend.on('data', (bytes) => {
          heard[number] += bytes.length;
          if (number === Number(said > LUCK)) client.write(bytes);
        });
        backend.on('error', () => undefined);
        return backend;
      });
      client
        .on('data', (bytes) => {
          said++;
          for (const backend of backends) backend.write(bytes);
        })
        .on('error', () => undefined)
        .on('close', () => backends.forEach((backend) => backend.destroy()));
    });
    await new Promise<void>((resolve) => pooler.listen(0, '127.0.0.1', resolve));
    const through = new URL(database.url);
    through.port = String((pooler.address() as AddressInfo).port);
    const source = postgresSource({ url: through.href });
    const attachment = await source.attach(silent);
    try {
      const pulls = async (): Promise<void> => {
        for (let i = 0; i <= LUCK; i++) await attachment.pull({ cursor: 0, limit: null, ask: [] });
      };
      await attachment.pull({ cursor: 0, limit: null, ask: [] });
      // The other one may be slow to begin; its answers to what came first must not be taken for those to a pull.
      await until(() => heard[1] >= heard[0] - 100, 'the answers of the other backend');
      await expect(pulls()).rejects.toThrow('a transaction pooler stands between');
      await expect(source.attach(silent)).rejects.toThrow('a transaction pooler stands between');
    } finally {
      attachment.close();
      pooler.close();
    }
  });

  test('a standby is refused, and the next host is asked', async () => {
    await sql.end({ timeout: 5 });
    await server.stop();
    writeFileSync(join(server.directory, 'standby.signal'), '');
    await server.start();
    expect(await refused({ url: database.url })).toContain('it is a standby');
    expect(await refused({ url: [database.url, 'postgres://u:p@127.0.0.1:1/d'] })).toMatch(/standby.*; 127\.0\.0\.1:1.*ECONNREFUSED/);
  });
});

describe('a URL is refused before anything is opened', () => {
  const problem = (url: string, options: Partial<PostgresSourceOptions> = {}): string => {
    try {
      postgresSource({ url, ...options });
      return 'it was taken';
    } catch (error) {
      expect(error).toBeInstanceOf(InputError);
      return (error as Error).message;
    }
  };

  test.each([
    ['mysql://u:secret@h/d', /expected postgres:\/\//],
    ['postgres://h/d', /names no user/],
    ['postgres://u:secret@h:0/d', /port from 1 to 65535/],
    ['postgres://u:secret@::1/d', /IPv6 address stands in brackets/],
    ['postgres://u:secret%@h/d', /%25/],
    ['postgres://u:p@secret@h/d', /%40/],
    ['postgres://u:p@secret:x@h/d', /%40/],
    ['postgres://u:p/secret@h/d', /%2F/],
    ['postgres://u:p?secret@h/d', /%3F/],
    ['postgres://u:p@h/d?secret@x', /%40/],
    ['postgres://u:secret@h/d?sslmode=strict', /sslmode: expected one of/],
    ['postgres://u:secret@db.example/d?sslmode=disable', /insecureTls/],
    ['postgres://u:secret@127.0.0.1.example/d?sslmode=disable', /insecureTls/],
    ['postgres://u:secret@h1,db.example/d?sslmode=disable', /insecureTls/],
    ['postgres://u:secret@h/d?sslrootcert=ca.pem', /setting for TLS/],
    ['postgres://u:secret@h/d?channel_binding=require', /unknown parameter "channel_binding"/],
    ['postgres://u:secret@h/d?target_session_attrs=any', /unknown parameter/],
  ])('%s', (url, expected) => {
    expect(problem(url)).toMatch(expected);
    expect(problem(url)).not.toContain('secret');
  });

  test.each([
    'postgres://u@[::1]:5433/d',
    'postgresql://u:p@h1,h2:5433/d',
    'postgres://u:p@db.example/d?sslmode=require',
    'postgres:///d?host=/run/postgresql&user=u',
    'postgres://u:p@h/d?sslrootcert=system&target_session_attrs=read-write&application_name=x',
    'postgres://u:p@localhost/d?sslmode=disable',
  ])('but %s is taken', (url) => {
    expect(problem(url)).toBe('it was taken');
  });

  test('with insecureTls, plain text to another machine is a choice', () => {
    expect(problem('postgres://u:p@db.example/d?sslmode=disable', { insecureTls: true })).toBe('it was taken');
    expect(problem('postgres://u:p@db.example/d', { url: [] })).toContain('expected at least one');
  });
});
