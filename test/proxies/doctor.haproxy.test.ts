// Does the doctor find nothing wrong with the shipped HAProxy files?

import { describeDoctor } from '../support/proxies/doctor-suite.ts';
import { haproxy } from '../support/proxies/haproxy.ts';

describeDoctor(haproxy, 'haproxy');
