// What must the doctor say of a proxy, whichever it is? Nothing of the shipped files; of each hole that is torn into them its name.

import { describe, expect, test } from 'vitest';
import { codes } from '../../../src/proxydoctor/finding.ts';
import { isKind, mendOf } from '../../../src/proxydoctor/mends.ts';
import { examine } from './doctor.ts';
import { spoilBy, type Hole } from './holes.ts';
import type { Kit } from './kit.ts';

const notOverGrpc: readonly string[] = ['body-owed', 'header-injection', 'no-keepalive'];

/** With the doctor in the place of both the sidecar and the application. */
export function describeDoctor(kit: Kit, kind: string, holes: readonly Hole[] = []): void {
  const known = isKind(kind) ? kind : null;
  describe.concurrent(kit.name, () => {
    test('the shipped files: everything is looked at, and nothing is wrong', async () => {
      const { code, report, problems, unknown } = await examine(kit);
      expect({ code, problems, unknown, kind: report.kind }).toEqual({ code: 0, problems: [], unknown: [], kind });
      expect(report.findings.map((finding) => finding.code)).toEqual(
        codes().filter((each) => (each === 'failure-mode-header' ? kind === 'envoy' : !notOverGrpc.includes(each) || kit.protocol !== 'envoy_grpc')),
      );
      expect(report).toMatchObject({ notAsked: [], undecided: [] });
      console.log(`${kit.name} as shipped: ${report.findings.length} checks, ${report.requests} requests, nothing wrong`);
    });

    test.for(holes)('$hole: $codes', async (hole) => {
      const { code, problems, report } = await examine(kit, { spoil: spoilBy(hole) });
      expect(problems).toEqual(hole.codes);
      expect(code).toBe(1);
      for (const finding of report.findings.filter(({ state }) => state === 'problem')) {
        const named = hole.codes.find((each) => each === finding.code);
        expect(finding.why).toMatch(/\w/);
        expect(finding.fix).toBe(named && mendOf(named, known));
        expect(finding.fix, 'in the words of this proxy').not.toBe(named && mendOf(named, null));
      }
    });
  });
}
