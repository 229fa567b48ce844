// What does the api listener answer?
//
// Never at a door: whatever a client can reach through a proxy must not find a 200 here. Health and metrics ask for no credential.

import type { Server } from 'node:http';
import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import { healthRoutes, type Readiness } from './health.ts';

export interface ApiParts {
  readonly readiness: () => Readiness;
  /** The metrics as Prometheus text; absent: no `/metrics`. */
  readonly scrape?: (() => Promise<string>) | undefined;
  /** Told of what an answer threw; the client gets a bare 500. */
  readonly failed?: (error: unknown) => void;
}

export function createApi({ readiness, scrape, failed }: ApiParts): Hono {
  const app = new Hono();
  app.route('/', healthRoutes(readiness));
  if (scrape) app.get('/metrics', async (c) => c.text(await scrape(), 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }));
  app.notFound((c) => c.json({ error: 'no such path' }, 404));
  app.onError((error, c) => {
    failed?.(error);
    return c.json({ error: 'internal error' }, 500);
  });
  return app;
}

/** A server that answers as the app does, not listening yet. */
export function apiServer(app: Hono): Server {
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;
  server.headersTimeout = 5000;
  server.requestTimeout = 10_000;
  return server;
}
