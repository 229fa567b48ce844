// Which spans does a process send to a collector? A collector that speaks OTLP: protobuf and JSON over HTTP, and gRPC, read by
// protobufjs from a definition that stands beside this file.

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { Server, ServerCredentials, loadPackageDefinition, type ServiceDefinition, type UntypedHandleCall } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { PROTOS } from './grpc.ts';
import { until } from './until.ts';

export interface CollectedSpan {
  readonly trace: string;
  readonly id: string;
  /** '' : none. */
  readonly parent: string;
  readonly state: string;
  readonly name: string;
  readonly kind: 'internal' | 'server' | 'client' | 'other';
  /** Milliseconds since 1970. */
  readonly start: number;
  readonly ms: number;
  readonly attributes: Readonly<Record<string, unknown>>;
  /** `trace/id` of each. */
  readonly links: readonly string[];
  readonly status: 'unset' | 'ok' | 'error';
  readonly resource: Readonly<Record<string, unknown>>;
}

export interface Collector {
  readonly port: number;
  readonly grpcPort: number;
  /** Of a process that is to export to it, soon after each span, and not by gRPC. */
  env(more?: Readonly<Record<string, string>>): Readonly<Record<string, string>>;
  readonly spans: readonly CollectedSpan[];
  /** How each export came: `application/x-protobuf`, `application/json`, `grpc`. */
  readonly ways: ReadonlySet<string>;
  /** Spans of a trace, once there are so many. */
  ofTrace(trace: string, count: number): Promise<readonly CollectedSpan[]>;
  /** The first span that is so, once there is one. */
  first(is: (span: CollectedSpan) => boolean, what: string): Promise<CollectedSpan>;
  close(): Promise<void>;
}

interface KeyValue {
  readonly key: string;
  readonly value?: Readonly<Record<string, unknown>>;
}
interface RawSpan {
  readonly traceId?: Buffer | string;
  readonly spanId?: Buffer | string;
  readonly traceState?: string;
  readonly parentSpanId?: Buffer | string;
  readonly name?: string;
  readonly kind?: number;
  readonly startTimeUnixNano?: string;
  readonly endTimeUnixNano?: string;
  readonly attributes?: readonly KeyValue[];
  readonly links?: readonly { readonly traceId?: Buffer | string; readonly spanId?: Buffer | string }[];
  readonly status?: { readonly code?: number };
}
interface Export {
  readonly resourceSpans?: readonly {
    readonly resource?: { readonly attributes?: readonly KeyValue[] };
    readonly scopeSpans?: readonly { readonly spans?: readonly RawSpan[] }[];
  }[];
}

const definitions = loadPackageDefinition(loadSync('otlp_trace.proto', { longs: String, includeDirs: [PROTOS] })) as unknown as {
  readonly opentelemetry: {
    readonly proto: {
      readonly collector: {
        readonly trace: {
          readonly v1: {
            readonly TraceService: { readonly service: ServiceDefinition & { readonly Export: { readonly requestDeserialize: (bytes: Buffer) => Export } } };
          };
        };
      };
    };
  };
};
const { service } = definitions.opentelemetry.proto.collector.trace.v1.TraceService;

export async function startCollector(): Promise<Collector> {
  const spans: CollectedSpan[] = [];
  const ways = new Set<string>();
  const take = (message: Export, way: string): void => {
    ways.add(way);
    spans.push(...spansOf(message));
  };

  const http = createServer((req, res) => {
    const parts: Buffer[] = [];
    req.on('data', (part: Buffer) => parts.push(part));
    req.on('end', () => {
      const sent = Buffer.concat(parts);
      const body = req.headers['content-encoding'] === 'gzip' ? gunzipSync(sent) : sent;
      const way = req.headers['content-type'] ?? '';
      const known = req.method === 'POST' && req.url === '/v1/traces';
      if (known) take(way === 'application/json' ? (JSON.parse(body.toString()) as Export) : service.Export.requestDeserialize(body), way);
      res.writeHead(known ? 200 : 404, { 'content-type': way }).end();
    });
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));

  const grpc = new Server();
  const exported: UntypedHandleCall = (call: { request: Export }, done: (error: null, answer: object) => void) => {
    take(call.request, 'grpc');
    done(null, {});
  };
  grpc.addService(service, { Export: exported });
  const grpcPort = await new Promise<number>((resolve, reject) =>
    grpc.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port))),
  );

  const { port } = http.address() as AddressInfo;
  const ofTrace = (trace: string): CollectedSpan[] => spans.filter((span) => span.trace === trace);
  return {
    port,
    grpcPort,
    env: (more = {}) => ({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`, OTEL_BSP_SCHEDULE_DELAY: '20', ...more }),
    spans,
    ways,
    async ofTrace(trace, count) {
      await until(() => ofTrace(trace).length >= count, `${count} spans of the trace ${trace}; there are ${ofTrace(trace).length}`);
      return ofTrace(trace);
    },
    async first(is, what) {
      await until(() => spans.some(is), what);
      return spans.find(is)!;
    },
    async close() {
      grpc.forceShutdown();
      const closed = new Promise<void>((resolve) => http.close(() => resolve()));
      http.closeAllConnections();
      await closed;
    },
  };
}

const KINDS = { 1: 'internal', 2: 'server', 3: 'client' } as const;

function spansOf({ resourceSpans = [] }: Export): CollectedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans = [] }) =>
    scopeSpans.flatMap(({ spans = [] }) =>
      spans.map((span): CollectedSpan => {
        const start = Number(BigInt(span.startTimeUnixNano ?? 0) / 1000n) / 1000;
        const end = Number(BigInt(span.endTimeUnixNano ?? 0) / 1000n) / 1000;
        return {
          trace: hex(span.traceId),
          id: hex(span.spanId),
          parent: hex(span.parentSpanId),
          state: span.traceState ?? '',
          name: span.name ?? '',
          kind: KINDS[span.kind as keyof typeof KINDS] ?? 'other',
          start,
          ms: end - start,
          attributes: valuesOf(span.attributes),
          links: (span.links ?? []).map((link) => `${hex(link.traceId)}/${hex(link.spanId)}`),
          status: (['unset', 'ok', 'error'] as const)[span.status?.code ?? 0] ?? 'unset',
          resource: valuesOf(resource?.attributes),
        };
      }),
    ),
  );
}

/** Bytes in protobuf, hex digits in JSON. */
function hex(id: Buffer | string | undefined): string {
  return typeof id === 'string' ? id : (id?.toString('hex') ?? '');
}

function valuesOf(pairs: readonly KeyValue[] = []): Record<string, unknown> {
  return Object.fromEntries(
    pairs.map(({ key, value = {} }) => {
      const [kind, plain] = Object.entries(value)[0] ?? [];
      return [key, kind === 'intValue' ? Number(plain) : plain];
    }),
  );
}

/** A trace as a tree. `others`: spans that no collector was told of, by their ids. */
export function treeOf(spans: readonly CollectedSpan[], others: readonly { id: string; parent: string; name: string }[]): string {
  const nodes: { id: string; parent: string; name: string; start: number }[] = [
    ...others.map((each) => ({ ...each, start: 0 })),
    ...spans.map(({ id, parent, name, kind, ms, start, attributes, links }) => ({
      id,
      parent,
      start,
      name: `${name} (${kind}, ${ms.toFixed(2)} ms)  ${Object.entries(attributes)
        .map(([key, value]) => `${key}=${String(value)}`)
        .join(' ')}${links.length > 0 ? `  links: ${links.length}` : ''}`,
    })),
  ];
  const below = (parent: string, indent: string): string[] =>
    nodes
      .filter((node) => node.parent === parent)
      .toSorted((a, b) => a.start - b.start)
      .flatMap(({ id, name }) => [`${indent}${id}  ${name}`, ...below(id, `${indent}  `)]);
  return below('', '').join('\n');
}
