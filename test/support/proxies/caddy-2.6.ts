// Debian's Caddy.

import { caddyKit } from './caddy-files.ts';

export const caddy = caddyKit('caddy-2.6', 'caddy', { keeps: false });
