// How does a user that has forgotten its password get a link? By mail, and whoever asks hears nothing of whether there is such a user: it is answered at once.

import { findAccount, forgetAskedFor, isAskedFor } from 'policy-cache/postgres';
import { reply } from '../problems.ts';
import type { Action } from '../admin/perform.ts';
import type { Routes } from '../admin/route.ts';
import type { FreshLink } from '../admin/addition.ts';
import { makeLink, assertMails, type MadeLink } from './activation.ts';
import * as answers from './answers.ts';
import { effectOf } from './login.ts';
import { whoIs, type LocalParts } from './parts.ts';

/** Of one user: whoever asks for one again and again leaves its user so much time for the last one. */
const BETWEEN_SECONDS = 300;
const MOST_WAITING = 100;

/** Null: one was asked for a short while ago. */
function forgottenAction(user: string, link: FreshLink): Action<null, MadeLink | null> {
  return {
    name: 'user.forgotten',
    read: () => Promise.resolve(null),
    locks: () => ({ update: [user], share: [] }),
    needs: () => [],
    async apply(db) {
      if (await isAskedFor(db, user, BETWEEN_SECONDS)) return { value: null, effects: [] };
      const made = await makeLink(db, user, { ...link, createdBy: '' });
      return { value: made, effects: [effectOf(made.account, null, { activation: { expires: made.expires } })] };
    },
  };
}

export function forgottenRoutes(routes: Routes, { writer, performer, newLink, mailer, failed }: LocalParts): void {
  let waiting = 0;
  let last = Promise.resolve();
  const mail = async (email: string, requestId: string): Promise<void> => {
    const account = await writer.read((db) => findAccount(db, email));
    if (mailer === undefined || account === null || !account.enabled) return;
    const link = newLink();
    try {
      const { value } = await performer.perform({ who: whoIs(account), ifMatch: null, requestId }, forgottenAction(account.user, link));
      if (value !== null) await mailer.send({ to: value.account.email, kind: 'reset', link: link.link, expires: value.expires });
    } catch (error) {
      await writer.write((db) => forgetAskedFor(db, link.hash));
      throw error;
    }
  };
  routes.add({
    method: 'post',
    path: '/v1/auth/forgotten',
    summary: 'Have a link mailed by which a user sets another password',
    open: true,
    body: answers.forgotten,
    answer: { status: 202, description: 'A mail is on its way, if a user logs in by this e-mail.', schema: answers.nothing },
    handle({ c, body: { email } }) {
      assertMails(mailer, '');
      // Behind the answer, one after the other: nobody can tell by the time. Beyond these nobody is told either.
      if (waiting < MOST_WAITING) {
        waiting++;
        const requestId = (c.req.header('x-request-id') ?? '').slice(0, 200);
        last = last
          .then(() => mail(email, requestId))
          .catch(failed)
          .finally(() => waiting--);
      }
      return reply({}, { status: 202 });
    },
  });
}
