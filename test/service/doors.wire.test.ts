// What becomes of a connection: bodies that are owed, upgrades, garbage, slow clients, a pipeline that fails, the end?
import { describe, expect, onTestFinished, test } from 'vitest';
import type { DoorRequest, Outcome } from '../../src/authorize.ts';
import { hostClock } from '../../src/clock.ts';
import { createHttpDoors } from '../../src/doors/http.ts';
import { listen } from '../../src/listen.ts';
import type { CheckReport } from '../../src/report.ts';
import { sidecar } from '../support/doors.ts';
import { connectRaw, exchange, requestBytes } from '../support/raw.ts';
import { ask, at, DOOR, expectBare, HOST, side, subrequest, useDoor } from '../support/subrequest.ts';

useDoor();

describe('a body that is owed ends the connection (rule 4)', () => {
  const smuggled = (): string => requestBytes(DOOR, subrequest({ 'X-Request-Id': 'smuggled' }));
  test.each<[string, Record<string, string>]>([
    ['Content-Length', { 'Content-Length': '400' }],
    ['chunked', { 'Transfer-Encoding': 'chunked' }],
    ['1 MB', { 'Content-Length': '1048576' }],
    ['zero spelled otherwise', { 'Content-Length': '00' }],
  ])('%s announced and never sent: answered at once, then closed', async (_, announce) => {
    const connection = await connectRaw(at);
    connection.send(requestBytes(DOOR, subrequest(announce)));
    const answer = await connection.answer();
    expect(answer.status).toBe(200);
    expect(answer.header('connection')).toBe('close');
    expectBare(answer);
    expect(await connection.closed()).toBe('');
  });
  test('Content-Length: 0 owes nothing', async () => {
    const connection = await connectRaw(at);
    onTestFinished(() => connection.destroy());
    for (let i = 0; i < 3; i++) {
      connection.send(requestBytes(DOOR, subrequest({ 'Content-Length': '0' })));
      const answer = await connection.answer();
      expect(answer.status).toBe(200);
      expect(answer.header('connection')).not.toBe('close');
    }
  });
  // The attacker chose a length such that the next subrequest of the pool, or its own tail, would be read as a request.
  test.each<[string, string, (tail: string) => Record<string, string>]>([
    ['the next request on that connection', '', (tail) => ({ 'Content-Length': String(tail.length) })],
    ['a tail behind a short body', 'xxxxx', () => ({ 'Content-Length': '5' })],
    ['a tail behind the last chunk', '3\r\nabc\r\n0\r\n\r\n', () => ({ 'Transfer-Encoding': 'chunked' })],
    ['a tail behind an empty chunked body', '0\r\n\r\n', () => ({ 'Transfer-Encoding': 'chunked' })],
    ['a tail in a body that is longer', 'xxxxx', (tail) => ({ 'Content-Length': String(tail.length + 500) })],
  ])('%s is not answered: in one piece, in two, and after a check that had to wait', async (_, body, announce) => {
    for (const uri of ['/api/device/d1', '/nowhere', `/api/device/never-asked-${Math.random()}`])
      for (const apart of [false, true]) {
        const connection = await connectRaw(at);
        const [first, tail] = [requestBytes(DOOR, subrequest({ 'X-Original-URI': uri, ...announce(smuggled()) })), `${body}${smuggled()}`];
        connection.send(apart ? first : `${first}${tail}`);
        const answer = await connection.answer();
        if (apart) connection.send(tail);
        expect(answer.header('connection')).toBe('close');
        expect(await connection.closed()).toBe('');
        connection.destroy();
      }
    expect(side.reports.filter(({ requestId }) => requestId === 'smuggled')).toEqual([]);
    side.reports.length = 0;
  });
  test('a request to no door ends its connection too', async () => {
    const connection = await connectRaw(at);
    connection.send(requestBytes('POST /x HTTP/1.1', [HOST, ['Content-Length', '5']]) + 'xxxxx' + smuggled());
    expect((await connection.answer()).status).toBe(403);
    expect(await connection.closed()).toBe('');
    expect(side.reports.length).toBe(1);
  });
  test('both lengths at once are no request', async () => {
    const answer = await ask(subrequest({ 'Content-Length': '5', 'Transfer-Encoding': 'chunked' }));
    expect(answer.status).toBe(400);
    expectBare(answer);
  });
});

describe('special requests (rule 9)', () => {
  test.each(['100-continue', '100-Continue', 'something-else'])('Expect: %s is an ordinary check, without 1xx, and the last one', async (expect100) => {
    for (const [replace, status] of [
      [{}, 200],
      [{ 'X-Original-URI': '/api/device/x1' }, 403],
      [{ Authorization: null }, 401],
    ] as const) {
      const connection = await connectRaw(at);
      connection.send(requestBytes(DOOR, subrequest({ Expect: expect100, ...replace })));
      const answer = await connection.answer();
      expect(answer.status).toBe(status);
      expect(answer.header('connection')).toBe('close');
      expectBare(answer);
      expect(await connection.closed()).toBe('');
    }
  });
  test.each<[string, Record<string, string>]>([
    ['websocket', { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version': '13' }],
    ['h2c', { Connection: 'Upgrade, HTTP2-Settings', Upgrade: 'h2c', 'HTTP2-Settings': 'AAMAAABkAAQAoAAAAAIAAAAA' }],
  ])('Upgrade: %s is an ordinary check', async (_, upgrade) => {
    const connection = await connectRaw(at);
    onTestFinished(() => connection.destroy());
    connection.send(requestBytes(DOOR, subrequest(upgrade)));
    const allowed = await connection.answer();
    expect(allowed.status).toBe(200);
    expectBare(allowed);
    expect(allowed.header('upgrade')).toBeUndefined();
    for (const [replace, status] of [
      [{ 'X-Original-URI': '/api/device/x1' }, 403],
      [{ Authorization: null }, 401],
    ] as const)
      expect((await ask(subrequest({ ...upgrade, ...replace }))).status).toBe(status);
    const server = side.doors.server();
    expect([server.listenerCount('upgrade'), server.listenerCount('connect')]).toEqual([0, 0]);
  });
  test('CONNECT gets no answer at all', async () => {
    const connection = await connectRaw(at);
    connection.send(requestBytes('CONNECT authz:443 HTTP/1.1', subrequest()));
    expect(await connection.closed()).toBe('');
  });
  test('an HTTP/2 preface gets a bare 400 or nothing', async () => {
    const connection = await connectRaw(at);
    connection.send('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    expect(await connection.closed()).toMatch(/^(HTTP\/1\.1 400 Bad Request\r\nContent-Length: 0\r\n.*)?$/s);
  });
  test.each<[string, string, number]>([
    ['garbage', '\u0016\u0003\u0001\u0002\u0000\u0001', 400],
    ['no version (HTTP/0.9)', 'GET /auth/nginx\r\n\r\n', 403],
    ['a space in the target', requestBytes('GET /auth/nginx x HTTP/1.1', [HOST]), 400],
    ['a header name with a space', requestBytes(DOOR, [HOST, ['X Y', '1']]), 400],
    ['a negative length', requestBytes(DOOR, [HOST, ['Content-Length', '-1']]), 400],
    ['two lengths', requestBytes(DOOR, [HOST, ['Content-Length', '1'], ['Content-Length', '2']]), 400],
    ['70 kB of headers', requestBytes(DOOR, [HOST, ['X', 'x'.repeat(70_000)]]), 431],
    ['1 MB of headers', requestBytes(DOOR, [HOST, ['X', 'x'.repeat(1_048_576)]]), 431],
  ])('%s gets a bare answer and the end', async (_, bytes, status) => {
    const connection = await connectRaw(at);
    connection.send(bytes);
    const answer = await connection.answer();
    expect(answer.status).toBe(status);
    expectBare(answer);
    expect(answer.header('connection')).toBe('close');
    expect(await connection.closed()).toBe('');
  });
  test('garbage behind a check that waits: never an allow afterwards', async () => {
    const connection = await connectRaw(at);
    connection.send(`${requestBytes(DOOR, subrequest({ 'X-Original-URI': `/api/device/never-asked-${Math.random()}` }))}garbage\r\n\r\n`);
    expect(await connection.closed()).not.toContain(' 200 ');
  });
  test('they are counted', () => {
    expect(side.doors.shed.malformed).toBeGreaterThan(0);
    expect(side.doors.shed['headers-too-large']).toBeGreaterThan(0);
  });
});

describe('slow clients', () => {
  test('a head that does not end is cut off, and others are served meanwhile', async () => {
    const half = await Promise.all(Array.from({ length: 50 }, () => connectRaw(at)));
    for (const connection of half) connection.send(`${DOOR}\r\nHost: authz\r\nX-Original-Method: GET\r\n`);
    expect((await ask(subrequest())).status).toBe(200);
    for (const rest of await Promise.all(half.map((connection) => connection.closed()))) expect(rest).toMatch(/^HTTP\/1\.1 400 /);
    expect(side.doors.shed.timeout).toBeGreaterThanOrEqual(50);
  });
});

describe('what a door does with a pipeline that misbehaves', () => {
  const outcome: Outcome = {
    decisionId: 'x-1',
    requestId: '',
    verdict: 'permit',
    reason: 'generic',
    rule: '3',
    revision: null,
    protocol: 'nginx',
    method: 'GET',
    route: '',
    resource: '',
    operation: '',
    target: '',
    subject: 'u',
    tenant: 't',
    customer: '',
    cache: 'hit',
    durationMs: 0,
  };
  async function door(
    authorize: (request: DoorRequest) => Outcome | Promise<Outcome>,
    report: (check: CheckReport) => void = () => undefined,
  ): Promise<{ host: string; port: number }> {
    const doors = createHttpDoors({ authorize, report, clock: hostClock() });
    onTestFinished(() => doors.close(0));
    const [host = '', port = ''] = (await listen(doors.server(), { host: '127.0.0.1', port: 0 })).split(':');
    return { host, port: Number(port) };
  }
  test('an outcome that cannot be written is a 503, never an allow', async () => {
    const answer = await exchange(await door(() => ({ ...outcome, decisionId: 'x\r\nX-Auth-User: root' })), requestBytes(DOOR, subrequest()));
    expect(answer.status).toBe(503);
    expectBare(answer);
  });
  test('a report that fails does not matter', async () => {
    const where = await door(
      () => outcome,
      () => {
        throw new Error('disk full');
      },
    );
    for (let i = 0; i < 2; i++) expect((await exchange(where, requestBytes(DOOR, subrequest()))).status).toBe(200);
  });
  test('unavailable is 503, bare', async () => {
    const answer = await exchange(
      await door(() => Promise.resolve({ ...outcome, verdict: 'unavailable' as const, reason: 'stale' as const })),
      requestBytes(DOOR, subrequest()),
    );
    expect(answer.status).toBe(503);
    expectBare(answer);
  });
  test('a client that left before its answer', async () => {
    const waiting: (() => void)[] = [];
    const where = await door(({ requestId }) => (requestId === 'r1' ? outcome : new Promise((resolve) => void waiting.push(() => resolve(outcome)))));
    const connection = await connectRaw(where);
    connection.send(requestBytes(DOOR, subrequest({ 'X-Request-Id': 'slow' })));
    while (waiting.length === 0) await new Promise((resolve) => setImmediate(resolve));
    connection.destroy();
    await connection.closed();
    waiting[0]!();
    expect((await exchange(where, requestBytes(DOOR, subrequest()))).status).toBe(200);
  });
});

describe('the end', () => {
  test('draining: still answered, each answer the last of its connection; then idle ones go at once, those at work when answered', async () => {
    const mine = await sidecar();
    const where = await mine.listen();
    const [idle, busy] = [await connectRaw(where), await connectRaw(where)];
    busy.send(requestBytes(DOOR, subrequest()));
    expect((await busy.answer()).header('connection')).toBe('keep-alive');
    mine.doors.drain();
    busy.send(requestBytes(DOOR, subrequest()));
    const last = await busy.answer();
    expect([last.status, last.header('connection')]).toEqual([200, 'close']);
    expect(await busy.closed()).toBe('');
    expect((await exchange(where, requestBytes(DOOR, subrequest()))).status).toBe(200);
    expect(idle.over).toBe(false);
    await mine.doors.close(5000);
    await idle.closed();
    await expect(connectRaw(where)).rejects.toThrow('ECONNREFUSED');
    await mine.close();
  });
  test('a check under way is answered; one that never ends is cut off after the grace time', async () => {
    let held = false;
    let release = (): void => undefined;
    const slow = await sidecar({
      hold: (what) =>
        held && what === 'objects'
          ? new Promise((resolve) => {
              release = resolve;
            })
          : undefined,
    });
    const where = await slow.listen();
    held = true;
    const connection = await connectRaw(where);
    connection.send(requestBytes(DOOR, subrequest()));
    while (slow.doors.inFlight === 0) await new Promise((resolve) => setImmediate(resolve));
    const closing = slow.doors.close(5000);
    held = false;
    release();
    const answer = await connection.answer();
    expect([answer.status, answer.header('connection')]).toEqual([200, 'close']);
    await closing;
    slow.cache.close();
  });
  test('connections are bounded, and those turned away are counted', async () => {
    const small = await sidecar({ doors: { maxConnections: 2 } });
    onTestFinished(() => small.close());
    const where = await small.listen();
    const open = [await connectRaw(where), await connectRaw(where)];
    for (const connection of open) {
      connection.send(requestBytes(DOOR, subrequest()));
      await connection.answer();
    }
    expect(await (await connectRaw(where)).closed()).toBe('');
    expect(small.doors.shed.connections).toBe(1);
    for (const connection of open) connection.destroy();
  });
});
