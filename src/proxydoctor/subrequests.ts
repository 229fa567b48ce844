// What does the proxy ask, and what does it make of an answer? The doctor listens in the sidecar's place.

import { canonical } from '../target.ts';
import { bearer, letIn, settle, shown, told } from './examination.ts';
import type { Examination, Reply } from './examination.ts';
import { ok, problem, several, unknown } from './finding.ts';
import type { Code, Look } from './finding.ts';
import { BODY } from './listeners.ts';
import type { Door, Subrequest } from './listeners.ts';
import type { Kind } from './mends.ts';
import { ORIGINAL, ORIGINAL_METHOD, SPELLINGS } from './names.ts';
import { tricks, type Baseline } from './outside.ts';
import { valuesOf, type Header } from './wire.ts';

interface Seen extends Baseline {
  readonly kind: Kind | null;
}

export async function lookFromTheDoor(on: Examination, door: Door, { bare, allowed, kind }: Seen): Promise<readonly Look[]> {
  const first = (allowed ?? (await on.ask({ headers: bearer(on.credential) }))).checks[0] ?? bare.checks[0];
  const contract = contractOf(first);
  if (allowed === null) return [contract];
  return [
    contract,
    await challenge(on),
    await originals(on),
    ...(on.application === null ? [] : [await targets(on)]),
    ...(await bodies(on, door)),
    ...(door.grpc ? [] : [await injection(on), await keepalive(on, door, kind)]),
    await failures(on, door, { bare, allowed }),
  ];
}

function contractOf(first: Subrequest | undefined): Look {
  const code: Code = 'contract-missing';
  if (first === undefined) return unknown(code, 'nobody asked: does this proxy ask elsewhere, or is the path not guarded?');
  const { where, missing } = first;
  return missing.length > 0
    ? problem(code, `asked at ${shown(where)}, without ${missing.join(', ')}`)
    : ok(code, `asked at ${shown(where)}, with method, target and credential`);
}

async function challenge(on: Examination): Promise<Look> {
  const { status, headers, checks } = await on.ask({ headers: bearer('grantgate-doctor') });
  if (checks.length === 0) return unknown('challenge', 'a token of nobody was not asked about');
  if (status >= 300 && status < 400) return ok('challenge', `401 became ${status}, to a login page`);
  const sent = valuesOf(headers, 'www-authenticate').length;
  return status === 401 && sent > 0
    ? ok('challenge', '401 of the sidecar arrives as 401 with WWW-Authenticate')
    : problem('challenge', `401 with WWW-Authenticate of the sidecar arrives as ${status}${sent > 0 ? '' : ' without it'}`);
}

/** Whatever was asked about, it is not what the client says it was. */
async function originals(on: Examination): Promise<Look> {
  const forged = `/forged-${on.run.nonce}`;
  const found: string[] = [];
  for (const [how, spell] of Object.entries(SPELLINGS)) {
    const headers: readonly Header[] = [
      ...ORIGINAL.map((name) => [spell(name), forged] as const),
      ...ORIGINAL_METHOD.map((name) => [spell(name), 'GRANTGATE'] as const),
      [spell('X-Authz-Target'), on.run.nonce],
    ];
    for (const hop of [[], headers.map(([name]) => name)]) {
      const { checks } = await on.ask({ headers: [...bearer(on.credential), ...headers], hop });
      for (const { checked, target } of checks) {
        if (checked.uri?.includes(forged) === true || checked.method === 'GRANTGATE') found.push(`method or target, sent ${how}`);
        if (target === on.run.nonce) found.push(`X-Authz-Target, sent ${how}`);
      }
    }
  }
  const all = [...new Set(found)];
  return all.length > 0
    ? problem('original-uri', `the client's own reaches the door: ${several(all)}`)
    : ok('original-uri', 'what the door is told of method and target is never the client’s');
}

async function injection(on: Examination): Promise<Look> {
  const name = 'x-grantgate-injected';
  const target = `${on.path}%0d%0a${name}:%20${on.run.nonce}`;
  for (const sent of [target, `${on.path}?x=%0d%0a${name}:%20${on.run.nonce}`, `${on.path}/%0a${name}:%20${on.run.nonce}`]) {
    const { checks } = await on.ask({ target: sent, headers: bearer(on.credential) });
    if (checks.some(({ headers }) => valuesOf(headers, name).length > 0))
      return problem('header-injection', `GET ${shown(sent)} put the header ${name} into the subrequest`);
  }
  return ok('header-injection', '%0d%0a in path and query: no header of its own in the subrequest');
}

/** What was allowed is what the application gets, byte for byte. */
async function targets(on: Examination): Promise<Look> {
  const code = 'target-differs';
  const compared: readonly string[] = [
    on.path,
    `${on.path}?a=%2F..%2F&b=/x/../y`,
    `${on.path}?x=//y&x=%20`,
    `${on.path}~a:b@c,d+(e)`,
    `${on.path}%41%2d`,
    `${on.path}%C3%A9`,
    ...tricks(on.path),
  ];
  const differing: string[] = [];
  let passed = 0;
  for (const target of compared) {
    const reply = await on.ask({ target, headers: bearer(on.credential) });
    if (reply.received === null) continue;
    // One that came through without a check is path-confusion.
    const last = reply.checks.at(-1);
    if (last === undefined) continue;
    passed++;
    const checked = last.checked.uri;
    if (checked === null || canonical(checked).kind === 'refused') differing.push(`GET ${shown(target)} was refused, and came to the application`);
    else if (checked !== reply.received.target) {
      if (target === on.path)
        return unknown(
          code,
          `the check is about ${shown(checked)} and the application gets ${shown(reply.received.target)}: this proxy rewrites paths, compare its rules by hand`,
        );
      differing.push(`${shown(target)}: checked as ${shown(checked)}, and the application gets ${shown(reply.received.target)}`);
    }
  }
  return differing.length > 0
    ? problem(code, several(differing, '; '))
    : ok(code, `${compared.length} targets: ${passed} pass, and the application gets what was checked; the rest is refused`);
}

async function bodies(on: Examination, door: Door): Promise<readonly Look[]> {
  const owed: string[] = [];
  const forwarded: string[] = [];
  door.behaviour = 'wait for a body';
  for (const chunked of [false, true]) {
    const { checks } = await on.ask({ headers: bearer(on.credential), body: BODY, chunked });
    const how = chunked ? 'in chunks' : 'with Content-Length';
    for (const { bodyAnnounced, bodyBytes } of checks) {
      if (!bodyAnnounced) continue;
      if (bodyBytes() === 0) owed.push(`a body ${how} is announced to the door, and 0 bytes follow`);
      else forwarded.push(`${bodyBytes()} bytes of a body ${how} are sent to the door`);
    }
  }
  door.behaviour = 'decide';
  return [
    ...(door.grpc ? [] : [owed.length > 0 ? problem('body-owed', owed.join(', ')) : ok('body-owed', 'no body is announced that does not come')]),
    forwarded.length > 0 ? problem('body-forwarded', forwarded.join(', ')) : ok('body-forwarded', 'bodies are not sent to the door'),
  ];
}

export async function lookForACacheOfTheDoor(on: Examination): Promise<Look> {
  const target = `${on.path}?grantgate-doctor=reused`;
  const asked: number[] = [];
  for (let i = 0; i < 3; i++) asked.push((await on.ask({ target, headers: bearer(on.credential) })).checks.length);
  return asked.includes(0)
    ? problem('decision-cached', `the same request ${asked.length} times, and the door was asked ${asked.filter((checks) => checks > 0).length} times`)
    : ok('decision-cached', `the same request ${asked.length} times, asked about each time`);
}

const IDLE_MS = 200;

/** Whether the proxy ends a connection after its answer: how many there are also depends on how many processes it has. */
async function keepalive(on: Examination, door: Door, kind: Kind | null): Promise<Look> {
  const used: Subrequest[] = [];
  for (let i = 0; i < 4; i++) used.push(...(await on.ask({ headers: bearer(on.credential) })).checks);
  if (used.length === 0) return unknown('no-keepalive', 'nobody asked at --door');
  const connections = new Set(used.map(({ connection }) => connection));
  const idle = new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  if (connections.size === used.length) await idle; // it may be about to end them
  const kept = [...connections].filter((connection) => connection !== null && !door.ended.has(connection) && !connection.destroyed).length;
  if (connections.size < used.length || kept > 0)
    return ok('no-keepalive', `${used.length} checks on ${connections.size} connection${connections.size === 1 ? '' : 's'}, kept for the next`);
  const seen = `${used.length} checks on ${connections.size} connections, each ended after its answer`;
  // Which Caddy it is nobody can see. For an old one, to keep them is the hole.
  return kind === 'caddy' ? ok('no-keepalive', `${seen}: so it must be before Caddy 2.11.5; from then on it may keep them`) : problem('no-keepalive', seen);
}

async function failures(on: Examination, door: Door, { bare, allowed }: { readonly bare: Reply; readonly allowed: Reply }): Promise<Look> {
  const open: string[] = [];
  const waiting: string[] = [];
  const passes = (reply: Reply): boolean => letIn(reply, bare) && (reply.reached === true || reply.status === allowed.status);
  const ask = async (what: string): Promise<void> => {
    const reply = await on.ask({ headers: bearer(on.credential) }, 'failing');
    if (passes(reply)) open.push(`${what}: ${told(reply)}`);
    else if (reply.status === 0) waiting.push(what);
  };
  for (const [what, behaviour] of door.failures) {
    door.behaviour = behaviour;
    await ask(what);
  }
  door.behaviour = 'decide';
  await door.close();
  await ask('nobody listening');
  await door.open();
  await settle(on);
  const code: Code = 'fail-open';
  if (open.length > 0) return problem(code, `let in though the sidecar said nothing of the kind: ${several(open)}`);
  const slow = waiting.length > 0 ? ` (after ${on.ms} ms still waiting: ${waiting.join(', ')})` : '';
  return ok(
    code,
    `${door.failures.length + 1} failures of the sidecar (${several(door.failures.map(([what]) => what))}, nobody listening): nobody is let in${slow}`,
  );
}
