// What may an installation have beside the administration, that others never load? (Users who log in here: ../local.)

import type { Context } from 'hono';
import type { Writer } from 'policy-cache/postgres';
import type { CollectionParts } from './collections.ts';
import type { AdminEnv, Routes } from './route.ts';

/** What it is given. */
export interface AdditionParts extends Pick<CollectionParts, 'vocabulary' | 'authority' | 'performer' | 'newId'> {
  readonly writer: Pick<Writer, 'read' | 'write'>;
}

/** A link by which a user sets its password. */
export interface FreshLink {
  /** Told once. */
  readonly link: string;
  /** What is kept of it. */
  readonly hash: string;
  /** Seconds. */
  readonly lifetime: number;
}

export interface Addition {
  /** Asked first of each that would change something below /v1/auth, before a body is read. @throws Throttled */
  admit(c: Context<AdminEnv>): Promise<void>;
  /** Adds what may be asked without a credential, below /v1/auth. */
  open(routes: Routes): void;
  /** Adds what needs one. */
  known(routes: Routes): void;
  /** For whoever must get in first. */
  newLink(): FreshLink;
}
