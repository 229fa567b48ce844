// What do the secrets of a session look like, beside its access token (opaque.ts)?

import { randomBytes } from 'node:crypto';
import { hashOf, newSecret, type Secret } from '../../opaque.ts';

/** `gr_`, the family (16 bytes), the secret (32 bytes): each of its own, so that no digit has bits of both. */
const REFRESH = /^gr_([A-Za-z0-9_-]{21}[AQgw])([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])$/;
const LINK = /^ga_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;

export interface RefreshSecret extends Secret {
  readonly familyHash: string;
}

/** @param family of the session that is renewed; left out: a session that begins */
export function newRefreshToken(family: string = randomBytes(16).toString('base64url')): RefreshSecret {
  const { text, hash } = newSecret(`gr_${family}`);
  return { text, hash, familyHash: hashOf(family) };
}

/** Null: it is none of ours. */
export function readRefreshToken(text: string): { readonly family: string; readonly familyHash: string; readonly hash: string } | null {
  const [, family] = REFRESH.exec(text) ?? [];
  return family === undefined ? null : { family, familyHash: hashOf(family), hash: hashOf(text) };
}

export function newLinkToken(): Secret {
  return newSecret('ga_');
}

/** SHA-256 of it; null: it is none of ours. */
export function readLinkToken(text: string): string | null {
  return LINK.test(text) ? hashOf(text) : null;
}
