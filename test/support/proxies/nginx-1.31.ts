// A current nginx, whose defaults of connections to a door are others.

import { nginxKit } from './nginx-files.ts';

export const nginxCurrent = nginxKit('nginx-1.31', 'nginxCurrent');
