// Debian's HAProxy: the checklist.

import { checklist } from '../support/proxies/checklist.ts';
import { haproxy } from '../support/proxies/haproxy.ts';

checklist(haproxy);
