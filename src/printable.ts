// What may a terminal be shown of a text that somebody else wrote? Whatever moves its cursor, or turns the order of characters, is spelt out.

const HIDDEN = /[\p{Cc}\p{Zl}\p{Zp}\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/gu;
const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** One line, as JSON would write it in quotes. */
export function printable(text: string): string {
  return text.replaceAll(HIDDEN, (character) => SHORT[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
