// Is every connection of an attachment gone when the attachment is, at whatever moment it ends?

import { connect, createServer, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openPool, postgresSource } from 'policy-cache/postgres';
import { servers, startPostgres, type TestDatabase, type TestServer } from '../support/postgres.ts';
import { until } from '../support/until.ts';

const silent = { ring: () => undefined, closed: () => undefined };

/** A proxy that cuts the connection numbered `wire` instead of forwarding the server's packet numbered `packet` to it. */
async function startCutter(port: number): Promise<{ server: Server; port: number; cut: { wire: number; packet: number; done: boolean }; wires: number }> {
  const state = { server: createServer(), port: 0, cut: { wire: 0, packet: 0, done: false }, wires: 0 };
  state.server.on('connection', (client) => {
    const wire = ++state.wires;
    const upstream = connect(port, '127.0.0.1');
    let packets = 0;
    for (const socket of [client, upstream])
      socket
        .on('error', () => undefined)
        .on('close', () => {
          client.destroy();
          upstream.destroy();
        });
    client.on('data', (bytes) => upstream.write(bytes));
    upstream.on('data', (bytes) => {
      if (wire !== state.cut.wire || ++packets !== state.cut.packet) return client.write(bytes);
      state.cut.done = true;
      return client.destroy();
    });
  });
  await new Promise<void>((resolve) => state.server.listen(0, '127.0.0.1', resolve));
  const address = state.server.address();
  if (typeof address !== 'object' || !address) throw new Error('the cutter has no port');
  state.port = address.port;
  return state;
}

describe.each(servers)('on %s', (kind) => {
  let server: TestServer;
  let database: TestDatabase;
  let reader: string;
  let sql: ReturnType<typeof openPool>;
  beforeAll(async () => {
    server = await startPostgres(kind);
    database = await server.database();
    reader = await database.urlAs('grantgate_reader');
    sql = openPool({ url: database.url, max: 2 });
  });
  afterAll(async () => {
    await sql.end({ timeout: 5 });
    await server.close();
  });

  const backends = async (where = ''): Promise<number> =>
    (await sql.unsafe(`select 1 from pg_stat_activity where usename = '${new URL(reader).username}' ${where}`)).length;

  test('the session dies while fill connections are being warmed: none of them stays', async () => {
    const holder = await sql.reserve();
    await holder`begin`;
    await holder`lock table grantgate.change in access exclusive mode`; // a fill waits for it, LISTEN and the check of the log do not
    const source = postgresSource({ url: reader, limits: { connectMs: 20_000, pullMs: 20_000 } });
    const attaching = source.attach(silent).then(
      () => 'attached',
      () => 'refused',
    );
    await until(async () => (await backends(`and wait_event_type = 'Lock'`)) === 4, 'four fill connections that wait');
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where usename = ${new URL(reader).username} and wait_event_type is distinct from 'Lock'`;
    expect(await attaching).toBe('refused');
    await holder`rollback`;
    holder.release();
    await until(async () => (await backends()) === 0, 'no connection left');
  });

  test('closed in the middle of a load, a fill and a fill connection that is made anew', async () => {
    const attachment = await postgresSource({ url: reader, limits: { connectMs: 20_000, fillMs: 20_000 } }).attach(silent);
    const holder = await sql.reserve();
    await holder`begin`;
    await holder`lock table grantgate.change in access exclusive mode`;
    const asked = [attachment.load(() => undefined), attachment.objects(['x'])].map((work) =>
      work.then(
        () => 'answered',
        () => 'given up',
      ),
    );
    await until(async () => (await backends(`and wait_event_type = 'Lock'`)) === 2, 'a load and a fill that wait');
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where usename = ${new URL(reader).username} and query like '%unnest%' and wait_event_type = 'Lock'`;
    expect(await asked[1]).toBe('given up');
    // The next fill opens the connection that is missing, and waits like the rest.
    const next = attachment.objects(['y']).catch(() => 'given up');
    await until(async () => (await backends(`and wait_event_type = 'Lock'`)) >= 3, 'a fill connection being made');
    attachment.close();
    expect(await Promise.all([asked[0], next])).toEqual(['given up', 'given up']);
    await holder`rollback`;
    holder.release();
    await until(async () => (await backends()) === 0, 'no connection left');
  });

  test('any one connection is cut after any of its packets: it is answered or refused, and nothing is thrown where nobody catches it', async () => {
    const cutter = await startCutter(Number(new URL(reader).port));
    const through = new URL(reader);
    through.port = String(cutter.port);
    const source = postgresSource({ url: through.href, fillConnections: 2, limits: { fillMs: 5_000 } });
    const thrown: unknown[] = [];
    const note = (error: unknown): void => void thrown.push(error);
    process.on('unhandledRejection', note).on('uncaughtException', note);
    let cuts = 0;
    try {
      // The session, two connections for fills, and one of a load.
      for (let wire = 1; wire <= 4; wire++) {
        for (let packet = 1; ; packet++) {
          cutter.wires = 0;
          cutter.cut = { wire, packet, done: false };
          const attachment = await source.attach(silent).catch(() => null);
          if (attachment) {
            await Promise.allSettled([
              attachment.load(() => undefined),
              attachment.objects(['a', 'b']),
              attachment.classes([{ owner: 'a', groups: [] }]),
              attachment.pull({ cursor: 0, limit: null, ask: [] }),
            ]);
            attachment.close();
          }
          if (!cutter.cut.done) break;
          cuts++;
        }
      }
      expect(cuts).toBeGreaterThan(15);
      await until(async () => (await backends()) === 0, 'no connection left');
      expect(thrown).toEqual([]);
    } finally {
      process.off('unhandledRejection', note).off('uncaughtException', note);
      cutter.server.close();
    }
  });
});
