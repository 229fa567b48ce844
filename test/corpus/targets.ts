// Which request targets have been used against proxies and the things behind them? (proxies 3.2, 6.2 item 6.)
//
// Whoever reads a raw target runs these: each must be refused, or read byte by byte as it stands. All stay below 16 KiB or so;
// those with bytes that no HTTP client would send are for the reader alone, a proxy answers them itself.

const VICTIM = '/api/device/info/d1';

// Ways to write "one level up", "slash", "dot" and so on, in every hex case.
// prettier-ignore
const DOTS = ['..', '.', '%2e%2e', '%2E%2E', '.%2e', '%2e.', '%2e', '%2E', '%252e%252e', '%252E.', '..;', '..;x=1', '.;', '..%3b', '..%00', '..%20', '%c0%ae%c0%ae', '%e0%80%ae', '%u002e', '....'];
// prettier-ignore
const SLASHES = ['%2f', '%2F', '%5c', '%5C', '\\', '%252f', '%252F', '%255c', '%25%32%66', '%25%35%63', '%c0%af', '%C0%AF', '%e0%80%af', '%f0%80%80%af', '%uff0f', '%ef%bc%8f', '//', '/\\', '\\/', '/./'];
// prettier-ignore
const INSIDE = ['%00', '%00.json', '%01', '%08', '%09', '%0a', '%0d', '%0D%0A', '%0d%0aX-Authz-Target:%20other', '%1f', '%7f', '%80', '%bf', '%c1%81', '%c2', '%c2%', '%c2%8', '%c2%85', '%c2%a0', '%c3%28', '%e2%82', '%e2%28%a1', '%ed%a0%80', '%ed%bf%bf', '%f4%90%80%80', '%f5%80%80%80', '%f8%88%80%80%80', '%fe', '%ff', '%ef%bb%bf', '%e2%80%8b', '%e2%80%ae',
  '%', '%2', '%z', '%zz', '%2z', '%z2', '% 2', '%%', '%%32%66', '%25', '%25zz', '%252', '%2500', '%25252f', '%x41', '%-1', '%+1', '%u0061', '&#47;',
  ';', ';x', ';x=1', ';/', ';jsessionid=1', '%3b', '%3Bx', '#', '#f', '#/../x', '%23', '%23f', '?', '?x', '?x#f', '??', '%3f', '%3Fx=1', '*', '%2a', '%2A', '**', '{id}', '%7bid%7d', '<x>', '"', '`', '|', '^', '[', ']', '[0]', '@', '+', ',', '=', '!', '$', '&', "'", '()', '~', ':', '-', '_', ' ', '\t', '\r\n', '\u0000', '\u0001', '\u007f', '\u0080', '\u0085', '\u00a0', '\u00e9', '\u00ff', '\u017f', '\u0131', '\u2028', '\u212a', '\uff0f', '\ud800', '\u{1f600}',
  '/', '//', '///', '/.', '/..', '/./', '/../', '/...', '.json', '.', '..', '...', '%20', '%41', '%64', '%7e', '%C3%A9', '%2d', '%5f', '%30'];

/** Percent-encoded spellings of what a table may hold as a literal or an id. */
// prettier-ignore
const SPELLINGS = ['/api/%64evice/d1', '/api/devic%65/d1', '/%61pi/device/d1', '/api/devices/%64evice-b1', '/api/device/%64%31', '/api/device/d%31', '/api/DEVICE/d1', '/API/device/d1', '/Api/Device/d1', '/api/device/D1', '/api/n%6fauth/login', '/api/noauth%2flogin', '/api/noauth/%6cogin', '/api/%6eoauth/login',
  '/api/device/*', '/api/device/%2a', '/api/device/all:DEVICE:t1', '/api/device/ALL', '/api/device/null', '/api/device/undefined', '/api/device/__proto__', '/api/device/constructor', '/__proto__', '/constructor/prototype'];

// prettier-ignore
const FORMS = ['', ' ', '*', '/', '//', '///', '/.', '/..', '/../', '/?', '/?/..', '/#', '?', '?/api/device/d1', '#', '.', '..', 'api/device/d1', './api/device/d1', '../api/device/d1', '\\api\\device\\d1', '/\\api/device/d1', ' /api/device/d1', '/api/device/d1 ', '%2fapi/device/d1', '%2Fapi%2Fdevice%2Fd1',
  'http://a/api/device/d1', 'https://a/api/device/d1', 'HTTP://a/api/device/d1', 'http:/api/device/d1', 'http:api/device/d1', '//a/api/device/d1', '///a/api/device/d1', '/http://a/api/device/d1', 'a:80', 'a:443', 'javascript:x', 'file:///etc/passwd', '@a/api/device/d1', '/@a/api/device/d1', '/api/device/d1/', '/api/device//', '/api//device/d1', '//api/device/d1', '/api/device/d1//',
  '/../../livez', '/%2e%2e/%2e%2e/readyz', '/.%2e/.%2e/metrics', '/DEVICE/READ', '/livez', '/metrics', '/auth/nginx', '/auth/nginx/DEVICE/READ', '/x/../api/device/d1', '/api/noauth/../device/d1', '/api/noauth/..;/device/d1', '/api/noauth/%2e%2e/device/d1', '/api/noauth/login/..%2f..%2fdevice/d1', '/api/noauth/login%00/../device/d1', '/api/noauth/login;/../../device/d1', '/api/noauth/login?/../device/d1', '/api/noauth/login#/../../device/d1',
  '/a%2fb', '/a%5cb', '/a/..%2fb', '/a\\b', '//a//b', '/a%00b', '/a%25%32%66b', '/a/../b', '/a/%2e%2e/b', '/a/..;/b', '/devices%2Fa', '//devices//a', '/x/../devices/a',
  `/${'a'.repeat(255)}`, `/api/device/${'a'.repeat(255)}`, `/api/device/${'a'.repeat(256)}`, `/api/device/${'%61'.repeat(256)}`, `/${'a'.repeat(8190)}`, `/${'a'.repeat(8191)}`, `/${'a'.repeat(8192)}`, `/${'a'.repeat(16_383)}`, `/api/device/d1?${'q'.repeat(8300)}`, '/a'.repeat(2000), '/..'.repeat(2000), `/${'%2e'.repeat(2000)}`, `/${'%'.repeat(4000)}`, '/'.repeat(8000)];

/** Distinct, more than 200. */
export const NASTY_TARGETS: readonly string[] = [
  ...new Set([
    ...FORMS,
    ...SPELLINGS,
    ...DOTS.flatMap((dots) => [`/api/noauth/${dots}/device/d1`, `/api/device/${dots}`, `/${dots}/${dots}/livez`]),
    ...SLASHES.flatMap((slash) => [`/api/device${slash}d1`, `/api/noauth/x${slash}..${slash}device${slash}d1`, `${slash}api/device/d1`]),
    ...INSIDE.flatMap((text) => [`${VICTIM}${text}`, `/api/device/${text}`, `/api/${text}device/d1`]),
  ]),
];

/** A decoded new line would be a header of the client's choice in the question to the door. device-b1 is the asker's, d1 is not. */
export const NEW_LINES: readonly string[] = [
  '/api/devices/d1%0d%0aX-Authz-Target:%20device-b1',
  '/api/devices/d1%0aX-Authz-Target:%20device-b1',
  '/api/devices/device-b1%0d%0aX-Authz-Target:%20d1',
  '/api/devices/d1%0d%0a%0d%0aGET%20/auth/nginx/DEVICE/READ%20HTTP/1.1',
  '/api/device/d1%0d%0aX-Original-URI:%20/api/device/device-b1',
  '/api/device/d1?x=%0d%0aX-Original-URI:%20/api/device/device-b1',
  '/fleet/x%0d%0aX-Authz-Target:%20d1',
];
