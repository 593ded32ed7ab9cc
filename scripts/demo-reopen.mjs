// npm run demo:reopen: installs what is missing, then runs scripts/demo-reopen.ts with Node 24.
import { bootstrap } from './bootstrap.mjs';

await bootstrap('scripts/demo-reopen.ts');
