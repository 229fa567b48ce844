// What becomes of a session whose renewal was asked for twice: an answer that was lost, two windows at once, or a thief?

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { localAddition, startTestAdministration } from '../support/admin.ts';
import { assertNothingKept, bodyOf, localOfTests, words } from '../support/local.ts';

const local = localOfTests();
const { me, refresh, secrets, someone } = local;
const seed = Number(process.env['GRANTGATE_SEED'] ?? (Date.now() ^ (process.pid << 15)) & 0x7fffffff);

/** Which of these can still be used: at a door, and to renew; a refresh token is not shown for it. */
async function good(pairs: readonly { readonly accessToken: string }[]): Promise<readonly number[]> {
  const seen = await Promise.all(pairs.map(({ accessToken }) => me(accessToken)));
  for (const each of seen) expect(each).toBeOneOf(['200', '401 ended-session']);
  return seen.flatMap((each, i) => (each === '200' ? [i] : []));
}

describe('a refresh token that is shown again within a moment', () => {
  test('renews the session once more: the answer that was lost is good for nothing', async () => {
    const begun = await someone();
    const lost = bodyOf(await refresh(begun.refreshToken));
    const found = bodyOf(await refresh(begun.refreshToken));
    expect(found.session).toBe(begun.session);
    expect(await good([begun, lost, found])).toEqual([2]);
    const actions = await local.sql`select action, after from grantgate.audit where target = ${begun.id} and action like 'user.session%' order by id`;
    expect(actions.map(({ action, after }) => [action, (after as { again?: boolean }).again])).toEqual([
      ['user.session.renew', undefined],
      ['user.session.renew', true],
    ]);
    const next = bodyOf(await refresh(found.refreshToken));
    expect(await good([begun, lost, found, next])).toEqual([3]);
    // Its successor was used: by now there is nobody who has not got it.
    expect(words(await refresh(begun.refreshToken))).toBe('401 reused-token');
    expect(await good([begun, lost, found, next])).toEqual([]);
    expect(words(await refresh(next.refreshToken))).toBe('401 ended-session');
  });

  test.each([2, 5, 20])(
    'by %d windows at once: none is logged out, one pair is good, and whoever has another is given the good one in its turn',
    async (windows) => {
      const { refreshToken, session } = await someone();
      const answers = await Promise.all(Array.from({ length: windows }, () => refresh(refreshToken)));
      expect(answers.map(words)).toEqual(answers.map(() => '200'));
      const pairs = answers.map(bodyOf);
      const [last] = await good(pairs);
      expect(await good(pairs)).toEqual([last]);
      const [row] =
        await local.sql`select encode(sha256(${pairs[last!]!.refreshToken}::bytea), 'hex') = refresh is from grantgate.session where id = ${session}`;
      expect(row?.['is']).toBe(true);
      // A window that kept an earlier answer.
      const other = pairs[(last! + 1) % windows]!;
      const next = bodyOf(await refresh(other.refreshToken));
      expect(await good([...pairs, next])).toEqual([windows]);
    },
  );

  test.each(['the first one', 'an answer that another has overtaken'])('and no moment later ends the session: %s', async (which) => {
    const { refreshToken } = await someone();
    const [early, late] = [bodyOf(await refresh(refreshToken)), bodyOf(await refresh(refreshToken))];
    await local.endLeeway();
    expect(words(await refresh(which === 'the first one' ? refreshToken : early.refreshToken))).toBe('401 reused-token');
    expect(await good([early, late])).toEqual([]);
    expect(words(await refresh(late.refreshToken))).toBe('401 ended-session');
  });

  test('does not make that moment longer, and not more often than a browser has windows', async () => {
    const { refreshToken, session } = await someone();
    const until = async () => (await local.sql`select leeway::text, cardinality(lately) n from grantgate.session where id = ${session}`)[0];
    await refresh(refreshToken);
    const first = await until();
    expect(first).toMatchObject({ n: 1 });
    for (let i = 2; i <= 32; i++) {
      expect(words(await refresh(refreshToken))).toBe('200');
      expect(await until()).toEqual({ ...first, n: i });
    }
    expect(words(await refresh(refreshToken))).toBe('200');
    expect(words(await refresh(refreshToken))).toBe('401 reused-token');
  });

  test('ends it where there is no such moment', async () => {
    const strict = await startTestAdministration(local.database, { addition: localAddition({ refreshLeeway: 0 }) });
    try {
      const { refreshToken } = await someone();
      const answers = await Promise.all([1, 2].map(() => strict.ask('nobody', 'POST /v1/auth/refresh', { refreshToken })));
      expect(answers.map(words).toSorted()).toEqual(['200', '401 reused-token']);
      const { accessToken, refreshToken: next } = bodyOf(answers.find(({ status }) => status === 200)!);
      for (const secret of [accessToken, next]) secrets.add(secret);
      expect(await me(accessToken)).toBe('401 ended-session');
    } finally {
      strict.close();
    }
  });
});

test('however it is renewed, at most one pair is good; what was replaced a while ago, shown by whoever, ends all', async () => {
  console.log(`leeway: GRANTGATE_SEED=${seed}`);
  const step = fc.tuple(fc.constantFrom('good', 'good', 'before', 'before', 'wait'), fc.nat(20));
  for (const steps of fc.sample(fc.array(step, { minLength: 12, maxLength: 12 }), { seed, numRuns: 4 })) {
    const begun = await someone();
    const issued: { readonly accessToken: string; readonly refreshToken: string }[] = [begun];
    let current: number | null = 0;
    let lately: number[] = [];
    for (const [i, [what, which]] of steps.entries()) {
      if (what === 'wait') {
        await local.endLeeway();
        lately = [];
      }
      const old = issued.flatMap((_, index) => (index === current ? [] : [index]));
      const shown: number | undefined = what === 'good' ? (current ?? undefined) : old[which % Math.max(1, old.length)];
      if (what === 'wait' || shown === undefined) continue;
      const answer = await refresh(issued[shown]!.refreshToken);
      const expected = current === null ? '401 ended-session' : shown === current || lately.includes(shown) ? '200' : '401 reused-token';
      expect(words(answer), `step ${i} of ${JSON.stringify(steps)}`).toBe(expected);
      if (expected === '200') {
        lately = shown === current ? [shown] : [...lately, current!];
        if (lately.length > 32) lately = [];
        current = issued.push(bodyOf(answer)) - 1;
      } else current = null;
      expect(await good(issued), `step ${i} of ${JSON.stringify(steps)}`).toEqual(current === null ? [] : [current]);
    }
  }
});

test('nothing of what opens is kept anywhere, nor in what was said of it', async () => assertNothingKept(local));
