// A current Caddy: the checklist.

import { checklist } from '../support/proxies/checklist.ts';
import { caddyCurrent } from '../support/proxies/caddy-2.11.ts';

checklist(caddyCurrent);
