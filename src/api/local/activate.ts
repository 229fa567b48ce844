// What does the link do? Once, whoever has it sets the password of its user, and has logged in.

import {
  forgetNetworks,
  noteLogin,
  putCredential,
  readAccount,
  readActivation,
  removeActivation,
  removeSessions,
  welcomeUser,
  type Account,
  type Statements,
} from 'policy-cache/postgres';
import type { Action } from '../admin/perform.ts';
import { Unauthenticated, Violation } from '../admin/refusals.ts';
import type { Routes } from '../admin/route.ts';
import * as answers from './answers.ts';
import { beginSession, type BegunSession } from './begin.ts';
import { effectOf } from './login.ts';
import { askedBy, placeIn, whoIs, type LocalParts, type Times } from './parts.ts';
import { passwordProblem } from './passwords.ts';
import { readLinkToken } from './secrets.ts';

function badLink(): Unauthenticated {
  return new Unauthenticated('bad-link', 'the link is not known: it was used, has expired, or a newer one was made. Ask for another one');
}

async function readBasis(db: Statements, hash: string): Promise<Account> {
  const user = await readActivation(db, hash);
  const account = user === null ? null : await readAccount(db, user);
  if (account === null || !account.enabled || account.email === '') throw badLink();
  return account;
}

interface Chosen {
  readonly id: string;
  /** Of the link. */
  readonly hash: string;
  readonly judged: Account;
  readonly password: string;
  /** The network that it comes from. */
  readonly from: string | null;
  readonly times: Times;
}

function activateAction({ id, hash, judged, password, from, times }: Chosen): Action<Account, BegunSession> {
  const { user, tenant, email } = judged;
  const { account: counted, network } = placeIn(email, from);
  return {
    name: 'user.activate',
    async read(db) {
      const account = await readBasis(db, hash);
      if (account.user !== user || account.email !== email) throw badLink();
      return account;
    },
    locks: () => ({ update: [user], share: [] }),
    needs: () => [],
    async apply(db, account) {
      await removeActivation(db, user);
      await putCredential(db, { user, tenant, email, password });
      // Whoever was locked out gets in that way; whoever has got in with the old password is out.
      await forgetNetworks(db, user);
      await welcomeUser(db, { user, counted, network });
      await removeSessions(db, user);
      await noteLogin(db, user);
      const begun = await beginSession(db, { id, tenant, user, lifetime: times.token, idle: times.idle });
      return { value: begun, effects: [effectOf(account, null, { password: account.password === null ? 'set' : 'changed', session: begun.session })] };
    },
  };
}

export function activateRoutes(routes: Routes, { writer, performer, passwords, least, times, newId, networkOf }: LocalParts): void {
  routes.add({
    method: 'post',
    path: '/v1/auth/activate',
    summary: 'Set a password by a link, and log in; all other sessions of the user end',
    open: true,
    body: answers.activate,
    answer: { status: 200, description: 'A session: its two tokens.', schema: answers.begun, changes: true },
    async handle({ c, body: { token, password } }) {
      const hash = readLinkToken(token);
      if (hash === null) throw badLink();
      const judged = await writer.read((db) => readBasis(db, hash));
      const problem = await passwordProblem(password, { least, email: judged.email });
      if (problem !== null) throw new Violation('password', '5', problem);
      return passwords.within(async () => {
        const hashed = await passwords.hash(password);
        const action = activateAction({ id: newId(), hash, judged, password: hashed, from: networkOf(c), times });
        return answers.begunAnswer(await performer.perform(askedBy(c, whoIs(judged)), action));
      });
    },
  });
}
