// What must a caller be allowed, and have, for a change? (semantics 5)
//
// An action lists its needs as values, made of what is stored; here they are asked of the decision point at the newest revision. So the
// rules can be read in one place each, and an administrator can do only what its own effective permissions allow.

import { ANY, requestOf, uncovered, withHeld } from 'policy-cache';
import type { CheckStatus, HandedGrant, Held, PolicyCache, Revision, Uncovered, Vocabulary } from 'policy-cache';
import type { OpaqueKind } from '../../opaque.ts';
import type { Pdp, Ruling } from '../../pdp.ts';
import { Forbidden, Unauthenticated, usersOnly } from './refusals.ts';

export type Need =
  /** A decision of section 4. */
  | {
      readonly kind: 'may';
      readonly operation: string;
      readonly resource: string;
      readonly target: string;
      readonly owner?: string | undefined;
      readonly groups?: readonly string[] | undefined;
    }
  /** *covers* of section 5; `what` names it to whoever is refused. */
  | { readonly kind: 'covers'; readonly handed: HandedGrant; readonly what: string }
  /** The owner is of the caller's own subtree. */
  | { readonly kind: 'scope'; readonly owner: string }
  /** A user of a tenant itself. */
  | { readonly kind: 'tenant-admin' }
  /** Every entity of this type and owner may be READ (then nobody need look at 50,000 of them one by one), or else each of these. */
  | { readonly kind: 'read-all'; readonly resource: string; readonly owner: string; readonly targets: readonly string[] }
  /** Not by a session that somebody has as another: `what` it would come by lasts longer than that session. */
  | { readonly kind: 'not-acting'; readonly what: string }
  /** Not by an API key: a program's secret must not become a person's. */
  | { readonly kind: 'in-person'; readonly what: string };

/** Who asks for a change. */
export type Caller =
  | { readonly kind: 'operator' }
  | {
      readonly kind: 'user';
      /** Whose permissions are used. */
      readonly subject: string;
      /** Who it really is, where somebody has logged in as the subject; else the subject. */
      readonly actor: string;
      /** Tenants that whoever vouches for it may speak for. */
      readonly tenants: '*' | readonly string[];
      /** Of ours, by what it has shown who it is; absent: by a signed token. */
      readonly by?: OpaqueKind;
    };

/** Whoever holds the database itself, in a process of its own (direct.ts): no request has it for its caller. */
export interface DirectCaller {
  readonly kind: 'direct';
}

/** What of a request was decided last: for the decision log, which is told when it is answered. */
export interface Judgement {
  operation: string;
  resource: string;
  target: string;
  /** Null: nothing was decided. */
  ruling: Ruling | null;
}

/** Where a caller belongs. */
export interface Who {
  readonly caller: Caller | DirectCaller;
  /** '' for the operator; straight on the database: the one that is asked about, '' for whichever it is. */
  readonly tenant: string;
  /** Its owner, a tenant or customer; '' for whoever has none. */
  readonly owner: string;
  /** Absent: nobody is told what is decided. */
  readonly judgement?: Judgement;
}

/** What may be seen of a tenant. */
export type Sight = Held | 'everything';

export interface Authority {
  /** @throws Unauthenticated; PolicyError where it cannot be known */
  identify(caller: Caller): Promise<Who>;
  /** @throws Forbidden with the first need that is not met; PolicyError where it cannot be decided */
  require(who: Who, needs: readonly Need[]): Promise<void>;
  /** Which of these may be read, in their order. */
  readable(who: Who, asked: readonly { readonly resource: string; readonly target: string }[]): Promise<readonly boolean[]>;
  /** Shows what the caller holds, in one turn. @throws Unauthenticated, Forbidden for the operator; PolicyError where it cannot be known */
  look<T>(who: Who, at: (sight: Sight) => T): Promise<T>;
}

export interface AuthorityParts {
  readonly pdp: Pdp;
  readonly cache: Pick<PolicyCache, 'check'>;
  readonly vocabulary: Vocabulary;
  /** Milliseconds for one question. */
  readonly deadline: number;
}

const READ_AT_ONCE = 100;

type May = Extract<Need, { kind: 'may' }>;
/** What hangs on how the caller has come, and on nothing that is stored. */
type Coming = Extract<Need, { kind: 'not-acting' | 'in-person' }>;

/** Whose permissions are asked, and what for. */
interface Question {
  readonly user: string;
  readonly need: May;
}

export function createAuthority({ pdp, cache, vocabulary, deadline }: AuthorityParts): Authority {
  const subjectOf = ({ caller }: Who): string => {
    if (caller.kind !== 'user') throw usersOnly();
    return caller.subject;
  };
  /** Whoever has logged in as somebody else must be allowed to at each question (semantics 5), in the state in which that is answered. */
  const acting = ({ caller }: Who): readonly Question[] =>
    caller.kind === 'user' && isActing(caller)
      ? [{ user: caller.actor, need: { kind: 'may', operation: 'IMPERSONATE', resource: 'USER', target: caller.subject } }]
      : [];
  const request = ({ user, need: { operation, resource, target, owner, groups } }: Question) =>
    requestOf(vocabulary, {
      user,
      operation,
      resource,
      target,
      ...(owner === undefined ? {} : { owner }),
      ...(groups === undefined || groups.length === 0 ? {} : { groups }),
    });

  const allMay = async (who: Who, needs: readonly May[]): Promise<Revision | 'latest'> => {
    const user = subjectOf(who);
    const distinct = [...new Map(needs.map((need) => [JSON.stringify(need), need])).values()];
    const questions = [...acting(who), ...distinct.map((need) => ({ user, need }))];
    if (questions.length === 0) return 'latest';
    const ruling = await pdp.check(questions.map(request), 'latest');
    const { decision, index, status } = ruling;
    const { operation, resource, target } = questions[index]!.need;
    note(who, { operation, resource, target, ruling });
    if (!decision.allow) {
      // Whether another tenant has such an id is not the caller's business.
      const reason = decision.reason === 'other-tenant' ? 'unknown-target' : decision.reason;
      throw new Forbidden(reason, decision.rule, `${operation} on ${resource} ${target === ANY ? '(any)' : JSON.stringify(target)} is denied`);
    }
    return status.revision ?? 'latest';
  };

  return {
    async identify(caller) {
      const judgement: Judgement = { operation: '', resource: '', target: '', ruling: null };
      if (caller.kind === 'operator') return { caller, tenant: '', owner: '', judgement };
      const { subject, tenants } = caller;
      const status: CheckStatus = { tenant: '', customer: '', revision: null, hit: true };
      const asked = { subject, operation: 0, resource: 0, target: ANY };
      const decision = await cache.check(asked, status, { atLeast: 'latest', deadline });
      if (decision.reason === 'unknown-subject' || decision.reason === 'subject-disabled')
        throw new Unauthenticated(
          decision.reason,
          `user ${JSON.stringify(subject)} is ${decision.reason === 'unknown-subject' ? 'not known' : 'disabled'} here`,
        );
      if (tenants !== '*' && !tenants.includes(status.tenant))
        throw new Unauthenticated('foreign-tenant', 'whoever vouches for this user does not speak for its tenant');
      const who = { caller, tenant: status.tenant, owner: status.customer === '' ? status.tenant : status.customer, judgement };
      await allMay(who, []);
      return who;
    },

    async require(who, needs) {
      if (needs.length === 0) return;
      const subject = subjectOf(who);
      for (const need of needs) if (need.kind === 'not-acting' || need.kind === 'in-person') assertComing(who.caller, need);
      const atLeast = await allMay(
        who,
        needs.filter((need) => need.kind === 'may'),
      );
      const rest = needs.filter((need) => need.kind !== 'may' && need.kind !== 'not-acting' && need.kind !== 'in-person');
      if (rest.length === 0) return;
      // In one turn, of one state: a refusal, or what is left to be asked one by one.
      const left = await withHeld(cache, { vocabulary, subject, options: { atLeast, deadline } }, (held) => {
        const singly: May[] = [];
        for (const need of rest) {
          const refusal = refusalOf(vocabulary, held, need, singly);
          if (refusal !== null) return refusal;
        }
        return singly;
      });
      if (left === null) throw goneMeanwhile();
      if (left instanceof Forbidden) throw left;
      await allMay(who, left);
    },

    async readable(who, asked) {
      const user = subjectOf(who);
      const rulings: Ruling[] = [];
      // So many at once as one fill has, and fewer than one asker may have waiting.
      for (let from = 0; from < asked.length; from += READ_AT_ONCE)
        rulings.push(
          ...(await Promise.all(
            asked
              .slice(from, from + READ_AT_ONCE)
              .map(async ({ resource, target }) =>
                pdp.check([...acting(who), { user, need: { kind: 'may', operation: 'READ', resource, target } as const }].map(request)),
              ),
          )),
        );
      // Of many, one line of the log: the first that may be read, or that none may.
      const first = Math.max(
        0,
        rulings.findIndex(({ decision }) => decision.allow),
      );
      const ruling = rulings[first];
      if (ruling !== undefined) note(who, { operation: 'READ', ...asked[first]!, ruling });
      return rulings.map(({ decision }) => decision.allow);
    },

    async look(who, at) {
      const seen = await withHeld(cache, { vocabulary, subject: subjectOf(who), options: { deadline } }, (held) => ({ value: at(held) }));
      if (seen === null) throw goneMeanwhile();
      return seen.value;
    },
  };
}

function note({ judgement }: Who, decided: Judgement): void {
  if (judgement !== undefined) Object.assign(judgement, decided);
}

function goneMeanwhile(): Unauthenticated {
  return new Unauthenticated('unknown-subject', 'the caller has been removed or disabled meanwhile');
}

/** Has somebody logged in as another? */
export function isActing(caller: Who['caller']): boolean {
  return caller.kind === 'user' && caller.actor !== caller.subject;
}

/** @throws Forbidden */
function assertComing(caller: Who['caller'], { kind, what }: Coming): void {
  if (kind === 'not-acting' && isActing(caller))
    throw new Forbidden('acting', '5', `${what} is not for whoever has logged in as somebody else: it would last longer than that`);
  if (kind === 'in-person' && caller.kind === 'user' && caller.by === 'key')
    throw new Forbidden('not-a-session', '5', `${what} is for people, and this is an API key: log in`);
}

function refusalOf(vocabulary: Vocabulary, held: Held, need: Exclude<Need, May | Coming>, singly: May[]): Forbidden | null {
  const { tree, scope, effective } = held;
  const inScope = (owner: string): boolean => {
    const node = tree.node(owner);
    return node >= 0 && tree.inChain(scope, node);
  };
  switch (need.kind) {
    case 'covers': {
      const lacking = uncovered(vocabulary, held, need.handed);
      return lacking === null ? null : new Forbidden('not-covered', '5', `${need.what} gives more than you have: ${lackingText(lacking)}`);
    }
    case 'scope':
      return inScope(need.owner) ? null : new Forbidden('out-of-scope', '5', `${JSON.stringify(need.owner)} is not at or below your own owner`);
    case 'tenant-admin':
      return tree.isTenant(scope) ? null : new Forbidden('tenant-admin-only', '5', "only a tenant's own users hand anything to the tenant");
    case 'read-all': {
      const read = vocabulary.operation('READ');
      const resource = vocabulary.resource(need.resource);
      // What rules 2 and 6a would answer for each of them.
      const closed = vocabulary.closedToTenantAdmins[resource] === 1 || (vocabulary.closedToCustomerUsers[resource] === 1 && !tree.isTenant(scope));
      const all = read >= 0 && resource >= 0 && !closed && inScope(need.owner) && (effective.generic[resource]! & (1 << read)) !== 0;
      if (!all) for (const target of need.targets) singly.push({ kind: 'may', operation: 'READ', resource: need.resource, target });
      return null;
    }
    default:
      return need satisfies never;
  }
}

function lackingText(lacking: Uncovered): string {
  if (lacking.lacks === 'scope') return `its users are of ${JSON.stringify(lacking.owner)}, which is not at or below your own owner`;
  const { operations, resource, group } = lacking;
  return `${operations.slice(0, 5).join(', ')}${operations.length > 5 ? ', …' : ''} on ${resource}${group === null ? '' : ` ${JSON.stringify(group)}`}`;
}
