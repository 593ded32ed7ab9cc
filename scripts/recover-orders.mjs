// npm run recover:orders: installs what is missing, then runs scripts/recover-orders.ts with Node 24.
import { bootstrap } from './bootstrap.mjs';

await bootstrap('scripts/recover-orders.ts');
