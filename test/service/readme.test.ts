// Does the README tell the truth? Its commands are run, its links followed, its table held against the schema.

import { chmodSync, copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { execFile } from 'node:child_process';
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { settingsTable, withTable } from '../../src/docs.ts';
import { leaves } from '../../src/settings.ts';
import { startChild, type Child } from '../support/child.ts';
import { cli } from '../support/cli.ts';
import { startPostgres } from '../support/postgres.ts';
import { isMissing } from '../support/require.ts';
import { until } from '../support/until.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const section = (title: string): string => readme.split(/^## /m).find((part) => part.startsWith(title)) ?? '';
const blocks = (text: string): string[] =>
  [...text.matchAll(/^( *)```sh\n(.*?)^\1```$/gms)].map((match) => match[2]!.replaceAll(new RegExp(`^${match[1]!}`, 'gm'), ''));
const KEY = 'a key of the tests that is long enough'.replaceAll(' ', '-');
const commands = blocks(readme)
  .join('')
  .split('\n')
  .filter((line) => line !== '');

describe('the table of settings', () => {
  test('is the schema’s', () => {
    expect(withTable(readme)).toBe(readme);
    expect(settingsTable().split('\n')).toHaveLength(leaves.length + 2);
  });
  test('would be found out of step', () => {
    expect(withTable(readme.replace('`9191`', '`9192`'))).toBe(readme);
    expect(() => withTable('# nothing')).toThrow(/no place for the settings/);
  });
});

test('every file that it names is there', () => {
  const named = [...readme.matchAll(/`((?:deploy|src|test|policy-cache)\/[\w./-]+)`|\]\(([\w./-]+)\)/g)].map((match) => match[1] ?? match[2]!);
  expect(named.length).toBeGreaterThan(8);
  for (const path of named) expect(existsSync(join(root, path)), path).toBe(true);
});

test('every command and option that it names is there', async () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
  for (const [, script] of commands.join('\n').matchAll(/^npm (?:run )?([a-z]+)/gm)) expect(scripts).toHaveProperty(script!);
  const used = [...commands.join('\n').matchAll(/npx grantgate (\w+)( [a-z]+)?([^#)\n]*)/g)];
  expect(used.length).toBeGreaterThan(6);
  for (const [, command, verb, rest] of used) {
    const { code, stdout } = await cli([command!, ...(verb === undefined ? [] : [verb.trim()]), '--help']);
    expect(code, command).toBe(0);
    for (const [option] of rest!.matchAll(/--[a-z]+/g)) expect(stdout, command).toContain(option);
  }
  const listed = [...section('Commands').matchAll(/^\| (`[^|]+`) \|/gm)].flatMap((row) => [...row[1]!.matchAll(/`(\w+)/g)].map((match) => match[1]!));
  const there = [...(await cli(['--help'])).stdout.matchAll(/^ {2}(?!help )([a-z]+) /gm)].map((match) => match[1]!);
  expect(new Set(listed)).toEqual(new Set(there));
});

test('metrics that it names are served, settings and variables that it names exist', () => {
  const sources = ['telemetry.ts', 'exposition.ts', 'service.ts', 'api/health.ts', 'histogram.ts', 'workers-metrics.ts']
    .map((name) => readFileSync(join(root, 'src', name), 'utf8'))
    .join('');
  for (const [, metric] of readme.matchAll(/`(authz_\w+)`/g)) expect(sources).toContain(`'${metric!}'`);
  const prose = readme.replace(/<!-- settings[\s\S]*end of settings -->/, '');
  const paths = new Set(leaves.map(({ path }) => path));
  for (const [, path] of prose.matchAll(/`((?:doors|api|database|cache|identity|routes|vocabulary|log|shutdown)\.\w+)`/g)) expect(paths).toContain(path);
  for (const [, path] of prose.matchAll(/--set ([\w.]+)=\S/g)) if (path !== 'path') expect(paths).toContain(path);
  for (const [name] of prose.matchAll(/GRANTGATE_[A-Z_]*[A-Z]/g))
    expect(['GRANTGATE_CONFIG', ...leaves.flatMap(({ env }) => [env, `${env}_FILE`])]).toContain(name);
});

test('the commands that need nothing run as they stand', async () => {
  const alone = blocks(section('Commands')).join('').trim().split('\n');
  expect(alone).toHaveLength(2);
  for (const command of alone) await run('/bin/sh', ['-c', command], { cwd: root, env: { PATH: process.env['PATH'], HOME: tmpdir() } });
}, 60_000);

test.skipIf(isMissing('nginx') || isMissing('root'))(
  'five minutes behind nginx: the commands, in their order, let Olga through and nobody else',
  async () => {
    const server = await startPostgres('embedded18');
    const directory = mkdtempSync(join(tmpdir(), 'grantgate-readme-'));
    chmodSync(directory, 0o711); // nginx's workers pass through
    const children: Child[] = [];
    try {
      await server.database(); // once migrated, the roles are there
      const database = await server.database('empty');
      const reader = await database.urlAs('grantgate_reader');
      const [apiPort, nginxPort, applicationPort] = [await freePort(), await freePort(), await freePort()];
      writeFileSync(join(directory, 'signing-key'), '', { mode: 0o600 });
      for (const name of ['local.conf', 'grantgate.conf', 'grantgate-maps.conf']) copyFileSync(join(root, 'deploy/nginx', name), join(directory, name));

      // What a person's machine has in other places than this one.
      const here = (text: string): string =>
        text
          .replaceAll('postgres://postgres:…@127.0.0.1/app', database.url)
          .replaceAll('postgres://grantgate:…@127.0.0.1/app', reader)
          .replaceAll('/run/grantgate', `${directory}/run`)
          .replaceAll('/etc/grantgate', directory)
          .replaceAll('/tmp/grantgate-nginx', `${directory}/nginx`)
          .replaceAll('$PWD/deploy/nginx', directory)
          .replaceAll('127.0.0.1:9190', `127.0.0.1:${apiPort}`)
          .replaceAll('127.0.0.1:8088', `127.0.0.1:${nginxPort}`)
          .replaceAll('127.0.0.1:8080', `127.0.0.1:${applicationPort}`)
          .replaceAll('listen(8080,', `listen(${applicationPort},`);
      writeFileSync(join(directory, 'addresses.conf'), here(readFileSync(join(root, 'deploy/nginx/addresses.conf'), 'utf8')));
      const [first = '', second = '', third = '', ...more] = blocks(section('Five minutes')).map(here);
      expect(more).toEqual([]);
      const env = {
        PATH: `${process.env['PATH'] ?? ''}:/usr/sbin`,
        HOME: directory,
        GRANTGATE_API_PORT: String(apiPort),
        GRANTGATE_GRPC_PORT: '0',
        GRANTGATE_API_KEYS: KEY,
        KEY,
      };
      const shell = async (script: string): Promise<string> => (await run('/bin/bash', ['-ec', script], { cwd: root, env })).stdout;
      const databases = first
        .split('\n')
        .filter((line) => line.startsWith('export '))
        .join('\n');
      const exports = `${first}${second}`
        .split('\n')
        .filter((line) => line.startsWith('export '))
        .join('\n');

      expect(await shell(first)).toMatch(/^imported 1 tenants, .*; revision \d+-/m);
      const [inAndOut = '', ...further] = blocks(section('Data in and out'));
      expect(further).toEqual([]);
      const again = await shell(
        `${databases}\nexport ADMIN_DATABASE_URL=$OWNER_DATABASE_URL\n${inAndOut.replaceAll('backup.ndjson', `${directory}/backup.ndjson`)}`,
      );
      expect(again).toMatch(/^imported 1 tenants, .*\(0 new, 0 changed, \d+ as they were\).*; revision \d+-/m);
      const [serve = '', ...healthcheck] = second.split('\n').filter((line) => line.startsWith('npx '));
      await shell(
        second
          .split('\n')
          .filter((line) => /^(mkdir|openssl) /.test(line))
          .join('\n'),
      );
      const service = startChild('setsid', ['/bin/bash', '-ec', `${exports}\nexec ${serve}`], { cwd: root, env });
      children.push(service);
      let over = '';
      void service.ended.then((how) => (over = `ended: ${how}`));
      const said = (): string => `${service.stderr()}${over}`;
      await until(() => /"event":"attached"|^ended/m.test(said()), 'the service', 30_000).catch((error: unknown) =>
        Promise.reject(new Error(`${String(error)}\n${said()}`)),
      );
      expect(said()).not.toMatch(/^ended/m);
      await until(async () => (await cli(['healthcheck', '--set', `api.port=${apiPort}`])).code === 0, 'ready');
      expect(await shell(`${exports}\n${healthcheck.join('\n')}`)).toMatch(/^ready: \{"state":"following"/);

      const [application = '', nginx = '', key = '', curl = ''] = third.trim().split('\n');
      expect(exports).toContain(key);
      children.push(startChild('setsid', ['/bin/bash', '-ec', `exec ${application}`], { cwd: root, env }));
      await until(() => answers(applicationPort), 'the application');
      children.push(startChild('setsid', ['/bin/bash', '-ec', nginx.replace(' && nginx', ' && exec nginx')], { cwd: root, env }));
      await until(() => answers(nginxPort), `nginx: ${children.at(-1)!.stderr()}`);
      expect(await shell(`${exports}\n${curl}`)).toMatch(/^HTTP\/1\.1 200 [\s\S]*\nHello, olga\n$/);
      expect(await shell(`${exports}\n${curl.replace('--user olga', '--user mira')}`)).toMatch(/^HTTP\/1\.1 403 /);
      expect(await shell(curl.replace(/-H "[^"]*"/, ''))).toMatch(/^HTTP\/1\.1 401 /);

      const [question = '', receipts = '', ...others] = blocks(section('Asking without a proxy')).map(here);
      expect(others).toEqual([]);
      const decision = await shell(question);
      expect(decision).toMatch(/^HTTP\/1\.1 200 [\s\S]*"decision":true/);
      const revision = /^x-authz-revision: (\S+)/im.exec(decision)?.[1] ?? '';
      const [command = '', call = ''] = receipts.trim().split('\n');
      expect(await shell(`REVISION=${revision}\n${exports}\n${command}`)).toMatch(/^applied .* 1 sidecar\n/);
      expect(JSON.parse(await shell(`REVISION=${revision}\n${call}`))).toMatchObject({ revision, applied: true, replicas: [{ state: 'applied' }] });
    } finally {
      // As Ctrl-C does: npx passes no signal on.
      for (const child of children.reverse()) {
        process.kill(-child.pid, 'SIGINT');
        await child.ended;
      }
      await server.close();
      rmSync(directory, { recursive: true, force: true });
    }
  },
  120_000,
);

test('the example of the library decides, and has its receipt', async () => {
  const library = readFileSync(join(root, 'policy-cache/README.md'), 'utf8');
  const [, example = ''] = /```js\n([\s\S]*?)```/.exec(library) ?? [];
  const server = await startPostgres('embedded18');
  try {
    const database = await server.database();
    const world = JSON.stringify({
      tenants: [{ id: 't' }],
      groups: [{ id: 'readers', type: 'USER', owner: 't' }],
      users: [{ id: 'ada', owner: 't', groups: ['readers'] }],
      entities: [{ id: 'meter-7', type: 'DEVICE', owner: 't' }],
      roles: [{ id: 'reader', owner: 't', type: 'GENERIC', permissions: { DEVICE: ['READ'] } }],
      grants: [{ userGroup: 'readers', role: 'reader' }],
    });
    expect(await cli(['import', 'world.json'], { env: { DATABASE_URL: database.url }, files: { 'world.json': world } })).toMatchObject({ code: 0 });
    const env = { PATH: process.env['PATH'], DATABASE_URL: await database.urlAs('grantgate_reader') };
    const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', example], { cwd: root, env });
    expect(stdout).toMatch(/^true generic [0-9]+\napplied 1\n$/);
  } finally {
    await server.close();
  }
});

function answers(port: number): Promise<boolean> {
  return fetch(`http://127.0.0.1:${port}/`).then(
    () => true,
    () => false,
  );
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
