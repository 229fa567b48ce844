// Who takes permissions away and gives them back while k6 asks, and says truthfully how they stand?
//
// `GET /N`: mover N's standing (churn.js says what it means). `POST /edit`: a role of everybody is edited. `POST /reset`: everything cached is thrown away.

import { createServer } from 'node:http';
import { once } from 'node:events';
import { editForAll } from './estate.mjs';

/** @typedef {{ epoch: number, acknowledged: number | null, permit: boolean }} State `acknowledged`: when; null while a write is under way */

/** @param {{ sql: import('postgres').Sql, movers: readonly { give: string, take: string }[] }} options */
export async function startControl({ sql, movers }) {
  /** @type {State[]} */
  const states = movers.map(() => ({ epoch: 0, acknowledged: performance.now(), permit: true }));
  let edits = 0;
  const server = createServer((request, response) => {
    void answer(`${request.method} ${request.url}`).then(
      (body) => response.setHeader('content-type', 'application/json').end(JSON.stringify(body)),
      (/** @type {unknown} */ error) => response.writeHead(500).end(String(error)),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();

  /** @param {string} line */
  async function answer(line) {
    if (line === 'POST /edit') await sql.unsafe(editForAll(edits++));
    if (line === 'POST /reset') await sql.unsafe(`select grantgate.touch('*')`);
    if (line.startsWith('POST ')) return {};
    const state = states[Number(line.slice('GET /'.length))];
    if (!state) throw new Error(`no such mover: ${line}`);
    const { epoch, acknowledged, permit } = state;
    return { epoch, acknowledged: acknowledged !== null, permit, age: acknowledged === null ? 0 : performance.now() - acknowledged };
  }

  /** @param {number} number */
  async function flip(number) {
    const [state, mover] = [states[number], movers[number]];
    if (!state || !mover) return;
    state.epoch++;
    state.acknowledged = null;
    state.permit = !state.permit;
    await sql.begin((tx) => tx.unsafe(state.permit ? mover.give : mover.take));
    state.acknowledged = performance.now();
  }

  return {
    url: `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`,
    /** Each mover in turn, so many writes a second, for as long as this takes; then every permission is given. @template T @param {number} rate @param {() => Promise<T>} use */
    async churn(rate, use) {
      let writes = 0;
      let going = true;
      const writing = async () => {
        for (const begun = performance.now(); going; writes++) {
          await flip(writes % movers.length);
          await new Promise((resolve) => setTimeout(resolve, Math.max(0, begun + ((writes + 1) * 1000) / rate - performance.now())));
        }
        for (const [number, { permit }] of states.entries()) if (!permit) await flip(number);
      };
      const using = async () => {
        try {
          return await use();
        } finally {
          going = false;
        }
      };
      const [found] = await Promise.all([using(), writing()]);
      return { found, writes };
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
