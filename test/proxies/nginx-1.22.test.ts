// Debian's nginx: the checklist.

import { checklist } from '../support/proxies/checklist.ts';
import { nginx } from '../support/proxies/nginx.ts';

checklist(nginx);
