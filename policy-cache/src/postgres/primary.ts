// Which server may be written to, and asked about all others? The primary of the newest history: a deposed one does not hear of them.

import { PolicyError } from '../errors.ts';
import { describeAddress, parseAddresses, type Address } from './address.ts';
import { choosePrimary } from './choice.ts';
import type { Certificates } from './dial.ts';
import { openLink, type Link, type Statement } from './link.ts';
import { readTimeline } from './session.ts';

export interface PrimaryOptions {
  /** As `PostgresSourceOptions.url`. */
  readonly url: string | readonly string[];
  readonly certificates?: Certificates;
  readonly insecureTls?: boolean;
}

const RECOVERY: Statement = { name: 'role', text: 'select pg_is_in_recovery() r' };
const LIMIT_MS = 2_000;
const OTHERS_MS = 250;

/**
 * A connection to it; `destroy()` it.
 * Rejects with PolicyError `source` if no primary answers, InputError if the URL cannot be used.
 */
export async function openPrimary({ url, certificates, insecureTls }: PrimaryOptions): Promise<Link> {
  const addresses = [url].flat().flatMap((one) => parseAddresses(one, insecureTls));
  const open = async (address: Address): Promise<{ link: Link; timeline: string | null }> => {
    const link = await openLink(address, { certificates, connectMs: LIMIT_MS });
    try {
      const [row] = await link.rows(RECOVERY, [], LIMIT_MS);
      if ((row as { r?: unknown } | undefined)?.r !== false)
        throw new PolicyError('source', `${describeAddress(address)}: it is a standby, and only a primary will do`);
      return { link, timeline: await readTimeline(link, LIMIT_MS) };
    } catch (error) {
      link.destroy();
      throw error;
    }
  };
  return (await choosePrimary(addresses, { open, othersMs: OTHERS_MS, newest: null })).session.link;
}
