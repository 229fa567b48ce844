// Is what the gRPC door speaks HTTP/2? By h2spec, 145 cases of the RFCs, and by the clients of nghttp2.

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { Connection } from '../../src/doors/h2/connection.ts';
import { encodeFields } from '../../src/doors/h2/hpack.ts';
import { checkRequest } from '../support/check-requests.ts';
import { sidecar, type Sidecar } from '../support/doors.ts';
import { CHECK, encodeRequest, frame } from '../support/grpc.ts';
import { isMissing, requirePart } from '../support/require.ts';

function run(program: string, args: readonly string[]): Promise<{ code: number; text: string }> {
  return new Promise((resolve) => {
    execFile(program, args, { timeout: 20_000 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, text: stdout + stderr }),
    );
  });
}

/** The same connections as the door's, with an answer for everybody at the end of what they ask: h2spec asks with GET, which the door refuses at once. */
async function anyServer(): Promise<number> {
  const head = encodeFields([[':status', '200']]);
  const trailers = encodeFields([['grpc-status', '0']]);
  const message = Buffer.from('an answer of some bytes');
  const none = (): void => undefined;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const connection = new Connection(socket, {
      greeted: none,
      quiet: none,
      failed: none,
      left: (connection) => connection.close(),
      closed: () => clearInterval(seconds),
      opened(stream) {
        stream.receiver = { closed: none, data: (_, last) => void (last && stream.owner.sending.answer(stream, head, { message, trailers })) };
      },
    });
    const seconds = setInterval(() => connection.second(), 1000);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => void server.close());
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

describe.skipIf(isMissing('h2spec'))('h2spec', () => {
  test('every case passes, the strict ones too', async () => {
    const { code, text } = await run(requirePart('h2spec'), ['--strict', '-h', '127.0.0.1', '-p', String(await anyServer()), '-o', '3']);
    const said = /(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed/.exec(text);
    console.log(`h2spec: ${said?.[0]}`);
    expect(text.slice(Math.max(0, text.indexOf('Failures:')))).not.toMatch(/×/);
    expect([code, said?.[2], said?.[4]]).toEqual([0, said?.[1], '0']);
    expect(Number(said?.[1])).toBeGreaterThan(140);
  });
});

describe.skipIf(isMissing('h2load'))('the clients of nghttp2', () => {
  let side: Sidecar;
  let port: number;
  let directory: string;
  beforeAll(async () => {
    side = await sidecar();
    port = await side.listenGrpc();
    directory = await mkdtemp(join(tmpdir(), 'grantgate-nghttp2-'));
    const authorization = `Bearer ${await side.token('admin')}`;
    await writeFile(join(directory, 'check'), frame(encodeRequest(checkRequest({ headers: { authorization } }))));
    await writeFile(join(directory, 'long'), frame(encodeRequest(checkRequest({ headers: { authorization }, more: { body: 'x'.repeat(200 * 1024) } }))));
  });
  afterAll(async () => {
    await side.close();
    await rm(directory, { recursive: true });
  });
  const asking = ['-H', 'content-type: application/grpc', '-H', 'te: trailers'];

  test.each([
    ['one connection, one call at a time', ['-c1', '-m1', '-n200'], 'check'],
    ['many of both', ['-c10', '-m100', '-n3000'], 'check'],
    ['long messages, that need window after window', ['-c4', '-m4', '-n60'], 'long'],
    ['little room for answers', ['-c2', '-m10', '-n200', '-w7', '-W8'], 'check'],
    ['no table for fields', ['-c2', '-m10', '-n200', '--encoder-header-table-size=0', '--header-table-size=0'], 'check'],
  ])('h2load: %s', async (_, options, body) => {
    side.reports.length = 0;
    const { text } = await run(requirePart('h2load'), [...options, '-d', join(directory, body), ...asking, `http://127.0.0.1:${port}${CHECK}`]);
    const count = Number(options.find((option) => option.startsWith('-n'))?.slice(2));
    expect(text).toContain(`${count} succeeded, 0 failed, 0 errored, 0 timeout`);
    expect(side.reports.filter(({ verdict }) => verdict === 'permit')).toHaveLength(count);
  });
});
