// How does a JSON document of an issuer get here, when whoever answers may be slow, endless or somebody else?
//
// One address from the configuration, over https (plain http on loopback, or where a setting says so), no redirect, a bounded time
// and size (proxies 3.4). node:http(s), because `fetch` follows redirects by default and gives no bound on a body.

import { request as plain } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { request as secure } from 'node:https';
import { isLoopback } from '../loopback.ts';

const MAX_BYTES = 512 * 1024;

export interface DownloadLimits {
  readonly insecureHttp: boolean;
  /** Milliseconds for all of it. */
  readonly timeout: number;
  readonly signal: AbortSignal;
}

/** What keeps keys from being fetched from an address; null if nothing does. */
export function urlProblem(text: string, insecureHttp: boolean): string | null {
  if (!URL.canParse(text)) return 'must be a URL, as https://login.example';
  const { protocol, hostname, username, password, hash } = new URL(text);
  if (username !== '' || password !== '' || hash !== '') return 'must have no user, password or fragment';
  if (protocol === 'https:') return null;
  if (protocol !== 'http:') return 'must be a URL of https';
  if (insecureHttp || isLoopback(hostname)) return null;
  return 'must be https: over http anybody on the way could put keys of his own in. On loopback http is fine, elsewhere with insecureHttp: true';
}

/** @throws Error that says in words what was wrong; none of it comes from the body */
export async function download(url: string, { insecureHttp, timeout, signal }: DownloadLimits): Promise<unknown> {
  const problem = urlProblem(url, insecureHttp);
  if (problem !== null) throw new Error(`${url} ${problem}`);
  const limit = AbortSignal.timeout(timeout);
  const text = await read(url, AbortSignal.any([limit, signal])).catch((error: unknown) => {
    throw limit.aborted ? new Error(`${url}: no whole answer within ${timeout} ms`) : error;
  });
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new Error(`${url}: the answer is no JSON`);
  }
}

async function read(url: string, signal: AbortSignal): Promise<string> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const send = url.startsWith('https:') ? secure : plain;
    // No agent: one request in minutes is not worth a connection that is kept.
    send(url, { agent: false, signal, headers: { accept: 'application/json' } }, resolve)
      .on('error', reject)
      .end();
  });
  const status = response.statusCode ?? 0;
  if (status !== 200) {
    response.destroy();
    throw new Error(`${url} answered ${status}${status >= 300 && status < 400 ? '; redirects are not followed, name the address itself' : ''}`);
  }
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > MAX_BYTES) throw new Error(`${url}: more than ${MAX_BYTES} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}
