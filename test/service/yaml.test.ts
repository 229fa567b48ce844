// What do files do that are made to harm whoever reads them? Nothing, and the problem names the file.

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { loadConfig, type ConfigError } from '../../src/config.ts';
import { loadPolicy } from '../../src/policy.ts';
import { SHIPPED, shippedContent } from '../../src/yaml.ts';
import { nameProblems, readWorlds } from '../../src/worldfiles.ts';
import { cli } from '../support/cli.ts';
import { vocabulary } from '../support/doors.ts';

/** Lists of lists, each of nine aliases of the one before: 9⁹ strings, if somebody wrote them out. */
function bomb(fields: readonly string[]): string {
  return fields.map((field, i) => `${field}: &level${i} [${Array.from({ length: 9 }, () => (i === 0 ? 'x' : `*level${i - 1}`)).join(', ')}]`).join('\n');
}
const FIELDS = Array.from({ length: 9 }, (_, i) => `field${i}`);
const VOCABULARY = 'operations: [READ]\nresources: [USER]';

function said(work: () => unknown): string {
  try {
    work();
    return 'it was taken';
  } catch (error) {
    return (error as Error).message;
  }
}

describe('aliases that multiply', () => {
  test('in a route table', () => {
    const readFile = (path: string): string => (path === 'routes.yaml' ? bomb(FIELDS) : VOCABULARY);
    expect(said(() => loadPolicy({ routes: 'routes.yaml', readFile }))).toMatch(/^routes\.yaml: .*alias/);
  });
  test('in a vocabulary', () => {
    expect(said(() => loadPolicy({ vocabulary: 'words.yaml', readFile: () => bomb(FIELDS) }))).toMatch(/^words\.yaml: .*alias/);
  });
  test('in a configuration', () => {
    const text = `cache:\n${bomb(['  subjects', '  targets', '  absent', '  classes', '  touched', '  tokens'])}`;
    let problems: readonly string[] = [];
    try {
      loadConfig({ env: {}, file: 'grantgate.yaml', readFile: () => text });
    } catch (error) {
      ({ problems } = error as ConfigError);
    }
    expect(problems.join('\n')).toMatch(/cache\.tokens \(grantgate\.yaml:7\): .*alias/);
  });
  test('in a world', () => {
    const { worlds, problems } = readWorlds([{ file: 'world.yaml', text: bomb(FIELDS) }]);
    expect(worlds).toEqual([]);
    expect(problems.map(({ file, message }) => `${file}: ${message}`)).toEqual([expect.stringMatching(/^world\.yaml: .*alias/)]);
  });
});

test.each([
  ['with a bad escape', '"\\q"'],
  ['of one quotation mark', '"'],
  ['of very many', '"'.repeat(20_000)],
  ['that looks like a path', 'a.b[0]'],
  ['__proto__', '__proto__'],
])('a resource of a name %s is one more problem, with its line', (_, name) => {
  const role = { id: 'r', owner: 't', type: 'GENERIC', permissions: { [name]: ['READ'] } };
  const text = `tenants: [{ id: t }]\nroles:\n  - ${JSON.stringify(role)}\n`;
  const { worlds, problems } = readWorlds([{ file: 'world.yaml', text }]);
  expect(problems).toEqual([]);
  expect(nameProblems(vocabulary, worlds).map(({ line, path, message }) => ({ line, path, message: message.slice(0, 20) }))).toEqual([
    { line: 3, path: 'roles[0]', message: 'there is no resource' },
  ]);
});

describe('a file that is no world', () => {
  const spoken = (file: string, text: string): string[] => readWorlds([{ file, text }]).problems.map(({ message }) => message);
  test('of zero bytes among others is one problem', () => {
    expect(spoken('key.yaml', '\0\0ELF: [\n'.repeat(1000))).toEqual(['is no text: there are zero bytes in it']);
  });
  test('of more than the parser has memory for is told how to be smaller', () => {
    expect(spoken('large.yaml', `tenants:\n${'  - { id: t }\n'.repeat(1e6)}`)).toEqual([
      'is too large for one document (10 MB); write it as NDJSON, a row a line: {"kind":"users","id":…}',
    ]);
  });
  test('is quoted by a line, without what moves a terminal’s cursor', () => {
    const noise = `"\u001b[2J\u009b2J\u202e": %${'\u001bx'.repeat(100_000)}\n`;
    const said = [...spoken('noise.yaml', `a: b: c\n${noise}`), ...spoken('noise.ndjson', noise), ...spoken('kind.ndjson', JSON.stringify({ kind: noise }))];
    expect(said.length).toBeGreaterThanOrEqual(3);
    for (const message of said) {
      expect(message.length).toBeLessThan(400);
      expect(message).not.toMatch(/\p{C}/u);
    }
  });
  test('with a problem a line is told of up to a hundred, and counted', async () => {
    // More than the arguments that a function may have.
    const files = { 'rows.ndjson': '{"users":[]}\n'.repeat(300_000), 'users.ndjson': '{"kind":"users","id":"u","owner":"nobody"}\n'.repeat(150_000) };
    const { code, stdout, stderr } = await cli(['check', '--world', 'rows.ndjson', 'users.ndjson'], { files });
    expect({ code, stdout }).toEqual({ code: 2, stdout: expect.stringMatching(/^0 checks, 0 failed, not all were run: [3-9]\d{5} problems\n$/) as string });
    expect(stderr.split('\n')).toHaveLength(102);
    expect(stderr).toMatch(/^rows\.ndjson:1: kind: expected one of[\s\S]*\n… and \d+ more\n$/);
  }, 60_000);
});

describe('what is kept of the shipped files', () => {
  const readFile = (path: string): string => readFileSync(path, 'utf8');
  const files = ['thingsboard.yaml', 'thingsboard-routes.yaml'].map((name) => join(dirname(SHIPPED), name));

  test.each(files)('is what the parser says of %s', (path) => {
    expect(shippedContent(readFile(path), readFile)).toEqual(parse(readFile(path)));
  });

  test('is not believed of a file that was changed: it is parsed', () => {
    const changed = readFile(files[1]!).replace('path: /api/2fa/settings', 'path: /api/2fa/other');
    expect(shippedContent(changed, readFile)).toBeUndefined();
    const { routes } = loadPolicy({ readFile: (path) => (path === files[1] ? changed : readFile(path)) });
    expect(routes.rows.map(({ path }) => path)).toContain('/api/2fa/other');
  });

  test('may be lost, or be no JSON', () => {
    for (const kept of [null, 'not JSON', '[]']) {
      const without = (path: string): string => {
        if (path !== SHIPPED) return readFile(path);
        if (kept === null) throw new Error('ENOENT');
        return kept;
      };
      expect(loadPolicy({ readFile: without }).version).toBe(loadPolicy({ readFile }).version);
    }
  });
});
