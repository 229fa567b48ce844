// Does the doctor find each hole that an nginx is known for, call it by its name, and find nothing where there is none?

import { describe, expect, test } from 'vitest';
import { codes } from '../../src/proxydoctor/finding.ts';
import { examine } from '../support/proxies/doctor.ts';
import { describeDoctor } from '../support/proxies/doctor-suite.ts';
import { ENVOY_HOLES, NGINX_HOLES, spoilBy, TRAEFIK_HOLES } from '../support/proxies/holes.ts';
import { nginx } from '../support/proxies/nginx.ts';

describeDoctor(nginx, 'nginx', NGINX_HOLES);

test('no code is without a hole that it was found by', () => {
  const found = [NGINX_HOLES, ENVOY_HOLES, TRAEFIK_HOLES].flat().flatMap((hole) => hole.codes);
  expect([...new Set(found)].sort()).toEqual([...codes()].sort());
});

/** The real sidecar and an application that serves everything, as in production: the doctor has tokens, and sees answers alone. */
describe.concurrent('from outside', () => {
  const outside = { door: false, application: false };

  test('the shipped files: nothing is wrong, and what was not asked for is told', async () => {
    const { code, problems, unknown, report } = await examine(nginx, outside);
    expect({ code, problems, unknown }).toEqual({ code: 0, problems: [], unknown: [] });
    expect(report.kind).toBe('nginx');
    expect(report.notAsked).toEqual([
      { option: '--door', codes: ['target-differs', 'contract-missing', 'header-injection', 'body-owed', 'body-forwarded', 'fail-open', 'no-keepalive'] },
      { option: '--application', codes: ['identity-forged', 'identity-missing', 'rewrite-header', 'upgrade-tunnel', 'body-changed', 'target-differs'] },
    ]);
  });
  test('without a token some of it cannot be looked at', async () => {
    const { code, problems, unknown } = await examine(nginx, { ...outside, leave: ['--token-file', '--other-token-file'] });
    expect({ code, problems, unknown }).toEqual({
      code: 2,
      problems: [],
      unknown: ['original-uri', 'second-credential', 'method-override', 'decision-cached'],
    });
  });
  test.for(NGINX_HOLES.filter(({ outside: seen }) => seen))('$hole: $codes', async (hole) => {
    const { code, problems, text, tokens } = await examine(nginx, { ...outside, spoil: spoilBy(hole) });
    expect(problems).toEqual(hole.codes);
    expect(code).toBe(1);
    for (const token of tokens) expect(text).not.toContain(token);
  });
});

describe.concurrent('in the place of one of the two', () => {
  test.each([
    ['the sidecar', { application: false }, ['--application']],
    ['the application', { door: false }, ['--door']],
  ])('%s: nothing is wrong with the shipped files, and the rest was not asked for', async (_, options, missing) => {
    const { code, problems, unknown, report } = await examine(nginx, options);
    expect({ code, problems, unknown }).toEqual({ code: 0, problems: [], unknown: [] });
    expect(report.notAsked.map(({ option }) => option)).toEqual(missing);
  });
});
