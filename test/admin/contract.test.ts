// Does the real program answer as its OpenAPI document says, whatever it is asked?
//
// schemathesis makes requests from the document, well formed and not, and holds each answer against it: status, content type, schema,
// headers, no 5xx. `GRANTGATE_CONTRACT` is how many seconds the operator is given; the administrator has twice as many.

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { OPERATOR } from '../support/admin.ts';
import { startPostgres, type TestServer } from '../support/postgres.ts';
import { requirePart } from '../support/require.ts';
import { startSidecar, tokenFor, type ServedSidecar } from '../support/sidecar.ts';

const schemathesis = requirePart('schemathesis');
const seconds = Number(process.env['GRANTGATE_CONTRACT'] ?? 8);
const seed = Number(process.env['GRANTGATE_SEED'] ?? (Date.now() ^ (process.pid << 15)) & 0x7fffffff);
const CHECKS = 'not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance';

let server: TestServer;
let sidecar: ServedSidecar;
let directory: string;
let counted: Counted;
beforeAll(async () => {
  server = await startPostgres('embedded18');
  const database = await server.database();
  const env = { ADMIN_DATABASE_URL: await database.urlAs('grantgate_writer'), GRANTGATE_OPERATOR_SECRETS: OPERATOR };
  // What is asked without a credential is in the document where users log in here.
  const set = { 'identity.local.enabled': 'true', 'identity.local.rate': 1_000_000 };
  sidecar = await startSidecar({ databaseUrl: await database.urlAs('grantgate_reader'), env, set });
  counted = await counting(sidecar.api);
  directory = await mkdtemp(join(tmpdir(), 'grantgate-contract-'));
  for (const [by, path, body] of [
    [OPERATOR, '/v1/tenants', { id: 'acme' }],
    [OPERATOR, '/v1/tenants/acme/administrator', { id: 'ada' }],
    // The id that the document gives as an example.
    [await tokenFor('ada'), '/v1/customers', { id: 'tower' }],
  ] as const) {
    const headers = { authorization: `Bearer ${by}`, 'content-type': 'application/json' };
    const answer = await fetch(`http://127.0.0.1:${sidecar.api}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
    expect(answer.status).toBe(201);
  }
});
afterAll(async () => {
  await counted?.close();
  await sidecar?.stop();
  await server?.close();
  if (directory) await rm(directory, { recursive: true, force: true });
});

interface Report {
  readonly operations: { readonly tested: number };
  readonly test_cases: { readonly generated: number; readonly with_failures: number; readonly errored: number };
}

interface Counted {
  readonly port: number;
  answers: number;
  faults: number;
  close(): Promise<void>;
}

/** The program through a socket that counts status lines, so that the count of 5xx is not the word of whoever made the requests. */
async function counting(port: number): Promise<Counted> {
  const server = createServer((client) => {
    const behind = connect(port, '127.0.0.1');
    client.on('error', () => behind.destroy()).on('close', () => behind.destroy());
    behind.on('error', () => client.destroy()).on('close', () => client.destroy());
    behind.on('data', (bytes: Buffer) => {
      const [, status] = /^HTTP\/1\.1 ([2-5])\d\d /.exec(bytes.toString('latin1', 0, 16)) ?? [];
      if (status !== undefined) counts.answers++;
      if (status === '5') counts.faults++;
    });
    client.pipe(behind).pipe(client);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const counts: Counted = {
    port: (server.address() as AddressInfo).port,
    answers: 0,
    faults: 0,
    close: () => new Promise((resolve) => void server.close(() => resolve())),
  };
  return counts;
}

/** At the edges of the first are bodies of megabytes; by the others whoever asks would soon find and remove itself. */
const APART = '/bulk|/me$|/users/[{]id[}]';
/** What fits into a time, and what is tried of it. */
const CALLERS = [
  // Each operation with the values at the edges of its schema, then random ones, then what one answers given to the next.
  { who: 'tenant administrator', phases: 'coverage,fuzzing,stateful', share: 2, only: ['--exclude-path-regex', APART] },
  { who: 'operator', phases: 'fuzzing,stateful', share: 0.5, only: ['--include-path-regex', '^/v1/(tenants|me)'] },
  { who: 'tenant administrator, the rest', phases: 'fuzzing', share: 0.5, only: ['--include-path-regex', APART] },
] as const;

test.each(CALLERS)('asked by the $who', { timeout: 1_000 * (3 * seconds + 60) }, async ({ who, phases, share, only }) => {
  console.log(`contract: GRANTGATE_SEED=${seed}`);
  const token = who === 'operator' ? OPERATOR : await tokenFor('ada', { lifetime: 86_400 });
  const report = join(directory, `${who}.json`);
  const { code, output } = await run([
    ...['run', `http://127.0.0.1:${counted.port}/v1/openapi.json`, '--header', `Authorization: Bearer ${token}`, ...only],
    ...['--checks', CHECKS, '--phases', phases, '--max-time', String(Math.ceil(share * seconds)), '--seed', String(seed), '--continue-on-failure'],
    ...['--request-timeout', '30', '--warnings', 'off', '--no-color', '--report', 'json', '--report-json-path', report],
  ]);
  expect(code, output).toBe(0);
  const { operations, test_cases: cases } = JSON.parse(await readFile(report, 'utf8')) as Report;
  const { answers, faults } = counted;
  console.log(
    `contract, ${who}: ${cases.generated} cases of ${operations.tested} operations, ${cases.with_failures} not as documented; ${answers} answers so far, ${faults} of them 5xx`,
  );
  expect(cases).toMatchObject({ with_failures: 0, errored: 0 });
  expect(cases.generated).toBeGreaterThan(5);
  const me = await fetch(`http://127.0.0.1:${sidecar.api}/v1/me`, { headers: { authorization: `Bearer ${token}` } });
  if (only[0] !== '--include-path-regex' || only[1] !== APART) expect(me.status, 'whoever asked is still there').toBe(200);
  expect(faults).toBe(0);
});

function run(args: readonly string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) =>
    execFile(schemathesis, args, { cwd: directory, maxBuffer: 64 << 20, env: { ...process.env, COLUMNS: '160' } }, (error, stdout, stderr) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : 1, output: stdout + stderr }),
    ),
  );
}
