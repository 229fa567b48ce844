// How do migrate, import and the writer reach the database? An ordinary client, but by the same rules as the follower's: its URL,
// its TLS, its hosts.

import postgres from 'postgres';
import { parseAddresses, type Address } from './address.ts';
import { dial, type Certificates } from './dial.ts';
import { clientOptions, openLink, type Link } from './link.ts';
import { PolicyError } from '../errors.ts';

export interface PoolOptions {
  /** As `PostgresSourceOptions.url`, but one. */
  readonly url: string;
  readonly certificates?: Certificates;
  readonly insecureTls?: boolean;
  /** Connections at the most; default 4. */
  readonly max?: number;
}

export interface Pool extends postgres.Sql {
  /** A connection of one's own, which says when it is lost (those of the client let a statement wait for ever). To be destroyed. */
  dedicated(): Promise<Link>;
}

const CONNECT_MS = 10_000;

/**
 * A client whose connections go to the first host of the URL that answers. `end()` it. Its own TLS options would verify nothing
 * unless told so, and send passwords in plain text by default.
 * @throws InputError if the URL cannot be used
 */
export function openPool(options: PoolOptions): Pool {
  const addresses = parseAddresses(options.url, options.insecureTls);
  const reach = { certificates: options.certificates, connectMs: CONNECT_MS };
  const sql = postgres({
    ...clientOptions(addresses[0]!, { connectMs: CONNECT_MS, fetchTypes: true }),
    max: options.max ?? 4,
    socket: () => first(addresses, async (address) => (await dial(address, reach)).socket),
  } as postgres.Options<Record<string, never>>);
  return Object.assign(sql, { dedicated: () => first(addresses, (address) => openLink(address, reach)) });
}

async function first<T>(addresses: readonly Address[], open: (address: Address) => Promise<T>): Promise<T> {
  const problems: PolicyError[] = [];
  for (const address of addresses) {
    try {
      return await open(address);
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      problems.push(error);
    }
  }
  throw new PolicyError('source', problems.map((problem) => problem.message).join('; '), { cause: problems[0] });
}
