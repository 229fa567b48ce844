// Which commands are there for the administration, one thing at a time or a whole file?

import { Option, type Command } from 'commander';
import { FIELDS, FILTERS, KINDS, type Kind } from './administer-fields.ts';
import type { Verb, VerbOptions } from './administer.ts';
import type { ApplyFlags } from './apply.ts';
import type { AuditFlags } from './audit.ts';
import type { BootstrapOptions } from './bootstrap.ts';
import type { Context, ExitCode } from './host.ts';
import type { LoginFlags } from './login.ts';

export interface Registering {
  /** A command with the options of every command, below `parent`. */
  readonly command: (parent: Command, name: string, description: string, examples: readonly string[]) => Command;
  readonly runs: <A extends readonly unknown[]>(
    run: (context: Context, ...given: A) => ExitCode | Promise<ExitCode>,
  ) => (...given: [...A, Command]) => Promise<void>;
}

const repeated = (value: string, before: readonly string[] | undefined): readonly string[] => [...(before ?? []), value];

function asked(command: Command): Command {
  return command
    .option('--server <url>', 'the api listener of a running service (client.server)')
    .option('--token-file <file>', "who asks: a user's token, or the operator's secret (client.token)")
    .addOption(
      new Option('--direct', 'no service and no token: straight on the database, in any tenant (ADMIN_DATABASE_URL)').conflicts(['server', 'tokenFile']),
    );
}

function fields(command: Command, kind: Kind, change: boolean): Command {
  for (const { option, description, many, once, clears } of FIELDS[kind]) {
    if (change && once) continue;
    if (many) command.addOption(new Option(option, description).argParser(repeated));
    else command.option(option, change && clears ? `${description}; '' takes it away` : description);
  }
  return command;
}

const EXAMPLES: Readonly<Record<Kind, readonly string[]>> = {
  tenant: ['grantgate tenant create acme --name Acme', 'grantgate tenant administrator acme ada --email ada@acme.example'],
  customer: ['grantgate customer create tower --title Tower', 'grantgate customer move tower --owner north'],
  user: ['grantgate user create bob --owner tower --group users:tower', 'grantgate user update bob ben --enabled false'],
  group: [
    'grantgate group create meters --type DEVICE --owner tower',
    'grantgate group add meters m1 m2',
    'grantgate group share meters --user-group night --role look',
  ],
  role: ["grantgate role create look --type GROUP --permissions '[READ, READ_TELEMETRY]'"],
  grant: ['grantgate grant create --user-group night --role look --entity-group meters'],
  entity: ['grantgate entity create m1 --type DEVICE --group meters', 'grantgate entity list --q m', 'grantgate entity move m1 m2 --owner tower'],
};

export function addAdministration(program: Command, { command, runs }: Registering): void {
  for (const kind of KINDS) {
    const parent = program
      .command(kind)
      .description(`The ${kind === 'entity' ? 'entities' : `${kind}s`} of a running service, or straight of the database: ${verbsOf(kind).join(', ')}`);
    const verb = (name: Verb, usage: string, description: string): Command =>
      asked(command(parent, `${name}${usage}`, description, EXAMPLES[kind])).action(
        runs(async (context, ...given: readonly unknown[]) => {
          const options = given.at(-1) as VerbOptions;
          const ids = given
            .slice(0, -1)
            .flat()
            .filter((id) => typeof id === 'string');
          return (await import('./administer.ts')).administerCommand(context, { kind, verb: name, ids, options });
        }),
      );
    const list = verb('list', '', 'Everything that you may read');
    for (const { option, description, many } of FILTERS[kind])
      list.addOption(many ? new Option(option, description).argParser((id) => [id]) : new Option(option, description));
    verb('get', ' <id>', 'As it is stored');
    fields(verb('create', ' [id]', 'Make one; an id is made when left out'), kind, false);
    fields(
      kind === 'tenant' ? verb('update', ' <id>', 'Change what is said') : verb('update', ' <id...>', 'Change what is said, of all that are named or of none'),
      kind,
      true,
    ).option('--if-match <tag>', 'only if it has this ETag');
    verb('delete', ' <id>', 'Remove it').option('--if-match <tag>', 'only if it has this ETag');
    if (kind === 'customer' || kind === 'user' || kind === 'entity')
      verb('move', ' <id...>', 'Give it to another owner; it leaves its groups. Several: all of them, or none')
        .requiredOption('--owner <id>', 'a tenant or a customer')
        .addOption(new Option('--group <id>', 'of the new owner, that it enters; may be repeated').argParser(repeated))
        .option('--if-match <tag>', 'only if it has this ETag');
    if (kind === 'user') {
      verb('key', ' <id>', 'Make an API key; it is shown here, and never again')
        .option('--name <text>', 'what it is for')
        .option('--ttl <time>', 'how long it is good: 90s, 15m, 2h, 7d', '90d');
      verb('keys', ' <id>', 'What is known of its API keys');
      verb('unkey', ' <id> <key>', 'End an API key, by its id');
      verb('activate', ' <id>', 'Make a link by which it sets its password, once (where identity.local is enabled)').option('--mail', 'mail it to the user');
      verb('login-as', ' <id>', 'Log in as this user: prints a token (where identity.local is enabled)').option(
        '--ttl <time>',
        'how long it is good, 15m at most',
        '15m',
      );
      verb('sessions', ' <id>', 'Where it is logged in');
      verb('end-session', ' <id> [session]', 'Log it out: of this session, or of all');
    }
    if (kind === 'group') {
      verb('add', ' <id> <member...>', 'Put members in');
      verb('remove', ' <id> <member...>', 'Take members out');
      verb('share', ' <id>', 'Share it with the users of a group, of whatever owner of the tenant')
        .requiredOption('--user-group <id>', 'with whom')
        .requiredOption('--role <id>', 'what they may: a GROUP role');
    }
    if (kind === 'tenant') {
      fields(verb('administrator', ' <id> [user]', 'Make its first administrator (operator)'), 'user', true).option(
        '--activation',
        'make a link, too, by which it sets its password',
      );
      verb('activate', ' <id> <user>', 'Make another link for its first administrator, while nobody has been at work there (operator)');
    }
  }

  const whole = (made: Command): Command =>
    asked(made)
      .addOption(new Option('-f, --file <file>', 'a world: YAML, JSON or NDJSON; may be repeated').argParser(repeated).makeOptionMandatory())
      .option('--prune', 'what is there of the owners that the file names, and not in it, is removed');
  whole(
    command(program, 'diff', 'What apply would do: 0 nothing, 1 something', [
      'grantgate diff -f world.yaml',
      'grantgate diff -f world.yaml --prune --json',
      'grantgate diff -f world.yaml --direct',
    ]),
  ).action(runs(async (context, flags: ApplyFlags) => (await import('./apply.ts')).diffCommand(context, flags)));
  whole(
    command(program, 'apply', 'Make what is there what the file says; the plan is shown first, and asked about', [
      'grantgate apply -f world.yaml',
      'grantgate apply -f world.yaml --prune --yes',
    ]),
  )
    .option('--yes', 'do not ask')
    .action(runs(async (context, flags: ApplyFlags) => (await import('./apply.ts')).applyCommand(context, flags)));

  asked(
    command(program, 'audit', 'Who changed what, as whom, and when: the newest first, of what you may read', [
      'grantgate audit --about bob --from 1d',
      'grantgate audit --acting --limit 10',
      'grantgate audit --action user.delete --from 2026-01-01 --to 2026-02-01 --json',
      'grantgate audit --direct --tenant acme --follow',
    ]),
  )
    .option('--about <id>', 'done to it, by it or as it; of a user also what groups it came into and left')
    .option('--target <id>', 'done to it')
    .option('--actor <id>', 'done by this user')
    .option('--as <id>', 'done as this user, by whomever')
    .option('--acting', 'done by somebody who had logged in as another')
    .option('--action <name>', 'as user.create, group.members, entity.owner')
    .option('--revision <revision>', 'what made this revision')
    .option('--from <time>', 'at or after: 2026-01-31T12:00:00Z, a day (2026-01-31, UTC), or so long ago: 90s, 15m, 2h, 7d')
    .option('--to <time>', 'before, likewise')
    .option('--limit <n>', 'how many at the most', '50')
    .option('--follow', 'the oldest of these first, and then what comes, until it is ended')
    .option('--tenant <id>', 'with --direct: of this tenant alone')
    .action(runs(async (context, flags: AuditFlags) => (await import('./audit.ts')).auditCommand(context, flags)));

  command(program, 'login', 'Log in by e-mail and password (identity.local), and print the token; the password is typed, or comes by standard input', [
    'export GRANTGATE_CLIENT_TOKEN=$(grantgate login --email ada@acme.example)',
    'grantgate login --email ada@acme.example --json < password.txt',
  ])
    .requiredOption('--email <address>', 'who')
    .option('--server <url>', 'the api listener of a running service (client.server)')
    .action(runs(async (context, flags: LoginFlags) => (await import('./login.ts')).loginCommand(context, flags)));

  command(program, 'bootstrap', 'A tenant and its first administrator, straight in the database (ADMIN_DATABASE_URL)', [
    'grantgate bootstrap --tenant acme --user ada --email ada@acme.example',
  ])
    .requiredOption('--tenant <id>', 'made if it is not there')
    .requiredOption('--user <id>', 'the first administrator; refused if there is one')
    .option('--name <text>', 'of the tenant')
    .option('--email <address>', 'of the user')
    .option('--activation', 'make a link by which the user sets its password (identity.local)')
    .action(runs(async (context, options: BootstrapOptions) => (await import('./bootstrap.ts')).bootstrapCommand(context, options)));
}

const MORE: Readonly<Record<Kind, readonly string[]>> = {
  tenant: ['administrator', 'activate'],
  customer: ['move'],
  user: ['move', 'key', 'keys', 'unkey', 'activate', 'login-as', 'sessions', 'end-session'],
  group: ['add', 'remove', 'share'],
  role: [],
  grant: [],
  entity: ['move'],
};

function verbsOf(kind: Kind): readonly string[] {
  return ['list', 'get', 'create', 'update', 'delete', ...MORE[kind]];
}
