// Which line mends it? One table: what a proxy's configuration has to say, for each thing that can be wrong with it.
//
// What stands between backticks is a line of the configuration that is shipped for that proxy (a test looks it up).

import type { Code } from './finding.ts';

export const KINDS = ['nginx', 'ingress-nginx', 'envoy', 'traefik', 'caddy', 'haproxy', 'apisix'] as const;
export type Kind = (typeof KINDS)[number];

interface Mend extends Readonly<Partial<Record<Kind, string>>> {
  /** For a proxy that has no line of its own here, or that is not known. */
  readonly any: string;
}

const MENDS: Readonly<Record<Code, Mend>> = {
  unguarded: {
    any: 'have every request of this path asked of the sidecar, and look for a rule that answers before the check',
    nginx: '`auth_request /auth/nginx;` in the server, above every location; below it no auth_request off, satisfy any or return',
    'ingress-nginx': 'nginx.ingress.kubernetes.io/auth-url: http://SIDECAR:9191/auth/ingress-nginx, on every Ingress of this host',
    envoy: '`- name: envoy.filters.http.ext_authz` last before the router, and no typed_per_filter_config of this route with disabled: true',
    traefik: '`middlewares: [grantgate-remove, grantgate-routes]` on this router, or on the entry point for all of them',
    caddy: '`import grantgate` in this site, before whatever else answers',
    haproxy:
      '`http-request lua.grantgate` and `http-request deny deny_status 503 unless { var(txn.grantgate_status) -m str 200 }`, both without a condition on the path',
    apisix: 'the plugin forward-auth on this route, or as a global rule',
  },
  challenge: {
    any: 'hand a 401 of the sidecar on to the client, WWW-Authenticate and all',
    nginx: 'no error_page for 401: nginx hands both on by itself',
    'ingress-nginx': 'no auth-signin on an API: nginx hands both on by itself',
    envoy: '`allowed_client_headers: { patterns: [{ exact: www-authenticate }] }`, and nothing that takes it off answers',
    traefik: 'no errors middleware with 401 around forwardAuth, and none that takes WWW-Authenticate off',
    caddy: 'no handle_response in forward_auth that answers a 401 with something else',
    haproxy:
      '`http-request return status 401 hdr www-authenticate %[var(txn.grantgate_challenge)] hdr cache-control no-store if { var(txn.grantgate_status) -m str 401 }`',
    apisix: '"client_headers": ["WWW-Authenticate"]',
  },
  'door-exposed': {
    any: 'no way from clients to the sidecar: it listens on loopback or a Unix socket, and no path of theirs leads there',
    nginx: '`internal;` in `location ^~ /auth/nginx {`',
    'ingress-nginx': 'no Ingress rule whose backend is the Service of the sidecar',
    envoy: 'no route to the cluster of the sidecar: ext_authz needs the cluster alone',
    traefik: 'no service whose server is the sidecar: forwardAuth needs its address alone',
    caddy: 'no reverse_proxy to the sidecar: forward_auth needs its address alone',
    haproxy: 'no backend with the sidecar as its server: authz.lua needs its address alone',
    apisix: 'no route whose upstream is the sidecar',
  },
  'original-uri': {
    any: 'write into the check what the proxy itself received, over whatever the client sent',
    nginx:
      'in the location of the door: `proxy_pass_request_headers off;` `proxy_set_header X-Original-Method $request_method;` `proxy_set_header X-Original-URI $request_uri;` `proxy_set_header X-Authz-Target $grantgate_target;`',
    'ingress-nginx': 'nginx.ingress.kubernetes.io/auth-method: GET, and the door /auth/ingress-nginx, which reads X-Original-URL',
    envoy:
      "`{ key: x-original-method, value: '%REQ(:METHOD)%' }` and `{ key: x-original-uri, value: '%REQ(:PATH)%' }` in headers_to_add of authorization_request, and no prefix among allowed_headers",
    traefik: '`trustForwardHeader: false`, and no forwardedHeaders.insecure or trustedIPs of clients at the entry point',
    caddy: '`request_header -X-Authz-*` before forward_auth, and no header_up that writes X-Forwarded-Uri, X-Forwarded-Method or a client’s X-Authz-Target',
    haproxy:
      'in authz.lua `["x-original-method"] = { txn.sf:method() },` `["x-original-uri"] = { uri },` `["x-authz-target"] = { target_of(uri) },`, and none of these in PASSED',
    apisix: '"request_headers": ["Authorization", "X-Authorization"], and none of X-Forwarded-Uri, X-Forwarded-Method among them',
  },
  'bypass-header': {
    any: 'no rule that goes round the check by what a client says of itself: health checks have a listener of their own',
    nginx: 'no if, map or satisfy any on $http_user_agent, $http_x_forwarded_for and the like that leads round auth_request',
    'ingress-nginx': 'no snippet that leads round auth_request by a header',
    envoy: 'no route that matches a header and has ext_authz disabled; `use_remote_address: true`',
    traefik: 'no router with a Header or ClientIP rule that lacks `middlewares: [grantgate-remove, grantgate-routes]`',
    caddy: 'no matcher on forward_auth, and no handle of a header or client_ip matcher that has a reverse_proxy of its own',
    haproxy: 'no condition on a header or on src at `http-request lua.grantgate` and at the denials behind it',
    apisix: 'no route with vars on a header or on remote_addr that lacks forward-auth',
  },
  'second-credential': {
    any: 'send every credential to the sidecar, which refuses two, or take what is not checked off the request',
    nginx: 'in the location of the door: `proxy_set_header Authorization $http_authorization;` `proxy_set_header X-Authorization $http_x_authorization;`',
    'ingress-nginx': 'proxy-set-headers in the ConfigMap, with X-Authorization empty',
    envoy: '`- exact: x-authorization` among allowed_headers (of Authorization, two go as A,B, which the sidecar refuses)',
    traefik: '`- Authorization` and `- X-Authorization` in authRequestHeaders',
    caddy: 'no header_up in forward_auth that writes or removes Authorization or X-Authorization',
    haproxy: '`"authorization", "x-authorization",` in PASSED of authz.lua, which hands every line of both on',
    apisix: '"request_headers": ["Authorization", "X-Authorization"]',
  },
  'method-override': {
    any: 'send X-HTTP-Method-Override, X-HTTP-Method and X-Method-Override to the sidecar, which refuses them, or take them off the request',
    nginx:
      'in the location of the door: `proxy_set_header X-HTTP-Method-Override $http_x_http_method_override;` `proxy_set_header X-HTTP-Method $http_x_http_method;` `proxy_set_header X-Method-Override $http_x_method_override;`',
    'ingress-nginx': 'proxy-set-headers in the ConfigMap, with the three empty',
    envoy: '`- exact: x-http-method-override` `- exact: x-http-method` `- exact: x-method-override` among allowed_headers',
    traefik: '`- X-HTTP-Method-Override` `- X-HTTP-Method` `- X-Method-Override` in authRequestHeaders',
    caddy: 'no request_header or header_up that hides the three from forward_auth alone',
    haproxy: '`"x-http-method-override", "x-http-method", "x-method-override",` in PASSED of authz.lua',
    apisix: '"request_headers": [..., "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"]',
  },
  'path-confusion': {
    any: 'guard everything, and open single paths in the route table; no pattern of the proxy decides what is guarded',
    nginx: '`auth_request /auth/nginx;` in the server; auth_request off in a "location = /exact/path" alone, never in one with a regular expression',
    'ingress-nginx': 'auth-url on every path of the host; pathType: Exact for what is open',
    envoy: '`normalize_path: true` `merge_slashes: true` `path_with_escaped_slashes_action: REJECT_REQUEST`, and no route with ext_authz disabled',
    traefik: '`allowEncodedSlash: false`, and no router without `middlewares: [grantgate-remove, grantgate-routes]` but for a Path rule',
    caddy: 'no matcher on forward_auth, and no handle of a path matcher that has a reverse_proxy of its own',
    haproxy: 'no condition on the path at `http-request lua.grantgate` and at the denials behind it',
    apisix: 'forward-auth as a global rule',
  },
  'header-leak': {
    any: 'no identity header in an answer to a client',
    nginx: 'no add_header with $grantgate_user and the like; where the application sends them itself: proxy_hide_header',
    'ingress-nginx': 'hide-headers in the ConfigMap: X-Auth-User, X-Auth-Tenant, X-Auth-Customer, X-Authz-Decision-Id',
    envoy: 'no allowed_client_headers_on_success, and `allowed_client_headers: { patterns: [{ exact: www-authenticate }] }`',
    traefik: 'no customResponseHeaders with them; where the application sends them itself: customResponseHeaders with each of them empty',
    caddy: 'no header directive with them; where the application sends them itself: header -X-Auth-*',
    haproxy: 'no http-response set-header with them; where the application sends them itself: http-response del-header ^x-authz?- -m reg',
    apisix: '"client_headers": ["WWW-Authenticate"], and no other',
  },
  'decision-cached': {
    any: 'no cache of the answers of the sidecar: it answers from memory, and a cached answer cannot be revoked',
    nginx: '`proxy_cache off;` in the location of the door',
    'ingress-nginx': 'no nginx.ingress.kubernetes.io/auth-cache-key',
    envoy: 'no cache filter before ext_authz',
    traefik: 'no cache plugin before forwardAuth',
    caddy: 'no cache directive before forward_auth',
    haproxy: 'no http-request cache-use before `http-request lua.grantgate`',
    apisix: 'no proxy-cache on a guarded route',
  },
  'identity-forged': {
    any: 'write all four identity headers after the check, and take X_Auth_User, X.Auth.User and the like off before it',
    nginx:
      '`proxy_set_header X-Auth-User $grantgate_user;` and the other three, again in every location that has a proxy_set_header of its own; `underscores_in_headers off;` `ignore_invalid_headers on;`',
    'ingress-nginx': 'auth-response-headers: X-Auth-User, X-Auth-Tenant, X-Auth-Customer, X-Authz-Decision-Id',
    envoy:
      "`common_http_protocol_options: { headers_with_underscores_action: REJECT_REQUEST }`, `- remove_on_match: { key_matcher: { safe_regex: { regex: '[^:]*[^a-z0-9:-][^:]*' } } }`, and before ext_authz a remove_on_match of x-(auth|authz)-.* likewise",
    traefik: '`authResponseHeaders: [X-Auth-User, X-Auth-Tenant, X-Auth-Customer, X-Authz-Decision-Id]`, and at the entry point `aliasHeadersStrategy: delete`',
    caddy: 'in a route, before forward_auth: `request_header -*_*` `request_header -*.*` `request_header -X-Auth-*` `request_header -X-Authz-*`',
    haproxy: '`option http-restrict-req-hdr-names delete` and `http-request set-header x-auth-user %[var(txn.grantgate_user)]`, the other three likewise',
    apisix: '"upstream_headers": ["X-Auth-User", "X-Auth-Tenant", "X-Auth-Customer", "X-Authz-Decision-Id"]',
  },
  'identity-missing': {
    any: 'hand all four identity headers of the sidecar’s answer to the application',
    nginx: '`auth_request_set $grantgate_user $upstream_http_x_auth_user;` `proxy_set_header X-Auth-User $grantgate_user;` and the other three',
    'ingress-nginx': 'auth-response-headers: X-Auth-User, X-Auth-Tenant, X-Auth-Customer, X-Authz-Decision-Id',
    envoy:
      '`patterns: [{ exact: x-auth-user }, { exact: x-auth-tenant }, { exact: x-auth-customer }, { exact: x-authz-decision-id }]` in allowed_upstream_headers',
    traefik: '`authResponseHeaders: [X-Auth-User, X-Auth-Tenant, X-Auth-Customer, X-Authz-Decision-Id]`',
    caddy: '`copy_headers X-Auth-User X-Auth-Tenant X-Auth-Customer X-Authz-Decision-Id`',
    haproxy: '`http-request set-header x-auth-user %[var(txn.grantgate_user)]` and the other three',
    apisix: '"upstream_headers": ["X-Auth-User", "X-Auth-Tenant", "X-Auth-Customer", "X-Authz-Decision-Id"]',
  },
  'failure-mode-header': {
    any: 'take x-envoy-auth-failure-mode-allowed of the client’s off the request',
    envoy:
      "before ext_authz: `safe_regex: { regex: 'x-(auth|authz|original|rewrite|envoy)-.*|x-forwarded-(host|port|prefix|uri|method)|x-real-ip|forwarded' }` in a remove_on_match",
  },
  'rewrite-header': {
    any: 'take X-Original-URL and X-Rewrite-URL off the request before it goes to the application',
    nginx: '`proxy_set_header X-Original-URL "";` `proxy_set_header X-Rewrite-URL "";`',
    'ingress-nginx': 'proxy-set-headers in the ConfigMap, with X-Original-URL and X-Rewrite-URL empty',
    envoy:
      "before ext_authz: `safe_regex: { regex: 'x-(auth|authz|original|rewrite|envoy)-.*|x-forwarded-(host|port|prefix|uri|method)|x-real-ip|forwarded' }` in a remove_on_match",
    traefik: "`X-Original-URL: ''` `X-Rewrite-URL: ''` in customRequestHeaders",
    caddy: '`request_header -X-Original-*` `request_header -X-Rewrite-URL`',
    haproxy:
      '`http-request del-header ^(x-authz-(target|at-least)|x-original-(method|uri|url)|x-rewrite-url|x-forwarded-(method|uri|prefix|host|port)|forwarded|x-envoy-auth-failure-mode-allowed)$ -m reg`',
    apisix: 'proxy-rewrite: "headers": { "remove": ["X-Original-URL", "X-Rewrite-URL"] }',
  },
  'upgrade-tunnel': {
    any: 'hand no Upgrade on but that of a WebSocket',
    nginx: '`proxy_set_header Upgrade $grantgate_upgrade;` where the map of grantgate-maps.conf lets websocket through alone',
    'ingress-nginx': 'nothing: the controller hands every Upgrade on, so the application must not take h2c up',
    envoy: '`upgrade_configs: [{ upgrade_type: websocket }]`, and no other type',
    traefik: 'no middleware that writes Upgrade: Traefik by itself hands h2c to nobody',
    caddy: '`request_header Upgrade {grantgate_upgrade}` behind the map that lets websocket through alone',
    haproxy: '`http-request del-header upgrade unless { req.fhdr_cnt(upgrade) eq 1 } { req.fhdr(upgrade) -i -m str websocket }`',
    apisix: 'no enable_websocket, unless the application takes no h2c up',
  },
  'body-changed': {
    any: 'nothing between client and application changes or limits a body unsaid',
    nginx: 'no proxy_set_body, and no proxy_pass_request_body off outside the location of the door',
    'ingress-nginx': 'no snippet with proxy_set_body or proxy_pass_request_body',
    envoy: 'no filter before the router that rewrites bodies',
    traefik: 'no middleware that rewrites bodies',
    caddy: 'no request_body directive that sets one',
    haproxy: 'no filter or service that rewrites bodies',
    apisix: 'no plugin that rewrites bodies',
  },
  'target-differs': {
    any: 'check and serve the same bytes: no rewrite after the check',
    nginx: '`proxy_pass http://application;` with nothing behind the name, no rewrite, and `proxy_set_header X-Original-URI $request_uri;`',
    'ingress-nginx': 'no rewrite-target on a guarded Ingress',
    envoy: 'no prefix_rewrite, regex_rewrite or path_rewrite_policy on a guarded route',
    traefik: 'stripPrefix, replacePath and their like before forwardAuth in the list of middlewares',
    caddy: 'no rewrite, uri or handle_path between forward_auth and reverse_proxy',
    haproxy: 'no set-path, replace-path or normalize-uri after `http-request lua.grantgate`',
    apisix: 'no proxy-rewrite on a guarded route',
  },
  'contract-missing': {
    any: 'ask the door of this proxy, /auth/<proxy>, and say method, target and credential as it wants them',
    nginx:
      'in the location of the door: `proxy_pass http://grantgate;` `proxy_set_header X-Original-Method $request_method;` `proxy_set_header X-Original-URI $request_uri;` `proxy_set_header Authorization $http_authorization;`',
    'ingress-nginx': 'auth-url: http://SIDECAR:9191/auth/ingress-nginx, and auth-method: GET',
    envoy:
      "`path_override: /auth/envoy`, in headers_to_add `{ key: x-original-method, value: '%REQ(:METHOD)%' }` and `{ key: x-original-uri, value: '%REQ(:PATH)%' }`, among allowed_headers `- exact: x-authorization`; by gRPC: `- exact: authorization`",
    traefik: "`address: '{{ $door }}/auth/traefik'`, and `- Authorization` `- X-Authorization` in authRequestHeaders",
    caddy: '`uri {grantgate_door}?` with /auth/caddy as the door',
    haproxy: '`http-request set-var(txn.grantgate_door) str(/auth/haproxy)` and authz.lua as it is shipped',
    apisix: '"uri": "http://127.0.0.1:9191/auth/apisix", "request_headers": ["Authorization", "X-Authorization"]',
  },
  'header-injection': {
    any: 'say the raw target, never a decoded one',
    nginx: '`proxy_set_header X-Original-URI $request_uri;` never $uri, $document_uri or what a location captured',
    'ingress-nginx': 'no snippet with $uri or a capture in a proxy_set_header',
    envoy: "`{ key: x-original-uri, value: '%REQ(:PATH)%' }`, and no filter that writes a decoded path into a header",
    traefik: 'no plugin that writes a decoded path into a header',
    caddy: 'no header_up with {path} or what a regular expression captured',
    haproxy: '`local uri = txn.sf:pathq()` in authz.lua, and no url_dec',
    apisix: 'no extra_headers with $uri',
  },
  'body-owed': {
    any: 'announce no body to the sidecar',
    nginx: '`proxy_set_header Content-Length "";` in the location of the door',
    'ingress-nginx': 'auth-snippet: proxy_set_header Content-Length "";',
    envoy: 'no content-length or transfer-encoding in headers_to_add of the check',
    traefik: 'no forwardBody',
    caddy: 'no header_up of Content-Length in forward_auth',
    haproxy: 'no content-length in PASSED of authz.lua',
    apisix: '"request_method": "GET"',
  },
  'body-forwarded': {
    any: 'do not send bodies to the sidecar',
    nginx: '`proxy_pass_request_body off;` in the location of the door',
    'ingress-nginx': 'auth-snippet: proxy_pass_request_body off;',
    envoy: 'no with_request_body',
    traefik: 'no forwardBody',
    caddy: 'no body in forward_auth: it asks by GET',
    haproxy: '`core.httpclient():get(` in authz.lua, without a body',
    apisix: '"request_method": "GET"',
  },
  'fail-open': {
    any: 'let nobody in when the sidecar does not answer 200',
    nginx: 'no error_page for 401, 403 or 5xx that leads to the application: only to a page, or to a location with a return',
    'ingress-nginx': 'no custom-http-errors whose default-backend is the application',
    envoy: '`failure_mode_allow: false`, and no shadow_mode',
    traefik: 'no errors middleware around forwardAuth whose service is the application',
    caddy: 'no handle_errors with a reverse_proxy to the application',
    haproxy:
      '`http-request set-var(txn.grantgate_status) str(503)` before the action, and `http-request deny deny_status 503 unless { var(txn.grantgate_status) -m str 200 }` behind it',
    apisix: '"allow_degradation": false',
  },
  'no-keepalive': {
    any: 'keep connections to the sidecar',
    nginx: '`keepalive 64;` in the upstream of the sidecar; `proxy_http_version 1.1;` and `proxy_set_header Connection "";` in the location of the door',
    'ingress-nginx': 'nginx.ingress.kubernetes.io/auth-keepalive: "64"',
    envoy: 'no max_requests_per_connection in the cluster of the sidecar',
    traefik: 'nothing between it and the sidecar that ends connections: it keeps two by itself',
    caddy: 'Caddy 2.11.5 or later, and `keepalive_idle_conns_per_host 256` in the place of `keepalive off`',
    haproxy: 'the sidecar by TCP: its HTTP client keeps no connection to a Unix socket',
    apisix: '"keepalive": true',
  },
};

export function mendOf(code: Code, kind: Kind | null): string {
  const { any, ...own } = MENDS[code];
  return (kind === null ? undefined : own[kind]) ?? any;
}

export function isKind(name: string): name is Kind {
  return (KINDS as readonly string[]).includes(name);
}
