// How does a command ask the administration? Of a running service over HTTP, as anybody does; or whatever else answers such requests.

import { InputError } from 'policy-cache';
import { isLoopback } from './loopback.ts';

/** What an answer holds. */
export interface AdminAnswer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
  readonly etag: string | null;
  /** Of a change. */
  readonly revision: string | null;
}

/** The service would not: its own words, and what kind of no it is. */
export class AdminRefusal extends Error {
  override readonly name = 'AdminRefusal';
  readonly status: number;
  readonly problem: Readonly<Record<string, unknown>>;
  constructor(status: number, problem: Readonly<Record<string, unknown>>) {
    const said = (...names: readonly string[]): string | undefined => names.map((name) => problem[name]).find((value) => typeof value === 'string');
    const rule = said('rule');
    super(`${said('detail', 'title') ?? 'no words'} (${said('reason', 'code') ?? status}${rule === undefined ? '' : `, rule ${rule}`})`);
    this.status = status;
    this.problem = problem;
  }
}

export interface AdminClient {
  /** Rejects with AdminRefusal, or with InputError where nobody answers. */
  call(method: string, path: string, more?: { readonly body?: unknown; readonly ifMatch?: string }): Promise<AdminAnswer>;
  /** Every item of a list, page by page; `page`: so many at a time, 1,000 when left out. */
  items(path: string, page?: number): AsyncGenerator<Readonly<Record<string, unknown>>>;
  /** Straight on the database every tenant is there; over the API what the token may see. */
  readonly everywhere?: Everywhere;
  /** Of the service, without a slash at the end; absent: there is none. */
  readonly address?: string;
  /** What it was opened for is done. */
  close(): void;
}

export interface Everywhere {
  tenantsOf(ids: readonly string[]): Promise<readonly string[]>;
  /** Lists of this tenant alone. */
  inTenant(tenant: string): Pick<AdminClient, 'items'>;
}

/** Where requests go. */
export interface Transport {
  /** What it is called when its answer is none. */
  readonly name: string;
  /** Rejects where nobody answers. */
  readonly send: (path: string, init: Sending) => Promise<{ readonly response: Response; readonly text: string }>;
}
interface Sending {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

const LIMIT_MS = 60_000;
const PAGE = 1000;

export interface AdminServer {
  readonly server: string;
  /** Null: whoever asks has none yet. */
  readonly token: string | null;
  /** Over http to a host that is not loopback, too. */
  readonly insecureHttp: boolean;
  /** Milliseconds for an answer; default: 60,000. */
  readonly limit?: number;
}

/** Its address, without a slash at the end. @throws InputError if the address or the token is none, or the token would be sent where anybody could take it */
export function addressOf({ server, token, insecureHttp }: AdminServer): string {
  if (!URL.canParse(server) || !/^https?:$/.test(new URL(server).protocol))
    throw new InputError('--server', `must be the address of the api listener, as http://127.0.0.1:9190, got ${JSON.stringify(server)}`);
  const { username, password, protocol, hostname } = new URL(server);
  if (username + password !== '') throw new InputError('--server', 'must have no name and no password in it: say who you are by a token');
  if (protocol === 'http:' && !insecureHttp && !isLoopback(hostname))
    throw new InputError(
      '--server',
      'must be https: over http anybody on the way could take the token or the password. On loopback http is fine, elsewhere with client.insecureHttp: true',
    );
  // Else `fetch` refuses it in a sentence that repeats it.
  if (token !== null && !/^[\x21-\x7e]+$/.test(token))
    throw new InputError('client.token', 'must be one token: printable ASCII characters, no spaces and no line breaks');
  return server.replace(/\/+$/, '');
}

/** @throws InputError as `addressOf` does */
export function createAdminClient(of: AdminServer): Pick<AdminClient, 'call' | 'items'> {
  const base = addressOf(of);
  const { token, limit = LIMIT_MS } = of;
  const send: Transport['send'] = async (path, { headers, ...init }) => {
    try {
      const response = await fetch(base + path, {
        ...init,
        headers: { ...headers, ...(token === null ? {} : { authorization: `Bearer ${token}` }) },
        redirect: 'error', // a token goes to whom it was meant for
        signal: AbortSignal.timeout(limit),
      });
      return { response, text: await response.text() };
    } catch (error) {
      const isLate = error instanceof DOMException && error.name === 'TimeoutError';
      const what = isLate ? `${base} has not answered ${init.method} ${path} within ${limit / 1000} s` : `${base} cannot be reached: ${wordsOf(error)}`;
      // A request that may have got there may have done its work, whatever became of the answer.
      const doubt = init.method !== 'GET' && (isLate || !NEVER_SENT.has(codeOf(error))) ? '; the change may have been made: look before you ask again' : '';
      throw new InputError('client.server', what + doubt);
    }
  };
  return clientOver({ name: base, send });
}

export function clientOver({ name, send }: Transport): Pick<AdminClient, 'call' | 'items'> {
  const client: Pick<AdminClient, 'call' | 'items'> = {
    async call(method, path, { body, ifMatch } = {}) {
      const headers = {
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(ifMatch === undefined ? {} : { 'if-match': ifMatch }),
      };
      const { response, text } = await send(path, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
      const parsed = parseAnswer(text);
      if (!response.ok) throw new AdminRefusal(response.status, parsed ?? { detail: `${name} answered ${response.status} to ${method} ${path}` });
      if (parsed === null)
        throw new InputError('client.server', `${name} answered ${method} ${path} with something that is no JSON object: is it the api listener?`);
      return { status: response.status, body: parsed, etag: response.headers.get('etag'), revision: response.headers.get('x-authz-revision') };
    },
    async *items(path, page = PAGE) {
      const join = path.includes('?') ? '&' : '?';
      for (let cursor: string | null = ''; cursor !== null;) {
        const { body } = await client.call('GET', `${path}${join}limit=${page}${cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`}`);
        yield* body['items'] as readonly Readonly<Record<string, unknown>>[];
        cursor = typeof body['next'] === 'string' ? body['next'] : null;
      }
    },
  };
  return client;
}

/** Null: it is no JSON object. */
export function parseAnswer(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** No connection was made. */
const NEVER_SENT: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT']);

function codeOf(error: unknown): string {
  const cause = causeOf(error);
  return typeof cause === 'object' && cause !== null && 'code' in cause ? String(cause.code) : '';
}

/** `fetch` says "fetch failed", and why only in its cause. */
function causeOf(error: unknown): unknown {
  return error instanceof Error ? (error.cause ?? error) : error;
}

function wordsOf(error: unknown): string {
  const cause = causeOf(error);
  if (cause instanceof AggregateError) return cause.errors.map((each) => (each instanceof Error ? each.message : String(each))).join(', ');
  return cause instanceof Error ? cause.message : String(cause);
}
