// Is this text Prometheus exposition format 0.0.4, to the letter? A strict parser: the first thing that is not throws.
// https://prometheus.io/docs/instrumenting/exposition_formats/

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}
export interface Family {
  readonly name: string;
  readonly type: string;
  readonly samples: Sample[];
}
export interface Metrics {
  /** The family of a name. */
  get(name: string): Family | undefined;
  all(): readonly Family[];
  /** The value of the one sample that has these labels, perhaps among others. */
  value(name: string, labels?: Readonly<Record<string, string>>): number | undefined;
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)/y;

export function parseExposition(text: string): Metrics {
  const families = new Map<string, Family>();
  const seen = new Set<string>();
  let current: Family | undefined;
  if (!text.endsWith('\n')) throw new Error('the last line does not end');
  for (const [index, line] of text.slice(0, -1).split('\n').entries()) {
    const fail = (problem: string): never => {
      throw new Error(`line ${index + 1}: ${problem}: ${line}`);
    };
    if (line === '') continue;
    if (line.startsWith('#')) {
      const [, word, name = '', rest = ''] = /^# (HELP|TYPE) (\S+) ?(.*)$/.exec(line) ?? fail('neither HELP nor TYPE');
      if (!NAME.test(name)) fail('bad name');
      if (word === 'HELP') continue;
      if (!['counter', 'gauge', 'histogram', 'summary', 'untyped'].includes(rest)) fail('bad type');
      if (families.has(name)) fail('a second TYPE for the same name');
      families.set(name, (current = { name, type: rest, samples: [] }));
      continue;
    }
    const [, name = '', labelText = '', valueText = ''] = SAMPLE.exec(line) ?? fail('not a sample');
    const value = valueText === '+Inf' ? Infinity : valueText === '-Inf' ? -Infinity : valueText === 'NaN' ? NaN : Number(valueText);
    if (Number.isNaN(value) && valueText !== 'NaN') fail('bad value');
    const labels: Record<string, string> = {};
    for (LABEL.lastIndex = 0; LABEL.lastIndex < labelText.length;) {
      const match = LABEL.exec(labelText) ?? fail('bad labels');
      if (match[1]! in labels) fail('a label twice');
      labels[match[1]!] = match[2]!.replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c));
    }
    const family = current ?? fail('a sample before any TYPE');
    const suffixes = family.type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
    if (!suffixes.some((suffix) => family.name + suffix === name)) fail(`not of the family ${family.name}`);
    const key = JSON.stringify([name, Object.entries(labels).sort()]);
    if (seen.has(key)) fail('a series twice');
    seen.add(key);
    if (family.type === 'counter' && !(value >= 0)) fail('a negative counter');
    family.samples.push({ name, labels, value });
  }
  for (const family of families.values()) if (family.type === 'histogram') checkBuckets(family);
  return {
    get: (name) => families.get(name),
    all: () => [...families.values()],
    value(name, labels = {}) {
      const family = families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ''));
      const found = (family?.samples ?? []).filter(
        (sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
      );
      if (found.length > 1) throw new Error(`${name}: ${found.length} samples have ${JSON.stringify(labels)}`);
      return found[0]?.value;
    },
  };
}

/** Cumulative, ascending, ending with +Inf, which is the count. */
function checkBuckets(family: Family): void {
  const series = new Map<string, { buckets: [number, number][]; count?: number; sum?: number }>();
  for (const { name, labels, value } of family.samples) {
    const { le, ...rest } = labels;
    const key = JSON.stringify(Object.entries(rest).sort());
    const one = series.get(key) ?? { buckets: [] };
    series.set(key, one);
    if (name.endsWith('_bucket')) one.buckets.push([le === '+Inf' ? Infinity : Number(le), value]);
    else if (name.endsWith('_count')) one.count = value;
    else one.sum = value;
  }
  for (const [key, { buckets, count, sum }] of series) {
    const last = buckets.at(-1);
    if (!last || last[0] !== Infinity || last[1] !== count || sum === undefined) throw new Error(`${family.name} ${key}: no +Inf bucket, or not the count`);
    buckets.forEach(([le, value], i) => {
      const before = buckets[i - 1];
      if (before && !(before[0] < le && before[1] <= value)) throw new Error(`${family.name} ${key}: buckets not ascending at ${le}`);
    });
  }
}
