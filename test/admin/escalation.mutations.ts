// What is a clause of *covers* taken away, or a place where it is asked?
//
// Both stand between a call and the real decision: needs that are not asked, and covers judged with less.

import { ANY, uncovered, withHeld, type Grant, type HandedGrant, type Held, type PolicyCache, type Vocabulary } from 'policy-cache';
import type { Authority, Need } from '../../src/api/admin/needs.ts';
import { Forbidden } from '../../src/api/admin/refusals.ts';
import { AIDE, type Kind } from '../support/admin-calls.ts';

export interface Mutation {
  readonly without: string;
  /** Kinds of call by which it would show. */
  readonly by: readonly Kind[];
  /** And what they would be about. */
  readonly aims?: readonly string[];
  /** A need that is not asked, among all of the call. */
  readonly drops?: (need: Need, all: readonly Need[]) => boolean;
  /** Whoever has logged in as another is taken for that one alone: by the administration, or at the doors. */
  readonly forgets?: 'administration' | 'doors';
  /** Is it covered, as it would be judged? */
  readonly covers?: (vocabulary: Vocabulary, held: Held, handed: HandedGrant) => boolean;
}

type GroupMasks = Held['effective']['groups'];
type GroupGrant = Extract<Grant, { kind: 'group' }>;
const real = (vocabulary: Vocabulary, held: Held, handed: HandedGrant): boolean => uncovered(vocabulary, held, handed) === null;
const ofGroup =
  (
    judge: (vocabulary: Vocabulary, held: Held, handed: { readonly grant: GroupGrant; readonly userOwner: string }) => boolean,
  ): NonNullable<Mutation['covers']> =>
  (vocabulary, held, { grant, userOwner }) =>
    grant.kind === 'group'
      ? judge(vocabulary, held, { grant, userOwner }) || real(vocabulary, held, { grant, userOwner })
      : real(vocabulary, held, { grant, userOwner });
const ofGeneric =
  (judge: (vocabulary: Vocabulary, held: Held, handed: HandedGrant) => boolean): NonNullable<Mutation['covers']> =>
  (vocabulary, held, handed) =>
    handed.grant.kind === 'generic' ? judge(vocabulary, held, handed) : real(vocabulary, held, handed);
const ownScope = ({ tree, scope }: Held): string => tree.id(scope);
/** Does the call ask for this? */
const asks = (all: readonly Need[], operation: string, resource?: string): boolean =>
  all.some((need) => need.kind === 'may' && need.operation === operation && (resource === undefined || need.resource === resource));
const coverAt =
  (where: (all: readonly Need[]) => boolean): NonNullable<Mutation['drops']> =>
  (need, all) =>
    need.kind === 'covers' && where(all);

/** That a user who is taken over is of the own subtree hides what *covers* says of the others. */
const takesOver: NonNullable<Mutation['drops']> = (need, all) => need.kind === 'scope' && asks(all, 'WRITE', 'USER');

const CLAUSES: readonly Mutation[] = [
  {
    without: 'GENERIC: the scope (and that of whom one takes over)',
    by: ['account'],
    aims: ['reader'],
    drops: takesOver,
    covers: ofGeneric((vocabulary, held, { grant }) => real(vocabulary, held, { grant, userOwner: ownScope(held) })),
  },
  {
    without: 'GENERIC: what the role gives is among what the actor has',
    by: ['grant', 'join'],
    covers: ofGeneric((vocabulary, held, { grant, userOwner }) => real(vocabulary, held, { grant: { ...grant, permissions: {} } as Grant, userOwner })),
  },
  {
    without: 'GROUP: the group is in scope',
    by: ['share', 'grant'],
    aims: ['side-staff', 'side-readers', 'r-all', 'office'],
    covers: ofGroup((vocabulary, held, { grant }) =>
      real(vocabulary, held, { grant: { ...grant, group: null, owner: ownScope(held) }, userOwner: ownScope(held) }),
    ),
  },
  {
    without: 'GROUP: the resource of the members, beside that of their groups',
    by: ['share', 'grant'],
    aims: ['meters', 'r-keep', 'office'],
    covers: ofGroup((vocabulary, { tree, scope, effective }, { grant }) => {
      const mask = effective.generic[vocabulary.groupResourceOfType[vocabulary.type(grant.type)]!]!;
      const given = grant.operations.filter((name) => name !== 'ALL').map((name) => vocabulary.operation(name));
      return !grant.operations.includes('ALL') && given.every((operation) => (mask & (1 << operation)) !== 0) && tree.inChain(scope, tree.node(grant.owner));
    }),
  },
  {
    without: 'GROUP: every operation is among those held over it',
    by: ['share', 'grant'],
    aims: ['meters', 'r-keep', 'office'],
    covers: ofGroup((vocabulary, held, { grant, userOwner }) =>
      vocabulary.operations.some((operation) => real(vocabulary, held, { grant: { ...grant, operations: [operation] }, userOwner })),
    ),
  },
  {
    without: 'GROUP: what is held and sleeps is not held',
    by: ['share'],
    aims: ['side-others', 'r-all', 'office'],
    covers: ofGroup((vocabulary, held, handed) => {
      // In threes: a group, its own mask, and the shared one, which does not sleep.
      const awake = (masks: GroupMasks): GroupMasks => masks.map((mask, i) => (i % 3 === 2 ? mask | masks[i - 1]! : mask));
      const { groups, allGroups } = held.effective;
      const effective = { ...held.effective, groups: awake(groups), allGroups: awake(allGroups) };
      return real(vocabulary, { ...held, group: (id) => held.group(id), effective }, handed);
    }),
  },
  {
    without: 'GROUP: what only an owner may use is not handed back to owners (and the scope of whom one takes over)',
    by: ['account'],
    aims: ['sider'],
    drops: takesOver,
    covers: ofGroup((vocabulary, held, { grant }) => real(vocabulary, held, { grant, userOwner: ownScope(held) })),
  },
];

const PLACES: readonly Mutation[] = [
  { without: 'covers, where a user is put into a group', by: ['join'], drops: coverAt((all) => all.some(({ kind }) => kind === 'read-all')) },
  {
    without: 'covers of a named group, where a user is made',
    by: ['user'],
    drops: (need, all) => need.kind === 'covers' && asks(all, 'CREATE', 'USER') && !/all-users|all:USER/.test(need.what),
  },
  {
    without: 'covers of the All group, where a user is made',
    by: ['user'],
    drops: (need, all) => need.kind === 'covers' && asks(all, 'CREATE', 'USER') && /all-users|all:USER/.test(need.what),
  },
  { without: "covers, where a user's owner is changed", by: ['owner'], drops: coverAt((all) => asks(all, 'CHANGE_OWNER')) },
  { without: 'covers, where a role is edited', by: ['edit'], drops: coverAt((all) => asks(all, 'WRITE', 'ROLE')) },
  { without: "covers, where a user's e-mail or flag is changed", by: ['account'], drops: coverAt((all) => asks(all, 'WRITE', 'USER')) },
  { without: 'covers, where a grant is made', by: ['grant'], drops: coverAt((all) => asks(all, 'CREATE', 'GROUP_PERMISSION')) },
  {
    without: 'covers, where a group is shared',
    by: ['share'],
    drops: (need, all) => need.kind === 'covers' && need.what === 'the grant' && !asks(all, 'CREATE'),
  },
];

/**
 * Of log in as. That the owner of whom one logs in as is in the own subtree has none: IMPERSONATE is in no GROUP role, and without those
 * rule 6a says as much.
 */
const ACTING: readonly Mutation[] = [
  {
    without: 'IMPERSONATE, where somebody logs in as another',
    by: ['user', 'act', 'act'],
    drops: (need) => need.kind === 'may' && need.operation === 'IMPERSONATE',
  },
  {
    without: 'covers, where somebody logs in as another',
    by: ['act'],
    aims: ['chief', 'sub-chief'],
    drops: coverAt((all) => asks(all, 'IMPERSONATE')),
  },
  {
    without: 'what outlives it is not made by whoever has logged in as another',
    by: ['act', 'key'],
    aims: [AIDE],
    drops: (need) => need.kind === 'not-acting',
  },
  { without: 'IMPERSONATE at each request to the administration', by: ['act'], aims: [AIDE], forgets: 'administration' },
  { without: 'IMPERSONATE at each check', by: ['act'], aims: [AIDE], forgets: 'doors' },
  {
    without: "covers, where a user's sessions are ended or a key is made",
    by: ['key'],
    aims: ['chief', 'sub-chief'],
    drops: coverAt((all) => asks(all, 'WRITE', 'USER')),
  },
];

export const MUTATIONS: readonly Mutation[] = [...CLAUSES, ...PLACES, ...ACTING];

/** The real authority, less one thing. */
export function mutated(
  authority: Authority,
  { cache, vocabulary, mutation }: { readonly cache: Pick<PolicyCache, 'check'>; readonly vocabulary: Vocabulary; readonly mutation: () => Mutation },
): Authority {
  return {
    ...authority,
    async require(who, needs) {
      const { drops, covers } = mutation();
      const asked = drops === undefined ? needs : needs.filter((need) => !drops(need, needs));
      if (covers === undefined || who.caller.kind === 'operator') return authority.require(who, asked);
      await authority.require(
        who,
        asked.filter(({ kind }) => kind !== 'covers'),
      );
      const { subject } = who.caller;
      const covered = await withHeld(cache, { vocabulary, subject, options: { atLeast: 'latest', deadline: 5_000 } }, (held) =>
        asked.every((need) => need.kind !== 'covers' || covers(vocabulary, held, need.handed)),
      );
      if (covered !== true) throw new Forbidden('not-covered', '5', `${ANY} is not covered`);
    },
  };
}
