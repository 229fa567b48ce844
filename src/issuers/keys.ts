// Which keys does an issuer have at this moment, when they change without notice and its server may be away?
//
// They are fetched at the start and again in the background; a check waits for them only if its token names a key that is not
// among them, and such a fetch happens at most once in a cool-down, whoever asks: a flood of made-up names reaches the issuer once,
// and is refused from memory. A fetch that fails leaves the keys as they are and is tried again with back-off, until they are so
// old that one taken away long ago could be among them; then no token of that issuer can be judged.

import { PolicyError } from 'policy-cache';
import type { Clock } from 'policy-cache';
import { download } from './download.ts';
import { readKeys } from './jwks.ts';
import type { Algorithm, Keys } from './jwks.ts';

export interface KeySourceSettings {
  /** Of the issuer: for logs and metrics. */
  readonly name: string;
  readonly issuer: string;
  /** Absent: as the discovery document says. */
  readonly jwksUri?: string | undefined;
  readonly algorithms: readonly Algorithm[];
  readonly insecureHttp: boolean;
  /** Milliseconds between two fetches in the background. */
  readonly refreshInterval: number;
  /** Milliseconds after a fetch in which a key that is not known is not looked for. */
  readonly cooldown: number;
  /** Milliseconds after which keys that could not be fetched again are not believed. */
  readonly maxKeyAge: number;
  /** Milliseconds that one answer may take; default 5,000. */
  readonly timeout?: number;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly wall: () => number;
  readonly random: () => number;
  readonly log: (level: 'info' | 'warn', detail: string) => void;
}

export type Found =
  | { readonly kind: 'keys'; readonly keys: ReturnType<Keys['candidates']>; /** Seconds since 1970. */ readonly until: number }
  | { readonly kind: 'none' }
  /** Being fetched. Never rejects. */
  | { readonly kind: 'later'; readonly ready: Promise<void> };

export interface KeySource {
  readonly name: string;
  readonly refreshes: Readonly<Record<'success' | 'failure', number>>;
  /** Since the keys were fetched; null: they never were. */
  readonly ageMs: number | null;
  /** Why no token can be judged; null: they can. */
  readonly problem: string | null;
  /** Fetches now, and from now on in the background. */
  start(): void;
  close(): void;
  /** @throws PolicyError where there is nothing to judge by: `starting`, `stale`, `source` (not known, and it could not be looked for), `overload` */
  find(kid: string | null, alg: string): Found;
}

const FIRST_PAUSE_MS = 1_000;
/** Checks that wait for one fetch. More are turned away: each holds a request of its proxy. */
const MAX_WAITING = 256;

export function createKeySource(settings: KeySourceSettings): KeySource {
  const { name, algorithms, refreshInterval, cooldown, maxKeyAge, timeout = 5_000, clock, wall, random, log } = settings;
  const refreshes = { success: 0, failure: 0 };
  const closed = new AbortController();
  let keys: Keys | null = null;
  let fetchedAt = 0; // wall, at the beginning of that fetch
  let failures = 0; // in a row
  let cause = 'not fetched yet';
  let discovered: string | null = null;
  let underWay: Promise<void> | null = null;
  let waiting = 0;
  let quietUntil = -Infinity; // by the clock
  let cancel = (): void => undefined;

  const attempt = async (): Promise<void> => {
    const began = wall();
    try {
      const limits = { insecureHttp: settings.insecureHttp, timeout, signal: closed.signal };
      discovered ??= settings.jwksUri ?? jwksUriOf(await download(discoveryUrl(settings.issuer), limits), settings.issuer);
      const read = await readKeys(await download(discovered, limits), algorithms, keys?.grounds);
      const gone = [...(keys?.grounds ?? [])].filter(([id]) => !read.grounds.has(id));
      if (keys === null || failures > 0 || gone.length > 0) log('info', `${name}: ${read.grounds.size} keys${gone.length > 0 ? `, ${gone.length} gone` : ''}`);
      keys = read;
      for (const [, grounds] of gone) grounds.withdrawn = true;
      fetchedAt = began;
      failures = 0;
      refreshes.success++;
    } catch (error) {
      if (closed.signal.aborted) return;
      failures++;
      refreshes.failure++;
      discovered = null; // it may have moved
      cause = error instanceof Error ? error.message : String(error);
      log('warn', `${name}: keys could not be fetched (${cause}); ${keys === null ? 'no token of it can be judged' : 'those of before are used'}`);
    }
  };
  const refresh = (): Promise<void> => {
    if (underWay !== null) return underWay;
    cancel();
    const fetched = attempt().then(() => {
      underWay = null;
      waiting = 0;
      quietUntil = clock.now() + cooldown;
      if (!closed.signal.aborted) cancel = clock.after(pause(), () => void refresh()); // it never rejects
    });
    underWay = fetched;
    return fetched;
  };
  const pause = (): number => {
    const full = failures === 0 ? refreshInterval : Math.min(refreshInterval, FIRST_PAUSE_MS * 2 ** (failures - 1));
    return full * (0.5 + random() / 2); // many sidecars of one issuer must not come at once
  };
  const problem = (): PolicyError | null => {
    if (keys === null) return new PolicyError('starting', `${name}: its keys were never fetched (${cause})`);
    if (wall() - fetchedAt < maxKeyAge) return null;
    return new PolicyError('stale', `${name}: its keys could not be fetched for longer than maxKeyAge (${cause})`);
  };

  return {
    name,
    refreshes,
    get ageMs() {
      return keys === null ? null : wall() - fetchedAt;
    },
    get problem() {
      return problem()?.message ?? null;
    },
    start: () => void refresh(), // it never rejects
    close() {
      cancel();
      closed.abort();
    },
    find(kid, alg) {
      const fault = problem();
      if (fault !== null || keys === null) throw fault ?? new Error('no keys');
      const candidates = keys.candidates(kid, alg);
      if (candidates.length > 0) return { kind: 'keys', keys: candidates, until: Math.ceil((fetchedAt + maxKeyAge) / 1000) };
      // Named, but for another algorithm: nothing that a fetch would mend.
      if (kid === null || keys.has(kid)) return { kind: 'none' };
      if (underWay === null && clock.now() < quietUntil) {
        if (failures > 0) throw new PolicyError('source', `${name}: a key that is not known could not be looked for (${cause})`);
        return { kind: 'none' };
      }
      if (waiting >= MAX_WAITING) throw new PolicyError('overload', `${name}: ${waiting} checks wait for its keys`);
      waiting++;
      return { kind: 'later', ready: refresh() };
    },
  };
}

/** OIDC Discovery 1.0, section 4: a slash at the end is taken away first. */
function discoveryUrl(issuer: string): string {
  return `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
}

/** Section 4.3: the document must name the very issuer that it was asked for. */
function jwksUriOf(document: unknown, issuer: string): string {
  const { issuer: named, jwks_uri: uri }: { issuer?: unknown; jwks_uri?: unknown } = typeof document === 'object' && document !== null ? document : {};
  if (named !== issuer) throw new Error(`the discovery document is that of ${JSON.stringify(named)?.slice(0, 200) ?? 'nobody'}, not of ${issuer}`);
  if (typeof uri !== 'string') throw new Error('the discovery document names no jwks_uri');
  return uri;
}
