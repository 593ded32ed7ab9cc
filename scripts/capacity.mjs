// npm run capacity: installs what is missing, then runs scripts/capacity.ts with Node 24.
import { bootstrap } from './bootstrap.mjs';

await bootstrap('scripts/capacity.ts');
