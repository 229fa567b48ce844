// Which servers does a database URL name, and must the way there be encrypted?
//
// The URL is libpq's: several hosts, bracketed IPv6, percent-encoded or `?host=` Unix sockets. The rule for TLS is ours, because the
// client verifies nothing for `require` (coherence 1.4): whatever leaves the machine is verified in full unless a setting whose
// name begins with `insecure` says otherwise.

import { isIP } from 'node:net';
import { InputError } from '../errors.ts';

/**
 * - `off`: plain text
 * - `full`: certificate and name are verified
 * - `chain`: the certificate only · `encrypt`: nothing · `offered`: nothing, and plain text if the server has no TLS
 */
export type TlsMode = 'off' | 'full' | 'chain' | 'encrypt' | 'offered';

export interface Address {
  /** Host name or IP; the directory for a Unix socket. */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly applicationName: string;
  readonly tls: TlsMode;
}

const URL_FORM = /^postgres(?:ql)?:\/\/(?:(?<user>[^:@/?]*)(?::(?<password>[^@/?]*))?@)?(?<hosts>[^/?]*)(?:\/(?<database>[^?]*))?(?:\?(?<query>.*))?$/s;
const MODES = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;
type SslMode = (typeof MODES)[number];

/**
 * The servers of a URL, in its order.
 *
 * TLS by `sslmode`, on a host that is not loopback: `verify-full` is the default, and what `allow`, `prefer`, `require` and `verify-ca`
 * are raised to; `disable` is refused. On loopback the default, `allow` and `prefer` are plain text. With `insecureTls` each
 * mode means what libpq means by it. A Unix socket has no TLS.
 * @throws InputError without the password in it
 */
export function parseAddresses(url: string, insecureTls = false, field = 'url'): readonly Address[] {
  const parts = URL_FORM.exec(url)?.groups;
  if (!parts) throw new InputError(field, 'expected postgres://user:password@host:port/database');
  // What stands there is the rest of a password: never shown, and never asked of a name server.
  if (`${parts['hosts']}${parts['database']}${parts['query']}`.includes('@'))
    throw new InputError(field, 'an @, / or ? in the user, the password or a name is written %40, %2F or %3F');
  const query = parseQuery(parts['query'] ?? '', field);
  const user = decode(parts['user'] ?? '', field) || query.get('user') || '';
  if (!user) throw new InputError(field, 'it names no user: postgres://user:password@host:port/database');
  const shared = {
    user,
    password: decode(parts['password'] ?? '', field) || query.get('password') || '',
    database: decode(parts['database'] ?? '', field) || query.get('dbname') || user,
    applicationName: query.get('application_name') ?? 'grantgate',
  };
  const listed = parts['hosts'] ? parts['hosts'].split(',') : (query.get('host') ?? 'localhost').split(',').map(encodeURIComponent);
  const ports = (query.get('port') ?? '5432').split(',');
  return listed.map((text, i) => {
    const { host, port } = parseHost(text, ports[i] ?? ports[0]!, field);
    return { ...shared, host, port, tls: tlsMode(host, query.get('sslmode'), { insecureTls, field }) };
  });
}

export function isSocketDirectory(host: string): boolean {
  return host.startsWith('/');
}

/** For messages. */
export function describeAddress(address: Address): string {
  return isSocketDirectory(address.host)
    ? `${address.host}/.s.PGSQL.${address.port}`
    : `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

function parseHost(text: string, defaultPort: string, field: string): { host: string; port: number } {
  const match = /^(?:\[(?<six>[0-9a-fA-F:.]+)\]|(?<name>[^:]*))(?::(?<port>[0-9]*))?$/.exec(text);
  if (!match?.groups) throw new InputError(field, `cannot read the host ${JSON.stringify(text)} (an IPv6 address stands in brackets)`);
  const port = Number(match.groups['port'] || defaultPort);
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new InputError(field, `expected a port from 1 to 65535, got ${JSON.stringify(match.groups['port'] ?? defaultPort)}`);
  const host = match.groups['six'] ?? decode(match.groups['name'] ?? '', field);
  return { host: /^\[.*\]$/.test(host) ? host.slice(1, -1) : host || 'localhost', port };
}

function tlsMode(host: string, asked: string | undefined, rule: { insecureTls: boolean; field: string }): TlsMode {
  const mode = MODES.find((known) => known === asked);
  if (asked !== undefined && !mode) throw new InputError(rule.field, `sslmode: expected one of ${MODES.join(', ')}, got ${JSON.stringify(asked)}`);
  if (isSocketDirectory(host)) return 'off';
  const local = host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
  if (mode === undefined) return local ? 'off' : 'full';
  if (rule.insecureTls) return LIBPQ[mode];
  if (local && (mode === 'disable' || mode === 'allow' || mode === 'prefer')) return 'off';
  if (mode === 'disable')
    throw new InputError(rule.field, `sslmode=disable would send the password and all data to ${host} in plain text: leave it out, or set insecureTls`);
  return 'full';
}

const LIBPQ: Readonly<Record<SslMode, TlsMode>> = {
  disable: 'off',
  allow: 'offered',
  prefer: 'offered',
  require: 'encrypt',
  'verify-ca': 'chain',
  'verify-full': 'full',
};

const PARAMETERS = new Set(['host', 'port', 'user', 'password', 'dbname', 'sslmode', 'application_name']);

/** A parameter that would be ignored is refused: it may be one that somebody's safety rests on. */
function parseQuery(text: string, field: string): Map<string, string> {
  const query = new Map(new URLSearchParams(text));
  for (const [name, value] of query) {
    if (PARAMETERS.has(name)) continue;
    if (name === 'sslrootcert' && value === 'system') continue; // the default
    if (name === 'target_session_attrs' && (value === 'read-write' || value === 'primary')) continue; // always so: a standby cannot LISTEN
    const hint = name.startsWith('ssl') ? 'certificates are given by the setting for TLS' : `known are ${[...PARAMETERS].join(', ')}`;
    throw new InputError(field, `unknown parameter ${JSON.stringify(name)}: ${hint}`);
  }
  return query;
}

function decode(text: string, field: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new InputError(field, 'a % stands before something that is not a two-digit code (write %25 for % itself)');
  }
}
