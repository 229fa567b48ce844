// What does each proxy's subrequest look like? One row per proxy, read by the one handler in http.ts.
//
// A door reads its own headers and no other dialect's: an endpoint that takes several sets lets a client speak the set that its
// proxy does not overwrite (proxies 3.1).

export interface Dialect {
  /** The door is `/auth/<name>`. */
  readonly name: string;
  /** The door as a metric label (contract 4.3). */
  readonly protocol: string;
  /** Where the client's own method and raw request target stand. */
  readonly origin: Origin;
  /** Header with the target in the form with parameters; null: this door has no such form. */
  readonly target: string | null;
  /** Header with the revision that an answer must be of, or of a later one; null: this door never reads one. */
  readonly atLeast: string | null;
}

export type Origin =
  /** Two headers, in lower case. `url`: the second holds `scheme://host` before the target. */
  | { readonly kind: 'headers'; readonly method: string; readonly uri: string; readonly url: boolean }
  /** The request line, with the door's own path cut off. Whatever stands behind it is the client's, so it is never the form with parameters. */
  | { readonly kind: 'request-line' };

const ORIGINAL: Origin = { kind: 'headers', method: 'x-original-method', uri: 'x-original-uri', url: false };
const FORWARDED: Origin = { kind: 'headers', method: 'x-forwarded-method', uri: 'x-forwarded-uri', url: false };
const OURS = { target: 'x-authz-target', atLeast: 'x-authz-at-least' } as const;

export const DIALECTS: readonly Dialect[] = [
  { name: 'nginx', protocol: 'nginx', origin: ORIGINAL, ...OURS },
  // Sets X-Original-URI only with `auth-method`, X-Original-URL always.
  { name: 'ingress-nginx', protocol: 'ingress_nginx', origin: { ...ORIGINAL, uri: 'x-original-url', url: true }, ...OURS },
  // With `path_override`; a filter before it writes the two headers over the client's.
  { name: 'envoy', protocol: 'envoy_http', origin: ORIGINAL, ...OURS },
  // With `path_prefix`, all that Istio has: contract headers would be the client's here, so none is read.
  { name: 'envoy-prefix', protocol: 'envoy_http_prefix', origin: { kind: 'request-line' }, target: null, atLeast: null },
  { name: 'traefik', protocol: 'traefik', origin: FORWARDED, ...OURS },
  { name: 'caddy', protocol: 'caddy', origin: FORWARDED, ...OURS },
  { name: 'haproxy', protocol: 'haproxy', origin: ORIGINAL, ...OURS },
  { name: 'apisix', protocol: 'apisix', origin: FORWARDED, ...OURS },
];

/** A door, and what stands behind it in the path: parameters, or the client's own target. */
export interface Entrance<D> {
  readonly door: D;
  readonly resource: string | null;
  readonly operation: string | null;
  /** Raw, query and all; null where headers say it. */
  readonly uri: string | null;
}

const PREFIX = '/auth/';

/**
 * Which door a raw request target leads to: `/auth/<name>` or `/auth/<name>/{RESOURCE}/{OPERATION}`, compared byte by byte. No
 * decoding, no normalising, no router (rule 1): whatever is not spelled exactly so is no door. The query is not read, but at a door
 * whose client's target is the rest of it.
 */
export function entranceOf<D extends { readonly dialect: Dialect }>(doors: ReadonlyMap<string, D>, url: string): Entrance<D> | null {
  const query = url.indexOf('?');
  const path = query < 0 ? url : url.slice(0, query);
  const door = doors.get(path);
  if (door) return { door, resource: null, operation: null, uri: door.dialect.origin.kind === 'request-line' ? '' : null };
  const first = path.indexOf('/', PREFIX.length);
  if (first < 0) return null;
  const behind = doors.get(path.slice(0, first));
  if (!behind) return null;
  if (behind.dialect.origin.kind === 'request-line') return { door: behind, resource: null, operation: null, uri: url.slice(first) };
  const second = path.indexOf('/', first + 1);
  if (second < 0 || behind.dialect.target === null) return null;
  const resource = path.slice(first + 1, second);
  const operation = path.slice(second + 1);
  return isName(resource) && isName(operation) ? { door: behind, resource, operation, uri: null } : null;
}

/** The request target in a URL, its bytes as they stand; null if it is none of http or https with a plain host. No URL parser (proxies 3.2). */
export function targetOf(url: string): string | null {
  const origin = /^https?:\/\/[A-Za-z0-9._:[\]-]+(?=\/)/.exec(url);
  return origin === null ? null : url.slice(origin[0].length);
}

/** Letters, digits and `_`: no slash, dot or percent sign that somebody could read as part of a path. */
function isName(text: string): boolean {
  return /^[A-Za-z][A-Za-z0-9_]{0,99}$/.test(text);
}

export function doorPath({ name }: Dialect): string {
  return PREFIX + name;
}
