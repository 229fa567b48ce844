// What text do these bytes of Huffman code stand for? (RFC 7541, section 5.2 and appendix B)
//
// The code is canonical: symbols by length, and by their number among those of one length, get codes that are counted upwards. So the lengths
// say all of it. It is read four bits at a time: the shortest code has five, so at most one symbol ends in each step.

/** Of each symbol's code, in bits. */
const LENGTHS = [
  [13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28],
  [6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10],
  [13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6],
  [15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28],
  [20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24],
  [22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23],
  [26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27],
  [20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26],
].flat();
const END_OF_STRING = 256;
const LONGEST = 30;
/** Of what may stand behind the last symbol: the first bits of the end of string, fewer than a byte, and they are all ones. */
const MOST_PADDING = 7;

/** A step's entry: the node that it leads to, and these. */
const SYMBOL_SHIFT = 16;
const EMITS = 1 << 24;
const FAILS = 1 << 25;

interface Machine {
  /** By node and four bits. */
  readonly steps: Uint32Array;
  /** May a text end in this node? */
  readonly ends: Uint8Array;
}

/** Made for the first text: a start has no time to lose. */
let machine: Machine | null = null;

/** Room for a text; what is longer gets its own. */
const room = Buffer.allocUnsafeSlow(1024);

/** The text, a character for each byte; null: the code is broken. */
export function decodeHuffman(bytes: Buffer, from: number, to: number): string | null {
  machine ??= makeMachine();
  const { steps, ends } = machine;
  const most = ((to - from) * 8) / 5 + 1;
  const text = most <= room.length ? room : Buffer.allocUnsafe(Math.ceil(most));
  let length = 0;
  let node = 0;
  for (let i = from; i < to; i++) {
    const byte = bytes[i]!;
    let step = steps[(node << 4) | (byte >> 4)]!;
    if (step >= EMITS) {
      if (step >= FAILS) return null;
      text[length++] = (step >> SYMBOL_SHIFT) & 0xff;
    }
    step = steps[((step & 0xffff) << 4) | (byte & 0xf)]!;
    if (step >= EMITS) {
      if (step >= FAILS) return null;
      text[length++] = (step >> SYMBOL_SHIFT) & 0xff;
    }
    node = step & 0xffff;
  }
  return ends[node] === 1 ? text.toString('latin1', 0, length) : null;
}

function makeMachine(): Machine {
  /** Of each node and bit: the next node, or the symbol that ends there, counted down from -1. */
  const nodes: [number, number][] = [[0, 0]];
  let code = 0;
  for (let length = 1; length <= LONGEST; length++, code *= 2) {
    for (let symbol = 0; symbol <= END_OF_STRING; symbol++) {
      if ((symbol === END_OF_STRING ? LONGEST : LENGTHS[symbol]) !== length) continue;
      let node = 0;
      for (let bit = length - 1; bit > 0; bit--) {
        const side = bitOf(code, bit);
        if (nodes[node]![side] === 0) nodes[node]![side] = nodes.push([0, 0]) - 1;
        node = nodes[node]![side];
      }
      nodes[node]![bitOf(code, 0)] = -1 - symbol;
      code++;
    }
  }
  const steps = new Uint32Array(nodes.length * 16);
  for (let node = 0; node < nodes.length; node++) for (let four = 0; four < 16; four++) steps[node * 16 + four] = stepOf(nodes, node, four);
  const ends = new Uint8Array(nodes.length);
  for (let node = 0, ones = 0; ones <= MOST_PADDING; ones++, node = nodes[node]![1]) ends[node] = 1;
  return { steps, ends };
}

function stepOf(nodes: readonly (readonly [number, number])[], from: number, four: number): number {
  let node = from;
  let emitted = 0;
  for (let bit = 3; bit >= 0; bit--) {
    node = nodes[node]![bitOf(four, bit)]!;
    if (node === -1 - END_OF_STRING) return FAILS | EMITS;
    if (node < 0) {
      emitted = EMITS | ((-1 - node) << SYMBOL_SHIFT);
      node = 0;
    }
  }
  return node | emitted;
}

/** Not by shifts alone: a code has up to thirty bits, and is counted one beyond. */
function bitOf(number: number, bit: number): 0 | 1 {
  return Math.floor(number / 2 ** bit) % 2 === 0 ? 0 : 1;
}
