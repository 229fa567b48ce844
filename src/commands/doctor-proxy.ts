// `grantgate doctor --proxy URL`: what is wrong with the proxy in front, and the line that mends it.

import { InputError } from 'policy-cache';
import { hostClock } from '../clock.ts';
import type { Address } from '../listen.ts';
import { examineProxy, Unreachable, type ProxyReport } from '../proxydoctor/examine.ts';
import { several, type Finding } from '../proxydoctor/finding.ts';
import { isKind, KINDS } from '../proxydoctor/mends.ts';
import type { Proxy } from '../proxydoctor/wire.ts';
import { duration } from '../setting-kinds.ts';
import { canonical } from '../target.ts';
import { VERSION } from '../version.ts';
import type { ProxyOptions } from './doctor-options.ts';
import type { Context, ExitCode } from './host.ts';

export async function doctorProxyCommand(context: Context, options: ProxyOptions): Promise<ExitCode> {
  const { host, json } = context;
  const { kind } = options;
  if (kind !== undefined && !isKind(kind)) throw new InputError('--kind', `must be one of ${KINDS.join(', ')}, got ${JSON.stringify(kind)}`);
  const timeout = duration(50, 60_000).safeParse(options.timeout ?? '3s');
  if (!timeout.success) throw new InputError('--timeout', `${timeout.error.issues[0]!.message}, got ${JSON.stringify(options.timeout)}`);
  const path = pathOf('--path', options.path ?? '/');
  const proxy = { ...proxyOf(options), ca: options.caFile === undefined ? null : read(context, '--ca-file', options.caFile) };
  try {
    const report = await examineProxy({
      proxy,
      path,
      deniedPath: options.deniedPath === undefined ? beside(path) : pathOf('--denied-path', options.deniedPath),
      token: tokenOf(context, '--token-file', options.tokenFile),
      otherToken: tokenOf(context, '--other-token-file', options.otherTokenFile),
      door: doorOf(context, options),
      application: addressOf(context, '--application', options.application),
      kind: kind ?? null,
      ms: timeout.data,
      userAgent: `grantgate-doctor/${VERSION}`,
      nonce: host.uuid().replaceAll('-', ''),
      host: { clock: hostClock(), random: host.random },
    });
    const count = (state: Finding['state']): number => report.findings.filter((finding) => finding.state === state).length;
    const [problems, unknown] = [count('problem'), count('unknown')];
    host.stdout.write(json ? `${JSON.stringify({ proxy: options.proxy, problems, unknown, ...report })}\n` : text(options, report));
    return problems > 0 ? 1 : unknown + report.undecided.length > 0 ? 2 : 0;
  } catch (error) {
    if (error instanceof Unreachable) throw new InputError('--proxy', `${options.proxy} does not answer: ${error.message}`);
    throw error;
  }
}

const INDENT = ' '.repeat(31);

/** What is wrong stands last, beside the sum: that is where whoever has run it looks. */
function text({ proxy }: ProxyOptions, { kind, requests, undecided, findings, notAsked }: ProxyReport): string {
  const of = (state: Finding['state']): readonly Finding[] => findings.filter((finding) => finding.state === state);
  const line = (state: string, code: string, words: string): string => `${state.padEnd(9)} ${code.padEnd(20)} ${words}`;
  const reasons = new Map<string, string[]>();
  for (const { code, text: reason } of of('unknown')) reasons.set(reason, [...(reasons.get(reason) ?? []), code]);
  return [
    `${proxy}: ${kind ?? 'a proxy of unknown kind (--kind says it in its own words)'}, ${requests} requests`,
    ...of('ok').map(({ code, text: seen }) => line('ok', code, seen)),
    ...[...reasons].flatMap(([reason, codes]) => [
      line('unknown', codes.join(', '), codes.length === 1 ? reason : ''),
      ...(codes.length === 1 ? [] : [`${INDENT}${reason}`]),
    ]),
    ...of('problem').flatMap(({ code, text: seen, why = '', fix = '' }) => [
      line('problem', code, seen),
      `${INDENT}why: ${why}`,
      `${INDENT}to do${kind === null ? '' : ` (${kind})`}: ${fix}`,
    ]),
    ...(undecided.length === 0 ? [] : [line('unknown', 'undecided', `${undecided.length} requests had no answer that says yes or no: ${several(undecided)}`)]),
    `${of('problem').length} wrong, ${of('unknown').length} could not be looked at, ${of('ok').length} right`,
    ...notAsked.filter(({ codes }) => codes.length > 0).map(({ option, codes }) => `not looked at without ${option}: ${codes.join(', ')}`),
  ]
    .map((each) => `${each.trimEnd()}\n`)
    .join('');
}

/** A request target without a query, that no proxy changes. */
function pathOf(option: string, path: string): string {
  const read = canonical(path);
  if (read.kind === 'refused' || read.path !== path || read.percent)
    throw new InputError(option, `must be a plain path such as /api/device/d1, without a query, escapes or dots as a segment; got ${JSON.stringify(path)}`);
  return path;
}

/** A neighbour that is no thing of anybody's: guarded by the same rules, and refused by any. */
function beside(path: string): string {
  return `${path.slice(0, path.lastIndexOf('/'))}/grantgate-doctor-may-not`;
}

function proxyOf({ proxy, host, insecureTls }: ProxyOptions): Omit<Proxy, 'ca'> {
  const url = URL.canParse(proxy) ? new URL(proxy) : null;
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    throw new InputError('--proxy', `must be a URL such as https://staging.example, got ${JSON.stringify(proxy)}`);
  if (url.username !== '' || url.password !== '')
    throw new InputError('--proxy', 'must not hold a user or a password: everybody on this machine sees arguments');
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '')
    throw new InputError('--proxy', `names the proxy alone; the path is said by --path ${url.pathname}`);
  if (host !== undefined && !/^[A-Za-z0-9._:-]+$/.test(host)) throw new InputError('--host', `must be a host name, got ${JSON.stringify(host)}`);
  const tls = url.protocol === 'https:';
  const address = url.hostname.replace(/^\[|\]$/g, '');
  return { tls, host: address, port: url.port === '' ? (tls ? 443 : 80) : Number(url.port), name: host ?? address, insecureTls: insecureTls === true };
}

function tokenOf(context: Context, option: string, file: string | undefined): string | null {
  if (file === undefined) return null;
  const token = read(context, option, file)
    .trim()
    .replace(/^Bearer +/i, '');
  if (!/^[A-Za-z0-9._~+/-]+=*$/.test(token)) throw new InputError(option, `${file} must hold one token, and nothing else`);
  return token;
}

function read({ host }: Context, option: string, file: string): string {
  try {
    return host.readFile(file);
  } catch {
    throw new InputError(option, `${file} cannot be read`);
  }
}

function doorOf(context: Context, { door, grpcDoor }: ProxyOptions): { readonly grpc: boolean; readonly address: Address } | null {
  if (door !== undefined && grpcDoor !== undefined) throw new InputError('--grpc-door', 'a proxy asks at one of the two: leave --door or --grpc-door out');
  const address = addressOf(context, '--door', door) ?? addressOf(context, '--grpc-door', grpcDoor);
  return address === null ? null : { grpc: grpcDoor !== undefined, address };
}

function addressOf(context: Context, option: '--door' | '--grpc-door' | '--application', text: string | undefined): Address | null {
  if (text === undefined) return null;
  if (text.startsWith('unix:/')) {
    const path = text.slice('unix:'.length);
    const listener = option === '--grpc-door' ? 'grpc' : 'doors';
    const { socketGroup } = context.config({ overrides: { [`${listener}.socket`]: path } }).settings[listener];
    return { path, ...(socketGroup === undefined ? {} : { group: socketGroup }) };
  }
  const parts = /^(?:\[([0-9a-fA-F:]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(text);
  const port = Number(parts?.[3] ?? 0);
  if (!parts || port < 1 || port > 65_535)
    throw new InputError(option, `must be HOST:PORT or unix:/PATH, where the proxy's own configuration points, got ${JSON.stringify(text)}`);
  return { host: parts[1] ?? parts[2] ?? '', port };
}
