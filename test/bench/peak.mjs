// How much memory had this process at most? Loaded before a program (`node --import`), it says so on descriptor 3 at the end, in KiB.

import { writeSync } from 'node:fs';

process.on('exit', () => void writeSync(3, `${process.resourceUsage().maxRSS}\n`));
