// Who sent this credential?
//
// A bearer token goes to exactly one issuer, chosen by the algorithm and the `iss` that it names: the keys of one issuer are
// never tried on a token of another. What an issuer proved is kept until the token ends or its key is gone; what it
// refused is not kept, so forged tokens can neither fill the cache nor push a good one out. Verifications under way are bounded: a
// flood of forged tokens costs its own time and keeps new tokens waiting, or refuses them with `overload`; it never touches one
// that is kept.
//
// One authenticator is one validation profile: its cache key is the whole token, its settings are part of what it is. Measured
// (Node 20, 363-byte tokens, a busy two-core machine): a verification by jose 170 µs of CPU, a hit 3 µs and no promise.

import { LRUCache } from 'lru-cache';
import { InputError, PolicyError } from 'policy-cache';
import type { CredentialProblem } from './problem.ts';

/** What a proof stands on: a key, or some that come and go together. */
export interface Grounds {
  /** True from the moment on when the issuer has them no longer: whatever they proved is proved again, or is not. */
  readonly withdrawn: boolean;
}

/** What an issuer says of a token. Times are seconds since 1970, the issuer's tolerance included. */
export type Proof =
  /** `operator`: a system administrator, not a user of any tenant (semantics 1.6). */
  | { readonly kind: 'user' | 'operator'; readonly subject: string; readonly from: number; readonly until: number; readonly grounds: Grounds }
  | { readonly kind: 'refused'; readonly problem: CredentialProblem }
  /** Its key is being fetched: to be asked again when this resolves. Never rejects. */
  | { readonly kind: 'later'; readonly ready: Promise<void> };

/** Whoever is believed when it says who somebody is: an issuer of tokens, or the proxy in front of a listener. */
export interface Authority {
  /** For people and logs. */
  readonly name: string;
  /** False for tokens that this service signs itself. */
  readonly external: boolean;
  /** Tenants that it speaks for: a subject of another one is not authenticated by it. */
  readonly tenants: readonly string[] | '*';
}

/** One kind of token and its keys. A new kind is one more file in `issuers/`. */
export interface Issuer extends Authority {
  /** Values of `alg` that are its own. */
  readonly algorithms: readonly string[];
  /** The `iss` of its tokens; null: it asks for none, and takes what no other issuer claims. */
  readonly iss: string | null;
  /** Never rejects for a bad token; what it throws or rejects with is a fault of ours. `now` is seconds since 1970. */
  verify(token: string, now: number): Promise<Proof>;
}

export interface Identity {
  readonly kind: 'user' | 'operator';
  readonly subject: string;
  /** Who has logged in as the subject, and must be allowed to at each check; '' or absent: nobody else has. */
  readonly actor?: string;
  readonly authority: Authority;
  /** When it ends, in seconds since 1970. */
  readonly expires: number;
  /** Asks once more. Absent: what it stands on does not change with the database. */
  readonly again?: () => Authentication | Promise<Authentication>;
}

export type Authentication = Identity | { readonly kind: 'refused'; readonly problem: CredentialProblem };

export interface Authenticator {
  /**
   * Judges a bearer token: all of the text behind its first `skip` characters (default 0). One proved before is answered in this turn.
   * @throws PolicyError `overload` when too many are being verified; whatever an issuer throws by its own fault
   */
  authenticate(text: string, skip?: number): Authentication | Promise<Authentication>;
  /** Tokens kept, and how often one was found. */
  readonly hits: number;
  readonly misses: number;
  readonly size: number;
}

export interface AuthenticatorSettings {
  readonly issuers: readonly Issuer[];
  /** Who else is believed in this process: counted among those that may speak for every tenant. */
  readonly others?: readonly Authority[];
  /** Milliseconds since 1970. */
  readonly wall: () => number;
  /** Tokens kept at most; default 20,000. */
  readonly tokens?: number;
  /** Their characters at most; default 32 Mi. */
  readonly characters?: number;
  /** Verifications under way at most; default 1,000. */
  readonly verifications?: number;
  /** Asked before a verification, with how many are under way; what it throws refuses the token, and one in memory is never asked about. */
  readonly admit?: (verifying: number) => void;
}

/** A longer token is refused unread. */
const MAX_TOKEN = 8192;
/** RFC 6750 2.1, RFC 9110 11.2. A comma or a space is two credentials that some proxy joined. */
const TOKEN68 = /^[A-Za-z0-9\-._~+/]+=*$/;

/** What is kept of a token that was proved. */
interface Proved {
  /** As it came, with the `skip` characters before the token. */
  readonly text: string;
  readonly skip: number;
  readonly identity: Identity;
  readonly from: number;
  readonly grounds: Grounds;
}

/** @throws InputError if two issuers would claim the same tokens, or two foreign ones speak for every tenant */
export function createAuthenticator(settings: AuthenticatorSettings): Authenticator {
  const { issuers, others = [], wall, tokens = 20_000, characters = 32 * 1024 * 1024, verifications = 1000, admit } = settings;
  const choose = issuerChoice(issuers);
  onlyOneEverywhere([...issuers, ...others]);
  const proved = new LRUCache<number, Proved>({ max: tokens, maxSize: characters, sizeCalculation: ({ text }) => text.length });
  /** A page asks for many things at once with one new token: that is one verification, and one of those that are bounded. */
  const underWay = new Map<string, Promise<Authentication>>();
  let hits = 0;
  let misses = 0;
  let verifying = 0;

  /** One question to an issuer, counted: what waits for keys does not hold up tokens whose keys are here. */
  const ask = async (token: string, issuer: Issuer): Promise<Proof> => {
    if (verifying >= verifications) throw new PolicyError('overload', `${verifying} tokens are being verified`);
    verifying++;
    try {
      return await issuer.verify(token, seconds(wall));
    } finally {
      verifying--;
    }
  };
  const verify = async (text: string, skip: number, issuer: Issuer): Promise<Authentication> => {
    const token = text.slice(skip);
    for (;;) {
      const proof = await ask(token, issuer);
      if (proof.kind === 'later') {
        await proof.ready;
        continue;
      }
      if (proof.kind === 'refused') return proof;
      // Keys that changed during a verification: what it found stands on the old ones.
      if (proof.grounds.withdrawn) continue;
      const identity: Identity = { kind: proof.kind, subject: proof.subject, authority: issuer, expires: proof.until };
      const now = seconds(wall);
      if (now >= proof.until) return refused('expired-token');
      keep({ text, skip, identity, from: proof.from, grounds: proof.grounds });
      return identity;
    }
  };
  const keep = (entry: Proved): void => {
    const place = placeOf(entry.text);
    const other = proved.peek(place);
    proved.set(other === undefined || isOf(other, entry.text, entry.skip) ? place : place ^ 1, entry);
  };

  return {
    authenticate(text, skip = 0) {
      let place = placeOf(text);
      let known = proved.get(place);
      if (known !== undefined && !isOf(known, text, skip)) known = proved.get((place ^= 1));
      if (known !== undefined && isOf(known, text, skip)) {
        const { identity } = known;
        const now = seconds(wall);
        if (!known.grounds.withdrawn && now < identity.expires && now >= known.from) {
          hits++;
          return identity;
        }
        proved.delete(place);
      }
      misses++;
      const token = text.slice(skip);
      const asked = underWay.get(token);
      if (asked !== undefined) return asked;
      if (token.length > MAX_TOKEN) return refused('token-too-long');
      if (!TOKEN68.test(token)) return refused('not-bearer');
      const issuer = choose(token);
      if (issuer === null) return refused('bad-token');
      admit?.(verifying); // in this turn: a promise and a timer for each token of a flood would cost as much as the flood's work
      const proof = verify(text, skip, issuer).finally(() => underWay.delete(token));
      underWay.set(token, proof);
      return proof;
    },
    get hits() {
      return hits;
    },
    get misses() {
      return misses;
    },
    get size() {
      return proved.size;
    },
  };
}

const REFUSED = new Map<CredentialProblem, { readonly kind: 'refused'; readonly problem: CredentialProblem }>();

/** The refusal for a reason, always the same object. */
export function refused(problem: CredentialProblem): { readonly kind: 'refused'; readonly problem: CredentialProblem } {
  let refusal = REFUSED.get(problem);
  if (!refusal) REFUSED.set(problem, (refusal = Object.freeze({ kind: 'refused', problem })));
  return refusal;
}

/** Characters at the end of a token that say where it is kept. They are of its signature, which nobody chooses who cannot sign. */
const END = 16;

/**
 * One of two places for a text, the other is `place ^ 1`: of 20,000 tokens hardly ever three want the same two. A Map of whole tokens hashes each
 * one that comes, 300 new characters and more: most of what hashing took, which was a tenth of the pipeline. Which text an entry is of is compared, all of it.
 */
function placeOf(text: string): number {
  let place = text.length;
  for (let i = Math.max(0, text.length - END); i < text.length; i++) place = (Math.imul(place, 33) + text.charCodeAt(i)) | 0;
  return place;
}

function isOf(entry: Proved, text: string, skip: number): boolean {
  return entry.text === text && entry.skip === skip;
}

function seconds(wall: () => number): number {
  return Math.floor(wall() / 1000);
}

/** Which issuer a token goes to, by what it says of itself; null if it is no token or nobody's. */
function issuerChoice(issuers: readonly Issuer[]): (token: string) => Issuer | null {
  const byName = new Map<string, Issuer>();
  const key = (alg: string, iss: string | null): string => JSON.stringify([alg, iss]);
  for (const issuer of issuers) {
    for (const alg of issuer.algorithms) {
      const other = byName.get(key(alg, issuer.iss));
      if (other)
        throw new InputError(
          'identity',
          `issuers ${other.name} and ${issuer.name} both take ${alg} tokens of ${issuer.iss ?? 'any issuer'}; give each its own issuer name`,
        );
      byName.set(key(alg, issuer.iss), issuer);
    }
  }
  return (token) => {
    const [header, payload] = token.split('.', 2);
    const alg = claim(header, 'alg');
    if (typeof alg !== 'string') return null;
    const iss = claim(payload, 'iss');
    return (typeof iss === 'string' ? byName.get(key(alg, iss)) : undefined) ?? byName.get(key(alg, null)) ?? null;
  };
}

function onlyOneEverywhere(authorities: readonly Authority[]): void {
  const everywhere = authorities.filter(({ external, tenants }) => external && tenants === '*');
  if (everywhere.length > 1)
    throw new InputError(
      'identity',
      `${everywhere.map(({ name }) => name).join(' and ')} both speak for every tenant ('*'); at most one may, name the tenants of the others`,
    );
}

/** A member of a token's part, unproved: good for choosing who is to prove it, and for nothing else. */
function claim(part: string | undefined, name: string): unknown {
  if (part === undefined) return undefined;
  try {
    const parsed: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return typeof parsed === 'object' && parsed !== null && Object.hasOwn(parsed, name) ? (parsed as Record<string, unknown>)[name] : undefined;
  } catch {
    return undefined;
  }
}
