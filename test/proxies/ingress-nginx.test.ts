// Does the door for ingress-nginx hold against a real nginx that asks as the controller does, by what deploy/ingress-nginx says?
//
// The controller runs in a cluster only. What its template makes of the annotations is rendered here: which headers of the check it
// sets (X-Original-URL and X-Original-Method always), and that it hands on all others of the client.

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { IDENTITY } from '../../src/doors/identity-headers.ts';
import { startInMemory, type InMemory } from '../support/proxies/in-front.ts';
import { askThrough, startRendered, type RenderedNginx, type Asked } from '../support/proxies/rendered.ts';

type Line = readonly [name: string, value: string];

interface Manifest {
  readonly metadata: { readonly name: string; readonly annotations?: Readonly<Record<string, string>> };
  readonly data?: Readonly<Record<string, string>>;
}

const manifests = parseAllDocuments(readFileSync(new URL('../../deploy/ingress-nginx/grantgate.yaml', import.meta.url), 'utf8')).map(
  (document) => document.toJS() as Manifest,
);
const annotation = (name: string): string => manifests[0]!.metadata.annotations![`nginx.ingress.kubernetes.io/${name}`] ?? '';
const clears = Object.entries(manifests.find(({ metadata }) => metadata.name === 'grantgate-clears')!.data!);
const controller = manifests.find(({ metadata }) => metadata.name === 'ingress-nginx-controller')!.data!;

interface Rendered {
  /** Without it the client's X-Original-URI reaches the door. */
  readonly method?: boolean;
  /** A controller that somebody made to take the client's word. */
  readonly naive?: boolean;
}

/** The server of the ingress. */
function render({ to }: InMemory, { method = true, naive = false }: Rendered = {}): string {
  const identity = annotation('auth-response-headers').split(',');
  const variable = (name: string): string => `$upstream_http_${name.toLowerCase().replaceAll('-', '_')}`;
  return `
    underscores_in_headers ${controller['enable-underscores-in-headers'] === 'true' ? 'on' : 'off'};
    ignore_invalid_headers ${controller['ignore-invalid-headers'] === 'false' ? 'off' : 'on'};
    ${controller['http-snippet']}
    upstream door { server unix:${to.socket}; keepalive ${annotation('auth-keepalive')}; }
    upstream application { server 127.0.0.1:${to.applicationPort}; }
    server {
      listen LISTEN;
      location = /_external-auth {
        internal;
        proxy_pass_request_body off;
        proxy_pass_request_headers on;
        proxy_set_header Content-Length    "";
        proxy_set_header X-Forwarded-Proto "";
        proxy_set_header X-Request-ID      $request_id;
        ${method && annotation('auth-method') !== '' ? `proxy_method ${annotation('auth-method')}; proxy_set_header X-Original-URI $request_uri;` : ''}
        ${naive ? '' : 'proxy_set_header X-Original-URL $scheme://$http_host$request_uri;'}
        proxy_set_header X-Original-Method $request_method;
        proxy_set_header X-Sent-From       nginx-ingress-controller;
        proxy_set_header X-Auth-Request-Redirect $request_uri;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_pass http://door${new URL(annotation('auth-url')).pathname};
      }
      location / {
        auth_request /_external-auth;
        ${identity.map((name, i) => `auth_request_set $authHeader${i} ${variable(name)}; proxy_set_header ${name} $authHeader${i};`).join('\n        ')}
        ${clears.map(([name, value]) => `proxy_set_header ${name} "${value}";`).join('\n        ')}
        proxy_set_header Host $http_host;
        proxy_set_header X-Request-ID $request_id;
        proxy_pass http://application;
      }
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

describe('verdicts', () => {
  test('allow, deny, nobody', async () => {
    expect(await ask(OWN, [clerk])).toMatchObject({ status: 200, reached: '/api/device/d2?x=1' });
    expect(await ask(FOREIGN, [clerk])).toMatchObject({ ...denied, reason: 'out-of-scope' });
    expect(await ask(FOREIGN, [])).toEqual({ status: 401, reason: 'no-credential', reached: null, challenge: 'Bearer' });
    expect(await ask('DELETE /api/device/d2 HTTP/1.1', [['Authorization', `Bearer ${await memory.side.token('reader')}`]])).toMatchObject(denied);
    expect(await ask('GET /api/nowhere HTTP/1.1', [admin])).toMatchObject({ ...denied, reason: 'no-route' });
    expect(memory.side.reports.at(-1)!.protocol).toBe('ingress_nginx');
  });
  test('identity at the application is the sidecar’s in every spelling', async () => {
    const forged = IDENTITY.flatMap((name) => [name, name.replaceAll('-', '_'), name.replaceAll('-', '.')].map((spelling): Line => [spelling, 'mallory']));
    expect((await ask(FOREIGN, [admin, ...forged])).status).toBe(200);
    expect(['X-Auth-User', 'X-Auth-Tenant', 'X-Auth-Customer'].map((name) => memory.application.values(name))).toEqual([['admin'], ['t1'], []]);
    expect(memory.application.seen.at(-1)!.rawHeaders).not.toContain('mallory');
  });
});

describe('headers of the client’s own', () => {
  const forged: readonly Line[] = [
    ['X-Original-URL', 'http://app.example/api/device/d2'],
    ['X-Original-URI', '/api/device/d2'],
    ['X-Original-Method', 'OPTIONS'],
    ['X_Original_URL', 'http://app.example/api/device/d2'],
    ['X.Original.URL', 'http://app.example/api/device/d2'],
    ['X-Forwarded-Uri', '/api/device/d2'],
    ['X-Forwarded-Method', 'OPTIONS'],
    ['X-Authz-Target', 'd2'],
    ['X-Auth-Request-Redirect', '/api/device/d2'],
  ];
  test('change no deny', async () => {
    for (const line of forged) expect(await ask(FOREIGN, [clerk, line]), line[0]).toMatchObject({ ...denied, reason: 'out-of-scope' });
    expect(await ask(FOREIGN, [clerk, ...forged])).toMatchObject({ ...denied, reason: 'out-of-scope' });
    expect(await ask(FOREIGN, [clerk, ...forged, ...forged])).toMatchObject({ ...denied, reason: 'repeated-header' });
  });
  test('change no allow, and those that are cleared do not reach the application', async () => {
    const other = forged.map(([name, value]): Line => [name, value.replace('d2', 'd1')]);
    expect(await ask(OWN, [clerk, ...other])).toMatchObject({ status: 200, reached: '/api/device/d2?x=1' });
    for (const [name] of clears) expect(memory.application.values(name), name).toEqual([]);
  });
  test('another method in a header is refused, a second credential is nobody', async () => {
    expect(await ask(OWN, [clerk, ['X-HTTP-Method-Override', 'DELETE']])).toMatchObject({ ...denied, reason: 'method-override' });
    expect(await ask(OWN, [clerk, ['X-Authorization', admin[1]]])).toMatchObject({ status: 401, reached: null });
  });
  test('without auth-method the client’s X-Original-URI arrives, and is not read', async () => {
    const without = await startRendered(render(memory, { method: false }));
    try {
      expect(await ask(FOREIGN, [clerk, ['X-Original-URI', '/api/device/d2']], without)).toMatchObject({ ...denied, reason: 'out-of-scope' });
      expect(await ask(OWN, [clerk, ['X-Original-URI', '/api/device/d1']], without)).toMatchObject({ status: 200 });
    } finally {
      await without.stop();
    }
  });
  test('were X-Original-URL the client’s, it would choose what is checked', async () => {
    const naive = await startRendered(render(memory, { naive: true }));
    try {
      expect(await ask(FOREIGN, [clerk, ['X-Original-URL', 'http://app.example/api/device/d2']], naive)).toMatchObject({
        status: 200,
        reached: '/api/device/d1',
      });
      expect(await ask(FOREIGN, [clerk], naive)).toMatchObject({ ...denied, reason: 'missing-header' });
    } finally {
      await naive.stop();
    }
  });
});

describe('X-Original-URL', () => {
  // The Host of the request stands in it before the target. What nginx lets pass of odd ones must end no host and begin no path.
  test.each(['app.example:8080', '127.0.0.1', '[::1]:80', 'APP.example.'])('of the host %s', async (host) =>
    expect(await ask(OWN, [['Host', host], clerk])).toMatchObject({ status: 200, reached: '/api/device/d2?x=1' }),
  );
  test.each(['a?', 'a?/api/device/d2?', 'a#', 'a@b', 'a%2fb', 'a b', 'a;b', 'a/api/device/d2?', 'a\\b', 'a,b', "a'b", 'caf\u00e9', ''])(
    'of the host "%s": no way to another target',
    async (host) => {
      for (const [line, user] of [
        [FOREIGN, clerk],
        [OWN, clerk],
      ] as const) {
        const { status, reached } = await ask(line, [['Host', host], user]);
        expect([status, reached]).toEqual([expect.toSatisfy((code: number) => code === 400 || code === 403), null]);
      }
    },
  );
  test('of no host at all, as HTTP/1.0 may have it', async () =>
    expect(await ask('GET /api/device/d2 HTTP/1.0', [clerk])).toMatchObject({ ...denied, reason: 'bad-url' }));
  test.each([
    'http://a/api/device/d2',
    '/x/../api/device/d2',
    '//api/device/d2',
    '/api/device/d2%2f..%2fd1',
    '/api/device/d2#f',
    '/api/device%2fd2',
    '/api/device/d2;x',
  ])('of %s: refused, or the application is asked the same', async (target) => {
    const { status, reached } = await ask(`GET ${target} HTTP/1.1`, [clerk]);
    expect(status === 200 ? reached : null).toBe(target.startsWith('http:') ? '/api/device/d2' : null);
    expect([200, 400, 403]).toContain(status);
  });
});
