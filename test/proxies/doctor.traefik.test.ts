// Does the doctor find the holes that Traefik's configuration can have, and nothing in the shipped one?

import { describeDoctor } from '../support/proxies/doctor-suite.ts';
import { TRAEFIK_HOLES } from '../support/proxies/holes.ts';
import { traefik } from '../support/proxies/traefik.ts';

describeDoctor(traefik, 'traefik', TRAEFIK_HOLES);
