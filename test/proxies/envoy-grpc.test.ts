// Envoy that asks over gRPC: the checklist.

import { checklist } from '../support/proxies/checklist.ts';
import { envoyGrpc } from '../support/proxies/envoy.ts';

checklist(envoyGrpc);
