// Does a deny stay a deny, and "cannot decide" what the operator made of it? Under both values of failure_mode_allow, for each way in
// which an answer can be missing, over HTTP and over gRPC. (With a prefix it is the same client of Envoy's: the checklist has it.)

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startEnvoy, type Configuration } from '../support/proxies/envoy.ts';
import { startInMemory, startSilentDoor, through, type InMemory } from '../support/proxies/in-front.ts';

let behind: InMemory, undecided: InMemory;
let silent: Awaited<ReturnType<typeof startSilentDoor>>;
let token: string;
beforeAll(async () => {
  behind = await startInMemory();
  // Its database does not answer: 503, and UNAVAILABLE.
  undecided = await startInMemory({ deadline: 50, hold: (what) => (what === 'objects' ? new Promise<void>(() => undefined) : undefined) });
  silent = await startSilentDoor(join(behind.directory, 'silent.sock'));
  token = await behind.side.token('admin');
});
afterAll(async () => {
  await silent?.close();
  await undecided?.close();
  await behind?.close();
});

/** As an operator would write it who lets pass what cannot be decided. */
const open = (text: string): string =>
  text.replace('failure_mode_allow: false', 'failure_mode_allow: true\n                      failure_mode_allow_header_add: true');

describe.each<[Configuration, boolean]>([
  ['http.yaml', false],
  ['http.yaml', true],
  ['grpc.yaml', false],
  ['grpc.yaml', true],
])('%s, failure_mode_allow: %s', (configuration, allow) => {
  type Request = readonly [path: string, credential: string | null];
  /** What came of each request, asked in turn through one Envoy. */
  const ask = (to: Pick<InMemory['to'], 'socket' | 'grpcSocket'>, requests: readonly Request[]) =>
    through(
      startEnvoy(
        configuration,
        { ...to, applicationPort: behind.to.applicationPort },
        allow ? { spoil: (file, text) => (file === configuration ? open(text) : text) } : {},
      ),
      async (send) => {
        const came: { status: number; reached: number; mark: string; user: string; ms: number }[] = [];
        for (const [path, credential] of requests) {
          const { seen } = behind.application;
          const before = seen.length;
          const started = performance.now();
          const headers = { 'x-envoy-auth-failure-mode-allowed': 'a client', 'X-Auth-User': 'mallory' };
          const { status } = await send({ path, headers, ...(credential === null ? {} : { token: credential }) });
          const [mark = '', user = ''] = ['x-envoy-auth-failure-mode-allowed', 'x-auth-user'].map((name) => behind.application.values(name).join('|'));
          came.push({ status, reached: seen.length - before, mark, user, ms: performance.now() - started });
        }
        return came;
      },
    );

  test('an allow is one, without the mark; a deny is one', async () => {
    const [allowed, ...refused] = await ask(behind.to, [
      ['/api/device/d1', token],
      ['/api/device/x1', token],
      ['/api/nowhere', token],
      ['/api/device/d1', null],
      ['/api/device/d1', 'garbage'],
    ]);
    expect(allowed).toMatchObject({ status: 200, reached: 1, mark: '', user: 'admin' });
    expect(refused.map(({ status, reached }) => [status, reached])).toEqual([
      [403, 0],
      [403, 0],
      [401, 0],
      [401, 0],
    ]);
  });
  test('a door that cannot decide, says nothing, is not there: what the operator says', async () => {
    const nobody = join(behind.directory, 'nobody.sock');
    for (const [door, to] of [
      ['cannot decide', undecided.to],
      ['says nothing', { socket: silent.socket, grpcSocket: silent.socket }],
      ['is not there', { socket: nobody, grpcSocket: nobody }],
    ] as const) {
      const [came] = await ask(to, [['/api/device/d1', token]]);
      console.log(`failures: ${configuration}, failure_mode_allow ${allow}: ${door}: ${came!.status} after ${Math.round(came!.ms)} ms`);
      // Let through, nobody is named; the mark is Envoy's.
      expect(came, door).toMatchObject(allow ? { status: 200, reached: 1, mark: 'true', user: '' } : { status: 503, reached: 0 });
    }
    expect(undecided.side.reports.splice(0).map(({ verdict }) => verdict)).toEqual(['unavailable']);
  });
});

test('a client makes no error of a deny by the size of what it sends, where bodies go to the gRPC door and an error lets pass', async () => {
  const withBody = 'with_request_body: { max_request_bytes: 1048576, allow_partial_message: true }\n                      ';
  const spoil = (file: string, text: string): string =>
    file === 'grpc.yaml' ? open(text).replace('failure_mode_allow: true', `${withBody}failure_mode_allow: true`) : text;
  const before = behind.application.seen.length;
  const statuses = await through(startEnvoy('grpc.yaml', behind.to, { spoil }), async (send) => [
    (await send({ method: 'DELETE', path: '/api/device/x1', token, body: 'x' })).status,
    (await send({ method: 'DELETE', path: '/api/device/x1', token, body: 'x'.repeat(300 * 1024) })).status,
    (await send({ method: 'DELETE', path: '/api/device/x1', body: 'x'.repeat(300 * 1024) })).status,
  ]);
  expect([statuses, behind.application.seen.length - before]).toEqual([[403, 403, 403], 0]);
});
