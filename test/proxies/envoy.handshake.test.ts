// May a browser open a WebSocket through Envoy?

import { envoyGrpc, envoyHttp } from '../support/proxies/envoy.ts';
import { handshakes, uncommented } from '../support/proxies/handshake.ts';

handshakes(envoyGrpc, uncommented('grpc.yaml', '# - exact: cookie', '- exact: cookie'));
handshakes(envoyHttp, uncommented('http.yaml', '# - exact: cookie', '- exact: cookie'));
