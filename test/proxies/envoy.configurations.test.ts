// Does Envoy take each shipped file as it is, by the command that stands at its head?

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

test('grpc.yaml: what it says of certificates is valid, too', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'grantgate-envoy-tls-'));
  try {
    const names = ['server.pem', 'server.key', 'clients.pem'] as const;
    const [server, key, clients] = names.map((name) => join(directory, name)) as [string, string, string];
    await run('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-noenc', '-subj', '/CN=localhost', '-days', '1', '-keyout', key, '-out', server]);
    await cp(server, clients);
    const text = readFileSync(`${shipped}/grpc.yaml`, 'utf8');
    const lines = text.replace(/^ +#transport_socket:\n(?: +#  .*\n)+/m, (block) => block.replace(/^( +)#/gm, '$1'));
    expect(lines).not.toBe(text);
    await writeFile(join(directory, 'grpc.yaml'), lines);
    await cp(`${shipped}/addresses.yaml`, join(directory, 'addresses.yaml'));
    const [program, ...args] = envoyCommand(directory, 'grpc.yaml');
    const { stdout } = await run(program, [...args, '--mode', 'validate', '-l', 'error'], { cwd: directory });
    expect(stdout).toContain('OK');
    await rm(clients);
    await expect(run(program, [...args, '--mode', 'validate', '-l', 'error'], { cwd: directory })).rejects.toThrow('clients.pem');
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
