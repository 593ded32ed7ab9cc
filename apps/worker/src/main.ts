/** The worker process: connects, confirms, repairs, and stops when it is told to. */
import { setPriority } from 'node:os';
import { runService } from '@flash-sale/core/runtime/run-service.ts';
import { lookAtStart } from '@flash-sale/ops/doctor/look-at-start.ts';
import { startWorker } from './worker.ts';

await runService('worker', process.env, lookAtStart, (settings, ...parts) => {
  // On a machine that it shares with an API: nobody waits for the ledger, and everybody for an answer.
  setPriority(settings.WORKER_NICE);
  return startWorker(settings, ...parts);
});
