// Where does a user set the password? On one page that needs nothing else, and that lets nothing else in.
//
// What may run in it is named by its hash (CSP), so nothing that finds its way into the page runs, and nothing is loaded.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Routes } from '../admin/route.ts';
import { PAGE_SCRIPT } from './page-script.ts';
import type { LocalParts } from './parts.ts';

export function pageRoutes(routes: Routes, { least, mailer }: Pick<LocalParts, 'least' | 'mailer'>): void {
  const html = new TextEncoder().encode(pageOf({ least, mails: mailer !== undefined }));
  routes.add({
    method: 'get',
    path: '/v1/auth/set-password',
    summary: 'The page behind the link of an activation: sets the password',
    open: true,
    answer: { status: 200, description: 'It reads the token of the link in the browser; to open it uses no link up.', schema: z.string(), media: 'text/html' },
    handle: () => new Response(html, { headers: HEADERS }),
  });
}

const STYLE = `
:root { color-scheme: light dark; --wrong: #b3001b; --line: #767676; --button: #1f5fbf; --on-button: #fff; --focus: #1f5fbf; }
@media (prefers-color-scheme: dark) { :root { --wrong: #ff9c94; --line: #8f8f8f; --button: #8ab4ff; --on-button: #10141a; --focus: #8ab4ff; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1.5rem 1rem; font: 1rem/1.5 system-ui, sans-serif; background: Canvas; color: CanvasText; overflow-wrap: anywhere; }
main { max-width: 24rem; margin: 0 auto; }
h1 { font-size: 1.5rem; line-height: 1.25; }
[hidden] { display: none; }
label { display: block; font-weight: 600; }
input:not([type='checkbox']) { display: block; width: 100%; padding: 0.5rem; font: inherit; background: Field; color: FieldText; border: 1px solid var(--line); border-radius: 0.25rem; }
input[aria-invalid] { border: 2px solid var(--wrong); }
.field { margin: 0 0 1rem; }
.field p { margin: 0.25rem 0 0; }
.wrong { color: var(--wrong); font-weight: 600; }
.wrong:empty { display: none; }
.choice { display: flex; gap: 0.5rem; align-items: center; font-weight: 400; min-height: 1.5rem; }
.choice input { width: 1.25rem; height: 1.25rem; }
button { width: 100%; min-height: 2.75rem; margin-top: 0.5rem; padding: 0.5rem; font: inherit; font-weight: 600; background: var(--button); color: var(--on-button); border: 0; border-radius: 0.25rem; cursor: pointer; }
[aria-busy] button { opacity: 0.6; }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
`;

const sourceOf = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

const HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': [
    "default-src 'none'",
    `script-src ${sourceOf(PAGE_SCRIPT)}`,
    `style-src ${sourceOf(STYLE)}`,
    "connect-src 'self'",
    // The icon that a browser would ask for.
    'img-src data:',
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "form-action 'none'",
    "require-trusted-types-for 'script'",
  ].join('; '),
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'cross-origin-opener-policy': 'same-origin',
};

/** `mails`: whoever has no good link may have another one sent. */
function pageOf({ least, mails }: { readonly least: number; readonly mails: boolean }): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Set your password</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<link rel="icon" href="data:,">
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>Set your password</h1>
<p id="said" role="status" tabindex="-1">This page needs JavaScript: switch it on, and open the link again.</p>
<form id="set" data-least="${least}" novalidate hidden>
<div class="field">
<label for="password">New password</label>
<input id="password" type="password" autocomplete="new-password" required aria-describedby="password-hint password-wrong">
<p id="password-hint">${least} characters at least; a few words are a good one.</p>
<p id="password-wrong" class="wrong" aria-live="polite"></p>
</div>
<div class="field">
<label for="repeated">The same once more</label>
<input id="repeated" type="password" autocomplete="new-password" required aria-describedby="repeated-wrong">
<p id="repeated-wrong" class="wrong" aria-live="polite"></p>
</div>
<label class="choice"><input id="shown" type="checkbox"> Show what I type</label>
<button>Set the password</button>
</form>
${mails ? AGAIN : ''}
</main>
<script>${PAGE_SCRIPT}</script>
</body>
</html>
`;
}

const AGAIN = `<form id="again" novalidate hidden>
<div class="field">
<label for="email">E-mail of your account</label>
<input id="email" type="email" autocomplete="username" required aria-describedby="email-wrong">
<p id="email-wrong" class="wrong" aria-live="polite"></p>
</div>
<button>Send me a link</button>
</form>`;
