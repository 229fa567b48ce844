// What is wrong with a proxy? Every look there is, from the places that the doctor was given.

import type { Address } from '../listen.ts';
import { lookFromTheApplication } from './application.ts';
import { examination, settle } from './examination.ts';
import { CHECKS, codes, isVisible, merged, unknown, type Code, type Depth, type Finding, type Look } from './finding.ts';
import { openGrpcDoor, type GrpcHost } from './grpc-door.ts';
import { openHttpDoor } from './http-door.ts';
import { openApplication, type Door, type Run, type Subrequest } from './listeners.ts';
import { isKind, mendOf, type Kind } from './mends.ts';
import { baseline, lookAtTheGuard, lookForACache, lookFromOutside } from './outside.ts';
import { lookForACacheOfTheDoor, lookFromTheDoor } from './subrequests.ts';
import { openWire, valuesOf, type Answer, type Proxy } from './wire.ts';

export interface ProxyExamination {
  readonly proxy: Proxy;
  readonly userAgent: string;
  readonly path: string;
  readonly deniedPath: string;
  /** Tokens: of somebody who may GET the path, and of somebody else. Neither is needed where the doctor is the door. */
  readonly token: string | null;
  readonly otherToken: string | null;
  /** Where to listen in the place of the sidecar, and of the application. */
  readonly door: { readonly grpc: boolean; readonly address: Address } | null;
  readonly application: Address | null;
  /** What the proxy is; null: to be found out. */
  readonly kind: Kind | null;
  /** How long an answer is waited for, ms. */
  readonly ms: number;
  readonly nonce: string;
  readonly host: GrpcHost;
}

export interface ProxyReport {
  readonly kind: Kind | null;
  readonly requests: number;
  /** Requests that were answered by nobody's decision, with what came: what they were to show was not seen. */
  readonly undecided: readonly string[];
  readonly findings: readonly Finding[];
  /** What nobody asked to look at: there was no --door, no --application. */
  readonly notAsked: readonly { readonly option: '--door' | '--application'; readonly codes: readonly Code[] }[];
}

/** The proxy cannot be reached. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable';
}

/** @throws Unreachable; InputError if the doctor cannot listen where it is to */
export async function examineProxy(given: ProxyExamination): Promise<ProxyReport> {
  const run: Run = { nonce: given.nonce, credential: `grantgate-doctor-${given.nonce}`, deniedPath: given.deniedPath };
  const closing: (() => Promise<void>)[] = [];
  try {
    const door = await openDoor(run, given);
    if (door !== null) closing.push(() => door.close());
    const application = given.application === null ? null : await openApplication(run, given.application);
    if (application !== null) closing.push(() => application.close());
    const { path, deniedPath, ms } = given;
    const on = examination(
      {
        run,
        path,
        deniedPath,
        credential: door === null ? given.token : run.credential,
        without: 'it takes a token of somebody who may GET the path (--token-file)',
        other: given.otherToken,
        application,
        door,
        ms,
        clock: given.host.clock,
      },
      openWire(given.proxy, given.userAgent),
    );
    if (door !== null || application !== null) await settle(on);
    const base = await baseline(on);
    if (base.bare.status === 0 && base.allowed === null) throw new Unreachable(base.bare.cause);
    const kind = given.kind ?? kindOf(base.bare, [...base.bare.checks, ...(base.allowed?.checks ?? [])]);
    const guard = lookAtTheGuard(on, base);
    const guarded = guard.every(({ code, state }) => code !== 'unguarded' || state === 'ok');
    const caches = guarded ? [...(await lookForACache(on, base)), ...(door === null || base.allowed === null ? [] : [await lookForACacheOfTheDoor(on)])] : [];
    const looks: Look[] = [...guard, ...caches];
    // What else there is to see of these would only be what follows from them.
    const mendFirst = !guarded
      ? 'it takes a path that is guarded (--path), and a sidecar that answers'
      : caches.some(({ state }) => state === 'problem')
        ? 'the proxy answers from a cache: mend that first'
        : null;
    if (mendFirst !== null) looks.push(...left(given, looks, kind).map((code) => unknown(code, mendFirst)));
    else {
      // The door first: a proxy may take a while to come back to it.
      if (door !== null) looks.push(...(await lookFromTheDoor(on, door, { ...base, kind })));
      if (application !== null) looks.push(...(await lookFromTheApplication(on, base, kind)));
      looks.push(...(await lookFromOutside(on, base)));
      looks.push(...left(given, looks, kind).map((code) => unknown(code, base.reason)));
    }
    return {
      kind,
      requests: on.requests,
      undecided: on.undecided,
      findings: merged(looks).map((look) => finding(look, kind)),
      notAsked: notAsked(given, looks),
    };
  } finally {
    for (const close of closing) await close();
  }
}

async function openDoor(run: Run, { door, host }: ProxyExamination): Promise<Door | null> {
  if (door === null) return null;
  return door.grpc ? openGrpcDoor(run, door.address, host) : openHttpDoor(run, door.address);
}

function finding(look: Look, kind: Kind | null): Finding {
  return look.state === 'problem' ? { ...look, why: CHECKS[look.code].why, fix: mendOf(look.code, kind) } : look;
}

function placesOf({ door, application }: ProxyExamination): readonly Depth[] {
  return ['outside', ...(door === null ? [] : ['door' as const]), ...(application === null ? [] : ['application' as const])];
}

/** What there is not over gRPC. */
const OF_HTTP: readonly Code[] = ['body-owed', 'header-injection', 'no-keepalive'];

/** Checks that nothing was said of, though the doctor stands where they can be seen. */
function left(given: ProxyExamination, looks: readonly Look[], kind: Kind | null): readonly Code[] {
  const none: readonly Code[] = [...(kind === 'envoy' ? [] : ['failure-mode-header' as const]), ...(given.door?.grpc === true ? OF_HTTP : [])];
  return without(looks).filter((code) => isVisible(code, placesOf(given)) && !none.includes(code));
}

function notAsked(given: ProxyExamination, looks: readonly Look[]): ProxyReport['notAsked'] {
  const hidden = without(looks).filter((code) => !isVisible(code, placesOf(given)) && code !== 'failure-mode-header');
  return (['door', 'application'] as const)
    .filter((place) => given[place] === null)
    .map((place) => ({ option: `--${place}` as const, codes: hidden.filter((code) => CHECKS[code].from.some((from) => from === place)) }));
}

function without(looks: readonly Look[]): readonly Code[] {
  return codes().filter((code) => !looks.some((look) => look.code === code));
}

/** By the door that it asks; else by what it says of itself, which some do not. */
function kindOf(answer: Answer, checks: readonly Subrequest[]): Kind | null {
  for (const { kind } of checks) {
    const name = kind?.replace(/-prefix$/, '') ?? '';
    if (isKind(name)) return name;
  }
  const said = [...valuesOf(answer.headers, 'server'), ...valuesOf(answer.headers, 'via')].join(' ').toLowerCase();
  if (answer.headers.some(([name]) => name.toLowerCase().startsWith('x-envoy-'))) return 'envoy';
  const known = (['apisix', 'envoy', 'caddy', 'nginx'] as const).find((name) => said.includes(name));
  return known ?? null;
}
