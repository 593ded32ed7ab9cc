/** The worker process. */
import { setPriority } from 'node:os';
import { runService } from '@flash-sale/core/runtime/run-service.ts';
import { checkAtStart } from '@flash-sale/ops/doctor/check-at-start.ts';
import { startWorker } from './worker.ts';

await runService('worker', process.env, checkAtStart, (settings, ...dependencies) => {
  // On a machine shared with an API process: buyers wait for the API, nobody waits for the worker.
  setPriority(settings.WORKER_NICE);
  return startWorker(settings, ...dependencies);
});
