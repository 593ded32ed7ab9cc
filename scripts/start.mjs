// npm start: installs what is missing, then runs scripts/start.ts with Node 24.
import { bootstrap } from './bootstrap.mjs';

await bootstrap('scripts/start.ts');
