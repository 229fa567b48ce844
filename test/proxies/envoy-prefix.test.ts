// Envoy that asks over HTTP, the client's target behind a prefix: the checklist.

import { checklist } from '../support/proxies/checklist.ts';
import { envoyPrefix } from '../support/proxies/envoy.ts';

checklist(envoyPrefix);
