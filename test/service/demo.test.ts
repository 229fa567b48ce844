// The demo as a person runs it: as processes, with its own database, under the users and from the directories that people have.

import { accessSync, constants, chmodSync, chownSync, cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { execFile, spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startChild, type Child } from '../support/child.ts';
import { cli } from '../support/cli.ts';
import { startPostgres } from '../support/postgres.ts';
import { isMissing, requirePart } from '../support/require.ts';
import { until } from '../support/until.ts';

requirePart('embedded18');

const root = fileURLToPath(new URL('../..', import.meta.url));
const NOBODY = 65_534;
const run = promisify(execFile);
const made: string[] = [];
const started: Child[] = [];

beforeAll(async () => {
  await run(process.execPath, [join(root, 'src/ready.mjs')]); // tests may be run without `npm test`, and then by an old build
});
afterEach(async () => {
  for (const child of started.splice(0)) await child.stop('SIGKILL');
  for (const directory of made.splice(0)) rmSync(directory, { recursive: true, force: true });
});

function directoryOf(mode: number, uid?: number): string {
  const directory = mkdtempSync(join(tmpdir(), 'grantgate-demo-'));
  made.push(directory);
  if (uid !== undefined) chownSync(directory, uid, uid);
  chmodSync(directory, mode);
  return directory;
}

interface Demo {
  readonly child: Child;
  readonly lines: string[];
}
function start(command: readonly string[], cwd = root): Demo {
  const lines: string[] = [];
  const child = startChild(command[0]!, command.slice(1), { cwd, line: (line) => lines.push(line), env: { HOME: tmpdir() } });
  started.push(child);
  return { child, lines };
}
const demo = (directory: string, ...more: string[]): string[] => [
  process.execPath,
  join(root, 'dist/main.js'),
  'demo',
  '--directory',
  join(directory, 'own'),
  ...more,
];

/** Where the demo of a directory keeps its data: elsewhere, if the database's account cannot reach it. */
function dataOf(directory: string): string {
  return (JSON.parse(readFileSync(join(directory, 'own', 'postgres.data'), 'utf8')) as { data: string }).data;
}

/** Processes that were started with one of these paths. */
function processesOf(...paths: string[]): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      } catch {
        return '';
      }
    })
    .filter((line) => paths.some((path) => line.includes(path)));
}
const nothingLeft = (...paths: string[]): Promise<void> =>
  until(() => processesOf(...paths).length === 0, `the end of ${processesOf(...paths).join(', ')}`, 30_000);

/** 0, all lines right, and one of them the revocation that flips the last answer. */
async function expectOnce({ child, lines }: Demo): Promise<void> {
  const how = await child.ended;
  expect(how, [...lines, child.stderr()].join('\n')).toBe('exit 0');
  expect(lines.at(-1)).toBe('11 lines run, 0 wrong');
  // What the service says beside them (that a machine stood still, say) is none of the demo's lines.
  expect(lines.filter((line) => !line.startsWith('{')).slice(-4, -1)).toEqual([
    expect.stringMatching(/^ok {4}200 Ivo/),
    expect.stringMatching(/^ok {4}The grant .*: DELETE 1 at revision \d+-/),
    expect.stringMatching(/^ok {4}403 .*refused {2}\(deny, no-grant, rule 6e\)$/),
  ]);
}

describe('--once', () => {
  test.skipIf(isMissing('root'))(
    'as root, from a directory that nobody else can enter; and again in the same one',
    async () => {
      const directory = directoryOf(0o700);
      await expectOnce(start(demo(directory, '--once'), directory));
      await nothingLeft(directory, dataOf(directory));
      await expectOnce(start(demo(directory, '--once'), directory)); // the revoked grant is back
      const data = dataOf(directory);
      await nothingLeft(directory, data);
      rmSync(data, { recursive: true, force: true });
    },
    120_000,
  );

  test.skipIf(isMissing('root'))(
    'as an unprivileged user',
    async () => {
      const directory = directoryOf(0o700, NOBODY);
      const program = reachableProgram();
      const as = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];
      await expectOnce(start([...as, process.execPath, program, 'demo', '--directory', join(directory, 'own'), '--once'], directory));
      await nothingLeft(directory);
    },
    120_000,
  );

  test('where its answers are wrong it says so and exits with 1', async () => {
    // The issuer of its tokens may not speak for the world's tenant, so every allow becomes a 401.
    const directory = directoryOf(0o755);
    const { child, lines } = start(demo(directory, '--once', '--set', 'identity.thingsboard.tenants=elsewhere'), directory);
    expect(await child.ended).toBe('exit 1');
    expect(lines.at(-1)).toMatch(/^11 lines run, [1-9]\d* wrong$/);
    expect(lines[0]).toMatch(/^WRONG 401 Olga/);
    const data = dataOf(directory);
    await nothingLeft(directory, data);
    rmSync(data, { recursive: true, force: true });
  }, 60_000);
});

/** The built program, where an unprivileged user can read it: a copy, if the checkout lies below somebody's home. */
function reachableProgram(): string {
  const reaches = spawnSync(
    'setpriv',
    [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', process.execPath, join(root, 'dist/main.js'), '--version'],
    { cwd: '/' },
  );
  if (reaches.status === 0) return join(root, 'dist/main.js');
  const copy = directoryOf(0o755);
  for (const part of ['dist', 'deploy', 'policy-cache', 'node_modules', 'package.json'])
    cpSync(join(root, part), join(copy, part), { recursive: true, verbatimSymlinks: true });
  return join(copy, 'dist/main.js');
}

describe('left running', () => {
  async function interactive(command: readonly string[], cwd?: string): Promise<Demo> {
    const running = start(command, cwd);
    const told = running.child.ended.then((how) => {
      running.lines.push(`ended: ${how} ${running.child.stderr()}`);
    });
    await until(() => running.lines.some((line) => line.startsWith('Ctrl-C ends') || line.startsWith('ended: ')), 'the lines to paste', 60_000);
    expect(running.lines.filter((line) => line.startsWith('ended: '))).toEqual([]);
    void told;
    return running;
  }

  test('the lines that it prints work when pasted; Ctrl-C under npm leaves nothing', async () => {
    const directory = directoryOf(0o755);
    const own = join(directory, 'own');
    // A session of its own, as a terminal has: Ctrl-C goes to every process in it, and npm passes it on once more.
    const running = await interactive(['setsid', 'npm', 'run', 'demo', '--', '--directory', own]);
    const pasted = running.lines.flatMap((line, i) => (line.startsWith('# ') ? [{ title: line, line: running.lines[i + 1]! }] : []));
    expect(pasted).toHaveLength(11);
    for (const { title, line } of pasted) {
      const { stdout } = await run('/bin/sh', ['-c', line], { cwd: root });
      const expected = /: (\d{3})$/.exec(title)?.[1];
      expect(stdout, title).toMatch(expected === undefined ? /^DELETE 1 at revision/ : new RegExp(`^HTTP/1\\.1 ${expected} `));
    }
    // A statement that reads, and one that is wrong.
    const sql = pasted.find(({ line }) => line.includes('--sql'))!.line.replace(/--sql .*/, '');
    expect((await run('/bin/sh', ['-c', `${sql} --sql "select id from grantgate.object where kind = 'tenant'"`], { cwd: root })).stdout).toMatch(
      /^\{"id":"northwind"\}\nSELECT 1 at/,
    );
    await expect(run('/bin/sh', ['-c', `${sql} --sql "delete from nowhere"`], { cwd: root })).rejects.toMatchObject({ code: 2 });

    // A second one in the same directory is told so, and takes nothing from the first.
    const second = start(demo(directory, '--once'));
    expect(await second.child.ended).toBe('exit 2');
    expect(second.child.stderr()).toMatch(/process \d+ is using it/);
    expect((await run('/bin/sh', ['-c', `${sql} --sql "select 1"`], { cwd: root })).stdout).toMatch(/^SELECT 1 at|"\?column\?"/);

    const data = dataOf(directory);
    process.kill(-running.child.pid, 'SIGINT');
    await running.child.ended;
    await nothingLeft(directory, data);
    expect(running.lines.join('\n')).not.toMatch(/not waiting for anything/);
    expect(() => accessSync(join(own, 'demo.json'), constants.F_OK)).toThrow();
    rmSync(data, { recursive: true, force: true });
  }, 120_000);

  test.each(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGKILL'] as const)(
    '%s to npm alone ends the demo too',
    async (signal) => {
      const directory = directoryOf(0o755);
      const running = await interactive(['npm', 'run', 'demo', '--', '--directory', join(directory, 'own')]);
      const data = dataOf(directory);
      process.kill(running.child.pid, signal);
      await nothingLeft(directory, data);
      rmSync(data, { recursive: true, force: true });
    },
    120_000,
  );

  test('two demos live beside each other, each on its own ports', async () => {
    const [one, two] = [directoryOf(0o755), directoryOf(0o755)];
    const running = [await interactive(demo(one)), await interactive(demo(two))];
    const doors = running.map(({ lines }) => /Doors on (\S+),/.exec(lines.join('\n'))?.[1]);
    expect(new Set(doors).size).toBe(2);
    const paths = [one, two].flatMap((directory) => [directory, dataOf(directory)]);
    await Promise.all(running.map(({ child }) => child.stop('SIGINT', 20_000)));
    await nothingLeft(...paths);
    for (const path of paths) rmSync(path, { recursive: true, force: true });
  }, 120_000);
});

test('--sql without a demo says so', async () => {
  expect(await cli(['demo', '--directory', directoryOf(0o755), '--sql', 'select 1'])).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/no demo is running in/) as string,
  });
});

test('a directory that cannot be used is named, with the option', async () => {
  const file = join(directoryOf(0o755), 'a-file');
  writeFileSync(file, '');
  const { code, stderr } = await cli(['demo', '--directory', file]);
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(`grantgate: --directory: ${file} cannot be used (`) as string });
});

test('a database of one’s own: used if it is empty, left alone if it holds anything else', async () => {
  const server = await startPostgres('embedded18');
  try {
    const empty = await server.database('empty');
    const directory = directoryOf(0o755);
    const arguments_ = ['demo', '--once', '--no-embedded', '--directory', directory];
    const first = await cli(arguments_, { env: { DATABASE_URL: empty.url } });
    expect(first.stdout).toMatch(/the same request is refused/);
    const world = { 'w.yaml': 'tenants: [{ id: somebody-else }]' };
    expect(await cli(['import', 'w.yaml'], { env: { DATABASE_URL: empty.url }, files: world })).toMatchObject({ code: 0 });
    const second = await cli(arguments_, { env: { DATABASE_URL: empty.url } });
    expect(second.code).toBe(2);
    expect(second.stderr).toMatch(/somebody-else.*use an empty database/);
    expect((await cli(['demo', '--once', '--no-embedded', '--directory', directoryOf(0o755)])).stderr).toMatch(/database\.url: is not set/);
  } finally {
    await server.close();
  }
}, 60_000);
