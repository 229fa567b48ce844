// How does an export read as NDJSON, YAML or JSON, while its rows come?
//
// Rows are JSON text, one a line, and stay so: a JSON object is a flow map of YAML, where its quotes keep `yes`, `1e3` and `~` the strings
// that they are. What is written last says that nothing is missing: NDJSON and YAML that a broken pipe cut off would read like a whole world.

import type { WorldOrigin } from 'policy-cache';
import type { RowList } from 'policy-cache/postgres';

export const FORMATS = ['ndjson', 'yaml', 'json'] as const;
export type Format = (typeof FORMATS)[number];

export interface ExportText {
  begin(origin: WorldOrigin): string;
  /** The next rows of a list, each with its newline; in NDJSON each says its list already. */
  rows(list: RowList, lines: Uint8Array): Uint8Array;
  end(rows: number): string;
}

export function exportText(format: Format): ExportText {
  if (format === 'ndjson')
    return {
      begin: (origin) => `${JSON.stringify({ kind: 'export', ...origin })}\n`,
      rows: (_, lines) => lines,
      end: (rows) => `${JSON.stringify({ kind: 'end', rows })}\n`,
    };
  return document(SYNTAX[format]);
}

interface Syntax {
  readonly head: (name: string, json: string) => string;
  readonly open: (list: string) => string;
  readonly between: string;
  readonly close: string;
  readonly tail: (name: string, json: string) => string;
}
const SYNTAX: Readonly<Record<Exclude<Format, 'ndjson'>, Syntax>> = {
  yaml: {
    head: (name, json) => `${name}: ${json}\n`,
    open: (list) => `${list}:\n- `,
    between: '\n- ',
    close: '\n',
    tail: (name, json) => `${name}: ${json}\n`,
  },
  json: {
    head: (name, json) => `{\n"${name}": ${json}`,
    open: (list) => `,\n"${list}": [\n`,
    between: ',\n',
    close: '\n]',
    tail: (name, json) => `,\n"${name}": ${json}\n}\n`,
  },
};

/** One document, a key for each list that has rows. */
function document({ head, open, between, close, tail }: Syntax): ExportText {
  let current: RowList | null = null;
  return {
    begin: (origin) => head('export', JSON.stringify(origin)),
    rows(list, lines) {
      // As latin1 every byte is a character, so none is changed, and only a newline is 0x0a.
      const rows = Buffer.from(lines.buffer, lines.byteOffset, lines.length).toString('latin1').slice(0, -1).replaceAll('\n', between);
      const before = list === current ? between : `${current === null ? '' : close}${open(list)}`;
      current = list;
      return Buffer.from(before + rows, 'latin1');
    },
    end: (rows) => `${current === null ? '' : close}${tail('end', JSON.stringify({ rows }))}`,
  };
}
