// `grantgate config`: what are the settings, and where does each come from?

import { showConfig } from '../config.ts';
import type { Context, ExitCode } from './host.ts';

export function configCommand(context: Context): ExitCode {
  context.host.stdout.write(`${showConfig(context.config(), context.json ? 'json' : 'yaml')}\n`);
  return 0;
}
