// Does Envoy take each shipped file as it is, by the command that stands at its head?

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { CONFIGURATIONS, envoyCommand, startEnvoy } from '../support/proxies/envoy.ts';

const run = promisify(execFile);
const shipped = fileURLToPath(new URL('../../deploy/envoy', import.meta.url));

describe.each(CONFIGURATIONS)('%s', (configuration) => {
  test('is valid', async () => {
    const [program, ...args] = envoyCommand(shipped, configuration);
    const { stdout, stderr } = await run(program, [...args, '--mode', 'validate', '-l', 'error']);
    expect(stdout + stderr).toContain('OK');
  });
  test('says its command', () =>
    expect(readFileSync(`${shipped}/${configuration}`, 'utf8')).toContain(
      `\n#   envoy -c deploy/envoy/${configuration} --config-yaml "$(cat deploy/envoy/addresses.yaml)"\n`,
    ));
  test('with a field that Envoy does not know it is not started', async () =>
    expect(
      startEnvoy(configuration, {}, { spoil: (file, text) => (file === configuration ? text.replace('failure_mode_allow', 'failure_mode_deny') : text) }),
    ).rejects.toThrow('failure_mode_deny'));
});
