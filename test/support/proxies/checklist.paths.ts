// 6, 7: can a request target mean one thing to the proxy, another to the sidecar and a third to the application?
//
// Every target of the corpus is sent raw. What reaches the application must be what was decided on: its own target, read by the
// route table, is the row and the id that the sidecar's log names; and where the proxy chose an area of its own, it lies there.

import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { loadPolicy } from '../../../src/policy.ts';
import { matchRoute } from '../../../src/routes.ts';
import { NASTY_TARGETS, NEW_LINES } from '../../corpus/targets.ts';
import type { DecisionLine } from '../sidecar.ts';
import { newRequestId, untilDecided, type Subject, type User } from './checklist.subject.ts';
import { tell, wireRequest } from './wire.ts';

const { routes } = loadPolicy({ readFile: (path) => readFileSync(path, 'utf8') });

/** Ways from one area into another, and spellings that a matcher of paths may take for an area. */
// prettier-ignore
const AREAS: readonly string[] = ['/fleet', '/fleet/', '/fleet/x', '/FLEET/x', '/Fleet/x', '/%66leet/x', '/fleet%2fx', '/fleet;/x', '/fleet;x=1/x', '//fleet/x', '/./fleet/x', '/x/../fleet/x', '/x/%2e%2e/fleet/x', '/fleet/../estate/x', '/fleet/%2e%2e/estate/x', '/fleet/..%2festate/x', '/fleet/..;/estate/x', '/fleet/../api/device/d1', '/fleet/%2e%2e/api/device/d1', '/fleet\\x', '/fleet/x#/../../estate', '/fleet/x?/../estate', '/fleetx', '/fleet.json', '/estate/x', '/estate/../fleet/x', '/api/../fleet/x', '/api/device/d1/../../../fleet/x', '/api/device/..%2f..%2f..%2ffleet/x', '/api/noauth/../../fleet/x'];
const TARGETS = [...NASTY_TARGETS, ...AREAS];

interface Passed {
  readonly sent: string;
  readonly got: string;
  readonly line: DecisionLine & { readonly target: string; readonly route: string };
}

export function paths({ kit, stack, token }: Subject): void {
  const run = async (user: User): Promise<{ passed: readonly Passed[]; byProxy: number; refused: number }> => {
    const { application, proxy, sidecar } = stack();
    const passed: Passed[] = [];
    let byProxy = 0;
    let refused = 0;
    for (const sent of TARGETS) {
      const before = application.seen.length;
      let id = '';
      // A check that a busy machine answers too late is decided by nobody, and asked again.
      const status = await untilDecided(kit, async () => {
        const lines = [['X-Request-Id', (id = newRequestId())] as const, ['Authorization', `Bearer ${token(user)}`] as const];
        return (await tell(proxy.port, wireRequest(`GET ${sent}`, lines))).status;
      });
      const got = application.seen.slice(before);
      // 200 is the application's alone, and it got one request for it. (`OPTIONS *` is none of these.)
      expect({ sent, reached: got.length }).toEqual({ sent, reached: status === 200 ? 1 : 0 });
      if (status === 200) passed.push({ sent, got: got[0]!.url, line: (await sidecar.line(id)) as Passed['line'] });
      else if (status === 403) refused++;
      else byProxy++;
      if (status !== 200)
        expect([0, 301, 302, 307, 308, 400, 401, 403, 404, 414, 426, 431, kit.statuses.error], `${JSON.stringify(sent)}: ${status}`).toContain(status);
    }
    return { passed, byProxy, refused };
  };

  /** Read anew by the table, the application's target gives what was decided on. */
  const agrees = ({ got, line }: Passed): boolean => {
    if (line.route === 'DEVICE/READ' || line.route === 'ASSET/READ') {
      const area = line.route === 'DEVICE/READ' ? '/fleet/' : '/estate/';
      if (line.target === '*') return got.startsWith(area) || got === area.slice(0, -1);
      return /^\/api\/devices\/([A-Za-z0-9_:-]+)(?:[/?]|$)/.exec(got)?.[1] === line.target;
    }
    const row = matchRoute(routes, { method: 'GET', target: got });
    if (row.kind === 'unmapped' || row.route !== line.route) return false;
    return row.public || row.authenticated || row.checks.some(({ target }) => target === line.target);
  };

  describe('the corpus of targets', () => {
    let all: Awaited<ReturnType<typeof run>>;
    beforeAll(async () => void (all = await run('admin')), 120_000);

    test('one who may do everything: denied, or all three agree', () => {
      const { passed, byProxy, refused } = all;
      const same = passed.filter(({ sent, got }) => sent === got).length;
      console.log(
        `paths: ${kit.name}: ${TARGETS.length} targets: ${passed.length} allowed (${same} as they were sent, ${passed.length - same} in the form that the proxy gives them), ${refused} refused by the sidecar, ${byProxy} by the proxy`,
      );
      expect(passed.filter((each) => !agrees(each))).toEqual([]);
      expect(passed.map(({ got }) => got)).toEqual(expect.arrayContaining(['/api/device/d1', '/api/device/info/d1?x']));
      if (kit.verbatim)
        for (const { sent, got } of passed) {
          expect(got).toBe(sent.trim().replace(/^https?:\/\/[^/]*/i, ''));
          expect(got.split('?')[0]).toMatch(/^(\/[A-Za-z0-9._~:@!$&'()*+,=-]+)+\/?$/);
        }
      for (const { got } of passed) expect(got.split('?')[0], got).not.toMatch(/\/\.{1,2}(\/|$)|%2e|%2f|%5c|\\|;|#|%00|%25/i);
    });
    test('what a proxy has to itself is never passed on', () => {
      for (const { got } of all.passed) expect(got).not.toMatch(/^\/(auth\/|livez|readyz|metrics)/);
    });
    test('one who may do nothing gets what is public', { timeout: 120_000 }, async () => {
      const { passed } = await run('nobody');
      expect(passed.filter(({ line }) => line.reason !== 'public')).toEqual([]);
    });
    if (!kit.constants) return;
    test('one area is not the way into another', { timeout: 120_000 }, async () => {
      const { passed } = await run('driver'); // reads devices, and no asset
      expect(passed.filter((each) => !agrees(each))).toEqual([]);
      expect(passed.filter(({ got }) => got.startsWith('/estate'))).toEqual([]);
    });
  });

  describe('a new line in the target', () => {
    test.each(NEW_LINES)('%s', async (target) => {
      const { application, proxy } = stack();
      const before = application.seen.length;
      const { status } = await tell(proxy.port, wireRequest(`GET ${target}`, [['Authorization', `Bearer ${token('clerk')}`]]));
      expect([400, 403, 404]).toContain(status);
      expect(application.seen.length).toBe(before);
    });
  });
}
