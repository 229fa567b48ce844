// Which bytes ask a door, and what does an allow look like? Written by hand: a client of its own knows no code of ours.

/** An allow's headers. */
export const ALLOWED = { 'X-Auth-User': 'person-0', 'X-Auth-Tenant': 'estate', 'X-Auth-Customer': 'building-0', 'X-Authz-Decision-Id': '0123456789abcdef-0' };

/** A field of a Protobuf message that has a length. @param {number} number @param {string | Uint8Array} value */
function field(number, value) {
  const bytes = Buffer.from(value);
  const { length } = bytes;
  return Buffer.concat([Buffer.from(length < 128 ? [(number << 3) | 2, length] : [(number << 3) | 2, (length & 127) | 128, length >> 7]), bytes]);
}

/** @param {number} number @param {readonly Buffer[]} fields */
const message = (number, ...fields) => field(number, Buffer.concat(fields));
/** gRPC's frame: not compressed. @param {Buffer} bytes */
const framed = (bytes) => Buffer.concat([Buffer.from([0, 0, 0, bytes.length >> 8, bytes.length & 255]), bytes]);

/** CheckResponse: status 0, and four headers for the application. */
export const ANSWER = framed(
  Buffer.concat([
    message(1),
    message(3, ...Object.entries(ALLOWED).map(([name, value]) => message(2, message(1, field(1, name.toLowerCase()), field(2, value))))),
  ]),
);

/** CheckRequest as Envoy's. @param {{ method: string, path: string, token: string }} question */
export function checkRequest({ method, path, token }) {
  const header = (/** @type {string} */ name, /** @type {string} */ value) => message(3, field(1, name), field(2, value));
  const http = message(2, field(2, method), header('authorization', `Bearer ${token}`), field(4, path), field(5, 'application'), field(10, 'HTTP/1.1'));
  return framed(message(1, message(4, http)));
}

/** The same question as it comes to a proxy, or to the door that nginx asks. @param {{ method: string, path: string, token: string, direct: boolean }} question */
export function request({ method, path, token, direct }) {
  const credential = [`Host: application`, `Authorization: Bearer ${token}`];
  const lines = direct
    ? ['GET /auth/nginx HTTP/1.1', ...credential, `X-Original-Method: ${method}`, `X-Original-URI: ${path}`]
    : [`${method} ${path} HTTP/1.1`, ...credential];
  return `${lines.join('\r\n')}\r\n\r\n`;
}
