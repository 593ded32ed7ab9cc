// npm test: installs what is missing, then runs scripts/test.ts with Node 24.
import { bootstrap } from './bootstrap.mjs';

await bootstrap('scripts/test.ts');
