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
  if (!isObject(value)) return { wrong: 'the body must be a JSON object' };
  const twice = repeatedName(text);
  return twice === null ? { value } : { wrong: `the body has ${JSON.stringify(twice.slice(0, 80))} twice in one object: say it once` };
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

/** A name that an object of this JSON has twice: one program goes by the first, another by the last. */
function repeatedName(json: string): string | null {
  const open: (Set<string> | null)[] = []; // null: a list
  for (let i = 0; i < json.length; i++) {
    const character = json[i];
    if (character === '{') open.push(new Set());
    else if (character === '[') open.push(null);
    else if (character === '}' || character === ']') open.pop();
    if (character !== '"') continue;
    const from = i;
    i = endOfString(json, from);
    const names = open.at(-1) ?? null;
    if (names === null || !isName(json, i + 1)) continue;
    const written = json.slice(from + 1, i);
    const name = written.includes('\\') ? (JSON.parse(`"${written}"`) as string) : written;
    if (names.has(name)) return name;
    names.add(name);
  }
  return null;
}

/** Where the quote is that ends the string. */
function endOfString(json: string, from: number): number {
  for (let end = json.indexOf('"', from + 1); ; end = json.indexOf('"', end + 1)) {
    let escapes = 0;
    while (json[end - 1 - escapes] === '\\') escapes++;
    if (escapes % 2 === 0) return end;
  }
}

/** A colon is next. */
function isName(json: string, behind: number): boolean {
  let at = behind;
  while (' \t\n\r'.includes(json[at] ?? ':')) at++;
  return json[at] === ':';
}
