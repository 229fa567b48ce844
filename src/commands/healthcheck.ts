// `grantgate healthcheck`: is the service of this configuration ready? For a container's health check, where there is no curl.

import { get } from 'node:http';
import { print, type Context, type ExitCode } from './host.ts';

const LIMIT_MS = 2000;
/** An address to listen on is not always one to connect to. */
const LOCAL: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '[::1]', '::1': '[::1]' };

export async function healthcheckCommand(context: Context): Promise<ExitCode> {
  const { host, port } = context.config().settings.api;
  const url = `http://${LOCAL[host] ?? host}:${port}/readyz`;
  let answer: { readonly status: number; readonly text: string };
  try {
    answer = await ask(url);
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    print(context, `${url}: ${cause}`, { ready: false, url, error: cause });
    return 2;
  }
  const ready = answer.status === 200;
  print(context, `${ready ? 'ready' : 'not ready'}: ${answer.text}`, { ready, url, status: answer.status, answer: json(answer.text) });
  return ready ? 0 : 1;
}

/** By node:http: `fetch` refuses some ports that a service may well listen on. */
function ask(url: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = get(url, { timeout: LIMIT_MS, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.once('end', () => resolve({ status: response.statusCode ?? 0, text: text.trim() })).once('error', reject);
    });
    request.once('error', reject).once('timeout', () => request.destroy(new Error(`no answer within ${LIMIT_MS} ms`)));
  });
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
