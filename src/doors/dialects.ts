// What does each proxy's subrequest look like? One row per proxy, read by the one handler in http.ts.
//
// A door reads its own headers and no other dialect's: an endpoint that takes several sets lets a client speak the set that its
// proxy does not overwrite (proxies 3.1).

export interface Dialect {
  /** The door is `/auth/<name>`. */
  readonly name: string;
  /** The door as a metric label (contract 4.3). */
  readonly protocol: string;
  /** Headers that hold the client's own method and raw request target, in lower case. */
  readonly method: string;
  readonly uri: string;
  /** Header with the target in the form with parameters; null: this door has no such form. */
  readonly target: string | null;
  /** Header with the revision that an answer must be of, or of a later one; null: this door never reads one. */
  readonly atLeast: string | null;
}

export const DIALECTS: readonly Dialect[] = [
  { name: 'nginx', protocol: 'nginx', method: 'x-original-method', uri: 'x-original-uri', target: 'x-authz-target', atLeast: 'x-authz-at-least' },
];

/** A door, and the parameters in its path if there are any. */
export interface Entrance<D> {
  readonly door: D;
  readonly resource: string | null;
  readonly operation: string | null;
}

const PREFIX = '/auth/';

/**
 * Which door a raw request target leads to: `/auth/<name>` or `/auth/<name>/{RESOURCE}/{OPERATION}`, compared byte by byte. No
 * decoding, no normalising, no router (rule 1): whatever is not spelled exactly so is no door. The query is not read.
 */
export function entranceOf<D extends { readonly dialect: Dialect }>(doors: ReadonlyMap<string, D>, url: string): Entrance<D> | null {
  const query = url.indexOf('?');
  const path = query < 0 ? url : url.slice(0, query);
  const door = doors.get(path);
  if (door) return { door, resource: null, operation: null };
  const first = path.indexOf('/', PREFIX.length);
  const second = path.indexOf('/', first + 1);
  if (first < 0 || second < 0) return null;
  const behind = doors.get(path.slice(0, first));
  if (!behind || behind.dialect.target === null) return null;
  const resource = path.slice(first + 1, second);
  const operation = path.slice(second + 1);
  return isName(resource) && isName(operation) ? { door: behind, resource, operation } : null;
}

/** Letters, digits and `_`: no slash, dot or percent sign that somebody could read as part of a path. */
function isName(text: string): boolean {
  return /^[A-Za-z][A-Za-z0-9_]{0,99}$/.test(text);
}

export function doorPath({ name }: Dialect): string {
  return PREFIX + name;
}
