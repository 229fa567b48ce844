// Is this body a JSON object that is safe to look into? The bytes of a stranger become a value, or a sentence on what is wrong.

/** Levels of `[` and `{` that a body may have: a parser takes 200,000 of them, whatever walks the value afterwards does not. */
const DEPTH = 32;
export const BODY_BYTES = 64 * 1024;

export type Parsed = { readonly value: object } | { readonly wrong: string };

export function parseJsonObject(bytes: ArrayBuffer): Parsed {
  let text: string;
  try {
    // Not replaced by U+FFFD: two ids would become one.
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return { wrong: 'the body is not UTF-8' };
  }
  if (isDeep(text)) return { wrong: `the body is nested deeper than ${DEPTH} levels` };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { wrong: 'the body is not JSON' };
  }
  return isObject(value) ? { value } : { wrong: 'the body must be a JSON object' };
}

export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Brackets outside of strings; of a text that is no JSON it does not matter what this says. */
function isDeep(text: string): boolean {
  let depth = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (quoted) {
      if (character === '\\') i++;
      else if (character === '"') quoted = false;
    } else if (character === '"') quoted = true;
    else if (character === '{' || character === '[') {
      if (++depth > DEPTH) return true;
    } else if (character === '}' || character === ']') depth--;
  }
  return false;
}
