// What can be seen from where any client stands? A refusal that becomes an allow is a hole, whoever decides behind it.
//
// GET and HEAD alone, and no body: what is asked here may go to production.

import { DIALECTS, doorPath } from '../doors/dialects.ts';
import { IDENTITY } from '../doors/identity-headers.ts';
import { bearer, letIn, refused, shown, told, turnedAway } from './examination.ts';
import type { Examination, Reply } from './examination.ts';
import { ok, problem, several, unknown } from './finding.ts';
import type { Code, Look } from './finding.ts';
import { ORIGINAL, ORIGINAL_METHOD, OVERRIDES, SPELLINGS, plain } from './names.ts';
import { valuesOf } from './wire.ts';
import type { Answer, Header } from './wire.ts';

/** How the proxy answers where nothing is forged. */
export interface Baseline {
  /** The path, without a credential. */
  readonly bare: Reply;
  /** What was let in that should not be. */
  readonly open: readonly string[];
  /** The path with the credential; null: it is not let in, or there is none. */
  readonly allowed: Reply | null;
  /** Another path with it, refused; null: it is not. */
  readonly denied: Reply | null;
  /** Why there is no `allowed`, no `denied`. */
  readonly reason: string;
}

export async function baseline(on: Examination): Promise<Baseline> {
  const bare = await on.ask({});
  const open: string[] = [];
  // Before anybody is allowed: a cache of answers is another matter.
  for (const [what, reply] of [
    [`GET ${shown(on.path)} without a credential`, bare],
    ['HEAD without a credential', await on.ask({ method: 'HEAD' })],
    ['GET with a token of nobody', await on.ask({ headers: bearer('grantgate-doctor') })],
  ] as const)
    if (entered(reply)) open.push(`${what}: ${told(reply)}`);
  if (on.credential === null) return { bare, open, allowed: null, denied: null, reason: on.without };
  const allowed = await on.ask({ headers: bearer(on.credential) });
  if (refused(allowed) || allowed.reached === false) return { bare, open, allowed: null, denied: null, reason: notAllowed(on, allowed) };
  const denied = await on.ask({ target: on.deniedPath, headers: bearer(on.credential) });
  if (turnedAway(denied) && denied.reached !== true) return { bare, open, allowed, denied, reason: '' };
  return {
    bare,
    open,
    allowed,
    denied: null,
    reason: `GET ${shown(on.deniedPath)} is to be refused to the credential, and was not (${told(denied)}): name another with --denied-path`,
  };
}

function notAllowed(on: Examination, reply: Reply): string {
  if (refused(reply)) {
    const asked = on.door === null ? '' : reply.checks.length === 0 ? ' and nobody asked at --door' : ` though the answer at --door was to be yes`;
    return `GET ${shown(on.path)} with the credential is refused (${told(reply)}${asked})`;
  }
  return `GET ${shown(on.path)} with the credential is let in (${told(reply)}) and does not come to --application`;
}

export async function lookFromOutside(on: Examination, base: Baseline): Promise<readonly Look[]> {
  return [
    ...(await exposedDoors(on, base)),
    ...(await originalUri(on, base)),
    ...(await bypass(on, base)),
    ...(await secondCredential(on, base)),
    ...(await methodOverride(on, base)),
    ...(await paths(on)),
    leak(on),
  ];
}

/** It got through, whether there was anything to find or not. */
function entered(reply: Reply): boolean {
  return reply.reached ?? (reply.status >= 200 && reply.status < 300);
}

export function lookAtTheGuard(on: Examination, { bare, open }: Baseline): readonly Look[] {
  if (open.length > 0) return [problem('unguarded', open.join(', '))];
  if (!turnedAway(bare)) {
    const nobody =
      on.door !== null && bare.checks.length === 0
        ? ', and nobody asked at --door: does this proxy ask elsewhere, or may it not connect (doors.socketGroup)?'
        : ': is the sidecar up, and is this path guarded (--path)?';
    return [unknown('unguarded', `GET ${shown(on.path)} without a credential is neither refused nor let in (${told(bare)})${nobody}`)];
  }
  const guarded = ok('unguarded', `GET and HEAD ${shown(on.path)} without a credential, and with a token of nobody: ${told(bare)}`);
  const challenge = valuesOf(bare.headers, 'www-authenticate').length > 0;
  if (bare.status === 401) return [guarded, challenge ? ok('challenge', '401 with WWW-Authenticate') : problem('challenge', '401 without WWW-Authenticate')];
  if (bare.status !== 403) return [guarded, ok('challenge', `${bare.status}, to a login page`)];
  return [guarded, unknown('challenge', `403 without a credential: either the 401 is lost, or no route is for ${shown(on.path)} (--path)`)];
}

export async function lookForACache(on: Examination, { bare, allowed, reason }: Baseline): Promise<readonly Look[]> {
  if (allowed === null) return [unknown('decision-cached', reason)];
  await on.ask({ headers: bearer(on.credential) });
  const again = await on.ask({});
  return [
    letIn(again, bare)
      ? problem('decision-cached', `GET ${shown(on.path)} without a credential, right after one with: ${told(again)} instead of ${told(bare)}`)
      : ok('decision-cached', `without a credential, right after one with: ${told(again)}`),
  ];
}

/** What a door's own answer looks like, where the proxy has not made another of it. */
function isDoorAnswer({ status, headers }: Answer): boolean {
  return [200, 401, 403, 503].includes(status) && valuesOf(headers, 'content-length')[0] === '0' && valuesOf(headers, 'cache-control')[0] === 'no-store';
}

async function exposedDoors(on: Examination, { bare, allowed, denied }: Baseline): Promise<readonly Look[]> {
  const contract: readonly Header[] = [
    ...ORIGINAL_METHOD.map((name) => [name, 'GET'] as const),
    ...ORIGINAL.map((name) => [name, on.path] as const),
    ['X-Authz-Target', '*'],
  ];
  const named = (answer: Answer): string | undefined => answer.headers.find(([name]) => IDENTITY.some((one) => plain(one) === plain(name)))?.[0];
  const leaks = allowed !== null && named(allowed) !== undefined;
  // Where a proxy hands a refusal on as it is, that of a guarded path looks like the door's as well.
  const passes = isDoorAnswer(bare) || (denied !== null && isDoorAnswer(denied));
  const doors = DIALECTS.flatMap((dialect) => [doorPath(dialect), `${doorPath(dialect)}/DEVICE/READ`]);
  const found: string[] = [];
  for (const target of doors) {
    const reply = await on.ask({ target, headers: [...bearer(on.credential), ...contract] });
    const name = named(reply);
    if (reply.reached !== true && ((name !== undefined && !leaks) || (isDoorAnswer(reply) && (!passes || reply.status === 200))))
      found.push(`GET ${target}: ${reply.status}${name === undefined ? ', the door’s own answer' : ` with ${name}`}`);
  }
  return [found.length > 0 ? problem('door-exposed', several(found)) : ok('door-exposed', `none of ${doors.length} door paths answers as a door`)];
}

async function originalUri(on: Examination, { allowed, denied, reason }: Baseline): Promise<readonly Look[]> {
  if (allowed === null || denied === null) return [unknown('original-uri', reason)];
  const last = on.path.slice(on.path.lastIndexOf('/') + 1) || '*';
  const forged: readonly Header[] = [
    ...ORIGINAL.map((name) => [name, on.path] as const),
    ['X-Original-URL', `http://grantgate-doctor.invalid${on.path}`],
    ['X-Authz-Target', last],
    ['X-Authz-Target', '*'],
  ];
  const all: readonly Header[] = [
    ...forged.filter(([name], i) => forged.findIndex(([other]) => other === name) === i),
    ...ORIGINAL_METHOD.map((name) => [name, 'GET'] as const),
  ];
  const found: string[] = [];
  let asked = 0;
  const ask = async (what: string, headers: readonly Header[], hop: readonly string[] = []): Promise<void> => {
    asked++;
    const reply = await on.ask({ target: on.deniedPath, headers: [...bearer(on.credential), ...headers], hop });
    if (letIn(reply, denied)) found.push(`${what}: ${told(denied)} became ${told(reply)}`);
  };
  for (const header of forged) await ask(header.join(': '), [header]);
  for (const [how, spell] of Object.entries(SPELLINGS))
    await ask(
      `all of them, ${how}`,
      all.map(([name, value]) => [spell(name), value] as const),
    );
  await ask(
    'all of them, listed in Connection',
    all,
    all.map(([name]) => name),
  );
  for (const name of ORIGINAL_METHOD) {
    asked += 2;
    const unknownMethod = await on.ask({ headers: [...bearer(on.credential), [name, 'GRANTGATE']] });
    const same = await on.ask({ headers: [...bearer(on.credential), [name, 'GET']] });
    // Refused both times, it was only sent beside the proxy's own: a door takes no repeated header.
    if (turnedAway(unknownMethod) && !refused(same)) found.push(`${name} is the client's: ${told(same)} became ${told(unknownMethod)}`);
  }
  const where = `of GET ${shown(on.deniedPath)}`;
  return [
    found.length > 0 ? problem('original-uri', `${several(found)} (${where})`) : ok('original-uri', `${asked} forged originals change no refusal ${where}`),
  ];
}

const CLAIMS: readonly (readonly [what: string, headers: readonly Header[]])[] = [
  ...['kube-probe/1.31', 'GoogleHC/1.0', 'ELB-HealthChecker/2.0', 'Consul Health Check'].map(
    (agent) => [`User-Agent: ${agent}`, [['User-Agent', agent]]] as const,
  ),
  ...['X-Forwarded-For', 'X-Real-IP', 'X-Envoy-External-Address'].map((name) => [`${name}: 127.0.0.1`, [[name, '127.0.0.1']]] as const),
  ['identity headers', IDENTITY.map((name) => [name, 'admin'] as const)],
  [
    'X-Forwarded-User, Remote-User',
    [
      ['X-Forwarded-User', 'admin'],
      ['Remote-User', 'admin'],
    ],
  ],
  [
    'Envoy’s own marks',
    [
      ['x-envoy-internal', 'true'],
      ['x-envoy-auth-failure-mode-allowed', 'true'],
    ],
  ],
];

async function bypass(on: Examination, { bare }: Baseline): Promise<readonly Look[]> {
  if (!turnedAway(bare)) return [unknown('bypass-header', `GET ${shown(on.path)} without a credential is not refused (${told(bare)})`)];
  const found: string[] = [];
  for (const [what, headers] of CLAIMS) {
    const reply = await on.ask({ headers });
    if (letIn(reply, bare)) found.push(`${what}: ${told(bare)} became ${told(reply)}`);
  }
  return [
    found.length > 0 ? problem('bypass-header', several(found)) : ok('bypass-header', `${CLAIMS.length} things that a client may say of itself open nothing`),
  ];
}

const CREDENTIALS = ['authorization', 'x-authorization'] as const;

async function secondCredential(on: Examination, { bare, allowed, reason }: Baseline): Promise<readonly Look[]> {
  if (allowed === null) return [unknown('second-credential', reason)];
  const [a, b] = [`Bearer ${on.credential ?? ''}`, `Bearer ${on.other ?? 'grantgate-doctor-other'}`];
  const pairs: readonly (readonly [what: string, headers: readonly Header[]])[] = [
    [
      'Authorization twice, the good one first',
      [
        ['Authorization', a],
        ['Authorization', b],
      ],
    ],
    [
      'Authorization twice, the good one last',
      [
        ['Authorization', b],
        ['Authorization', a],
      ],
    ],
    ['Authorization: A,B', [['Authorization', `${a},${b}`]]],
    [
      'Authorization and X-Authorization',
      [
        ['Authorization', a],
        ['X-Authorization', b],
      ],
    ],
    [
      'X-Authorization and Authorization',
      [
        ['X-Authorization', a],
        ['Authorization', b],
      ],
    ],
  ];
  const found: string[] = [];
  for (const [what, headers] of pairs) {
    const reply = await on.ask({ headers });
    if (!letIn(reply, bare)) continue;
    const got = reply.received === null ? null : CREDENTIALS.flatMap((name) => valuesOf(reply.received?.headers ?? [], name)).filter((value) => value !== '');
    // The one that was checked, and nothing beside it, is no harm.
    if (got !== null && got.every((value) => value === a)) continue;
    found.push(`${what}: ${told(reply)}${got === null ? '' : `, and the application gets ${got.length === 1 ? 'the other' : 'both'}`}`);
  }
  return [
    found.length > 0
      ? problem('second-credential', several(found))
      : ok('second-credential', `${pairs.length} ways to send two: refused, or one of them alone passes`),
  ];
}

async function methodOverride(on: Examination, { bare, allowed, reason }: Baseline): Promise<readonly Look[]> {
  if (allowed === null) return [unknown('method-override', reason)];
  const found: string[] = [];
  for (const name of OVERRIDES) {
    // HEAD, for some application may do what it says.
    const reply = await on.ask({ headers: [...bearer(on.credential), [name, 'HEAD']] });
    const kept = reply.received === null || reply.received.headers.some(([other, value]) => plain(other) === plain(name) && value !== '');
    if (letIn(reply, bare) && kept) found.push(`${name}: ${told(reply)}`);
  }
  const where = on.application === null ? 'let in' : 'let in, and at the application';
  return [
    found.length > 0 ? problem('method-override', `${where}: ${found.join(', ')}`) : ok('method-override', `${OVERRIDES.join(', ')}: refused, or taken off`),
  ];
}

/** Spellings that some server between a client and an application takes for the path. */
export function tricks(path: string): readonly string[] {
  const last = path.lastIndexOf('/');
  const [head, tail] = [path.slice(0, last), path.slice(last + 1)];
  const swapped = path.replace(/[a-z]/i, (letter) => (letter === letter.toUpperCase() ? letter.toLowerCase() : letter.toUpperCase()));
  const encoded = path.replace(/[a-z]/i, (letter) => `%${letter.charCodeAt(0).toString(16)}`);
  return [
    ...['/', '/.', '/x/..', '/x/%2e%2e', '/x/.%2E', '/x/..;', '/;'].map((before) => `${before}${path}`),
    ...['/x/..%2f', '/%2f', '/x/..%5c'].map((before) => `${before}${path.slice(1)}`),
    ...['//', '/./', '/x/../', '%2f', '\\', ';/'].map((between) => `${head}${between}${tail}`),
    ...['/', '//', '/.', ';', ';x=1', '%00', '%20', '%2f', '/x.css', '.css', '%3f', '#x', '?'].map((behind) => `${path}${behind}`),
    swapped,
    encoded,
    encoded.replace('%', '%25'),
  ].filter((target, i, all) => target !== path && all.indexOf(target) === i);
}

/** Paths of the sidecar's own, where a proxy puts a path behind the door's. */
const ESCAPES = ['/../../livez', '/%2e%2e/%2e%2e/livez', '/.%2e/.%2e/readyz', '/..;/..;/metrics', '/DEVICE/READ'];

async function paths(on: Examination): Promise<readonly Look[]> {
  const control = await on.ask({ target: '/grantgate-doctor-nowhere' });
  const open = entered(control);
  if (open && on.application === null)
    return [unknown('path-confusion', `a path that is none is answered with ${told(control)} without a credential: what passes cannot be told`)];
  const targets = [...tricks(on.path), ...(open ? [] : ESCAPES)];
  const found: string[] = [];
  for (const target of targets) {
    const reply = await on.ask({ target });
    if (entered(reply)) found.push(`GET ${shown(target)}: ${told(reply)}`);
  }
  return [
    found.length > 0
      ? problem('path-confusion', `without a credential: ${several(found)}`)
      : ok('path-confusion', `${targets.length} spellings of ${shown(on.path)} without a credential: none is let in`),
  ];
}

function leak(on: Examination): Look {
  const code: Code = 'header-leak';
  if (on.leaks.size === 0) return ok(code, `no answer has one of ${IDENTITY.join(', ')}`);
  return problem(code, several([...on.leaks].map(([name, where]) => `${name} in the answer to ${where}`)));
}
