// Which tokens would a service take that trusts what a token says of itself? One table, for the issuer alone and through a proxy.

import { SignJWT, UnsecuredJWT, exportJWK, exportSPKI, generateKeyPair } from 'jose';
import type { CredentialProblem } from '../../src/problem.ts';
import { signToken } from '../../src/issuers/thingsboard.ts';
import type { SigningKey, TestIssuer } from './oidc.ts';

export interface Attack {
  readonly name: string;
  readonly token: string;
  /** Why it is refused. */
  readonly reason: CredentialProblem;
}

/** Against an issuer for which all else that is asked of a token holds: each differs from a good one in what its name says. */
export async function attacks(issuer: TestIssuer, user: string): Promise<readonly Attack[]> {
  const claims = issuer.claims(user);
  const now = Math.floor(Date.now() / 1000);
  const rsa = issuer.key('RS256');
  const ecdsa = issuer.key('ES256');
  const edwards = issuer.key('EdDSA');
  const without = (claim: string): Record<string, unknown> => Object.fromEntries(Object.entries(claims).filter(([name]) => name !== claim));
  const own: SigningKey = { ...rsa, ...(await generateKeyPair('RS256', { extractable: true })) };
  const ownJwk = await exportJWK(own.publicKey);
  const pem = await exportSPKI(rsa.publicKey);
  const publics: readonly (readonly [string, Uint8Array])[] = [
    ['PEM', Buffer.from(pem)],
    ['PEM without its last newline', Buffer.from(pem.trimEnd())],
    ['JWK', Buffer.from(JSON.stringify(rsa.publicJwk))],
    ['DER', Buffer.from(pem.replace(/-----.*?-----|\s/g, ''), 'base64')],
    ['modulus', Buffer.from(rsa.publicJwk.n ?? '', 'base64url')],
  ];
  const hmac = (alg: string, key: Uint8Array, kid = rsa.kid): Promise<string> => new SignJWT(claims).setProtectedHeader({ alg, kid, typ: 'at+jwt' }).sign(key);
  const genuine = await issuer.sign(claims);
  /** The parts of a genuine token under another header. */
  const relabelled = (header: object): string => [Buffer.from(JSON.stringify(header)).toString('base64url'), ...genuine.split('.').slice(1)].join('.');
  const unsigned = new UnsecuredJWT(claims).encode();

  const table: readonly (readonly [string, Promise<string> | string, CredentialProblem?])[] = [
    ...publics.map(([form, key]) => [`HS256 with the public key as the secret (${form})`, hmac('HS256', key)] as const),
    ['HS512 with the public key as the secret, which is an algorithm of another issuer here', hmac('HS512', Buffer.from(pem))],
    ['HS256 with the public key of Ed25519', hmac('HS256', Buffer.from(edwards.publicJwk.x ?? '', 'base64url'), edwards.kid)],
    ['alg none', unsigned],
    ['alg none, with a key’s name', relabelled({ alg: 'none', kid: rsa.kid }).replace(/[^.]*$/, '')],
    ['alg None, with a signature', relabelled({ alg: 'None', kid: rsa.kid, typ: 'at+jwt' })],
    ['alg in lower case', relabelled({ alg: 'rs256', kid: rsa.kid, typ: 'at+jwt' })],
    ['no alg', relabelled({ kid: rsa.kid, typ: 'at+jwt' })],
    ['alg a list', relabelled({ alg: ['RS256'], kid: rsa.kid, typ: 'at+jwt' })],
    [
      'an algorithm that the list does not have, with its true key',
      new SignJWT(claims).setProtectedHeader({ alg: 'PS256', kid: rsa.kid }).sign(await asPss(rsa)),
    ],
    ['another key under the name of the true one', issuer.sign(claims, {}, own)],
    ['another key, which the token brings (jwk)', issuer.sign(claims, { jwk: ownJwk }, own)],
    ['another key, which the token brings, and no kid', issuer.sign(claims, { jwk: ownJwk, kid: undefined }, own)],
    ['the true key, and one that it brings', issuer.sign(claims, { jwk: ownJwk })],
    ['where to get a key (jku)', issuer.sign(claims, { jku: `${issuer.url}/jwks` }, own)],
    ['where to get a certificate (x5u)', issuer.sign(claims, { x5u: `${issuer.url}/cert` }, own)],
    ['a certificate (x5c)', issuer.sign(claims, { x5c: ['MIIB'] }, own)],
    ['a key that nobody has (kid)', issuer.sign(claims, { kid: 'nobody' })],
    ['a kid that is a path', issuer.sign(claims, { kid: '../../../../dev/null' })],
    ['a kid that is SQL', issuer.sign(claims, { kid: "' or 1=1 --" })],
    ['a kid of Object', issuer.sign(claims, { kid: '__proto__' })],
    ['a kid that is no text', issuer.sign(claims, { kid: 7 })],
    ['a kid of 257 characters', issuer.sign(claims, { kid: 'k'.repeat(257) })],
    ['RS256 under the name of the ES256 key', issuer.sign(claims, { kid: ecdsa.kid })],
    ['ES256 under the name of the RS256 key', issuer.sign(claims, { kid: rsa.kid }, ecdsa)],
    ['EdDSA under the name of the ES256 key', issuer.sign(claims, { kid: ecdsa.kid }, edwards)],
    ['a critical extension', issuer.sign(claims, { crit: ['exotic'], exotic: 1 })],
    ['critical b64', issuer.sign(claims, { crit: ['b64'], b64: true })],
    ['typ of another kind', issuer.sign(claims, { typ: 'secevent+jwt' })],
    ['wrong audience', issuer.sign({ ...claims, aud: 'https://another.example/' }), 'wrong-audience'],
    ['an audience that begins alike', issuer.sign({ ...claims, aud: `${issuer.audience}x` }), 'wrong-audience'],
    ['an audience that is no text', issuer.sign({ ...claims, aud: { 0: issuer.audience } }), 'wrong-audience'],
    ['no audience', issuer.sign(without('aud')), 'bad-claims'],
    ['wrong issuer', issuer.sign({ ...claims, iss: 'https://another.example' })],
    ['an issuer with a slash more', issuer.sign({ ...claims, iss: `${issuer.url}/` })],
    ['no issuer', issuer.sign(without('iss'))],
    ['a list of issuers', issuer.sign({ ...claims, iss: [issuer.url] })],
    ['expired', issuer.sign({ ...claims, exp: now - 1 }), 'expired-token'],
    ['no end', issuer.sign(without('exp')), 'bad-claims'],
    ['an end that is a text', issuer.sign({ ...claims, exp: String(now + 600) }), 'bad-claims'],
    ['not yet valid', issuer.sign({ ...claims, nbf: now + 60 }), 'early-token'],
    ['nobody', issuer.sign({ ...without('user_id'), sub: undefined }), 'bad-claims'],
    ['a user that is a list', issuer.sign({ ...claims, user_id: [user] }), 'bad-claims'],
    ['a token of ThingsBoard’s shape, signed by this issuer', issuer.sign({ userId: user, scopes: ['TENANT_ADMIN'], exp: now + 600 })],
    [
      'a token of ThingsBoard’s shape and issuer, signed with the public key',
      signToken(Buffer.from(pem).toString('base64'), { userId: user, scope: 'TENANT_ADMIN', issuedAt: now, lifetime: 600, issuer: issuer.url }),
    ],
    ['the signature of another token', (await issuer.sign(claims)).replace(/[^.]*$/, (await issuer.sign({ ...claims, user_id: 'other' })).split('.')[2]!)],
    [
      'the claims of another token',
      [genuine.split('.')[0], Buffer.from(JSON.stringify({ ...claims, user_id: 'admin' })).toString('base64url'), genuine.split('.')[2]].join('.'),
    ],
    ['no signature', genuine.replace(/[^.]*$/, '')],
    ['five parts, as an encrypted token has', `${genuine}.x.y`],
    ['a compressed encrypted token’s header', relabelled({ alg: 'dir', enc: 'A256GCM', zip: 'DEF' })],
  ];
  return Promise.all(table.map(async ([name, token, reason = 'bad-token']) => ({ name, token: await token, reason })));
}

/** The same RSA key for another padding. */
async function asPss({ privateKey }: SigningKey): Promise<Parameters<SignJWT['sign']>[0]> {
  return { ...(await exportJWK(privateKey)), alg: 'PS256' };
}
