// How is a socket to a Postgres server opened, encrypted if the rule of address.ts says so, and within a time limit?

import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls, type SecureContextOptions } from 'node:tls';
import { PolicyError } from '../errors.ts';
import { describeAddress, isSocketDirectory, type Address } from './address.ts';

/** Certificates, as node:tls takes them: `ca` in place of the system's authorities, `cert` and `key` of our own. */
export type Certificates = Pick<SecureContextOptions, 'ca' | 'cert' | 'key'>;

export interface DialOptions {
  readonly certificates?: Certificates | undefined;
  /** Milliseconds, for everything up to the first byte of the protocol. */
  readonly connectMs: number;
  /** The IP that must be reached, where a name has several. */
  readonly peer?: string | undefined;
}

/** `socket` is what to speak through, `raw` what to destroy: the same without TLS. */
export interface Dialled {
  readonly raw: Socket;
  readonly socket: Socket;
}

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

/** Rejects with PolicyError `source` naming the address; nothing is left open then. */
export async function dial(address: Address, options: DialOptions): Promise<Dialled> {
  const raw = isSocketDirectory(address.host) ? connect(`${address.host}/.s.PGSQL.${address.port}`) : connect(address.port, options.peer ?? address.host);
  raw.on('error', () => undefined); // reported by whoever waits for it
  raw.setNoDelay(true);
  try {
    return await within(options.connectMs, `connecting to ${describeAddress(address)}`, async () => {
      await event(raw, 'connect');
      return { raw, socket: address.tls === 'off' ? raw : await secure(raw, address, options.certificates) };
    });
  } catch (error) {
    raw.destroy();
    throw failure(describeAddress(address), error);
  }
}

/** The TLS of Postgres: a request of eight bytes, one byte of answer, then a handshake. */
async function secure(raw: Socket, address: Address, certificates: Certificates = {}): Promise<Socket> {
  raw.write(SSL_REQUEST);
  const answer = await event<Buffer>(raw, 'data');
  // More than one byte would be somebody's plain text that we would take for the server's own (CVE-2021-23222).
  if (answer.length !== 1) throw new Error('it answered the request for TLS with more than one byte');
  if (answer.toString('latin1') !== 'S') {
    if (address.tls === 'offered') return raw;
    throw new Error('it offers no TLS (sslmode=disable is for loopback, or for insecureTls)');
  }
  const socket = connectTls({
    socket: raw,
    ...certificates,
    minVersion: 'TLSv1.2',
    host: address.host,
    ...(isIP(address.host) ? {} : { servername: address.host }),
    rejectUnauthorized: address.tls === 'full' || address.tls === 'chain',
    ...(address.tls === 'chain' ? { checkServerIdentity: () => undefined } : {}),
  });
  await event(socket, 'secureConnect');
  return socket;
}

/** The first such event; rejects if the socket fails or closes before. */
function event<T = unknown>(socket: Socket, name: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => (): void => {
      socket.off(name, done).off('error', failed).off('close', closed);
      act();
    };
    const done = (value: T): void => settle(() => resolve(value))();
    const failed = (error: Error): void => settle(() => reject(error))();
    const closed = settle(() => reject(new Error('it closed the connection')));
    socket.on(name, done).on('error', failed).on('close', closed);
  });
}

/** Real time for real I/O: nothing else in the library but choice.ts and trim.ts starts a timer of its own. */
export async function within<T>(ms: number, what: string, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new PolicyError('source', `${what}: no answer within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work(), limit]);
  } finally {
    clearTimeout(timer);
  }
}

export function failure(what: string, cause: unknown): PolicyError {
  if (cause instanceof PolicyError) return cause;
  // An attempt at several addresses of one name fails with an AggregateError without a message of its own.
  const said = cause instanceof AggregateError ? cause.errors.map(String).join(', ') : cause instanceof Error ? cause.message : String(cause);
  return new PolicyError('source', `${what}: ${said}`, { cause });
}
