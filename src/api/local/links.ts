// What is a link by which a user sets its password? An address, and a secret behind it.

import type { FreshLink } from '../admin/addition.ts';
import { newLinkToken } from './secrets.ts';

export interface LinkSettings {
  readonly linkUrl?: string | undefined;
  /** Milliseconds. */
  readonly linkTtl: number;
}

/** The page of this listener, where nothing says by which address people reach it. */
const PAGE = '/v1/auth/set-password';

export function newLink({ linkUrl = PAGE, linkTtl }: LinkSettings): FreshLink {
  const { text, hash } = newLinkToken();
  // Behind the #, which no server and no log on the way sees.
  return { link: `${linkUrl}#token=${text}`, hash, lifetime: linkTtl / 1_000 };
}
