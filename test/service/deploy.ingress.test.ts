// Do the configurations that no program here can run say what keeps them closed? ingress-nginx and APISIX.
//
// Each rule has a change that breaks it, and that rule alone notices: one that nothing can break would say nothing.

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { DIALECTS, doorPath } from '../../src/doors/dialects.ts';
import { FAILED_OPEN, IDENTITY } from '../../src/doors/identity-headers.ts';

type Settings = Readonly<Record<string, unknown>>;
interface Rule {
  readonly name: string;
  readonly holds: (text: string) => boolean;
  /** What breaks it. */
  readonly change: readonly [from: string | RegExp, to: string];
}

/** Not for an application: contract headers, and those from which some take another path or host. */
const CLEARED = [
  'X-Authz-Target',
  'X-Authz-At-Least',
  'X-Original-Method',
  'X-Original-URI',
  'X-Original-URL',
  'X-Rewrite-URL',
  'X-Forwarded-Prefix',
  'Forwarded',
  FAILED_OPEN,
];
/** A door keeps an idle connection for so long: a proxy's pool has to be the one that closes. */
const DOOR_KEEPS_S = 75;

const doors = new Set(DIALECTS.map(doorPath));
const same = (one: readonly string[], other: readonly string[]): boolean => [...one].sort().join() === [...other].sort().join();
const settings = (value: unknown): Settings => (typeof value === 'object' && value !== null ? (value as Settings) : {});
const word = (value: unknown): string => (typeof value === 'string' ? value : '');
const strings = (value: unknown): readonly string[] => (Array.isArray(value) ? value.map(String) : []);

/** Each text is parsed once: every rule looks at every change. */
function once<T>(read: (text: string) => T): (text: string) => T {
  const known = new Map<string, T>();
  return (text) => {
    if (!known.has(text)) known.set(text, read(text));
    return known.get(text)!;
  };
}
const document = once((text) => settings(parse(text)));
const documents = once((text) => parseAllDocuments(text).map((each) => settings(each.toJS())));

function holdAndCanFail(file: string, rules: readonly Rule[]): void {
  const shipped = readFileSync(new URL(`../../deploy/${file}`, import.meta.url), 'utf8');
  test.each(rules.map((rule) => [rule.name, rule] as const))('%s', (_, rule) => {
    expect(rule.holds(shipped)).toBe(true);
    const broken = shipped.replace(rule.change[0], rule.change[1]);
    expect(broken).not.toBe(shipped);
    expect(rules.filter(({ holds }) => !holds(broken)).map(({ name }) => name)).toEqual([rule.name]);
  });
}

describe('ingress-nginx', () => {
  const manifest = (text: string, name: string): Settings => documents(text).find(({ metadata }) => settings(metadata)['name'] === name) ?? {};
  const annotations = (text: string): Settings => settings(settings(manifest(text, 'application')['metadata'])['annotations']);
  const annotation = (text: string, name: string): string => word(annotations(text)[`nginx.ingress.kubernetes.io/${name}`]);
  const config = (text: string): Settings => settings(manifest(text, 'ingress-nginx-controller')['data']);

  holdAndCanFail('ingress-nginx/grantgate.yaml', [
    {
      name: 'asks its own door, by the route table',
      holds: (text) =>
        /^http:\/\/[a-z.]+:9191\/auth\/ingress-nginx$/.test(annotation(text, 'auth-url')) && doors.has(new URL(annotation(text, 'auth-url')).pathname),
      change: ['9191/auth/ingress-nginx', '9191/auth/nginx'],
    },
    { name: 'X-Original-URI is the controller’s', holds: (text) => annotation(text, 'auth-method') === 'GET', change: [/^.*auth-method:.*\n/m, ''] },
    {
      name: 'the whole identity set',
      holds: (text) => same(annotation(text, 'auth-response-headers').split(','), IDENTITY),
      change: [',X-Auth-Customer', ''],
    },
    {
      name: 'keeps its connections, and closes them first',
      holds: (text) => Number(annotation(text, 'auth-keepalive')) > 0 && Number(annotation(text, 'auth-keepalive-timeout')) < DOOR_KEEPS_S,
      change: ["auth-keepalive-timeout: '60'", "auth-keepalive-timeout: '90'"],
    },
    {
      name: 'nothing that caches, opens or replaces a check',
      holds: (text) => !Object.keys(annotations(text)).some((name) => /auth-(cache|signin|snippet)|snippet$|enable-global-auth|satisfy/.test(name)),
      change: ['    # No auth-cache-key', '    nginx.ingress.kubernetes.io/satisfy: any\n    # No auth-cache-key'],
    },
    {
      name: 'no header in another spelling',
      holds: (text) => config(text)['enable-underscores-in-headers'] === 'false' && config(text)['ignore-invalid-headers'] === 'true',
      change: ["enable-underscores-in-headers: 'false'", "enable-underscores-in-headers: 'true'"],
    },
    {
      name: 'a second at most for each step',
      holds: (text) => ['connect', 'send', 'read'].every((step) => word(config(text)['http-snippet']).includes(`proxy_${step}_timeout 1s;`)),
      change: ['proxy_read_timeout 1s;', ''],
    },
    {
      name: 'what an application is not to get, by the ConfigMap that is named',
      holds: (text) => {
        const named = word(config(text)['proxy-set-headers']).split('/')[1] ?? '';
        const cleared = settings(manifest(text, named)['data']);
        return CLEARED.every((name) => Object.entries(cleared).some(([each, value]) => each.toLowerCase() === name.toLowerCase() && value === ''));
      },
      change: [/^ +X-Rewrite-URL.*\n/m, ''],
    },
  ]);
});

describe('APISIX', () => {
  const plugins = (text: string, plugin: string): readonly Settings[] => {
    const { plugin_configs: configs } = document(text);
    return (Array.isArray(configs) ? configs : []).map((each) => settings(settings(settings(each)['plugins'])[plugin]));
  };
  const checks = (text: string): readonly Settings[] => plugins(text, 'forward-auth');
  const every = (text: string, holds: (check: Settings) => boolean): boolean => checks(text).length === 3 && checks(text).every(holds);

  holdAndCanFail('apisix/apisix.yaml', [
    {
      name: 'asks its own door, with parameters for constants only',
      holds: (text) =>
        every(text, ({ uri, extra_headers: extra }) => {
          const [, door = '', parameters] = /^http:\/\/[^/]+(\/auth\/[a-z-]+)((?:\/[A-Z_]+){2})?$/.exec(word(uri)) ?? [];
          return door === '/auth/apisix' && doors.has(door) && (parameters === undefined) === (settings(extra)['X-Authz-Target'] === undefined);
        }),
      change: [/^ +extra_headers.*\n/m, ''],
    },
    {
      name: 'fails closed',
      holds: (text) => every(text, (check) => check['allow_degradation'] === false),
      change: ['allow_degradation: false', 'allow_degradation: true'],
    },
    {
      name: 'no answer is no permit',
      holds: (text) => every(text, (check) => check['status_on_error'] === 503),
      change: ['status_on_error: 503', 'status_on_error: 200'],
    },
    { name: 'half a second', holds: (text) => every(text, ({ timeout }) => Number(timeout) <= 500), change: ['timeout: 500', 'timeout: 3000'] },
    { name: 'no body', holds: (text) => every(text, (check) => check['request_method'] === 'GET'), change: ['request_method: GET', 'request_method: POST'] },
    {
      name: 'the whole identity set',
      holds: (text) => every(text, (check) => same(strings(check['upstream_headers']), IDENTITY)),
      change: [', X-Auth-Customer', ''],
    },
    {
      name: 'no header of the client by which the door is told',
      holds: (text) => every(text, (check) => strings(check['request_headers']).every((name) => !/^X-(Forwarded|Original|Authz?)-/i.test(name))),
      change: ['          - X-Request-Id\n', '          - X-Request-Id\n          - X-Authz-Target\n'],
    },
    {
      name: 'both credentials and what names another method',
      holds: (text) =>
        every(text, (check) =>
          ['Authorization', 'X-Authorization', 'X-HTTP-Method-Override', 'X-HTTP-Method', 'X-Method-Override'].every((name) =>
            strings(check['request_headers']).includes(name),
          ),
        ),
      change: ['          - X-Method-Override\n', ''],
    },
    {
      name: 'a refusal says how to be let in',
      holds: (text) => every(text, (check) => strings(check['client_headers']).join() === 'WWW-Authenticate'),
      change: ['client_headers: [WWW-Authenticate]', 'client_headers: []'],
    },
    {
      name: 'keeps its connections, and closes them first',
      holds: (text) =>
        every(text, (check) => check['keepalive'] === true && Number(check['keepalive_pool']) > 5 && Number(check['keepalive_timeout']) < DOOR_KEEPS_S * 1000),
      change: ['keepalive_timeout: 60000', 'keepalive_timeout: 90000'],
    },
    {
      name: 'what an application is not to get',
      holds: (text) =>
        plugins(text, 'proxy-rewrite').every(({ headers }) =>
          CLEARED.every((name) => strings(settings(headers)['remove']).some((each) => each.toLowerCase() === name.toLowerCase())),
        ),
      change: [/^ +- X-Rewrite-URL\n/m, ''],
    },
    {
      name: 'every route is checked',
      holds: (text) => {
        const { routes, plugin_configs: configs } = document(text);
        const ids = (Array.isArray(configs) ? configs : []).map((each) => settings(each)['id']);
        return Array.isArray(routes) && routes.length === 3 && routes.every((route) => ids.includes(settings(route)['plugin_config_id']));
      },
      change: ['    plugin_config_id: grantgate-fleet\n', ''],
    },
    { name: 'ends as APISIX wants it to', holds: (text) => text.endsWith('\n#END\n'), change: ['#END\n', ''] },
  ]);
  holdAndCanFail('apisix/config.yaml', [
    {
      name: 'no header in another spelling',
      holds: (text) => settings(settings(document(text)['nginx_config'])['http'])['underscores_in_headers'] === 'off',
      change: ["'off'", "'on'"],
    },
  ]);
});
