// A current Caddy.

import { caddyKit } from './caddy-files.ts';

export const caddyCurrent = caddyKit('caddy-2.11', 'caddyCurrent', { keeps: true });
