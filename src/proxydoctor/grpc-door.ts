// What does Envoy ask over gRPC? The real door of grpc.ts, with the doctor's own policy behind it.
//
// A message cannot owe a body and holds no header that the client did not send, so of the holes of HTTP only some are left here.

import type { Socket } from 'node:net';
import type { Clock } from 'policy-cache';
import type { DoorRequest, Outcome } from '../authorize.ts';
import { createGrpcDoor } from '../doors/grpc.ts';
import type { GrpcDoor } from '../doors/grpc.ts';
import type { Address } from '../listen.ts';
import { BODY, decidedFor, identityOf, listenAs } from './listeners.ts';
import type { Door, Run, Subrequest } from './listeners.ts';

export interface GrpcHost {
  readonly clock: Clock;
  readonly random: () => number;
}

const FAILURES: Door['failures'] = [
  ['UNAVAILABLE', 'undecided'],
  ['a connection that ends', 'end'],
  ['no answer', 'hang'],
];

export async function openGrpcDoor(run: Run, address: Address, { clock, random }: GrpcHost): Promise<Door> {
  const seen: Subrequest[] = [];
  const sockets = new Set<Socket>();
  let open: GrpcDoor | null = null;
  let bodies = 0;

  const authorize = (request: DoorRequest): Outcome | Promise<Outcome> => {
    const { method, uri, credential, credentials, parameters, problem } = request;
    const ours = credential.includes(run.credential);
    const body = bodies;
    seen.push({
      where: 'gRPC Check',
      kind: 'envoy',
      missing: [...(ours ? [] : ['the credential']), ...(problem === 'missing-header' ? ['all of resource, operation and target'] : [])],
      checked: { method, uri },
      target: parameters?.target ?? null,
      ours,
      headers: [],
      bodyAnnounced: body > 0,
      bodyBytes: () => body,
      connection: null,
    });
    const decided = problem === null ? decidedFor(run, { method, uri, credential, credentials }) : 403;
    if (!ours || door.behaviour === 'decide' || door.behaviour === 'wait for a body') return outcome(run, request, decided);
    if (door.behaviour === 'hang') return new Promise(() => undefined);
    if (door.behaviour !== 'undecided') for (const socket of sockets) socket.destroy();
    return outcome(run, request, 503);
  };

  const door: Door = {
    grpc: true,
    failures: FAILURES,
    seen,
    ended: new Set(),
    behaviour: 'decide',
    async close() {
      await open?.close(0);
      open = null;
    },
    async open() {
      // The door reads past a body; whether there is one is to be seen in the bytes.
      const received = (message: Buffer): void => void (bodies = message.includes(BODY) ? BODY.length : 0);
      const made = createGrpcDoor({ authorize, clock, random, report: () => undefined, ready: () => true, received, connectionAge: 0 });
      const server = made.server();
      server.on('connection', (socket) => {
        sockets.add(socket);
        socket.once('close', () => sockets.delete(socket));
      });
      open = made;
      await listenAs('--grpc-door', server, address);
    },
  };
  await door.open();
  return door;
}

const VERDICTS = { 200: 'permit', 401: 'unauthenticated', 403: 'deny', 503: 'unavailable' } as const;

function outcome(run: Run, { protocol, requestId, method }: DoorRequest, status: keyof typeof VERDICTS): Outcome {
  const [subject = '', tenant = '', customer = '', decisionId = ''] = identityOf(run).map(([, value]) => value);
  return {
    ...{ decisionId, requestId, subject, tenant, customer, protocol, method },
    ...{ verdict: VERDICTS[status], reason: status === 503 ? 'internal' : 'authenticated', cache: 'none', revision: null },
    ...{ rule: '', route: '', resource: '', operation: '', target: '', durationMs: 0 },
  };
}
