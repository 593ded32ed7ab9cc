/** The API process: connects, listens, and stops when it is told to. */
import { requireSetting } from '@flash-sale/core/environment.ts';
import { LISTEN_BACKLOG } from '@flash-sale/core/limits.ts';
import { runService } from '@flash-sale/core/run-service.ts';
import { buildApp } from './build-app.ts';
import { connectParts } from './connect-parts.ts';

await runService('api', process.env, async (settings, log, metrics, tracing) => {
  const token = requireSetting(settings, 'ADMIN_TOKEN');
  const parts = await connectParts(settings, log, metrics);
  const app = await buildApp({ ...settings, ADMIN_TOKEN: token }, parts, log, tracing);
  await app.listen({
    host: settings.HOST,
    port: settings.PORT,
    backlog: LISTEN_BACKLOG,
    // Several processes on one port: the kernel spreads the connections (Linux).
    ...(settings.API_PROCESSES > 1 ? { reusePort: true } : {}),
  });
  return {
    async stop() {
      await app.drain(settings.SHUTDOWN_DRAIN_MS);
      await app.close();
      await parts.close();
    },
  };
});
