// npm run restore: installs what is missing, then runs scripts/restore.ts with Node 24.
import { bootstrap } from './bootstrap.mjs';

await bootstrap('scripts/restore.ts');
