// Who can reach a listener, and what becomes of the file that an earlier process left?
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createHttpDoors } from '../../src/doors/http.ts';
import { hostClock } from '../../src/clock.ts';
import { listen } from '../../src/listen.ts';
import type { Address } from '../../src/listen.ts';
import { exchange, requestBytes } from '../support/raw.ts';

function place(): string {
  const directory = mkdtempSync(join(tmpdir(), 'grantgate-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, 'http.sock');
}

/** A door that denies everything, listening. */
async function door(address: Address): Promise<string> {
  const clock = hostClock();
  const doors = createHttpDoors({
    clock,
    report: () => undefined,
    authorize: ({ protocol, method, requestId }) => ({
      decisionId: '1',
      requestId,
      verdict: 'deny',
      reason: 'no-grant',
      rule: '3',
      revision: null,
      protocol,
      method,
      route: '',
      resource: '',
      operation: '',
      target: '',
      subject: '',
      tenant: '',
      customer: '',
      cache: 'none',
      durationMs: 0,
    }),
  });
  onTestFinished(() => doors.close(0));
  return listen(doors.server(), address);
}

const ASK = requestBytes('GET /auth/nginx HTTP/1.1', [['Host', 'authz']]);
const mode = (path: string): string => (lstatSync(path).mode & 0o7777).toString(8);
const isRoot = process.getuid?.() === 0;

describe('a Unix socket', () => {
  test('is for owner and group alone, and answers', async () => {
    const path = place();
    expect(await door({ path })).toBe(`unix:${path}`);
    expect(mode(path)).toBe('660');
    expect(lstatSync(path).isSocket()).toBe(true);
    expect((await exchange({ path }, ASK)).status).toBe(403);
  });
  test('goes when its server closes', async () => {
    const path = place();
    const server = createServer();
    await listen(server, { path });
    await new Promise<void>((resolve) => void server.close(() => resolve()));
    expect(existsSync(path)).toBe(false);
  });
  test('is for everybody only if asked', async () => {
    const path = place();
    await door({ path, everybody: true });
    expect(mode(path)).toBe('666');
  });
  test('the process keeps its umask', async () => {
    const before = process.umask(0o027);
    onTestFinished(() => void process.umask(before));
    await door({ path: place() });
    await expect(door({ path: '/nowhere/at/all.sock' })).rejects.toThrow(
      'doors.socket: cannot listen on unix:/nowhere/at/all.sock: there is no directory /nowhere/at; make it first',
    );
    expect(process.umask(0o027)).toBe(0o027);
  });
  test('is given to a group, by number or name', async () => {
    // A group that this user may give a file to: any for root, its own otherwise.
    const line = readFileSync('/etc/group', 'utf8')
      .split('\n')
      .map((each) => each.split(':'))
      .find(([, , gid]) => (isRoot ? Number(gid) > 0 : Number(gid) === process.getgid?.()));
    const [name = '', , gid = ''] = line ?? [];
    for (const group of [name, gid]) {
      const path = place();
      await door({ path, group });
      expect([lstatSync(path).gid, mode(path)]).toEqual([Number(gid), '660']);
    }
    await expect(door({ path: place(), group: 'no such group' })).rejects.toThrow(/^doors\.socketGroup: no group "no such group"/);
  });
  test('left behind by a process that was killed: taken over', async () => {
    const path = place();
    // Binds and dies without closing.
    const died = spawnSync(process.execPath, ['-e', 'require("net").createServer().listen(process.argv[1], () => process.kill(process.pid, "SIGKILL"))', path]);
    expect(died.signal).toBe('SIGKILL');
    expect(lstatSync(path).isSocket()).toBe(true);
    await door({ path });
    expect((await exchange({ path }, ASK)).status).toBe(403);
  });
  test('with somebody on it: refused, and left alone', async () => {
    const path = place();
    await door({ path });
    await expect(door({ path })).rejects.toThrow(/another process listens/);
    expect((await exchange({ path }, ASK)).status).toBe(403);
  });
  test('with somebody on it: taken over if asked, in one step; who is connected stays, and the one that leaves takes no name with it', async () => {
    const path = place();
    const first = createServer((socket) => void socket.on('data', () => socket.write('first')));
    await listen(first, { path, takeOver: true });
    const held = connect({ path });
    held.write('?');
    expect(String((await once(held, 'data'))[0])).toBe('first');
    await door({ path, takeOver: true });
    expect(mode(path)).toBe('660');
    expect((await exchange({ path }, ASK)).status).toBe(403);
    held.write('?');
    expect(String((await once(held, 'data'))[0])).toBe('first');
    const closed = once(first, 'close');
    first.close();
    held.destroy();
    await closed;
    expect((await exchange({ path }, ASK)).status).toBe(403);
    expect(readdirSync(dirname(path))).toEqual(['http.sock']);
  });
  test('needs no right but to its own directory', async () => {
    const path = place();
    const inner = join(dirname(path), 'inner');
    mkdirSync(inner);
    await door({ path: join(inner, 'http.sock') });
    expect([readdirSync(dirname(path)), readdirSync(inner)]).toEqual([['inner'], ['http.sock']]);
    expect(lstatSync(inner).ctimeMs).toBeGreaterThan(lstatSync(dirname(path)).mtimeMs);
  });
  test('of two that begin at once, one gets the name', async () => {
    const path = place();
    const both = await Promise.allSettled([door({ path }), door({ path })]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect((await exchange({ path }, ASK)).status).toBe(403);
    expect(readdirSync(dirname(path))).toEqual(['http.sock']);
  });
  test('in a directory that everybody may write to: refused, unless everybody may ask anyway', async () => {
    const path = place();
    for (const open of [0o777, 0o1777]) {
      chmodSync(dirname(path), open);
      await expect(door({ path })).rejects.toThrow(/^doors\.socket: every user of this machine may write to .*chmod o-w/);
      expect(existsSync(path)).toBe(false);
    }
    await door({ path, everybody: true });
    expect((await exchange({ path }, ASK)).status).toBe(403);
  });
  test('at the path of a file, a directory or a link: refused, and left alone', async () => {
    const path = place();
    writeFileSync(path, 'mine');
    for (const takeOver of [false, true]) await expect(door({ path, takeOver })).rejects.toThrow(/exists and is not a socket/);
    expect(readFileSync(path, 'utf8')).toBe('mine');
    symlinkSync(path, `${path}.link`);
    await expect(door({ path: `${path}.link` })).rejects.toThrow(/exists and is not a socket/);
    mkdirSync(`${path}.directory`);
    await expect(door({ path: `${path}.directory` })).rejects.toThrow(/exists and is not a socket/);
  });
  test('with a path that the kernel would cut: refused', async () => {
    await expect(door({ path: `/tmp/${'x'.repeat(103)}` })).rejects.toThrow(/at most 107 bytes/);
  });
});

describe('an address', () => {
  test('port 0 takes any, and says which', async () => {
    const [host, port] = (await door({ host: '127.0.0.1', port: 0 })).split(':');
    expect(host).toBe('127.0.0.1');
    expect((await exchange({ host: '127.0.0.1', port: Number(port) }, ASK)).status).toBe(403);
  });
  test('in use: refused in words', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => void other.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => new Promise<void>((resolve) => void other.close(() => resolve())));
    const { port } = other.address() as { port: number };
    await expect(door({ host: '127.0.0.1', port })).rejects.toThrow(
      `doors.port: cannot listen on 127.0.0.1:${port}: another process listens there; end it, or`,
    );
    for (const listener of ['api', 'grpc'] as const) {
      await expect(listen(createServer(), { host: '127.0.0.1', port }, listener)).rejects.toThrow(new RegExp(`^${listener}\\.port: `));
    }
    await expect(listen(createServer(), { path: '/nowhere/at/all.sock' }, 'grpc')).rejects.toThrow(/^grpc\.socket: /);
    await expect(listen(createServer(), { path: place(), group: 'no such group' }, 'grpc')).rejects.toThrow(/^grpc\.socketGroup: /);
  });
  test('of another machine: refused in words', async () => {
    await expect(door({ host: '192.0.2.1', port: 0 })).rejects.toThrow('doors.host: cannot listen on 192.0.2.1:0: this machine has no such address');
  });
});
