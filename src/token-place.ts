// Where else than in a header may a token stand, for a route that says so?
//
// A browser cannot set a header on a WebSocket handshake. What it can send, a cookie or a parameter of the query, every page on the
// web can make it send: so a row opts in by name, and for a cookie it names the origins of its own pages.

export type TokenPlace =
  { readonly kind: 'cookie'; readonly name: string; readonly origins: ReadonlySet<string> } | { readonly kind: 'query'; readonly name: string };

/** RFC 6265 4.1.1: a token, without what would have to be encoded in a query. */
const NAME = /^[A-Za-z0-9._-]{1,100}$/;
const ORIGIN = /^https?:\/\/(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(?::[1-9]\d{0,4})?$/;

/** Reads the field `token` of a row; null if it is not well said, and `problem` was told. */
export function readTokenPlace(value: unknown, problem: (field: string, text: string) => void): TokenPlace | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    problem('token', `expected { cookie: NAME, origins: [https://app.example] } or { query: NAME }, got ${JSON.stringify(value)}`);
    return null;
  }
  const { cookie, query, origins, ...rest } = value as Readonly<Record<string, unknown>>;
  for (const field of Object.keys(rest)) problem(`token.${field}`, 'unknown field; known are cookie, origins, query');
  if ((cookie === undefined) === (query === undefined)) {
    problem('token', 'says both or neither of cookie and query; keep one of them');
    return null;
  }
  const field = cookie === undefined ? 'query' : 'cookie';
  const name = cookie ?? query;
  if (typeof name !== 'string' || !NAME.test(name)) {
    problem(`token.${field}`, `expected a name of letters, digits, dots, dashes and underscores, got ${JSON.stringify(name)}`);
    return null;
  }
  if (field === 'query') {
    if (origins !== undefined) problem('token.origins', 'goes with a cookie, which a browser adds by itself; take the line away');
    return { kind: 'query', name };
  }
  const list: readonly unknown[] = Array.isArray(origins) ? origins : [];
  if (list.length === 0)
    problem('token.origins', 'missing; name the origins of your own pages, as [https://app.example]: any page makes a browser send a cookie');
  const known = new Set<string>();
  for (const origin of list) {
    if (typeof origin === 'string' && ORIGIN.test(origin)) known.add(origin);
    else problem('token.origins', `expected origins as a browser sends them, https://app.example or https://app.example:8443, got ${JSON.stringify(origin)}`);
  }
  return { kind: 'cookie', name, origins: known };
}
