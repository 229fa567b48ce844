// How does a moment get into JSON? As RFC 3339, in UTC, to the millisecond.

/** @param value SQL of a timestamptz */
export function rfc3339(value: string): string {
  return `to_char(${value} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;
}
