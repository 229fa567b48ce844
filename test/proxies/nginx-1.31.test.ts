// A current nginx: the checklist.

import { checklist } from '../support/proxies/checklist.ts';
import { nginxCurrent } from '../support/proxies/nginx-1.31.ts';

checklist(nginxCurrent);
