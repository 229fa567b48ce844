// Debian’s Caddy: the checklist.

import { checklist } from '../support/proxies/checklist.ts';
import { caddy } from '../support/proxies/caddy-2.6.ts';

checklist(caddy);
