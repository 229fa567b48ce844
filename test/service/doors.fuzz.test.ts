// Can any bytes at all make a door say 200 that should not? `GRANTGATE_FUZZ` lengthens the run; a failure prints its seed.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { headerValue } from '../../src/doors/identity-headers.ts';
import { NASTY_TARGETS } from '../corpus/targets.ts';
import { connectRaw, requestBytes } from '../support/raw.ts';
import { at, DOOR, FORM, HOST, side, subrequest, useDoor } from '../support/subrequest.ts';
import type { Header } from '../support/subrequest.ts';

useDoor();

describe('fuzz: nothing but a true allow is a 200', () => {
  const runs = Number(process.env['GRANTGATE_FUZZ'] ?? 250);
  /** Whatever comes, without a 200 among it. */
  const statuses = async (bytes: string | Buffer): Promise<string> => {
    const connection = await connectRaw(at);
    connection.send(bytes);
    connection.send(requestBytes('GET /end HTTP/1.1', [HOST, ['Connection', 'close']]));
    const text = await connection.closed(20_000);
    connection.destroy();
    return text;
  };
  const bytes = fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array).toString('latin1'));
  const value = fc.oneof(
    bytes,
    fc.constantFrom(...NASTY_TARGETS.filter((target) => target.length < 300)),
    fc.constantFrom('', 'GET', '/api/device/x1', '/api/device/d1', '*', 'd1'),
  );

  test('random targets of the door itself, with a good credential', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          value,
          value.map((text) => `/auth/${text}`),
          value.map((text) => `/auth/nginx/${text}`),
          value.map((text) => `/auth/nginx/DEVICE/${text}`),
        ),
        async (target) => {
          fc.pre(!/^\/auth\/nginx(?:\?.*)?$/s.test(target));
          // Original request: one that this user may do nowhere.
          expect(await statuses(requestBytes(`GET ${target} HTTP/1.1`, subrequest({ 'X-Original-URI': '/api/device/x1' })))).not.toContain(' 200 ');
        },
      ),
      { numRuns: runs },
    );
  });
  test('random contract headers', async () => {
    await fc.assert(
      fc.asyncProperty(value, value, value, fc.boolean(), async (method, uri, target, form) => {
        fc.pre(!/^[ \t]*\/public\/|^[ \t]*\/api\/(?:device\/d[12]|devices|me)(?:[?\s]|$)/.test(uri));
        expect(
          await statuses(
            requestBytes(
              form ? FORM : DOOR,
              subrequest({ 'X-Original-Method': method, 'X-Original-URI': uri, ...(form ? { 'X-Authz-Target': `no${target}` } : {}) }),
            ),
          ),
        ).not.toContain(' 200 ');
      }),
      { numRuns: runs },
    );
  });
  test('random credentials and random names of headers', async () => {
    await fc.assert(
      fc.asyncProperty(bytes, bytes, value, async (credential, name, text) => {
        const headers: Header[] = [...subrequest({ Authorization: `Bearer ${credential}` }), [name, text]];
        expect(await statuses(requestBytes(DOOR, headers))).not.toContain(' 200 ');
      }),
      { numRuns: runs },
    );
  });
  test('random bytes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async (array) => {
        expect(await statuses(Buffer.from(array))).not.toContain(' 200 ');
      }),
      { numRuns: runs },
    );
  });
  test('every target ever used against a proxy, as the original URI: refused, or read byte by byte', async () => {
    for (const uri of NASTY_TARGETS.filter((target) => target.length < 16_000)) {
      const status = await statuses(requestBytes(DOOR, subrequest({ Authorization: `Bearer ${await side.token('nobody')}`, 'X-Original-URI': uri }))).catch(
        () => '',
      );
      expect(status, uri).not.toContain(' 200 ');
    }
  }, 60_000);
});

describe('header values of the identity', () => {
  test('printable ASCII as it is, everything else percent-encoded, and no two ids alike', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'grapheme', maxLength: 40 }), fc.string({ unit: 'binary-ascii', maxLength: 40 })), (id) => {
        const value = headerValue(id);
        expect(value).toMatch(/^[ -~]*$/);
        expect(value.trim()).toBe(value);
        if (/^[!-$&-~]*$/.test(id)) expect(value).toBe(id);
        expect(decodeURIComponent(value)).toBe(id);
      }),
    );
    expect(['', 'a b', 'a%20b', ' a', 'a\r\nX: y', 'é'].map(headerValue)).toEqual(['', 'a b', 'a%2520b', '%20a', 'a%0D%0AX:%20y', '%C3%A9']);
  });
});
