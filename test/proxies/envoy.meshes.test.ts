// Do the manifests for Istio and Envoy Gateway mean what they say? Their fields, as those two hand them on to Envoy, in a real Envoy in
// front of the real doors. (Neither of them runs here: the translation is this file's, after their sources.)

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { startEnvoy, type Configuration } from '../support/proxies/envoy.ts';
import { startInMemory, through, type InMemory } from '../support/proxies/in-front.ts';

let behind: InMemory;
let token: string;
beforeAll(async () => {
  behind = await startInMemory();
  token = await behind.side.token('admin');
});
afterAll(() => behind?.close());
beforeEach(() => void (behind.side.reports.length = 0));

type Fields = Readonly<Record<string, unknown>>;
const documents = (path: string): readonly Fields[] =>
  parseAllDocuments(readFileSync(new URL(`../../deploy/${path}`, import.meta.url), 'utf8')).map((document) => document.toJS() as Fields);
const ofKind = (path: string, kind: string): readonly unknown[] =>
  documents(path)
    .filter((each) => each['kind'] === kind)
    .map((each) => each['spec']);

interface Filter {
  readonly name: string;
  readonly typed_config: Fields;
}
/** What of an Envoy configuration is another product's to write. */
interface Written {
  readonly manager: Fields;
  /** In their order, the router apart. */
  readonly filters: readonly Filter[];
  readonly route?: Fields;
}

const EXT_AUTHZ = 'type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz';
const exactly = (names: readonly string[]): Fields => ({ patterns: names.map((exact) => ({ exact })) });
const check = (fields: Fields): Filter => ({
  name: 'envoy.filters.http.ext_authz',
  typed_config: { '@type': EXT_AUTHZ, transport_api_version: 'V3', ...fields },
});
const grpc = (timeout: string): Fields => ({ grpc_service: { envoy_grpc: { cluster_name: 'grantgate-grpc' }, timeout } });
const http = (timeout: string, rest: Fields): Fields => ({ http_service: { server_uri: { uri: 'http://grantgate', cluster: 'grantgate', timeout }, ...rest } });
/** The names of fields are those of the enumerations in Envoy, in another case. */
const shout = (action: string): string => action.replace(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase();

/** A shipped file with these parts in the place of its own. */
function rewritten(text: string, { manager, filters, route }: Written): string {
  const configuration = parse(text) as {
    static_resources: { listeners: { filter_chains: { filters: { typed_config: Record<string, unknown> }[] }[] }[] };
  };
  const settings = configuration.static_resources.listeners[0]!.filter_chains[0]!.filters[0]!;
  const { http_filters, route_config, stat_prefix, upgrade_configs, '@type': type } = settings.typed_config;
  const router = (http_filters as readonly Filter[]).at(-1)!;
  const own = { '@type': type, stat_prefix, upgrade_configs };
  const routes = route_config as { virtual_hosts: { routes: Fields[] }[] };
  routes.virtual_hosts[0]!.routes = [{ match: { prefix: '/' }, route: { cluster: 'application' }, ...(route ? { typed_per_filter_config: route } : {}) }];
  settings.typed_config = { ...own, ...manager, http_filters: [...filters, router], route_config: routes };
  return JSON.stringify(configuration);
}

interface Provider {
  readonly name: string;
  readonly envoyExtAuthzGrpc?: { readonly timeout: string; readonly failOpen: boolean; readonly statusOnError: string };
  readonly envoyExtAuthzHttp?: {
    readonly timeout: string;
    readonly failOpen: boolean;
    readonly statusOnError: string;
    readonly pathPrefix: string;
    readonly includeRequestHeadersInCheck: readonly string[];
    readonly headersToUpstreamOnAllow: readonly string[];
    readonly headersToDownstreamOnDeny: readonly string[];
  };
}
/** A sidecar of Istio's: what its own settings are without a patch, the two patches, the provider. */
function istio(name: string): Written {
  const mesh = documents('istio/mesh.yaml')[0]!['meshConfig'] as { readonly extensionProviders: readonly Provider[] };
  const { envoyExtAuthzGrpc: rpc, envoyExtAuthzHttp: plain } = mesh.extensionProviders.find((each) => each.name === name)!;
  const [filter] = ofKind('istio/grantgate.yaml', 'EnvoyFilter') as [{ configPatches: { patch: { value: { name?: string; typed_config: Fields } } }[] }];
  const [patch, headers] = filter.configPatches.map(({ patch: { value } }) => value);
  const { failOpen, statusOnError } = (rpc ?? plain)!;
  const errors = { failure_mode_allow: failOpen, status_on_error: { code: Number(statusOnError) } };
  return {
    manager: { normalize_path: true, merge_slashes: true, ...patch!.typed_config },
    filters: [
      { name: headers!.name!, typed_config: headers!.typed_config },
      rpc
        ? check({ ...errors, ...grpc(rpc.timeout), include_peer_certificate: true })
        : check({
            ...errors,
            allowed_headers: exactly(plain!.includeRequestHeadersInCheck),
            ...http(plain!.timeout, {
              path_prefix: plain!.pathPrefix,
              authorization_response: {
                allowed_upstream_headers: exactly(plain!.headersToUpstreamOnAllow),
                allowed_client_headers: exactly(plain!.headersToDownstreamOnDeny),
              },
            }),
          }),
    ],
  };
}

interface TrafficPolicy {
  readonly path: { readonly escapedSlashesAction: string };
  readonly headers: { readonly withUnderscoresAction: string; readonly earlyRequestHeaders?: { readonly remove: readonly string[] } };
}
interface ExtAuth {
  readonly grpc?: Fields;
  readonly http?: { readonly path: string; readonly headersToBackend: readonly string[] };
  readonly headersToExtAuth?: readonly string[];
  readonly timeout: string;
  readonly failOpen: boolean;
  readonly statusOnError: number;
  readonly contextExtensions?: readonly { readonly name: string; readonly value: string }[];
}
/** A listener of Envoy Gateway's, with the policy of one of its targets. */
function envoyGateway(file: string, target: 'Gateway' | 'HTTPRoute'): Written {
  const [traffic] = ofKind(`envoy-gateway/${file}`, 'ClientTrafficPolicy') as [TrafficPolicy];
  const policies = ofKind(`envoy-gateway/${file}`, 'SecurityPolicy') as readonly { targetRefs: readonly { kind: string }[]; extAuth: ExtAuth }[];
  const { extAuth } = policies.find(({ targetRefs }) => targetRefs[0]!.kind === target)!;
  const seconds = `${Number.parseInt(extAuth.timeout, 10) / 1000}s`;
  const early = traffic.headers.earlyRequestHeaders?.remove.map((remove) => ({ remove }));
  return {
    manager: {
      use_remote_address: true,
      normalize_path: true,
      merge_slashes: true,
      path_with_escaped_slashes_action: shout(traffic.path.escapedSlashesAction),
      common_http_protocol_options: { headers_with_underscores_action: shout(traffic.headers.withUnderscoresAction) },
      ...(early && {
        early_header_mutation_extensions: [
          {
            name: 'early',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation',
              mutations: early,
            },
          },
        ],
      }),
    },
    filters: [
      check({
        failure_mode_allow: extAuth.failOpen,
        status_on_error: { code: extAuth.statusOnError },
        ...(extAuth.headersToExtAuth && { allowed_headers: exactly(extAuth.headersToExtAuth) }),
        ...(extAuth.http
          ? http(seconds, {
              path_prefix: extAuth.http.path,
              authorization_response: { allowed_upstream_headers: exactly(extAuth.http.headersToBackend) },
            })
          : grpc(seconds)),
      }),
    ],
    ...(extAuth.contextExtensions && {
      route: {
        'envoy.filters.http.ext_authz': {
          '@type': 'type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute',
          check_settings: { context_extensions: Object.fromEntries(extAuth.contextExtensions.map(({ name, value }) => [name, value])) },
        },
      },
    }),
  };
}

const run = (written: Written, to: Partial<InMemory['to']> = {}) => {
  const configuration: Configuration = 'prefix.yaml';
  return startEnvoy(configuration, { ...behind.to, ...to }, { spoil: (file, text) => (file === configuration ? rewritten(text, written) : text) });
};

describe.each<[string, string, () => Written]>([
  ['Istio over gRPC', 'envoy_grpc', () => istio('grantgate')],
  ['Istio over HTTP', 'envoy_http_prefix', () => istio('grantgate-http')],
  ['Envoy Gateway over gRPC', 'envoy_grpc', () => envoyGateway('grpc.yaml', 'Gateway')],
  ['Envoy Gateway over HTTP', 'envoy_http_prefix', () => envoyGateway('http.yaml', 'Gateway')],
])('%s', (_, protocol, written) => {
  const SPELLINGS = ['X-Auth-User', 'X.Auth.User', 'X-Auth.Customer', 'X.Authz-Decision.Id', 'x-envoy-auth-failure-mode-allowed'];
  const spoofed = Object.fromEntries(SPELLINGS.map((name) => [name, 'mallory']));

  test('allow, deny, no credential; the identity is the door’s in every spelling', () =>
    through(run(written()), async (ask) => {
      const before = behind.application.seen.length;
      expect((await ask({ path: '/api/device/d1', token, headers: spoofed })).status).toBe(200);
      expect(behind.application.seen.at(-1)!.rawHeaders.filter((each) => each === 'mallory')).toEqual([]);
      expect(['X-Auth-User', 'X-Auth-Customer'].map((name) => behind.application.values(name))).toEqual([['admin'], ['']]);
      expect((await ask({ path: '/api/device/x1', token })).status).toBe(403);
      expect((await ask({ path: '/DEVICE/READ', token })).status).toBe(403);
      const { status, headers } = await ask({ path: '/api/device/d1' });
      expect([status, headers['www-authenticate']]).toEqual([401, 'Bearer']);
      expect((await ask({ path: '/api/device/d1', token, headers: { 'X-HTTP-Method-Override': 'DELETE' } })).status).toBe(403);
      expect((await ask({ path: '/api/device/d1', method: 'OPTIONS', headers: { Origin: 'x', 'Access-Control-Request-Method': 'GET' } })).status).toBe(200);
      expect((await ask({ path: '/api/device/d1', token, headers: { X_Auth_User: 'mallory' } })).status, 'refused by Envoy').toBe(400);
      expect((await ask({ path: '/api%2fdevice/d1', token })).status, 'refused by Envoy').toBe(400);
      expect(behind.application.seen.length).toBe(before + 2);
      expect(new Set(behind.side.reports.map((each) => each.protocol))).toEqual(new Set([protocol]));
    }));
  test('fails closed', () => {
    const nobody = join(behind.directory, 'nobody.sock');
    return through(run(written(), { socket: nobody, grpcSocket: nobody }), async (ask) => {
      const before = behind.application.seen.length;
      expect((await ask({ path: '/api/device/d1', token })).status).toBe(503);
      expect(behind.application.seen.length).toBe(before);
    });
  });
});

test('Envoy Gateway: a route with a question of its own', () =>
  through(run(envoyGateway('grpc.yaml', 'HTTPRoute')), async (ask) => {
    expect((await ask({ path: '/anything', token })).status).toBe(200);
    expect(behind.side.reports.map(({ route, target }) => [route, target])).toEqual([['DEVICE/READ', '*']]);
  }));
