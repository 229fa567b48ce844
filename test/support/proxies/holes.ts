// Which holes can be torn into the shipped configurations, and what does the doctor have to call each?

import type { Code } from '../../../src/proxydoctor/finding.ts';

export interface Hole {
  readonly hole: string;
  /** Everything that the doctor is to find, and nothing else: some holes are two. */
  readonly codes: readonly Code[];
  /** A client sees it as well, without the doctor in anybody's place. */
  readonly outside?: true;
  /** Each must be in the file. */
  readonly edits: readonly (readonly [file: string, from: string | RegExp, to: string])[];
}

/** @throws if an edit finds nothing to change: the configuration has become another */
export function spoilBy({ hole, edits }: Hole): (file: string, text: string) => string {
  return (file, text) =>
    edits
      .filter(([name]) => name === file)
      .reduce((before, [, from, to]) => {
        const after = before.replace(from, () => to);
        if (after === before) throw new Error(`${hole}: ${file} has no ${String(from)}`);
        return after;
      }, text);
}

const CONF = 'grantgate.conf';
const OPEN = 'auth_request off; proxy_pass http://application;';
const LOCATION = 'location / {\n';
const line = (start: string): RegExp => new RegExp(`^ *${start}.*\\n`, 'm');

export const NGINX_HOLES: readonly Hole[] = [
  { outside: true, hole: 'a location that is open', codes: ['unguarded'], edits: [[CONF, LOCATION, `${LOCATION} auth_request off;`]] },
  {
    hole: 'an error page for 401',
    codes: ['challenge'],
    edits: [[CONF, LOCATION, `error_page 401 = @login;\nlocation @login { auth_request off; return 403; }\n${LOCATION}`]],
  },
  { hole: 'no internal', codes: ['door-exposed'], edits: [[CONF, line('internal;'), '']] },
  { hole: 'no internal, and no check', codes: ['door-exposed'], edits: [[CONF, 'internal;', 'auth_request off;']], outside: true },
  {
    outside: true,
    hole: 'an original URI of the client’s',
    codes: ['original-uri'],
    edits: [
      [CONF, /X-Original-URI    \$request_uri/, 'X-Original-URI $believed'],
      ['grantgate-maps.conf', /^/, 'map $http_x_original_uri $believed { default $http_x_original_uri; "" $request_uri; }\n'],
    ],
  },
  {
    outside: true,
    hole: 'health checks by User-Agent',
    codes: ['bypass-header'],
    edits: [[CONF, LOCATION, `location = /healthy { internal; ${OPEN} }\n${LOCATION} if ($http_user_agent ~ kube-probe) { rewrite ^ /healthy last; }\n`]],
  },
  {
    outside: true,
    hole: 'one of two credentials',
    codes: ['second-credential'],
    edits: [[CONF, / {4}proxy_set_header X-Authorization   \$http_x_authorization;\n/, '']],
  },
  {
    outside: true,
    hole: 'no method override at the door',
    codes: ['method-override'],
    edits: [[CONF, line('proxy_set_header X-HTTP-Method-Override'), '']],
  },
  { outside: true, hole: 'style sheets for everybody', codes: ['path-confusion'], edits: [[CONF, LOCATION, `location ~ \\.css$ { ${OPEN} }\n${LOCATION}`]] },
  {
    outside: true,
    hole: 'identity in the answer',
    codes: ['header-leak'],
    edits: [[CONF, LOCATION, `${LOCATION} add_header X-Auth-User $grantgate_user always;\n`]],
  },
  {
    outside: true,
    hole: 'a cache before the door',
    codes: ['decision-cached'],
    edits: [
      [CONF, /proxy_cache off;/, 'proxy_cache checks; proxy_cache_key $request_uri; proxy_cache_valid 200 1m; proxy_ignore_headers Cache-Control;'],
      ['grantgate-maps.conf', /^/, 'proxy_cache_path cache keys_zone=checks:1m;\n'],
    ],
  },
  { hole: 'underscores', codes: ['identity-forged'], edits: [[CONF, 'underscores_in_headers off;', 'underscores_in_headers on;']] },
  { hole: 'a header of four left out', codes: ['identity-forged', 'identity-missing'], edits: [[CONF, line('proxy_set_header X-Auth-Tenant'), '']] },
  { hole: 'nobody’s name', codes: ['identity-missing'], edits: [[CONF, /X-Auth-User         \$grantgate_user/, 'X-Auth-User ""']] },
  { hole: 'X-Original-URL', codes: ['rewrite-header'], edits: [[CONF, line('proxy_set_header X-Original-URL'), '']] },
  {
    hole: 'any upgrade',
    codes: ['upgrade-tunnel'],
    edits: [
      [CONF, /Upgrade             \$grantgate_upgrade/, 'Upgrade $http_upgrade'],
      [CONF, /Connection          \$grantgate_connection/, 'Connection upgrade'],
    ],
  },
  { hole: 'a body of nginx’s own', codes: ['body-changed'], edits: [[CONF, LOCATION, `${LOCATION} proxy_set_body another;\n`]] },
  {
    hole: 'a path behind proxy_pass',
    codes: ['target-differs'],
    edits: [[CONF, `${LOCATION}    proxy_pass http://application;`, `${LOCATION}    proxy_pass http://application/;`]],
  },
  { hole: 'no method', codes: ['contract-missing'], edits: [[CONF, /X-Original-Method \$request_method/, 'X-Original-Method ""']] },
  {
    hole: 'what a location captured',
    codes: ['target-differs', 'header-injection'],
    edits: [
      [CONF, LOCATION, 'location ~ "^(?<whole>/[\\s\\S]*)$" {\n'],
      [CONF, /X-Original-URI    \$request_uri/, 'X-Original-URI $whole'],
    ],
  },
  { hole: 'a body that is owed', codes: ['body-owed'], edits: [[CONF, line('proxy_set_header Content-Length'), '']] },
  {
    hole: 'an error page that is the application',
    codes: ['fail-open'],
    edits: [[CONF, LOCATION, `error_page 500 = @open;\nlocation @open { ${OPEN} }\n${LOCATION}`]],
  },
  { hole: 'no keepalive', codes: ['no-keepalive'], edits: [['addresses.conf', line('keepalive 64;'), '']] },
];

const HTTP = 'http.yaml';
const ROUTES = '                      routes:\n';
const FILTER = '                      failure_mode_allow: false\n';
const DISABLED =
  "typed_per_filter_config: { envoy.filters.http.ext_authz: { '@type': type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, disabled: true } }";
const OURS = 'x-(auth|authz|original|rewrite|envoy)-';

export const ENVOY_HOLES: readonly Hole[] = [
  { hole: 'failure_mode_allow', codes: ['fail-open'], edits: [[HTTP, 'failure_mode_allow: false', 'failure_mode_allow: true']] },
  { hole: 'the mark of a fail-open', codes: ['failure-mode-header'], edits: [[HTTP, OURS, 'x-(auth|authz|original|rewrite)-']] },
  {
    hole: 'a route to the doors',
    codes: ['door-exposed'],
    edits: [[HTTP, ROUTES, `${ROUTES}                        - { match: { prefix: /auth/ }, route: { cluster: grantgate }, ${DISABLED} }\n`]],
  },
  {
    hole: 'an original URI of the client’s',
    codes: ['original-uri', 'rewrite-header'],
    edits: [
      [HTTP, OURS, 'x-(auth|authz|rewrite|envoy)-'],
      [HTTP, '%REQ(:PATH)%', '%REQ(X-ORIGINAL-URI?:PATH)%'],
    ],
  },
  { hole: 'one of two credentials', codes: ['second-credential'], edits: [[HTTP, line('- exact: x-authorization'), '']] },
  {
    hole: 'underscores',
    codes: ['identity-forged'],
    edits: [
      [HTTP, 'headers_with_underscores_action: REJECT_REQUEST', 'headers_with_underscores_action: ALLOW'],
      [HTTP, '[^a-z0-9:-]', '[^a-z0-9_:-]'],
    ],
  },
  {
    hole: 'bodies for the sidecar',
    codes: ['body-forwarded'],
    edits: [[HTTP, FILTER, `${FILTER}                      with_request_body: { max_request_bytes: 65536, allow_partial_message: true }\n`]],
  },
];

const GRPC = 'grpc.yaml';

export const ENVOY_GRPC_HOLES: readonly Hole[] = [
  { hole: 'failure_mode_allow', codes: ['fail-open'], edits: [[GRPC, 'failure_mode_allow: false', 'failure_mode_allow: true']] },
  { hole: 'one of two credentials', codes: ['second-credential'], edits: [[GRPC, line('- exact: x-authorization'), '']] },
  { hole: 'no credential', codes: ['contract-missing'], edits: [[GRPC, line('- exact: authorization'), '']] },
  {
    hole: 'bodies for the sidecar',
    codes: ['body-forwarded'],
    edits: [[GRPC, FILTER, `${FILTER}                      with_request_body: { max_request_bytes: 65536, allow_partial_message: true }\n`]],
  },
];

const DYNAMIC = 'grantgate.yaml';
const MAIN = 'middlewares: [grantgate-remove, grantgate-routes]';
const ROUTERS = '  routers:\n';
const MIDDLEWARES = '  middlewares:\n';

export const TRAEFIK_HOLES: readonly Hole[] = [
  {
    hole: 'forwarded headers of anybody’s',
    codes: ['original-uri'],
    edits: [
      [DYNAMIC, 'trustForwardHeader: false', 'trustForwardHeader: true'],
      [DYNAMIC, line('X-Forwarded-Uri'), ''],
      ['traefik.yaml', /^( *)http:\n/m, '    forwardedHeaders: { insecure: true }\n    http:\n'],
    ],
  },
  {
    hole: 'a router to the doors',
    codes: ['door-exposed'],
    edits: [
      [DYNAMIC, ROUTERS, `${ROUTERS}    doors: { rule: 'PathPrefix(\`/auth/\`)', priority: 9, service: doors }\n`],
      [DYNAMIC, '  services:\n', "  services:\n    doors: { loadBalancer: { servers: [{ url: '{{ $door }}' }] } }\n"],
    ],
  },
  { hole: 'one of two credentials', codes: ['second-credential'], edits: [[DYNAMIC, line('- X-Authorization'), '']] },
  { hole: 'aliases', codes: ['identity-forged'], edits: [['traefik.yaml', line('aliasHeadersStrategy'), '']] },
  {
    hole: 'bodies for the sidecar',
    codes: ['body-forwarded'],
    edits: [[DYNAMIC, 'trustForwardHeader: false', 'forwardBody: true\n        trustForwardHeader: false']],
  },
  {
    hole: 'a path that is rewritten',
    codes: ['target-differs'],
    edits: [
      [DYNAMIC, MAIN, 'middlewares: [grantgate-remove, grantgate-routes, rewrite]'],
      [DYNAMIC, MIDDLEWARES, `${MIDDLEWARES}    rewrite: { replacePathRegex: { regex: '~', replacement: '-' } }\n`],
    ],
  },
  {
    hole: 'an error page that is the application',
    codes: ['fail-open'],
    edits: [
      [DYNAMIC, MAIN, 'middlewares: [grantgate-remove, page, grantgate-routes]'],
      [DYNAMIC, MIDDLEWARES, `${MIDDLEWARES}    page: { errors: { status: ['500-599'], service: grantgate-application, query: '/' } }\n`],
    ],
  },
];
