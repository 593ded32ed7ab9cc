/** The worker process: connects, confirms, repairs, and stops when it is told to. */
import { runService } from '@flash-sale/core/run-service.ts';
import { startWorker } from './start-worker.ts';

await runService('worker', process.env, startWorker);
