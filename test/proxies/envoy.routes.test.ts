// Can a request be checked for one route and go to another? Envoy finds its route before the filters run, and again for whoever clears the
// route cache.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startEnvoy, type Configuration } from '../support/proxies/envoy.ts';
import { startInMemory, through, type InMemory } from '../support/proxies/in-front.ts';

let behind: InMemory;
let token: string;
beforeAll(async () => {
  behind = await startInMemory();
  token = await behind.side.token('reader');
});
afterAll(() => behind?.close());
beforeEach(() => {
  behind.side.reports.length = 0;
  behind.application.seen.length = 0;
});

/** A filter of somebody's own that follows a header to another path, as a filter for languages or tenants would. */
const FOLLOW = `
                  - name: follow
                    typed_config:
                      '@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
                      default_source_code:
                        inline_string: |
                          function envoy_on_request(handle)
                            local path = handle:headers():get("x-follow")
                            if path then
                              handle:headers():replace(":path", path)
                              handle:clearRouteCache()
                            end
                          end
`;
const FIRST = '                http_filters:\n';
const LAST = '                  - name: envoy.filters.http.router\n';
const BEFORE_CHECK = '                  # Last before the router';
const at = (place: string) => (text: string) => text.replace(place, place === FIRST ? place + FOLLOW : FOLLOW + place);

const front = (configuration: Configuration, spoil?: (text: string) => string) =>
  startEnvoy(configuration, behind.to, spoil ? { spoil: (file, text) => (file === configuration ? spoil(text) : text) } : {});

describe.each<Configuration>(['http.yaml', 'prefix.yaml', 'grpc.yaml'])('%s', (configuration) => {
  /** d1 is the reader's to read, x1 another tenant's: status, and the path that the application got. */
  const follow = (spoil: (text: string) => string) =>
    through(front(configuration, spoil), async (ask) => {
      const { status } = await ask({ path: '/api/device/d1', token, headers: { 'x-follow': '/api/device/x1' } });
      return { status, got: behind.application.seen.map(({ url }) => url), checked: behind.side.reports.map(({ target }) => target) };
    });

  test('a filter before the check is followed by it', async () => {
    const refused = { status: 403, got: [], checked: ['x1'] };
    expect(await follow(at(FIRST))).toEqual(refused);
    behind.side.reports.length = 0;
    expect(await follow(at(BEFORE_CHECK))).toEqual(refused);
  });
  test('a filter behind it is not: that is why it is the last', async () =>
    expect(await follow(at(LAST))).toEqual({ status: 200, got: ['/api/device/x1'], checked: ['d1'] }));
  test('as shipped, there is none', () =>
    through(front(configuration), async (ask) => {
      expect((await ask({ path: '/api/device/d1', token, headers: { 'x-follow': '/api/device/x1' } })).status).toBe(200);
      expect(behind.application.seen.map(({ url }) => url)).toEqual(['/api/device/d1']);
    }));
});

describe.each<Configuration>(['http.yaml', 'grpc.yaml'])('%s: a route of its own question', (configuration) => {
  const asked = (spoil?: (text: string) => string) =>
    through(front(configuration, spoil), async (ask) => {
      const { status } = await ask({ path: '/fleet/x', token, headers: { 'x-follow': '/estate/x' } });
      return { status, got: behind.application.seen.map(({ url }) => url), routes: behind.side.reports.map(({ route }) => route) };
    });

  test('is asked of the route that a filter before the check leads to', async () =>
    expect(await asked(at(FIRST))).toEqual({ status: 200, got: ['/estate/x'], routes: ['ASSET/READ'] }));
  test('a route where the check is disabled is a way in for whatever a later filter makes of it', async () => {
    const disabled = (text: string): string =>
      text.replace(
        /( +)- match: { prefix: \/ }\n/,
        `$1- match: { prefix: /open/ }
$1  route: { cluster: application }
$1  typed_per_filter_config:
$1    envoy.filters.http.ext_authz: { '@type': type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, disabled: true }
$&`,
      );
    const ask = (spoil: (text: string) => string) =>
      through(front(configuration, spoil), async (send) => {
        const { status } = await send({ path: '/open/x', headers: { 'x-follow': '/api/device/d1' } });
        return { status, got: behind.application.seen.splice(0).map(({ url }) => url), checks: behind.side.reports.splice(0).length };
      });
    expect(await ask((text) => at(LAST)(disabled(text)))).toEqual({ status: 200, got: ['/api/device/d1'], checks: 0 });
    // A public row of the route table opens what it names, and nothing else.
    expect(await ask(at(FIRST))).toEqual({ status: 401, got: [], checks: 1 });
  });
});
