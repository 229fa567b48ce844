// How does a session begin? With secrets that are told once, and of which no more than hashes are kept.

import { endOldestSessions, insertSession, removeEndedSessions, type Statements, type StoredSession } from 'policy-cache/postgres';
import { Violation } from '../admin/refusals.ts';
import { newAccessToken } from '../../opaque.ts';
import { newRefreshToken } from './secrets.ts';

export interface WantedSession {
  readonly id: string;
  readonly tenant: string;
  readonly user: string;
  /** Who logs in as the user; such a session is not renewable. */
  readonly actor?: string | undefined;
  /** Seconds that the access token is good. */
  readonly lifetime: number;
  /** Seconds within which it must be renewed; absent: it cannot be. */
  readonly idle?: number | undefined;
}

export interface BegunSession {
  readonly session: StoredSession;
  readonly accessToken: string;
  /** Absent: it cannot be renewed. */
  readonly refreshToken?: string;
}

/** Of one user; as many again of each who logs in as it. */
const MOST_SESSIONS = 50;
/** Taken away with each new one: more than come, so they do not gather. */
const ENDED_AT_ONCE = 5;

/**
 * Inside of a transaction in which the user's row is locked. Beyond 50, the one that was not used for the longest time ends.
 * @throws Violation where the user, or who logs in as it, has been disabled or removed meanwhile
 */
export async function beginSession(db: Statements, { id, tenant, user, actor, lifetime, idle }: WantedSession): Promise<BegunSession> {
  const { text: accessToken, hash } = newAccessToken();
  const refreshed = idle === undefined ? null : { ...newRefreshToken(), idle };
  const renewable = refreshed === null ? undefined : { family: refreshed.familyHash, refresh: refreshed.hash, idle: refreshed.idle };
  const session = await insertSession(db, { id, tenant, user, actor, hash, lifetime, renewable });
  if (session === null) throw new Violation('', '1', 'the user, or who logs in as it, is disabled or gone');
  await endOldestSessions(db, { id, user, actor, keep: MOST_SESSIONS - 1 });
  // Last: of these nobody waits for another.
  await removeEndedSessions(db, ENDED_AT_ONCE);
  return { session, accessToken, ...(refreshed === null ? {} : { refreshToken: refreshed.text }) };
}
