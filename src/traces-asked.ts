// Does the environment ask for traces?
//
// The SDK reads OTEL_* itself, but takes a fifth of a second to load, so whether it is wanted must be known without it. By these rules it
// would export: an exporter is named, or an address to export to, and nobody says otherwise.

export function asksForTraces(env: Readonly<Record<string, string | undefined>>): boolean {
  const said = (name: string): string => env[name]?.trim() ?? '';
  if (said('OTEL_SDK_DISABLED').toLowerCase() === 'true') return false;
  const exporter = said('OTEL_TRACES_EXPORTER');
  if (exporter !== '') return exporter !== 'none';
  return said('OTEL_EXPORTER_OTLP_ENDPOINT') !== '' || said('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT') !== '';
}
