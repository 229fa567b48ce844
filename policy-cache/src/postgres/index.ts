// The Postgres side of the library, name by name.
export { postgresSource } from './source.ts';
export type { PostgresLimits, PostgresSourceOptions } from './source.ts';
export type { TrimObserver, TrimOptions } from './trim.ts';
export type { Certificates } from './dial.ts';
export { barrier } from './barrier.ts';
export type { BarrierOptions, BarrierReplica, BarrierReport, BarrierWait } from './barrier.ts';
export { openPool } from './pool.ts';
export type { Pool, PoolOptions } from './pool.ts';
export { migrate } from './migrate.ts';
export type { MigrationFile, MigrationReport } from './migrate.ts';
export { BATCH_KEYS, importRows } from './import.ts';
export type { ImportCounts, ImportOptions, ImportPhase, ImportResult, RowsRead } from './import.ts';
export type { ImportMode } from './import-write.ts';
export { MOST_PROBLEMS, formatImportProblem } from './import-rows.ts';
export type { ImportPlace, ImportProblem, ImportRow } from './import-rows.ts';
export { exportRows } from './export.ts';
export type { ExportOptions, ExportReport, ExportScope, OutsideReference } from './export.ts';
export type { RowList } from './world-rows.ts';
export { examine } from './doctor.ts';
export type { DoctorOptions, Finding } from './finding.ts';
export { gatherObjects, lowerCased, readRows, readTenants, scanObjects } from './listing.ts';
export type { Candidate, ListOrder, ListPlace, ListSources, Listing } from './listing.ts';
export { NEWEST, auditIdAt, readAuditRows, readOwnersBegun, scanAudit } from './audit.ts';
export type { AuditFilter, AuditRow, AuditScan } from './audit.ts';
export { MOST_READ_BYTES } from './world-rows.ts';
export { Refusal, openWriter, writeAudit } from './writer.ts';
export type { AuditEntry, Statements, Writer, WriterOptions } from './writer.ts';
export { insertKey, readKeys, removeKey } from './keys.ts';
export type { NewKey, StoredKey } from './keys.ts';
export {
  endOldestSessions,
  findSession,
  insertSession,
  readSessions,
  removeEndedSessions,
  removeOtherSessions,
  removeSessions,
  renewSession,
} from './sessions.ts';
export type { HeldSession, NewSession, Renewal, StoredSession } from './sessions.ts';
export {
  findAccount,
  forgetAskedFor,
  isAskedFor,
  isLoginTaken,
  isUntouched,
  noteLogin,
  putActivation,
  putCredential,
  readAccount,
  rehashPassword,
  readActivation,
  readLoginClash,
  removeActivation,
} from './credentials.ts';
export type { Account, NewActivation } from './credentials.ts';
export { countAttempt, forgetNetworks, welcomeUser } from './attempts.ts';
export type { AttemptRules, CountedAttempt, Welcome } from './attempts.ts';
export {
  Oversized,
  addMembers,
  changeOwner,
  insertObjects,
  lockObjects,
  readGrants,
  readHangingGrants,
  readObjects,
  readStray,
  removeMembers,
  removeObjects,
  updateObjects,
} from './writes.ts';
export type { Locks, NewGrant, NewObject, ObjectChange, StoredGrant, StoredObject } from './writes.ts';
