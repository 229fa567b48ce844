// Which of the servers of a URL is followed? The primary of the newest history, among those that answer in time.
//
// Where a fail-over fenced nobody, two servers call themselves primary, and the deposed one has the lower timeline (coherence 3.8). Taken
// because it stands first in the URL, it would be refused by the follower and taken again, for ever. So all are asked at once, and
// the first answer leaves the others a moment to tell of a newer history: a dead host costs that moment, not its time limit. Nor
// does it hold up a promotion: while it is silent, whoever refused is asked again.

import { PolicyError } from '../errors.ts';
import { describeAddress, type Address } from './address.ts';
import { failure } from './dial.ts';
import type { Link } from './link.ts';

/** A connection to a primary. */
interface Reached {
  readonly link: Link;
  /** Null where nobody may read it. */
  readonly timeline: string | null;
}

export interface Choice<S extends Reached> {
  readonly address: Address;
  readonly session: S;
  /** Highest timeline met, now or before. */
  readonly newest: string | null;
}

export interface ChoiceOptions<S extends Reached> {
  /** Rejects for whatever is no primary. */
  readonly open: (address: Address) => Promise<S>;
  /** Milliseconds that the others have when one has answered, and until one that refused is asked again. */
  readonly othersMs: number;
  /** Highest timeline met before: a server below it is deposed, and cuts nobody's time short. It is taken where no other answers, for the follower to refuse. */
  readonly newest: string | null;
}

/**
 * Of equal timelines, or where they cannot be read, the first of the list. Every other session is closed.
 * Rejects with PolicyError `source` if there is no primary, with the reason of each server.
 */
export async function choosePrimary<S extends Reached>(addresses: readonly Address[], { open, othersMs, newest }: ChoiceOptions<S>): Promise<Choice<S>> {
  const sessions: (S | undefined)[] = addresses.map(() => undefined);
  const problems: (PolicyError | undefined)[] = addresses.map(() => undefined);
  let over = false;
  let moment: NodeJS.Timeout | undefined;
  let again: NodeJS.Timeout | undefined;
  await new Promise<void>((resolve) => {
    const asking = new Set<Address>();
    const ask = async (address: Address, i: number): Promise<void> => {
      if (asking.has(address) || sessions[i]) return;
      asking.add(address);
      try {
        const session = await open(address);
        if (over) return session.link.destroy();
        sessions[i] = session;
        if (!isBelow(session.timeline, newest)) moment ??= setTimeout(resolve, othersMs);
      } catch (error) {
        problems[i] = failure(describeAddress(address), error);
      } finally {
        asking.delete(address);
      }
    };
    again = setInterval(() => addresses.forEach((address, i) => void ask(address, i)), othersMs); // never rejects
    void Promise.all(addresses.map(ask)).then(() => resolve());
  });
  over = true;
  clearTimeout(moment);
  clearInterval(again);

  const live = sessions.flatMap((session, i) => (session?.link.alive ? [{ address: addresses[i]!, session }] : []));
  const best = live.reduce<(typeof live)[number] | undefined>((a, b) => (a && !isBelow(a.session.timeline, b.session.timeline) ? a : b), undefined);
  for (const session of sessions) if (session !== best?.session) session?.link.destroy();
  if (best) return { ...best, newest: isBelow(best.session.timeline, newest) ? newest : (best.session.timeline ?? newest) };
  const reasons = addresses.map((address, i) => problems[i]?.message ?? `${describeAddress(address)}: the connection was closed`);
  throw new PolicyError('source', reasons.join('; '), { cause: problems.find((problem) => problem !== undefined) });
}

/** Fixed-width hex compares as text. Unknown is neither below nor above. */
function isBelow(timeline: string | null, other: string | null): boolean {
  return timeline !== null && other !== null && timeline < other;
}
