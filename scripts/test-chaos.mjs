// npm run test:chaos: installs what is missing, then runs scripts/test-chaos.ts with Node 24.
import { bootstrap } from './bootstrap.mjs';

await bootstrap('scripts/test-chaos.ts');
