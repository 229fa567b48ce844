// 1: what does this program make of an answer that our sidecar never gives? The page's matrix, measured anew.
//
// In the sidecar's place stands a server that answers as the credential tells it to.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startClient, type Client } from '../ask.ts';
import type { Subject } from './checklist.subject.ts';
import type { RunningProxy } from './kit.ts';
import { startStandIn, type StandIn } from './stand-in.ts';

export function matrix({ kit, stack }: Subject, expected: Readonly<Record<number, number>>): void {
  describe('answers of a sidecar that is not ours', () => {
    let standIn: StandIn;
    let proxy: RunningProxy;
    let client: Client;

    beforeAll(async () => {
      standIn = await startStandIn(stack().upstreams.applicationPort);
      standIn.answer = (req, res) => {
        const [, told = ''] = (req.headers.authorization ?? '').split(' ');
        if (told === 'reset') return void req.socket.destroy();
        if (told === 'hang') return;
        const status = Number(told);
        res.writeHead(status, {
          'X-Auth-User': 'admin',
          'WWW-Authenticate': 'Bearer',
          Location: '/login',
          ...(status === 204 || status === 304 ? {} : { 'Content-Length': 0 }),
        });
        res.end();
      };
      proxy = await kit.start(standIn.upstreams);
      client = startClient(proxy.port);
    });
    afterAll(async () => {
      client?.close();
      await proxy?.stop();
      await standIn?.close();
    });
    const ask = async (told: string): Promise<{ status: number; reached: boolean }> => {
      const { application } = stack();
      const before = application.seen.length;
      const { status } = await client.ask({ path: '/api/device/d1', token: told });
      return { status, reached: application.seen.length > before };
    };

    test('the statuses', async () => {
      const got: Record<number, number> = {};
      for (const status of Object.keys(expected).map(Number)) {
        const answer = await ask(String(status));
        expect(answer.reached, `${status} lets it through`).toBe(expected[status] === 200);
        got[status] = answer.status;
      }
      expect(got).toEqual(expected);
      for (const needed of [200, 204, 302, 401, 403, 404, 429, 500, 503]) expect(Object.keys(expected)).toContain(String(needed));
    });
    const silent = [['reset', kit.resets] as const, ...(kit.hangs === null ? [] : [['hang', kit.hangs] as const])];
    test.each(silent)('%s: the application is not reached', { timeout: 60_000 }, async (told, status = kit.statuses.error) => {
      const started = performance.now();
      const answer = await ask(told);
      console.log(`matrix: ${kit.name}: ${told}: ${answer.status} after ${Math.round(performance.now() - started)} ms`);
      expect(answer).toEqual({ status, reached: false });
    });
  });
}
