/**
 * npm run demo:sales: creates the two demo sales of the running system, unless they exist or
 * DEMO_SALES=off. `npm start` and `docker compose up` do so, too.
 */
import { createDemoSales } from '@flash-sale/launcher/demo-sales.ts';
import { findSystem } from '@flash-sale/launcher/running-system.ts';
import { root, runScript, say } from './command.ts';

await runScript(import.meta.url, 1, {}, async () => {
  const { adminUrl, environment } = findSystem(root, process.env, 'ADMIN_TOKEN');
  const { ADMIN_TOKEN: adminToken, DEMO_SALES } = environment;
  const created = DEMO_SALES === 'on' ? await createDemoSales({ adminUrl, adminToken }) : [];
  say(`DEMO_SALES=${DEMO_SALES}; created: ${created.join(', ') || 'none'}`);
  return 0;
});
