// May a browser open a WebSocket through nginx?

import { handshakes, uncommented } from '../support/proxies/handshake.ts';
import { nginx } from '../support/proxies/nginx.ts';

handshakes(nginx, uncommented('grantgate.conf', '#proxy_set_header Cookie ', 'proxy_set_header Cookie '));
