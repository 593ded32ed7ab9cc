// npm run backup: installs what is missing, then runs scripts/backup.ts with Node 24.
import { bootstrap } from './bootstrap.mjs';

await bootstrap('scripts/backup.ts');
