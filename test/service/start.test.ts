// What does the service load before it listens? What it does not need yet costs a start all the same: 600 modules instead of 300 were half of the time to
// ready. No clock is asked here: a list of modules does not depend on who else uses the machine (`npm run bench:scale` measures).

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startChild } from '../support/child.ts';
import { loadedModules } from '../support/modules.ts';
import { SIGNING_KEY } from '../support/sidecar.ts';
import { until } from '../support/until.ts';

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
let directory = '';
beforeAll(async () => void (directory = await mkdtemp(join(tmpdir(), 'grantgate-start-'))));
afterAll(() => rm(directory, { recursive: true }));

interface Loaded {
  readonly packages: ReadonlySet<string>;
  /** Of ours, below src. */
  readonly files: ReadonlySet<string>;
}

/** What a service without a database has loaded when it has listened, been asked and stopped: V8 lists every script at the end. */
async function loaded(name: string, args: readonly string[], asked: readonly string[]): Promise<Loaded> {
  const coverage = join(directory, name);
  const set = ['doors.port=0', 'grpc.port=0', 'api.port=0', 'shutdown.delay=0'].flatMap((setting) => ['--set', setting]);
  const child = startChild(process.execPath, [main, 'serve', ...set, ...args], {
    env: { NODE_V8_COVERAGE: coverage, DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none', GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY: SIGNING_KEY },
  });
  const api = (): string | undefined => /api on (127\.0\.0\.1:\d+)/.exec(child.stderr())?.[1];
  await until(() => api() !== undefined, 'the line that says where it listens', 20_000);
  for (const path of asked) expect((await fetch(`http://${api()}${path}`)).status, path).toBe(200);
  await child.stop();
  expect(await child.ended).toBe('exit 0');
  const modules = loadedModules(coverage);
  const parts = (pattern: RegExp): ReadonlySet<string> => new Set(modules.flatMap((path) => pattern.exec(path)?.[1] ?? []));
  return { packages: parts(/\/node_modules\/((?:@[^/]+\/)?[^/]+)\//), files: parts(/^(?:(?!\/node_modules\/|\/policy-cache\/).)*\/src\/(.+)\.ts$/) };
}

test('of packages, those that answer checks; of our own, no other command, no parser and, where metrics are off, none of their exposition', async () => {
  const { packages, files } = await loaded('plain', ['--set', 'api.metrics=false'], ['/livez']);
  expect([...packages].toSorted()).toEqual(['@hono/node-server', 'commander', 'hono', 'jose', 'lru-cache', 'postgres', 'zod']);
  expect([...files].filter((file) => file.startsWith('commands/')).toSorted()).toEqual([
    'commands/administer-cli',
    'commands/administer-fields',
    'commands/doctor-options',
    'commands/serve',
  ]);
  expect([...files].filter((file) => /^(?:generate|proxydoctor)\/|embedded|import|worlds|exposition|traces$/.test(file))).toEqual(['proxydoctor/mends']);
});

test('a file of settings loads its parser, metrics what shows them', async () => {
  const file = join(directory, 'grantgate.yaml');
  await writeFile(file, 'log:\n  level: info\n');
  const { packages, files } = await loaded('asked', ['--config', file], ['/metrics']);
  expect(packages).toContain('yaml');
  expect(packages).toContain('@opentelemetry/sdk-metrics');
  expect(files).toContain('exposition');
});

test('where there is something to administer, its program; what hashes passwords only where users log in here', async () => {
  const adminUrl = ['--set', 'database.adminUrl=postgres://nobody@127.0.0.1:1/none'];
  const off = await loaded('administered', adminUrl, ['/livez']);
  expect(off.files).toContain('api/admin/app');
  expect([...off.files].filter((file) => file.startsWith('api/local/'))).toEqual([]);
  expect([...off.packages].filter((name) => name.startsWith('@node-rs/'))).toEqual([]);
  const on = await loaded('log-in', [...adminUrl, '--set', 'identity.local.enabled=true'], ['/livez']);
  expect(on.files).toContain('api/local/login');
  expect(on.packages).toContain('@node-rs/argon2');
  expect(on.packages).not.toContain('nodemailer');
  // What judges a password is loaded when the first one is chosen.
  expect([...on.packages].filter((name) => name.startsWith('@zxcvbn-ts/'))).toEqual([]);
  const local = ['enabled=true', 'linkUrl=https://a.example/v1/auth/set-password', 'mail.url=smtp://mail.example', 'mail.from=access@example.org'];
  const mailing = await loaded('mail', [...adminUrl, ...local.flatMap((setting) => ['--set', `identity.local.${setting}`])], ['/v1/auth/set-password']);
  expect(mailing.files).toContain('api/local/mail');
  expect(mailing.packages).toContain('nodemailer');
});
