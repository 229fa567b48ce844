// How is this process doing, in the names that dashboards for Node know?
//
// `process_*` and `nodejs_*` of prom-client (https://github.com/siimon/prom-client), as observable instruments. What the
// platform cannot say (open files outside Linux) is left out.

import { readdirSync } from 'node:fs';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import process from 'node:process';
import type { Meter } from '@opentelemetry/api';

/** Registers the instruments; the returned function ends the loop measurement. */
export function observeRuntime(meter: Meter): () => void {
  const gauge = (name: string, description: string, read: () => number | null): void => {
    meter.createObservableGauge(name, { description }).addCallback((result) => {
      const value = read();
      if (value !== null) result.observe(value);
    });
  };
  const counter = (name: string, description: string, read: () => number): void => {
    meter.createObservableCounter(name, { description }).addCallback((result) => result.observe(read()));
  };

  counter('process_cpu_user_seconds_total', 'User CPU time spent.', () => process.cpuUsage().user / 1e6);
  counter('process_cpu_system_seconds_total', 'System CPU time spent.', () => process.cpuUsage().system / 1e6);
  counter('process_cpu_seconds_total', 'User and system CPU time spent.', () => {
    const used = process.cpuUsage();
    return (used.user + used.system) / 1e6;
  });
  gauge('process_start_time_seconds', 'Start of the process, in seconds since 1970.', () => performance.timeOrigin / 1000);
  gauge('process_resident_memory_bytes', 'Resident memory.', () => process.memoryUsage.rss());
  gauge('process_open_fds', 'Open file descriptors.', openFiles);
  gauge('nodejs_heap_size_total_bytes', 'Heap that V8 has reserved.', () => process.memoryUsage().heapTotal);
  gauge('nodejs_heap_size_used_bytes', 'Heap in use.', () => process.memoryUsage().heapUsed);
  gauge('nodejs_external_memory_bytes', 'Memory of objects bound to JavaScript objects.', () => process.memoryUsage().external);

  // Delay beyond the sampling interval, since the scrape before: the worst one is what a lease or a deadline feels.
  const resolution = 10;
  const delay = monitorEventLoopDelay({ resolution });
  delay.enable();
  const lag = (suffix: string, what: string, read: () => number) => ({
    read,
    gauge: meter.createObservableGauge(`nodejs_eventloop_lag${suffix}_seconds`, { description: `Event loop lag since the last scrape: ${what}.` }),
  });
  const lags = [
    lag('', 'mean', () => delay.mean),
    lag('_min', 'least', () => delay.min),
    lag('_max', 'greatest', () => delay.max),
    lag('_mean', 'mean', () => delay.mean),
    lag('_stddev', 'standard deviation', () => delay.stddev + resolution * 1e6),
    lag('_p50', 'median', () => delay.percentile(50)),
    lag('_p90', '90th percentile', () => delay.percentile(90)),
    lag('_p99', '99th percentile', () => delay.percentile(99)),
  ];
  meter.addBatchObservableCallback(
    (result) => {
      if (delay.count > 0) for (const { read, gauge: instrument } of lags) result.observe(instrument, Math.max(0, read() / 1e9 - resolution / 1e3));
      delay.reset();
    },
    lags.map(({ gauge: instrument }) => instrument),
  );
  return () => delay.disable();
}

function openFiles(): number | null {
  try {
    return readdirSync('/proc/self/fd').length - 1; // less the one that reads the directory
  } catch {
    return null;
  }
}
