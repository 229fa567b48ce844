// By which link does a user set its password, and who may make it one?
//
// Whoever has the link is the user: WRITE on it and *covers the user*, as for an API key (semantics 5).

import { isLoginTaken, isUntouched, putActivation, readAccount, readObjects, type Account, type Statements, type StoredObject } from 'policy-cache/postgres';
import { z } from 'zod';
import type { FreshLink } from '../admin/addition.ts';
import { askedOf } from '../admin/collections.ts';
import { changeAnswer } from '../admin/http.ts';
import { ofUser, type UserBasis } from '../admin/keys.ts';
import type { Action } from '../admin/perform.ts';
import { NotFound, Violation } from '../admin/refusals.ts';
import type { Routes } from '../admin/route.ts';
import * as schemas from '../admin/schemas.ts';
import { readTenant } from '../admin/tenants.ts';
import * as answers from './answers.ts';
import { effectOf } from './login.ts';
import type { LocalParts } from './parts.ts';

export interface MadeLink {
  readonly account: Account;
  /** RFC 3339. */
  readonly expires: string;
}

/** Of whom a link would be of no use gets none. @throws Violation, NotFound */
export async function makeLink(db: Statements, user: string, { hash, lifetime, createdBy }: FreshLink & { readonly createdBy: string }): Promise<MadeLink> {
  const account = await readAccount(db, user);
  if (account === null) throw new NotFound(`there is no user ${JSON.stringify(user)} any more`);
  if (!account.enabled) throw new Violation('', '5', 'the user is disabled: enable it first');
  if (account.email === '') throw new Violation('email', '5', 'the user has none, and by it it logs in: give it one first');
  if (await isLoginTaken(db, account)) throw new Violation('email', '5', 'another user logs in by this e-mail');
  return { account, expires: await putActivation(db, { user, tenant: account.tenant, hash, lifetime, createdBy }) };
}

interface Wanted {
  readonly user: string;
  readonly link: FreshLink;
  readonly createdBy: string;
}

function activationAction(vocabulary: LocalParts['vocabulary'], { user, link, createdBy }: Wanted): Action<UserBasis, MadeLink> {
  const base = ofUser(vocabulary, user);
  return {
    name: 'user.activation',
    ...base,
    needs: (basis, who) => [
      { kind: 'not-acting', what: 'a link by which a user sets its password' },
      // A program may make them for others: so users are made. For whoever it asks as, its secret would become a person's.
      ...(who.caller.kind === 'user' && who.caller.subject === user ? [{ kind: 'in-person', what: 'a link by which you set your own password' } as const] : []),
      ...base.needs(basis, who),
    ],
    async apply(db) {
      const made = await makeLink(db, user, { ...link, createdBy });
      return { value: made, effects: [effectOf(made.account, null, { activation: { expires: made.expires } })] };
    },
  };
}

/** Another link for the first administrator, whose first one was lost: while nobody has ever been there. */
function firstLinkAction({ tenant, user, link }: { readonly tenant: string; readonly user: string; readonly link: FreshLink }): Action<StoredObject, MadeLink> {
  return {
    name: 'tenant.administrator.activation',
    async read(db, who) {
      await readTenant(db, who, tenant);
      const found = (await readObjects(db, [user])).get(user);
      // To the operator there are no users inside of a tenant but the one that it has made.
      if (found?.list !== 'users' || found.tenant !== tenant) throw new NotFound(`tenant ${JSON.stringify(tenant)} has no such first administrator`);
      if (!(await isUntouched(db, { tenant, user })))
        throw new Violation('', '1.6', 'the operator gives another link to the first administrator alone, until somebody has been at work in the tenant');
      return found;
    },
    locks: () => ({ update: [tenant, user], share: [] }),
    needs: () => [],
    async apply(db) {
      const made = await makeLink(db, user, { ...link, createdBy: '' });
      return { value: made, effects: [effectOf(made.account, null, { activation: { expires: made.expires } })] };
    },
  };
}

export function assertMails(mailer: LocalParts['mailer'], field: string): asserts mailer is NonNullable<LocalParts['mailer']> {
  if (mailer === undefined) throw new Violation(field, '5', 'no mail is sent here: identity.local.mail.url and identity.local.linkUrl are not set');
}

export function activationRoutes(routes: Routes, { vocabulary, performer, newLink, mailer }: LocalParts): void {
  routes.add({
    method: 'post',
    path: '/v1/users/{id}/activation',
    summary: 'Make a link by which a user sets its password, once; the one before is no good any more',
    params: schemas.inPath,
    body: answers.newActivation,
    answer: { status: 201, description: 'The link, or that it is mailed: then nobody else is told.', schema: answers.made, changes: true },
    async handle({ c, params: { id: user }, body: { mail = false } }) {
      const { caller } = c.get('who');
      const fresh = newLink();
      const wanted = { user, link: fresh, createdBy: caller.kind === 'user' ? caller.actor : '' };
      if (mail) assertMails(mailer, 'mail');
      const done = await performer.perform(askedOf(c), activationAction(vocabulary, wanted));
      const { expires, account } = done.value;
      if (!mail) return changeAnswer({ link: fresh.link, expires }, done, 201);
      await mailer?.send({ to: account.email, kind: 'activation', link: fresh.link, expires });
      return changeAnswer({ mailed: true, expires }, done, 201);
    },
  });
  routes.add({
    method: 'post',
    path: '/v1/tenants/{id}/administrator/{user}/activation',
    summary: 'Make another link for the first administrator of a tenant, while nobody has been at work there (operator)',
    params: z.object({ id: schemas.id, user: schemas.id }),
    body: answers.nothing,
    answer: { status: 201, description: 'The link.', schema: schemas.madeLink, changes: true },
    async handle({ c, params: { id: tenant, user } }) {
      const link = newLink();
      const done = await performer.perform(askedOf(c), firstLinkAction({ tenant, user, link }));
      return changeAnswer({ link: link.link, expires: done.value.expires }, done, 201);
    },
  });
}
