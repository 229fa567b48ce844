// How are durations that were counted elsewhere (series.ts) shown as an OpenTelemetry histogram?
//
// An observable instrument cannot be a histogram. So a `MetricProducer` (OpenTelemetry's way in for foreign metrics) hands the sums over at the scrape.

import { ValueType, type HrTime } from '@opentelemetry/api';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { AggregationTemporality, DataPointType, type CollectionResult, type HistogramMetricData, type MetricProducer } from '@opentelemetry/sdk-metrics';
import { SECONDS_BOUNDS, type Series } from './series.ts';

export interface Histogram {
  readonly name: string;
  readonly description: string;
  /** Read at each scrape. */
  readonly series: Iterable<Series>;
}

/** `started`: when counting began. */
export function histogramProducer(
  histograms: readonly Histogram[],
  { started, wall }: { readonly started: number; readonly wall: () => number },
): MetricProducer {
  const startTime = hrTime(started);
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
