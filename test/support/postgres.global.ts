// Who owns the Postgres servers that all test files share? The process that runs vitest: a server is started when the first file
// asks for it, and ends with the run, however it ends (src/postgres-server.ts).

import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { TestProject } from 'vitest/node';
import { isServerKind, startCluster, type ServerKind, type TestCluster } from './postgres-cluster.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Answers `<address>/<kind>` with the superuser's URL of the shared server of that kind. */
    postgresBroker: string;
  }
}

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const started = new Map<ServerKind, Promise<TestCluster>>();
  const secret = randomBytes(16).toString('hex');
  const broker = createServer((request, response) => {
    const kind = request.url?.startsWith(`/${secret}/`) ? request.url.slice(secret.length + 2) : '';
    if (!isServerKind(kind)) return void response.writeHead(404).end();
    let cluster = started.get(kind);
    if (!cluster) started.set(kind, (cluster = startCluster(kind)));
    cluster.then(
      (up) => response.end(up.url),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
  await new Promise<void>((resolve) => broker.listen(0, '127.0.0.1', resolve));
  broker.unref();
  const address = broker.address();
  if (typeof address !== 'object' || !address) throw new Error('the broker of the test servers has no port');
  project.provide('postgresBroker', `http://127.0.0.1:${address.port}/${secret}`);
  return async () => {
    broker.close();
    await Promise.allSettled([...started.values()].map(async (cluster) => (await cluster).remove()));
  };
}
