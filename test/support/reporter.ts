// How did each suite do, what was left out and why? Printed at the very end of a run; the last line is `N passed, N failed`.

import { relative } from 'node:path';
import type { Reporter, TestCase, TestModule, Vitest } from 'vitest/node';

interface Row {
  readonly suite: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: readonly string[];
  readonly seconds: number;
}

export default class implements Reporter {
  #root = '';
  #watching = false;

  onInit(vitest: Vitest): void {
    this.#root = vitest.config.root;
    this.#watching = vitest.config.watch;
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const rows = modules.map((module) => row(module, relative(this.#root, module.moduleId)));
    const print = (status: number): boolean =>
      process.stdout.write(
        `\nNode ${process.versions.node}\n${table(rows)}${proxies(modules)}${omissions(rows)}${failures(modules, this.#root)}\n${closing(rows, unhandled.length, status)}\n`,
      );
    // Errors are still being printed when the other reporter has been told the same. A watching run does not end.
    if (this.#watching) print(0);
    else process.once('exit', print);
  }
}

function row(module: TestModule, suite: string): Row {
  const tests = [...module.children.allTests()];
  const count = (state: string): number => tests.filter((test) => test.result().state === state).length;
  // A file that cannot be imported has no tests, and a failed afterAll fails none: the file itself is what failed then.
  const failedTests = count('failed') + count('pending');
  const failed = failedTests || (module.ok() && module.errors().length === 0 ? 0 : 1);
  const skipped = tests.filter((test) => test.result().state === 'skipped').map(reason);
  const { environmentSetupDuration, prepareDuration, collectDuration, setupDuration, duration } = module.diagnostic();
  const ms = environmentSetupDuration + prepareDuration + collectDuration + setupDuration + duration;
  return { suite, passed: count('passed'), failed, skipped, seconds: ms / 1_000 };
}

function reason(test: TestCase): string {
  const result = test.result();
  const note = result.state === 'skipped' ? result.note : undefined;
  return note === undefined ? test.fullName : `${test.fullName}: ${note}`;
}

function table(rows: readonly Row[]): string {
  const lines = [...rows]
    .sort((a, b) => a.suite.localeCompare(b.suite, 'en'))
    .map(({ suite, passed, failed, skipped, seconds }) => [suite, seconds.toFixed(1), passed, failed, skipped.length].map(String));
  const all = [['suite', 'seconds', 'passed', 'failed', 'skipped'], ...lines];
  const widths = all[0]!.map((_, column) => Math.max(...all.map((line) => line[column]!.length)));
  return (
    all.map((line) => line.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join('  ')).join('\n') + '\n'
  );
}

/** Tests passed by program and version, of the suites that say which program they ran (task.meta). */
function proxies(modules: readonly TestModule[]): string {
  const passed = new Map<string, number>();
  for (const module of modules)
    for (const test of module.children.allTests()) {
      const { proxy, version } = test.meta() as { proxy?: string; version?: string };
      if (proxy === undefined || version === undefined) continue;
      const key = `${proxy.padEnd(14)}  ${version.padEnd(8)}`;
      passed.set(key, (passed.get(key) ?? 0) + (test.result().state === 'passed' ? 1 : 0));
    }
  if (passed.size === 0) return '';
  const lines = [...passed].sort(([a], [b]) => a.localeCompare(b, 'en')).map(([key, count]) => `${key}  ${String(count).padStart(6)}`);
  return `\n${'proxy'.padEnd(14)}  ${'version'.padEnd(8)}  passed\n${lines.join('\n')}\n`;
}

function omissions(rows: readonly Row[]): string {
  const left = rows.filter(({ skipped }) => skipped.length > 0);
  if (left.length === 0) return '';
  return `\nnot run:\n${left.flatMap(({ suite, skipped }) => skipped.map((why) => `  ${suite}: ${why}`)).join('\n')}\n`;
}

/** A line each, which .ci/run reads; what failed outside of every test has no line. The whole of it stands further up. */
function failures(modules: readonly TestModule[], root: string): string {
  const lines = modules
    .filter((module) => !module.ok())
    .flatMap((module) => {
      const suite = relative(root, module.moduleId);
      const failed = [...module.children.allTests()].filter((test) => test.result().state === 'failed');
      const words = (errors: readonly { readonly message: string }[] | undefined): string => (errors?.[0]?.message ?? '').split('\n')[0]!.slice(0, 160);
      return failed.length === 0
        ? [`failed: ${suite}: ${words(module.errors())}`]
        : failed.map((test) => `failed: ${suite}: ${test.fullName.slice(0, 120)}: ${words(test.result().errors)}`);
    });
  return lines.length === 0 ? '' : `\n${lines.join('\n')}\n`;
}

function closing(rows: readonly Row[], unhandled: number, status: number): string {
  const sum = (count: (row: Row) => number): number => rows.reduce((total, one) => total + count(one), 0);
  // What fails outside of every test counts too: an error that nobody caught, a set-up that broke, no file found.
  const failed = sum((one) => one.failed) + unhandled || (status === 0 ? 0 : 1);
  const skipped = sum((one) => one.skipped.length);
  return `${sum((one) => one.passed)} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
