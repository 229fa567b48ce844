// `grantgate healthcheck`: is the service of this configuration ready? For a container's health check, where there is no curl.

import { print, type Context, type ExitCode } from './host.ts';

const LIMIT_MS = 2000;
/** An address to listen on is not always one to connect to. */
const LOCAL: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '[::1]', '::1': '[::1]' };

export async function healthcheckCommand(context: Context): Promise<ExitCode> {
  const { host, port } = context.config().settings.api;
  const url = `http://${LOCAL[host] ?? host}:${port}/readyz`;
  let answer: { status: number; text: string };
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(LIMIT_MS) });
    answer = { status: response.status, text: (await response.text()).trim() };
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
    print(context, `${url}: ${cause}`, { ready: false, url, error: cause });
    return 2;
  }
  const ready = answer.status === 200;
  print(context, `${ready ? 'ready' : 'not ready'}: ${answer.text}`, { ready, url, status: answer.status, answer: json(answer.text) });
  return ready ? 0 : 1;
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
