// How does a command send a world to a running service, however long it is, and hear what is said of it?
//
// By node:http, for `fetch` gives up on an answer after five minutes. The service may answer before it has read everything: what it says
// counts then, and not that it reads no more.

import { request as http, type ClientRequest } from 'node:http';
import { request as https } from 'node:https';
import { text } from 'node:stream/consumers';
import { InputError } from 'policy-cache';

export interface Sending {
  /** Of the api listener, without a slash at its end. */
  readonly base: string;
  readonly token: string;
  readonly query: URLSearchParams;
  readonly pieces: AsyncIterable<Uint8Array | string>;
  /** Ends it: nothing is imported then, unless all of it was. */
  readonly signal: AbortSignal;
}

export interface Heard {
  readonly status: number;
  readonly text: string;
}

/** Rejects with what `pieces` throws, with why it was ended, or with InputError where nobody answers. */
export async function sendWorld({ base, token, query, pieces, signal }: Sending): Promise<Heard> {
  const url = new URL(`${base}/v1/import?${query.toString()}`);
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/x-ndjson' };
  const asking = (url.protocol === 'https:' ? https : http)(url, { method: 'POST', headers, signal });
  const answered = new Promise<Heard>((resolve, reject) => {
    let fault: unknown = null;
    let hears = false;
    const refuse = (error: unknown): void => reject(signal.aborted && signal.reason instanceof Error ? signal.reason : unreachable(base, error));
    asking.on('response', (response) => {
      hears = true;
      text(response).then((said) => resolve({ status: response.statusCode ?? 0, text: said }), refuse);
    });
    asking.on('error', (error) => (fault ??= error));
    asking.on('close', () => (hears ? undefined : refuse(fault)));
  });
  try {
    await Promise.race([answered, feed(asking, pieces)]);
    return await answered;
  } finally {
    asking.destroy();
  }
}

async function feed(asking: ClientRequest, pieces: Sending['pieces']): Promise<void> {
  for await (const piece of pieces) {
    if (asking.destroyed) return;
    if (asking.write(piece)) continue;
    await new Promise<void>((resolve) => {
      const go = (): void => {
        asking.off('drain', go).off('close', go);
        resolve();
      };
      asking.on('drain', go).on('close', go);
    });
  }
  asking.end();
}

function unreachable(base: string, error: unknown): InputError {
  return new InputError(
    '--server',
    `${base} cannot be reached: ${error instanceof Error ? error.message || String(error) : 'it ended the connection without an answer'}`,
  );
}
