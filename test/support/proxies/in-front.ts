// What do the suites of one proxy alone put it before? The real doors over a world in memory, and an application that remembers.
// Where an answer is wanted that these doors never give, a door that gives it.

import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server as GrpcServer, ServerCredentials, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { hostClock } from '../../../src/clock.ts';
import { createGrpcDoor, type GrpcDoorSettings } from '../../../src/doors/grpc.ts';
import { listen } from '../../../src/listen.ts';
import { startApplication, type Application } from '../application.ts';
import { startClient, type Answer, type Ask } from '../ask.ts';
import { AUTHORIZATION, type CheckRequest } from '../grpc.ts';
import { sidecar, type Sidecar, type SidecarSettings } from '../doors.ts';
import type { RunningProxy, Upstreams } from './kit.ts';

export interface InMemory {
  readonly side: Sidecar;
  readonly application: Application;
  /** A directory for sockets, gone after `close`. */
  readonly directory: string;
  /** Doors and application; a suite replaces the socket where it has a door of its own. */
  readonly to: Pick<Upstreams, 'socket' | 'grpcSocket' | 'applicationPort'>;
  /** Connections to the gRPC door so far. */
  readonly grpcConnections: number;
  close(): Promise<void>;
}

export async function startInMemory(settings: SidecarSettings & Pick<GrpcDoorSettings, 'connectionAge'> = {}): Promise<InMemory> {
  const directory = await mkdtemp(join(tmpdir(), 'grantgate-front-'));
  const side = await sidecar(settings);
  const application = await startApplication();
  const socket = join(directory, 'doors.sock');
  const grpcSocket = join(directory, 'grpc.sock');
  const { authorize, reports } = side;
  const report: GrpcDoorSettings['report'] = (check) => void reports.push(check);
  const { connectionAge = 0 } = settings;
  const grpc = createGrpcDoor({ authorize, clock: hostClock(), random: Math.random, ready: () => true, report, connectionAge });
  const grpcServer = grpc.server();
  let grpcConnections = 0;
  grpcServer.on('connection', () => grpcConnections++);
  await listen(side.doors.server(), { path: socket });
  await listen(grpcServer, { path: grpcSocket }, 'grpc');
  return {
    side,
    application,
    directory,
    to: { socket, grpcSocket, applicationPort: application.port },
    get grpcConnections() {
      return grpcConnections;
    },
    async close() {
      await application.close();
      await grpc.close(0);
      await side.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Runs the proxy for one question after another, and ends it. */
export async function through<T>(starting: Promise<RunningProxy>, use: (ask: (what: Ask) => Promise<Answer>, proxy: RunningProxy) => Promise<T>): Promise<T> {
  const proxy = await starting;
  const client = startClient(proxy.port);
  try {
    return await use(client.ask, proxy);
  } finally {
    client.close();
    await proxy.stop();
  }
}

/** A door that takes every connection and says nothing. */
export async function startSilentDoor(socket: string): Promise<{ readonly socket: string; close(): Promise<void> }> {
  const open = new Set<Socket>();
  const server = createServer((connection) => {
    open.add(connection.on('error', () => undefined).resume());
    connection.on('close', () => open.delete(connection));
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  return {
    socket,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const connection of open) connection.destroy();
      await closed;
    },
  };
}

export interface ScriptedGrpcDoor {
  readonly socket: string;
  readonly seen: CheckRequest[];
  close(): Promise<void>;
}

/** A gRPC door of another make (grpc-js), which answers with a CheckResponse or with an error of gRPC, as it is told. */
export async function startScriptedGrpcDoor(socket: string, answer: () => object | { readonly grpc: number }): Promise<ScriptedGrpcDoor> {
  const seen: CheckRequest[] = [];
  const server = new GrpcServer();
  server.addService(AUTHORIZATION, {
    Check({ request }: ServerUnaryCall<CheckRequest, object>, done: sendUnaryData<object>) {
      seen.push(request);
      const told = answer();
      if ('grpc' in told) done({ code: told.grpc, details: 'as told' });
      else done(null, told);
    },
  });
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) => (error === null ? resolve() : reject(error))),
  );
  return {
    socket,
    seen,
    close() {
      server.forceShutdown();
      return Promise.resolve();
    },
  };
}
