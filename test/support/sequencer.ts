// Which test file runs first? The longest, so that no worker is left alone with one at the end. Vitest knows them from the run before;
// in a fresh clone there was none, so those that take ten seconds and more are named here.

import { BaseSequencer, type TestSpecification } from 'vitest/node';

export const LONGEST = [
  'test/postgres/barrier.test.ts',
  'test/postgres/import.living.test.ts',
  'test/postgres/failover.test.ts',
  'test/service/demo.test.ts',
  'test/postgres/hazards.size.test.ts',
  'test/tooling/container.test.ts',
  'test/postgres/deposed.test.ts',
  'test/postgres/doctor.test.ts',
  'test/postgres/export.test.ts',
  'policy-cache/test/coherence.mutation.test.ts',
  'test/admin/contract.test.ts',
  'test/postgres/embedded.test.ts',
  'policy-cache/test/source.postgres.test.ts',
  'policy-cache/test/coherence.model.test.ts',
  'test/service/workers.test.ts',
  'test/admin/escalation.test.ts',
  'test/service/readme.test.ts',
  'test/tooling/check.test.ts',
  'test/proxies/nginx.oidc.test.ts',
  'test/postgres/hazards.test.ts',
  'test/postgres/import.test.ts',
  'test/proxies/nginx.restart.test.ts',
  'test/postgres/migrate.test.ts',
  'test/postgres/session.test.ts',
  'test/admin/bulk.size.test.ts',
  'test/admin/set-password.test.ts',
  'test/proxies/traefik.special.test.ts',
];

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const group = ({ project }: TestSpecification): number => project.config.sequence.groupOrder;
    const place = ({ moduleId }: TestSpecification): number => {
      const found = LONGEST.findIndex((path) => moduleId.endsWith(`/${path}`));
      return found === -1 ? LONGEST.length : found;
    };
    return (await super.sort(files)).toSorted((a, b) => group(a) - group(b) || place(a) - place(b));
  }
}
