// What is told to whoever has logged in, and what is asked of it?

import { z } from 'zod';
import { changeAnswer } from '../admin/http.ts';
import type { Done } from '../admin/perform.ts';
import * as schemas from '../admin/schemas.ts';
import type { BegunSession } from './begin.ts';

const token = z.string('must be a string').max(200, 'is too long');
/** Which are good ones is judged when one is chosen: a wrong one is a wrong one. */
const password = z.string('must be a string').max(1024, 'is too long').openapi({ format: 'password' });
const email = schemas.name.min(1, 'must not be empty').openapi({ format: 'email' });

export const login = z.strictObject({ email, password }).openapi('LogIn');
export const refresh = z.strictObject({ refreshToken: token }).openapi('Refresh');
export const activate = z.strictObject({ token, password }).openapi('Activate', { description: '`token` is what stands behind `#token=` in the link.' });
export const forgotten = z.strictObject({ email }).openapi('Forgotten');
export const logout = z.strictObject({ all: z.boolean().optional() }).openapi('LogOut');
export const passwordChange = z.strictObject({ current: password, password }).openapi('PasswordChange');
export const newActivation = z.strictObject({ mail: z.boolean().optional() }).openapi('NewActivation');

export const begun = z
  .object({
    accessToken: z.string(),
    tokenType: z.literal('Bearer'),
    expires: schemas.time.openapi({ description: 'Of the access token.' }),
    refreshToken: z.string().optional().openapi({ description: 'Used once, for the next two; left out: the session is not renewed.' }),
    session: schemas.id,
    user: schemas.id,
    actor: schemas.id.openapi({ description: 'Who has logged in as the user; else the user.' }),
  })
  .openapi('BegunSession');
export const made = z.union([schemas.madeLink, z.object({ mailed: z.literal(true), expires: schemas.time })]).openapi('MadeActivation');
export const nothing = z.strictObject({}).openapi('Nothing');
export const ended = z.object({ ended: z.int() }).openapi('EndedSessions');

export function begunAnswer(done: Done<BegunSession>): Response {
  const { session, accessToken, refreshToken } = done.value;
  const { id, user, actor = user, expires } = session;
  return changeAnswer({ accessToken, tokenType: 'Bearer', expires, ...(refreshToken === undefined ? {} : { refreshToken }), session: id, user, actor }, done);
}
