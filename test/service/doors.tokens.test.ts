// Does a door read a client's token where the operator lets it, and only there?

import fc from 'fast-check';
import { formatRevision } from 'policy-cache';
import type { Held } from 'policy-cache/memory';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { DIALECTS } from '../../src/doors/dialects.ts';
import { sidecar, type Sidecar } from '../support/doors.ts';
import { exchange, requestBytes } from '../support/raw.ts';
import { DOOR, expectBare, subrequest, useDoor, type Replacement } from '../support/subrequest.ts';

// For the credential of `subrequest`; every sidecar of this file has the same key.
useDoor();

const FOREIGN = '1-ffffffff-ffff-4fff-8fff-ffffffffffff';
/** What the source keeps back, until it is let go. */
const held = new Map<Held, Promise<void>>();
const hold = (...what: readonly Held[]): (() => void) => {
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  for (const each of what) held.set(each, released);
  return () => {
    held.clear();
    release();
  };
};
const sidecars: Sidecar[] = [];
const addresses = new Map<boolean, { side: Sidecar; at: { host: string; port: number } }>();
beforeAll(async () => {
  for (const atLeast of [false, true]) {
    const side = await sidecar({ doors: { atLeast }, hold: (what) => held.get(what) });
    sidecars.push(side);
    addresses.set(atLeast, { side, at: await side.listen() });
  }
});
afterAll(() => Promise.all(sidecars.map((side) => side.close())));
beforeEach(() => sidecars.forEach(({ reports }) => void (reports.length = 0)));

async function ask(opted: boolean, replace: Replacement): Promise<string> {
  const { side, at } = addresses.get(opted)!;
  const answer = await exchange(at, requestBytes(DOOR, subrequest(replace)));
  expectBare(answer);
  const [report] = side.reports.splice(0);
  return `${answer.status} ${report!.reason}`;
}
const revision = (opted: boolean): string => formatRevision(addresses.get(opted)!.side.source.revision);

test('every dialect whose headers say what was asked has the one of the contract', () => {
  expect(DIALECTS.map(({ atLeast }) => atLeast)).toEqual(DIALECTS.map(({ origin }) => (origin.kind === 'headers' ? 'x-authz-at-least' : null)));
});

const READ = '200 generic';
/** What was sent, the answer of a door that reads it, and of one that does not. */
const rows: readonly (readonly [string, Replacement | 'reached', string, string])[] = [
  ['none', {}, READ, READ],
  ['reached', 'reached', READ, READ],
  ['latest', { 'X-Authz-At-Least': 'latest' }, READ, READ],
  ['empty, as of a proxy whose client sent none', { 'X-Authz-At-Least': '' }, READ, READ],
  ['in another case', { 'x-authz-at-least': 'latest' }, READ, READ],
  ['a word', { 'X-Authz-At-Least': 'newest' }, '403 bad-revision', READ],
  ['joined', { 'X-Authz-At-Least': 'latest, latest' }, '403 bad-revision', READ],
  ['beyond ASCII', { 'X-Authz-At-Least': 'latest\u00e9' }, '403 bad-revision', READ],
  ['twice', { 'X-Authz-At-Least': ['latest', 'latest'] }, '403 repeated-header', READ],
  ['twice, one empty', { 'X-Authz-At-Least': ['latest', ''] }, '403 repeated-header', READ],
  ['underscores', { X_Authz_At_Least: 'latest' }, '403 repeated-header', READ],
  ['dots beside the right one', { 'X-Authz-At-Least': 'latest', 'X.Authz.At.Least': 'latest' }, '403 repeated-header', READ],
  ['of another history', { 'X-Authz-At-Least': FOREIGN }, '503 history', READ],
  ['of another history, for whoever is authenticated', { 'X-Authz-At-Least': FOREIGN, 'X-Original-URI': '/api/me' }, '503 history', '200 authenticated'],
  ['of another history, where nobody is asked', { 'X-Authz-At-Least': FOREIGN, 'X-Original-URI': '/public/x' }, '200 public', '200 public'],
  ['a word, where nobody is asked', { 'X-Authz-At-Least': 'newest', 'X-Original-URI': '/public/x' }, '403 bad-revision', '200 public'],
  ['of another history, without a credential', { 'X-Authz-At-Least': FOREIGN, Authorization: null }, '401 no-credential', '401 no-credential'],
  ['latest, two checks', { 'X-Authz-At-Least': 'latest', 'X-Original-Method': 'POST', 'X-Original-URI': '/api/device/d1/rpc/d2' }, READ, READ],
];

test.each(rows)('%s', async (_, what, read, ignored) => {
  for (const opted of [true, false]) {
    const replace = what === 'reached' ? { 'X-Authz-At-Least': revision(opted) } : what;
    expect(await ask(opted, replace), opted ? 'opted in' : 'not opted in').toBe(opted ? read : ignored);
  }
});

describe('what a client has written it can be refused by', () => {
  test('with the doorbell lost, the token alone brings the change', async () => {
    const { side } = addresses.get(true)!;
    const uri = '/api/device/d2';
    expect(await ask(true, { 'X-Original-URI': uri })).toBe('200 generic');
    const release = hold('ring');
    const written = side.source.commit((tables) => tables.remove('d2'));
    expect(await ask(true, { 'X-Original-URI': uri, 'X-Authz-At-Least': formatRevision(written) })).toBe('403 unknown-target');
    release();
  });

  test('never the old answer: no pull, no answer', async () => {
    const { side } = addresses.get(true)!;
    expect(await ask(true, { 'X-Original-URI': '/api/device/d3' })).toBe('200 generic');
    const release = hold('ring', 'pull');
    const written = side.source.commit((tables) => tables.remove('d3'));
    const answer = await ask(true, { 'X-Original-URI': '/api/device/d3', 'X-Authz-At-Least': formatRevision(written) });
    expect(['503 deadline', '503 stale']).toContain(answer);
    release();
  });
});

test('no text at all is an allow, but for what this history has and `latest`', { timeout: 60_000 }, async () => {
  const known = revision(true);
  const spoilt = fc
    .tuple(fc.nat(known.length - 1), fc.constantFrom('0', '7', 'a', 'f', '-', ',', ' ', 'Z'))
    .map(([at, by]) => known.slice(0, at) + by + known.slice(at + 1));
  const text = fc.oneof(
    spoilt,
    fc.string({ unit: 'grapheme-ascii', maxLength: 60 }),
    fc.nat().map((version) => `${version}${known.slice(known.indexOf('-'))}`),
  );
  const statuses = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(text, async (value) => {
      fc.pre(![known, 'latest', ''].includes(value.trim()));
      const answer = await ask(true, { 'X-Authz-At-Least': value });
      statuses.set(answer, (statuses.get(answer) ?? 0) + 1);
      expect(['403 bad-revision', '503 history']).toContain(answer);
    }),
    { numRuns: 200 },
  );
  expect([...statuses.keys()].sort()).toEqual(['403 bad-revision', '503 history']);
});
