// How is a duration counted on the hot path? Two plain numbers bumped: `Histogram.record` of OpenTelemetry hashes its attributes at every call.

/** Upper bounds in seconds: 50 µs to 1 s (the default HTTP buckets begin at 5 ms, above nearly every check). */
export const SECONDS_BOUNDS: readonly number[] = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];

/** One series: counts by bucket, the last one for everything above the highest bound. */
export class Series {
  readonly labels: Readonly<Record<string, string>>;
  readonly counts = new Float64Array(SECONDS_BOUNDS.length + 1);
  sum = 0;

  constructor(labels: Readonly<Record<string, string>>) {
    this.labels = labels;
  }

  /** Nearly every check falls into the first buckets, so the search is from below. A bound belongs to its own bucket (`le`). */
  add(seconds: number): void {
    let bucket = 0;
    while (bucket < SECONDS_BOUNDS.length && seconds > SECONDS_BOUNDS[bucket]!) bucket++;
    this.counts[bucket]!++;
    this.sum += seconds;
  }
}
