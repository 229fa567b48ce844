// Are the settings of who is believed read as they are meant, and refused where they would believe too much?

import { describe, expect, test } from 'vitest';
import { showConfig } from '../../src/config.ts';
import { load, problems } from '../support/config.ts';

describe('issuers of OpenID Connect', () => {
  const least = { name: 'login', issuer: 'https://login.example', audience: 'api', tenants: '*' };
  const json = (...issuers: object[]): Record<string, string> => ({ GRANTGATE_IDENTITY_OIDC: JSON.stringify(issuers) });

  test('as YAML in the file and as JSON in the environment they are the same, with defaults', () => {
    const file = 'identity:\n  oidc:\n    - name: login\n      issuer: https://login.example\n      audience: api\n      tenants: "*"\n';
    const [given, ...more] = load({ file }).settings.identity.oidc;
    expect(more).toEqual([]);
    expect(given).toEqual({
      ...least,
      audience: ['api'],
      algorithms: ['RS256', 'ES256', 'EdDSA'],
      subjectClaim: 'sub',
      clockTolerance: 0,
      refreshInterval: 300_000,
      cooldown: 10_000,
      maxKeyAge: 86_400_000,
      insecureHttp: false,
    });
    expect(load({ env: json(least) }).settings.identity.oidc).toEqual([given]);
    expect(load({ sets: [`identity.oidc=${JSON.stringify([least])}`] }).settings.identity.oidc).toEqual([given]);
    expect(load({ file: showConfig(load({ file }), 'yaml') }).settings.identity.oidc).toEqual([given]);
    expect(
      load({ env: json({ ...least, maxKeyAge: '2h', audience: ['a', 'b'], algorithms: 'ES512, PS256', tenants: ['t'] }) }).settings.identity.oidc[0],
    ).toMatchObject({
      maxKeyAge: 7_200_000,
      audience: ['a', 'b'],
      algorithms: ['ES512', 'PS256'],
      tenants: ['t'],
    });
  });

  test.each<[object, string, RegExp]>([
    [{ audience: undefined }, '[1].audience', /must be what its tokens for this service name as `aud`.*would do, got nothing$/],
    [{ audience: [] }, '[1].audience', /must be what.*got \[\]$/],
    [{ audience: '' }, '[1].audience[0]', /must be what/],
    [{ tenants: undefined }, '[1].tenants', /must be '\*' or a list of ids, got nothing$/],
    [{ name: undefined }, '[1].name', /must be a name of 1 to 60 letters/],
    [{ name: 'thingsboard' }, '[1].name', /choose another, got "thingsboard"$/],
    [{ issuer: undefined }, '[1].issuer', /must be the URL/],
    [{ issuer: 'login.example' }, '[1].issuer', /must be a URL, as https:\/\/login\.example, got "login\.example"$/],
    [{ issuer: 'http://login.example' }, '[1].issuer', /must be https.*insecureHttp: true, got "http:\/\/login\.example"$/],
    [{ issuer: 'https://login.example/?tenant=1' }, '[1].issuer', /must have no query/],
    [{ jwksUri: 'http://keys.example' }, '[1].jwksUri', /must be https/],
    [{ algorithms: ['HS256'] }, '[1].algorithms[0]', /must be a list of RS256, .*got "HS256"$/],
    [{ algorithms: ['none'] }, '[1].algorithms[0]', /must be a list of RS256/],
    [{ algorithms: [] }, '[1].algorithms', /must be a list of RS256/],
    [{ subjectClaim: '' }, '[1].subjectClaim', /must be the name of a claim/],
    [{ clockTolerance: '1h' }, '[1].clockTolerance', /must be a time from 0ms to 5m.*got "1h"$/],
    [{ cooldown: 0 }, '[1].cooldown', /must be a time from 1s/],
    [{ maxKeyAge: '1m' }, '[1].maxKeyAge', /must not be shorter than refreshInterval.*got "1m"$/],
    [{ audiance: 'api' }, '[1]', /has no audiance; known are name, issuer, audience/],
    [{ name: 'login' }, '[1].name', /is that of identity\.oidc\[0\] too/],
    [{ issuer: 'https://login.example' }, '[1].issuer', /is that of identity\.oidc\[0\] too/],
  ])('%j', (wrong, at, message) => {
    const second = { ...least, name: 'second', issuer: 'https://second.example' };
    const found = problems({ env: json(least, { ...second, ...wrong }) });
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(message);
    expect(found[0]!.startsWith(`identity.oidc${at} (env GRANTGATE_IDENTITY_OIDC): `), found[0]).toBe(true);
  });

  test('every part that is wrong is told at once', () => {
    expect(problems({ env: json({}, { ...least, tenants: [] }) }).map((each) => each.split(' ')[0])).toEqual([
      'identity.oidc[0].name',
      'identity.oidc[0].issuer',
      'identity.oidc[0].audience',
      'identity.oidc[0].tenants',
      'identity.oidc[1].tenants',
    ]);
  });
  test.each(['{', '{}', '7', 'login', '["login"]', '[[]]'])('%s is no list of them', (text) => {
    expect(problems({ env: { GRANTGATE_IDENTITY_OIDC: text } })[0]).toMatch(
      /^identity\.oidc(\[0\])? \(env GRANTGATE_IDENTITY_OIDC\): must be (a list of issuers|an issuer)/,
    );
  });
  test('over http they are asked on loopback, or where a setting that says insecure lets it', () => {
    expect(problems({ env: json({ ...least, issuer: 'http://127.0.0.1:8080' }) })).toEqual([]);
    expect(problems({ env: json({ ...least, issuer: 'http://login.example', insecureHttp: true }) })).toEqual([]);
  });
});

describe('a proxy that is believed', () => {
  test.each(['doors', 'grpc'])('%s: needs a header and its tenants, and is off', (listener) => {
    const header = `${listener}.subjectHeader`;
    expect(load({}).settings[listener as 'doors' | 'grpc'].identity).toBe('token');
    expect(problems({ sets: [`${listener}.identity=header`] })).toEqual([
      `${header} (default): is not set, and ${listener}.identity: header means it; name the header`,
      "identity.asserted.tenants (default): is not set, and a listener believes its proxy; name the tenants that it may speak for, or '*'",
    ]);
    const good = [`${listener}.identity=header`, `${header}=X-Client-Id`, 'identity.asserted.tenants=t'];
    expect(problems({ sets: good })).toEqual([]);
    expect(problems({ sets: [`${header}=X-Client-Id`] })).toEqual([`${header} (--set): means nothing without ${listener}.identity: header`]);
    expect(problems({ sets: [`${listener}.identity=both`] })[0]).toMatch(/must be token,? (or|principal or) header, got "both"/);
    expect(problems({ sets: [...good, `${listener}.host=0.0.0.0`] })[0]).toMatch(new RegExp(`^${listener}\\.host .*insecurePublicListen`));
  });
  test('a certificate’s name is a matter of gRPC alone, and needs tenants as well', () => {
    expect(problems({ sets: ['grpc.identity=principal'] })).toEqual([expect.stringMatching(/^identity\.asserted\.tenants \(default\): is not set/)]);
    expect(problems({ sets: ['grpc.identity=principal', 'identity.asserted.tenants=t'] })).toEqual([]);
    expect(problems({ sets: ['grpc.identity=principal', 'identity.asserted.tenants=t', 'grpc.subjectHeader=X-Client-Id'] })[0]).toMatch(/means nothing/);
    expect(problems({ sets: ['doors.identity=principal'] })[0]).toMatch(/must be token or header, got "principal"/);
  });
  test.each([
    'Authorization',
    'X-Authorization',
    'Cookie',
    'Origin',
    'Host',
    'X-Original-URI',
    'X-Forwarded-User',
    'X-Auth-User',
    'x-authz-target',
    'Connection',
    'TE',
    'Transfer-Encoding',
    'Upgrade',
    'Proxy-Authorization',
    'Content-Length',
    'X-HTTP-Method-Override',
    'X-Request-Id',
    'Forwarded',
  ])('%s is not a header for it', (name) => {
    expect(problems({ sets: ['doors.identity=header', `doors.subjectHeader=${name}`, 'identity.asserted.tenants=t'] })).toEqual([
      expect.stringMatching(/^doors\.subjectHeader \(--set\): has a meaning of its own/),
    ]);
  });
  test.each(['X_Client_Id', 'X Client', 'X-Client:', '', '1', 'X.Client'])('%j is no name of a header', (name) => {
    expect(problems({ sets: ['doors.identity=header', `doors.subjectHeader=${name}`, 'identity.asserted.tenants=t'] })[0]).toMatch(
      /must be the name of a header/,
    );
  });
});

describe('mail of those that log in here', () => {
  const good = {
    GRANTGATE_IDENTITY_LOCAL_MAIL_URL: 'smtp://access:pa%40x9z@mail.example:2525',
    GRANTGATE_IDENTITY_LOCAL_MAIL_FROM: 'Access <access@example.org>',
    GRANTGATE_IDENTITY_LOCAL_LINK_URL: 'https://grantgate.example/v1/auth/set-password',
  };

  test.each([
    ['smtp://', 'must be smtp://user:password@host:port or smtps://…, with nothing behind the port'],
    ['https://access:x9z@mail.example', 'must be smtp://'],
    ['mail.example:25', 'must be smtp://'],
    ['smtp://access:x9z@mail.example/?pool=true', 'must be smtp://'],
    ['smtp://access@mail.example', 'must have both, user and password, or neither'],
    ['smtp://access:x9z@mail.example:465', 'must begin with smtps:'],
    ['smtp://access:100%x9z@mail.example', 'must have user and password percent-encoded'],
  ])('%s is no mail server, and nothing of it is told', (url, words) => {
    const [problem, ...more] = problems({ env: { ...good, GRANTGATE_IDENTITY_LOCAL_MAIL_URL: url } });
    expect(more).toEqual([]);
    expect(problem).toContain(`identity.local.mail.url (env GRANTGATE_IDENTITY_LOCAL_MAIL_URL): ${words}`);
    expect(problem).not.toMatch(/x9z|example/);
  });

  test.each([
    'access',
    'a@b.example, c@d.example',
    'Access <a@b.example>, c@d.example',
    'Access\r\nBcc: x <a@b.example>',
    'Access <a@b.example',
    '"Access" <a@b.example>',
  ])('nobody sends from %j', (from) => {
    expect(problems({ env: { ...good, GRANTGATE_IDENTITY_LOCAL_MAIL_FROM: from } })).toEqual([expect.stringContaining('identity.local.mail.from')]);
  });

  test('it needs to know who it is from, and where its links lead; the password is shown by nobody', () => {
    const shown = showConfig(load({ env: good }), 'yaml');
    expect(shown).toContain('Access <access@example.org>');
    expect(shown).not.toContain('x9z');
    expect(problems({ env: { GRANTGATE_IDENTITY_LOCAL_MAIL_URL: good.GRANTGATE_IDENTITY_LOCAL_MAIL_URL } })).toEqual([
      'identity.local.mail.from (default): is not set, and mail is to be sent (identity.local.mail.url); say who it is from',
      'identity.local.linkUrl (default): is not set, and mail is to be sent (identity.local.mail.url); say where the page is that its links open',
    ]);
  });
});
