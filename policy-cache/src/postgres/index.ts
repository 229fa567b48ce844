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
export { examine } from './doctor.ts';
export type { DoctorOptions, Finding } from './finding.ts';
