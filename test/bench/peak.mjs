// How much memory had this process at most, and how long did it compute? Loaded before a program (`node --import`), it says so on descriptor 3
// at the end: KiB, and seconds of a processor.

import { writeSync } from 'node:fs';

process.on('exit', () => {
  const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
  writeSync(3, `${maxRSS} ${(userCPUTime + systemCPUTime) / 1e6}\n`);
});
