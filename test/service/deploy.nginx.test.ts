// What must a configuration of nginx never do before a door? A linter for the files of deploy/nginx, by what was measured.
//
// Each rule has changes that break it, and that rule notices: one that nothing can break would say nothing.

import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { DIALECTS, doorPath } from '../../src/doors/dialects.ts';
import { FAILED_OPEN, IDENTITY } from '../../src/doors/identity-headers.ts';

interface Directive {
  readonly name: string;
  readonly args: readonly string[];
  /** Of a block. */
  readonly inner: readonly Directive[] | null;
}

/** Words, quoted ones too, `;` and braces: all that the grammar has. A `{` or `;` in a word is quoted in our files. */
function parseConfig(text: string): readonly Directive[] {
  const tokens = text.match(/#.*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[{};]|(?:\$\{\w+\}|[^\s{};"'#])+/g)?.filter((token) => !token.startsWith('#')) ?? [];
  let at = 0;
  const block = (): Directive[] => {
    const found: Directive[] = [];
    let words: string[] = [];
    for (; at < tokens.length; at++) {
      const token = tokens[at]!;
      if (token === '}') return found;
      if (token !== ';' && token !== '{') {
        words.push(/^["']/.test(token) ? token.slice(1, -1) : token);
        continue;
      }
      const [name = '', ...args] = words;
      if (token === '{') at++;
      found.push({ name, args, inner: token === '{' ? block() : null });
      words = [];
    }
    return found;
  };
  return block();
}

function all(directives: readonly Directive[]): readonly Directive[] {
  return directives.flatMap((each) => [each, ...(each.inner === null ? [] : all(each.inner))]);
}
const named = (directives: readonly Directive[], name: string): readonly Directive[] => directives.filter((each) => each.name === name);
const value = (directives: readonly Directive[], name: string): string | undefined => named(directives, name)[0]?.args.join(' ');
const sent = (directives: readonly Directive[], header: string): string | undefined =>
  named(directives, 'proxy_set_header').find(({ args }) => args[0]?.toLowerCase() === header.toLowerCase())?.args[1];

const doors = DIALECTS.map(doorPath);
const isDoor = ({ name, args }: Directive): boolean => name === 'location' && doors.includes(args.at(-1) ?? '');
const isMap = ({ name }: Directive): boolean => name === 'map';

type Files = Readonly<Record<string, string>>;
/** Contract headers, and those from which some applications take another path or host. */
// prettier-ignore
const CLEARED = ['X-Authz-Target', 'X-Authz-At-Least', 'X-Original-Method', 'X-Original-URI', 'X-Original-URL', 'X-Rewrite-URL', 'X-Forwarded-Uri', 'X-Forwarded-Method', 'X-Forwarded-Prefix', 'X-Forwarded-Host', 'X-Forwarded-Port', 'Forwarded', FAILED_OPEN];

/** What a request holds decoded: a %0d%0a in it is a new line in the subrequest. */
const DECODED = /\$\{?(uri|document_uri|args|query_string|arg_\w+|is_args|request_filename|document_root|realpath_root|fastcgi_\w+|cookie_\w+|\d)\b/;

/** W3C Trace Context, version 00. */
const TRACEPARENT = '00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]';

interface Guard {
  readonly every: readonly Directive[];
  readonly door: readonly Directive[];
  /** What stands in the server, outside of any location. */
  readonly server: readonly Directive[];
  readonly locations: readonly Directive[];
}

const RULES: Readonly<Record<string, (guard: Guard) => boolean>> = {
  'nothing decoded is sent on, or chooses a question': ({ every }) =>
    every
      .filter(({ name }) => ['proxy_set_header', 'auth_request', 'auth_request_set', 'set', 'proxy_pass', 'map'].includes(name))
      .every(({ args }) => !args.some((arg) => DECODED.test(arg))),
  'nothing that a location captured is used': ({ every }) => {
    const captured = every
      .filter(({ name }) => ['location', 'rewrite', 'server_name', 'if'].includes(name))
      .flatMap(({ args }) => [...args.join(' ').matchAll(/\(\?P?<(\w+)>/g)].map(([, name]) => name!));
    return !every.some(({ name, args }) => name !== 'location' && args.some((arg) => captured.some((each) => new RegExp(`\\$\\{?${each}\\b`).test(arg))));
  },
  'what a map captures is of a class that no new line is in, and from raw bytes': ({ every }) =>
    every.filter(isMap).every(({ args, inner }) =>
      (inner ?? []).every(({ name }) => {
        const groups = [...name.matchAll(/\(\?<\w+>((?:[^()\\]|\\.)*)\)/g)].map(([, group]) => group!);
        if (groups.length === 0) return true;
        const raw = ['$request_uri', '$ssl_client_s_dn', '$request_id'].includes(args[0]!); // the last is nginx's own
        return raw && groups.every((group) => /^\[[A-Za-z0-9_.:-]+\]\{(1,)?\d+\}$/.test(group));
      }),
    ),
  'the door is internal': ({ door }) => named(door, 'internal').length === 1,
  'no body is announced to the door, and none is sent': ({ door }) => sent(door, 'Content-Length') === '' && value(door, 'proxy_pass_request_body') === 'off',
  'of the client’s headers the door gets those that are named': ({ door }) => value(door, 'proxy_pass_request_headers') === 'off',
  'method and target are the request’s own, and the target of the check is a map’s': ({ door, every }) =>
    sent(door, 'X-Original-Method') === '$request_method' &&
    sent(door, 'X-Original-URI') === '$request_uri' &&
    every.some((each) => isMap(each) && each.args[0] === '$request_uri' && each.args[1] === sent(door, 'X-Authz-Target')),
  'both credentials are shown, and what names another method': ({ door }) =>
    ['Authorization', 'X-Authorization', 'X-HTTP-Method-Override', 'X-HTTP-Method', 'X-Method-Override'].every(
      (name) => sent(door, name) === `$http_${name.toLowerCase().replaceAll('-', '_')}`,
    ),
  'connections to the door are kept, and answers are not': ({ door, every }) =>
    sent(door, 'Connection') === '' &&
    value(door, 'proxy_cache') === 'off' &&
    every.some(
      ({ name, args, inner }) => name === 'upstream' && `http://${args[0]}` === value(door, 'proxy_pass') && Number(value(inner ?? [], 'keepalive')) > 0,
    ),
  'a silent door is waited for less than a second': ({ door }) =>
    ['connect', 'send', 'read'].every((step) => /^\d{1,3}ms$/.test(value(door, `proxy_${step}_timeout`) ?? '')),
  'every location is asked about, at a door': ({ server, every }) =>
    named(server, 'auth_request').length === 1 && named(every, 'auth_request').every(({ args }) => /^\/auth\/nginx(\/[A-Z_]+\/[A-Z_]+)?$/.test(args[0] ?? '')),
  'nothing answers before the check, moves it, or stands in for it': ({ every }) =>
    !every.some(({ name }) => ['return', 'rewrite', 'try_files', 'satisfy', 'if', 'error_page'].includes(name)),
  'one operation for all below a path closes the other methods': ({ locations }) =>
    locations.every(({ inner }) => !value(inner ?? [], 'auth_request')?.startsWith('/auth/nginx/') || value(inner ?? [], 'limit_except') === 'GET'),
  'the whole identity set is the answer’s, in every location': ({ server, locations }) =>
    [server, ...locations.map(({ inner }) => inner ?? []).filter((inner) => named(inner, 'proxy_set_header').length > 0)].every((level) =>
      IDENTITY.every((name) =>
        named(server, 'auth_request_set').some(
          ({ args }) => args[0] === sent(level, name) && args[1] === `$upstream_http_${name.toLowerCase().replaceAll('-', '_')}`,
        ),
      ),
    ),
  'an application gets no contract header, and none that names another path': ({ server }) => CLEARED.every((name) => sent(server, name) === ''),
  'of a trace goes on what is of its form, the same to both': ({ every, server, door }) =>
    ['Traceparent', 'Tracestate'].every((name) => {
      const passed = sent(server, name);
      const map = every.find((each) => isMap(each) && each.args[1] === passed);
      const taken = (map?.inner ?? []).filter(({ args }) => args[0] === `$http_${name.toLowerCase()}`);
      return sent(door, name) === passed && taken.length === 1 && taken[0]!.name.startsWith(`~^${TRACEPARENT}`) && taken[0]!.name.endsWith('$');
    }),
  'no other spelling passes': ({ server }) => value(server, 'underscores_in_headers') === 'off' && value(server, 'ignore_invalid_headers') === 'on',
  'no other protocol than WebSocket': ({ server, every }) => {
    const upgrade = every.find((each) => isMap(each) && each.args[0] === '$http_upgrade' && each.args[1] === sent(server, 'Upgrade'));
    return (upgrade?.inner ?? []).map(({ name, args }) => `${name} ${args[0]}`).join() === 'default ,~*^websocket$ websocket';
  },
  'an application gets the bytes that were checked': ({ locations }) =>
    locations.every(({ inner }) => value(inner ?? [], 'proxy_pass') === 'http://application'),
};

/** Names of the rules that do not hold. */
function lint(files: Files): readonly string[] {
  const parsed = Object.fromEntries(Object.entries(files).map(([file, text]) => [file, parseConfig(text)]));
  const guard = parsed['grantgate.conf'] ?? [];
  const locations = named(guard, 'location');
  const subject: Guard = {
    every: all(Object.values(parsed).flat()),
    door: locations.find(isDoor)?.inner ?? [],
    server: guard.filter(({ name }) => name !== 'location'),
    locations: locations.filter((each) => !isDoor(each)),
  };
  return Object.entries(RULES)
    .filter(([, holds]) => !holds(subject))
    .map(([name]) => name);
}

const directory = new URL('../../deploy/nginx/', import.meta.url);
const shipped: Files = Object.fromEntries(readdirSync(directory).map((file) => [file, readFileSync(new URL(file, directory), 'utf8')]));

test('the shipped files break no rule', () => {
  expect(lint(shipped)).toEqual([]);
  expect(all(parseConfig(shipped['grantgate.conf']!)).length).toBeGreaterThan(60);
});

const DECODES = 'nothing decoded is sent on, or chooses a question';
const CAPTURES = 'nothing that a location captured is used';
const LOOSE = 'what a map captures is of a class that no new line is in, and from raw bytes';
const CHANGES: readonly (readonly [rule: string, file: string, from: string | RegExp, to: string])[] = [
  [DECODES, 'grantgate.conf', 'proxy_set_header X-Request-Id      $grantgate_request_id;\n', 'proxy_set_header X-Resource $uri;\n'],
  [DECODES, 'grantgate.conf', 'proxy_set_header X-Request-Id      $grantgate_request_id;\n', 'proxy_set_header X-Resource "/x${document_uri}";\n'],
  [DECODES, 'grantgate.conf', 'proxy_set_header X-Request-Id      $grantgate_request_id;\n', 'proxy_set_header X-Resource $arg_id;\n'],
  [DECODES, 'grantgate.conf', 'proxy_set_header X-Request-Id      $grantgate_request_id;\n', 'proxy_set_header X-Resource $1;\n'],
  [DECODES, 'grantgate-maps.conf', 'map $http_x_request_id', 'map $uri'],
  [CAPTURES, 'grantgate.conf', /location \^~ \/fleet\/ \{/, 'location ~ ^/fleet/(?<captured>[^/]+) {\n    set $target $captured;'],
  [LOOSE, 'grantgate-maps.conf', '[A-Za-z0-9_:-]{1,255}', '[^/]{1,255}'],
  [LOOSE, 'grantgate-maps.conf', '[A-Za-z0-9_:-]{1,255}', '.+'],
  ['the door is internal', 'grantgate.conf', '    internal;\n', ''],
  ['no body is announced to the door, and none is sent', 'grantgate.conf', /^ +proxy_set_header Content-Length.*\n/m, ''],
  ['no body is announced to the door, and none is sent', 'grantgate.conf', /^ +proxy_pass_request_body.*\n/m, ''],
  ['of the client’s headers the door gets those that are named', 'grantgate.conf', /^ +proxy_pass_request_headers.*\n/m, ''],
  [
    'method and target are the request’s own, and the target of the check is a map’s',
    'grantgate.conf',
    /X-Original-URI +\$request_uri/,
    'X-Original-URI $http_x_original_uri',
  ],
  [
    'method and target are the request’s own, and the target of the check is a map’s',
    'grantgate.conf',
    'X-Authz-Target    $grantgate_target',
    'X-Authz-Target    $http_x_authz_target',
  ],
  ['both credentials are shown, and what names another method', 'grantgate.conf', /^ +proxy_set_header X-HTTP-Method .*\n/m, ''],
  ['connections to the door are kept, and answers are not', 'grantgate.conf', 'proxy_cache off;', 'proxy_cache answers;'],
  ['connections to the door are kept, and answers are not', 'addresses.conf', 'keepalive 64;', ''],
  ['a silent door is waited for less than a second', 'grantgate.conf', 'proxy_read_timeout    500ms;', ''],
  ['every location is asked about, at a door', 'grantgate.conf', 'auth_request /auth/nginx/ASSET/READ;', 'auth_request off;'],
  ['nothing answers before the check, moves it, or stands in for it', 'grantgate.conf', 'location / {', 'location / {\n    satisfy any;'],
  [
    'nothing answers before the check, moves it, or stands in for it',
    'addresses.conf',
    'include grantgate.conf;',
    'include grantgate.conf;\n    location /hello { return 200; }',
  ],
  ['one operation for all below a path closes the other methods', 'grantgate.conf', 'limit_except GET { deny all; }', ''],
  ['the whole identity set is the answer’s, in every location', 'grantgate.conf', /^proxy_set_header X-Auth-Customer.*\n/m, ''],
  ['the whole identity set is the answer’s, in every location', 'grantgate.conf', 'location / {', 'location / {\n    proxy_set_header X-More more;'],
  ['an application gets no contract header, and none that names another path', 'grantgate.conf', /^proxy_set_header X-Rewrite-URL.*\n/m, ''],
  ['of a trace goes on what is of its form, the same to both', 'grantgate-maps.conf', '"~^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]$"', '"~^00-"'],
  ['of a trace goes on what is of its form, the same to both', 'grantgate-maps.conf', '[ -~]{1,512}$"', '"'],
  ['of a trace goes on what is of its form, the same to both', 'grantgate.conf', /^proxy_set_header Traceparent.*\n/m, ''],
  [
    'of a trace goes on what is of its form, the same to both',
    'grantgate.conf',
    /^ +proxy_set_header Traceparent.*\n/m,
    '    proxy_set_header Traceparent $http_traceparent;\n',
  ],
  ['no other spelling passes', 'grantgate.conf', 'underscores_in_headers off;', 'underscores_in_headers on;'],
  ['no other protocol than WebSocket', 'grantgate.conf', /Upgrade +\$grantgate_upgrade/, 'Upgrade $http_upgrade'],
  ['no other protocol than WebSocket', 'grantgate-maps.conf', '~*^websocket$', '~*websocket'],
  ['an application gets the bytes that were checked', 'grantgate.conf', 'proxy_pass http://application;', 'proxy_pass http://application/;'],
];

test.each(CHANGES)('%s: caught in %s', (rule, file, from, to) => {
  const text = shipped[file] ?? '';
  const changed = text.replace(from, () => to);
  expect(changed).not.toBe(text);
  expect(lint({ ...shipped, [file]: changed })).toEqual([rule]);
});

test('every rule is broken by some change', () => expect([...new Set(CHANGES.map(([rule]) => rule))].sort()).toEqual(Object.keys(RULES).sort()));
