// npm run load: installs what is missing, then runs scripts/load.ts with Node 24.
import { bootstrap } from './bootstrap.mjs';

await bootstrap('scripts/load.ts');
