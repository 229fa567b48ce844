// Does the doctor find the holes that Envoy's configuration can have, and nothing in the shipped one?

import { describeDoctor } from '../support/proxies/doctor-suite.ts';
import { envoyGrpc, envoyHttp, envoyPrefix } from '../support/proxies/envoy.ts';
import { ENVOY_GRPC_HOLES, ENVOY_HOLES } from '../support/proxies/holes.ts';

describeDoctor(envoyHttp, 'envoy', ENVOY_HOLES);
describeDoctor(envoyPrefix, 'envoy');
describeDoctor(envoyGrpc, 'envoy', ENVOY_GRPC_HOLES);
