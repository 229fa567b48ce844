// May a browser open a WebSocket through Traefik?

import { handshakes, uncommented } from '../support/proxies/handshake.ts';
import { traefik } from '../support/proxies/traefik.ts';

handshakes(traefik, uncommented('grantgate.yaml', '#- Cookie', '- Cookie'));
