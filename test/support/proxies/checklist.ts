// What must be true behind every proxy? One suite, run with each kit: test/proxies/<kit>.test.ts calls it and nothing more.
//
// The numbers are those of the reference's end-to-end checklist. What only one program does is in that program's own suite.

import { afterAll, beforeAll, beforeEach, describe } from 'vitest';
import { startCollector, type Collector } from '../otlp.ts';
import { startPostgres, type TestServer } from '../postgres.ts';
import { tokenFor } from '../sidecar.ts';
import { startProxied, type Proxied } from '../stack.ts';
import { connections } from './checklist.connections.ts';
import { framing } from './checklist.framing.ts';
import { identity } from './checklist.identity.ts';
import { matrix } from './checklist.matrix.ts';
import { messages } from './checklist.messages.ts';
import { outage } from './checklist.outage.ts';
import { paths } from './checklist.paths.ts';
import { statuses } from './checklist.statuses.ts';
import { trace } from './checklist.trace.ts';
import { CHECKLIST_WORLD, type Subject, type User } from './checklist.subject.ts';
import type { Kit } from './kit.ts';

export function checklist(kit: Kit): void {
  describe(kit.name, () => {
    let server: TestServer;
    let stack: Proxied;
    let collector: Collector;
    let version = '';
    const tokens = new Map<User, string>();
    const subject: Subject = { kit, server: () => server, stack: () => stack, token: (user) => tokens.get(user)! };

    beforeAll(async () => {
      version = await kit.version();
      server = await startPostgres('embedded18');
      collector = await startCollector();
      stack = await startProxied(kit, { server, world: CHECKLIST_WORLD, connections: 32, env: collector.env() });
      for (const user of ['admin', 'clerk', 'driver', 'porter', 'nobody'] as const) tokens.set(user, await tokenFor(user));
      // In memory from here on, so that no answer below is one of a check that took too long.
      for (const token of tokens.values()) for (const id of ['d1', 'device-b1']) await stack.client.ask({ path: `/api/device/${id}`, token });
      for (const token of tokens.values())
        for (const area of kit.constants ? ['/fleet/warm', '/estate/warm'] : []) await stack.client.ask({ path: area, token });
    });
    afterAll(async () => {
      await stack?.close();
      await collector?.close();
      await server?.close();
    });
    // The report counts by program: a proxy that ran no test is no line of its table.
    beforeEach(({ task }) => void Object.assign(task.meta, { proxy: kit.name, version }));

    statuses(subject);
    identity(subject);
    paths(subject);
    messages(subject);
    framing(subject);
    connections(subject);
    trace(subject, () => collector);
    if (kit.matrix) matrix(subject, kit.matrix);
    outage(subject); // last: it ends the sidecar
  });
}
