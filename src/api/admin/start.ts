// What does the administration need of the rest, and how is it put together?

import type { Hono } from 'hono';
import type { CheckOptions, Clock, PolicyCache, Revision, Vocabulary } from 'policy-cache';
import { openWriter, type WriterOptions } from 'policy-cache/postgres';
import type { Pdp } from '../../pdp.ts';
import type { Addition, AdditionParts } from './addition.ts';
import { adminRoutes } from './app.ts';
import { createCaller, type CallerParts } from './caller.ts';
import { createCursors } from './cursor.ts';
import { IMPORT_BOUNDS, type ImportBounds, type ImportWorld } from './imports.ts';
import type { KeyParts } from './keys.ts';
import { createAuthority } from './needs.ts';
import { BOUNDS, type ListBounds } from './page.ts';
import { createPerformer } from './perform.ts';
import type { ReportParts } from './reported.ts';
import type { AdminEnv } from './route.ts';

export interface AdminSettings extends CallerParts {
  /** By a role that may write. */
  readonly database: WriterOptions;
  readonly cache: Pick<PolicyCache, 'check'>;
  readonly pdp: Pdp;
  readonly vocabulary: Vocabulary;
  /** Milliseconds for one question. */
  readonly deadline: number;
  /** Milliseconds until this process must have seen what it wrote. */
  readonly appliedWithin: number;
  /** Of lists; default: BOUNDS (page.ts). */
  readonly bounds?: ListBounds;
  readonly decisions?: ReportParts;
  /** Absent: nothing is imported over the API. */
  readonly importWorld?: ImportWorld;
  readonly clock: Pick<Clock, 'now'>;
  /** Of imports; default: IMPORT_BOUNDS (imports.ts). */
  readonly importBounds?: ImportBounds;
  readonly newId: () => string;
  readonly newKey: KeyParts['newKey'];
  readonly version: string;
  /** Absent: nobody logs in here. */
  readonly addition?: ((parts: AdditionParts) => Addition) | undefined;
  /** What the other workers of this service have, too. */
  readonly secret?: string;
}

export interface Administration {
  readonly routes: Hono<AdminEnv>;
  close(): void;
}

/** After a large one this process begins anew, which takes longer than to follow. */
const IMPORT_APPLIED_MS = 60_000;

export function startAdministration(settings: AdminSettings): Administration {
  const { database, cache, pdp, vocabulary, deadline, appliedWithin, bounds = BOUNDS, decisions, newId, newKey, version } = settings;
  const { importWorld, importBounds = IMPORT_BOUNDS } = settings;
  const writer = openWriter(database);
  const authority = createAuthority({ pdp, cache, vocabulary, deadline });
  const applied = async (atLeast: Revision, within = appliedWithin): Promise<void> => {
    const options: CheckOptions = { atLeast, deadline: within };
    // Decided without any entry, once the world is there.
    await cache.check({ subject: '', operation: -1, resource: -1, target: '' }, undefined, options);
  };
  const cursors = createCursors(secretsOf(settings));
  const performer = createPerformer({ writer, authority, applied });
  const addition = settings.addition?.({ vocabulary, writer, authority, performer, newId });
  const stopping = new AbortController();
  const imports = importWorld && {
    importWorld,
    bounds: importBounds,
    now: () => settings.clock.now(),
    stopping: stopping.signal,
    applied: (revision: Revision) => applied(revision, IMPORT_APPLIED_MS),
  };
  const caller = createCaller(settings);
  return {
    routes: adminRoutes({ vocabulary, writer, authority, performer, caller, cursors, bounds, decisions, imports, addition, newId, newKey, version }),
    close() {
      stopping.abort(new Error('the service stops'));
      writer.close();
    },
  };
}

/**
 * What every process of this installation has, and nobody else: so that a page may be asked of one and the next of another. Where there is no
 * such thing, what the workers of this service share.
 */
function secretsOf({ database, operator, secret }: AdminSettings): readonly string[] {
  const passwords = [database.url]
    .flat()
    .flatMap((url) => /^[^:]+:\/\/[^:@/]*:([^@/]+)@|[?&]password=([^&]+)/.exec(url)?.slice(1) ?? [])
    .filter(Boolean);
  const secrets = [...passwords, ...operator];
  return secrets.length > 0 || secret === undefined ? secrets : [secret];
}
