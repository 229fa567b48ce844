// How does a test send many ordinary requests through a proxy? Over kept connections, and a path goes out as it is written.

import { Agent, request } from 'node:http';

export interface Ask {
  readonly path: string;
  readonly method?: string;
  readonly token?: string;
  readonly requestId?: string;
  /** Several values are several lines. */
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly body?: string | Buffer;
}

export interface Answer {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: string;
}

export interface Client {
  ask(what: Ask): Promise<Answer>;
  close(): void;
}

/** The id under which the decided request is in the log. */
export type Decided = Answer & { readonly requestId: string };

const DECIDED_WITHIN_MS = 20_000;

/**
 * Asks until somebody decided. On a machine that does other work a check that has to read the database may take longer than nginx waits,
 * and when all has stood still for long, no lease is left: a 500 then (503 at the door itself), refused, but by nobody. For suites in
 * which nothing is taken away.
 */
export async function askDecided(client: Client, what: Ask): Promise<Decided> {
  const limit = performance.now() + DECIDED_WITHIN_MS;
  for (let attempt = 1; ; attempt++) {
    const requestId = `${what.requestId ?? 'request'}.${attempt}`;
    const answer = await client.ask({ ...what, requestId });
    if ((answer.status !== 500 && answer.status !== 503) || performance.now() > limit) return { ...answer, requestId };
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** To a port of loopback or a Unix socket. At most `connections` requests are under way; further ones wait. */
export function startClient(to: number | string, connections = 16): Client {
  const address = typeof to === 'number' ? { host: '127.0.0.1', port: to } : { socketPath: to };
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  return {
    ask: ({ path, method = 'GET', token, requestId, headers = {}, body }) =>
      new Promise((resolve, reject) => {
        const sent = request(
          {
            agent,
            ...address,
            method,
            path,
            headers: {
              ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
              ...(requestId === undefined ? {} : { 'x-request-id': requestId }),
              ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }),
              ...headers,
            },
          },
          (response) => {
            let text = '';
            response.setEncoding('utf8').on('data', (part: string) => (text += part));
            response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }));
            response.on('error', reject);
          },
        );
        sent.on('error', reject);
        sent.end(body);
      }),
    close: () => agent.destroy(),
  };
}
