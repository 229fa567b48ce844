// Do several checks make one answer: all must pass, the first deny decides, and nothing is learnt from another's check?
import { describe, expect, test } from 'vitest';
import { createPdp, parseAtLeast } from '../../src/pdp.ts';

describe('several checks in one question', () => {
  const may = { allow: true, reason: 'generic', rule: '3' } as const;
  const mayNot = { allow: false, reason: 'no-grant', rule: '3' } as const;
  const wanted = [0, 1, 2].map((operation) => ({ subject: 'u', operation, resource: 0, target: '*' }));
  /** Answers by operation; those in `slow` come later. */
  const cacheOf = (denied: readonly number[], slow: readonly number[] = []) =>
    createPdp({
      check({ operation }, status) {
        const decision = denied.includes(operation) ? mayNot : may;
        const settle = (hit: boolean) => {
          Object.assign(status!, { tenant: `t${operation}`, customer: '', revision: null, hit });
          return decision;
        };
        return slow.includes(operation) ? new Promise((resolve) => setImmediate(() => resolve(settle(false)))) : settle(true);
      },
    });

  test.each<[readonly number[], readonly number[]]>([
    [[], []],
    [[], [0]],
    [[], [1]],
    [[], [2]],
    [[], [0, 1, 2]],
    [[1], []],
    [[1], [1]],
    [[1, 2], [0]],
    [[0], []],
    [[2], [0, 2]],
  ])('denied %j, slow %j', async (denied, slow) => {
    const ruling = cacheOf(denied, slow).check(wanted);
    const first = denied[0] ?? 2;
    expect(ruling instanceof Promise).toBe(slow.some((operation) => operation <= first));
    expect(await ruling).toEqual({
      decision: denied.length === 0 ? may : mayNot,
      index: first,
      status: { tenant: `t${first}`, customer: '', revision: null, hit: !slow.some((operation) => operation <= first) },
    });
  });
  test('two that wait at the same time do not share what they learn', async () => {
    const pdp = cacheOf([], [0, 1, 2]);
    const [a, b] = await Promise.all([pdp.check([wanted[0]!]), pdp.check([wanted[1]!])]);
    expect([a.status.tenant, b.status.tenant]).toEqual(['t0', 't1']);
  });

  test('what every check of a question is asked with', async () => {
    const asked: unknown[] = [];
    const pdp = createPdp(
      {
        check(_, status, options) {
          asked.push(options);
          Object.assign(status!, { tenant: 't', customer: '', revision: { version: 9, id: 'x' }, hit: false });
          return options?.atLeast === 'latest' ? Promise.resolve(may) : mayNot;
        },
      },
      { deadline: 70 },
    );
    const atLeast = { version: 5, id: 'x' };
    await pdp.check([wanted[0]!]);
    await pdp.check([wanted[0]!], atLeast);
    // `latest` costs a pull: the state that the first check found is late enough for the second.
    await pdp.check(wanted.slice(0, 2), 'latest');
    const common = { deadline: 70, admit: expect.any(Function) as unknown };
    expect(asked).toEqual([common, { ...common, atLeast }, { ...common, atLeast: 'latest' }, { ...common, atLeast: { version: 9, id: 'x' } }]);
  });
  test('the words of a token', () => {
    const id = '00000000-0000-4000-8000-000000000000';
    expect([`7-${id}`, 'latest', '', '7', `7-${id} `, 'LATEST'].map(parseAtLeast)).toEqual([{ version: 7, id }, 'latest', null, null, null, null]);
  });

  // Operation 0 is allowed up to version 1 only, operation 1 from version 2 on: at no moment may anybody do both.
  const swapped = () => {
    let version = 1;
    const asked: string[] = [];
    const pdp = createPdp({
      check({ operation }, status) {
        asked.push(`${operation}@${version}`);
        const settle = (hit: boolean) => {
          Object.assign(status!, { tenant: 't', customer: '', revision: { version, id: 'x' }, hit });
          return (operation === 0) === (version === 1) ? may : mayNot;
        };
        if (operation === 0) return settle(true);
        // The change comes while this one waits.
        return new Promise((resolve) => setImmediate(() => resolve((version++, settle(false)))));
      },
    });
    return { pdp, asked };
  };
  test('what was allowed before a change and what is allowed after it is no allow', async () => {
    const { pdp, asked } = swapped();
    expect(await pdp.check(wanted.slice(0, 2))).toMatchObject({ decision: mayNot, index: 0, status: { hit: false } });
    expect(asked).toEqual(['0@1', '1@1', '0@2']);
  });
  test('a deny after it is one of the state in which all that came before it was allowed, too', async () => {
    let version = 1;
    const pdp = createPdp({
      check({ operation }, status) {
        Object.assign(status!, { tenant: 't', customer: '', revision: { version, id: 'x' }, hit: true });
        if (operation === 0) return version === 1 ? may : mayNot;
        return new Promise((resolve) =>
          setImmediate(() => {
            Object.assign(status!, { revision: { version: ++version, id: 'x' }, hit: false });
            resolve(mayNot);
          }),
        );
      },
    });
    expect(await pdp.check(wanted.slice(0, 2))).toMatchObject({ decision: mayNot, index: 0, status: { revision: { version: 2 } } });
  });
  test('changes without end: it cannot decide', async () => {
    let version = 0;
    const pdp = createPdp({
      check(_, status) {
        Object.assign(status!, { tenant: 't', customer: '', revision: { version: ++version, id: 'x' }, hit: false });
        return Promise.resolve(may);
      },
    });
    await expect(pdp.check(wanted)).rejects.toMatchObject({ code: 'overload' });
    expect(version).toBe(4 * wanted.length);
    expect(await pdp.check(wanted.slice(0, 1))).toMatchObject({ decision: may });
  });
  test('no check at all is never an allow', () => {
    expect(() => cacheOf([]).check([])).toThrow(RangeError);
  });
});
