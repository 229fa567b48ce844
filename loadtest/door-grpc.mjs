// How does Envoy ask the gRPC door, and what does h2load see of the answers?

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { connect } from 'node:http2';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { percentile } from './figures.mjs';

const run = promisify(execFile);
const PATH = '/envoy.service.auth.v3.Authorization/Check';
const protos = fileURLToPath(new URL('../test/support/protos', import.meta.url));
/** @type {any} */
const loaded = loadPackageDefinition(loadSync('ext_authz.proto', { keepCase: true, includeDirs: [protos] }));
const { Check } = loaded.envoy.service.auth.v3.Authorization.service;

/** What Envoy sends of a browser's request, framed. @param {string} path @param {string} token */
export function checkRequests(path, token) {
  const headers = {
    ':authority': 'app.example',
    ':method': 'GET',
    ':path': path,
    ':scheme': 'https',
    accept: 'application/json, text/plain, */*',
    'accept-encoding': 'gzip, deflate, br, zstd',
    'accept-language': 'en-GB,en;q=0.9',
    authorization: `Bearer ${token}`,
    cookie: 'session=1234567890abcdef; theme=dark',
    referer: 'https://app.example/devices',
    'sec-fetch-dest': 'empty',
    'sec-fetch-mode': 'cors',
    'sec-fetch-site': 'same-origin',
    'user-agent': 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36',
    'x-forwarded-for': '192.0.2.7',
    'x-forwarded-proto': 'https',
    'x-request-id': '0b3a2f6e-6f0c-4f3a-9d3d-8d1b7a0c9e11',
  };
  const http = { id: '1234567890', method: 'GET', headers, path, host: 'app.example', scheme: 'https', protocol: 'HTTP/1.1' };
  /** @type {Buffer} */
  const message = Check.requestSerialize({ attributes: { source: { principal: '' }, destination: {}, request: { time: { seconds: 1, nanos: 1 }, http } } });
  const frame = Buffer.concat([Buffer.alloc(5), message]);
  frame.writeUInt32BE(message.length, 1);
  return frame;
}

/** One call, and what it is answered. @param {number} port @param {Buffer} request */
export async function grpcCheck(port, request) {
  const session = connect(`http://127.0.0.1:${port}`);
  try {
    const stream = session.request({ ':method': 'POST', ':path': PATH, 'content-type': 'application/grpc', te: 'trailers' });
    /** Of an error it stands in the headers. @type {unknown} */
    let grpcStatus;
    for (const event of ['response', 'trailers']) stream.on(event, (headers) => (grpcStatus ??= headers['grpc-status']));
    stream.end(request);
    /** @type {Buffer[]} */
    const parts = [];
    for await (const part of stream) parts.push(part);
    assert.equal(grpcStatus, '0');
    const frame = Buffer.concat(parts);
    const { status, ok_response: ok, denied_response: denied } = Check.responseDeserialize(frame.subarray(5));
    /** @type {string[]} */
    const headers = (ok?.headers ?? []).map((/** @type {{ header: { value: string } }} */ { header }) => header.value);
    return { frame, code: Number(status.code), status: Number(denied?.status?.code ?? 0), headers };
  } finally {
    session.close();
  }
}

/**
 * Calls as fast as they are answered; each must have been, with as many bytes as a permit has where `bytes` says how many. The time of each is from its request to the end of its answer.
 * @param {number} port @param {{ connections: number, streams: number, checks: number, file: string, log: string, bytes?: number }} options
 */
export async function h2load(port, { connections, streams, checks, file, log, bytes }) {
  const headers = ['content-type: application/grpc', 'te: trailers', 'grpc-timeout: 5S'].flatMap((header) => ['-H', header]);
  await rm(log, { force: true });
  const options = ['-c', connections, '-m', streams, '-n', checks, '-t', 1, '-d', file].map(String);
  const { stdout } = await run('h2load', [...options, '--log-file', log, ...headers, `http://127.0.0.1:${port}${PATH}`]);
  assert.match(stdout, new RegExp(`${checks} succeeded, 0 failed, 0 errored`), stdout);
  if (bytes !== undefined) assert.match(stdout, new RegExp(`\\(${checks * bytes}\\) data`), stdout);
  const times = (await readFile(log, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => Number(line.split('\t')[2]) / 1000);
  return { p50: percentile(times, 0.5), p99: percentile(times, 0.99) };
}
