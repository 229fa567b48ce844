// How do migrate, import and the writer reach the database? An ordinary client, but by the same rules as the follower's: its URL,
// its TLS, its hosts.

import postgres from 'postgres';
import { parseAddresses, type Address } from './address.ts';
import { dial, type Certificates } from './dial.ts';
import { clientOptions } from './link.ts';
import { PolicyError } from '../errors.ts';

export interface PoolOptions {
  /** As `PostgresSourceOptions.url`, but one. */
  readonly url: string;
  readonly certificates?: Certificates;
  readonly insecureTls?: boolean;
  /** Connections at the most; default 4. */
  readonly max?: number;
}

/**
 * A client whose connections go to the first host of the URL that answers. `end()` it. Its own TLS options would verify nothing
 * unless told so, and send passwords in plain text by default.
 * @throws InputError if the URL cannot be used
 */
export function openPool(options: PoolOptions): postgres.Sql {
  const addresses = parseAddresses(options.url, options.insecureTls);
  return postgres({
    ...clientOptions(addresses[0]!, { connectMs: 10_000, fetchTypes: true }),
    max: options.max ?? 4,
    socket: () => dialFirst(addresses, options.certificates),
  } as postgres.Options<Record<string, never>>);
}

async function dialFirst(addresses: readonly Address[], certificates: Certificates | undefined): Promise<unknown> {
  const problems: PolicyError[] = [];
  for (const address of addresses) {
    try {
      return (await dial(address, { certificates, connectMs: 10_000 })).socket;
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      problems.push(error);
    }
  }
  throw new PolicyError('source', problems.map((problem) => problem.message).join('; '), { cause: problems[0] });
}
