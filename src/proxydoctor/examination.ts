// What does every probe use? The proxy, who may and who may not, and where the doctor listens beside.

import type { Clock } from 'policy-cache';
import { IDENTITY } from '../doors/identity-headers.ts';
import { plain } from './names.ts';
import type { Application, Door, Run, Subrequest } from './listeners.ts';
import { MARK } from './listeners.ts';
import type { Answer, Ask, Header, Wire } from './wire.ts';
import { SILENT, valuesOf } from './wire.ts';

export interface Examination {
  readonly run: Run;
  /** A path that the proxy guards, and that the credential may GET. */
  readonly path: string;
  readonly deniedPath: string;
  /** Of somebody who may; null: there is none, and why. */
  readonly credential: string | null;
  readonly without: string;
  /** Of somebody else who may not GET the path. */
  readonly other: string | null;
  readonly application: Application | null;
  readonly door: Door | null;
  /** How long an answer is waited for. */
  readonly ms: number;
  readonly clock: Clock;
  /** `failing`: the sidecar gives no decision, and the proxy need not answer. */
  ask(what: Partial<Ask>, sidecar?: 'deciding' | 'failing'): Promise<Reply>;
  /** Requests so far. */
  readonly requests: number;
  /** Requests that nobody answered as asked, twice: no answer in time, too many, or an error. What they were to show was not seen. */
  readonly undecided: readonly string[];
  /** Headers that are none of a client's business, and in which answer they stood first; those of a door itself are another matter. */
  readonly leaks: ReadonlyMap<string, string>;
}

export interface Reply extends Answer {
  /** Subrequests while it was under way. */
  readonly checks: readonly Subrequest[];
  /** Did it come to the application? Null: somebody else listens there. */
  readonly reached: boolean | null;
  readonly received: Application['seen'][number] | null;
}

/** A run that asks more than this is broken. */
const MOST_REQUESTS = 400;
/** Requests without an answer, one after the other, from which on no more are sent: each would take two whole waits. */
const MOST_SILENCES = 4;

export function examination(given: Omit<Examination, 'ask' | 'requests' | 'leaks' | 'undecided'>, wire: Wire): Examination {
  const { run, path, application, door, ms } = given;
  const leaks = new Map<string, string>();
  const undecided: string[] = [];
  let requests = 0;
  let silences = 0;

  const once = async (what: Partial<Ask>): Promise<Reply> => {
    if (++requests > MOST_REQUESTS) throw new Error(`more than ${MOST_REQUESTS} requests`);
    const checks = door?.seen.length ?? 0;
    const mark = `${run.nonce}.${requests}`;
    const ask: Ask = { target: path, ...what, headers: [[MARK, mark], ...(what.headers ?? [])] };
    const answer = await wire.send(ask, ms);
    for (const [name] of answer.headers)
      if (IDENTITY.some((one) => plain(one) === plain(name)) && !ask.target.startsWith('/auth/') && !leaks.has(name)) leaks.set(name, lineOf(what, path));
    const received = application?.seen.findLast((each) => each.mark === mark) ?? null;
    const asked = door?.seen.slice(checks) ?? [];
    const own = asked.filter(({ ours }) => ours);
    // Somebody else may ask meanwhile.
    return { ...answer, checks: own.length > 0 ? own : asked, reached: application === null ? null : received !== null, received };
  };

  return {
    ...given,
    leaks,
    undecided,
    get requests() {
      return requests;
    },
    async ask(what, sidecar = 'deciding') {
      if (silences >= MOST_SILENCES) {
        undecided.push(`${lineOf(what, path)}: not sent, ${MOST_SILENCES} before it had no answer`);
        return { status: 0, headers: [], bodyBytes: 0, cause: SILENT, checks: [], reached: application === null ? null : false, received: null };
      }
      const reply = await once(what);
      if (sidecar === 'failing' || isDecided(reply)) {
        if (sidecar === 'deciding') silences = 0;
        return reply;
      }
      const again = await once(what);
      if (!isDecided(again)) undecided.push(`${lineOf(what, path)}: ${told(again)}`);
      silences = again.cause === SILENT ? silences + 1 : 0;
      return again;
    },
  };
}

const SETTLE_MS = 5000;
const SETTLE_AGAIN_MS = 250;

/** Waits, so long at most, for a proxy that looks now and then whether anybody listens: it has to notice that we do. */
export async function settle(on: Examination): Promise<void> {
  for (const limit = on.clock.now() + SETTLE_MS; on.clock.now() < limit;) {
    // Of no other probe: should it be cached, it is not what they ask for.
    const { status } = await on.ask({ target: `${on.path}?grantgate-doctor=settle`, headers: bearer(on.credential) }, 'failing');
    if (status > 0 && status < 500) return;
    await new Promise<void>((resolve) => void on.clock.after(SETTLE_AGAIN_MS, resolve));
  }
}

function lineOf({ method = 'GET', target }: Partial<Ask>, path: string): string {
  return `${method} ${shown(target ?? path)}`;
}

/** Busy is neither yes nor no, and would pass for a refusal. */
function isDecided({ status, cause, reached }: Reply): boolean {
  return reached === true || (cause !== SILENT && status !== 429 && status < 500);
}

export function bearer(credential: string | null): readonly Header[] {
  return credential === null ? [] : [['Authorization', `Bearer ${credential}`]];
}

/** Statuses by which a proxy or a sidecar refuses, or says that it cannot decide. */
const REFUSALS: ReadonlySet<number> = new Set([0, 400, 401, 403, 405, 413, 414, 421, 426, 429, 431]);

export function refused({ status }: Answer): boolean {
  return REFUSALS.has(status) || status >= 500;
}

/** A redirect to a login page is a refusal as well. */
export function turnedAway(answer: Answer): boolean {
  return answer.status === 401 || answer.status === 403 || (answer.status >= 300 && answer.status < 400 && valuesOf(answer.headers, 'location').length > 0);
}

/** Did what was refused as `base` get through now? Where the doctor is the application, it knows. */
export function letIn(reply: Reply, base: Answer): boolean {
  return reply.reached ?? (reply.status !== base.status && !refused(reply));
}

/** The answer in words. */
export function told({ status, cause }: Answer): string {
  return status === 0 ? cause : String(status);
}

/** A target as it is shown: no line of output is longer for it. */
export function shown(target: string): string {
  return target.length > 80 ? `${target.slice(0, 77)}…` : target;
}
