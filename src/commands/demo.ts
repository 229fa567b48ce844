// `grantgate demo`: what does all this look like, without anything of one's own?
//
// A database of its own below `.grantgate`, a smart-building world in it, the service on this machine, and lines to paste, one of
// them a revocation that flips an answer. Nothing is left running when it ends, however it ends.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { InputError } from 'policy-cache';
import type { Config } from '../config.ts';
import { ownDirectory, startEmbedded, type EmbeddedPostgres } from '../embedded.ts';
import { signToken } from '../issuers/thingsboard.ts';
import { createLog, type Log } from '../log.ts';
import { loadVocabulary } from '../policy.ts';
import { startService, type Service } from '../service.ts';
import { asksForTraces } from '../traces-asked.ts';
import { VERSION } from '../version.ts';
import { prepareDatabase, runStatement, type DemoWorld } from './demo-database.ts';
import { STEPS, USERS, lineOf, quoted, type DemoStep, type LineParts } from './demo-lines.ts';
import type { Context, ExitCode } from './host.ts';
import { firstSignal } from './serve.ts';

export interface DemoOptions {
  readonly once?: true;
  readonly directory: string;
  readonly embedded: boolean;
  readonly sql?: string;
}

const TENANT = 'northwind';
const TOKEN_LIFETIME_S = 8 * 3600;
const READY_LIMIT_MS = 15_000;
/** Where another process listens on the usual ones, a second demo's among them. */
const FREE_PORTS = { 'doors.port': '0', 'api.port': '0' };
/** Any URL: settings are judged before there is a database to name. */
const NO_DATABASE = 'postgres://demo@127.0.0.1/demo';

/** Where a running demo is found by `--sql`. */
interface Running {
  readonly url: string;
}

export async function demoCommand(context: Context, options: DemoOptions): Promise<ExitCode> {
  const home = resolve(options.directory);
  if (options.sql !== undefined) return sqlCommand(context, home, options.sql);
  const { host } = context;
  const key = await signingKey(home);
  const presets = {
    'identity.thingsboard.signingKey': key,
    'grpc.port': 'none',
    'shutdown.delay': '0',
    'doors.deadline': '2s',
    'log.level': 'warn',
    'log.allowSample': '1',
  };
  const configured = (url: string | null, ports: Readonly<Record<string, string>> = {}): Config['settings'] =>
    context.config({ presets: { ...presets, ...ports }, ...(url === null ? {} : { overrides: { 'database.url': url } }) }).settings;
  configured(options.embedded ? NO_DATABASE : null);

  const log = createLog({ level: 'warn', write: (line) => host.stderr.write(line), wall: host.wall });
  const stopping = stopWish(context, log);
  const note = join(home, 'demo.json');
  let noted = false;
  let server: EmbeddedPostgres | null = null;
  let service: Service | null = null;
  try {
    if (options.embedded) server = await startEmbedded(home);
    const url = server?.url ?? ownUrl(configured(null));
    const vocabulary = loadVocabulary({ vocabulary: configured(url).vocabulary.file, readFile: host.readFile });
    const reader = await prepareDatabase(url, { world: demoWorld(host.readFile), vocabulary, readFile: host.readFile });
    const settings = configured(reader);
    await writeFile(note, JSON.stringify({ url } satisfies Running), { mode: 0o600 });
    noted = true;

    const decisions: string[] = [];
    const stdout = options.once
      ? {
          write: (text: string, done: () => void): void => {
            decisions.push(text);
            done();
          },
        }
      : { write: (text: string, done: (problem?: Error | null) => void): void => void host.stdout.write(text, done) };
    const begin = (of: Config['settings']): Promise<Service> =>
      startService({
        settings: of,
        log,
        version: VERSION,
        readFile: host.readFile,
        stdout,
        wall: host.wall,
        random: host.random,
        uuid: host.uuid,
        hostname: host.hostname(),
        traces: asksForTraces(host.env),
      });
    service = await begin(settings).catch((error: unknown) => {
      if (!(error instanceof InputError) || !(error.field in FREE_PORTS)) throw error;
      return begin(configured(reader, FREE_PORTS)); // ports that somebody asked for stay, and are refused once more
    });
    await Promise.race([service.ready(READY_LIMIT_MS), stopping.wish]);

    const parts: LineParts = { doors: `http://${service.doors[0]!}`, tokens: await tokens(context, settings), command: demoCommandLine(options) };
    if (stopping.wished()) return 0;
    if (options.once) return await runOnce(context, parts, decisions);
    introduce(context, { parts, service });
    const ended = await Promise.race([stopping.wish, ...(server ? [server.ended.then((words) => `the database ended: ${words}`)] : [])]);
    host.stderr.write(`\n${ended}: ending\n`);
    return stopping.wished() ? 0 : 2;
  } catch (error) {
    if (stopping.wished()) return 0; // a Ctrl-C reaches what is being started, too
    throw error;
  } finally {
    stopping.forget();
    if (noted) await rm(note, { force: true }); // else it is that of the demo which has the directory
    await service?.stop();
    await server?.stop();
  }
}

/** Signals, and the end of whoever started us: npm's shell may die without telling. */
function stopWish({ host }: Context, log: Log): { wish: Promise<string>; wished(): boolean; forget(): void } {
  const parent = process.ppid;
  let wished = false;
  let watch: NodeJS.Timeout | undefined;
  const orphaned = new Promise<string>((settle) => {
    watch = setInterval(() => {
      if (process.ppid !== parent) settle('whoever started the demo is gone');
    }, 250);
    watch.unref();
  });
  const wish = Promise.race([firstSignal(host, log), orphaned]);
  void wish.then(() => (wished = true));
  return { wish, wished: () => wished, forget: () => clearInterval(watch) };
}

function demoWorld(read: (path: string) => string): DemoWorld {
  const file = fileURLToPath(new URL('../../deploy/demo/smart-building.yaml', import.meta.url));
  return { file, text: read(file), tenant: TENANT };
}

function ownUrl({ database }: Config['settings']): string {
  const url = database.ownerUrl ?? database.adminUrl ?? database.url;
  if (url === undefined) throw new InputError('database.url', 'is not set, and --no-embedded leaves no other database');
  return url;
}

/** Kept, so that lines of an earlier demo still work in a later one. */
async function signingKey(home: string): Promise<string> {
  const file = join(home, 'demo.key');
  const made = randomBytes(64).toString('base64');
  try {
    await ownDirectory(home);
    await writeFile(file, made, { mode: 0o600, flag: 'wx' });
    return made;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return (await readKey(file)).trim();
    throw unusable(home, error);
  }
}

function readKey(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((error: unknown) => Promise.reject(unusable(dirname(file), error)));
}

function unusable(home: string, error: unknown): InputError {
  return new InputError(
    '--directory',
    `${home} cannot be used (${error instanceof Error ? error.message : String(error)}); name one that is yours to write to`,
  );
}

async function tokens(context: Context, settings: Config['settings']): Promise<ReadonlyMap<string, string>> {
  const { signingKey: keys = [], issuer } = settings.identity.thingsboard;
  const issuedAt = Math.floor(context.host.wall() / 1000);
  return new Map(
    await Promise.all(
      USERS.map(
        async ({ id, scope }) =>
          [id, await signToken(keys[0]!, { userId: id, scope, issuedAt, lifetime: TOKEN_LIFETIME_S, ...(issuer === undefined ? {} : { issuer }) })] as const,
      ),
    ),
  );
}

/** How this program is called from here. */
function demoCommandLine({ directory }: DemoOptions): string {
  const script = relative(process.cwd(), fileURLToPath(new URL('../main.js', import.meta.url)));
  return ['node', quoted(script), 'demo', ...(directory === '.grantgate' ? [] : ['--directory', quoted(directory)])].join(' ');
}

function introduce({ host }: Context, { parts, service }: { parts: LineParts; service: Service }): void {
  const say = (text: string): unknown => host.stdout.write(`${text}\n`);
  say(`\nDoors on ${parts.doors}, health and metrics on http://${service.api} (/readyz, /metrics). The world: deploy/demo/smart-building.yaml\n`);
  say('Tokens, good for 8 hours:\n');
  for (const { id, who } of USERS) say(`  ${id}, who ${who}\n  ${parts.tokens.get(id) ?? ''}\n`);
  say('Lines to paste into another terminal, in this directory:');
  for (const step of STEPS) say(`\n# ${title(step)}\n${lineOf(step, parts)}`);
  say('\nCtrl-C ends all of it; the next start has the grant again. Every decision is logged below.\n');
}

function title(step: DemoStep): string {
  return step.kind === 'sql' ? step.text : `${step.text}: ${step.expect}`;
}

/** Runs the lines that `introduce` would print. */
async function runOnce(context: Context, parts: LineParts, decisions: readonly string[]): Promise<ExitCode> {
  const { host, json } = context;
  const results: { step: string; expected: string; got: string; why: string; right: boolean }[] = [];
  for (const step of STEPS) {
    const before = decisions.length;
    const { code, text } = await shell(lineOf(step, parts));
    const got =
      step.kind === 'sql'
        ? code === 0
          ? text.trim()
          : `exit ${code}: ${text.trim()}`
        : (/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? `exit ${code}: ${text.trim()}`);
    const right = step.kind === 'sql' ? got.startsWith('DELETE 1 ') : got === String(step.expect);
    const logged = decisions.slice(before).join('').trim().split('\n').at(-1);
    const decision = logged ? (JSON.parse(logged) as { decision: string; reason: string; rule: string }) : null;
    const why = decision === null ? '' : [decision.decision, decision.reason, ...(decision.rule ? [`rule ${decision.rule}`] : [])].join(', ');
    results.push({ step: step.text, expected: step.kind === 'sql' ? 'DELETE 1' : String(step.expect), got, why, right });
    if (!json)
      host.stdout.write(
        `${right ? 'ok   ' : 'WRONG'} ${step.kind === 'sql' ? `${step.text}: ${got}` : `${got} ${step.text}${why === '' ? '' : `  (${why})`}`}\n`,
      );
  }
  const wrong = results.filter(({ right }) => !right).length;
  host.stdout.write(json ? `${JSON.stringify({ wrong, results })}\n` : `${results.length} lines run, ${wrong} wrong\n`);
  return wrong === 0 ? 0 : 1;
}

async function shell(line: string): Promise<{ code: number; text: string }> {
  const child = spawn('/bin/sh', ['-c', line], { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code: code ?? -1, text };
}

async function sqlCommand(context: Context, home: string, statement: string): Promise<ExitCode> {
  let running: Running;
  try {
    running = JSON.parse(await readFile(join(home, 'demo.json'), 'utf8')) as Running;
  } catch {
    throw new InputError('--sql', `no demo is running in ${home}; start one, or name its directory with --directory`);
  }
  const { command, count, rows, revision } = await runStatement(running.url, statement);
  if (context.json) context.host.stdout.write(`${JSON.stringify({ command, count, rows, revision })}\n`);
  else {
    for (const row of rows) context.host.stdout.write(`${JSON.stringify(row)}\n`);
    context.host.stdout.write(`${command} ${count} at revision ${revision}\n`);
  }
  return 0;
}
