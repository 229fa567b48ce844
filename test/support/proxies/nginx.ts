// Debian's nginx.

import { nginxKit } from './nginx-files.ts';

export const nginx = nginxKit('nginx', 'nginx');
export const startNginx = nginx.startAt;
