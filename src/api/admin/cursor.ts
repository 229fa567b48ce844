// Where does the next page of a list begin, said so that whoever carries it learns nothing from it?
//
// A page ends where its work did, which may be at a thing that the caller may not see: its name and id are in the cursor. So it is
// encrypted, and bound to who asked for what. It proves nothing: every row of every page is judged.

import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { Malformed } from './refusals.ts';

export interface Cursors {
  /** `of`: the caller and the question, which the next request must repeat. */
  seal(place: object, of: readonly unknown[]): string;
  /** @throws Malformed if it is none of ours, or was given to another question */
  open(cursor: string, of: readonly unknown[]): unknown;
}

const IV = 12;
const TAG = 16;

/** By what all processes of an installation know and nobody else; none: by what this one has made up, and its cursors end with it. */
export function createCursors(secrets: readonly string[]): Cursors {
  const material = secrets.length === 0 ? randomBytes(32) : JSON.stringify(secrets);
  const key = new Uint8Array(hkdfSync('sha256', material, '', 'grantgate: cursors of lists', 32));
  return {
    seal(place, of) {
      const iv = randomBytes(IV);
      const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(Buffer.from(JSON.stringify(of)));
      const sealed = Buffer.concat([cipher.update(JSON.stringify(place), 'utf8'), cipher.final()]);
      return Buffer.concat([iv, cipher.getAuthTag(), sealed]).toString('base64url');
    },
    open(cursor, of) {
      const bytes = Buffer.from(cursor, 'base64url');
      try {
        const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, IV), { authTagLength: TAG }).setAAD(Buffer.from(JSON.stringify(of)));
        decipher.setAuthTag(bytes.subarray(IV, IV + TAG));
        const place: unknown = JSON.parse(Buffer.concat([decipher.update(bytes.subarray(IV + TAG)), decipher.final()]).toString('utf8'));
        return place;
      } catch (cause) {
        throw new Malformed('cursor', 'it is not one that an answer to this question had as its `next`; begin anew without it', { cause });
      }
    },
  };
}
