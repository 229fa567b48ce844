// Does the doctor find nothing wrong with the shipped Caddyfile, in an old Caddy and in a current one?

import { caddyCurrent } from '../support/proxies/caddy-2.11.ts';
import { caddy } from '../support/proxies/caddy-2.6.ts';
import { describeDoctor } from '../support/proxies/doctor-suite.ts';

describeDoctor(caddy, 'caddy');
describeDoctor(caddyCurrent, 'caddy');
