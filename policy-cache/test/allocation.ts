// What does a call leave on the heap?

/**
 * Bytes that the heap grows by, per call: the median over many short runs, so that a collection or a stranger's allocation falls out.
 * What takes hundreds of bytes wants fewer calls, or every run has a collection in it.
 */
export function bytesPerCall(call: (i: number) => unknown, calls = 10_000): number {
  const growth = Array.from({ length: 101 }, () => {
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < calls; i++) call(i);
    return (process.memoryUsage().heapUsed - before) / calls;
  });
  return growth.toSorted((a, b) => a - b)[50]!;
}
