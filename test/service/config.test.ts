import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { showConfig } from '../../src/config.ts';
import { notes } from '../../src/setting-kinds.ts';
import { leaves, settings } from '../../src/settings.ts';
import { load, problems } from '../support/config.ts';

const KEY = Buffer.alloc(64, 'k').toString('base64');

test('without anything, every setting has its default, and the doors are on loopback', () => {
  const { settings: given, sources } = load({});
  expect(given.doors).toEqual({
    host: '127.0.0.1',
    port: 9191,
    insecurePublicListen: false,
    insecureWorldWritableSocket: false,
    takeOver: false,
    deadline: 100,
    atLeast: false,
    identity: 'token',
  });
  expect(given.identity.oidc).toEqual([]);
  expect(given.cache.maxStaleness).toBe(2000);
  expect([...sources.values()].every((source) => source === 'default')).toBe(true);
  expect(sources.size).toBe(leaves.length);
});

test('file < environment < flags, and each value names its source', () => {
  const { settings: given, sources } = load({
    file: 'doors:\n  port: 1001\n  host: 127.0.0.2\n  socket: /run/a.sock\napi: { port: 1002 }\n',
    env: { GRANTGATE_DOORS_PORT: '2001', GRANTGATE_DOORS_HOST: '127.0.0.3' },
    sets: ['doors.port=3001'],
  });
  expect([given.doors.port, given.doors.host, given.doors.socket, given.api.port]).toEqual([3001, '127.0.0.3', '/run/a.sock', 1002]);
  expect(sources.get('doors.port')).toBe('--set');
  expect(sources.get('doors.host')).toBe('env GRANTGATE_DOORS_HOST');
  expect(sources.get('doors.socket')).toBe('grantgate.yaml:4');
  expect(sources.get('api.port')).toBe('grantgate.yaml:5');
});

test('the file may be named by the environment, and may be JSON', () => {
  const given = load({ env: { GRANTGATE_CONFIG: 'x.json' }, files: { 'x.json': '{"log": {"allowSample": 0.5}}' } });
  expect(given.settings.log.allowSample).toBe(0.5);
});

test('the well-known database variables count, ours more', () => {
  const a = load({ env: { DATABASE_URL: 'postgres://a@h/d', ADMIN_DATABASE_URL: 'postgres://b@h/d', OWNER_DATABASE_URL: 'postgresql://c@h/d' } }).settings
    .database;
  expect([a.url, a.adminUrl, a.ownerUrl]).toEqual(['postgres://a@h/d', 'postgres://b@h/d', 'postgresql://c@h/d']);
  const b = load({
    env: { DATABASE_URL: 'postgres://a@h/d', GRANTGATE_DATABASE_URL: 'postgres://ours@h/d' },
    file: 'database: { url: "postgres://file@h/d" }',
  });
  expect(b.settings.database.url).toBe('postgres://ours@h/d');
});

test('text means the same as YAML: times with units, lists with commas, booleans', () => {
  const text = load({
    env: {
      GRANTGATE_CACHE_MAX_STALENESS: '1.5s',
      GRANTGATE_IDENTITY_THINGSBOARD_TENANTS: 'a, b',
      GRANTGATE_API_METRICS: 'false',
      GRANTGATE_DOORS_PORT: 'none',
      GRANTGATE_DOORS_SOCKET: '/s',
    },
  }).settings;
  const yaml = load({
    file: 'cache: { maxStaleness: 1500 }\nidentity: { thingsboard: { tenants: [a, b] } }\napi: { metrics: false }\ndoors: { port: none, socket: /s }',
  }).settings;
  expect(text).toEqual(yaml);
  expect(text.cache.maxStaleness).toBe(1500);
  expect(text.identity.thingsboard.tenants).toEqual(['a', 'b']);
  expect(load({ sets: ['shutdown.delay=1m'] }).settings.shutdown.delay).toBe(60_000);
});

test('every problem is reported at once, with its place and a way out', () => {
  const found = problems({
    file: 'doors:\n  prot: 1\n  host: 0.0.0.0\napi:\n  port: 99999\nlog: 7\n',
    env: { GRANTGATE_DOOR_PORT: '1', GRANTGATE_CACHE_MAX_STALENESS: 'soon', GRANTGATE_DOORS_DEADLINE: '0', DATABASE_URL: 'mysql://secret@h' },
    sets: ['cache.subject=5', 'nonsense'],
  });
  expect(found).toHaveLength(10);
  for (const expected of [
    /^doors\.prot \(grantgate\.yaml:2\): no such setting; did you mean doors\.port\?$/,
    /^doors\.host \(grantgate\.yaml:3\): 0\.0\.0\.0 is not a loopback address.*insecurePublicListen/,
    /^api\.port \(grantgate\.yaml:5\): must be a whole number from 0 to 65535, got 99999$/,
    /^log \(grantgate\.yaml:6\): must be a map of settings$/,
    /^env GRANTGATE_DOOR_PORT: no such setting; did you mean GRANTGATE_DOORS_PORT\?$/,
    /^cache\.maxStaleness \(env GRANTGATE_CACHE_MAX_STALENESS\): must be a time from 300ms to 1h.*got "soon"$/,
    /^doors\.deadline \(env GRANTGATE_DOORS_DEADLINE\): must be a time/,
    /^--set cache\.subject: no such setting; did you mean cache\.subjects\?$/,
    /^--set nonsense: must be path=value/,
    /^database\.url \(env DATABASE_URL\): must be postgres:\/\//,
  ])
    expect(
      found.some((problem) => expected.test(problem)),
      `${String(expected)} in\n${found.join('\n')}`,
    ).toBe(true);
  expect(found.join('\n')).not.toContain('secret@');
});

describe('a bad file', () => {
  test.each([
    ['doors: {port: 1', /^grantgate\.yaml:\d+: /],
    ['doors: 1\ndoors: 2', /^grantgate\.yaml:2: .*unique/],
    ['- a', /must be a map/],
    ['doors: { port: [1] }', /^doors\.port \(grantgate\.yaml:1\): must be a port/],
    ['"__proto__": { x: 1 }', /no such setting/],
    ['constructor: { prototype: 1 }', /no such setting/],
  ])('%j is refused', (file, message) => {
    const found = problems({ file });
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(message);
  });
  test('an absent one is named', () => {
    expect(problems({ env: { GRANTGATE_CONFIG: 'gone.yaml' } })).toEqual(['gone.yaml: cannot be read: ENOENT']);
  });
  test('an empty one, and empty keys, set nothing', () => {
    expect(load({ file: '' }).settings).toEqual(load({}).settings);
    expect(load({ file: 'doors:\napi: { port: }\n' }).settings).toEqual(load({}).settings);
  });
});

describe('unsafe choices need a setting that says so', () => {
  test.each(['0.0.0.0', '10.0.0.5', '::', 'grantgate.example', '127.0.0.1.example', '1270.0.0.1'])('a listener on %s', (host) => {
    for (const listener of ['doors', 'grpc', 'api']) {
      expect(problems({ sets: [`${listener}.host=${host}`] })).toHaveLength(1);
      expect(problems({ sets: [`${listener}.host=${host}`, `${listener}.insecurePublicListen=true`] })).toEqual([]);
    }
  });
  test.each(['127.0.0.1', '127.1.2.3', '::1', 'localhost'])('%s is loopback', (host) => {
    expect(problems({ sets: [`doors.host=${host}`, `api.host=${host}`] })).toEqual([]);
  });
  test('their names start with insecure, and none is on', () => {
    for (const leaf of leaves.filter(({ path }) => path.includes('insecure'))) {
      expect(leaf.path).toMatch(/\.insecure[A-Z]/);
      expect(leaf.schema.parse(undefined)).toBe(false);
    }
  });
  test('the signing key that every ThingsBoard starts with is refused', () => {
    for (const key of ['thingsboardDefaultSigningKey', Buffer.from('thingsboardDefaultSigningKey').toString('base64')]) {
      expect(problems({ env: { GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY: key } })).toEqual([expect.stringMatching(/everybody knows/)]);
    }
  });
});

test('a value out of range is told with the range, in our words', () => {
  const found = problems({
    file: 'doors: { port: 99999 }\napi: { port: x }\ncache: { subjects: -3 }\nlog: { allowSample: 2 }\nidentity: { thingsboard: { tenants: [] } }\n',
  });
  expect(found).toEqual([
    "doors.port (grantgate.yaml:1): must be a port from 0 (any free one) to 65535, or 'none', got 99999",
    'api.port (grantgate.yaml:2): must be a whole number from 0 to 65535, got "x"', // and not: the port of the doors too
    'cache.subjects (grantgate.yaml:3): must be a whole number from 100 to 100000000, got -3',
    "identity.thingsboard.tenants (grantgate.yaml:5): must be '*' or a list of ids, got []",
    'log.allowSample (grantgate.yaml:4): must be a number from 0 to 1, got 2',
  ]);
});

test('settings that contradict each other are refused', () => {
  expect(problems({ sets: ['doors.port=none'] })[0]).toMatch(/no door at all/);
  expect(problems({ sets: ['doors.port=9190'] })[0]).toMatch(/port of the doors too/);
  expect(problems({ sets: ['doors.port=0', 'api.port=0'] })).toEqual([]);
  expect(problems({ sets: ['doors.socketGroup=www-data'] })[0]).toMatch(/without doors\.socket/);
  expect(problems({ sets: [`doors.socket=/${'x'.repeat(107)}`] })[0]).toMatch(/107 bytes/);
  expect(problems({ sets: ['grpc.port=none'] })).toEqual([]); // no gRPC door
  expect(problems({ sets: ['grpc.port=9190'] })).toEqual([expect.stringMatching(/^api\.port .*port of the gRPC door too/)]);
  expect(problems({ sets: ['grpc.port=9191'] })).toEqual([expect.stringMatching(/^grpc\.port .*port of the doors too/)]);
  expect(problems({ sets: ['grpc.host=0.0.0.0'] })[0]).toMatch(/or grpc\.socket, or set grpc\.insecurePublicListen/);
  expect(problems({ sets: ['grpc.socketGroup=envoy'] })[0]).toMatch(/without grpc\.socket/);
  expect(problems({ sets: [`grpc.socket=/${'x'.repeat(107)}`] })[0]).toMatch(/^grpc\.socket .*107 bytes/);
  expect(problems({ sets: ['grpc.socket=/run/a.sock', 'doors.socket=/run/a.sock'] })[0]).toMatch(/^grpc\.socket .*socket of the doors too/);
});

test('the result is frozen, all the way down', () => {
  const { settings: given } = load({ sets: ['identity.thingsboard.tenants=a,b'] });
  expect(() => {
    (given.doors as { port: number }).port = 1;
  }).toThrow(TypeError);
  expect(() => {
    (given.identity.thingsboard.tenants as string[]).push('c');
  }).toThrow(TypeError);
});

describe('a secret', () => {
  const env = { GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY: KEY, DATABASE_URL: 'postgres://reader:pa%20ss@db:5432/app?sslmode=verify-full&password=other' };
  test.each(['yaml', 'json'] as const)('is not in the %s that config prints', (as) => {
    const shown = showConfig(load({ env }), as);
    for (const secret of [KEY, 'pa%20ss', 'pa ss', 'other']) expect(shown).not.toContain(secret);
    expect(shown).toContain('reader:secret@db:5432/app');
    expect(shown).toContain('env DATABASE_URL');
  });
  test('may come from a file', () => {
    const files = { '/run/key': `${KEY}\n` };
    expect(load({ env: { GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY_FILE: '/run/key' }, files }).settings.identity.thingsboard.signingKey).toEqual([KEY]);
    expect(problems({ env: { GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY_FILE: '/gone' } })[0]).toMatch(/\/gone cannot be read/);
    expect(problems({ env: { ...env, GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY_FILE: '/run/key' }, files })[0]).toMatch(/use one of them/);
    expect(problems({ env: { GRANTGATE_DOORS_PORT_FILE: '/run/key' }, files })[0]).toMatch(/no such setting/);
  });
  test('may have the line breaks that openssl gives it', () => {
    const wrapped = KEY.replace(/(.{64})/g, '$1\n');
    expect(wrapped).toContain('\n');
    const { signingKey } = load({ env: { GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY_FILE: '/k' }, files: { '/k': `${wrapped}\n` } }).settings.identity
      .thingsboard;
    expect(signingKey).toEqual([KEY]);
  });
  test('may be a list while it is being changed', () => {
    const two = `${KEY},${Buffer.alloc(64, 'n').toString('base64')}`;
    const given = load({ env: { GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY: two } });
    expect(given.settings.identity.thingsboard.signingKey).toEqual(two.split(','));
    expect(showConfig(given, 'json')).not.toContain(KEY);
    expect(problems({ env: { GRANTGATE_IDENTITY_THINGSBOARD_SIGNING_KEY: `${KEY},c2hvcnQ=` } })).toEqual([expect.stringMatching(/at least 64 bytes/)]);
  });
  test.each([
    ['postgres://reader:pass#word@db/app', 'postgres://reader:secret@db/app'],
    ['postgres://reader:pass@h1:5432,[::1]:5433/app', 'postgres://reader:secret@h1:5432,[::1]:5433/app'],
    ['postgres://reader@db/app', 'postgres://reader@db/app'],
    ['postgres:///app?host=/run&user=reader&password=pass', 'postgres:///app'],
    // Where the password ends is not to be known: 12, or 12/pass.
    ['postgres://reader:12/pass@db/app', '[secret]'],
    ['postgres://reader:12@pass@db/app', '[secret]'],
    ['postgres://reader:12?pass@db/app', '[secret]'],
    ['postgres://reader:12?x=y/pass@db/app', '[secret]'],
    ['postgres://reader:pass/app', '[secret]'],
    ['postgres://db/app#pass', '[secret]'],
    ['postgres:///pass:x@db', '[secret]'],
  ])('in %s', (url, expected) => {
    const { value } = (JSON.parse(showConfig(load({ env: { DATABASE_URL: url } }), 'json')) as Record<string, { value: unknown }>)['database.url']!;
    expect(value).toBe(expected);
  });
  test.each([`identity.thingsboard.signingKey:${KEY}`, KEY])('that is no setting is not repeated in the problem', (set) => {
    const [problem] = problems({ sets: [set] });
    expect(problem).toMatch(/^--set (identity\.thingsboard\.signingKey|…): must be path=value/);
  });
  test('of a bad form is not repeated in the problem', () => {
    expect(problems({ env: { DATABASE_URL: 'hunter2' } })[0]).not.toContain('hunter2');
    for (const keys of ['hunter2', `${'k'.repeat(32)},hunter2`, 'k'.repeat(31), `${'k'.repeat(32)}"hunter2"`, ',']) {
      const [problem] = problems({ env: { GRANTGATE_API_KEYS: keys } });
      expect(problem).toMatch(/^api\.keys \(env GRANTGATE_API_KEYS\): must be keys of at least 32 characters/);
      expect(problem).not.toContain('hunter2');
    }
  });
  test('of the api: keys by commas or one a line, in the environment, a list or a file, and never shown', () => {
    const [one, two] = ['first-key-of-the-api.0123456789abcdef', 'c2Vjb25kIGtleSBvZiB0aGUgYXBpLi4uLi4='];
    const given = [
      load({ env: { GRANTGATE_API_KEYS: `${one}, ${two}` } }),
      load({ file: `api: { keys: [${one}, "${two}"] }` }),
      load({ env: { GRANTGATE_API_KEYS_FILE: '/run/keys' }, files: { '/run/keys': `${one}\n${two}\n` } }),
    ];
    for (const config of given) {
      expect(config.settings.api.keys).toEqual([one, two]);
      for (const as of ['yaml', 'json'] as const) expect(showConfig(config, as)).not.toMatch(/first-key|c2Vjb25k/);
    }
    expect(load({}).settings.api.keys).toBeUndefined();
  });
});

test('what config prints as YAML is a configuration that gives the same settings', () => {
  const given = load({
    sets: ['doors.socket=/run/a b.sock', 'cache.maxStaleness=1500', 'identity.thingsboard.tenants=a,b', 'doors.deadline=90ms', 'log.allowSample=0.25'],
  });
  const shown = showConfig(given, 'yaml');
  expect(load({ file: shown }).settings).toEqual(given.settings);
  expect(Object.keys(parse(shown) as object)).toEqual(Object.keys(settings.shape));
});

test('every leaf has a description that is a sentence, and a variable of its own', () => {
  expect(new Set(leaves.map(({ env }) => env)).size).toBe(leaves.length);
  for (const { path, env, schema } of leaves) {
    expect(notes.get(schema)?.description, path).toMatch(/^[A-Z].*\.$/);
    expect(env).toMatch(/^GRANTGATE_[A-Z_]+$/);
  }
  expect(leaves.find(({ path }) => path === 'doors.socketGroup')!.env).toBe('GRANTGATE_DOORS_SOCKET_GROUP');
});
