// Are rows read the same however their bytes come, and is what cannot be read told with its place, as far as anybody reads?

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { formatImportProblem, type ImportRow, type RowsRead } from 'policy-cache/postgres';
import { createProgress } from '../../src/progress.ts';
import { worldRows, type WorldInput, type WorldRowsOptions } from '../../src/worldstream.ts';
import { cli } from '../support/cli.ts';
import { vocabulary } from '../support/doors.ts';

const seed = Number(process.env['GRANTGATE_SEED'] ?? Date.now() & 0x7fffffff);
console.log(`worldstream: GRANTGATE_SEED=${seed}`);
const directory = mkdtempSync(join(tmpdir(), 'grantgate-worlds-'));
afterAll(() => rmSync(directory, { recursive: true }));

async function* pieces(...parts: readonly (Uint8Array | string)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield typeof part === 'string' ? Buffer.from(part) : part;
}
async function read(
  inputs: readonly WorldInput[],
  options: Partial<WorldRowsOptions> = {},
): Promise<{ rows: readonly ImportRow[]; said: readonly string[] } & RowsRead> {
  const world = worldRows(inputs, { vocabulary, ...options });
  const rows: ImportRow[] = [];
  for await (const some of world.rows) rows.push(...some);
  return { rows, ...world.read(), said: world.read().problems.map(formatImportProblem) };
}

const LINES = [
  '\ufeff{"kind":"tenants","id":"т","name":"Олена 🙂"}',
  '{"kind":"customers","id":"c","owner":"т","title":"Café","groups":["g"],"details":{"a":[1,null]}}\r',
  '',
  '  {"kind":"users","id":"u","owner":"c","enabled":false,"email":"u@example.org","lastLogin":"2026-11-27T09:30:00Z"}',
  '{"kind":"defaults"}',
  '{"kind":"entities","id":"d","type":"DEVICE","owner":"c","name":"é"}',
  '{"kind":"roles","id":"r","owner":"c","type":"GROUP","permissions":["READ"]}',
  '{"kind":"grants","userGroup":"g","role":"r","entityGroup":"all:DEVICE:c"}',
];
const BYTES = Buffer.from(LINES.join('\n'));

test('lines are the same rows wherever their bytes are cut', async () => {
  const whole = await read([{ file: 'w.ndjson', pieces: pieces(BYTES) }]);
  expect(whole.said).toEqual([]);
  expect(whole.rows.map(({ id, line, path }) => ({ id, line, path }))).toEqual([
    { id: 'т', line: 1, path: 'tenants[0]' },
    { id: 'c', line: 2, path: 'customers[0]' },
    { id: 'u', line: 4, path: 'users[0]' },
    { id: 'd', line: 6, path: 'entities[0]' },
    { id: 'r', line: 7, path: 'roles[0]' },
    { id: 'grant:g>r>all%3ADEVICE%3Ac'.replaceAll('%3A', ':'), line: 8, path: 'grants[0]' },
  ]);
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(fc.integer({ min: 1, max: BYTES.length - 1 }), { maxLength: 20 }), fc.boolean(), async (cuts, named) => {
      const at = [0, ...cuts.toSorted((a, b) => a - b), BYTES.length];
      const parts = at.slice(1).map((end, i) => BYTES.subarray(at[i], end));
      // By its name, or by how it begins.
      const cut = await read([{ file: named ? 'w.ndjson' : 'standard input', pieces: pieces(...parts) }]);
      expect({ ...cut, rows: cut.rows.map((row) => ({ ...row, file: '' })) }).toEqual({
        ...whole,
        rows: whole.rows.map((row) => ({ ...row, file: '' })),
        defaults: new Set([named ? 'w.ndjson' : 'standard input']),
      });
    }),
    { seed, numRuns: 200 },
  );
});

test('a document has the same rows, and leaves out what it leaves out', async () => {
  const text = 'users: [{ id: u, owner: t }]\ntenants:\n  - { id: t }\nroles: [{ id: r, owner: t, type: GENERIC, permissions: {} }]\n';
  const { rows, said } = await read([{ file: 'w.yaml', pieces: pieces(text) }]);
  expect(said).toEqual([]);
  expect(rows).toEqual([
    { file: 'w.yaml', line: 3, path: 'tenants[0]', kind: 'tenant', id: 't' },
    { file: 'w.yaml', line: 1, path: 'users[0]', kind: 'user', id: 'u', owner: 't' },
    { file: 'w.yaml', line: 4, path: 'roles[0]', kind: 'role', id: 'r', owner: 't', type: 'GENERIC', permissions: {} },
  ]);
});

// One by one against all the others it took two minutes.
test('a row of 300,000 groups is read as fast as its length has it', async () => {
  const groups = Array.from({ length: 300_000 }, (_, i) => `g${i}`);
  const { rows, said } = await read([{ file: 'w.ndjson', pieces: pieces(JSON.stringify({ kind: 'users', id: 'u', owner: 't', groups })) }]);
  expect([said, rows.length]).toEqual([[], 1]);
});

describe('what cannot be read', () => {
  test.each<[string, readonly (Uint8Array | string)[], string]>([
    ['half a character', [LINES[0]!, Buffer.from([0xc3])], 'w.ndjson: is not UTF-8'],
    ['a byte of none', ['{"kind":"tenants","id":"', Buffer.from([0xff]), '"}'], 'w.ndjson: is not UTF-8'],
    ['zero bytes', [`${LINES[0]!}\n\0`], 'w.ndjson: is no text: there are zero bytes in it'],
    ['a line without end', ['{"kind":"tenants"}\n', ...Array.from({ length: 11 }, () => 'x'.repeat(1e6))], 'w.ndjson:2: a line is longer than 10 MB'],
    ['no row', ['[]'], 'w.ndjson:1: expected an object with "kind"'],
    ['a row that ends too soon', ['{"kind":"tenants","id":"t"}\n{"kind":"ten'], 'w.ndjson:2: '],
  ])('%s', async (_what, parts, said) => {
    const found = await read([
      { file: 'w.ndjson', pieces: pieces(...parts) },
      { file: 'after.ndjson', pieces: pieces('{"kind":"robots"}') },
    ]);
    expect(found.unreadable).toBe(true);
    expect(found.said.some((line) => line.startsWith(said))).toBe(true);
    expect(found.said.at(-1)).toMatch(/^after\.ndjson:1: kind: expected one of/); // the next file is looked at, too
  });

  test('a line that is longer than is wanted: which one, and what is before it is looked at', async () => {
    const long = `${LINES[0]!}\n{"kind":"robots"}\n{"kind":"tenants","id":"${'x'.repeat(1000)}`;
    const { said } = await read([{ file: 'w.ndjson', pieces: pieces(long) }], { longestLine: 1000 });
    expect(said.map((line) => line.slice(0, 21))).toEqual(['w.ndjson:2: kind: exp', 'w.ndjson:3: a line is']);
  });

  test('a reader that fails in the middle', async () => {
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield Buffer.from(`${LINES[0]!}\n`);
      throw new Error('EIO: i/o error');
    }
    expect(await read([{ file: 'w.ndjson', pieces: failing() }])).toMatchObject({ unreadable: true, said: ['w.ndjson: cannot be read: EIO: i/o error'] });
  });

  test('the first hundred, and how many more', async () => {
    const { problems, omitted } = await read([{ file: 'w.ndjson', pieces: pieces('{"kind":"robots"}\n'.repeat(250)) }]);
    expect({ told: problems.length, omitted, last: problems.at(-1)?.line }).toEqual({ told: 100, omitted: 150, last: 100 });
  });

  test('names that the vocabulary has not are no reason to miss rows, and may be taken', async () => {
    const line = '{"kind":"entities","id":"d","type":"ROBOT","owner":"t"}';
    expect(await read([{ file: 'w.ndjson', pieces: pieces(line) }])).toMatchObject({
      unreadable: false,
      said: ['w.ndjson:1: entities[0].type: "ROBOT" is no type of entity in the vocabulary thingsboard'],
    });
    const tolerant = worldRows([{ file: 'w.ndjson', pieces: pieces(line) }], { vocabulary, unknownNames: true });
    for await (const rows of tolerant.rows) void rows;
    expect(tolerant.read().problems).toEqual([]);
  });
});

describe('the command', () => {
  const env = { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none' };
  test.each([
    [['--mode', 'replace'], '--mode: must be create (new ids only) or upsert'],
    [['--batch-keys', '5'], '--batch-keys: must be 10 to 50000'],
    [['--batch-keys', '60000'], '--batch-keys: must be 10 to 50000'],
    [['--batch-keys', 'many'], '--batch-keys: must be 10 to 50000'],
  ])('refuses %j', async (flags, said) => {
    const { code, stderr } = await cli(['import', 'w.yaml', ...flags], { env, files: { 'w.yaml': 'tenants: []' } });
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(said) as string });
  });

  test('reads no file that everybody may write to, and no directory, and says so of each', async () => {
    const open = join(directory, 'open.ndjson');
    writeFileSync(open, '{"kind":"tenants","id":"t"}\n');
    chmodSync(open, 0o666);
    const { code, stderr } = await cli(['import', open, directory, join(directory, 'nowhere')], { env });
    expect(code).toBe(2);
    expect(stderr).toContain(`${open}: cannot be read: every user of this machine may write to it, and so decide in your place: chmod o-w`);
    expect(stderr).toContain(`${directory}: cannot be read: it is a directory`);
    expect(stderr).toContain('ENOENT');
    expect(stderr).toContain('nothing was imported: 3 problems');
  });
});

describe('progress', () => {
  const shown = (isTTY: boolean, bytes: number | null): string => {
    let text = '';
    let now = 0;
    const progress = createProgress({ terminal: { write: (more: string) => (text += more), isTTY, columns: 100 }, bytes, wall: () => (now += 1_000) });
    progress.read(50e6);
    progress.read(50e6);
    progress.at({ phase: 'checking', rows: 0, of: 1_000_000 });
    progress.at({ phase: 'writing', rows: 250_000, of: 1_000_000 });
    progress.at({ phase: 'writing', rows: 500_000, of: 1_000_000 });
    progress.end();
    progress.end();
    return text;
  };
  test('is whole on a terminal that does not say how wide it is', () => {
    let text = '';
    const progress = createProgress({ terminal: { write: (more: string) => (text += more), isTTY: true, columns: 0 }, bytes: 2e6, wall: () => 0 });
    progress.read(1e6);
    expect(text).toMatch(/1\.0 MB of 2\.0 MB$/);
  });
  test('is one line of a terminal: bytes, rows, and the time left', () => {
    const lines = shown(true, 200e6).split('\r\u001b[K');
    expect(lines).toEqual([
      '',
      'reading  [######..................] 50.0 MB of 200.0 MB',
      'reading  [############............] 100.0 MB of 200.0 MB  1 s left',
      'checking 1,000,000 rows',
      'writing  [######..................] 250,000 of 1,000,000 rows',
      'writing  [############............] 500,000 of 1,000,000 rows  1 s left',
      '',
    ]);
    expect(shown(true, null)).toContain('reading  100.0 MB');
  });
  test('is nothing elsewhere', () => expect(shown(false, 200e6)).toBe(''));
});

test.each(['', ' \n'])('a document with nothing in it (%j) is told as that: the pipe before it may have failed', async (text) => {
  const { said } = await read([{ file: 'standard input', pieces: pieces(text) }]);
  expect(said).toEqual(['standard input: is empty: whatever was to write it did not']);
});

test('standard input is read once', async () => {
  const { code, stderr } = await cli(['import', '-', '-'], {});
  expect(stderr).toContain('-: is standard input, and can be read only once');
  expect(code).toBe(2);
});
