/**
 * npm run demo:reopen
 *
 * Opens the two demo sales of the running system for a day from now, with all their units again.
 */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { reopenDemoSales } from '@flash-sale/launcher/demo-sales.ts';
import { findOperator } from '@flash-sale/launcher/running-system.ts';
import { readArguments } from './read-arguments.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

readArguments(import.meta.url, { options: {} }, { wrongCode: 1 });

try {
  for (const line of await reopenDemoSales(findOperator(root, process.env))) console.log(line);
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
}
