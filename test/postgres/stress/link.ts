// Which faults can the way between a sidecar and its server have? Freezing (frozen-link.ts), answers that come late, rings that never come.

import { setTimeout as pause } from 'node:timers/promises';
import { startProxy, type Carrier, type FreezableProxy } from '../../support/frozen-link.ts';

export interface FaultyLink extends FreezableProxy {
  /** Notifications do not arrive; everything else does. */
  dropRings: boolean;
  /** An answer on a fill connection comes up to so many ms late. */
  fillDelayMs: number;
  /** The same for the listening connection, and not up to but exactly. */
  pullDelayMs: number;
  readonly dropped: number;
}

const NOTIFICATION = 'A'.charCodeAt(0);

export async function startFaultyLink(port: number, random: () => number): Promise<FaultyLink> {
  const faults = { dropRings: false, fillDelayMs: 0, pullDelayMs: 0, dropped: 0 };
  const proxy = await startProxy({ port, carrier });
  return Object.assign(faults, proxy);

  function carrier(): Carrier {
    let listens = false;
    let rest = Buffer.alloc(0);
    /** What is late, in order: nothing overtakes it, whatever its own delay is. */
    let late: Promise<unknown> | null = null;
    return {
      toServer(bytes, pass) {
        listens ||= bytes.includes('listen grantgate');
        pass(bytes);
      },
      toClient(bytes, pass) {
        const whole = listens ? withoutRings(bytes) : bytes;
        if (whole.length === 0) return;
        const due = performance.now() + (listens ? faults.pullDelayMs : random() * faults.fillDelayMs);
        if (late === null && due <= performance.now()) return pass(whole);
        const mine: Promise<void> = (late ?? Promise.resolve())
          .then(() => pause(due - performance.now()))
          .then(() => {
            pass(whole);
            if (late === mine) late = null;
          });
        late = mine;
      },
    };

    /** Messages of a server are a type, a length and a body. Only whole ones go on, so that a notification can be left out. */
    function withoutRings(bytes: Buffer): Buffer {
      rest = Buffer.concat([rest, bytes]);
      const kept: Buffer[] = [];
      for (let end; rest.length >= 5 && (end = 1 + rest.readUInt32BE(1)) <= rest.length; rest = rest.subarray(end)) {
        if (faults.dropRings && rest[0] === NOTIFICATION) faults.dropped++;
        else kept.push(rest.subarray(0, end));
      }
      return Buffer.concat(kept);
    }
  }
}
