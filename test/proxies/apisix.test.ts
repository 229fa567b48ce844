// Does the door for APISIX hold against a real nginx that asks as the plugin forward-auth does, by what deploy/apisix says?
//
// APISIX is OpenResty, which does not run here. What the plugin makes of its settings is rendered as an auth_request: a check with
// X-Forwarded-* of its own making (the raw target) and the listed headers of the client, one value of each; an answer below 300
// passes, and every listed header of it replaces the client's. nginx says 500 where the plugin would hand on a 503.

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { IDENTITY } from '../../src/doors/identity-headers.ts';
import { startInMemory, type InMemory } from '../support/proxies/in-front.ts';
import { askThrough, startRendered, type RenderedNginx, type Asked } from '../support/proxies/rendered.ts';

type Line = readonly [name: string, value: string];

interface Routes {
  readonly plugin_configs: readonly {
    readonly id: string;
    readonly plugins: {
      readonly 'forward-auth': {
        readonly uri: string;
        readonly request_headers: readonly string[];
        readonly upstream_headers: readonly string[];
        readonly extra_headers?: Readonly<Record<string, string>>;
      };
      readonly 'proxy-rewrite': { readonly headers: { readonly set: Readonly<Record<string, string>>; readonly remove: readonly string[] } };
    };
  }[];
  readonly routes: readonly { readonly uri: string; readonly methods?: readonly string[]; readonly plugin_config_id: string }[];
}

const read = (name: string): unknown => parse(readFileSync(new URL(`../../deploy/apisix/${name}`, import.meta.url), 'utf8'));
const { plugin_configs: configs, routes } = read('apisix.yaml') as Routes;
const { nginx_config: settings } = read('config.yaml') as { nginx_config: { http: { underscores_in_headers: string } } };

function render({ to }: InMemory, { clears = true } = {}): string {
  const variable = (name: string): string => name.toLowerCase().replaceAll('-', '_');
  const check = ({ id, plugins }: Routes['plugin_configs'][0]): string => {
    const { uri, request_headers: listed, extra_headers: extra = {} } = plugins['forward-auth'];
    return `
      location = /_${id} {
        internal;
        proxy_pass_request_body off;
        proxy_pass_request_headers off;
        proxy_set_header Content-Length     "";
        proxy_set_header X-Forwarded-Proto  $scheme;
        proxy_set_header X-Forwarded-Method $request_method;
        proxy_set_header X-Forwarded-Host   $host;
        proxy_set_header X-Forwarded-Uri    $request_uri;
        proxy_set_header X-Forwarded-For    $remote_addr;
        ${Object.entries(extra)
          .map(([name, value]) => `proxy_set_header ${name} "${value}";`)
          .join(' ')}
        ${listed.map((name) => `proxy_set_header ${name} $http_${variable(name)};`).join(' ')}
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_pass http://door${new URL(uri).pathname};
      }`;
  };
  const location = ({ uri, methods, plugin_config_id: id }: Routes['routes'][0]): string => {
    const { 'forward-auth': auth, 'proxy-rewrite': rewrite } = configs.find((each) => each.id === id)!.plugins;
    return `
      location ${uri.replace('*', '')} {
        ${methods ? 'limit_except GET { deny all; }' : ''}
        auth_request /_${id};
        ${auth.upstream_headers.map((name) => `auth_request_set $${variable(name)} $upstream_http_${variable(name)}; proxy_set_header ${name} $${variable(name)};`).join(' ')}
        ${Object.entries(rewrite.headers.set)
          .map(([name, value]) => `proxy_set_header ${name} ${value};`)
          .join(' ')}
        ${clears ? rewrite.headers.remove.map((name) => `proxy_set_header ${name} "";`).join(' ') : ''}
        proxy_pass http://application;
      }`;
  };
  return `
    underscores_in_headers ${settings.http.underscores_in_headers};
    upstream door { server unix:${to.socket}; keepalive 64; }
    upstream application { server 127.0.0.1:${to.applicationPort}; }
    server {
      listen LISTEN;
      ${configs.map(check).join('')}
      ${routes.map(location).join('')}
    }`;
}

let memory: InMemory;
let nginx: RenderedNginx;
let admin: Line, clerk: Line;
beforeAll(async () => {
  memory = await startInMemory();
  nginx = await startRendered(render(memory));
  [admin, clerk] = (await Promise.all(['admin', 'clerk'].map(async (user): Promise<Line> => ['Authorization', `Bearer ${await memory.side.token(user)}`]))) as [
    Line,
    Line,
  ];
});
afterAll(async () => {
  await nginx?.stop();
  await memory?.close();
});

const ask = (line: string, headers: readonly Line[], at = nginx): Promise<Asked> => askThrough(at, memory, { line, headers });
const OWN = 'GET /api/device/d2?x=1 HTTP/1.1'; // the clerk's
const FOREIGN = 'GET /api/device/d1 HTTP/1.1';
const denied = { status: 403, reached: null };

test('allow, deny, nobody', async () => {
  expect(await ask(OWN, [clerk])).toMatchObject({ status: 200, reached: '/api/device/d2?x=1' });
  expect(memory.side.reports[0]!.protocol).toBe('apisix');
  expect(await ask(FOREIGN, [clerk])).toMatchObject({ ...denied, reason: 'out-of-scope' });
  expect(await ask(FOREIGN, [])).toEqual({ status: 401, reason: 'no-credential', reached: null, challenge: 'Bearer' });
  expect(await ask('POST /api/device/d1 HTTP/1.1', [admin])).toMatchObject({ ...denied, reason: 'no-route' });
});
test('identity at the application is the sidecar’s in every spelling', async () => {
  const forged = IDENTITY.flatMap((name) => [name, name.replaceAll('-', '_'), name.replaceAll('-', '.')].map((spelling): Line => [spelling, 'mallory']));
  expect((await ask(FOREIGN, [admin, ...forged])).status).toBe(200);
  expect(['X-Auth-User', 'X-Auth-Tenant', 'X-Auth-Customer'].map((name) => memory.application.values(name))).toEqual([['admin'], ['t1'], []]);
  expect(memory.application.seen.at(-1)!.rawHeaders).not.toContain('mallory');
});

describe('headers of the client’s own', () => {
  const forged: readonly Line[] = [
    ['X-Forwarded-Uri', '/api/device/d2'],
    ['X_Forwarded_Uri', '/api/device/d2'],
    ['X-Forwarded-Method', 'OPTIONS'],
    ['X-Forwarded-Host', 'evil.example'],
    ['X-Original-URI', '/api/device/d2'],
    ['X-Original-URL', 'http://app.example/api/device/d2'],
    ['X-Original-Method', 'OPTIONS'],
    ['X-Authz-Target', 'd2'],
    ['X-Authz-At-Least', 'latest'],
  ];
  test('change no deny', async () => {
    for (const line of forged) expect(await ask(FOREIGN, [clerk, line]), line[0]).toMatchObject({ ...denied, reason: 'out-of-scope' });
    expect(await ask(FOREIGN, [clerk, ...forged, ...forged])).toMatchObject({ ...denied, reason: 'out-of-scope' });
  });
  test('change no allow, and do not reach the application', async () => {
    expect(await ask(OWN, [clerk, ...forged.map(([name, value]): Line => [name, value.replace('d2', 'd1')])])).toMatchObject({ status: 200 });
    for (const name of configs[0]!.plugins['proxy-rewrite'].headers.remove) expect(memory.application.values(name), name).toEqual([]);
  });
  test('would reach it, were they not removed', async () => {
    const naive = await startRendered(render(memory, { clears: false }));
    try {
      expect(await ask(OWN, [clerk, ...forged], naive)).toMatchObject({ status: 200 });
      expect(memory.application.values('X-Original-URL')).not.toEqual([]);
    } finally {
      await naive.stop();
    }
  });
  test('another method in a header is refused; of two X-Authorization the application gets the one that was checked', async () => {
    expect(await ask(OWN, [clerk, ['X-HTTP-Method-Override', 'DELETE']])).toMatchObject({ ...denied, reason: 'method-override' });
    expect(await ask(OWN, [clerk, ['X-Authorization', admin[1]]])).toMatchObject({ status: 401, reached: null });
    expect(
      await ask(OWN, [
        ['X-Authorization', clerk[1]],
        ['X-Authorization', admin[1]],
      ]),
    ).toMatchObject({ status: 200 });
    expect(memory.application.values('X-Authorization')).toEqual([clerk[1]]);
  });
});

describe('one question for an area', () => {
  test.each([
    ['/fleet/x', 'DEVICE'],
    ['/estate/x', 'ASSET'],
  ])('%s asks for any %s, whatever target the client names', async (path, resource) => {
    expect(await ask(`GET ${path} HTTP/1.1`, [admin, ['X-Authz-Target', 'd1']])).toMatchObject({ status: 200, reached: path });
    expect(memory.side.reports[0]).toMatchObject({ resource, operation: 'READ', target: '*' });
    const nobody: Line = ['Authorization', `Bearer ${await memory.side.token('nobody')}`];
    expect(await ask(`GET ${path} HTTP/1.1`, [nobody, ['X-Authz-Target', 'd1']])).toMatchObject(denied);
    expect(await ask(`DELETE ${path} HTTP/1.1`, [admin])).toMatchObject(denied);
  });
});

describe('targets that APISIX routes by another form than it tells', () => {
  test.each([
    '/fleet/../api/device/d1',
    '/api/noauth/../device/d1',
    '/fleet%2f..%2fapi/device/d1',
    '/api%2fdevice/d1',
    '//api/device/d1',
    '/x/../fleet/y',
    '/fleet//y',
    '/public/..%2fapi/device/d1',
  ])('%s is refused', async (target) => expect(await ask(`GET ${target} HTTP/1.1`, [admin])).toMatchObject(denied));
});
