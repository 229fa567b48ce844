// What is the answer to one original request, whatever protocol brought it?
//
// Request → route or parameters → credential → checks → outcome; pure of HTTP. The order is part of the contract: what is not
// mapped is refused before anybody is asked who they are (403, not 401), and a public route never reads the credential.
// The outcome begins as "cannot decide" and only the last line of a way makes it something else; whatever is thrown on the way
// leaves it so. With token, subject and target in memory nothing is awaited.

import { ANY } from 'policy-cache';
import type { AccessRequest, Clock } from 'policy-cache';
import type { Believe } from './asserted.ts';
import { refused } from './identity.ts';
import type { Authentication, Authenticator, Identity } from './identity.ts';
import type { OpaqueKind, OpaqueTokens } from './opaque.ts';
import type { AtLeast, Pdp, Ruling } from './pdp.ts';
import { presented } from './presented.ts';
import { unavailableCode } from './problem.ts';
import type { OutcomeReason, RequestProblem, Verdict } from './problem.ts';
import type { CheckReport, CheckSpan } from './report.ts';
import { matchRoute, parseParameters } from './routes.ts';
import type { RouteMatch, RouteTable, Unmapped, UnmappedReason } from './routes.ts';
import type { TokenPlace } from './token-place.ts';

/** What a door read of the client's request. */
export interface DoorRequest {
  /** The door, as a metric label. */
  readonly protocol: string;
  readonly method: string;
  /** The raw request target. */
  readonly uri: string;
  /** In the form with parameters: what the door's own path and header say. */
  readonly parameters: { readonly resource: string; readonly operation: string; readonly target: string } | null;
  /** `Origin` and `Access-Control-Request-Method` were both there. */
  readonly preflight: boolean;
  /** Value of `Authorization` or `X-Authorization`; '' if there was none. */
  readonly credential: string;
  /** How many values the two had together. */
  readonly credentials: number;
  /** All of `Cookie`, joined as one. Read where the route says so, and nowhere else. */
  readonly cookies: string;
  /** Value of `Origin`; '' if there was none. */
  readonly origin: string;
  /** Subject that the listener vouches for, where it believes its proxy and no token; '' if none was named. null: it believes tokens. */
  readonly asserted: string | null;
  /** Milliseconds after which nobody waits for the answer any more; null: not said. */
  readonly timeout: number | null;
  /** State of the database that the answer must be of, or of a later one; null: not asked for, or not to be asked for at this door. */
  readonly atLeast: AtLeast | null;
  /** Why the door refuses it, if it does. */
  readonly problem: RequestProblem | null;
  readonly requestId: string;
  /** Null or absent: it is not traced. */
  readonly span?: CheckSpan | null;
  /** What the clock says in the turn in which the request is handed over, where the door has read it: a lease is judged by it. */
  readonly now?: number;
}

/** The answer to one check, and all that metrics and log tell of it. */
export interface Outcome extends CheckReport {
  readonly reason: OutcomeReason;
  /** Customer that owns the subject; '' for a tenant's own user, and where nobody was asked who they are. */
  readonly customer: string;
  /** Set by the door when it has answered. */
  durationMs: number;
}

/** Never throws and never rejects. A value, not a promise, when nothing had to be waited for. */
export type Authorize = (request: DoorRequest) => Outcome | Promise<Outcome>;

export interface AuthorizeSettings {
  readonly table: RouteTable;
  readonly authenticator: Authenticator;
  /** Judges a subject that a listener vouches for; absent: nobody is believed so. */
  readonly believe?: Believe;
  /** Judges API keys and tokens of sessions; absent: none is taken. */
  readonly opaque?: OpaqueTokens | undefined;
  readonly pdp: Pdp;
  /** A new decision id for each check. */
  readonly nextId: () => string;
  readonly clock: Clock;
  /** Milliseconds after which a check that waits for anything is given up, whatever it waits for; default 1,000. */
  readonly deadline?: number;
  /** Told of what should not have happened (verdict `unavailable`, reason `internal`). */
  readonly fault?: (thrown: unknown) => void;
}

/** Decision ids: a prefix of this process (random, so that two never meet) and a counter. Printable ASCII. */
export function decisionIds(prefix: string): () => string {
  let count = 0;
  return () => `${prefix}-${(++count).toString(36)}`;
}

type Draft = { -readonly [K in keyof Outcome]: Outcome[K] };

interface Question {
  readonly asked: RouteMatch;
  readonly atLeast: AtLeast | null;
  readonly span: CheckSpan | null;
  /** Of this turn: not handed on to a later one, where it would make the state look fresher than it is. */
  readonly now: number | undefined;
  /** Whoever asks was not known in the turn that asked. */
  readonly waited: boolean;
  /** By the clock: when nobody waits for the answer any more. Infinity where that cannot matter. */
  readonly until: number;
}

export function createAuthorize(settings: AuthorizeSettings): Authorize {
  const { table, pdp, nextId, clock, deadline = 1000, fault } = settings;
  const { vocabulary } = table;

  const decide = (draft: Draft, question: Question, who: Authentication): Outcome | Promise<Outcome> => {
    const { asked, atLeast, span, now } = question;
    if (who.kind === 'refused') return end(draft, 'unauthenticated', who.problem);
    draft.subject = who.subject;
    // Semantics 1.6: an operator is nobody at a door.
    if (who.kind === 'operator') return deny(draft, { reason: 'unknown-subject', rule: '1' });
    const requests = requestsOf(asked, who.subject);
    draft.actor = who.actor ?? '';
    const ruling = pdp.check(who.actor ? [acting(who.subject, who.actor), ...requests] : requests, atLeast ?? undefined, span ?? undefined, now);
    if (ruling instanceof Promise) return concludeLater(draft, { question, who, ruling });
    return question.waited ? confirm(draft, { question, who, ruling }) : conclude(draft, { asked, who, ruling });
  };
  // What waits has a function of its own: where a closure stands, all that it keeps is laid out for each check that does not wait, too.
  const concludeLater = (draft: Draft, { question, who, ruling }: { question: Question; who: Identity; ruling: Promise<Ruling> }): Promise<Outcome> =>
    ruling.then((settled) => confirm(draft, { question, who, ruling: settled }));

  /** Somebody who has logged in as another must be allowed to all the time (semantics 5), in the state in which the check is answered. */
  const impersonate = { operation: vocabulary.operation('IMPERSONATE'), resource: vocabulary.resource('USER') };
  const acting = (subject: string, actor: string): AccessRequest => ({ ...impersonate, subject: actor, target: subject });

  /** An API key or a session may have ended while its check waited. An answer that leaves after that is seen must not be by that key. */
  const confirm = (draft: Draft, { question, who, ruling }: { question: Question; who: Identity; ruling: Ruling }): Outcome | Promise<Outcome> => {
    const { asked } = question;
    if (who.again === undefined) return conclude(draft, { asked, who, ruling });
    const now = who.again();
    if (!(now instanceof Promise))
      return now.kind !== 'refused' && now.subject === who.subject && now.actor === who.actor
        ? conclude(draft, { asked, who, ruling })
        : decide(draft, question, now);
    return now.then((settled) => (clock.now() >= question.until ? end(draft, 'unavailable', 'deadline') : decide(draft, question, settled)));
  };

  const conclude = (draft: Draft, { asked, who, ruling }: { asked: RouteMatch; who: Identity; ruling: Ruling }): Outcome => {
    const { decision, status } = ruling;
    const index = who.actor ? ruling.index - 1 : ruling.index;
    const check = index < 0 ? { ...impersonate, target: who.subject } : asked.checks[index];
    if (check) {
      draft.resource = vocabulary.resources[check.resource] ?? '';
      draft.operation = vocabulary.operations[check.operation] ?? '';
      draft.target = check.target;
    }
    draft.tenant = status.tenant;
    draft.customer = status.customer;
    draft.revision = status.revision;
    draft.cache = status.hit ? 'hit' : 'miss';
    const { tenants } = who.authority;
    // A subject that nobody knows has no tenant: that is a deny. No allow passes here without one of the list.
    if (tenants !== '*' && (decision.allow || status.tenant !== '') && !tenants.includes(status.tenant)) return end(draft, 'unauthenticated', 'foreign-tenant');
    if (index < 0) return deny(draft, decision);
    if (asked.authenticated) {
      if (decision.rule === '0' || decision.rule === '1') return deny(draft, decision);
      draft.rule = '1';
      return end(draft, 'permit', 'authenticated');
    }
    if (!decision.allow) return deny(draft, decision);
    draft.rule = decision.rule;
    return end(draft, 'permit', decision.reason);
  };

  const fail = (draft: Draft, thrown: unknown): Outcome => {
    const code = unavailableCode(thrown);
    end(draft, 'unavailable', code);
    try {
      if (code === 'internal') fault?.(thrown);
    } catch {
      // Whoever is told of a fault must not turn it into a check that nobody answers.
    }
    return draft;
  };

  const inTime = (draft: Draft, pending: Promise<Outcome>, ms: number): Promise<Outcome> =>
    new Promise((resolve) => {
      // A copy: what comes too late must not change an outcome that was given away.
      const cancel = clock.after(ms, () => resolve(end({ ...draft }, 'unavailable', 'deadline')));
      void pending
        .catch((thrown: unknown) => fail(draft, thrown))
        .then((outcome) => {
          cancel();
          resolve(outcome);
        });
    });

  const decideLater = (draft: Draft, { question, who, ms }: { question: Question; who: Promise<Authentication>; ms: number }): Promise<Outcome> => {
    // Before the next wait: a check whose caller has been answered already must not cost a fill, too.
    const late = (): boolean => clock.now() >= question.until;
    return inTime(
      draft,
      who.then((settled) => (late() ? end(draft, 'unavailable', 'deadline') : decide(draft, question, settled))),
      ms,
    );
  };

  return (request) => {
    const draft = newDraft(request, nextId());
    try {
      const asked = request.problem === null ? questionOf(table, request) : refusal(request.problem);
      if (asked.route !== null) draft.route = asked.route;
      if (asked.kind === 'unmapped') return end(draft, 'unmapped', asked.reason);
      if (asked.public) return end(draft, 'permit', 'public');
      const who = whoAsks(request, asked.token, settings);
      const ms = Math.min(deadline, request.timeout ?? deadline);
      const waits = who instanceof Promise;
      const until = waits || (who.kind !== 'refused' && who.again !== undefined) ? clock.now() + ms : Infinity;
      const question = { asked, atLeast: request.atLeast, span: request.span ?? null, now: waits ? undefined : request.now, waited: waits, until };
      if (!waits) {
        const outcome = decide(draft, question, who);
        return outcome instanceof Promise ? inTime(draft, outcome, ms) : outcome;
      }
      return decideLater(draft, { question, who, ms });
    } catch (thrown) {
      return fail(draft, thrown);
    }
  };
}

function newDraft(request: DoorRequest, decisionId: string): Draft {
  return {
    decisionId,
    requestId: request.requestId,
    verdict: 'unavailable',
    reason: 'internal',
    rule: '',
    revision: null,
    protocol: request.protocol,
    method: request.method,
    route: '',
    resource: '',
    operation: '',
    target: '',
    subject: '',
    actor: '',
    tenant: '',
    customer: '',
    cache: 'none',
    durationMs: 0,
    span: request.span ?? null,
  };
}

function end(draft: Draft, verdict: Verdict, reason: OutcomeReason): Outcome {
  draft.verdict = verdict;
  draft.reason = reason;
  return draft;
}

function deny(draft: Draft, { reason, rule }: { reason: OutcomeReason; rule: string }): Outcome {
  draft.rule = rule;
  return end(draft, 'deny', reason);
}

interface Refused {
  readonly kind: 'unmapped';
  readonly reason: UnmappedReason | RequestProblem;
  readonly route: string | null;
}

function refusal(reason: RequestProblem): Refused {
  return { kind: 'unmapped', reason, route: null };
}

/** What must be asked for this request. */
function questionOf(table: RouteTable, request: DoorRequest): RouteMatch | Unmapped | Refused {
  const { method, uri, preflight, parameters } = request;
  const row = matchRoute(table, { method, target: uri, preflight });
  if (parameters === null) return row;
  const explicit = parseParameters(table.vocabulary, parameters);
  if (explicit.kind === 'unmapped') return explicit;
  if (row.kind === 'unmapped') return silent(row) ? explicit : row;
  if (row.checks.length === 0) return row.token === null ? explicit : { ...explicit, token: row.token };
  // Both speak (proxies 3.2): the table must ask for this very thing, and then all that it asks for must pass.
  const [own] = explicit.checks;
  const agreed = row.checks.some((check) => check.resource === own!.resource && check.operation === own!.operation && check.target === own!.target);
  return agreed ? row : refusal('contradiction');
}

/** Has the table nothing to say on resource, operation and target here? An ambiguous path, a closed row, a bad parameter are not silence. */
function silent({ reason, route }: Unmapped): boolean {
  switch (reason) {
    case 'no-route':
    case 'id-in-body':
    case 'id-in-query':
    case 'id-in-server':
    case 'preflight':
      return true;
    case 'percent-encoded':
      return route === null;
    default:
      return false;
  }
}

/** The checks of a route for one subject. A route for whoever is authenticated asks any question: steps 0 and 1 of the model come first. */
function requestsOf({ authenticated, checks }: RouteMatch, subject: string): readonly AccessRequest[] {
  if (authenticated) return [{ subject, operation: 0, resource: 0, target: ANY }];
  const [first] = checks;
  if (first !== undefined && checks.length === 1) return [{ subject, operation: first.operation, resource: first.resource, target: first.target }];
  return checks.map(({ resource, operation, target }) => ({ subject, operation, resource, target }));
}

/** One way to say who asks: where a listener vouches for it, no credential is looked at, and where it does not, nothing else is. */
function whoAsks(request: DoorRequest, place: TokenPlace | null, settings: AuthorizeSettings): Authentication | Promise<Authentication> {
  const { authenticator, believe, opaque } = settings;
  if (request.asserted !== null) return believe === undefined ? refused('bad-subject') : believe(request.asserted);
  if (place === null) return credentialOf(request, settings);
  const { count, value, problem } = presented(request, place);
  if (count === 0) return credentialOf(request, settings);
  if (count + request.credentials > 1) return refused('many-credentials');
  if (problem !== null) return refused(problem);
  // A browser's session is where its other tokens are. An API key is a program's, which can send a header.
  return opaque?.kindOf(value, 0) === 'session' ? opaque.authenticate(value, 0, stateOf(request, 'session')) : authenticator.authenticate(value);
}

/** Characters before the token, or the key: `Bearer` and `ApiKey` have as many. */
const SCHEME = 7;

/** Rule 5: one value in the two headers together, `Bearer` or `ApiKey`, one space, one word. The word itself is judged by the authenticator. */
function credentialOf(request: DoorRequest, { authenticator, opaque }: AuthorizeSettings): Authentication | Promise<Authentication> {
  const { credential, credentials } = request;
  if (credentials > 1) return refused('many-credentials');
  if (credential === '') return refused('no-credential');
  const isBearer = credential.startsWith('Bearer ') || credential.slice(0, SCHEME).toLowerCase() === 'bearer ';
  if (opaque !== undefined) {
    const kind = isBearer ? opaque.kindOf(credential, SCHEME) : opaque.keys && credential.slice(0, SCHEME).toLowerCase() === 'apikey ' ? 'key' : null;
    if (kind !== null) return opaque.authenticate(credential, SCHEME, stateOf(request, kind));
  }
  return isBearer && credential.length > SCHEME ? authenticator.authenticate(credential, SCHEME) : refused('not-bearer');
}

function stateOf({ atLeast, span }: DoorRequest, kind: OpaqueKind): Parameters<OpaqueTokens['authenticate']>[2] {
  return { kind, atLeast, trace: span ?? undefined };
}
