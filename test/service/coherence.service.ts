// How does a sidecar's own code answer the requests of the model check?
//
// authorize.ts, opaque.ts and pdp.ts as they are, or less one rule, compiled with the library and with promises that go on in the turn in
// which they are settled. The request shows the token of a session, and asks for one permission that every user has who is not switched off.

import { readFileSync } from 'node:fs';
import { codeBeside } from '../../policy-cache/test/coherence.code.ts';
import type { Beside, Code, Patch } from '../../policy-cache/test/coherence.code.ts';
import type { PromiseOfThisTurn } from '../../policy-cache/test/coherence.promise.ts';
import type { Asked, Said, Service } from '../../policy-cache/test/coherence.request.ts';
import type * as authorizing from '../../src/authorize.ts';
import type * as opaque from '../../src/opaque.ts';
import type * as deciding from '../../src/pdp.ts';
import type * as routes from '../../src/routes.ts';
import { request } from '../support/authorizing.ts';

const ENTRIES = ['authorize', 'opaque', 'pdp', 'routes'] as const;
const PROMISE = new URL('../../policy-cache/test/coherence.promise.ts', import.meta.url);

interface Parts {
  readonly authorize: typeof authorizing;
  readonly opaque: typeof opaque;
  readonly pdp: typeof deciding;
  readonly routes: typeof routes;
  readonly promise: { readonly PromiseOfThisTurn: typeof PromiseOfThisTurn };
}

/** What these files import, and they themselves. */
function textsOf(entries: readonly string[]): ReadonlyMap<string, string> {
  const texts = new Map([['service/promise.ts', readFileSync(PROMISE, 'utf8')]]);
  const open = [...entries];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const path = `service/${name}.ts`;
    if (texts.has(path)) continue;
    const text = readFileSync(new URL(`../../src/${name}.ts`, import.meta.url), 'utf8');
    texts.set(path, `import { PromiseOfThisTurn as Promise } from './promise.ts';\n${text.replaceAll("from 'policy-cache'", "from '../src/index.ts'")}`);
    for (const [, other] of text.matchAll(/^import (?!type).* from '\.\/([^']+)\.ts';$/gm)) open.push(other!);
  }
  return texts;
}

const BESIDE: Beside<Parts> = {
  texts: textsOf(ENTRIES),
  async load(load) {
    const [authorize, tokens, pdp, table, promise] = await Promise.all([
      load<typeof authorizing>('service/authorize'),
      load<typeof opaque>('service/opaque'),
      load<typeof deciding>('service/pdp'),
      load<typeof routes>('service/routes'),
      load<Parts['promise']>('service/promise'),
    ]);
    return { authorize, opaque: tokens, pdp, routes: table, promise };
  },
};

interface Compiled {
  readonly code: Code;
  readonly service: Service;
}

let intact: Promise<Compiled> | null = null;

/** A sidecar with these patches; with none, there is one for all who ask. */
export function serviceOf(patches: readonly Patch[]): Promise<Compiled> {
  const compiled = async (): Promise<Compiled> => {
    const { code, beside } = await codeBeside(patches, BESIDE);
    return { code, service: serviceWith(beside) };
  };
  return patches.length > 0 ? compiled() : (intact ??= compiled());
}

const ROUTES = { routes: [{ method: 'GET', path: '/things', resource: 'DEVICE', operation: 'CREATE', target: '*' }] };

function serviceWith({ authorize, opaque: tokens, pdp, routes: { compileRoutes }, promise: { PromiseOfThisTurn: Later } }: Parts): Service {
  // Of another class than the language's own, and used by the copies alone, which take it for that.
  const settled = <T>(run: (resolve: (value: T) => void) => void): Promise<T> => new Later<T>(run) as unknown as Promise<T>;
  return {
    later: (value) => settled((resolve) => resolve(value)),
    never: () => settled<never>(() => undefined),
    answering(vocabulary, wall) {
      let cache: Asked | null = null;
      const faults: unknown[] = [];
      const face: Asked = { check: (...all) => cache!.check(...all), key: (...all) => cache!.key(...all) };
      const answer = authorize.createAuthorize({
        table: compileRoutes(vocabulary, ROUTES).table,
        authenticator: { authenticate: () => ({ kind: 'refused', problem: 'bad-token' }), hits: 0, misses: 0, size: 0 },
        opaque: tokens.createOpaqueTokens({ cache: face, wall, kinds: { key: true, session: true } }),
        pdp: pdp.createPdp(face),
        nextId: () => '',
        // What ends a request that waits is the model alone.
        clock: { now: () => 0, after: () => () => undefined },
        fault: (thrown) => void faults.push(thrown),
      });
      const credential = `Bearer ${tokens.newAccessToken().text}`;
      const asked: authorizing.DoorRequest = { ...REQUEST, credential };
      return (of) => {
        cache = of;
        const outcome: unknown = answer(asked);
        if (faults.length > 0) throw faults[0];
        if (!(outcome instanceof Later)) return saidIn(outcome as authorizing.Outcome);
        const { settled: end } = outcome;
        if (end === null) return null;
        if ('error' in end) throw end.error;
        return saidIn(end.value as authorizing.Outcome);
      };
    },
  };
}

const REQUEST = request('GET', '/things', { credentials: 1, requestId: '' });

function saidIn({ verdict, reason, revision }: authorizing.Outcome): Said {
  return { answer: verdict === 'unauthenticated' ? reason : verdict, revision };
}
