// npm run audit:sale: installs what is missing, then runs scripts/audit-sale.ts with Node 24.
import { bootstrap } from './bootstrap.mjs';

// 1 says that a sale is broken. Where not even the audit could begin, nothing is known of the sales.
let looked = false;
process.once('exit', () => {
  if (!looked) process.exitCode = 2;
});
await bootstrap('scripts/audit-sale.ts');
looked = true;
