// Envoy that asks over HTTP, with a constant path: the checklist.

import { checklist } from '../support/proxies/checklist.ts';
import { envoyHttp } from '../support/proxies/envoy.ts';

checklist(envoyHttp);
