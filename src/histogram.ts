// How are durations counted on the hot path, and shown as an OpenTelemetry histogram?
//
// An observable instrument cannot be a histogram, and `Histogram.record` hashes its attributes at every call. So a check bumps
// two plain numbers, and a `MetricProducer` (OpenTelemetry's way in for foreign metrics) hands the sums over at the scrape.

import { ValueType, type HrTime } from '@opentelemetry/api';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { AggregationTemporality, DataPointType, type CollectionResult, type HistogramMetricData, type MetricProducer } from '@opentelemetry/sdk-metrics';

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

export interface Histogram {
  readonly name: string;
  readonly description: string;
  /** Read at each scrape. */
  readonly series: Iterable<Series>;
}

export function histogramProducer(histograms: readonly Histogram[], wall: () => number): MetricProducer {
  const startTime = hrTime(wall());
  return {
    collect(): Promise<CollectionResult> {
      const endTime = hrTime(wall());
      const metrics = histograms.map((histogram): HistogramMetricData => ({
        descriptor: { name: histogram.name, description: histogram.description, unit: '', valueType: ValueType.DOUBLE },
        aggregationTemporality: AggregationTemporality.CUMULATIVE,
        dataPointType: DataPointType.HISTOGRAM,
        dataPoints: Array.from(histogram.series, (series) => {
          const counts = Array.from(series.counts);
          return {
            startTime,
            endTime,
            attributes: series.labels,
            value: { buckets: { boundaries: [...SECONDS_BOUNDS], counts }, sum: series.sum, count: counts.reduce((all, n) => all + n, 0) },
          };
        }),
      }));
      // The reader takes its own resource and ignores a producer's.
      return Promise.resolve({
        resourceMetrics: { resource: resourceFromAttributes({}), scopeMetrics: [{ scope: { name: 'grantgate' }, metrics }] },
        errors: [],
      });
    },
  };
}

function hrTime(ms: number): HrTime {
  return [Math.floor(ms / 1000), Math.round((ms % 1000) * 1e6)];
}
