// How does a test write over a connection that may be killed under it? With a client that is thrown away once that has happened.
//
// What is asked of the client between the `error` and the `close` of its socket is never answered [seen with postgres 3.4.9].

import { openPool } from 'policy-cache/postgres';

export interface Client {
  /** Several statements in one message. After a failure the transaction is given up, and the error is thrown. */
  run(text: string): Promise<readonly (readonly Readonly<Record<string, unknown>>[])[]>;
  end(): Promise<void>;
}

/** Five characters: what the server says, not the client. The class 57P is the server ending the connection. */
const SQLSTATE = /^(?!57P)[0-9A-Z]{5}$/;

export function openClient(url: string): Client {
  let sql = openPool({ url, max: 1 });
  return {
    async run(text) {
      try {
        return (await sql.unsafe(text)) as unknown as readonly (readonly Readonly<Record<string, unknown>>[])[];
      } catch (error) {
        if (SQLSTATE.test(codeOf(error))) await sql.unsafe('rollback');
        else {
          void sql.end({ timeout: 0 }); // nobody waits for what is gone
          sql = openPool({ url, max: 1 });
        }
        throw error;
      }
    },
    end: () => sql.end({ timeout: 5 }),
  };
}

/** SQLSTATE, or what the client calls it. */
export function codeOf(error: unknown): string {
  return String((error as { readonly code?: unknown }).code ?? error);
}
