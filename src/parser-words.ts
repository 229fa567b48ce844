// What does the YAML parser say of a file, in one line that may be given to a terminal?

const LONGEST = 160;

/** The parser quotes what it could not read: of a file that is none, megabytes, and the bytes that move a terminal's cursor. */
export function parserWords(message: string): string {
  const line = message
    .split('\n', 1)[0]!
    .replace(/ at line \d+, column \d+:?$/, '')
    .replace(/\p{C}/gu, '\u{fffd}');
  return line.length > LONGEST ? `${line.slice(0, LONGEST)}…` : line;
}
