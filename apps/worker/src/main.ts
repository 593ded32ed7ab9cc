/** The worker process. */
import { setPriority } from 'node:os';
import { runService } from '@flash-sale/core/run-service.ts';
import { startWorker } from './worker.ts';

await runService('worker', process.env, async (settings, log, ...dependencies) => {
  if (settings.NODE_ENV === 'production') {
    const { checkAtStart } = await import('@flash-sale/ops/doctor/check-at-start.ts');
    await checkAtStart('worker', settings, log);
  }
  // On a machine shared with an API process: buyers wait for the API, nobody waits for the worker.
  setPriority(settings.WORKER_NICE);
  return startWorker(settings, log, ...dependencies);
});
