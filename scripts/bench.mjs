// npm run bench: installs what is missing, then runs scripts/bench.ts with Node 24.
import { bootstrap } from './bootstrap.mjs';

await bootstrap('scripts/bench.ts');
