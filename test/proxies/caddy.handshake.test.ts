// May a browser open a WebSocket through Caddy?

import { caddyCurrent } from '../support/proxies/caddy-2.11.ts';
import { handshakes } from '../support/proxies/handshake.ts';

handshakes(caddyCurrent, null); // its forward_auth passes all headers on
