// How does a test use a page as a person does? In a real browser, Debian's Chromium, without a window.

import { chromium, type Page } from 'playwright-core';
import { requirePart } from './require.ts';

const program = requirePart('chromium');

export interface Tab {
  readonly page: Page;
  /** What the browser said of it: refused by its policy, wrong, or not found (advice is none of it). */
  readonly said: string[];
  /** What it asked servers for: `GET /v1/auth/set-password`. */
  readonly asked: readonly string[];
}

export interface Browser {
  /** In a session of its own. */
  open(url: string, options?: { readonly width?: number; readonly dark?: boolean; readonly scripts?: boolean }): Promise<Tab>;
  close(): Promise<void>;
}

export async function startBrowser(): Promise<Browser> {
  // The sandbox does not start for root.
  const browser = await chromium.launch({ executablePath: program, chromiumSandbox: process.getuid?.() !== 0 });
  return {
    async open(url, { width = 1024, dark = false, scripts = true } = {}) {
      const context = await browser.newContext({ viewport: { width, height: 640 }, colorScheme: dark ? 'dark' : 'light', javaScriptEnabled: scripts });
      const page = await context.newPage();
      page.setDefaultTimeout(20_000);
      const said: string[] = [];
      const asked: string[] = [];
      page.on('console', (message) => void (['error', 'warning'].includes(message.type()) && said.push(message.text())));
      page.on('pageerror', (error) => said.push(error.message));
      page.on('request', (request) => asked.push(`${request.method()} ${new URL(request.url()).pathname}`));
      await page.goto(url);
      return { page, said, asked };
    },
    close: () => browser.close(),
  };
}
