/** npm run demo:reopen: opens the two demo sales of the running system for a day from now, with all their units again. */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { reopenDemoSales } from '@flash-sale/launcher/demo-sales.ts';
import { findSecret } from '@flash-sale/launcher/kept-secret.ts';
import { readSettings } from '@flash-sale/launcher/settings.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

try {
  const { environment, dataFolder, apiUrl } = readSettings(root, process.env);
  const adminToken = environment.ADMIN_TOKEN ?? findSecret(dataFolder, 'admin-token');
  if (adminToken === undefined) {
    throw new Error(`ADMIN_TOKEN is not set, and none is kept in ${dataFolder}/secrets. Type "npm start" first.`);
  }
  for (const line of await reopenDemoSales({ apiUrl, adminToken })) console.log(line);
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
}
