// Users who log in by passwords: one administration over a database of its own for the tests of a file, and every secret that it has told them.

import { openPool } from 'policy-cache/postgres';
import { afterAll, beforeAll, beforeEach, expect } from 'vitest';
import type { Mail } from '../../src/api/local/mailer.ts';
import { hostClock } from '../../src/clock.ts';
import type { CheckReport } from '../../src/report.ts';
import { OPERATOR, localAddition, startTestAdministration, type AdminAnswer, type TestAdministration } from './admin.ts';
import { startPostgres, type TestDatabase, type TestServer } from './postgres.ts';

export interface LocalBody {
  readonly id: string;
  readonly key: string;
  readonly link: string;
  readonly expires: string;
  readonly accessToken: string;
  readonly refreshToken: string;
  readonly session: string;
  readonly items: readonly { readonly id: string; readonly actor?: string }[];
  readonly reason?: string;
  readonly code?: string;
  readonly field?: string;
  readonly detail?: string;
}
export const bodyOf = ({ body }: AdminAnswer): LocalBody => body as LocalBody;
/** Status, and why not, in a few words. */
export function words(answer: AdminAnswer): string {
  const { reason, code, field } = bodyOf(answer);
  return [answer.status, reason ?? code, field].filter((word) => word !== undefined).join(' ');
}
export const secretOf = (link: string): string => link.split('#token=')[1] ?? '';

/** By which a test says from where it asks; left out: nobody knows. */
export const ADDRESS_HEADER = 'X-Real-IP';
export const PASSWORD = 'correct horse battery';

const from = (address: string | undefined): Readonly<Record<string, string>> => (address === undefined ? {} : { [ADDRESS_HEADER]: address });

type Someone = { readonly id: string; readonly email: string } & Pick<LocalBody, 'accessToken' | 'refreshToken' | 'session'>;

export interface TestLocal {
  readonly database: TestDatabase;
  readonly sql: ReturnType<typeof openPool>;
  /** That were computed. */
  hashes: number;
  readonly reports: CheckReport[];
  readonly mails: Mail[];
  readonly failures: unknown[];
  /** Every password and token of these tests. */
  readonly secrets: Set<string>;
  /** Told of each mail; what it throws is what the mail server says. */
  sending: (mail: Mail) => void;
  readonly ask: TestAdministration['ask'];
  /** With success. */
  made(by: string, request: string, body?: object): Promise<LocalBody>;
  login(email: string, password: string, address?: string): Promise<AdminAnswer>;
  refresh(refreshToken: string): Promise<AdminAnswer>;
  activate(link: string, password: string, address?: string): Promise<AdminAnswer>;
  /** So much later that no refresh token of before is taken any more. */
  endLeeway(): Promise<void>;
  /** What becomes of a request with this token. */
  me(token: string): Promise<string>;
  /** A user of the tenant that has set its password. */
  someone(more?: object): Promise<Someone>;
}

/** Tenant `acme`, its administrator `ada` (who logs in otherwise), and its customer `tower`. Called once, where the file begins. */
export function localOfTests(): TestLocal {
  let server: TestServer | undefined;
  let database: TestDatabase | undefined;
  let admin: TestAdministration | undefined;
  let sql: ReturnType<typeof openPool> | undefined;
  let count = 0;
  const local: TestLocal = {
    get database() {
      return database!;
    },
    get sql() {
      return sql!;
    },
    hashes: 0,
    reports: [],
    mails: [],
    failures: [],
    secrets: new Set([PASSWORD]),
    sending: () => undefined,
    async ask(...given) {
      const answer = await admin!.ask(...given);
      const { accessToken, refreshToken, link, key } = (answer.body ?? {}) as Partial<LocalBody>;
      for (const secret of [accessToken, refreshToken, key, link === undefined ? undefined : secretOf(link)])
        if (secret !== undefined) local.secrets.add(secret);
      return answer;
    },
    async made(by, request, body) {
      const answer = await local.ask(by, request, body);
      expect(words(answer), request).toMatch(/^20[01]/);
      return bodyOf(answer);
    },
    login: (email, password, address) => local.ask('nobody', 'POST /v1/auth/login', { email, password }, from(address)),
    refresh: (refreshToken) => local.ask('nobody', 'POST /v1/auth/refresh', { refreshToken }),
    activate(link, password, address) {
      local.secrets.add(password);
      return local.ask('nobody', 'POST /v1/auth/activate', { token: secretOf(link), password }, from(address));
    },
    async endLeeway() {
      await local.sql`update grantgate.session set leeway = clock_timestamp() where leeway > clock_timestamp()`;
    },
    me: async (token) => words(await local.ask(token, 'GET /v1/me')),
    async someone(more = {}) {
      const id = `u${++count}`;
      const email = `${id}@acme.example`;
      await local.made('ada', 'POST /v1/users', { id, email, ...more });
      const { link } = await local.made('ada', `POST /v1/users/${id}/activation`, {});
      const begun = await local.activate(link, PASSWORD);
      expect(words(begun)).toBe('200');
      const { accessToken, refreshToken, session } = bodyOf(begun);
      return { id, email, accessToken, refreshToken, session };
    },
  };

  beforeAll(async () => {
    server = await startPostgres('embedded18');
    database = await server.database();
    let decision = 0;
    admin = await startTestAdministration(database, {
      decisions: { clock: hostClock(), nextId: () => `${++decision}`, report: (check) => void local.reports.push(check) },
      addition: localAddition({
        rate: 1_000_000,
        refreshLeeway: 60_000, // on a machine that does other work; a test ends it by itself
        addressHeader: ADDRESS_HEADER,
        linkUrl: 'https://grantgate.example/v1/auth/set-password',
        computed: () => local.hashes++,
        mailer: {
          async send(mail) {
            local.sending(mail);
            local.mails.push(mail);
          },
        },
        failed: (error) => local.failures.push(error),
      }),
    });
    sql = openPool({ url: database.url, max: 4 });
    await local.made(OPERATOR, 'POST /v1/tenants', { id: 'acme' });
    await local.made(OPERATOR, 'POST /v1/tenants/acme/administrator', { id: 'ada', email: 'ada@acme.example' });
    await local.made('ada', 'POST /v1/customers', { id: 'tower' });
  }, 60_000);
  afterAll(async () => {
    await sql?.end({ timeout: 5 });
    admin?.close();
    await server?.close();
  });
  beforeEach(() => void (local.reports.length = 0));
  return local;
}

/** After all else of a file: in every table, and in what was said. */
export async function assertNothingKept({ sql, secrets, reports, failures, mails }: TestLocal): Promise<void> {
  for (const { link } of mails) secrets.add(secretOf(link));
  expect(secrets.size).toBeGreaterThan(30);
  const tables = await sql`select table_name::text name from information_schema.tables where table_schema = 'grantgate' and table_type = 'BASE TABLE'`;
  let everything = JSON.stringify([reports, failures.map(String)]);
  for (const { name } of tables) {
    const rows = await sql.unsafe(`select t::text r from grantgate.${String(name)} t`);
    everything += rows.map(({ r }) => String(r)).join('\n');
  }
  expect(everything.length).toBeGreaterThan(20_000);
  for (const secret of secrets) expect(everything.includes(secret), secret).toBe(false);
  for (const prefix of ['gs_', 'gr_', 'ga_', 'gg_']) expect(everything).not.toMatch(new RegExp(`${prefix}[\\w-]{20}`));
  // Nor does the audit log have a hash of one.
  const audit = (await sql`select a::text r from grantgate.audit a`).map(({ r }) => String(r)).join('\n');
  expect(audit).not.toMatch(/[0-9a-f]{64}|argon2/);
}
