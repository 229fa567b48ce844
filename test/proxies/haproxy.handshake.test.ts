// May a browser open a WebSocket through HAProxy?

import { handshakes, uncommented } from '../support/proxies/handshake.ts';
import { haproxy } from '../support/proxies/haproxy.ts';

handshakes(haproxy, uncommented('authz.lua', '-- "cookie",', '"cookie",'));
