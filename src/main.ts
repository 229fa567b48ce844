#!/usr/bin/env node
// Where does the process begin and end? The only file that reads the environment and the arguments, and sets the exit code.

import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { runCli } from './cli.ts';
import { openTrusted, readTrusted } from './files.ts';

// A reader that went away (`grantgate config | head -1`) is no failure of ours, and must not take a running service down.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);

// 2 is "cannot decide"; Node's own 1 would be a deny to whoever asked.
process.on('uncaughtException', (error) => {
  setTimeout(() => process.exit(2), 1_000); // whoever reads stderr may have stopped
  process.stderr.write(`grantgate: ${error.stack ?? String(error)}\n`, () => process.exit(2));
});

const shipped = ['../deploy/', '../policy-cache/vocabulary/'].map((path) => fileURLToPath(new URL(path, import.meta.url)));

const code = await runCli(process.argv.slice(2), {
  env: process.env,
  stdout: process.stdout,
  stderr: process.stderr,
  stdin: process.stdin,
  readFile: (path) => readTrusted(path, shipped),
  openFile: (path) => openTrusted(path, shipped),
  onSignal(f) {
    const listeners = (['SIGINT', 'SIGTERM'] as const).map((signal) => ({ signal, listener: () => f(signal) }));
    for (const { signal, listener } of listeners) process.on(signal, listener);
    return () => {
      for (const { signal, listener } of listeners) process.off(signal, listener);
    };
  },
  exit: (status) => process.exit(status),
  wall: () => Date.now(),
  random: () => Math.random(),
  uuid: () => randomUUID(),
  hostname: () => hostname(),
});

// The exit code, and no process.exit: whatever is still on its way to a pipe would be lost.
process.exitCode = code;
