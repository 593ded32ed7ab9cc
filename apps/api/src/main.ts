/** The API process: connects, listens, and stops when it is told to. */
import { requireSetting } from '@flash-sale/core/config/environment.ts';
import { LISTEN_BACKLOG } from '@flash-sale/core/config/limits.ts';
import { runService } from '@flash-sale/core/runtime/run-service.ts';
import { lookAtStart } from '@flash-sale/ops/doctor/look-at-start.ts';
import { buildAdminApp, buildApp } from './app.ts';
import { connectParts } from './connect.ts';

await runService('api', process.env, lookAtStart, async (settings, log, metrics, tracing) => {
  const token = requireSetting(settings, 'ADMIN_TOKEN');
  const parts = await connectParts(settings, log, metrics);
  const ofApi = { ...settings, ADMIN_TOKEN: token };
  const app = await buildApp(ofApi, parts, log, tracing);
  const adminApp = settings.ADMIN_PORT > 0 ? await buildAdminApp(ofApi, parts, log) : null;
  // Several processes on one port: the kernel spreads the connections (Linux).
  const shared = { backlog: LISTEN_BACKLOG, ...(settings.API_PROCESSES > 1 ? { reusePort: true } : {}) };
  await adminApp?.listen({ ...shared, host: settings.ADMIN_HOST, port: settings.ADMIN_PORT });
  await app.listen({ ...shared, host: settings.HOST, port: settings.PORT });
  return {
    async stop() {
      await Promise.all([app.drain(settings.SHUTDOWN_DRAIN_MS), adminApp?.drain(settings.SHUTDOWN_DRAIN_MS)]);
      await Promise.all([app.close(), adminApp?.close()]);
      await parts.close();
    },
  };
});
