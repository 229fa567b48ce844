// What makes a Postgres database the source of a policy cache? (the port `Source`, over session.ts and fills.ts)

import { InputError } from '../errors.ts';
import type { Attachment, Source } from '../source.ts';
import { parseAddresses, type Address } from './address.ts';
import { choosePrimary, type Choice } from './choice.ts';
import { Fills } from './fills.ts';
import type { Certificates } from './dial.ts';
import { openSession, type Session } from './session.ts';
import { startTrimming, type TrimObserver, type TrimOptions } from './trim.ts';

export interface PostgresSourceOptions {
  /**
   * `postgres://…`, one or several; a URL may itself name several hosts. All are asked at once at each attach, and the primary with the
   * highest timeline is taken: one that was deposed and lives on is passed over wherever it stands in the list, as long as the new one
   * answers within `limits.othersMs` of it, or has been met before. Of equal timelines, and where they cannot be read, the first of the
   * list is taken. It must lead to the server itself, never to a transaction pooler.
   * `sslmode`: see `parseAddresses`.
   */
  readonly url: string | readonly string[];
  /** Certificates for TLS; without them the system's authorities are trusted. */
  readonly certificates?: Certificates;
  /** Lets `sslmode` in the URL ask for less than `verify-full` on a host that is not loopback. */
  readonly insecureTls?: boolean;
  /** Milliseconds. */
  readonly limits?: Partial<PostgresLimits>;
  /** Default 4: more gain nothing (coherence 1.5). */
  readonly fillConnections?: number;
  /** How the change log is kept short. */
  readonly trim?: TrimOptions;
  readonly observer?: TrimObserver;
}

export interface PostgresLimits {
  /** To connect, encrypt and authenticate, per host; default 2,000. */
  readonly connectMs: number;
  /**
   * How long the other hosts have, once a primary has answered, to show that they are a newer one; and how soon one that refused is asked
   * again while another is silent. Default 250: what a dead host costs an attach.
   */
  readonly othersMs: number;
  /** A pull, and each statement of the attach; default 1,000. */
  readonly pullMs: number;
  /** A pull for a world that is not current yet; default 30,000. */
  readonly firstPullMs: number;
  /** A fill; default 250, the life of a flight. */
  readonly fillMs: number;
  /** The whole owner tree, or a trim of the log; default 30,000. */
  readonly loadMs: number;
}

/** Of the look for a transaction pooler: each is three round trips. */
const ROUNDS = { first: 2, doubted: 50 };
const DEFAULTS: PostgresLimits = { connectMs: 2_000, othersMs: 250, pullMs: 1_000, firstPullMs: 30_000, fillMs: 250, loadMs: 30_000 };

/** @throws InputError if the URL cannot be used; everything else shows when attaching */
export function postgresSource(options: PostgresSourceOptions): Source {
  const urls = typeof options.url === 'string' ? [options.url] : options.url;
  const addresses = urls.flatMap((url, i) => parseAddresses(url, options.insecureTls, urls.length > 1 ? `url[${i}]` : 'url'));
  if (addresses.length === 0) throw new InputError('url', 'expected at least one');
  const limits = { ...DEFAULTS, ...options.limits };
  const { certificates } = options;
  // A pooler that showed in a pull had passed the check of its attach by luck: from then on it is looked at for longer, so that a
  // follower does not attach and lose its session by turns.
  let rounds = ROUNDS.first;
  const open = (address: Address): Promise<Session> => openSession(address, { certificates, limits, pooled: () => void (rounds = ROUNDS.doubted) });
  let newest: string | null = null;
  return {
    async attach(on) {
      const choice = await choosePrimary(addresses, { open, othersMs: limits.othersMs, newest });
      newest = choice.newest;
      return attachTo(choice, { ...options, limits, rounds }, on);
    },
  };
}

async function attachTo(
  { address, session }: Choice<Session>,
  options: PostgresSourceOptions & { readonly limits: PostgresLimits; readonly rounds: number },
  on: Parameters<Source['attach']>[0],
): Promise<Attachment> {
  const { certificates, limits, rounds } = options;
  // At the server of the session, even where its name has several addresses.
  const fills = new Fills(address, { ...limits, certificates, peer: session.link.peer, connections: options.fillConnections ?? 4 });
  try {
    await Promise.race([fills.open(), session.link.ended]);
    await session.assertDirect((statement, ms) => fills.everyLane(statement, ms), { limitMs: limits.pullMs, rounds });
  } catch (error) {
    fills.close();
    session.link.destroy();
    throw error;
  }
  // Nobody hears of a ring or a close before the attachment is theirs: until then a close rejects the attach.
  session.hear(() => on.ring());
  const stopTrimming = startTrimming((keepMs) => fills.trim(keepMs), options.trim, options.observer);
  const end = (): void => {
    stopTrimming();
    fills.close();
  };
  void session.link.lost.then((cause) => {
    end();
    on.closed(cause);
  });
  return attachment(session, fills, end);
}

function attachment(session: Session, fills: Fills, end: () => void): Attachment {
  return {
    pull: (request) => session.pull(request),
    load: (take) => fills.load(take),
    objects: (ids) => fills.objects(ids),
    classes: (keys) => fills.classes(keys),
    keys: (hashes) => fills.keys(hashes),
    close() {
      session.link.destroy();
      end();
    },
  };
}
