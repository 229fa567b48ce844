// What reaches the application? The doctor listens in its place, and the proxy's upstream is pointed there.

import { FAILED_OPEN, IDENTITY } from '../doors/identity-headers.ts';
import { bearer, shown, told } from './examination.ts';
import type { Examination } from './examination.ts';
import { ok, problem, several } from './finding.ts';
import type { Look } from './finding.ts';
import { identityOf } from './listeners.ts';
import { SPELLINGS, plain } from './names.ts';
import type { Baseline } from './outside.ts';
import { valuesOf } from './wire.ts';
import type { Header } from './wire.ts';

export async function lookFromTheApplication(on: Examination, { allowed }: Baseline, kind: string | null): Promise<readonly Look[]> {
  if (allowed === null) return [];
  return [
    await forgedIdentity(on),
    await identity(on),
    ...(kind === 'envoy' ? [await failureMode(on)] : []),
    await rewriting(on),
    await tunnel(on),
    await bodies(on),
  ];
}

async function forgedIdentity(on: Examination): Promise<Look> {
  const forged = `forged-${on.run.nonce}`;
  const styles: readonly (readonly [how: string, headers: readonly Header[], hop?: readonly string[]])[] = [
    ...Object.entries(SPELLINGS).map(([how, spell]) => [how, IDENTITY.map((name) => [spell(name), forged] as const)] as const),
    [
      'twice',
      IDENTITY.flatMap(
        (name) =>
          [
            [name, forged],
            [name, forged],
          ] as const,
      ),
    ],
    ['listed in Connection', IDENTITY.map((name) => [name, forged] as const), IDENTITY],
  ];
  const found = new Map<string, string>();
  for (const [how, headers, hop = []] of styles) {
    const reply = await on.ask({ headers: [...bearer(on.credential), ...headers], hop });
    for (const [name, value] of reply.received?.headers ?? [])
      if (value.includes(forged) && IDENTITY.some((one) => plain(one) === plain(name)) && !found.has(name)) found.set(name, how);
  }
  if (found.size === 0) return ok('identity-forged', `${IDENTITY.length} headers in ${styles.length} ways: none of the client's reaches the application`);
  return problem('identity-forged', `the client's own reaches the application: ${several([...found].map(([name, how]) => `${name} (sent ${how})`))}`);
}

async function identity(on: Examination): Promise<Look> {
  const reply = await on.ask({ headers: bearer(on.credential) });
  const values = (name: string): readonly string[] =>
    (reply.received?.headers ?? []).filter(([other]) => plain(other) === plain(name)).map(([, value]) => value);
  // Only in the sidecar's place it is known what is to be there; else at least somebody.
  const wrong =
    on.door === null
      ? IDENTITY.filter((name) => values(name).length > 1 || (values(name).join('') === '' && name !== 'X-Auth-Customer'))
      : identityOf(on.run)
          .filter(([name, value]) => values(name).join('|') !== value)
          .map(([name]) => name);
  if (wrong.length === 0) return ok('identity-missing', 'the application gets the whole identity, each header once');
  return problem('identity-missing', `the application gets ${wrong.map((name) => `${name}: ${values(name).join(' and ') || 'nothing'}`).join(', ')}`);
}

async function failureMode(on: Examination): Promise<Look> {
  const reply = await on.ask({ headers: [...bearer(on.credential), [FAILED_OPEN, 'true']] });
  const kept = reply.received?.headers.some(([name]) => plain(name) === FAILED_OPEN) === true;
  return kept
    ? problem('failure-mode-header', `${FAILED_OPEN}: true of the client's reaches the application`)
    : ok('failure-mode-header', `${FAILED_OPEN} of the client's does not pass`);
}

const REWRITING = ['X-Original-URL', 'X-Rewrite-URL'] as const;

async function rewriting(on: Examination): Promise<Look> {
  const forged = `/forged-${on.run.nonce}`;
  const reply = await on.ask({ headers: [...bearer(on.credential), ...REWRITING.map((name) => [name, forged] as const)] });
  const kept = (reply.received?.headers ?? []).filter(([name, value]) => value.includes(forged) && REWRITING.some((one) => plain(one) === plain(name)));
  return kept.length === 0
    ? ok('rewrite-header', `${REWRITING.join(', ')}: the client's does not pass`)
    : problem('rewrite-header', `the client's ${kept.map(([name]) => name).join(', ')} reaches the application`);
}

/** HTTP/2 inside a connection that was let through once; a WebSocket is one application's, and no way to another path. */
async function tunnel(on: Examination): Promise<Look> {
  const settings = 'AAMAAABkAAQCAAAAAAIAAAAA';
  const found: string[] = [];
  for (const stays of [true, false]) {
    const headers = [...bearer(on.credential), ['Upgrade', 'h2c'] as const, ['HTTP2-Settings', settings] as const];
    const { received } = await on.ask({ headers, hop: ['Upgrade', 'HTTP2-Settings'], stays });
    if (received !== null && valuesOf(received.headers, 'upgrade').some((value) => value.toLowerCase().includes('h2c')))
      found.push(`Connection: ${valuesOf(received.headers, 'connection').join()}`);
  }
  return found.length === 0
    ? ok('upgrade-tunnel', 'Upgrade: h2c does not pass')
    : problem('upgrade-tunnel', `Upgrade: h2c of the client's reaches the application (${several(found)})`);
}

async function bodies(on: Examination): Promise<Look> {
  const body = Array.from({ length: 400 }, (_, i) => `line ${i} of grantgate doctor ${String.fromCharCode(128 + (i % 128))}\r\n`).join('');
  const wrong: string[] = [];
  for (const chunked of [false, true]) {
    const reply = await on.ask({ headers: bearer(on.credential), body, chunked });
    const how = chunked ? 'in chunks' : 'with Content-Length';
    if (reply.received === null) wrong.push(`${body.length} bytes ${how}: nothing arrives (${told(reply)})`);
    else if (reply.received.body !== body)
      wrong.push(`${body.length} bytes ${how}: ${reply.received.body.length} arrive${reply.received.body.length === body.length ? ', others' : ''}`);
  }
  return wrong.length === 0
    ? ok('body-changed', `${body.length} bytes of a GET ${shown(on.path)} arrive as sent, in one piece and in chunks`)
    : problem('body-changed', wrong.join(', '));
}
