// An OpenID Connect issuer that is nobody's model of one: oidc-provider, on a port of loopback, with keys that a test changes.
//
// Its clients are the users of a world (grant client_credentials, so `sub` is the client), its tokens JWTs for one resource
// (RFC 9068), signed with the newest key of the algorithm that is asked for.

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SignJWT, exportJWK, generateKeyPair, type CryptoKey, type JWK } from 'jose';
import { Provider } from 'oidc-provider';

export const ALGORITHMS = ['RS256', 'ES256', 'EdDSA'] as const;
export type Signs = (typeof ALGORITHMS)[number];

export interface SigningKey {
  readonly kid: string;
  readonly alg: Signs;
  readonly privateKey: CryptoKey;
  readonly publicKey: CryptoKey;
  readonly publicJwk: JWK;
}

export interface TestIssuer {
  readonly url: string;
  readonly audience: string;
  /** Requests of its two documents so far. */
  readonly fetched: { discovery: number; keys: number };
  /** The key that signs with this algorithm. */
  key(alg: Signs): SigningKey;
  /** A token as it issues it to a client. */
  token(user: string, alg?: Signs): Promise<string>;
  /** A token with anything in it, signed with its key. */
  sign(claims: Record<string, unknown>, header?: Record<string, unknown>, key?: SigningKey): Promise<string>;
  /** What `sign` makes a good token of. */
  claims(user: string): Record<string, unknown>;
  /** Publishes new keys beside the old ones, which still sign. Then `sign` and `token` use the new ones, then the old ones are gone. */
  publish(): Promise<void>;
  switch(): Promise<void>;
  retire(): Promise<void>;
  /** While it is set, the two documents are answered with this status. */
  down: number | null;
  /** While it is set, they are answered when it resolves. */
  slow: Promise<void> | null;
  close(): Promise<void>;
}

/** An adapter of oidc-provider. */
function forgetful(): object {
  const nothing = (): Promise<void> => Promise.resolve();
  return { upsert: nothing, find: nothing, findByUserCode: nothing, findByUid: nothing, consume: nothing, destroy: nothing, revokeByGrantId: nothing };
}

const SECRET = 'a secret of a client of the tests, long enough';

export async function startIssuer(users: readonly string[]): Promise<TestIssuer> {
  const fetched = { discovery: 0, keys: 0 };
  let down: number | null = null;
  let slow: Promise<void> | null = null;
  let handle: ReturnType<Provider['callback']> = () => Promise.resolve();
  const server = createServer((request, response) => {
    const document = request.url === '/jwks' ? 'keys' : request.url === '/.well-known/openid-configuration' ? 'discovery' : null;
    if (document !== null) {
      fetched[document]++;
      if (down !== null) return void response.writeHead(down).end();
    }
    void (slow !== null && document !== null ? slow : Promise.resolve()).then(() => handle(request, response)); // it answers its own errors
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const audience = 'https://api.example/';

  let generation = 0;
  const make = (): Promise<readonly SigningKey[]> => {
    generation++;
    return Promise.all(
      ALGORITHMS.map(async (alg) => {
        const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
        return { kid: `${alg}-${generation}`, alg, privateKey, publicKey, publicJwk: await exportJWK(publicKey) };
      }),
    );
  };
  let signing = await make();
  let others: readonly SigningKey[] = [];
  /** It signs with the first key that fits. */
  const restart = async (): Promise<void> => {
    const keys = await Promise.all(
      [...signing, ...others].map(async ({ kid, alg, privateKey }) => ({ ...(await exportJWK(privateKey)), kid, alg, use: 'sig' })),
    );
    const provider = new Provider(url, {
      jwks: { keys },
      adapter: forgetful, // what it would keep nobody asks for: its tokens are JWTs, its clients stand here
      ttl: { ClientCredentials: 600 },
      clients: users.flatMap((user) =>
        ALGORITHMS.map((alg) => ({
          client_id: alg === 'RS256' ? user : `${user}.${alg}`,
          client_secret: SECRET,
          grant_types: ['client_credentials'],
          redirect_uris: [],
          response_types: [],
        })),
      ),
      features: {
        devInteractions: { enabled: false },
        clientCredentials: { enabled: true },
        resourceIndicators: {
          enabled: true,
          defaultResource: () => audience,
          getResourceServerInfo: (context: { oidc: { client: { clientId: string } } }) => ({
            scope: 'api',
            audience,
            accessTokenFormat: 'jwt',
            accessTokenTTL: 600,
            jwt: { sign: { alg: ALGORITHMS.find((alg) => context.oidc.client.clientId.endsWith(`.${alg}`)) ?? 'RS256' } },
          }),
        },
      },
      extraTokenClaims: (_: unknown, token: { clientId: string }) => ({ user_id: token.clientId.replace(/\.(?:ES256|EdDSA)$/, '') }),
    });
    handle = provider.callback();
  };
  await restart();

  const key = (alg: Signs): SigningKey => signing.find((each) => each.alg === alg)!;
  const claims = (user: string): Record<string, unknown> => {
    const now = Math.floor(Date.now() / 1000);
    return { iss: url, aud: audience, sub: user, user_id: user, iat: now, exp: now + 600 };
  };
  return {
    url,
    audience,
    fetched,
    key,
    claims,
    async token(user, alg = 'RS256') {
      const client = alg === 'RS256' ? user : `${user}.${alg}`;
      const response = await fetch(`${url}/token`, {
        method: 'POST',
        headers: { authorization: `Basic ${Buffer.from(`${encodeURIComponent(client)}:${encodeURIComponent(SECRET)}`).toString('base64')}` },
        body: new URLSearchParams({ grant_type: 'client_credentials', resource: audience }),
      });
      const { access_token: token } = (await response.json()) as { access_token?: string };
      if (token === undefined) throw new Error(`the issuer answered ${response.status}`);
      return token;
    },
    sign: (payload, header = {}, by = key('RS256')) =>
      new SignJWT(payload).setProtectedHeader({ alg: by.alg, kid: by.kid, typ: 'at+jwt', ...header }).sign(by.privateKey, { crit: { exotic: true } }),
    async publish() {
      others = await make();
      await restart();
    },
    async switch() {
      [signing, others] = [others, signing];
      await restart();
    },
    async retire() {
      others = [];
      await restart();
    },
    get down() {
      return down;
    },
    set down(status) {
      down = status;
    },
    get slow() {
      return slow;
    },
    set slow(until) {
      slow = until;
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}
