// Which commands are there, and what do they print, ask for and exit with?
//
// 0: allow, or done · 1: deny, or not so · 2: cannot decide, or bad input (a wrong flag too). Results on stdout, problems on
// stderr; with --json one JSON value each. What a command needs is loaded when it runs: the service does not wait for the demo, nor `generate` for the service.

import { Argument, Command, CommanderError, Option } from 'commander';
import { InputError, PolicyError } from 'policy-cache';
import { addAdministration } from './commands/administer-cli.ts';
import type { CheckQuestion } from './commands/check.ts';
import type { DemoOptions } from './commands/demo.ts';
import { PROXY_OPTIONS, type ProxyOptions } from './commands/doctor-options.ts';
import type { ExportFlags } from './commands/export.ts';
import type { GenerateOptions } from './commands/generate.ts';
import type { Context, ExitCode, Host } from './commands/host.ts';
import type { ImportFlags } from './commands/import.ts';
import type { TokenOptions } from './commands/token.ts';
import { ConfigError, loadConfig } from './config.ts';
import { VERSION } from './version.ts';

/** [measured] npm run bench:import: the p99 of checks beside it is 2.1 times the calm one; with 5,000 it is 2.9 times, for an eighth less time. */
const DEFAULT_BATCH_KEYS = 1_000;

const EXIT_CODES = `
Exit codes: 0 allow, or done; 1 deny, or not so; 2 cannot decide, or bad input.`;

const OF_EVERY_COMMAND: ReadonlySet<string> = new Set(['config', 'set', 'json']);

interface CommonOptions {
  readonly config?: string;
  readonly set?: readonly string[];
  readonly json?: true;
}

/** Runs one command line (without the program's own name). Never rejects. */
export async function runCli(args: readonly string[], host: Host): Promise<ExitCode> {
  let code: ExitCode = 0;
  const program = new Command('grantgate')
    .description('May this user do this operation on this thing? The check that a reverse proxy makes before every request.')
    .version(VERSION)
    .helpCommand(true)
    .addHelpText(
      'after',
      `${EXIT_CODES}
Settings come from a file, the environment (GRANTGATE_*, DATABASE_URL) and flags; the later wins, and grantgate config shows which.`,
    );

  const below = (parent: Command, name: string, description: string, examples: readonly string[]): Command => {
    const made = parent
      .command(name)
      .description(description)
      .option('--config <file>', 'configuration, YAML or JSON (GRANTGATE_CONFIG)')
      .addOption(
        new Option('--set <path=value>', 'one setting, instead of what file and environment say; may be repeated').argParser(
          (value: string, before: readonly string[] | undefined) => [...(before ?? []), value],
        ),
      )
      .option('--json', 'print JSON');
    return made.addHelpText('after', `\nExamples:\n${examples.map((example) => `  ${example}`).join('\n')}`);
  };
  const command = (name: string, description: string, examples: readonly string[]): Command => below(program, name, description, examples);
  const runs =
    <A extends readonly unknown[]>(run: (context: Context, ...given: A) => ExitCode | Promise<ExitCode>) =>
    async (...given: [...A, Command]): Promise<void> => {
      const { config: file, set = [], json } = (given.at(-1) as Command).opts<CommonOptions>();
      const context: Context = {
        host,
        json: json === true,
        config: (own) => loadConfig({ env: host.env, file, sets: set, readFile: host.readFile, ...own }),
      };
      try {
        code = await run(context, ...(given.slice(0, -1) as unknown as A));
      } catch (error) {
        code = 2;
        host.stderr.write(problemText(error, context.json));
      }
    };

  command('serve', 'Listen: the doors for proxies, the api listener for health and metrics', [
    'DATABASE_URL=postgres://grantgate@db/app grantgate serve --config /etc/grantgate.yaml',
    'grantgate serve --set doors.socket=/run/authz/http.sock --set doors.socketGroup=www-data',
  ]).action(runs(async (context) => (await import('./commands/serve.ts')).serveCommand(context)));

  command('demo', 'A database, a world and a service of its own, and lines to paste', ['grantgate demo', 'grantgate demo --once'])
    .option('--once', 'run the lines that it would print, show the answers, and end with 0 if they are right')
    .option('--directory <path>', 'where its database lives', '.grantgate')
    .option('--no-embedded', 'use the database of the settings (DATABASE_URL) instead; it must be empty, or hold the demo alone')
    .option('--sql <statement>', 'run one SQL statement in the database of the demo that is running')
    .action(runs(async (context, options: DemoOptions) => (await import('./commands/demo.ts')).demoCommand(context, options)));

  command('migrate', 'Bring the schema of the database to the version of this program', [
    'OWNER_DATABASE_URL=postgres://postgres@db/app grantgate migrate',
  ]).action(runs(async (context) => (await import('./commands/migrate.ts')).migrateCommand(context)));

  command('import', 'Load worlds (tenants, customers, users, roles, grants) into the database, whole or not at all', [
    'grantgate import world.yaml',
    'grantgate import part1.ndjson part2.ndjson',
    'grantgate export --tenant acme | grantgate import --mode upsert --batch -',
    'grantgate import --server https://authz.internal:9190 --token-file operator world.ndjson',
  ])
    .argument('<file...>', 'worlds: YAML, JSON, or NDJSON; - for standard input')
    .option('--mode <mode>', 'create: every id must be new; upsert: what is there is changed to what is given, what a row leaves out stays', 'create')
    .option('--batch', 'commit piece by piece and let the sidecars follow each, instead of one transaction: for an installation that is at work')
    .option('--batch-keys <n>', 'how many keys of the change log a batch may change: 10 to 50000', String(DEFAULT_BATCH_KEYS))
    .option('--unknown-names', 'take roles and types with names that the vocabulary has not (they match nothing), as an export may hold them')
    .option('--server <url>', 'over the api listener of a running service, which has the database; when left out, straight on the database')
    .option('--token-file <file>', "with --server: the operator's secret (client.token)")
    .action(runs(async (context, files: readonly string[], flags: ImportFlags) => (await import('./commands/import.ts')).importCommand(context, files, flags)));

  command('export', 'Write what is in the database as a world file, of one revision: all of it, a tenant, or a customer and what is below it', [
    'grantgate export > all.ndjson',
    'grantgate export --tenant acme --output acme.yaml',
    'grantgate export --customer tower | ADMIN_DATABASE_URL=… grantgate import -',
  ])
    .option('--tenant <id>', 'only what is of this tenant')
    .option('--customer <id>', 'only this customer, and whatever has an owner at or below it')
    .option('--format <format>', 'ndjson, yaml or json; when left out, as the file is called, else ndjson')
    .option('--output <file>', 'write this file instead of stdout; it is there when it is whole')
    .action(runs(async (context, flags: ExportFlags) => (await import('./commands/export.ts')).exportCommand(context, flags)));

  command('generate', 'A world of any size as NDJSON on stdout, for trials and benches: the same numbers and seed, the same bytes', [
    'grantgate generate > world.ndjson',
    'grantgate generate --customers 20000 --users 200000 --entities 1000000 --seed 1 > large.ndjson',
  ])
    .option('--tenants <n>', 'how many; one for every hundred customers when left out')
    .option('--customers <n>', 'in all, 1 to 50 deep', '100')
    .option('--users <n>', 'in all', '1000')
    .option('--entities <n>', 'in all, devices mostly', '10000')
    .option('--memberships <n>', 'of users in user groups; one and a half a user when left out')
    .option('--seed <n>', 'repeats a world; chosen by chance, and told, when left out')
    .option('--ids <kind>', 'names (device-000123), or uuid as ThingsBoard has them', 'names')
    .option('--quiet', 'no summary on stderr')
    .action(runs(async (context, options: GenerateOptions) => (await import('./commands/generate.ts')).generateCommand(context, options)));

  const doctor = command(
    'doctor',
    'What is wrong with the database, or with a proxy (--proxy), and what to do: 0 nothing, 1 problems, 2 not everything could be looked at',
    [
      'OWNER_DATABASE_URL=postgres://postgres@db/app grantgate doctor',
      'grantgate doctor --repair',
      'grantgate doctor --proxy https://api.example --path /api/device/d1 --token-file token.txt',
      'grantgate doctor --proxy http://127.0.0.1:8088 --door 127.0.0.1:9191 --application 127.0.0.1:8080   # in the place of both, in staging',
    ],
  ).option('--repair', 'the database: do what is safe: sequence, rights, triggers that are there; the rest is told');
  for (const [flags, description] of PROXY_OPTIONS) doctor.option(flags, description);
  doctor.action(
    runs(async (context, { repair, proxy, ...options }: { readonly repair?: boolean } & Partial<ProxyOptions>) => {
      if (proxy !== undefined && repair === true) throw new InputError('--repair', 'is of the database; a proxy is mended by whoever runs it');
      if (proxy !== undefined) return (await import('./commands/doctor-proxy.ts')).doctorProxyCommand(context, { ...options, proxy });
      const [stray] = Object.keys(options).filter((name) => doctor.getOptionValueSource(name) === 'cli' && !OF_EVERY_COMMAND.has(name));
      if (stray !== undefined)
        throw new InputError('--proxy', `must be said: ${doctor.options.find((option) => option.attributeName() === stray)?.long} is of a proxy`);
      return (await import('./commands/doctor.ts')).doctorCommand(context, { repair: repair === true });
    }),
  );

  command('trim', 'Take old versions out of the change log (a service that follows it does so about once an hour)', [
    'grantgate trim',
    'grantgate trim --keep 168h',
  ])
    .option('--keep <time>', 'how far back the log is to reach: 90m, 24h; an hour at least (database.keepChanges)')
    .action(runs(async (context, options: { readonly keep?: string }) => (await import('./commands/trim.ts')).trimCommand(context, options)));

  command('check', 'May this user do this? Decided in this process, against the database or over world files', [
    'grantgate check --user ada --operation READ --resource DEVICE --target meter-7',
    "grantgate check --user ada --operation CREATE --resource DEVICE --target '*' --owner tower",
    'grantgate check --world worlds/*.yaml',
  ])
    .option('--user <id>', 'who asks')
    .option('--operation <name>', 'READ, WRITE, …')
    .option('--resource <name>', 'DEVICE, ASSET, …')
    .option('--target <id>', "on what; '*' for any of the resource, and for CREATE")
    .option('--owner <id>', "CREATE: owner of the new thing; the user's own owner when left out")
    .option('--group <id...>', 'CREATE: groups that it is put into')
    .option('--world <file...>', 'run the checks that these files hold, without a database')
    .action(
      runs(async (context, options: { world?: readonly string[] } & Partial<CheckQuestion>) => {
        const { world, user, operation, resource } = options;
        if (world) {
          const asked = (['user', 'operation', 'resource', 'target', 'owner', 'group'] as const).filter((name) => options[name] !== undefined);
          if (asked.length > 0) throw new InputError('--world', `runs the checks in the files; leave ${asked.map((name) => `--${name}`).join(', ')} out`);
          return (await import('./commands/check-worlds.ts')).checkWorldsCommand(context, world);
        }
        const missing = (['user', 'operation', 'resource', 'target'] as const).filter((name) => options[name] === undefined).map((name) => `--${name}`);
        if (user === undefined || operation === undefined || resource === undefined || missing.length > 0) {
          throw new InputError(missing.join(', '), "must be said (--target '*' means any of the resource); or name files with --world");
        }
        return (await import('./commands/check.ts')).checkCommand(context, { ...options, user, operation, resource });
      }),
    );

  command('barrier', 'Wait until no sidecar answers from before a revision, and say where each one is', [
    'grantgate barrier 4711-0d9f5c1e-7a0b-4c7e-9f51-6f1f0c1d2e3f',
    'grantgate barrier --timeout 10s "$(psql -Atc \'select grantgate.revision()\')"',
  ])
    .argument('<revision>', 'as a write returned it')
    .option('--timeout <time>', 'give up after this: 500ms, 10s, 1m', '30s')
    .action(
      runs(async (context, revision: string, options: { readonly timeout: string }) =>
        (await import('./commands/barrier.ts')).barrierCommand(context, revision, options),
      ),
    );

  command('token', "Sign an access token for a user with ThingsBoard's signing key", [
    'grantgate token --user ada --ttl 15m',
    'curl -H "Authorization: Bearer $(grantgate token --user ada)" …',
  ])
    .requiredOption('--user <id>', 'whose token')
    .option('--scope <scope>', 'TENANT_ADMIN or CUSTOMER_USER (SYS_ADMIN and REFRESH_TOKEN to see them refused)', 'CUSTOMER_USER')
    .option('--ttl <time>', 'how long it is good: 90s, 15m, 2h, 7d', '15m')
    .action(runs(async (context, options: TokenOptions) => (await import('./commands/token.ts')).tokenCommand(context, options)));

  command('config', 'Print every setting, its value and where it comes from; secrets blacked out', [
    'grantgate config',
    'grantgate config --json',
    'GRANTGATE_DOORS_PORT=9000 grantgate config',
  ]).action(runs(async (context) => (await import('./commands/config.ts')).configCommand(context)));

  addAdministration(program, { command: below, runs });

  command('completion', 'Completion for a shell, to be sourced', ['source <(grantgate completion bash)'])
    .addArgument(new Argument('<shell>', 'whose').choices(['bash', 'zsh', 'fish']))
    .action(runs(async (context, shell: string) => (await import('./commands/completion.ts')).completionCommand(context, { shell, program })));

  command('healthcheck', 'Is the service of this configuration ready?', ['grantgate healthcheck', 'HEALTHCHECK CMD ["grantgate", "healthcheck"]']).action(
    runs(async (context) => (await import('./commands/healthcheck.ts')).healthcheckCommand(context)),
  );

  for (const each of [program, ...program.commands, ...program.commands.flatMap(({ commands }) => commands)]) {
    each
      .exitOverride()
      .configureOutput({ writeOut: (text) => void host.stdout.write(text), writeErr: (text) => void host.stderr.write(text) })
      .showHelpAfterError('(--help shows what there is)');
  }
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? 0 : 2; // commander's own 1 would say "deny"
  }
  return code;
}

/** What a person is told of a failure: no stack, and of the values no more than the error itself says. */
function problemText(error: unknown, json: boolean): string {
  const expected = error instanceof ConfigError || error instanceof InputError || error instanceof PolicyError;
  const message = error instanceof Error ? error.message : String(error);
  if (json) {
    const code = error instanceof PolicyError ? error.code : expected ? 'input' : 'failed';
    return `${JSON.stringify({ error: { code, message, ...(error instanceof ConfigError ? { problems: error.problems } : {}) } })}\n`;
  }
  return `grantgate: ${error instanceof PolicyError ? `cannot decide (${error.code}): ` : ''}${message}\n`;
}
