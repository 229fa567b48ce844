import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { createDecisionLog, decisionLine, type LineSink } from '../../src/decisionlog.ts';
import type { CheckReport } from '../../src/report.ts';

const deny: CheckReport = {
  decisionId: 'd-1',
  requestId: 'r-1',
  verdict: 'deny',
  reason: 'no-grant',
  rule: '6e',
  revision: { version: 7, id: '00000000-0000-4000-8000-000000000000' },
  protocol: 'nginx',
  method: 'GET',
  route: '/api/devices/{id}',
  resource: 'DEVICE',
  operation: 'READ',
  target: 'dev',
  subject: 'u',
  tenant: 't',
  cache: 'hit',
  durationMs: 0.0421,
};
const allow: CheckReport = { ...deny, verdict: 'permit', reason: 'generic', rule: '6a' };

/** A sink whose writes end when the test says so. */
function slowSink(): { sink: LineSink; texts: string[]; finish(problem?: Error): void } {
  const texts: string[] = [];
  let pending: ((problem?: Error | null) => void) | undefined;
  return {
    texts,
    sink: {
      write: (text, done) => {
        texts.push(text);
        pending = done;
      },
    },
    finish: (problem) => {
      const done = pending;
      pending = undefined;
      done?.(problem);
    },
  };
}
const open: LineSink['write'] = (_text, done) => done();
const settings = { allowSample: 0, random: () => 0.5, wall: () => 0 };
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

test('a line has the fields of the contract, and only those', () => {
  expect(JSON.parse(decisionLine(deny, Date.UTC(2026, 0, 2)))).toEqual({
    ts: '2026-01-02T00:00:00.000Z',
    decision_id: 'd-1',
    request_id: 'r-1',
    decision: 'deny',
    reason: 'no-grant',
    rule: '6e',
    revision: '7-00000000-0000-4000-8000-000000000000',
    protocol: 'nginx',
    method: 'GET',
    route: '/api/devices/{id}',
    resource: 'DEVICE',
    operation: 'READ',
    target: 'dev',
    subject: 'u',
    tenant: 't',
    cache: 'hit',
    duration_us: 42,
  });
});

test('whoever has logged in as another is told beside whom it is', () => {
  expect(JSON.parse(decisionLine({ ...deny, actor: 'helper' }, 0))).toMatchObject({ subject: 'u', actor: 'helper' });
  expect(decisionLine({ ...deny, actor: '' }, 0)).not.toContain('actor');
});

test('what a client sends cannot break a line or make it long', () => {
  const line = decisionLine({ ...deny, target: 'x\n{"decision":"allow"}', requestId: 'y'.repeat(5000) }, 0);
  expect(line.indexOf('\n')).toBe(line.length - 1);
  expect(line.length).toBeLessThan(1000);
});

test('every refusal is written, allows by the sample', async () => {
  const texts: string[] = [];
  const rolls = [0.1, 0.9, 0.3];
  const log = createDecisionLog({
    ...settings,
    sink: {
      write: (text, done) => {
        texts.push(text);
        done();
      },
    },
    allowSample: 0.25,
    random: () => rolls.shift()!,
  });
  for (const verdict of ['deny', 'unauthenticated', 'unmapped', 'unavailable'] as const) log.report({ ...deny, verdict });
  for (let i = 0; i < 3; i++) log.report({ ...allow, decisionId: `a-${i}` });
  await log.flush(1000);
  const lines = texts
    .join('')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { decision: string; decision_id: string });
  expect(lines.map((line) => line.decision)).toEqual(['deny', 'unauthenticated', 'unmapped', 'unavailable', 'allow']);
  expect(lines[4]!.decision_id).toBe('a-0');
});

test('allowSample 1 writes every allow, 0 none, without rolling', async () => {
  const texts: string[] = [];
  const sink: LineSink = {
    write: (text, done) => {
      texts.push(text);
      done();
    },
  };
  const random = () => {
    throw new Error('rolled');
  };
  createDecisionLog({ ...settings, sink, allowSample: 0, random }).report(allow);
  const all = createDecisionLog({ ...settings, sink, allowSample: 1, random });
  all.report(allow);
  await all.flush(1000);
  expect(texts).toHaveLength(1);
});

test('a stalled reader costs lines, counted, and no memory; order is kept', async () => {
  const { sink, texts, finish } = slowSink();
  const log = createDecisionLog({ ...settings, sink, buffer: 3 });
  log.report({ ...deny, decisionId: 'first' });
  await nextTurn();
  for (let i = 0; i < 10; i++) log.report({ ...deny, decisionId: `later-${i}` });
  expect(log.dropped).toBe(7);
  finish();
  const flushed = log.flush(1000);
  finish();
  await flushed;
  expect(
    texts
      .join('')
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { decision_id: string }).decision_id),
  ).toEqual(['first', 'later-0', 'later-1', 'later-2']);
});

test('a sink that fails loses its lines, counted, and the next ones go on', async () => {
  const { sink, texts, finish } = slowSink();
  const log = createDecisionLog({ ...settings, sink });
  log.report(deny);
  await nextTurn();
  finish(new Error('EPIPE'));
  expect(log.dropped).toBe(1);
  log.report(deny);
  await nextTurn();
  expect(texts).toHaveLength(2);
});

test('a flush waits for the write under way, and for no longer than told', async () => {
  const { sink, finish } = slowSink();
  const log = createDecisionLog({ ...settings, sink });
  log.report(deny);
  const order: string[] = [];
  const flushed = log.flush(10_000).then(() => order.push('flushed'));
  await nextTurn();
  order.push('finish');
  finish();
  await flushed;
  expect(order).toEqual(['finish', 'flushed']);

  log.report(deny);
  await log.flush(10); // nobody finishes it
  await createDecisionLog({ ...settings, sink: { write: open } }).flush(10_000);
});

test('a real pipe that nobody reads blocks neither the event loop nor the shutdown', async () => {
  const reader = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)'], { stdio: ['pipe', 'ignore', 'ignore'] });
  reader.stdin.on('error', () => {}); // what is left when the reader is killed
  try {
    const log = createDecisionLog({ ...settings, sink: reader.stdin, buffer: 100 });
    let written = 0;
    for (let turn = 0; turn < 20; turn++) {
      for (let i = 0; i < 500; i++, written++) log.report(deny); // 3 MB in all, a pipe takes some 200 KB
      await nextTurn();
    }
    await log.flush(50);
    expect(log.dropped).toBeGreaterThan(0);
    expect(written - log.dropped).toBeLessThan(2500);
    expect(reader.stdin.writableLength).toBeLessThan(200 * 400);
  } finally {
    reader.kill('SIGKILL');
    await once(reader, 'exit');
  }
});
