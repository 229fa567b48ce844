// Do an issuer's keys come, stay and go as they should, whatever its server does, and does nobody make us ask it more often?

import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, type JWK } from 'jose';
import type { Clock } from 'policy-cache';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { createKeySource, type KeySource, type KeySourceSettings } from '../../src/issuers/keys.ts';
import { until } from '../support/until.ts';

type Reply = (response: ServerResponse) => void;
const json =
  (value: unknown): Reply =>
  (response) =>
    void response.end(JSON.stringify(value));

let one: JWK;
let two: JWK;
let url: string;
let keys: Reply;
let discovery: Reply;
const fetched = { keys: 0, discovery: 0 };
const server = createServer((request, response) => {
  if (request.url === '/keys') {
    fetched.keys++;
    keys(response);
  } else {
    fetched.discovery++;
    discovery(response);
  }
});
beforeAll(async () => {
  one = { ...(await exportJWK((await generateKeyPair('ES256')).publicKey)), kid: 'one' };
  two = { ...(await exportJWK((await generateKeyPair('ES256')).publicKey)), kid: 'two' };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  Object.assign(fetched, { keys: 0, discovery: 0 });
  keys = json({ keys: [one] });
  discovery = json({ issuer: url, jwks_uri: `${url}/keys` });
});

/** A clock that stands still until somebody moves it, and fires what is due then. */
function standingClock(): Clock & { advance(ms: number): void } {
  let now = 1_800_000_000_000;
  const timers = new Set<{ at: number; f: () => void }>();
  return {
    now: () => now,
    after(ms, f) {
      const timer = { at: now + ms, f };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
    advance(ms) {
      now += ms;
      for (const timer of [...timers].filter(({ at }) => at <= now)) {
        timers.delete(timer);
        timer.f();
      }
    },
  };
}

interface Bench {
  readonly source: KeySource;
  readonly log: string[];
  advance(ms: number): void;
  /** Waits for the end of so many fetches in all. */
  ended(count: number): Promise<void>;
}

function bench(more: Partial<KeySourceSettings> = {}): Bench {
  const clock = standingClock();
  const log: string[] = [];
  const source = createKeySource({
    name: 'login',
    issuer: url,
    jwksUri: `${url}/keys`,
    algorithms: ['ES256'],
    insecureHttp: false,
    refreshInterval: 300_000,
    cooldown: 10_000,
    maxKeyAge: 3_600_000,
    clock,
    wall: () => clock.now(),
    random: () => 1,
    log: (level, detail) => void log.push(`${level} ${detail}`),
    ...more,
  });
  onTestFinished(() => source.close());
  return {
    source,
    log,
    advance: (ms) => clock.advance(ms),
    async ended(count) {
      await until(() => source.refreshes.success + source.refreshes.failure === count, `${count} fetches`);
      await new Promise((resolve) => setImmediate(resolve)); // the turn in which the next one is planned
    },
  };
}

async function loaded(more: Partial<KeySourceSettings> = {}): Promise<Bench> {
  const made = bench(more);
  made.source.start();
  await made.ended(1);
  expect(made.source.problem).toBeNull();
  return made;
}

function word(source: KeySource, kid: string | null, alg = 'ES256'): string {
  try {
    return source.find(kid, alg).kind;
  } catch (error) {
    return (error as { code: string }).code;
  }
}

function groundsOf(source: KeySource, kid: string): { readonly withdrawn: boolean } {
  const found = source.find(kid, 'ES256');
  if (found.kind !== 'keys') throw new Error(`${kid}: ${found.kind}`);
  return found.keys[0]!.grounds;
}

describe('at the start', () => {
  test('nothing can be judged before the first fetch, and the cause is told', async () => {
    const { source } = bench();
    expect(word(source, 'one')).toBe('starting');
    expect(source.problem).toMatch(/login: its keys were never fetched/);
    source.start();
    await until(() => source.problem === null, 'keys');
    expect([word(source, 'one'), word(source, null), word(source, 'one', 'RS256')]).toEqual(['keys', 'keys', 'none']);
  });

  test('with no address of keys it is that of the discovery document, which must be the issuer’s own', async () => {
    const { source, log } = await loaded({ jwksUri: undefined });
    expect(word(source, 'one')).toBe('keys');
    expect(fetched).toEqual({ discovery: 1, keys: 1 });
    expect(log).toEqual(['info login: 1 keys']);
  });

  test('an issuer that ends with a slash is asked without it', async () => {
    discovery = json({ issuer: `${url}/`, jwks_uri: `${url}/keys` });
    await loaded({ issuer: `${url}/`, jwksUri: undefined });
  });

  test.each<[string, () => Partial<KeySourceSettings> | void, RegExp]>([
    [
      'a document of another issuer',
      () => ((discovery = json({ issuer: 'https://evil.example', jwks_uri: `${url}/keys` })), { jwksUri: undefined }),
      /is that of "https:\/\/evil\.example", not of/,
    ],
    ['a document without keys', () => ((discovery = json({ issuer: url })), { jwksUri: undefined }), /names no jwks_uri/],
    [
      'a document that sends us elsewhere without TLS',
      () => ((discovery = json({ issuer: url, jwks_uri: 'http://keys.example/' })), { jwksUri: undefined }),
      /http:\/\/keys\.example\/ must be https/,
    ],
    [
      'a document that names a file',
      () => ((discovery = json({ issuer: url, jwks_uri: 'file:///etc/passwd' })), { jwksUri: undefined }),
      /must be a URL of https/,
    ],
    ['500', () => void (keys = (response) => void response.writeHead(500).end()), /answered 500/],
    [
      'a redirect',
      () => void (keys = (response) => void response.writeHead(302, { location: `${url}/elsewhere` }).end()),
      /answered 302; redirects are not followed/,
    ],
    ['no JSON', () => void (keys = (response) => void response.end('<html>')), /is no JSON/],
    ['no key set', () => void (keys = json([])), /is no JWK set/],
    ['an empty one', () => void (keys = json({ keys: [] })), /none of its 0 keys verifies ES256/],
    ['an endless one', () => void (keys = endless), /more than 524288 bytes/],
    ['a connection that breaks', () => void (keys = (response) => void response.destroy()), /socket hang up|ECONNRESET/],
    ['silence', () => ((keys = () => undefined), { timeout: 100 }), /no whole answer within 100 ms/],
    ['half an answer, and silence', () => ((keys = (response) => void response.write('{"keys":')), { timeout: 100 }), /no whole answer within 100 ms/],
    ['half an answer', () => void (keys = (response) => void response.write('{"keys":', () => response.destroy())), /aborted/],
  ])('%s: no keys, and why', async (_, arrange, cause) => {
    const { source, ended, log } = bench(arrange() ?? {});
    source.start();
    await ended(1);
    expect(source.problem).toMatch(cause);
    expect(word(source, 'one')).toBe('starting');
    expect(log).toEqual([expect.stringMatching(/^warn login: keys could not be fetched .*no token of it can be judged$/)]);
    expect(source.refreshes).toEqual({ success: 0, failure: 1 });
  });

  function endless(response: ServerResponse): void {
    response.on('error', () => undefined);
    const more = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536, ' ')));
      if (!response.destroyed) response.once('drain', more);
    };
    more();
  }

  test('a redirect leads nowhere: the other address is not asked', async () => {
    keys = (response) => void response.writeHead(307, { location: `${url}/elsewhere` }).end();
    const { source, ended } = bench();
    source.start();
    await ended(1);
    expect(fetched).toEqual({ keys: 1, discovery: 0 });
  });
});

describe('a key that is not known', () => {
  test('is looked for once in a cool-down, whoever asks, and is found by all who waited', async () => {
    const { source, advance, ended } = await loaded();
    expect(word(source, 'two'), 'right after a fetch').toBe('none');
    advance(10_000);
    keys = json({ keys: [one, two] });
    const found = Array.from({ length: 100 }, () => source.find('two', 'ES256'));
    expect(new Set(found.map(({ kind }) => kind))).toEqual(new Set(['later']));
    expect(word(source, 'one'), 'one that is known waits for nothing').toBe('keys');
    await Promise.all(found.map((each) => (each.kind === 'later' ? each.ready : null)));
    await ended(2);
    expect(word(source, 'two')).toBe('keys');
    expect(fetched.keys).toBe(2);
  });

  test('a flood of made-up names is refused from memory: 100,000 of them, one fetch for each cool-down', async () => {
    const { source, advance, ended } = await loaded();
    const words = new Map<string, number>();
    for (let round = 0; round < 5; round++) {
      advance(10_000);
      for (let i = 0; i < 20_000; i++) {
        const said = word(source, `made-up-${round}-${i}`);
        words.set(said, (words.get(said) ?? 0) + 1);
        if (i === 500) await ended(round + 2);
      }
    }
    console.log(
      `oidc: 100,000 made-up key names in five cool-downs: ${[...words].map(([said, count]) => `${count} ${said}`).join(', ')}; ${fetched.keys - 1} fetches`,
    );
    expect(fetched.keys).toBe(1 + 5);
    expect(words.get('later')).toBe(5 * 256); // those that may wait; what comes beside them meanwhile is turned away
    expect(words.get('overload')).toBe(5 * (501 - 256));
    expect(words.get('none')).toBe(100_000 - 5 * 501);
  });

  test('named for another algorithm, or not at all: no fetch', async () => {
    const { source, advance } = await loaded();
    advance(20_000);
    expect([word(source, 'one', 'RS256'), word(source, null, 'RS256')]).toEqual(['none', 'none']);
    expect(fetched.keys).toBe(1);
  });

  test('while the issuer is away it cannot be decided; the keys of before go on', async () => {
    const { source, advance, ended } = await loaded();
    keys = (response) => void response.writeHead(503).end();
    advance(10_000);
    expect(word(source, 'two')).toBe('later');
    await ended(2);
    expect([word(source, 'two'), word(source, 'one')]).toEqual(['source', 'keys']);
  });
});

describe('in the background', () => {
  test('they are fetched again and again, and what a key proved stands as long as it is there', async () => {
    const { source, advance, ended, log } = await loaded();
    const first = groundsOf(source, 'one');
    advance(300_000);
    await ended(2);
    expect([first.withdrawn, source.ageMs]).toEqual([false, 0]);
    keys = json({ keys: [two, one] });
    advance(300_000);
    await ended(3);
    const second = groundsOf(source, 'two');
    expect(groundsOf(source, 'one')).toBe(first);
    keys = json({ keys: [two] });
    advance(300_000);
    await ended(4);
    expect([first.withdrawn, second.withdrawn]).toEqual([true, false]);
    expect(groundsOf(source, 'two')).toBe(second);
    expect([word(source, 'two'), word(source, 'one')]).toEqual(['keys', 'none']);
    expect(log).toEqual(['info login: 1 keys', 'info login: 1 keys, 1 gone']);
  });

  test('one that is published twice is one key: what it proved falls when it goes', async () => {
    keys = json({ keys: [one, one, two] });
    const { source, advance, ended } = await loaded();
    const found = source.find('one', 'ES256');
    const grounds = found.kind === 'keys' ? found.keys.map((each) => each.grounds) : [];
    expect(grounds).toHaveLength(1);
    keys = json({ keys: [two] });
    advance(300_000);
    await ended(2);
    expect(grounds.map(({ withdrawn }) => withdrawn)).toEqual([true]);
  });

  test('the same name with other bytes is another key', async () => {
    const { source, advance, ended } = await loaded();
    const first = groundsOf(source, 'one');
    keys = json({ keys: [{ ...two, kid: 'one' }] });
    advance(300_000);
    await ended(2);
    expect([first.withdrawn, groundsOf(source, 'one').withdrawn]).toEqual([true, false]);
  });

  test('a failure is tried again after 1, 2, 4 … s, at most as often as in quiet times; meanwhile the old keys are good', async () => {
    const { source, advance, ended } = await loaded();
    keys = (response) => void response.writeHead(500).end();
    advance(300_000);
    await ended(2);
    let all = 2;
    for (const seconds of [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]) {
      advance(seconds * 1000 - 1);
      expect(fetched.keys).toBe(all);
      advance(1);
      await ended(++all);
      expect(word(source, 'one')).toBe('keys');
    }
    keys = json({ keys: [one] });
    advance(300_000);
    await ended(++all);
    expect([source.problem, source.ageMs, groundsOf(source, 'one').withdrawn]).toEqual([null, 0, false]);
    advance(299_999);
    expect(fetched.keys).toBe(all);
  });

  test('pauses differ: between half and all of them, by chance', async () => {
    const { advance, ended } = await loaded({ random: () => 0 });
    advance(149_999);
    expect(fetched.keys).toBe(1);
    advance(1);
    await ended(2);
  });

  test('keys that are too old are believed no more, and again once they were fetched', async () => {
    const { source, advance, ended } = await loaded({ maxKeyAge: 600_000 });
    keys = (response) => void response.writeHead(500).end();
    for (let all = 1; source.problem === null; advance(100_000)) {
      await ended(source.refreshes.failure + 1);
      if (++all > 20) break;
    }
    expect(source.problem).toMatch(/longer than maxKeyAge .*answered 500/);
    expect(word(source, 'one')).toBe('stale');
    keys = json({ keys: [one] });
    const before = source.refreshes.success;
    advance(300_000);
    await until(() => source.refreshes.success > before, 'a fetch');
    expect(word(source, 'one')).toBe('keys');
  });

  test('what a token proves ends with the age of its keys', async () => {
    const { source } = await loaded();
    expect(source.find('one', 'ES256')).toMatchObject({ until: 1_800_000_000 + 3600 });
  });

  test('closed, nothing is fetched any more', async () => {
    const { source, advance } = await loaded();
    source.close();
    advance(1_000_000);
    expect(fetched.keys).toBe(1);
  });
});
