// How are the few messages of the gRPC lanes written and read? By field number, by hand: the requests are made before the clock starts, and of a reply
// one field counts.

/** @param {number} value @returns {number[]} */
function varint(value) {
  return value < 0x80 ? [value] : [(value % 0x80) | 0x80, ...varint(Math.floor(value / 0x80))];
}

/** A string, a message in bytes, or a number (a bool or an enum). @param {number} number @param {string | Buffer | number} value */
export function field(number, value) {
  if (typeof value === 'number') return Buffer.from([...varint(number * 8), ...varint(value)]);
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([Buffer.from([...varint(number * 8 + 2), ...varint(bytes.length)]), bytes]);
}

/** @param {...Buffer} fields */
export const message = (...fields) => Buffer.concat(fields);

/** The last value of a field; null if it is not there, as a zero never is. @param {Buffer} bytes @param {number} number @returns {number | Buffer | null} */
export function read(bytes, number) {
  /** @type {number | Buffer | null} */ let found = null;
  let at = 0;
  const next = () => {
    let value = 0;
    for (let shift = 1; ; shift *= 0x80) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 0x7f) * shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = next();
    const wire = tag % 8;
    /** @type {number | Buffer} */ let value = 0;
    if (wire === 0) value = next();
    else {
      const length = wire === 2 ? next() : wire === 1 ? 8 : 4;
      value = bytes.subarray(at, at + length);
      at += length;
    }
    if (Math.floor(tag / 8) === number) found = value;
  }
  return found;
}
