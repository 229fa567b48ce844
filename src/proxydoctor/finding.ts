// What can be wrong with a proxy, why does it matter, and from where can it be seen?
//
// A code is stable: scripts and alerts are written by it.

/** Where the doctor stands. `door`: in the place of the sidecar; `application`: in that of what the proxy guards. */
export type Depth = 'outside' | 'application' | 'door';

interface Check {
  /** Why it matters, with the vulnerability that made the class known, where there is one. */
  readonly why: string;
  /** Any of these places shows it; or it takes all of them. */
  readonly from: readonly Depth[];
  readonly takes: 'any' | 'all';
}

const check = (from: readonly Depth[], why: string, takes: Check['takes'] = 'any'): Check => ({ from, why, takes });

export const CHECKS = {
  unguarded: check(['outside'], 'whoever asks is let in, and nobody is asked whether they may'),
  challenge: check(
    ['outside', 'door'],
    'a client that gets no 401 with WWW-Authenticate does not know that it is to log in, and drops its session or tries for ever',
  ),
  'door-exposed': check(['outside'], 'whoever reaches a door asks it about anybody and anything, and reads who a token belongs to'),
  'original-uri': check(
    ['outside', 'door'],
    'the client names the request that is checked, and another one is served (CVE-2026-40575 of oauth2-proxy, CVE-2023-27487 of Envoy)',
  ),
  'bypass-header': check(['outside'], 'what a client says of itself lets it in (CVE-2026-34457 of oauth2-proxy: the User-Agent of a health check)'),
  'second-credential': check(['outside'], 'one credential is checked, and the application may take the other (CVE-2021-32777 of Envoy)'),
  'method-override': check(['outside'], 'GET is checked, and an application that honours the header does something else'),
  'path-confusion': check(
    ['outside'],
    'the proxy guards one spelling of a path, and the application serves another (CVE-2019-9901 and CVE-2021-29492 of Envoy)',
  ),
  'header-leak': check(['outside'], 'who a user is, of which tenant, and the id of the decision are for the application, and no business of clients'),
  'decision-cached': check(['outside', 'door'], 'an answer that the proxy keeps cannot be revoked, and may be given to somebody else'),
  'identity-forged': check(
    ['application'],
    'the application takes the client for whoever it says it is (CVE-2026-30851 of Caddy, CVE-2025-64484 of oauth2-proxy)',
  ),
  'identity-missing': check(['application'], 'the application does not learn who asks, and may take an empty name for somebody'),
  'failure-mode-header': check(['application'], 'the client says that the check was skipped; an application that looks at the mark is led astray'),
  'rewrite-header': check(['application'], 'some frameworks serve the path in this header instead of the one that was checked (CVE-2018-14773 of Symfony)'),
  'upgrade-tunnel': check(
    ['application'],
    'an application that takes it up serves whatever comes through that connection, and nobody is asked any more (h2c smuggling)',
  ),
  'body-changed': check(['application'], 'what the application reads is not what the client sent'),
  'target-differs': check(
    ['door', 'application'],
    'one target is checked, and the application gets another (CVE-2021-43557 of APISIX, CVE-2026-33494 of Oathkeeper)',
    'all',
  ),
  'contract-missing': check(['door'], 'the sidecar refuses what it is not told: every request is denied, or one day a default is believed'),
  'header-injection': check(['door'], 'a line break in the path is a header of the subrequest, and so the client writes what the sidecar reads'),
  'body-owed': check(
    ['door'],
    'a body is announced to the sidecar that never comes: the next request of somebody else on that connection is read as it, or hangs',
  ),
  'body-forwarded': check(['door'], 'the sidecar never reads a body: each of these checks costs a connection, and the upload goes over the wire twice'),
  'fail-open': check(['door'], 'while the sidecar is away, restarting or overloaded, everybody is let in'),
  'no-keepalive': check(['door'], 'a connection for each check costs the sidecar three to five times the check itself'),
} as const satisfies Readonly<Record<string, Check>>;

export type Code = keyof typeof CHECKS;

/** The names, in the order in which they are told. */
export function codes(): readonly Code[] {
  return Object.keys(CHECKS).filter((name): name is Code => name in CHECKS);
}

/** Can it be seen from these places? */
export function isVisible(code: Code, places: readonly Depth[]): boolean {
  const { from, takes }: Check = CHECKS[code];
  return takes === 'all' ? from.every((place) => places.includes(place)) : from.some((place) => places.includes(place));
}

/** What one look showed. `unknown`: it was to be looked at, and could not. */
export interface Look {
  readonly code: Code;
  readonly state: 'ok' | 'problem' | 'unknown';
  /** What was sent and what was seen; never a token. */
  readonly text: string;
}

export interface Finding extends Look {
  readonly why?: string;
  /** The line that mends it, in the words of that proxy. */
  readonly fix?: string;
}

export const ok = (code: Code, text: string): Look => ({ code, state: 'ok', text });
export const problem = (code: Code, text: string): Look => ({ code, state: 'problem', text });
export const unknown = (code: Code, text: string): Look => ({ code, state: 'unknown', text });

/** The first few, and how many more there are: no line of output is a list of everything. */
export function several(words: readonly string[], between = ', '): string {
  const more = words.length - 3;
  return more > 1 ? `${words.slice(0, 3).join(between)}${between.trim() === ';' ? ';' : ''} and ${more} more` : words.join(between);
}

/** One look for each code: a problem weighs more than all that was right, and what was seen more than what was not. */
export function merged(looks: readonly Look[]): readonly Look[] {
  return codes().flatMap((code) => {
    const own = looks.filter((look) => look.code === code);
    const state = (['problem', 'ok', 'unknown'] as const).find((each) => own.some((look) => look.state === each));
    if (state === undefined) return [];
    return [{ code, state, text: [...new Set(own.filter((look) => look.state === state).map(({ text }) => text))].join('; ') }];
  });
}
