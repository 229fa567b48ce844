// The public API of the core, name by name. (`policy-cache/memory` and `policy-cache/postgres` are the two sources.)
export { PolicyError, InputError } from './errors.ts';
export type { PolicyErrorCode } from './errors.ts';
export { ANY, NONE, parseId, parseRevision, formatRevision, parseAllGroup, formatAllGroup, utf8Length } from './model.ts';
export type { AccessRequest, Decision, Reason, Rule, Placement, Grant, Permissions, Revision } from './model.ts';
export { compileVocabulary, ALL } from './vocabulary.ts';
export type { Vocabulary } from './vocabulary.ts';
export { OwnerTree } from './tree.ts';
export { flatten } from './flatten.ts';
export type { Numbers } from './flatten.ts';
export type { EffectivePermissions } from './effective.ts';
export { uncovered } from './covers.ts';
export type { HandedGrant, Held, Uncovered } from './covers.ts';
export { withHeld } from './held.ts';
export { decide, decideSubject, virtualGroup, DECISIONS } from './decide.ts';
export type { Facts } from './decide.ts';
export { CUT_OFF, parseWorldFile, parseWorldOrigin, expandDefaults } from './worldfile.ts';
export type { WorldCustomer, WorldEntity, WorldFile, WorldGrant, WorldOrigin, WorldRole, WorldUser } from './worldfile.ts';
export { parseWorldRow } from './worldrows.ts';
export type { GivenRows, Problem, WorldCheck, WorldGroup, WorldList, WorldTenant } from './worldrows.ts';
export { grantId, isReserved, predefinedIds, predefinedOf } from './predefined.ts';
export { vocabularyProblems, rowNameProblems, roleProblems } from './worldnames.ts';
export type { ListedRow } from './worldnames.ts';
export { compileRows, compileWorld, requestOf, worldProblems } from './compile.ts';
export type { CompiledWorld, WorldRows } from './compile.ts';
export { PolicyCache } from './cache.ts';
export type { KeyHolder } from './keys.ts';
export type { CacheSettings, CacheLimits, CacheState, CacheSizes, CheckOptions, CheckStatus, HotIds } from './options.ts';
export { newStats } from './observer.ts';
export type { CacheObserver, CacheStats, PullCause, ResetCause, Work } from './observer.ts';
export type {
  Attachment,
  Change,
  ClassKey,
  ClassesReply,
  Clock,
  FollowerReport,
  KeyRow,
  KeysReply,
  ObjectKind,
  ObjectRow,
  ObjectsReply,
  PullReply,
  PullRequest,
  Source,
  Store,
  TreeRow,
} from './source.ts';
