// Can each import rule fail? One violation of each is planted in a tree of its own; the real tree is the business of `npm run check`.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import config from '../../.dependency-cruiser.mjs';
import { cruiseImports } from '../support/imports.mjs';

type Tree = Readonly<Record<string, string>>;

const from = (path: string): string => `import { x } from '${path}';\nexport const y = x;\n`;
const CORE = 'policy-cache/src';
const npmPackage = (name: string): Tree => ({
  [`node_modules/${name}/package.json`]: JSON.stringify({ name, version: '1.0.0', main: 'index.js' }),
  [`node_modules/${name}/index.js`]: 'module.exports = { x: 1 };\n',
});

/** By the rule that has to find it. */
const planted: Readonly<Record<string, Tree>> = {
  'no-cycle': { 'src/a.ts': "import type { B } from './b.ts';\nexport type A = B;\n", 'src/b.ts': "import type { A } from './a.ts';\nexport type B = A;\n" },
  'no-unknown': { 'src/a.ts': from('./nowhere.ts') },
  'no-test-in-product': { 'src/a.ts': from('../test/b.ts'), 'test/b.ts': '' },
  'no-tool-in-product': { 'src/a.ts': from('vitest'), ...npmPackage('vitest') },
  declared: { 'src/a.ts': from('left-pad'), ...npmPackage('left-pad') },
  'core-errors': { [`${CORE}/errors.ts`]: from('./model.ts'), [`${CORE}/model.ts`]: '' },
  'core-model': { [`${CORE}/model.ts`]: "export type { X } from './vocabulary.ts';\n", [`${CORE}/vocabulary.ts`]: '' },
  'core-vocabulary': { [`${CORE}/source.ts`]: from('./tree.ts'), [`${CORE}/tree.ts`]: '' },
  'core-tree': { [`${CORE}/effective.ts`]: from('./decide.ts'), [`${CORE}/decide.ts`]: '' },
  'core-flatten': { [`${CORE}/decide.ts`]: from('./explain.ts'), [`${CORE}/explain.ts`]: '' },
  'core-covers': { [`${CORE}/covers.ts`]: from('./world.ts'), [`${CORE}/world.ts`]: '' },
  'core-explain': { [`${CORE}/world.ts`]: from('./follower.ts'), [`${CORE}/follower.ts`]: '' },
  'core-flights': { [`${CORE}/follower.ts`]: from('./cache.ts'), [`${CORE}/cache.ts`]: '' },
  'core-cache': { [`${CORE}/cache.ts`]: from('./held.ts'), [`${CORE}/held.ts`]: '' },
  'core-place': { [`${CORE}/newcomer.ts`]: from('./model.ts'), [`${CORE}/model.ts`]: '' },
  'core-pure': { [`${CORE}/tree.ts`]: from('node:fs') },
  'core-packages': { [`${CORE}/cache.ts`]: from('yaml'), ...npmPackage('yaml') },
  'core-no-postgres': { [`${CORE}/cache.ts`]: from('./postgres/link.ts'), [`${CORE}/postgres/link.ts`]: '' },
  'memory-no-cache': { [`${CORE}/memory.ts`]: from('./cache.ts'), [`${CORE}/cache.ts`]: '' },
  'cache-no-memory': { [`${CORE}/cache.ts`]: from('./memory.ts'), [`${CORE}/memory.ts`]: '' },
  'no-own-index': { [`${CORE}/memory.ts`]: from('./index.ts'), [`${CORE}/index.ts`]: '' },
  'postgres-core': { [`${CORE}/postgres/fills.ts`]: from('../cache.ts'), [`${CORE}/cache.ts`]: '' },
  'postgres-host': { [`${CORE}/postgres/fills.ts`]: from('node:child_process') },
  'postgres-packages': { [`${CORE}/postgres/fills.ts`]: from('yaml'), ...npmPackage('yaml') },
  'library-alone': { [`${CORE}/tree.ts`]: from('../../src/pdp.ts'), 'src/pdp.ts': '' },
  'by-name': { 'src/pdp.ts': "import type { X } from '../policy-cache/src/index.ts';\nexport type Y = X;\n", [`${CORE}/index.ts`]: '' },
  'by-name-tests': { 'test/service/x.test.ts': "import type { X } from '../../policy-cache/src/index.ts';\nexport type Y = X;\n", [`${CORE}/index.ts`]: '' },
  doors: { 'src/doors/http.ts': from('../config.ts'), 'src/config.ts': '' },
  'doors-host': { 'src/doors/http.ts': from('node:fs') },
  'doors-net': { 'src/doors/http.ts': from('node:net') },
  h2: { 'src/doors/h2/frames.ts': from('../grpc.ts'), 'src/doors/grpc.ts': '' },
  'doors-packages': { 'src/doors/http.ts': from('hono'), ...npmPackage('hono') },
  api: { 'src/api/app.ts': from('../doors/http.ts'), 'src/doors/http.ts': '' },
  'api-reads': { 'src/api/app.ts': from('../../policy-cache/src/postgres/writer.ts'), [`${CORE}/postgres/writer.ts`]: '' },
  'one-pipeline': { 'src/authorize.ts': from('@hono/node-server'), ...npmPackage('@hono/node-server') },
  'one-wirer': { 'src/pdp.ts': from('./api/app.ts'), 'src/api/app.ts': '' },
  'proxy-doctor': { 'src/proxydoctor/examine.ts': from('../pdp.ts'), 'src/pdp.ts': '' },
  'proxy-doctor-alone': { 'src/service.ts': from('./proxydoctor/examine.ts'), 'src/proxydoctor/examine.ts': '' },
  direct: { 'src/service.ts': from('./api/admin/direct.ts'), 'src/api/admin/direct.ts': '' },
  'direct-command': { 'src/service.ts': from('./commands/direct.ts'), 'src/commands/direct.ts': '' },
  'traces-apart': { 'src/telemetry.ts': from('@opentelemetry/sdk-node'), ...npmPackage('@opentelemetry/sdk-node') },
  'traces-late': { 'src/service.ts': from('./traces.ts'), 'src/traces.ts': '' },
  'mail-apart': { 'src/api/local/forgotten.ts': from('nodemailer'), ...npmPackage('nodemailer') },
  'mail-late': { 'src/api/local/start.ts': from('./mail.ts'), 'src/api/local/mail.ts': '' },
  'telemetry-packages': { 'src/authorize.ts': from('@opentelemetry/api'), ...npmPackage('@opentelemetry/api') },
  'top-down': { 'src/config.ts': from('./commands/serve.ts'), 'src/commands/serve.ts': '' },
  'black-box': { 'loadtest/run.ts': from('../src/pdp.ts'), 'src/pdp.ts': '' },
};

let root = '';
beforeEach(() => (root = mkdtempSync(join(tmpdir(), 'grantgate-imports-'))));
afterEach(() => rmSync(root, { recursive: true }));

test.each(config.forbidden.map(({ name }) => name))('%s finds a planted violation', async (name) => {
  plant({
    'package.json': JSON.stringify({ dependencies: { yaml: '1', hono: '1', '@hono/node-server': '1' }, devDependencies: { vitest: '1' } }),
    ...planted[name],
  });
  const { violations, unread } = await cruiseImports(root);
  expect(violations.map((violation) => violation.split(':')[0])).toContain(name);
  expect(unread).toEqual([]);
});

test('imports that the architecture allows are no violations', async () => {
  plant({
    'src/doors/http.ts': from('../authorize.ts') + "export type { IncomingMessage } from 'node:http';\n",
    'src/authorize.ts': 'export const x = 1;\n',
    [`${CORE}/cache.ts`]: from('./decide.ts'),
    [`${CORE}/decide.ts`]: "export type { X } from './model.ts';\n",
    [`${CORE}/model.ts`]: 'export type X = 1;\n',
  });
  expect(await cruiseImports(root)).toMatchObject({ violations: [], unread: [], dependencies: 4 });
});

function plant(tree: Tree): void {
  for (const [path, content] of Object.entries(tree)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
}
