/** The API process: connects, listens, and stops on a signal. */
import { requireSetting } from '@flash-sale/core/config/environment.ts';
import { runService } from '@flash-sale/core/run-service.ts';
import { buildAdminApp, buildApp } from './app.ts';
import { connect } from './connect.ts';
import { warmUp } from './warm-up.ts';

/**
 * Connections that may wait to be accepted. With Node's default of 511, further clients of a burst
 * retry after 1, 3 and 7 s.
 */
const LISTEN_BACKLOG = 4_096;

await runService('api', process.env, async (settings, log, metrics, tracing) => {
  if (settings.NODE_ENV === 'production') {
    const { checkAtStart } = await import('@flash-sale/ops/doctor/check-at-start.ts');
    await checkAtStart('api', settings, log);
  }
  const apiSettings = { ...settings, ADMIN_TOKEN: requireSetting(settings, 'ADMIN_TOKEN') };
  const connections = await connect(settings, log, metrics);
  const app = await buildApp(apiSettings, connections, log, tracing);
  await warmUp(app, apiSettings, connections, { log, tracing });
  const adminApp = settings.ADMIN_PORT > 0 ? await buildAdminApp(apiSettings, connections, log) : null;
  // Processes share the port with SO_REUSEPORT: the kernel distributes connections (Linux).
  const listen = { backlog: LISTEN_BACKLOG, ...(settings.API_PROCESSES > 1 ? { reusePort: true } : {}) };
  await adminApp?.listen({ ...listen, host: settings.ADMIN_HOST, port: settings.ADMIN_PORT });
  await app.listen({ ...listen, host: settings.HOST, port: settings.PORT });
  return {
    async stop() {
      await Promise.all([app.drain(settings.SHUTDOWN_DRAIN_MS), adminApp?.drain(settings.SHUTDOWN_DRAIN_MS)]);
      await Promise.all([app.close(), adminApp?.close()]);
      await connections.close();
    },
  };
});
