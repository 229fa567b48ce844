// Which settings are there, what do they mean, and which values are good?
//
// One schema: `config.ts` reads it, `grantgate config` prints by it, the README's table is made from it. Every leaf takes its
// value as YAML has it or as text, so that a file, an environment variable and a flag mean the same. A choice that gives up
// safety has a name that starts with `insecure`.

import { InputError } from 'policy-cache';
import { z } from 'zod';
import { parseSigningKey } from './issuers/thingsboard.ts';
import { duration, flag, integer, list, notes, port, share, split, text, type SettingNote } from './setting-kinds.ts';
import { oidcIssuers, subjectHeader } from './settings-identity.ts';
import { local } from './settings-local.ts';

const KEYS = 'must be a base64 key, or a list of them';
// base64 and openssl break their lines.
const joined = (value: unknown): unknown => (typeof value === 'string' ? value.replace(/\s*\n\s*/g, '') : value);
const signingKeys = z
  .preprocess((value) => split(Array.isArray(value) ? value.map(joined) : joined(value)), z.array(z.string(KEYS), KEYS).min(1, KEYS))
  .superRefine((keys, context) => {
    for (const key of keys) {
      try {
        parseSigningKey(key, '');
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        context.addIssue({ code: 'custom', message: error.message.replace(/^: /, '') });
      }
    }
  });
// The characters of a bearer token (RFC 6750): none of them separates two keys, so a file may have one a line.
const API_KEYS = 'must be keys of at least 32 characters each, of letters, digits and -._~+/=';
const apiKeys = z.preprocess(
  (value) => (typeof value === 'string' ? value.split(/[\s,]+/).filter((key) => key !== '') : value),
  z.array(z.string(API_KEYS).regex(/^[A-Za-z0-9._~+/=-]{32,}$/, API_KEYS), API_KEYS).min(1, API_KEYS),
);
const databaseUrl = z.string().regex(/^postgres(ql)?:\/\/./, 'must be postgres://user:password@host:port/database');

/** The schema. Times are milliseconds once read. */
export const settings = z.strictObject({
  doors: z
    .strictObject({
      host: text.default('127.0.0.1').register(notes, { description: 'Address of the doors (the listener that proxies ask).' }),
      port: port.default(9191).register(notes, { description: 'Port of the doors; `0` takes any free one, `none` leaves the socket alone.' }),
      socket: text.optional().register(notes, { description: 'Unix socket of the doors, beside or instead of the port. Its mode is 0660.' }),
      socketGroup: text.optional().register(notes, { description: 'Group (name or number) that may connect to the socket.' }),
      identity: z.enum(['token', 'header'], 'must be token or header').default('token').register(notes, {
        description: 'Who says who asks: a `token` of the client, or the proxy in the header `doors.subjectHeader`; then no token is read.',
      }),
      subjectHeader: subjectHeader.optional().register(notes, {
        description: 'That header. The proxy must overwrite it in every request: whoever can set it can be anybody.',
      }),
      insecurePublicListen: flag
        .default(false)
        .register(notes, { description: 'Let the doors listen on an address that is not loopback. Whoever reaches a door can ask it anything.' }),
      insecureWorldWritableSocket: flag
        .default(false)
        .register(notes, { description: 'Give the socket mode 0666, in a directory that may be open to all: every local user may ask.' }),
      takeOver: flag.default(false).register(notes, {
        description: 'Take the socket from another process that listens on it, once this one is ready: for a restart with no refused connection.',
      }),
      deadline: duration(1, 60_000).default(100).register(notes, { description: 'Time a check may take before it is answered with 503.', time: true }),
      atLeast: flag.default(false).register(notes, {
        description:
          'Read `X-Authz-At-Least` of clients, where the proxy passes it on: answered at that revision or later, or 503. Off, it is ignored: any client could make each of its checks wait for the database.',
      }),
    })
    .prefault({}),
  grpc: z
    .strictObject({
      host: text.default('127.0.0.1').register(notes, { description: "Address of the gRPC door (Envoy's `ext_authz`)." }),
      port: port.default(9192).register(notes, {
        description: 'Port of the gRPC door; `0` takes any free one, `none` leaves the socket alone, or no gRPC door where there is none.',
      }),
      socket: text.optional().register(notes, { description: 'Unix socket of the gRPC door, beside or instead of the port. Its mode is 0660.' }),
      socketGroup: text.optional().register(notes, { description: 'Group (name or number) that may connect to that socket.' }),
      identity: z.enum(['token', 'principal', 'header'], 'must be token, principal or header').default('token').register(notes, {
        description:
          'Who says who asks: a `token` of the client, the client certificate that Envoy verified (`principal`: its URI, DNS name or subject), or the header `grpc.subjectHeader`; then no token is read.',
      }),
      subjectHeader: subjectHeader.optional().register(notes, {
        description: 'That header. Envoy must overwrite it in every request: whoever can set it can be anybody.',
      }),
      insecurePublicListen: flag
        .default(false)
        .register(notes, { description: 'Let the gRPC door listen on an address that is not loopback. Whoever reaches it can ask it anything.' }),
      insecureWorldWritableSocket: flag.default(false).register(notes, { description: 'Give that socket mode 0666: every local user may ask.' }),
      connectionAge: duration(0, 86_400_000).default(1_800_000).register(notes, {
        description:
          "Age, a tenth more or less, at which a proxy's connection is renewed without losing a check, so that new sidecars get their share; `0` never.",
        time: true,
      }),
    })
    .prefault({}),
  api: z
    .strictObject({
      host: text.default('127.0.0.1').register(notes, { description: 'Address of the api listener (health, metrics, AuthZEN).' }),
      port: integer(0, 65_535).default(9190).register(notes, { description: 'Port of the api listener; `0` takes any free one.' }),
      keys: apiKeys.optional().register(notes, {
        description:
          'Keys (32 characters or more) by which applications may ask the api, as `Authorization: Bearer …`; several with commas, while one is being changed. Without any, only health and metrics answer.',
        secret: true,
      }),
      deadline: duration(1, 60_000)
        .default(100)
        .register(notes, { description: 'Time a check of the api may take before it is answered with 503.', time: true }),
      metrics: flag.default(true).register(notes, { description: 'Serve `/metrics`, and count for it.' }),
      insecurePublicListen: flag
        .default(false)
        .register(notes, { description: 'Let the api listen on an address that is not loopback. Health and metrics ask for no credential.' }),
    })
    .prefault({}),
  database: z
    .strictObject({
      url: databaseUrl.optional().register(notes, {
        description: 'Postgres, as a role that may read (`grantgate_reader`). Straight to the primary: never through a transaction pooler.',
        secret: true,
        alias: 'DATABASE_URL',
      }),
      adminUrl: databaseUrl.optional().register(notes, {
        description:
          'The same database, as a role that may write (`grantgate_writer`): the administration (`/v1` of the api), of which without it there is none; `import`, `export` and `trim`, for which the default is `database.url`.',
        secret: true,
        alias: 'ADMIN_DATABASE_URL',
      }),
      ownerUrl: databaseUrl.optional().register(notes, {
        description: 'The same database, as a role that may create the schema: `migrate`, `doctor`. Default: `database.adminUrl`.',
        secret: true,
        alias: 'OWNER_DATABASE_URL',
      }),
      connections: integer(1, 64).default(4).register(notes, { description: 'Connections that fill the cache, beside the one that listens.' }),
      keepChanges: duration(3_600_000, 8_760 * 3_600_000)
        .default(86_400_000)
        .register(notes, { description: 'How far back the change log reaches; a sidecar that was away for longer begins anew.', time: true }),
      caFile: text.optional().register(notes, { description: "Authorities (PEM) that a database's certificate is checked against. Default: the system's." }),
      certFile: text.optional().register(notes, { description: 'Our own certificate (PEM), where the database asks for one.' }),
      keyFile: text.optional().register(notes, { description: 'Its private key (PEM).' }),
      insecureTls: flag
        .default(false)
        .register(notes, { description: 'Let `sslmode` in a URL ask for less than `verify-full` on a host that is not loopback.' }),
    })
    .prefault({}),
  cache: z
    .strictObject({
      maxStaleness: duration(300, 3_600_000)
        .default(2000)
        .register(notes, { description: 'Longest time that checks are answered without proof that nothing changed. Then 503.', time: true }),
      subjects: integer(100, 100_000_000).default(100_000).register(notes, { description: 'Users kept in memory.' }),
      targets: integer(100, 100_000_000).default(1_000_000).register(notes, { description: 'Targets kept in memory.' }),
      absent: integer(100, 100_000_000).default(20_000).register(notes, { description: 'Ids that do not exist, kept apart.' }),
      classes: integer(100, 100_000_000)
        .default(50_000)
        .register(notes, { description: 'Permission classes kept in memory (users of one owner and the same groups share one).' }),
      keys: integer(100, 100_000_000)
        .default(100_000)
        .register(notes, { description: 'API keys and sessions kept in memory; those that do not exist as many as `cache.absent`.' }),
      touched: integer(1000, 100_000_000).default(200_000).register(notes, { description: 'Changed keys remembered one by one.' }),
      tokens: integer(100, 100_000_000).default(20_000).register(notes, { description: 'Verified tokens kept in memory.' }),
      hotSet: text.optional().register(notes, {
        description:
          'File in which this process writes the ids that it is asked about (never what they may do), at its end and every few minutes, and from which the next one reads them into memory before `/readyz` says ready.',
      }),
      warmUp: duration(0, 600_000)
        .default(5000)
        .register(notes, { description: 'Longest time that the ids of `cache.hotSet` may take; ready then all the same.', time: true }),
    })
    .prefault({}),
  identity: z
    .strictObject({
      oidc: oidcIssuers.register(notes, {
        description:
          'OpenID Connect issuers, a list (in the environment: as JSON). Of each: `name`, `issuer`, `audience`, `tenants`; where wanted `jwksUri` (default: by discovery), `algorithms` (`[RS256, ES256, EdDSA]`), `subjectClaim` (`sub`: what holds the user id), `clockTolerance` (`0s`), `refreshInterval` of its keys (`5m`), `cooldown` after a fetch in which a key that is not known is refused (`10s`: publish a key that long before signing with it), `maxKeyAge` after which keys that could not be fetched again are not believed (`24h`), `insecureHttp`.',
        parts: true,
      }),
      asserted: z
        .strictObject({
          prefix: text.optional().register(notes, {
            description: 'What a subject named by a proxy must begin with, as `spiffe://example.org/user/`. It is cut off; the rest is the user id.',
          }),
          tenants: list.optional().register(notes, {
            description: 'Tenants that such a proxy may speak for. Must be said where a listener believes its proxy (`doors.identity`).',
          }),
        })
        .prefault({}),
      apiKeys: flag
        .default(false)
        .register(notes, { description: 'Believe the API keys that the administration makes: `Authorization: Bearer gg_…` or `ApiKey gg_…`.' }),
      local,
      thingsboard: z
        .strictObject({
          signingKey: signingKeys.optional().register(notes, {
            description:
              "ThingsBoard's token signing key, base64 (`tokenSigningKey` of its JWT settings); several, with commas, while it is being changed. The first one signs.",
            secret: true,
          }),
          issuer: text.optional().register(notes, {
            description: 'The `iss` that its tokens must have (ThingsBoard: `thingsboard.io`, or `tokenIssuer`). Not asked for when absent.',
          }),
          tenants: list.default('*').register(notes, { description: 'Tenants that its tokens may speak for.' }),
          clockTolerance: duration(0, 300_000).default(0).register(notes, { description: 'How far its clock may be off, for `exp` and `nbf`.', time: true }),
        })
        .prefault({}),
    })
    .prefault({}),
  client: z
    .strictObject({
      server: text
        .default('http://127.0.0.1:9190')
        .register(notes, { description: 'Where the administration is that `apply`, `diff` and the commands for one thing ask (an api listener).' }),
      token: text.optional().register(notes, {
        description: "What they ask it with: a user's token, or the operator's secret.",
        secret: true,
      }),
      insecureHttp: flag.default(false).register(notes, { description: 'Send the token over plain http to a host that is not loopback.' }),
    })
    .prefault({}),
  operator: z
    .strictObject({
      secrets: apiKeys.optional().register(notes, {
        description:
          "The operator's secret (32 characters or more) for the administration, as `Authorization: Bearer …`: makes and removes tenants and their first administrators. Several with commas, while it is being changed. Without any, nobody does.",
        secret: true,
      }),
    })
    .prefault({}),
  replica: z
    .strictObject({
      name: z
        .string()
        .regex(/^[!-~]{1,200}$/, 'must be 1 to 200 printable ASCII characters without blanks')
        .optional()
        .register(notes, {
          description: 'Name of this sidecar in the receipts of `grantgate barrier`; eight random digits are added. Default: the host name.',
        }),
    })
    .prefault({}),
  routes: z
    .strictObject({
      file: text.optional().register(notes, { description: "Route table (YAML). Default: the one for ThingsBoard's REST API." }),
    })
    .prefault({}),
  vocabulary: z
    .strictObject({
      file: text.optional().register(notes, { description: "Vocabulary (YAML). Default: ThingsBoard PE's." }),
    })
    .prefault({}),
  log: z
    .strictObject({
      level: z
        .enum(['error', 'warn', 'info', 'debug'], 'must be error, warn, info or debug')
        .default('info')
        .register(notes, { description: 'Least weight of the lines about the service itself, on stderr.' }),
      decisions: flag.default(true).register(notes, { description: 'Write the decision log to stdout.' }),
      allowSample: share
        .default(0.01)
        .register(notes, { description: 'Share of the allows in the decision log on stdout, 0 to 1. Whatever is not an allow is always there.' }),
      buffer: integer(100, 1_000_000)
        .default(10_000)
        .register(notes, { description: 'Decision-log lines kept while stdout is not read; further ones are dropped and counted.' }),
    })
    .prefault({}),
  overload: z
    .strictObject({
      delay: duration(1, 60_000).default(50).register(notes, {
        description:
          'Standing delay of the event loop from which on no work is begun: an unknown token is not verified, nothing is read from the database (503). Answers from memory go on.',
        time: true,
      }),
      inFlight: integer(1, 1_000_000).default(1000).register(notes, {
        description: 'Checks that may wait for the database at once; further ones are answered with 503.',
      }),
      // 50 to 170 µs of one processor each, and all of them have to be through within the deadline of a check.
      verifications: integer(1, 1_000_000)
        .default(250)
        .register(notes, { description: 'Tokens that may be verified at once, each of them once; a check with a further one is answered with 503.' }),
      notReadyAfter: duration(0, 3_600_000)
        .default(10_000)
        .register(notes, { description: 'Time behind without a break after which `/readyz` says `overloaded`.', time: true }),
    })
    .prefault({}),
  workers: integer(1, 64).default(1).register(notes, {
    description:
      'Processes that answer, behind the same listeners. Each has memory, `overload.*` limits and 1 + `database.connections` connections to the database of its own; above 1 there is a supervisor beside them.',
  }),
  shutdown: z
    .strictObject({
      delay: duration(0, 600_000)
        .default(5000)
        .register(notes, { description: 'Time between `not ready` and the closing of the doors, for proxies to notice.', time: true }),
      timeout: duration(0, 600_000).default(5000).register(notes, { description: 'Time that checks and log lines under way have to finish then.', time: true }),
    })
    .prefault({}),
});

export type Settings = z.output<typeof settings>;

/** One leaf of the schema. */
export interface Leaf {
  readonly path: string;
  readonly env: string;
  readonly note: SettingNote;
  readonly schema: z.ZodType;
}

/** Every leaf, in the order of the schema. */
export const leaves: readonly Leaf[] = leavesOf(settings, []);

function leavesOf(schema: z.ZodType, path: readonly string[]): Leaf[] {
  const inner = schema instanceof z.ZodPrefault ? (schema.unwrap() as z.ZodType) : schema;
  if (inner instanceof z.ZodObject) return Object.entries(inner.shape as Record<string, z.ZodType>).flatMap(([key, child]) => leavesOf(child, [...path, key]));
  const note = notes.get(schema);
  if (!note) throw new Error(`${path.join('.')} has no note`);
  return [{ path: path.join('.'), env: envName(path), note, schema }];
}

function envName(path: readonly string[]): string {
  return ['grantgate', ...path].map((part) => part.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()).join('_');
}
