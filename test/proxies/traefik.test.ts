// Traefik: the checklist.

import { checklist } from '../support/proxies/checklist.ts';
import { traefik } from '../support/proxies/traefik.ts';

checklist(traefik);
